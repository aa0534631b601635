//! Lives of connections in every way in which the kernel takes one to CLOSE, side by side, some of them of one socket after the other: each has one
//! beginning, one end, and one reason for it.

use std::collections::HashMap;

use proptest::prelude::*;
use tcpwait::{
    event::{EndFacts, EndSite, Event, Fact, HookContext, MiniSocket, StateChange},
    lifecycle::{Lifecycle, Reason, SegmentSource, Transition, Update},
    tcp::State::{
        self, Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent, TimeWait,
    },
};

use crate::stories::{address, change, flow, jiffies, symbols};

const MS: u64 = 1_000_000;

/// What comes before the end, from a connect() or from a listener.
const PATHS: [&[State]; 8] = [
    &[Close, SynSent],
    &[Close, SynSent, Established],
    &[Close, SynSent, Established, FinWait1],
    &[Close, SynSent, Established, FinWait1, FinWait2],
    &[Close, SynSent, Established, FinWait1, Closing],
    &[Close, SynSent, Established, CloseWait],
    &[Close, SynSent, Established, CloseWait, LastAck],
    &[Close, Listen],
];

/// How a full socket ends, by the function that decides: the stack, and `sk_err`. No two of them may be told from each other by the state alone.
const ENDS: [(&str, u16); 8] = [
    ("tcp_validate_incoming", 104),
    ("tcp_v4_err", 111),
    ("tcp_abort", 103),
    ("__tcp_close", 0),
    ("tcp_disconnect", 0),
    ("tcp_keepalive_timer", 110),
    ("tcp_retransmit_timer", 110),
    ("other", 0),
];

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum How {
    /// With what FINs on both sides lead to: the last ACK, or a TIME_WAIT that runs out.
    ByFins,
    /// As in `ENDS`.
    By(usize),
    /// In a mini-socket that a segment ends.
    InAMini,
}

#[derive(Clone, Debug)]
struct Life {
    path: usize,
    passive: bool,
    how: How,
    pauses: Vec<u64>,
}

fn life() -> impl Strategy<Value = Life> {
    let how = prop_oneof![Just(How::ByFins), (0..ENDS.len()).prop_map(How::By), Just(How::InAMini)];
    (0..PATHS.len(), any::<bool>(), how, prop::collection::vec(1..3_000u64, 8))
        .prop_map(|(path, passive, how, pauses)| Life { path, passive, how, pauses })
}

/// Its events, from this time on; when it is over.
fn tell(life: &Life, cookie: u64, mut ms: u64, events: &mut Vec<Event>) -> u64 {
    let (flow, cpu) = (flow(cookie as u16), cookie as u16);
    let mut pauses = life.pauses.iter().copied();
    let mut say = |ms: u64, fact| {
        events.push(Event { time_ns: ms * MS, cpu, context: HookContext::Cpu(cpu), fact });
    };
    let changed = |old, new| change(cookie, cookie, flow, old, new);
    let path = PATHS[life.path];
    for step in path.windows(2) {
        ms += pauses.next().unwrap_or(1);
        match step {
            [Close, SynSent] if life.passive && path.len() > 2 => {
                say(ms, Fact::State(StateChange { cookie: 0, ..changed(Listen, SynRecv) }));
            }
            [SynSent, Established] if life.passive => say(ms, Fact::State(changed(SynRecv, Established))),
            [old, new] => say(ms, Fact::State(changed(*old, *new))),
            _ => unreachable!(),
        }
    }
    let last = path[path.len() - 1];
    ms += pauses.next().unwrap_or(1);
    let in_a_mini = matches!(life.how, How::ByFins | How::InAMini) && matches!(last, FinWait2 | Closing);
    if in_a_mini {
        let mini = |ms, due| MiniSocket {
            cookie,
            tw: cookie,
            flow,
            expires: jiffies(due),
            jiffies: jiffies(ms),
            substate: TimeWait,
            reuse: None,
            v6only: None,
            timestamps: false,
        };
        let due = ms + 60_000;
        say(ms, Fact::Armed { mini: mini(ms, due), rearmed: false });
        // Sometimes the full socket's end has a record of its own.
        if cookie.is_multiple_of(2) {
            say(ms, Fact::State(StateChange { handed_over: true, ..changed(last, Close) }));
        }
        return match life.how {
            How::InAMini => {
                ms += pauses.next().unwrap_or(1);
                let site = tcpwait::event::CancelSite { stack: vec![address("tcp_v4_rcv")], ..Default::default() };
                say(ms, Fact::Cancelled { mini: mini(ms, due), site });
                ms
            }
            _ => {
                say(due, Fact::Expired(mini(due, due)));
                due
            }
        };
    }
    let how = match life.how {
        How::By(how) => ENDS[how],
        _ => ENDS[3],
    };
    let by_fins = matches!(life.how, How::ByFins) && last == LastAck;
    let site = EndSite {
        full: Some(false),
        about: Some(EndFacts { repair: Some(false), memory: Some(false), soft_err: Some(0), ..EndFacts::default() }),
        stack: vec![address(how.0)],
        ..EndSite::default()
    };
    say(
        ms,
        Fact::State(StateChange {
            acked: by_fins,
            err: if by_fins { 0 } else { how.1 },
            end: (!by_fins).then(|| Box::new(site)),
            ..changed(last, Close)
        }),
    );
    ms
}

