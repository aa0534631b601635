//! The aggregates against a naive computation from the same transitions: whatever happens, cut into whatever intervals.

use std::{collections::HashMap, net::Ipv4Addr};

use proptest::prelude::*;
use tcpwait::{
    aggregate::{
        Aggregate, StatOptions,
        audit::AuditReport,
        by::GroupBy,
        census::SocketCensus,
        group_row::GroupRow,
        groups::{MAX_GROUPS, Sort},
        report::StatReport,
    },
    event::Event,
    ledger::Ledger,
    lifecycle::{Lifecycle, Reason, SegmentSource, Timing, Transition, Update},
    names::Names,
    tcp::{Flow, State},
};

use crate::{
    properties::{any_events, connections},
    stories::{flow, symbols, task},
};

const TOP: usize = 2;

fn wanted() -> StatOptions {
    StatOptions { by: vec![GroupBy::Service, GroupBy::Process], netns_implied: false, sort: Sort::Entered, top: TOP }
}

fn updates(events: &[Event]) -> Vec<Update> {
    let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
    let mut updates = Vec::new();
    for event in events {
        model.apply(event, &mut updates);
    }
    model.finish(&mut updates);
    updates
}

/// Reports on intervals that end after these updates, and on all of it.
fn reports(updates: &[Update], cuts: &[usize]) -> (Vec<StatReport>, StatReport) {
    let mut aggregate = Aggregate::new(wanted(), 0);
    let mut intervals = Vec::new();
    for (index, update) in updates.iter().enumerate() {
        aggregate.update(update, &Names::default());
        if cuts.contains(&index) {
            intervals.push(aggregate.report(
                index as u64 + 1,
                false,
                Ledger::default(),
                AuditReport::default(),
                SocketCensus::default(),
            ));
        }
    }
    let end_ns = updates.len() as u64 + 1;
    intervals.push(aggregate.report(end_ns, false, Ledger::default(), AuditReport::default(), SocketCensus::default()));
    let last = aggregate.report(end_ns, true, Ledger::default(), AuditReport::default(), SocketCensus::default());
    (intervals, last)
}

fn steps<'a>(updates: &'a [Update]) -> Vec<&'a Transition> {
    let step = |update: &'a Update| match update {
        Update::Transition(step) => Some(step),
        _ => None,
    };
    updates.iter().filter_map(step).collect()
}

fn rows(report: &StatReport) -> impl Iterator<Item = &GroupRow> {
    report.groups.groups.iter().chain([&report.groups.others])
}

/// A listener does not leave LISTEN when a connection is made through it.
fn leaves(step: &Transition, state: State) -> bool {
    step.from == Some(state) && (state != State::Listen || step.to == State::Close)
}

