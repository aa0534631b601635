//! Stories of ports: steps of connections, and what a report says of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::{
    PortModel,
    advice::PortCause,
    forecast::Forecast,
    report::{PortsReport, Reusable},
    settings::PortSettings,
    states::PortStates,
};
use crate::{
    event::{Event, Fact, HookContext, Seed, Task},
    ledger::Ledger,
    lifecycle::{Call, Failure, OlderConnection, Reason, Transition, Update, Why},
    origin::Origin,
    tcp::{Flow, NetnsId, State},
};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const NETNS: NetnsId = NetnsId::new(7, 0);

fn flow(lport: u16) -> Flow {
    let [laddr, raddr] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last).into());
    Flow { netns: NETNS, bound_dev_if: 0, laddr, raddr, lport, rport: 80 }
}

fn loopback(lport: u16) -> Flow {
    let address = Ipv4Addr::LOCALHOST.into();
    Flow { laddr: address, raddr: address, ..flow(lport) }
}

fn task(pid: u32, name: &[u8]) -> Task {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    Task { pid, uid: 0, cgroup: 0, comm }
}

fn settings(tw_reuse: u8) -> PortSettings {
    PortSettings {
        range: Some(20_000..=20_019),
        reserved: Vec::new(),
        tw_reuse: Some(tw_reuse),
        tw_reuse_delay_ms: Some(1000),
        timestamps: Some(1),
    }
}

fn traced(tw_reuse: u8) -> PortModel {
    let mut ports = PortModel::new(0, true, true);
    ports.set_settings(NETNS, settings(tw_reuse));
    ports
}

fn report(ports: &mut PortModel, end_ns: u64) -> PortsReport {
    ports.report(end_ns, false, 10, Ledger::default())
}

fn tell(ports: &mut PortModel, update: Update) {
    ports.observe(&update);
    ports.update(&update);
}

fn step(ports: &mut PortModel, time_ns: u64, id: u64, flow: Flow, from: State, to: State) {
    let step = Transition {
        owner: Some(task(42, b"client").into()),
        timestamps: (to == State::TimeWait).then_some(true),
        dwell_ns: (from == State::TimeWait).then_some(60 * S),
        reason: (from == State::TimeWait).then_some(Reason::Expired),
        origin: if from == State::Listen || flow.rport >= 551 { Origin::There } else { Origin::Here },
        bound: (to == State::SynSent).then_some(false),
        ..Transition::new(time_ns, id, flow, Some(from), to)
    };
    tell(ports, Update::Transition(step));
}

fn life(ports: &mut PortModel, id: u64, flow: Flow, steps: &[(u64, State, State)]) {
    for (time_ns, from, to) in steps {
        step(ports, *time_ns, id, flow, *from, *to);
    }
}

/// From connect() at this time to TIME_WAIT.
fn come_and_go(ports: &mut PortModel, time_ns: u64, id: u64, flow: Flow) {
    let steps = [
        (time_ns, State::Close, State::SynSent),
        (time_ns, State::SynSent, State::Established),
        (time_ns + MS, State::Established, State::FinWait1),
        (time_ns + MS, State::FinWait1, State::FinWait2),
        (time_ns + 2 * MS, State::FinWait2, State::TimeWait),
    ];
    life(ports, id, flow, &steps);
}

fn found(ports: &mut PortModel, id: u64, flow: Flow, state: State, time_ns: u64, expires_ms: u32) {
    let seed = Seed {
        cookie: id,
        flow,
        task: None,
        state,
        mini: state == State::TimeWait,
        expires_ms,
        retransmits: 0,
        origin: None,
        v6only: None,
        by_ns: None,
    };
    let origin = if flow.rport == 80 { Origin::Here } else { Origin::There };
    ports.event(&Event { time_ns, cpu: 0, context: HookContext::Cpu(0), fact: Fact::Seed(seed) });
    tell(ports, Update::Found(OlderConnection { id, flow, state, owner: None, origin, by_ns: None }));
}

fn fail(ports: &mut PortModel, time_ns: u64, why: Why) {
    let failure = Failure {
        time_ns,
        id: 0,
        flow: flow(0),
        call: Call::Connect,
        errno: 99,
        soft_errno: 0,
        why,
        owner: Some(task(43, b"other").into()),
        retransmits: None,
        holders: None,
        search: None,
        v6only: None,
    };
    tell(ports, Update::Failed(Box::new(failure)));
}

