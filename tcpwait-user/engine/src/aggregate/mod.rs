//! Durations and counts: what the transitions of many connections add up to, for an interval and for the whole time.
//!
//! Takes what the lifecycle yields and the selection lets through, and gives plain [`report::StatReport`]s. It reads no clock, prints
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
mod reporting;
pub mod sample;
mod standing;
mod steady;
pub mod totals;
pub mod unfollowed;

use hashbrown::HashMap;
use tcpwait_wire::wire;

use self::{
    by::GroupBy,
    census::SocketCensus,
    connections::{Connections, Since, Standing},
    connects::Connects,
    counts::Counts,
    exact::Exact,
    failures::CallFailures,
    group_row::Closer,
    groups::{GroupId, MAX_GROUPS, Sort, StatGroups},
    ports::settings::PortSettings,
    sample::SampleSpan,
    steady::Entries,
};
pub use self::{
    dwell::DwellSummary,
    histogram::{Bucket, HistogramSummary},
    steady::{Steady, SteadyVerdict, Trend},
};
use crate::{
    connection::Name,
    lifecycle::{HzSource, OlderConnection, Present, Reason, Timing, Transition, Update},
    names::Names,
    tcp::{NetnsId, State},
};

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

impl StatOptions {
    /// Each thing to group by once, and the network namespace in any case.
    pub fn new(by: &[GroupBy], sort: Sort, top: usize) -> Self {
        let (by, netns_implied) = with_netns(by);
        Self { by, netns_implied, sort, top }
    }
}

/// Each once, with the network namespace; whether that was not among them.
pub fn with_netns(by: &[GroupBy]) -> (Vec<GroupBy>, bool) {
    let implied = !by.contains(&GroupBy::Netns);
    let mut each = Vec::new();
    for what in by.iter().copied().chain(implied.then_some(GroupBy::Netns)) {
        if !each.contains(&what) {
            each.push(what);
        }
    }
    (each, implied)
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
    sample: SampleSpan,
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
            interval: Counts::default(),
            total: Counts::default(),
            failures: CallFailures::default(),
            connects: Connects::default(),
            entries: Entries::default(),
            exact: Exact::default(),
            wheel: Wheel::default(),
            missed: 0,
            missed_ns: None,
            sample: SampleSpan::default(),
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

    /// From now on one connection in so many is told of.
    pub fn thinned(&mut self, one_in: u32) {
        self.sample.changes(one_in);
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

    /// Takes in what a wanted connection did. `names`: of pods.
    pub fn update(&mut self, update: &Update, names: &Names) {
        match update {
            Update::Transition(step) => self.step(step, names),
            Update::Found(found) => self.found(found, names),
            Update::Failed(failure) => self.failures.add(failure),
            Update::Owned { .. } => {}
            Update::Lost { id, flow } => {
                let name = Name::of(*id, flow);
                if let Some((stale, _)) = self.connections.recall(name) {
                    self.connections.forget(name);
                    self.gone(stale);
                }
            }
        }
    }

    /// Groups by something else from now on; `present`: the sockets there are that are wanted, of which those in TIME_WAIT go to their new groups.
    pub fn group_by<'a>(
        &mut self,
        by: Vec<GroupBy>,
        netns_implied: bool,
        present: impl Iterator<Item = Present<'a>>,
        names: &Names,
    ) {
        (self.wanted.by, self.wanted.netns_implied) = (by.clone(), netns_implied);
        self.groups = self.groups.anew(by);
        for socket in present.filter(|socket| socket.state == State::TimeWait) {
            let name = Name::of(socket.id, &socket.flow);
            let Some((standing, place)) = self.connections.recall(name) else { continue };
            let group = self.groups.of(&socket.flow, socket.owner, socket.origin, names);
            self.groups.found(group);
            self.connections.keep(name, place, Standing { group: Some(group), ..standing });
        }
    }

    fn found(&mut self, found: &OlderConnection, names: &Names) {
        let OlderConnection { id, flow, state, owner, origin, by_ns } = found;
        let mut standing = Standing { state: Some(*state), since: Since::by(*by_ns), ..Standing::default() };
        if *state == State::TimeWait {
            let group = self.groups.of(flow, owner.as_deref(), *origin, names);
            self.groups.found(group);
            standing.group = Some(group);
        }
        if let Some(stale) = self.connections.put(Name::of(*id, flow), standing) {
            self.gone(stale);
        }
    }

    fn step(&mut self, step: &Transition, names: &Names) {
        let name = Name::of(step.id, &step.flow);
        let (known, place) = self.connections.recall(name).map_or((None, None), |(known, place)| (Some(known), place));
        let is_new = matches!((step.from, step.to), (Some(State::Close), _) | (Some(State::Listen), State::SynRecv));
        let mut standing = match known {
            // That its former life ended was lost.
            Some(stale) if is_new => {
                self.gone(stale);
                Standing::default()
            }
            Some(standing) => standing,
            None => Standing::default(),
        };
        let n = u64::from(step.stands_for);
        self.interval.step(step);
        self.connects.step(step);
        self.close(step, names);
        let mut group = None;
        if step.from == Some(State::TimeWait) {
            let counted = standing.group.is_some();
            let its = standing.group.take().unwrap_or_else(|| self.group_of(step, names));
            group = Some(its);
            let reason = step.reason.unwrap_or(Reason::Unknown);
            let dwell = step.dwell_ns.map(|ns| (ns, step.timing != Timing::Exact));
            self.interval.exit(reason, step, self.wheel.slack_ns);
            self.groups.left(its, (counted, n), reason, dwell);
            if let Some((ns, _)) = dwell.filter(|_| !step.predates) {
                self.entries.left(step.time_ns, ns, n);
            }
        } else if let Some(its) = standing.group.take() {
            self.groups.gone(its);
        }
        if step.to == State::TimeWait {
            let group = self.group_of(step, names);
            self.groups.entered(group, step.flow.raddr, n);
            self.entries.record(step.time_ns, n);
            standing.group = Some(group);
        }
        if step.to == State::Close {
            if ends::was_made(step.from) {
                let group = group.unwrap_or_else(|| self.group_of(step, names));
                self.groups.ended(group, step);
            }
            if place.is_some() {
                self.connections.forget(name);
            }
            return;
        }
        standing.state = Some(step.to);
        standing.since = if step.unseen { Since::by(None) } else { Since::at(step.time_ns) };
        self.connections.keep(name, place, standing);
    }

    fn close(&mut self, step: &Transition, names: &Names) {
        let Some(closer) = Closer::of(step) else { return };
        let group = self.group_of(step, names);
        let n = u64::from(step.stands_for);
        self.groups.closed(group, closer, n);
        self.interval.close(closer, n);
    }

    fn group_of(&mut self, step: &Transition, names: &Names) -> GroupId {
        // Of one that nobody accepted it is whose listener it came through.
        let owner = step.owner.as_deref().or(step.listener.as_deref());
        self.groups.of(&step.flow, owner, step.origin, names)
    }

    /// A connection is gone, and how was not seen.
    fn gone(&mut self, stale: Standing) {
        if let Some(group) = stale.group {
            self.groups.gone(group);
        }
    }
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
