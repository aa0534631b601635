//! Durations and counts: what the transitions of many connections add up to, for an interval and for the whole time.
//!
//! Takes what the lifecycle yields and the selection lets through, and gives plain [`StatReport`]s. It reads no clock, prints
//! nothing and knows no kernel; time comes from the records. Memory: some 45 bytes a connection, and a bounded rest.

pub mod age;
pub mod amount;
pub mod audit;
pub mod buckets;
pub mod by;
pub mod census;
mod connections;
pub mod connects;
mod counts;
mod dwell;
pub mod end_report;
pub mod ends;
mod exact;
pub mod failures;
pub mod findings;
pub mod group_row;
pub mod groups;
pub mod syn_recv;
mod histogram;
pub mod ports;
pub mod report;
mod standing;
mod steady;
pub mod totals;
pub mod unfollowed;

use hashbrown::HashMap;
use tcpwait_wire::wire;

use self::{
    age::{AgeSummary, Ages},
    amount::Amount,
    by::GroupBy,
    census::SocketCensus,
    connections::{Connections, Since, Standing},
    connects::Connects,
    counts::Counts,
    end_report::EndReport,
    exact::Exact,
    failures::CallFailures,
    findings::Sources,
    group_row::Closer,
    groups::{GroupId, MAX_GROUPS, Sort, StatGroups},
    ports::settings::PortSettings,
    report::{Lead, StatReport, StateRow, TimeWait, TransitionRow},
    steady::Entries,
    unfollowed::Growth,
};
pub use self::{
    dwell::DwellSummary,
    histogram::{Bucket, HistogramSummary},
    steady::{Steady, SteadyVerdict},
};
use crate::{
    connection::Name,
    ledger::Ledger,
    lifecycle::{HzSource, OlderConnection, Reason, Timing, Transition, Update},
    tcp::{NetnsId, State},
};

const NS: f64 = 1e9;

/// What is asked of the aggregates.
#[derive(Clone, Debug)]
pub struct StatOptions {
    /// What to group by.
    pub by: Vec<GroupBy>,
    /// Whether the network namespace is one of them only so that groups of several are not mixed.
    pub netns_implied: bool,
    /// What groups are sorted by.
    pub sort: Sort,
    /// How many groups are shown by themselves.
    pub top: usize,
}

/// What the kernel's clock is known to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wheel {
    /// Ticks a second, and what they are known from.
    pub hz: Option<(u64, HzSource)>,
    /// How late a timer of 60 s may be, in nanoseconds.
    pub slack_ns: Option<u64>,
}

/// The aggregates.
#[derive(Debug)]
pub struct Aggregate {
    wanted: StatOptions,
    connections: Connections,
    now: [u64; State::ALL.len() + 1],
    interval: Counts,
    total: Counts,
    groups: StatGroups,
    failures: CallFailures,
    connects: Connects,
    entries: Entries,
    exact: Exact,
    wheel: Wheel,
    /// Events that were lost by the end of the last interval, and when some were last.
    missed: u64,
    missed_ns: Option<u64>,
    /// What was there when tracing began, and when the interval did; `None` while that is not known.
    first: Option<SocketCensus>,
    before: Option<SocketCensus>,
    /// What the kernel alone had counted when the interval began.
    unfollowed: Vec<(&'static str, u64)>,
    settings: HashMap<NetnsId, PortSettings>,
    begin_ns: u64,
    interval_begin_ns: u64,
}

impl Aggregate {
    /// Aggregates from this time on, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn new(wanted: StatOptions, begin_ns: u64) -> Self {
        Self {
            groups: StatGroups::new(wanted.by.clone(), MAX_GROUPS),
            wanted,
            connections: Connections::default(),
            now: Default::default(),
            interval: Counts::default(),
            total: Counts::default(),
            failures: CallFailures::default(),
            connects: Connects::default(),
            entries: Entries::default(),
            exact: Exact::default(),
            wheel: Wheel::default(),
            missed: 0,
            missed_ns: None,
            first: None,
            before: None,
            unfollowed: Vec::new(),
            settings: HashMap::new(),
            begin_ns,
            interval_begin_ns: begin_ns,
        }
    }

    /// What has been found out of the kernel's clock.
    pub fn set_wheel(&mut self, wheel: Wheel) {
        self.wheel = wheel;
    }

