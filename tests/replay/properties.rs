//! What holds for any events: nothing panics, no time is longer than what has passed, the same records give the same
//! output. And for connections as a kernel makes them: every step continues the one before; where records are lost, what
//! is still said to be exact is true.

use std::collections::HashMap;

use proptest::prelude::*;
use tcpwait::{
    event::{
        CancelSite, EndFacts, EndSite, Event, Fact, HookContext, MiniSocket, RequestSocket, RequestStart, Seed,
        StateChange, Task,
    },
    lifecycle::{Lifecycle, Reason, SegmentSource, Timing, Transition, Unmatched, Update},
    tcp::State,
};

use crate::stories::{self, address, flow, hear, jiffies, symbols, task};

const MS: u64 = 1_000_000;
const TIMEWAIT_MS: u64 = 60_000;
/// Events here are of a kernel with HZ=250.
const JIFFY_NS: u64 = 4 * MS;

/// What stacks end in; `other` decides nothing.
const STACKS: [&str; 9] = [
    "other",
    "__mod_timer",
    "__run_timers",
    "__inet_check_established",
    "tcp_v4_rcv",
    "tcp_timewait_state_process",
    "tcp_abort",
    "tcp_sk_exit_batch",
    "tcp_fin",
];

fn run(events: &[Event]) -> (Vec<Transition>, Unmatched) {
    let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
    let mut updates = Vec::new();
    for event in events {
        model.apply(event, &mut updates);
    }
    model.finish(&mut updates);
    let steps = updates.into_iter().filter_map(|update| match update {
        Update::Transition(step) => Some(step),
        Update::Found(_) | Update::Owned { .. } | Update::Failed(_) | Update::Lost { .. } => None,
    });
    (steps.collect(), model.tally().unmatched)
}

fn any_state() -> impl Strategy<Value = State> {
    prop::sample::select(State::ALL.to_vec())
}

fn any_task() -> impl Strategy<Value = Option<Task>> {
    prop::option::of(prop::sample::select(vec!["curl", "nginx", "ss"]).prop_map(task))
}

fn any_stack() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop::sample::select(STACKS.to_vec()).prop_map(address), 0..3)
}

/// Few cookies, tuples and addresses, so that they meet.
fn any_mini() -> impl Strategy<Value = MiniSocket> {
    let substate = prop::sample::select(vec![State::FinWait2, State::TimeWait]);
    (0..4u64, 0..3u64, 0..4u16, 0..TIMEWAIT_MS, substate).prop_map(|(cookie, tw, on, due_in, substate)| MiniSocket {
        cookie,
        tw,
        flow: flow(on),
        expires: due_in,
        jiffies: 0,
        substate,
        reuse: None,
        v6only: None,
        timestamps: false,
    })
}