#[test]
fn a_steady_client_fills_the_range_when_forecast() {
    let mut ports = traced(2);
    for n in 0..20u16 {
        come_and_go(&mut ports, u64::from(n) * S, n.into(), flow(20_000 + n));
        if n >= 5 {
            let now_ns = u64::from(n) * S + 500 * MS;
            match report(&mut ports, now_ns).rows[0].forecast {
                Some(Forecast::FullIn { in_ns }) => {
                    let full_s = (now_ns + in_ns) as f64 / S as f64;
                    assert!((18.0..20.6).contains(&full_s), "{n}: {full_s}");
                }
                other => assert_eq!((n, other.is_some()), (19, true)),
            }
        }
    }
    let full = report(&mut ports, 20 * S);
    let row = &full.rows[0];
    assert_eq!((row.in_use, row.size, row.share), (20, Some(20), Some(1.0)));
    assert_eq!(row.states, PortStates { time_wait: 20, ..PortStates::default() });
    assert!(
        matches!(row.forecast, Some(Forecast::Full { next_free_ns: Some(ns) }) if ns.abs_diff(40 * S) < S),
        "{row:?}"
    );
    assert_eq!(row.reusable, Reusable { now: 0, not: 20, unknown: 0 });
    let holder = row.holder.unwrap();
    assert_eq!((holder.process.pid, holder.ports), (Some(42), 20));
    assert_eq!(row.advice.as_ref().unwrap().cause, PortCause::TimeWait);
    // One a second for a minute.
    assert!((55.0..65.0).contains(&row.needed.unwrap()), "{row:?}");
}

#[test]
fn where_connect_may_reuse_it_stays_steady() {
    let mut ports = traced(2);
    for n in 0..20u16 {
        come_and_go(&mut ports, u64::from(n) * 250 * MS, n.into(), loopback(20_000 + n));
    }
    let row = report(&mut ports, 5 * S).rows[0].clone();
    assert!(row.reusable.now >= 15 && row.reusable.not <= 5, "{row:?}");
    assert!(matches!(row.forecast, Some(Forecast::Steady { share, .. }) if share < 0.3), "{row:?}");
    // The same elsewhere is full.
    let mut ports = traced(2);
    for n in 0..20u16 {
        come_and_go(&mut ports, u64::from(n) * 250 * MS, n.into(), flow(20_000 + n));
    }
    assert!(matches!(report(&mut ports, 5 * S).rows[0].forecast, Some(Forecast::Full { .. })));
}

#[test]
fn ports_come_free_at_the_end_of_time_wait() {
    let mut ports = traced(2);
    come_and_go(&mut ports, S, 1, flow(20_000));
    step(&mut ports, 61 * S, 1, flow(20_000), State::TimeWait, State::Close);
    let report = report(&mut ports, 62 * S);
    assert_eq!(report.rows.len(), 0, "{report:?}");
    come_and_go(&mut ports, 63 * S, 2, flow(20_001));
    let row = self::report(&mut ports, 64 * S).rows[0].clone();
    assert_eq!((row.in_use, row.held.count, row.held.mean_ns), (1, 1, Some(60 * S)));
}

#[test]
fn accepted_connections_hold_no_port() {
    let mut ports = traced(2);
    let server = Flow { lport: 20_005, rport: 555, ..flow(0) };
    let listener = Flow { raddr: Ipv4Addr::UNSPECIFIED.into(), rport: 0, ..server };
    // One that is there before its listener is listed, one that is made, one of which only the middle is seen.
    found(&mut ports, 1, Flow { rport: 551, ..server }, State::TimeWait, 0, 30_000);
    found(&mut ports, 9, listener, State::Listen, 0, 0);
    life(
        &mut ports,
        2,
        server,
        &[
            (S, State::Listen, State::SynRecv),
            (S, State::SynRecv, State::Established),
            (2 * S, State::Established, State::FinWait1),
            (2 * S, State::FinWait1, State::FinWait2),
            (2 * S, State::FinWait2, State::TimeWait),
        ],
    );
    step(&mut ports, 3 * S, 3, Flow { rport: 553, ..server }, State::Established, State::CloseWait);
    let all = report(&mut ports, 4 * S);
    assert_eq!((all.rows.len(), all.others.destinations), (0, 0), "{all:?}");
    // But what listens takes a port of the range from everybody.
    come_and_go(&mut ports, 4 * S, 4, flow(20_001));
    assert_eq!(report(&mut ports, 5 * S).rows[0].size, Some(19));
    step(&mut ports, 5 * S, 9, listener, State::Listen, State::Close);
    // Those that were accepted there last, and with them the port's bind bucket.
    assert_eq!(report(&mut ports, 6 * S).rows[0].size, Some(19));
    step(&mut ports, 6 * S, 1, Flow { rport: 551, ..server }, State::TimeWait, State::Close);
    step(&mut ports, 6 * S, 2, server, State::TimeWait, State::Close);
    step(&mut ports, 6 * S, 3, Flow { rport: 553, ..server }, State::LastAck, State::Close);
    let row = report(&mut ports, 7 * S).rows[0].clone();
    assert_eq!((row.size, row.in_use), (Some(20), 1));
}