    /// What there is before anything is counted.
    pub fn set_first(&mut self, census: SocketCensus) {
        self.before.get_or_insert_with(|| census.clone());
        self.first.get_or_insert(census);
    }

    /// Whether it is known what there was before.
    pub fn has_first(&self) -> bool {
        self.first.is_some()
    }

    /// The settings of a namespace as they are now.
    pub fn set_settings(&mut self, netns: NetnsId, settings: PortSettings) {
        self.settings.insert(netns, settings);
    }

    /// The kernel side's counts so far, of all connections that are wanted and no others.
    pub fn set_exact(&mut self, counters: &wire::Counters) {
        self.exact.set(counters);
    }

    /// Takes in what a wanted connection did.
    pub fn update(&mut self, update: &Update) {
        match update {
            Update::Transition(step) => self.step(step),
            Update::Found(found) => self.found(found),
            Update::Failed(failure) => self.failures.add(failure),
            Update::Owned { .. } => {}
            Update::Lost { id, flow } => {
                if let Some((stale, _)) = self.connections.recall(Name::of(*id, flow)) {
                    self.connections.forget(Name::of(*id, flow));
                    self.forget(stale);
                }
            }
        }
    }

    fn found(&mut self, found: &OlderConnection) {
        let OlderConnection { id, flow, state, owner, origin, by_ns } = found;
        let mut standing = Standing { state: Some(*state), since: Since::by(*by_ns), ..Standing::default() };
        if *state == State::TimeWait {
            let group = self.groups.of(flow, owner.as_deref(), *origin);
            self.groups.found(group);
            standing.group = Some(group);
        }
        if let Some(count) = self.now_mut(*state) {
            *count += 1;
        }
        if let Some(stale) = self.connections.put(Name::of(*id, flow), standing) {
            self.forget(stale);
        }
    }

    fn step(&mut self, step: &Transition) {
        let name = Name::of(step.id, &step.flow);
        let (known, place) = self.connections.recall(name).map_or((None, None), |(known, place)| (Some(known), place));
        let is_new = matches!((step.from, step.to), (Some(State::Close), _) | (Some(State::Listen), State::SynRecv));
        let mut standing = match known {
            // That its former life ended was lost.
            Some(stale) if is_new => {
                self.forget(stale);
                Standing::default()
            }
            Some(standing) => standing,
            None => Standing::default(),
        };
        if let Some(count) = standing.state.and_then(|state| self.now_mut(state)) {
            *count = count.saturating_sub(1);
        }
        self.interval.step(step);
        self.connects.step(step);
        self.close(step);
        let mut group = None;
        if step.from == Some(State::TimeWait) {
            let counted = standing.group.is_some();
            let its = standing.group.take().unwrap_or_else(|| self.group_of(step));
            group = Some(its);
            let reason = step.reason.unwrap_or(Reason::Unknown);
            let dwell = step.dwell_ns.map(|ns| (ns, step.timing != Timing::Exact));
            self.interval.exit(reason, step, self.wheel.slack_ns);
            self.groups.left(its, counted, reason, dwell);
        } else if let Some(its) = standing.group.take() {
            self.groups.gone(its);
        }
        if step.to == State::TimeWait {
            let group = self.group_of(step);
            self.groups.entered(group, step.flow.raddr);
            self.entries.record(step.time_ns);
            standing.group = Some(group);
        }
        if step.to == State::Close {
            if ends::was_made(step.from) {
                let group = group.unwrap_or_else(|| self.group_of(step));
                self.groups.ended(group, step);
            }
            if place.is_some() {
                self.connections.forget(name);
            }
            return;
        }
        standing.state = Some(step.to);
        standing.since = if step.unseen { Since::by(None) } else { Since::at(step.time_ns) };
        if let Some(count) = self.now_mut(step.to) {
            *count += 1;
        }
        self.connections.keep(name, place, standing);
    }

    fn close(&mut self, step: &Transition) {
        let Some(closer) = Closer::of(step) else { return };
        let group = self.group_of(step);
        self.groups.closed(group, closer);
        self.interval.close(closer);
    }

    fn group_of(&mut self, step: &Transition) -> GroupId {
        // Of one that nobody accepted it is whose listener it came through.
        let owner = step.owner.as_deref().or(step.listener.as_deref());
        self.groups.of(&step.flow, owner, step.origin)
    }

