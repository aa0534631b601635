//! A filter selects connections: what comes before the port or the owner is known waits, and is shown or dropped with
//! its connection. On stories (see there), through the lifecycle.

use std::convert::Infallible;

use tcpwait::{
    lifecycle::{Lifecycle, SegmentSource, Update},
    names::Names,
    select::{Criteria, Selector},
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
    let by = |comm: &str| Criteria { comms: vec![comm.to_owned()], ..Criteria::default() };
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
    let port = |port| Criteria { lports: vec![port], ..Criteria::default() };
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

/// A cgroup that nobody could name yet may be the one that is wanted: what it did is counted as undecided, and not dropped in silence.
#[test]
fn a_cgroup_without_a_name_is_undecided() {
    let criteria = Criteria { cgroups: vec!["/young.slice".to_owned()], ..Criteria::default() };
    let told = "0 seeded
                10 state CLOSE SYN_SENT by=curl
                11 state SYN_SENT ESTABLISHED
                12 state ESTABLISHED CLOSE";
    assert_eq!(shown(criteria, told), (vec![], 1));
}
