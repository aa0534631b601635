//! A filter selects connections: what comes before the port or the owner is known waits, and is shown or dropped with
//! its connection. On stories (see there), through the lifecycle.

use std::convert::Infallible;

use tcpwait::{
    lifecycle::{Lifecycle, SegmentSource, Update},
    names::Names,
    select::{Criteria, Pick, Selector, Steps, steps::Word},
    tcp::State,
};

use crate::stories::{events, step, symbols};

/// The steps shown under these criteria, and how many connections stayed undecided.
fn shown(criteria: Criteria, told: &str) -> (Vec<String>, u64) {
    let (mut model, mut selector) = (Lifecycle::new(symbols(), SegmentSource::Fexit), Selector::new(criteria));
    let (mut updates, mut shown, names) = (Vec::new(), Vec::new(), Names::default());
    for event in events(told) {
        model.apply(&event, &mut updates);
    }
    model.finish(&mut updates);
    for update in updates {
        let show = |update: &Update| {
            if let Update::Transition(transition) = update {
                shown.push(step(transition));
            }
            Ok::<(), Infallible>(())
        };
        selector.pass(&update, &names, show).unwrap();
    }
    let show = |update: &Update| {
        if let Update::Transition(transition) = update {
            shown.push(step(transition));
        }
        Ok::<(), Infallible>(())
    };
    selector.finish(&names, show).unwrap();
    (shown, selector.undecided())
}

const SERVED: &str = "
     0 seeded
    10 state LISTEN SYN_RECV id=9 sk=2 listener
    11 state SYN_RECV ESTABLISHED id=2 sk=2
    15 owner id=2 by=nginx
    20 state ESTABLISHED CLOSE_WAIT id=2
    30 state CLOSE_WAIT LAST_ACK id=2 by=nginx
    40 state LAST_ACK CLOSE id=2
";

#[test]
fn steps_before_the_owner_is_known_are_shown_with_the_others() {
    let by = |comm: &str| Criteria { comms: vec![comm.to_owned()].into(), ..Criteria::default() };
    let (steps, undecided) = shown(by("nginx"), SERVED);
    assert_eq!((steps.len(), undecided), (5, 0), "{steps:?}");
    assert_eq!(steps[0], "10 #2 LISTEN -> SYN_RECV - of nginx", "it waited for its owner");
    assert_eq!(shown(by("ngin"), SERVED), (Vec::new(), 0), "a name is whole");
    assert_eq!(shown(by("curl"), SERVED), (Vec::new(), 0));
    // Nobody ever read from it.
    let orphan = SERVED.replace("by=nginx", "").replace("15 owner id=2", "");
    assert_eq!(shown(by("nginx"), &orphan), (Vec::new(), 1));
}

#[test]
fn a_state_shows_a_connection_from_there_on() {
    let state = |state| Criteria { states: vec![state], ..Criteria::default() };
    let (steps, _) = shown(state(State::CloseWait), SERVED);
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert!(steps[0].starts_with("20 #2 ESTABLISHED -> CLOSE_WAIT"), "{steps:?}");
    assert_eq!(shown(state(State::TimeWait), SERVED).0.len(), 0);
}

#[test]
fn a_port_that_is_chosen_later_decides() {
    let told = "
         0 seeded
        10 state CLOSE SYN_SENT lport=0
       120 tick
       130 state SYN_SENT ESTABLISHED
    ";
    let port = |port| Criteria { lports: vec![port..=port].into(), ..Criteria::default() };
    assert_eq!(shown(port(1001), told).0.len(), 2);
    assert_eq!(shown(port(1002), told), (Vec::new(), 0));
}

/// The cookie is the socket's, and a socket may be connected twice (see the story): that its first connection reached
/// TIME_WAIT says nothing of the second.
#[test]
fn a_second_connection_of_a_socket_is_selected_for_itself() {
    let told = "
         0 seeded
        10 state CLOSE SYN_SENT
        20 state SYN_SENT ESTABLISHED
        30 state ESTABLISHED FIN_WAIT1
        40 state FIN_WAIT1 FIN_WAIT2
        50 arm TIME_WAIT
        50 state FIN_WAIT2 CLOSE handed-over
      1000 state CLOSE SYN_SENT on=5
      1010 state SYN_SENT ESTABLISHED on=5
     61000 expire TIME_WAIT due=60050
    ";
    let (steps, _) = shown(Criteria { states: vec![State::TimeWait], ..Criteria::default() }, told);
    assert_eq!(steps, ["50 #1 FIN_WAIT2 -> TIME_WAIT 10", "61000 #1 TIME_WAIT -> CLOSE 60950 expired"]);
}

/// What is left out is what is shown otherwise, and nothing else. Whose owner nobody learns is not left out, and is shown when it ends.
#[test]
fn turned_round() {
    let but = |comm: &str| Criteria { comms: Pick::all_but(vec![comm.to_owned()]), ..Criteria::default() };
    assert_eq!(shown(but("nginx"), SERVED), (Vec::new(), 0));
    let (steps, undecided) = shown(but("curl"), SERVED);
    assert_eq!((steps.len(), undecided), (5, 0), "{steps:?}");
    assert_eq!(steps[0], "10 #2 LISTEN -> SYN_RECV - of nginx", "it waited for its owner");
    let nobodys = SERVED.replace("by=nginx", "").replace("15 owner id=2", "");
    let (steps, undecided) = shown(but("nginx"), &nobodys);
    assert_eq!((steps.len(), undecided), (5, 0), "{steps:?}");
    // It has not ended, and the trace does.
    let open = nobodys.split("20 state").next().unwrap();
    assert_eq!((shown(but("nginx"), open).0.len(), shown(but("curl"), open).0.len()), (2, 2));
    let both = Criteria { pids: vec![1].into(), ..but("nginx") };
    assert_eq!(shown(both, &nobodys), (Vec::new(), 1), "an owner is asked for, too");
}