    /// A connection is gone, and how was not seen.
    fn forget(&mut self, stale: Standing) {
        if let Some(count) = stale.state.and_then(|state| self.now_mut(state)) {
            *count = count.saturating_sub(1);
        }
        if let Some(group) = stale.group {
            self.groups.gone(group);
        }
    }

    fn now_mut(&mut self, state: State) -> Option<&mut u64> {
        self.now.get_mut(state as usize)
    }

    fn now(&self, state: State) -> u64 {
        self.now.get(state as usize).copied().unwrap_or_default()
    }

    /// Ends the interval at this time and reports on it, or (`is_final`) on the whole time.
    pub fn report(
        &mut self,
        end_ns: u64,
        is_final: bool,
        ledger: Ledger,
        audit: audit::AuditReport,
        census: SocketCensus,
    ) -> StatReport {
        let exact = self.exact.since(is_final);
        let begin_ns = if is_final { self.begin_ns } else { self.interval_begin_ns };
        let seconds = Some(end_ns.saturating_sub(begin_ns) as f64 / NS).filter(|seconds| *seconds > 0.0);
        let per_s = |count: u64| seconds.map(|seconds| count as f64 / seconds);
        self.total.add(&self.interval);
        if is_final {
            self.groups.end_interval();
        }
        let mut groups = self.groups.rows(is_final, self.wanted.sort, self.wanted.top);
        let counts = if is_final { &self.total } else { &self.interval };
        let missed = ledger.missed();
        if missed > self.missed {
            self.missed_ns = Some(end_ns);
        }
        // After a loss the model recovers, by its own clocks and a new listing; what was added up here does not.
        let there = |state: State| if missed > 0 { census.now(state) } else { self.now(state) };
        let now = there(State::TimeWait);
        let lost = missed > if is_final { 0 } else { self.missed };
        let seen = Seen { counts, exact: exact.as_ref(), lost };
        let (entered, left) = (seen.entered(State::TimeWait), seen.left(State::TimeWait));
        let entered_seen = counts.entered(State::TimeWait);
        for row in groups.groups.iter_mut().chain([&mut groups.others]) {
            row.share = (entered_seen > 0).then(|| row.entered as f64 / entered_seen as f64);
            row.rate_per_s = per_s(row.entered);
        }
        let lead = self.lead(is_final, entered_seen, now);
        let mut ages: [Ages; State::ALL.len() + 1] = Default::default();
        for (state, ns, exact) in self.connections.ages(end_ns) {
            if let Some(ages) = ages.get_mut(state as usize) {
                ages.add(ns, exact);
            }
        }
        let mut ages = ages.map(Ages::summary);
        let mut age = |state: State| ages.get_mut(state as usize).map(std::mem::take).unwrap_or_default();
        let mean_ns = self.total.dwell(State::TimeWait).mean_ns;
        let failures = self.failures.report(is_final, self.wanted.top);
        let leads = self.groups.end_leads(is_final);
        let none = Vec::new();
        let unfollowed = if is_final { &none } else { &self.unfollowed };
        let before = if is_final { self.first.as_ref() } else { self.before.as_ref() };
        let growth = Growth::between(unfollowed, &audit.unfollowed, audit.full);
        let findings = findings::find(&Sources {
            census: &census,
            before,
            length_ns: end_ns.saturating_sub(begin_ns),
            failures: &failures.rows,
            unfollowed: &growth,
            settings: &|netns| self.settings.get(&netns),
            overflows: counts.overflows,
            leads: &leads,
        });
        let report = StatReport {
            begin_ns,
            end_ns,
            is_final,
            states: LIFE.into_iter().map(|state| state_row((state, there(state)), &seen, age(state))).collect(),
            transitions: transitions(counts, exact.as_ref()),
            time_wait: TimeWait {
                now,
                entered,
                entered_seen,
                left,
                entered_per_s: per_s(entered.count),
                left_per_s: per_s(left.count),
                exits: counts.exits(per_s),
                orphans: counts.orphans(),
                restarts: counts.restarts,
                restart_causes: counts.restart_causes(),
                overflows: counts.overflows,
                closed: counts.closed,
                histogram: counts.histogram.summary(self.wheel.slack_ns),
                natural_ns: counts.natural_ns,
                hz: self.wheel.hz,
                steady: self.entries.steady((self.begin_ns, end_ns), self.missed_ns, mean_ns, now),
            },
            syn_recv: counts.syn_recv.report(),
            unfollowed: growth,
            several_namespaces: several(&census, &groups, self.groups.by()),
            netns_implied: self.wanted.netns_implied,
            findings,
            places: census.places(before),
            time_waits: census.time_waits(),
            ends: EndReport::new(&counts.ends, &counts.end_dwells, per_s, leads),
            failures,
            connects: self.connects.report(is_final, self.wanted.top),
            by: self.groups.by().to_vec(),
            groups,
            lead,
            ledger,
            audit,
        };
        self.unfollowed.clone_from(&report.audit.unfollowed);
        self.before = Some(census);
        self.exact.end_interval();
        self.missed = missed;
        self.groups.end_interval();
        self.failures.end_interval();
        self.connects.end_interval();
        self.interval = Counts::default();
        self.interval_begin_ns = end_ns;
        report
    }