/// Sockets, each with a life or several after each other, and all events in the order of their times.
fn sockets() -> impl Strategy<Value = (Vec<Vec<Life>>, Vec<Event>)> {
    prop::collection::vec((prop::collection::vec(life(), 1..3), 0..100_000u64), 1..8).prop_map(|sockets| {
        let seeded = Fact::SeedEnd { sockets: 0, namespaces: 0, unreadable: 0 };
        let mut events = vec![Event { time_ns: 0, cpu: 0, context: HookContext::Cpu(0), fact: seeded }];
        for (number, (lives, start)) in sockets.iter().enumerate() {
            let mut ms = 1_000 + start;
            for life in lives {
                // Once more only after TIME_WAIT is over.
                ms = 1 + tell(life, number as u64 + 1, ms, &mut events);
            }
        }
        events.sort_by_key(|event| event.time_ns);
        (sockets.into_iter().map(|(lives, _)| lives).collect(), events)
    })
}

fn run(events: &[Event]) -> Vec<Transition> {
    let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
    let mut updates = Vec::new();
    events.iter().for_each(|event| model.apply(event, &mut updates));
    model.finish(&mut updates);
    let steps = updates.into_iter().filter_map(|update| match update {
        Update::Transition(step) => Some(step),
        _ => None,
    });
    steps.collect()
}

/// What the steps of one socket have of ends: how many, and whether each comes after a step of its own.
fn ends(steps: &[Transition]) -> HashMap<u64, Vec<Reason>> {
    let mut ends: HashMap<u64, Vec<Reason>> = HashMap::new();
    // A newborn's first step has no cookie yet.
    for step in steps.iter().filter(|step| step.id != 0) {
        let mine = ends.entry(step.id).or_default();
        mine.extend(step.reason.filter(|_| step.to == Close));
    }
    ends
}

/// One end and one reason for each life, in order: `None` if it is so, else what is wrong.
fn wrong(lives: &[Vec<Life>], steps: &[Transition]) -> Option<String> {
    let ends = ends(steps);
    for (number, lives) in lives.iter().enumerate() {
        let id = number as u64 + 1;
        let reasons = ends.get(&id).map_or(&[][..], Vec::as_slice);
        if reasons.len() != lives.len() {
            return Some(format!("{id} has {} lives and {reasons:?}", lives.len()));
        }
        for (life, reason) in lives.iter().zip(reasons) {
            if let How::By(_) = life.how
                && *reason == Reason::Expired
            {
                return Some(format!("{id}: {life:?} ended by {reason:?}"));
            }
        }
    }
    (ends.len() != lives.len()).then(|| format!("{} sockets, of which {} were told", lives.len(), ends.len()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_has_one_end_and_one_reason((lives, events) in sockets()) {
        let steps = run(&events);
        prop_assert_eq!(wrong(&lives, &steps), None, "{:#?}", steps);
    }

    /// What the test above looks at shows an end that is missing, and one too many.
    #[test]
    fn a_life_without_an_end_or_with_two_is_noticed((lives, events) in sockets(), which in any::<prop::sample::Index>()) {
        let steps = run(&events);
        let ends: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].to == Close && steps[*at].id != 0).collect();
        let at = ends[which.index(ends.len())];
        let mut fewer = steps.clone();
        fewer.remove(at);
        prop_assert!(wrong(&lives, &fewer).is_some());
        let mut more = steps.clone();
        more.insert(at, steps[at].clone());
        prop_assert!(wrong(&lives, &more).is_some());
    }
}