fn any_request() -> impl Strategy<Value = RequestSocket> {
    (0..3u64, 0..3u64, 0..4u16, 0..4u64, any::<bool>(), any::<bool>()).prop_map(
        |(cookie, req, on, listener, listens, acked)| RequestSocket {
            cookie,
            req,
            flow: flow(on),
            listener,
            retransmits: 0,
            listens,
            acked,
            deferred: listener == 1,
            queue: None,
        },
    )
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let ports = prop::bool::weighted(0.1);
    let change = (0..4u64, 0..3u64, 0..4u16, ports, any_state(), any_state(), any_task(), any::<bool>(), any_stack());
    let change = change.prop_map(|(cookie, sk, on, portless, old, new, task, handed_over, stack)| {
        let mut flow = flow(on);
        if portless {
            flow.lport = 0;
        }
        let about = (sk > 0).then(|| EndFacts { orphan: sk == 1, user_timeout_ms: on.into(), ..EndFacts::default() });
        let site = EndSite { full: Some(true), task: task.clone(), about, stack };
        let end = (new == State::Close && !site.stack.is_empty()).then(|| Box::new(site));
        Fact::State(StateChange {
            task,
            handed_over,
            of_request: handed_over,
            end,
            ..stories::change(cookie, sk, flow, old, new)
        })
    });
    let seed = (0..4u64, 0..4u16, any_state(), any::<bool>(), 0..70_000u32, any_task());
    let seed = seed.prop_map(|(cookie, on, state, mini, expires_ms, task)| {
        let state = if mini && state != State::FinWait2 { State::TimeWait } else { state };
        Fact::Seed(Seed {
            cookie,
            flow: flow(on),
            task,
            state,
            mini,
            expires_ms,
            retransmits: 0,
            origin: None,
            v6only: None,
            by_ns: None,
        })
    });
    prop_oneof![
        8 => change,
        3 => (any_mini(), any::<bool>()).prop_map(|(mini, rearmed)| Fact::Armed { mini, rearmed }),
        2 => any_mini().prop_map(Fact::Expired),
        2 => any_mini().prop_map(segment),
        3 => (any_mini(), any::<bool>(), any_task(), any_stack())
            .prop_map(|(mini, flag, task, stack)| {
                let site = CancelSite { unhashed: flag, netns_gone: !flag, on_task_stack: flag, task, stack };
                Fact::Cancelled { mini, site }
            }),
        1 => (0..4u64, any_task()).prop_map(|(cookie, task)| Fact::Owner { cookie, task }),
        1 => (0..4u64, any_task()).prop_map(|(cookie, task)| Fact::Heir { cookie, task }),
        3 => (any_request(), 0..3usize).prop_map(|(reqsk, start)| Fact::RequestArmed {
            reqsk,
            start: [RequestStart::Syn, RequestStart::SynAgain, RequestStart::Retransmit][start],
        }),
        2 => any_request().prop_map(Fact::RequestExpired),
        2 => (any_request(), any::<bool>(), any_task(), any_stack()).prop_map(|(reqsk, flag, task, stack)| {
            let site = CancelSite { unhashed: true, netns_gone: false, on_task_stack: flag, task, stack };
            Fact::RequestCancelled { reqsk, site }
        }),
        2 => Just(Fact::Tick { realtime_ns: 0 }),
        2 => seed,
        1 => Just(Fact::SeedEnd { sockets: 0, namespaces: 0, unreadable: 0 }),
    ]
}

fn segment(mini: MiniSocket) -> Fact {
    Fact::Segment { mini, segment: None }
}

/// Times do not run backwards by more than records of two CPUs do; a timer runs out within 60 s.
pub fn any_events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((0..3_000u64, 0..3u16, 0..3u16, any_fact()), 0..120).prop_map(|told| {
        let mut ms = 100_000;
        let at = |mini: &mut MiniSocket, ms| {
            mini.jiffies = jiffies(ms);
            mini.expires = jiffies(ms + mini.expires);
        };
        let events = told.into_iter().map(|(step, cpu, thread, mut fact)| {
            ms += step;
            match &mut fact {
                Fact::Armed { mini, .. }
                | Fact::Expired(mini)
                | Fact::Segment { mini, .. }
                | Fact::Cancelled { mini, .. } => {
                    at(mini, ms);
                }
                _ => {}
            }
            Event { time_ns: ms * MS - u64::from(cpu) * 1000, cpu, context: HookContext::new(cpu, thread), fact }
        });
        events.collect()
    })
}

