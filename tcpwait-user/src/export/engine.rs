//! From records to metrics: the stream's updates into counts since the start, and a snapshot of them whenever somebody asks. The same for the live ring
//! buffer and a recording.

use std::time::{Duration, Instant};

use tcpwait_wire::wire;

use crate::{
    aggregate::{
        audit::{Audit, Reading},
        ports::{PortModel, report::PortsReport, settings::PortSettings},
        totals::Totals,
    },
    event::Fact,
    ledger::{Ledger, Recorded},
    metrics::{
        groups::GroupSlots,
        snapshot::Snapshot,
        source::{MetricSource, Observed, OwnCost},
    },
    pipeline::Stream,
    recording::Header,
    tcp::NetnsId,
};

/// Looking at all ports costs as much as there are sockets that hold one, 40 ms for half a million; of the time, one part in so many goes to it at most.
const PORTS_SHARE: u32 = 200;

/// How often they are looked at where that costs nothing; and how old what was seen may be.
const PORTS_EVERY: Duration = Duration::from_secs(1);
const PORTS_OLD: Duration = Duration::from_secs(30);

/// For so long after a scrape they are looked at beforehand, so that the next one need not wait for it.
const SCRAPED_WITHIN: Duration = Duration::from_secs(300);

/// How often ports are gone through for those that nobody uses any more, in nanoseconds.
const PRUNED_EVERY_NS: u64 = 60_000_000_000;

/// Everything that is counted for Prometheus.
pub struct Engine {
    stream: Stream,
    totals: Totals,
    ports: PortModel,
    ports_report: Option<(PortsReport, Instant, Duration)>,
    scraped: Option<Instant>,
    /// When what nobody does any more was last left out of the ports, as [`Engine::now_ns`] has it.
    ports_pruned_ns: u64,
    audit: Audit,
    slots: GroupSlots,
    observed: Observed,
    kernel: String,
    now_ns: u64,
}

impl Engine {
    /// Counts of the records under this header.
    pub fn new(header: &Header, observed: Observed, audit: Audit, slots: GroupSlots) -> Self {
        Self {
            stream: Stream::new(header),
            totals: Totals::default(),
            ports: PortModel::new(header.started_ns, true, true),
            ports_report: None,
            scraped: None,
            ports_pruned_ns: header.started_ns,
            audit,
            slots,
            observed,
            kernel: header.kernel.clone(),
            now_ns: header.started_ns,
        }
    }

    /// Takes in one record.
    pub fn record(&mut self, bytes: &[u8]) {
        self.stream.record(bytes);
        let Some(event) = self.stream.event() else { return };
        self.audit.event(event);
        self.ports.event(event);
        if let Fact::Counters(counters) = &event.fact {
            self.totals.set_exact(counters);
        }
        if let Fact::Thinned { one_in } = event.fact {
            self.totals.thinned(one_in);
        }
        self.now_ns = self.now_ns.max(event.time_ns);
        self.take_in();
    }

    /// Lets go of everything that still waits for a later event: the stream is over.
    pub fn finish(&mut self) {
        self.stream.finish();
        self.take_in();
    }

    fn take_in(&mut self) {
        let Self { stream, totals, ports, audit, slots, .. } = self;
        let names = stream.context().names;
        for update in stream.updates() {
            audit.update(update);
            totals.update(update);
            ports.observe(update);
            ports.update(update);
            slots.update(update, names);
        }
    }

    /// Takes over the kernel side's counts.
    pub fn account(&mut self, counters: &wire::Counters) {
        self.stream.ledger_mut().count_kernel(counters);
        self.totals.set_exact(counters);
    }

    /// What was found wrong so far with the recording that the records are of.
    pub fn recorded(&mut self, found: Recorded) {
        self.stream.recorded(found);
    }

    /// The kernel's counters are being read. Returns the namespaces whose are needed.
    pub fn reading_begins(&mut self) -> Vec<NetnsId> {
        self.audit.begin_reading(self.stream.lifecycle().minis_by_netns())
    }

    /// The kernel's counters have been read.
    pub fn reading_ends(&mut self, reading: &Reading) {
        self.audit.end_reading(reading);
    }

    /// Whether the sockets that were there before are known.
    pub fn is_seeded(&self) -> bool {
        self.stream.lifecycle().are_seeds_read()
    }

    /// Whether the kernel's counters have been compared, or never will be.
    pub fn is_audited(&self) -> bool {
        let audit = self.audit.report(&self.ledger());
        audit.time_ns.is_some() || audit.why_not.is_some()
    }

    /// The namespaces whose settings matter.
    pub fn namespaces(&self) -> Vec<NetnsId> {
        self.ports.namespaces()
    }

    /// The settings of namespaces as they are now.
    pub fn set_settings(&mut self, settings: impl IntoIterator<Item = (NetnsId, PortSettings)>) {
        settings.into_iter().for_each(|(netns, settings)| self.ports.set_settings(netns, settings));
    }

    /// What was lost.
    pub fn ledger(&self) -> Ledger {
        self.stream.ledger()
    }

    /// When this is, in seconds since 1970.
    pub fn now_s(&self) -> f64 {
        let context = self.stream.context();
        (i128::from(self.now_ns) + context.realtime_offset_ns) as f64 / 1e9
    }

    /// The time of the last record, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The values of all metrics now.
    pub fn snapshot(&mut self, process: Option<&OwnCost>) -> Snapshot {
        let ledger = self.ledger();
        let slack_ns = self.stream.lifecycle().timewait_slack_ns();
        self.totals.set_slack(slack_ns);
        if self.totals.must_count(ledger.missed()) {
            self.totals.count(self.stream.lifecycle().present(), ledger.missed());
        }
        let is_seen = |(_, at, _): &(PortsReport, Instant, Duration)| at.elapsed() < PORTS_OLD;
        // A recording's time is not this process's.
        if process.is_none() || !self.ports_report.as_ref().is_some_and(is_seen) {
            self.look_at_ports();
        }
        self.scraped = Some(Instant::now());
        let audit = self.audit.report(&ledger);
        MetricSource {
            totals: &self.totals,
            ports: self.ports_report.as_ref().map(|(report, _, _)| report),
            ledger: &ledger,
            audit: &audit,
            slots: &self.slots,
            names: self.stream.context().names,
            seeded: self.is_seeded(),
            slack_ns,
            observed: &self.observed,
            versions: (env!("CARGO_PKG_VERSION"), &self.kernel),
            process,
        }
        .snapshot()
    }

    /// Time passes: what takes long is done before the next scrape asks for it.
    pub fn prepare(&mut self) {
        // Nobody may ask for days.
        if self.now_ns.saturating_sub(self.ports_pruned_ns) >= PRUNED_EVERY_NS {
            self.ports_pruned_ns = self.now_ns;
            self.ports.forget_idle(self.now_ns);
        }
        let is_fresh =
            |(_, at, took): &(PortsReport, Instant, Duration)| at.elapsed() < PORTS_EVERY.max(*took * PORTS_SHARE);
        let is_wanted = self.scraped.is_some_and(|scraped| scraped.elapsed() < SCRAPED_WITHIN);
        if is_wanted && !self.ports_report.as_ref().is_some_and(is_fresh) {
            self.look_at_ports();
        }
    }

    fn look_at_ports(&mut self) {
        let begun = Instant::now();
        self.ports.set_slack(self.stream.lifecycle().timewait_slack_ns());
        self.ports.forget_idle(self.now_ns);
        let ledger = self.ledger();
        let report = self.ports.report(self.now_ns, false, usize::MAX, ledger);
        self.ports_report = Some((report, Instant::now(), begun.elapsed()));
    }
}