#[test]
fn a_port_turned_round() {
    let told = "
         0 seeded
        10 state CLOSE SYN_SENT lport=0
        15 state SYN_SENT ESTABLISHED
        20 state CLOSE SYN_SENT id=2 lport=0
        21 state SYN_SENT CLOSE id=2 lport=0
    ";
    let but = |port| Criteria { lports: Pick::all_but(vec![port..=port]), ..Criteria::default() };
    assert_eq!(shown(but(1001), told).0.len(), 2, "the other never had a port");
    assert_eq!(shown(but(9), told).0.len(), 4);
    // One whose port the kernel side leaves out: its first step is from before it had one.
    let left_out = told.split("15 state").next().unwrap().to_owned() + "120 tick";
    assert_eq!(shown(but(1001), &left_out), (Vec::new(), 0));
    let but = |port| Criteria { rports: Pick::all_but(vec![port..=port]), ..Criteria::default() };
    assert_eq!((shown(but(80), told).0.len(), shown(but(81), told).0.len()), (0, 4));
}

/// Those that select lines.
#[test]
fn reasons_and_times() {
    let admitted = |steps: Steps, told: &str| {
        let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
        let mut updates = Vec::new();
        events(told).iter().for_each(|event| model.apply(event, &mut updates));
        model.finish(&mut updates);
        let line = |update: &Update| match update {
            Update::Transition(transition) if steps.admit(transition) => Some(step(transition)),
            Update::Failed(failure) if steps.admit_failure(failure) => Some(format!("{:?}", failure.why)),
            _ => None,
        };
        updates.iter().filter_map(line).collect::<Vec<_>>()
    };
    let told = "
         5 seed CLOSE_WAIT id=7 since=1
         6 seeded
        10 state CLOSE SYN_SENT
       900 state SYN_SENT CLOSE err=111
      1000 state CLOSE SYN_SENT id=2
      1001 state SYN_SENT ESTABLISHED id=2
      1100 state ESTABLISHED FIN_WAIT1 id=2
      1101 state FIN_WAIT1 FIN_WAIT2 id=2
      1102 arm TIME_WAIT id=2
      2000 cancel TIME_WAIT id=2 due=61102 stack=tcp_v4_rcv,tcp_timewait_state_process
      3000 state CLOSE_WAIT LAST_ACK id=7
      4000 tick
    ";
    let words = |texts: &[&str]| texts.iter().map(|text| Word::of(text).unwrap()).collect::<Vec<_>>();
    let with = |texts: &[&str]| Steps { reasons: words(texts).into(), longer_than_ns: None };
    let reset = admitted(Steps::default(), told).into_iter().find(|line| line.contains("TIME_WAIT -> CLOSE")).unwrap();
    let reason = reset.split(' ').nth(6).unwrap().to_owned();
    assert_eq!(admitted(with(&[&reason]), told), std::slice::from_ref(&reset));
    assert_eq!(admitted(with(&["refused"]), told), ["Refused"]);
    let all = admitted(Steps::default(), told).len();
    let but = Steps { reasons: Pick::all_but(words(&[&reason, "refused"])), longer_than_ns: None };
    assert_eq!(admitted(but, told).len(), all - 2);
    let longer = |ms: u64| Steps { longer_than_ns: Some(ms * 1_000_000), ..Steps::default() };
    assert_eq!(
        admitted(longer(500), told),
        ["900 #1 SYN_SENT -> CLOSE 890 unknown", reset.as_str(), "3000 #7 CLOSE_WAIT -> LAST_ACK - older"],
        "the last had lasted 3 s at least"
    );
    assert_eq!(admitted(longer(890), told).len(), 2, "longer, not as long");
}

/// A cgroup that nobody could name yet may be the one that is wanted: what it did is counted as undecided, and not dropped in silence.
#[test]
fn a_cgroup_without_a_name_is_undecided() {
    let criteria = Criteria { cgroups: vec!["/young.slice".to_owned()].into(), ..Criteria::default() };
    let told = "0 seeded
                10 state CLOSE SYN_SENT by=curl
                11 state SYN_SENT ESTABLISHED
                12 state ESTABLISHED CLOSE";
    assert_eq!(shown(criteria, told), (vec![], 1));
}

/// A connection that `--state` selects is followed on, and what is said of those in TIME_WAIT is of the same ones as their number.
#[test]
fn what_is_there_is_counted_alike_for_every_state() {
    for recording in ["incident", "reasons", "handshakes"] {
        for state in ["SYN_SENT", "ESTABLISHED", "CLOSE_WAIT", "TIME_WAIT"] {
            let file = crate::support::fixture(recording);
            let ran = crate::support::run(["stat", "--json", "--state", state, "--from", file.to_str().unwrap()]);
            let stat: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
            let made: u64 = stat["time_wait"]["made"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
            assert_eq!(stat["states"]["TIME_WAIT"]["now"], made, "{recording} {state}: {}", stat["time_wait"]["made"]);
        }
    }
}