/// bind() gives a port once to each interface; what is bound to none is in the way of all, and all in its way.
#[test]
fn bind_gives_a_port_once_to_each_interface() {
    let mut ports = traced(0);
    for (id, (bound_dev_if, lport)) in [(2, 20_000), (2, 20_001), (3, 20_000), (0, 20_002)].into_iter().enumerate() {
        let step = Transition {
            origin: Origin::Here,
            bound: Some(true),
            ..Transition::new(S, id as u64, Flow { bound_dev_if, ..flow(lport) }, Some(State::Close), State::SynSent)
        };
        tell(&mut ports, Update::Transition(step));
    }
    let mut rows = report(&mut ports, 2 * S).bound.unwrap();
    rows.sort_by_key(|row| row.source);
    let found: Vec<_> = rows.iter().map(|row| (row.source.bound_dev_if, row.bound, row.in_use)).collect();
    assert_eq!(found, [(0, 3, 3), (2, 3, 3), (3, 2, 2)]);
}

/// A port that bind() gave is closed to everybody else, whatever the destination.
#[test]
fn what_bind_gives_is_taken_for_all_destinations() {
    let mut ports = traced(0);
    let to = |n: u16| Flow { raddr: Ipv4Addr::new(10, 9, 0, n as u8).into(), ..flow(20_000 + n) };
    for n in 0..19u16 {
        let step = Transition {
            origin: Origin::Here,
            bound: Some(true),
            owner: Some(task(42, b"proxy").into()),
            ..Transition::new(u64::from(n) * S, n.into(), to(n), Some(State::Close), State::SynSent)
        };
        tell(&mut ports, Update::Transition(step));
        self::step(&mut ports, u64::from(n) * S, n.into(), to(n), State::SynSent, State::Established);
    }
    // Another chooses its port by connect(), and one is older.
    come_and_go(&mut ports, 19 * S, 50, flow(20_019));
    let all = report(&mut ports, 20 * S);
    let [bound] = all.bound.as_deref().unwrap() else { panic!("{all:?}") };
    assert_eq!((bound.bound, bound.by_connect, bound.in_use, bound.size), (19, 1, 20, Some(20)), "{bound:?}");
    assert!(matches!(bound.forecast, Some(Forecast::Full { .. })), "{bound:?}");
    assert_eq!(bound.holder.unwrap().process.pid, Some(42));
    for row in &all.rows {
        let others = if row.destination.rport == 80 && row.destination.raddr == flow(0).raddr { 19 } else { 18 };
        assert_eq!((row.in_use, row.bound_elsewhere), (1, Some(others)), "{row:?}");
        assert!(row.share.unwrap() > 0.9, "{row:?}");
    }
    let unbound = all.rows.iter().find(|row| row.destination.raddr == flow(0).raddr).unwrap();
    assert!(matches!(unbound.forecast, Some(Forecast::Full { .. })), "{unbound:?}");
    assert_eq!(unbound.advice.as_ref().unwrap().cause, PortCause::Bound);
    assert_eq!((all.bound.is_some(), all.rows.iter().all(|row| row.bound_elsewhere.is_some())), (true, true));
    // As long as there was room: when it will be full.
    let mut ports = traced(0);
    for n in 0..8u16 {
        let step = Transition {
            origin: Origin::Here,
            bound: Some(true),
            ..Transition::new(u64::from(n) * S, n.into(), to(n), Some(State::Close), State::SynSent)
        };
        tell(&mut ports, Update::Transition(step));
    }
    let all = report(&mut ports, 8 * S);
    let full_s = |forecast: Option<Forecast>| match forecast {
        Some(Forecast::FullIn { in_ns }) => in_ns as f64 / S as f64,
        other => panic!("{other:?}"),
    };
    assert!((full_s(all.bound.as_deref().unwrap()[0].forecast) - 12.0).abs() < 2.0, "{all:?}");
    assert!((full_s(all.rows[0].forecast) - 12.0).abs() < 2.0, "{all:?}");
}

