//! Which side made a connection, as the model tells it with each step: by its birth, by what a listing says, or not at all.

use tcpwait::{
    event::{Event, Fact},
    lifecycle::{Lifecycle, SegmentSource, Update},
    origin::{Endpoint, Origin},
};

use crate::stories::{events, symbols};

const UNKNOWN: Origin = Origin::Unknown(Some(Endpoint::Local));

/// The origin that each step tells, in the order in which they are heard, and of the first whether bind() gave the port.
fn told(events: &[Event]) -> (Vec<Origin>, Option<bool>) {
    let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
    let mut updates = Vec::new();
    events.iter().for_each(|event| model.apply(event, &mut updates));
    model.finish(&mut updates);
    let steps: Vec<_> = updates
        .iter()
        .filter_map(|update| match update {
            Update::Transition(step) if step.flow.rport != 0 => Some(step),
            _ => None,
        })
        .collect();
    (steps.iter().map(|step| step.origin).collect(), steps.first().and_then(|step| step.bound))
}

#[track_caller]
fn all(story: &str, origin: Origin) {
    let (origins, _) = told(&events(story));
    assert!(!origins.is_empty() && origins.iter().all(|told| *told == origin), "{origins:?}");
}

const TO_TIME_WAIT: &str = "30 state ESTABLISHED FIN_WAIT1
    30 state FIN_WAIT1 FIN_WAIT2
    31 arm TIME_WAIT
    60100 expire TIME_WAIT due=60031";

#[test]
fn what_connects_is_made_here_to_the_end() {
    all(&format!("0 seeded\n10 state CLOSE SYN_SENT\n20 state SYN_SENT ESTABLISHED\n{TO_TIME_WAIT}"), Origin::Here);
}

/// Whoever listens, or has.
#[test]
fn what_is_accepted_is_made_there_although_its_listener_goes() {
    let born = "10 syn\n11 state LISTEN SYN_RECV sk=5 id=0\n11 state SYN_RECV ESTABLISHED sk=5 of-request\n";
    let closed = "12 state LISTEN CLOSE id=9 listener\n";
    all(&format!("0 seeded\n{born}{closed}{TO_TIME_WAIT}"), Origin::There);
    all("0 seeded\n10 syn\n5000 give-up\n5001 tick", Origin::There);
}

/// A socket that connects to itself, and two that connect to each other, pass SYN_RECV as well.
#[test]
fn a_simultaneous_open_is_made_here() {
    let opened = "10 state CLOSE SYN_SENT\n11 state SYN_SENT SYN_RECV\n12 state SYN_RECV ESTABLISHED\n";
    all(&format!("0 seeded\n{opened}{TO_TIME_WAIT}"), Origin::Here);
    // In the middle of which the trace begins: only its addresses can tell.
    let mut events = events("11 state SYN_RECV ESTABLISHED lport=40000");
    assert_eq!(told(&events).0, [Origin::Here], "towards port 80");
    for event in &mut events {
        let Fact::State(change) = &mut event.fact else { continue };
        change.flow.rport = 4000;
    }
    assert_eq!(told(&events).0, [Origin::Unknown(Some(Endpoint::Remote))]);
    for event in &mut events {
        let Fact::State(change) = &mut event.fact else { continue };
        (change.flow.raddr, change.flow.rport) = (change.flow.laddr, change.flow.lport);
    }
    assert_eq!(told(&events).0, [Origin::Here]);
}

/// TCP_REPAIR passes SYN_SENT without a SYN: where nobody listens it is not known, and else it was accepted.
#[test]
fn what_is_restored_is_not_made_by_that() {
    let restored = "10 state CLOSE SYN_SENT repair\n10 state SYN_SENT ESTABLISHED\n";
    let elsewhere = |story: &str| {
        let mut events = events(story);
        for event in &mut events {
            match &mut event.fact {
                Fact::State(change) if change.flow.rport != 0 => change.flow.rport = 4000,
                Fact::State(change) => change.flow.lport = 1001,
                Fact::Armed { mini, .. } | Fact::Expired(mini) => mini.flow.rport = 4000,
                _ => {}
            }
        }
        told(&events).0
    };
    let gone = elsewhere(&format!("0 seeded\n{restored}{TO_TIME_WAIT}"));
    assert!(gone.len() == 6 && gone.iter().all(|origin| *origin == Origin::Unknown(None)), "{gone:?}");
    let listens = elsewhere(&format!("0 seeded\n1 state CLOSE LISTEN id=9 listener\n{restored}{TO_TIME_WAIT}"));
    assert!(listens.len() == 6 && listens.iter().all(|origin| *origin == Origin::There), "{listens:?}");
}

/// What the listing said, and with a recording that did not ask, what the addresses tell.
#[test]
fn what_is_older_is_as_the_listing_tells() {
    let story = "0 seed TIME_WAIT mini left=30000 lport=40000\n1 seeded\n30000 expire TIME_WAIT due=30000 lport=40000";
    for said in [Origin::Here, Origin::There, UNKNOWN, Origin::Unknown(Some(Endpoint::Remote)), Origin::Unknown(None)] {
        let mut events = events(story);
        if let Fact::Seed(seed) = &mut events[0].fact {
            seed.origin = Some(said);
        }
        assert_eq!(told(&events).0, [said]);
    }
    assert_eq!(told(&events(story)).0, [Origin::Here], "towards port 80");
    // An event that came before the seed does not know better.
    let mut events = events("0 state ESTABLISHED CLOSE_WAIT\n1 seed CLOSE_WAIT\n2 seeded\n5 state CLOSE_WAIT LAST_ACK");
    for event in &mut events {
        match &mut event.fact {
            Fact::State(change) => change.flow.rport = 4000,
            Fact::Seed(seed) => (seed.flow.rport, seed.origin) = (4000, Some(Origin::There)),
            _ => {}
        }
    }
    assert_eq!(told(&events).0, [Origin::Unknown(Some(Endpoint::Remote)), Origin::There]);
}

/// connect() chooses a port after the event, so one that is there came from bind().
#[test]
fn a_bound_port_is_there_before_connect_chooses_one() {
    let chosen = told(&events("10 state CLOSE SYN_SENT lport=0\n11 state SYN_SENT ESTABLISHED")).1;
    let bound = told(&events("10 state CLOSE SYN_SENT lport=4711\n11 state SYN_SENT ESTABLISHED lport=4711")).1;
    assert_eq!((chosen, bound), (Some(false), Some(true)));
}