    fn lead(&self, whole: bool, entered: u64, now: u64) -> Option<Lead> {
        let of_entered = entered > 0;
        let (sort, all) = if of_entered { (Sort::Entered, entered) } else { (Sort::Now, now) };
        // Of those that are there already, who closed them may have been seen before this interval.
        let group = self.groups.rows(whole || !of_entered, sort, 1).groups.into_iter().next()?;
        let mine = if of_entered { group.entered } else { group.now };
        (mine > 0).then(|| Lead { share: mine as f64 / all as f64, of_entered, group })
    }
}

/// `now`: how many there are.
fn state_row((state, now): (State, u64), seen: &Seen<'_>, age: AgeSummary) -> StateRow {
    StateRow {
        state,
        now: (state != State::Close).then_some(now),
        entered: seen.entered(state),
        left: seen.left(state),
        dwell: seen.counts.dwell(state),
        age,
    }
}

/// Whether there are sockets of more than one network namespace, or groups.
fn several(census: &SocketCensus, groups: &group_row::Rows, by: &[GroupBy]) -> bool {
    let mut namespaces = census.namespaces().clone();
    let keys = groups.groups.iter().flat_map(|row| by.iter().zip(&row.key));
    namespaces.extend(keys.filter_map(|(_, value)| match value {
        by::Value::Netns(netns) => Some(*netns),
        _ => None,
    }));
    namespaces.len() > 1
}

/// What was seen, and what the kernel side counted meanwhile.
struct Seen<'a> {
    counts: &'a Counts,
    exact: Option<&'a exact::Counted>,
    /// Whether events were lost.
    lost: bool,
}

impl Seen<'_> {
    fn entered(&self, state: State) -> Amount {
        // Connections in SYN_RECV are request sockets, which change no state.
        let counted = self.exact.filter(|_| state != State::SynRecv).and_then(|exact| exact.entered(state));
        let amount = Amount::of(self.counts.entered(state), counted, self.lost);
        match (state, self.exact) {
            (State::TimeWait, Some(exact)) => amount.and_at_least(exact.begun_in_time_wait()),
            (State::SynRecv, Some(exact)) => amount.and_at_least(exact.syn_recv()),
            _ => amount,
        }
    }

    fn left(&self, state: State) -> Amount {
        let counted = self.exact.filter(|_| state != State::SynRecv).and_then(|exact| exact.left(state));
        Amount::of(self.counts.left(state), counted, self.lost)
    }
}

/// Every transition that was seen, or that the kernel side counted although no record of it was left.
fn transitions(counts: &Counts, exact: Option<&exact::Counted>) -> Vec<TransitionRow> {
    let from = LIFE.into_iter().map(Some).chain([None]);
    let all = from.flat_map(|from| LIFE.into_iter().map(move |to| (from, to)));
    all.map(|(from, to)| {
        let kernel = from.zip(exact).and_then(|(from, exact)| exact.transition(from, to));
        TransitionRow { from, to, count: counts.transition(from, to), kernel }
    })
    .filter(|row| row.count > 0 || row.kernel.unwrap_or_default() > 0)
    .collect()
}

/// The states in the order of a connection's life: made, at work, closed by this side, closed by the peer.
pub const LIFE: [State; State::ALL.len()] = [
    State::Listen,
    State::SynSent,
    State::SynRecv,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::Closing,
    State::TimeWait,
    State::CloseWait,
    State::LastAck,
    State::Close,
];
