#![allow(clippy::unwrap_used)]
use super::{Effort, FOR_A_RECORD};
use crate::{
    event::{
        Call, CancelSite, Event, Fact, HookContext, MiniSocket, PortRefused, RequestSocket, RequestStart, StateChange,
        Task,
    },
    lifecycle::{Lifecycle, Update},
    tcp::{Flow, NetnsId, State},
};

#[test]
fn records_pay_for_it() {
    let mut effort = Effort::default();
    assert!(effort.affords(0) && !effort.affords(1));
    effort.record();
    assert!(effort.affords(FOR_A_RECORD as usize) && !effort.affords(1));
}

const S: u64 = 1_000_000_000;
const MANY: u32 = 3_000;
const JIFFIES: u64 = 1 << 32;

fn flow(n: u32) -> Flow {
    let netns = NetnsId::new(1, 0);
    let laddr = std::net::Ipv4Addr::from(0x0a00_0000 + n).into();
    Flow { netns, bound_dev_if: 0, laddr, lport: 80, raddr: laddr, rport: 1 }
}

fn change(n: u32, old: State, new: State) -> StateChange {
    StateChange {
        old_soft: false,
        cookie: u64::from(n) + 1,
        sk: u64::from(n) + 1,
        flow: flow(n),
        old,
        new,
        err: 0,
        task: None,
        by_call: true,
        handed_over: false,
        newborn: false,
        of_request: false,
        retransmits: None,
        reuse: None,
        v6only: None,
        unsent: true,
        deferred: false,
        returns: true,
        old_port: false,
        syn: None,
        acked: false,
        end: None,
    }
}

fn mini(n: u32) -> MiniSocket {
    MiniSocket {
        cookie: u64::from(n) + 1,
        tw: u64::from(n) + 1,
        flow: flow(n),
        expires: JIFFIES * 2,
        jiffies: JIFFIES,
        substate: State::TimeWait,
        reuse: None,
        v6only: None,
        timestamps: false,
    }
}

fn reqsk(n: u32) -> RequestSocket {
    RequestSocket {
        cookie: 0,
        req: u64::from(n) + 1,
        flow: flow(n),
        listener: 0,
        retransmits: 0,
        listens: true,
        acked: false,
        deferred: false,
        queue: None,
    }
}

fn refused(n: u32, port: u16) -> PortRefused {
    PortRefused {
        cookie: 0,
        socket: Some(n),
        flow: Flow { lport: port, ..flow(n) },
        task: Some(Task { pid: n, uid: 0, cgroup: 0, comm: [0; 16] }),
        errno: 98,
        call: Call::Bind,
        reuse: None,
        v6only: None,
    }
}

type Records = fn(u32) -> Vec<Fact>;

/// What each of many connections does, and what comes after each record, for ever in the same moment or in as many.
const WAYS: [(&str, Records, Fact, u64); 8] = [
    ("waits for its port", |n| vec![to_syn_sent(n)], TICK, 0),
    ("waits for what connect() gives back", |n| vec![to_syn_sent(n), fails(n)], TICK, 0),
    ("waits for the next port", |n| vec![Fact::PortRefused(refused(n, 80))], TICK, 0),
    ("waits for what a cancellation was", |n| vec![cancelled(n)], TICK, 0),
    ("waits for what a timer's end was", |n| vec![Fact::RequestExpired(reqsk(n))], TICK, 0),
    ("ends by its own clock, at some time", |n| vec![armed(n), opened(n)], TICK, 9 * S / 10),
    ("is told of, or not, in listing after listing", |n| vec![to_syn_sent(n)], Fact::Listed(NetnsId::new(2, 0)), 0),
    ("asks for one port after the other", |n| vec![armed(n), Fact::PortRefused(refused(0, n as u16))], TICK, 0),
];
const TICK: Fact = Fact::Tick { realtime_ns: 0 };

fn to_syn_sent(n: u32) -> Fact {
    let change = change(n, State::Close, State::SynSent);
    Fact::State(StateChange { flow: Flow { lport: 0, ..change.flow }, ..change })
}

fn fails(n: u32) -> Fact {
    Fact::State(change(n, State::SynSent, State::Close))
}

fn cancelled(n: u32) -> Fact {
    Fact::Cancelled { mini: mini(n), site: CancelSite::default() }
}

fn armed(n: u32) -> Fact {
    Fact::Armed { mini: mini(n), rearmed: false }
}

fn opened(n: u32) -> Fact {
    Fact::RequestArmed { reqsk: reqsk(n), start: RequestStart::Syn }
}

/// However a recording is made: what is looked at grows with its length. Of each way, looking at all that waits whenever there is an
/// occasion would be 4,500,000 looks and more.
#[test]
fn the_work_grows_with_the_records() {
    for (way, facts, then, step_ns) in WAYS {
        let (mut lifecycle, mut out) = (Lifecycle::default(), Vec::new());
        let (mut time_ns, mut records) = (S, 0);
        let mut apply = |fact: Fact, thread: u32, time_ns: u64| {
            let context = HookContext::Thread(thread as u16 + 1);
            lifecycle.apply(&Event { time_ns, cpu: 0, context, fact }, &mut out);
            records += 1;
        };
        apply(Fact::SeedEnd { sockets: 0, namespaces: 0, unreadable: 0 }, 0, time_ns);
        for n in 0..MANY {
            facts(n).into_iter().for_each(|fact| apply(fact, n, time_ns));
        }
        for _ in 0..10 * MANY {
            time_ns += step_ns;
            apply(then.clone(), 0, time_ns);
            if matches!(then, Fact::Listed(_)) {
                apply(Fact::SeedEnd { sockets: 0, namespaces: 1, unreadable: 1 }, 0, time_ns);
            }
        }
        let spent = lifecycle.common.effort.spent;
        assert!(spent > u64::from(MANY), "{way}: {spent} is no occasion to look");
        assert!(spent <= records * FOR_A_RECORD, "{way}: {spent} looks for {records} records");
        lifecycle.finish(&mut out);
        assert!(!out.is_empty() && lifecycle.fulls.portless() == 0 && lifecycle.deaths.holds_none(), "{way}");
        assert!(lifecycle.requests.holds_none() && lifecycle.calls.room() == 0, "{way}");
        let said = |update: &Update| matches!(update, Update::Transition(_) | Update::Failed(_));
        assert!(out.iter().filter(|update| said(update)).count() >= MANY as usize, "{way}: {}", out.len());
    }
}