fn agrees_with_the_naive(updates: &[Update], report: &StatReport) -> Result<(), TestCaseError> {
    let steps = steps(updates);
    for row in &report.states {
        let state = row.state;
        prop_assert_eq!(row.entered.count, steps.iter().filter(|step| step.to == state).count() as u64, "{}", state);
        prop_assert_eq!(row.left.count, steps.iter().filter(|step| leaves(step, state)).count() as u64, "{}", state);
        let mut times: Vec<u64> =
            steps.iter().filter(|step| step.from == Some(state)).filter_map(|step| step.dwell_ns).collect();
        times.sort_unstable();
        prop_assert_eq!((row.dwell.count, row.dwell.sum_ns), (times.len() as u64, times.iter().sum::<u64>()));
        prop_assert_eq!((row.dwell.min_ns, row.dwell.max_ns), (times.first().copied(), times.last().copied()));
        let median = times.get(times.len().div_ceil(2).saturating_sub(1)).copied();
        match (median, row.dwell.p50_ns) {
            (Some(exact), Some(found)) => prop_assert!(found.abs_diff(exact) * 100 <= exact, "{found} for {exact}"),
            (exact, found) => prop_assert_eq!(exact, found),
        }
    }
    for row in &report.transitions {
        let same = |step: &&&Transition| (step.from, step.to) == (row.from, row.to);
        prop_assert_eq!(row.count, steps.iter().filter(same).count() as u64);
    }
    prop_assert_eq!(report.transitions.iter().map(|row| row.count).sum::<u64>(), steps.len() as u64);

    let time_wait = &report.time_wait;
    for reason in Reason::ALL {
        let exits = steps
            .iter()
            .filter(|step| step.from == Some(State::TimeWait) && step.reason.unwrap_or(Reason::Unknown) == reason);
        let found = time_wait.exits.iter().find(|exit| exit.reason == reason).map_or(0, |exit| exit.count);
        prop_assert_eq!(found, exits.count() as u64, "{}", reason.name());
    }
    let overflows = steps.iter().filter(|step| step.reason == Some(Reason::Overflow)).count() as u64;
    prop_assert_eq!(time_wait.overflows, overflows);
    // Each end is counted once, by reason and by the state that was left.
    let ends = &report.ends;
    prop_assert_eq!(
        ends.rows.iter().map(|row| row.count).sum::<u64>(),
        steps.iter().filter(|step| step.to == State::Close).count() as u64
    );
    for reason in Reason::ALL {
        let with: Vec<_> = steps.iter().filter(|step| step.reason == Some(reason)).collect();
        let found = ends.reasons.iter().find(|of| of.reason == reason);
        prop_assert_eq!(found.map_or(0, |of| of.count), with.len() as u64, "{}", reason.name());
        let known = with.iter().filter(|step| step.dwell_ns.is_some()).count() as u64;
        prop_assert_eq!(found.map_or(0, |of| of.dwell.count), known, "{}", reason.name());
        for state in State::ALL {
            let rows = ends.rows.iter().filter(|row| (row.reason, row.from) == (reason, Some(state)));
            let left = with.iter().filter(|step| step.from == Some(state)).count() as u64;
            prop_assert_eq!(rows.map(|row| row.count).sum::<u64>(), left, "{} {}", reason.name(), state);
        }
    }
    let made = ends.rows.iter().filter(|row| row.was_made()).map(|row| row.count).sum::<u64>();
    prop_assert_eq!(rows(report).flat_map(|row| &row.ends).map(|row| row.count).sum::<u64>(), made);
    // The columns of the groups add up.
    prop_assert_eq!(rows(report).map(|row| row.entered).sum::<u64>(), time_wait.entered.count);
    prop_assert_eq!(rows(report).map(|row| row.left).sum::<u64>(), time_wait.left.count);
    prop_assert_eq!(rows(report).map(|row| row.now).sum::<u64>(), time_wait.now);
    prop_assert_eq!(rows(report).map(|row| row.closed.total()).sum::<u64>(), time_wait.closed.total());
    prop_assert!(report.groups.groups.len() <= TOP);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_events_are_counted_as_naively(events in any_events()) {
        let updates = updates(&events);
        agrees_with_the_naive(&updates, &reports(&updates, &[]).1)?;
    }

    #[test]
    fn intervals_add_up(events in any_events(), cuts in prop::collection::vec(0..60usize, 0..6)) {
        let updates = updates(&events);
        let (intervals, last) = reports(&updates, &cuts);
        for (index, row) in last.states.iter().enumerate() {
            let sum = |of: fn(&StatReport, usize) -> u64| intervals.iter().map(|report| of(report, index)).sum::<u64>();
            prop_assert_eq!(sum(|report, index| report.states[index].entered.count), row.entered.count);
            prop_assert_eq!(sum(|report, index| report.states[index].left.count), row.left.count);
            prop_assert_eq!(sum(|report, index| report.states[index].dwell.count), row.dwell.count);
            prop_assert_eq!(sum(|report, index| report.states[index].dwell.sum_ns), row.dwell.sum_ns);
            prop_assert_eq!(intervals.iter().filter_map(|report| report.states[index].dwell.max_ns).max(), row.dwell.max_ns);
        }
        // And each is about its own part alone.
        let mut from = 0;
        for report in &intervals {
            let to = usize::try_from(report.end_ns).unwrap().min(updates.len());
            let entered = steps(&updates[from..to]).iter().filter(|step| step.to == State::TimeWait).count();
            prop_assert_eq!(report.time_wait.entered.count, entered as u64);
            from = to;
        }
    }

    /// Where every connection's life is whole, what is there now is what its last step says.
    #[test]
    fn what_is_there_now(events in connections(), cut in any::<prop::sample::Index>()) {
        let updates = updates(&events);
        let updates = &updates[..cut.index(updates.len()) + 1];
        let mut last: HashMap<u64, State> = HashMap::new();
        for step in steps(updates) {
            last.insert(step.id, step.to);
        }
        let report = reports(updates, &[]).1;
        for row in report.states.iter().filter(|row| row.state != State::Close) {
            let now = last.values().filter(|state| **state == row.state).count() as u64;
            prop_assert_eq!(row.now, Some(now), "{}", row.state);
        }
        agrees_with_the_naive(updates, &report)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is there now is as old as its last step.
    #[test]
    fn ages_are_since_the_last_step(events in connections(), cut in any::<prop::sample::Index>()) {
        const LATER_NS: u64 = 5_000_000_000;
        let updates = updates(&events);
        let updates = &updates[..cut.index(updates.len()) + 1];
        let mut last: HashMap<u64, (State, u64)> = HashMap::new();
        let mut aggregate = Aggregate::new(wanted(), 0);
        updates.iter().for_each(|update| aggregate.update(update, &Names::default()));
        for step in steps(updates) {
            last.insert(step.id, (step.to, step.time_ns));
        }
        let end_ns = steps(updates).iter().map(|step| step.time_ns).max().unwrap_or_default() + LATER_NS;
        let report = aggregate.report(end_ns, true, Ledger::default(), AuditReport::default(), SocketCensus::default());
        for row in report.states.iter().filter(|row| row.state != State::Close) {
            let mut ages: Vec<u64> =
                last.values().filter(|(state, _)| *state == row.state).map(|(_, since_ns)| end_ns - since_ns).collect();
            ages.sort_unstable();
            let rank = |percent: usize| ages.get((ages.len() * percent).div_ceil(100).saturating_sub(1)).copied();
            prop_assert_eq!((row.age.known, row.age.at_least), (ages.len() as u64, 0));
            prop_assert_eq!(row.age.oldest_ns, rank(100));
            for (found, exact) in [(row.age.p50_ns, rank(50)), (row.age.p90_ns, rank(90))] {
                let near = found.zip(exact).is_none_or(|(found, exact)| found.abs_diff(exact) * 100 <= exact);
                prop_assert!(found.is_some() == exact.is_some() && near, "{:?} for {:?}", found, exact);
            }
        }
    }
}

fn step(id: u64, flow: Flow, from: State, to: State) -> Update {
    Update::Transition(Transition {
        dwell_ns: (from == State::TimeWait).then_some(60_000_000_000),
        timing: if from == State::TimeWait { Timing::Exact } else { Timing::Unknown },
        owner: Some(task("curl").into()),
        reason: (from == State::TimeWait).then_some(Reason::Expired),
        ..Transition::new(id * 1_000, id, flow, Some(from), to)
    })
}

/// More groups than are kept: none is lost from the sums, and one that matters is found, be it the last to come.
#[test]
fn groups_beyond_the_limit_are_folded() {
    let to = |n: u32| Flow { raddr: Ipv4Addr::from_bits(0x0a00_0000 + n).into(), ..flow(1) };
    let mut aggregate =
        Aggregate::new(StatOptions { by: vec![GroupBy::Remote], netns_implied: false, sort: Sort::Entered, top: 5 }, 0);
    let many = u32::try_from(MAX_GROUPS * 3).unwrap();
    for id in 1..=many {
        aggregate.update(&step(id.into(), to(id), State::FinWait2, State::TimeWait), &Names::default());
    }
    for id in many + 1..many + 50 {
        aggregate.update(&step(id.into(), to(0), State::FinWait2, State::TimeWait), &Names::default());
    }
    let all = u64::from(many) + 49;
    let report = aggregate.report(1, false, Ledger::default(), AuditReport::default(), SocketCensus::default());
    assert_eq!((report.time_wait.entered.count, report.time_wait.now), (all, all));
    assert_eq!(rows(&report).map(|row| row.entered).sum::<u64>(), all);
    assert_eq!(rows(&report).map(|row| row.now).sum::<u64>(), all);
    assert_eq!(report.groups.groups[0].entered, 49);
    assert_eq!(report.groups.grouped, u64::from(many) + 1 - 5);
    assert!(report.groups.folded >= 2 * MAX_GROUPS as u64, "{}", report.groups.folded);
    let lead = report.lead.unwrap();
    assert_eq!((lead.group.entered, lead.of_entered), (49, true));
    // They leave: those of folded groups from the others.
    for id in 1..=many {
        aggregate.update(&step(id.into(), to(id), State::TimeWait, State::Close), &Names::default());
    }
    let report = aggregate.report(2, true, Ledger::default(), AuditReport::default(), SocketCensus::default());
    assert_eq!((report.time_wait.left.count, report.time_wait.now), (u64::from(many), 49));
    assert_eq!(rows(&report).map(|row| row.left).sum::<u64>(), u64::from(many));
    assert_eq!(rows(&report).map(|row| row.now).sum::<u64>(), 49);
}