/// What nobody knows is in no row, and said.
#[test]
fn what_may_have_been_accepted_is_not_outgoing() {
    let mut ports = PortModel::new(0, false, true);
    ports.set_settings(NETNS, settings(1));
    let flow = flow(20_005);
    for origin in [Origin::default(), Origin::There] {
        let found = OlderConnection { id: 7, flow, state: State::TimeWait, owner: None, origin, by_ns: None };
        tell(&mut ports, Update::Found(found));
        let all = report(&mut ports, S);
        assert_eq!((all.rows.len(), all.others.destinations), (0, 0), "{all:?}");
        assert_eq!(all.unknown, u64::from(origin != Origin::There));
        assert!(all.bound.is_none(), "a listing does not tell");
    }
}

#[test]
fn what_is_there_before_is_listed_with_its_own_end() {
    let mut ports = PortModel::new(0, false, true);
    ports.set_settings(NETNS, settings(1));
    found(&mut ports, 1, flow(20_000), State::TimeWait, 100 * S, 59_500);
    found(&mut ports, 2, flow(20_001), State::TimeWait, 100 * S, 20_000);
    found(&mut ports, 3, flow(20_002), State::Established, 100 * S, 0);
    found(&mut ports, 4, flow(33_000), State::Established, 100 * S, 0);
    let all = report(&mut ports, 100 * S);
    let row = &all.rows[0];
    assert_eq!((row.in_use, row.outside, row.states.time_wait), (3, 1, 2));
    assert_eq!((row.rates, row.forecast, row.needed), (None, None, None));
    // The younger is too young, of the other it is not known whether it has timestamps.
    assert_eq!(row.reusable, Reusable { now: 0, not: 1, unknown: 1 });
    assert!(!all.traced);
    // Without settings nothing is known of the range.
    let mut unknown = PortModel::new(0, false, true);
    found(&mut unknown, 1, flow(20_000), State::TimeWait, 100 * S, 59_500);
    let row = report(&mut unknown, 100 * S).rows[0].clone();
    assert_eq!((row.in_use, row.size, row.share, row.forecast), (1, None, None, None));
    assert_eq!(row.reusable, Reusable { now: 0, not: 1, unknown: 0 });
}

#[test]
fn a_connect_that_got_no_port_is_a_failure_and_no_connection() {
    let mut ports = traced(2);
    for n in 0..20u16 {
        come_and_go(&mut ports, u64::from(n) * 100 * MS, n.into(), flow(20_000 + n));
    }
    for n in 0..5u64 {
        life(
            &mut ports,
            100 + n,
            flow(0),
            &[(3 * S, State::Close, State::SynSent), (3 * S, State::SynSent, State::Close)],
        );
        fail(&mut ports, 3 * S, Why::NoFreePort);
    }
    fail(&mut ports, 3 * S, Why::Refused);
    let all = report(&mut ports, 4 * S);
    let row = &all.rows[0];
    let rates = row.rates.unwrap();
    assert_eq!((row.in_use, rates.taken_per_s, rates.failed_per_s), (20, 5.0, 1.25), "{row:?}");
    assert_eq!((row.failures.len(), row.failures[0].why, row.failures[0].count), (2, Why::NoFreePort, 5));
    // A connect() whose port comes late counts once.
    let mut ports = traced(2);
    step(&mut ports, S, 1, flow(0), State::Close, State::SynSent);
    assert_eq!(report(&mut ports, 2 * S).rows[0].states.connecting, 1);
    step(&mut ports, 3 * S, 1, flow(20_003), State::SynSent, State::Established);
    let row = report(&mut ports, 4 * S).rows[0].clone();
    assert_eq!((row.in_use, row.states.established, row.rates.unwrap().taken_per_s), (1, 1, 0.25));
}

