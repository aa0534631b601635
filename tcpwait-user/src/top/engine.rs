//! From records to snapshots: what `stat` and `ports` count, and the stories of connections. The same for the live ring buffer and a recording.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tcpwait_wire::wire;

use super::{
    snapshot::{TimeLeftBars, TopSnapshot},
    stories::{Stories, StoryRing},
};
use crate::{
    aggregate::{
        StatOptions,
        audit::{Audit, AuditReport, Reading},
        by::GroupBy,
        ports::{PortModel, report::PortsReport, settings::PortSettings},
        with_netns,
    },
    event::Event,
    ledger::Recorded,
    lifecycle::Update,
    names::Names,
    recording::Header,
    schedule::{Due, Schedule},
    select::Selector,
    stat::{Beside, StatEngine},
    tcp::{NetnsId, State},
};

/// Destinations that are shown by themselves.
const DESTINATIONS: usize = 100;

/// Places in which sockets wait that are kept: findings have those that matter.
pub const PLACES: usize = 50;

/// Looking at every socket costs as much as there are sockets; of the time, one part in so many goes to it at most.
const SHARE: u32 = 500;

/// How old what was found by that may be.
const OLD: Duration = Duration::from_secs(10);

/// Everything that is counted for the screen.
pub struct TopEngine {
    stat: StatEngine,
    looks: Looks,
    due: Due,
    number: u64,
    /// What costs as much as there are sockets.
    slow: Option<Slow>,
    /// Whether the kernel goes on meanwhile.
    is_live: bool,
}

/// Who looks at the same updates as the statistics.
struct Looks {
    ports: PortModel,
    stories: Stories,
}

/// What was last found by looking at every socket, when, and how long that took.
struct Slow {
    ports: PortsReport,
    time_left: TimeLeftBars,
    at: Instant,
    took: Duration,
}

impl Beside for Looks {
    fn event(&mut self, event: &Event) {
        self.ports.event(event);
    }
    fn every(&mut self, update: &Update) {
        self.ports.observe(update);
    }
    fn wanted(&mut self, update: &Update) {
        self.ports.update(update);
        self.stories.update(update);
    }
}

impl TopEngine {
    /// Counts of the records under this header, a snapshot for each interval.
    pub fn new(header: &Header, selector: Selector, wanted: StatOptions, audit: Audit, interval: Duration) -> Self {
        let whole = selector.criteria().is_everything_of_its_namespaces();
        Self {
            looks: Looks { ports: PortModel::new(header.started_ns, true, whole), stories: Stories::default() },
            stat: StatEngine::new(header, selector, wanted, audit),
            due: Schedule { interval: Some(interval), count: None }.begin(header.started_ns),
            number: 0,
            slow: None,
            is_live: false,
        }
    }

    /// The same for the running kernel, which does not wait.
    #[must_use]
    pub fn live(self) -> Self {
        Self { is_live: true, ..self }
    }

    /// Takes in one record. Whether a snapshot is due.
    pub fn record(&mut self, bytes: &[u8]) -> bool {
        self.stat.record(bytes, &mut self.looks) && self.is_due(self.stat.now_ns())
    }

    /// What is counted for `stat`.
    pub fn stat(&self) -> &StatEngine {
        &self.stat
    }

    /// How far the counts agree with the kernel's.
    pub fn audit(&self) -> AuditReport {
        self.stat.audit()
    }

    /// Whether a snapshot is due at this time, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.due.is(now_ns)
    }

    /// When the next is due, in the same.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.next_ns()
    }

    /// From now on a snapshot for each such interval.
    pub fn set_interval(&mut self, interval: Duration) {
        self.due = Schedule { interval: Some(interval), count: None }.begin(self.stat.now_ns());
    }

    /// Groups by something else from now on.
    pub fn group_by(&mut self, by: &[GroupBy]) {
        let (by, implied) = with_netns(by);
        self.stat.group_by(by, implied);
    }

    /// Takes over the kernel side's counts.
    pub fn account(&mut self, counters: &wire::Counters) {
        self.stat.account(counters);
    }

    /// What was found wrong so far with the recording that the records are of.
    pub fn recorded(&mut self, found: Recorded) {
        self.stat.recorded(found);
    }

    /// The kernel's counters are being read. Returns the namespaces whose are needed.
    pub fn reading_begins(&mut self) -> Vec<NetnsId> {
        self.stat.reading_begins()
    }

    /// The kernel's counters have been read.
    pub fn reading_ends(&mut self, reading: &Reading) {
        self.stat.reading_ends(reading);
    }

    /// The namespaces whose settings matter.
    pub fn namespaces(&self) -> Vec<NetnsId> {
        self.looks.ports.namespaces()
    }

    /// The settings of namespaces as they are now.
    pub fn set_settings(&mut self, settings: impl IntoIterator<Item = (NetnsId, PortSettings)>) {
        for (netns, settings) in settings {
            self.looks.ports.set_settings(netns, settings.clone());
            self.stat.set_settings([(netns, settings)]);
        }
    }

    /// Lets go of everything that still waits for a later event: the stream is over.
    pub fn finish(&mut self) {
        self.stat.finish(&mut self.looks);
    }

    /// The names that are known.
    pub fn names(&self) -> Arc<Names> {
        self.stat.stream().shared_names()
    }

    /// Ends the interval: what is to be shown of it, or (`is_final`) of the whole time; and what became of connections meanwhile.
    pub fn snapshot(&mut self, is_final: bool) -> (TopSnapshot, StoryRing) {
        self.due.passes(self.stat.now_ns());
        self.number += 1;
        let mut report = self.stat.report(is_final);
        report.places.truncate(PLACES);
        let (ports, time_left) = self.look_at_all(is_final);
        let context = self.stat.stream().context();
        let snapshot = TopSnapshot {
            number: self.number,
            report,
            ports,
            time_left,
            early: self.looks.stories.early(),
            stories: self.looks.stories.told(),
            realtime_offset_ns: context.realtime_offset_ns,
            started_ns: context.started_ns,
        };
        (snapshot, self.looks.stories.take())
    }

    /// Ports, and how long TIME_WAITs have to go: as they are, or, where looking takes long, as they were a moment ago.
    fn look_at_all(&mut self, is_final: bool) -> (PortsReport, TimeLeftBars) {
        let is_fresh = |slow: &&Slow| self.is_live && !is_final && slow.at.elapsed() < OLD.min(slow.took * SHARE);
        if let Some(Slow { ports, time_left, .. }) = self.slow.as_ref().filter(is_fresh) {
            return (ports.clone(), time_left.clone());
        }
        let begun = Instant::now();
        let lifecycle = self.stat.stream().lifecycle();
        let now_ns = self.stat.now_ns();
        let mut time_left = TimeLeftBars::default();
        for socket in self.stat.present().filter(|socket| socket.state == State::TimeWait) {
            let ends_ns = lifecycle.ends_ns(socket.timer);
            time_left.add(ends_ns.map(|ends_ns| ends_ns as i64 - now_ns as i64), socket.stands_for.into());
        }
        let slack_ns = lifecycle.timewait_slack_ns();
        self.looks.ports.set_slack(slack_ns);
        let ports = self.looks.ports.report(now_ns, is_final, DESTINATIONS, self.stat.ledger());
        let found = (ports.clone(), time_left.clone());
        self.slow = Some(Slow { ports, time_left, at: Instant::now(), took: begun.elapsed() });
        found
    }
}