/// Connections that begin, are closed and wait, a cookie and a tuple each.
fn connection(cookie: u64) -> impl Strategy<Value = Vec<Event>> {
    let pauses = prop::collection::vec(1..5_000u64, 8);
    (0..200_000u64, pauses, 0..6u8, any::<bool>()).prop_map(move |(start, pauses, ending, orphan)| {
        let mut ms = 1_000 + start;
        let mut due = 0;
        let mut events = Vec::new();
        let mut pauses = pauses.into_iter();
        let flow = flow(cookie as u16);
        let change = |old, new, handed_over| {
            Fact::State(StateChange { handed_over, ..stories::change(cookie, cookie, flow, old, new) })
        };
        let mini = |ms, due, substate| MiniSocket {
            cookie,
            tw: cookie,
            flow,
            expires: jiffies(due),
            jiffies: jiffies(ms),
            substate,
            reuse: None,
            v6only: None,
            timestamps: false,
        };
        let cpu = cookie as u16;
        let mut say = |ms, fact| events.push(Event { time_ns: ms * MS, cpu, context: HookContext::Cpu(cpu), fact });
        let closing = ending == 5;
        let mut path = vec![State::Close, State::SynSent, State::Established, State::FinWait1];
        path.push(if closing { State::Closing } else { State::FinWait2 });
        for step in path.windows(2) {
            ms += pauses.next().unwrap_or(1);
            say(ms, change(step[0], step[1], false));
        }
        let from = path[4];
        if orphan && !closing {
            due = ms + TIMEWAIT_MS;
            say(ms, Fact::Armed { mini: mini(ms, due, State::FinWait2), rearmed: false });
            say(ms, change(from, State::Close, true));
            ms += pauses.next().unwrap_or(1);
            due = ms + TIMEWAIT_MS;
            // The FIN: seen by the one hook or the other, or by none.
            match ms % 3 {
                0 => say(ms, segment(mini(ms, due, State::TimeWait))),
                1 => say(ms, Fact::Armed { mini: mini(ms, due, State::TimeWait), rearmed: true }),
                _ => {}
            }
        } else {
            ms += pauses.next().unwrap_or(1);
            due = due.max(ms + TIMEWAIT_MS);
            say(ms, Fact::Armed { mini: mini(ms, due, State::TimeWait), rearmed: false });
            say(ms, change(from, State::Close, true));
        }
        if ending == 1 {
            ms += pauses.next().unwrap_or(1);
            due = ms + TIMEWAIT_MS;
            say(ms, segment(mini(ms, due, State::TimeWait)));
        }
        if ending == 2 {
            ms += pauses.next().unwrap_or(1);
            let mini = mini(ms, due, State::TimeWait);
            say(
                ms,
                Fact::Cancelled {
                    mini,
                    site: CancelSite { stack: vec![address("tcp_v4_rcv")], ..CancelSite::default() },
                },
            );
        } else {
            ms = due + pauses.next().unwrap_or(1);
            say(ms, Fact::Expired(mini(ms, due, State::TimeWait)));
        }
        events
    })
}

pub fn connections() -> impl Strategy<Value = Vec<Event>> {
    (1..6u64).prop_flat_map(|count| (1..=count).map(connection).collect::<Vec<_>>()).prop_map(|all| {
        let mut events: Vec<Event> = all.into_iter().flatten().collect();
        events.sort_by_key(|event| event.time_ns);
        events.insert(
            0,
            Event {
                time_ns: 0,
                cpu: 0,
                context: HookContext::Cpu(0),
                fact: Fact::SeedEnd { sockets: 0, namespaces: 0, unreadable: 0 },
            },
        );
        events
    })
}