#[test]
fn failing_in_a_free_range_is_full_and_said_to_be_early() {
    let mut ports = traced(2);
    come_and_go(&mut ports, S, 1, flow(20_000));
    fail(&mut ports, 2 * S, Why::NoFreePort);
    let row = report(&mut ports, 3 * S).rows[0].clone();
    assert!(matches!(row.forecast, Some(Forecast::Full { .. })) && row.fails_early, "{row:?}");
    assert_eq!(row.advice.unwrap().cause, PortCause::Elsewhere);
    let row = report(&mut ports, 20 * S).rows[0].clone();
    assert!(!matches!(row.forecast, Some(Forecast::Full { .. })) && !row.fails_early, "{row:?}");
}

#[test]
fn the_worst_comes_first_and_the_rest_is_added_up() {
    let mut ports = traced(2);
    let to = |n: u8, lport| Flow { raddr: Ipv4Addr::new(10, 9, 0, n).into(), ..flow(lport) };
    let mut id = 0;
    for n in 0..30u8 {
        for lport in 0..u16::from(n % 20) {
            id += 1;
            come_and_go(&mut ports, u64::from(lport) * 10 * MS, id, to(n, 20_000 + lport));
        }
    }
    let report = ports.report(2 * S, false, 5, Ledger::default());
    let used: Vec<u64> = report.rows.iter().map(|row| row.in_use).collect();
    assert_eq!(used, [19, 18, 17, 16, 15]);
    // Ten of thirty have none, or are shown.
    let all: u64 = (0..30).map(|n| n % 20).sum();
    assert_eq!(report.others.in_use + used.iter().sum::<u64>(), all);
    assert_eq!(report.others.destinations, 28 - 5);
}

proptest! {
    /// However connections step, the ports in use are those that took a step and did not end.
    #[test]
    fn ports_in_use_are_those_not_closed(steps in prop::collection::vec((0..8u64, 0..5u8), 0..200)) {
        let mut ports = traced(2);
        let mut now: std::collections::BTreeMap<u64, State> = std::collections::BTreeMap::new();
        for (time_ns, (id, to)) in steps.into_iter().enumerate() {
            let flow = flow(20_000 + id as u16);
            let from = now.get(&id).copied().unwrap_or(State::Close);
            let to = match (from, to) {
                (State::Close, _) => State::SynSent,
                (_, 0) => State::Close,
                (State::SynSent, _) => State::Established,
                (State::Established, 1) => State::CloseWait,
                (State::Established, _) => State::FinWait1,
                (State::FinWait1, _) => State::FinWait2,
                (State::FinWait2, _) => State::TimeWait,
                (State::CloseWait, _) => State::LastAck,
                _ => State::Close,
            };
            step(&mut ports, time_ns as u64, id, flow, from, to);
            if to == State::Close { now.remove(&id) } else { now.insert(id, to) };
            let report = report(&mut ports, time_ns as u64 + 1);
            let row = report.rows.first();
            prop_assert_eq!(row.map_or(0, |row| row.in_use), now.len() as u64);
            let waiting = now.values().filter(|state| **state == State::TimeWait).count() as u64;
            prop_assert_eq!(row.map_or(0, |row| row.states.time_wait), waiting);
            prop_assert_eq!(row.map_or(0, |row| row.states.fin_wait2), now.values().filter(|state| **state == State::FinWait2).count() as u64);
        }
    }
}

/// After a loss rates are at least for as long as they reach back to it, nothing is foretold of them, and counts stay at least. What is there
/// is uncertain until it was listed anew.
#[test]
fn after_a_loss_nothing_is_said_for_certain() {
    let mut ports = traced(0);
    let connect = |ports: &mut PortModel, n: u16| {
        let time_ns = u64::from(n) * S;
        for (from, to) in [(State::Close, State::SynSent), (State::SynSent, State::Established)] {
            let step = Transition::new(time_ns, n.into(), flow(20_000 + n), Some(from), to);
            ports.update(&Update::Transition(Transition { origin: Origin::Here, ..step }));
        }
    };
    (1..8).for_each(|n| connect(&mut ports, n));
    let sure = report(&mut ports, 8 * S);
    let row = &sure.rows[0];
    assert!(!sure.at_least && !row.rates.unwrap().at_least && row.needed.is_some() && row.forecast.is_some());

    (8..12).for_each(|n| connect(&mut ports, n));
    let lossy = Ledger { lost_by_then: 5, ..Ledger::default() };
    let unsure = ports.report(12 * S, false, 10, Ledger { now_unsure: true, ..lossy });
    let row = &unsure.rows[0];
    assert!(unsure.at_least && row.rates.unwrap().at_least && row.rates.unwrap().growth_per_s == 0.0);
    assert_eq!((row.needed, row.forecast), (None, None));

    // Listed anew, but the rates still reach back to the loss.
    let listed = ports.report(13 * S, false, 10, lossy);
    assert!(listed.at_least && listed.rows[0].rates.unwrap().at_least && listed.rows[0].forecast.is_none());

    (13..20).for_each(|n| connect(&mut ports, n));
    let later = ports.report(60 * S, false, 10, lossy);
    assert!(later.at_least && !later.rows[0].rates.unwrap().at_least && later.rows[0].forecast.is_some());
}

/// Ports that are full as far as is known may not be; connect() that fails says it for certain.
#[test]
fn what_is_not_certain_is_not_full() {
    let mut ports = traced(0);
    for n in 0..20 {
        let found = OlderConnection {
            id: 1 + u64::from(n),
            flow: flow(20_000 + n),
            state: State::Established,
            owner: None,
            origin: Origin::Here,
            by_ns: None,
        };
        ports.update(&Update::Found(found));
    }
    assert!(matches!(report(&mut ports, S).rows[0].forecast, Some(Forecast::Full { .. })));
    let unsure = Ledger { lost_by_then: 1, now_unsure: true, ..Ledger::default() };
    assert_eq!(ports.report(2 * S, false, 10, unsure).rows[0].forecast, None);
}

fn wide() -> PortModel {
    let mut ports = traced(2);
    ports.set_settings(NETNS, PortSettings { range: Some(20_000..=20_999), ..settings(2) });
    ports
}

/// Orphans in FIN_WAIT2, whose peer does not close: each ends a minute later, by tcp_fin_timeout.
#[test]
fn what_ends_after_a_minute_levels_off() {
    let mut ports = wide();
    for n in 0..360u16 {
        let (id, begun_ns) = (u64::from(n), u64::from(n) * 200 * MS);
        let ended = (begun_ns >= 60 * S).then(|| id - 300);
        if let Some(ended) = ended {
            step(&mut ports, begun_ns, ended, flow(20_000 + ended as u16), State::FinWait2, State::Close);
        }
        let steps = [
            (begun_ns, State::Close, State::SynSent),
            (begun_ns, State::SynSent, State::Established),
            (begun_ns, State::Established, State::FinWait1),
            (begun_ns + MS, State::FinWait1, State::FinWait2),
        ];
        life(&mut ports, id, flow(20_000 + n), &steps);
    }
    let row = report(&mut ports, 72 * S).rows[0].clone();
    assert_eq!((row.in_use, row.held.mean_ns), (300, Some(60 * S)), "{row:?}");
    assert!(matches!(row.forecast, Some(Forecast::Steady { share, .. }) if (0.28..0.33).contains(&share)), "{row:?}");
}

/// One of two is never closed; the others take a tenth of a second.
#[test]
fn a_leak_beside_others_fills_the_range() {
    let mut ports = wide();
    for n in 0..600u16 {
        let (id, begun_ns) = (u64::from(n), u64::from(n) * 100 * MS);
        let steps = [(begun_ns, State::Close, State::SynSent), (begun_ns, State::SynSent, State::Established)];
        life(&mut ports, id, flow(20_000 + n), &steps);
        if n % 2 != 0 {
            step(&mut ports, begun_ns + 100 * MS, id, flow(20_000 + n), State::Established, State::Close);
        }
    }
    let row = report(&mut ports, 60 * S).rows[0].clone();
    assert!(matches!(row.forecast, Some(Forecast::FullIn { .. })), "{row:?}");
    // Those that stay are older than those that went ever were: how long a port is held nobody knows.
    assert_eq!((row.in_use, row.held.count, row.held.mean_ns), (300, 300, None), "{row:?}");
}