fn quiet() -> ProptestConfig {
    ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(quiet())]

    #[test]
    fn any_events_are_survived(events in any_events()) {
        let (first, last) = (events.first().map_or(0, |e| e.time_ns), events.iter().map(|e| e.time_ns).max().unwrap_or(0));
        let span = last - first + 10_000;
        let (steps, _) = run(&events);
        for step in &steps {
            prop_assert_eq!(step.dwell_ns.is_some(), step.timing != Timing::Unknown, "{:?}", step);
            // A time that is inferred may have begun up to 60 s before the first event.
            let most = if step.timing == Timing::Exact { span } else { span + TIMEWAIT_MS * MS + 10 * MS };
            prop_assert!(step.dwell_ns.unwrap_or(0) <= most, "{:?} in {} ns", step, span);
            prop_assert!(step.from != Some(step.to), "{:?}", step);
        }
        prop_assert_eq!(hear(&events), hear(&events));
    }

    /// Whatever the kernel says: a step to CLOSE has a reason, and no other has one; who did it, and how, are said of nothing else.
    #[test]
    fn every_end_has_one_reason(events in any_events()) {
        for step in run(&events).0 {
            prop_assert_eq!(step.reason.is_some(), step.to == State::Close, "{:?}", step);
            let said_more = step.detail.is_some() || step.by.is_some() || step.abort.is_some() || step.rst_sent || step.errno != 0;
            prop_assert!(!said_more || step.to == State::Close, "{:?}", step);
            prop_assert!(!matches!(step.reason, Some(Reason::Unknown | Reason::Unreachable | Reason::Netns)) || step.detail.is_none(), "{:?}", step);
        }
    }

    #[test]
    fn every_life_has_one_end(events in connections()) {
        let mut ends: HashMap<u64, Vec<Reason>> = HashMap::new();
        for step in run(&events).0 {
            if let Some(reason) = step.reason {
                ends.entry(step.id).or_default().push(reason);
            }
        }
        let lives: std::collections::HashSet<u64> = run(&events).0.iter().map(|step| step.id).collect();
        prop_assert_eq!(ends.len(), lives.len());
        for (id, reasons) in ends {
            prop_assert_eq!(reasons.len(), 1, "{}: {:?}", id, reasons);
            prop_assert!(reasons[0] != Reason::Unknown, "{}", id);
        }
    }

    /// What an exact time measures from is a step that was shown, or the kernel's own word of one that waits.
    #[test]
    fn an_exact_time_begins_with_a_step(events in any_events()) {
        let times: std::collections::HashSet<u64> = events.iter().map(|event| event.time_ns).collect();
        for step in run(&events).0.iter().filter(|step| step.timing == Timing::Exact) {
            prop_assert!(times.contains(&(step.time_ns - step.dwell_ns.unwrap())), "{:?}", step);
        }
    }

    #[test]
    fn every_step_continues_the_one_before(events in connections()) {
        let (steps, unmatched) = run(&events);
        prop_assert_eq!(unmatched.total(), 0);
        let mut now: HashMap<u64, (State, u64)> = HashMap::new();
        for step in &steps {
            let (state, since) = now.insert(step.id, (step.to, step.time_ns)).unwrap_or((State::Close, 0));
            prop_assert_eq!(step.from, Some(state));
            prop_assert_eq!(step.predates, false);
            // A FIN that no hook saw, before the tick rate is known, leaves the times around it unknown.
            let may_be_unknown = since == 0 || matches!(state, State::FinWait2 | State::TimeWait);
            match step.dwell_ns {
                // Between a step that was inferred before the tick rate was known, and one after that, they may differ by a jiffy.
                Some(dwell_ns) if step.timing == Timing::Jiffy => {
                    prop_assert!(dwell_ns.abs_diff(step.time_ns - since) < JIFFY_NS, "{:?}", step);
                }
                dwell_ns if dwell_ns.is_some() || !may_be_unknown => {
                    prop_assert_eq!(dwell_ns, Some(step.time_ns - since), "{:?}", step);
                }
                _ => {}
            }
        }
        prop_assert!(now.values().all(|(state, _)| *state == State::Close), "all of them end: {:?}", now);
    }

    /// Without any of the records, an exact time is the one that all of them give.
    #[test]
    fn losses_make_nothing_exact_that_is_wrong(events in connections(), lost in prop::collection::vec(any::<prop::sample::Index>(), 1..5)) {
        let whole = run(&events).0;
        let mut part = events;
        // Segments are not lost here: where one is, a later one looks the same.
        let losable = |event: &Event| !matches!(event.fact, Fact::Segment { .. } | Fact::Armed { rearmed: true, .. });
        for index in lost {
            let index = 1 + index.index(part.len() - 1);
            if losable(&part[index]) && part.len() > 2 {
                part.remove(index);
            }
        }
        for step in run(&part).0.iter().filter(|step| step.timing == Timing::Exact) {
            let same = |other: &Transition| (other.id, other.from, other.to, other.dwell_ns) == (step.id, step.from, step.to, step.dwell_ns);
            prop_assert!(whole.iter().any(same), "{:?} is not in {:#?}", step, whole);
        }
    }
}
