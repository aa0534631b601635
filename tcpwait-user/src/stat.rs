//! From records to reports: the stream's updates through the selection into the aggregates, and a report whenever the time of the
//! records passes the end of an interval. The same for the live ring buffer and a recording.

use std::{
    convert::Infallible,
    io::{self, Write},
};

use hashbrown::HashSet;
use tcpwait_wire::wire;

use crate::{
    aggregate::{
        Aggregate, StatOptions, Wheel,
        audit::{Audit, AuditReport, Reading},
        by::GroupBy,
        census::SocketCensus,
        findings::StatFinding,
        ports::settings::PortSettings,
        report::StatReport,
        unfollowed::FullQueue,
    },
    event::{Event, Fact},
    ledger::{Ledger, Recorded},
    lifecycle::{Present, Update},
    pipeline::Stream,
    recording::Header,
    schedule::{Due, Schedule},
    select::Selector,
    tcp::NetnsId,
    view::ReportView,
};

/// What is said at the very end, for the exit code.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// What was lost.
    pub ledger: Ledger,
    /// Whether the counts differ from the kernel's and nothing explains it.
    pub differs: bool,
}

/// From a record to what a report is made of.
pub struct StatEngine {
    stream: Stream,
    selector: Selector,
    aggregate: Aggregate,
    audit: Audit,
    began_ns: u64,
    now_ns: u64,
    tells_refused_calls: bool,
}

/// Who looks at the same events and updates.
pub trait Beside {
    /// What a record said.
    fn event(&mut self, _event: &Event) {}
    /// What followed, be it wanted or not.
    fn every(&mut self, _update: &Update) {}
    /// What followed, of what is wanted.
    fn wanted(&mut self, _update: &Update) {}
}

impl Beside for () {}

impl StatEngine {
    /// What is made of the records under this header.
    pub fn new(header: &Header, selector: Selector, wanted: StatOptions, audit: Audit) -> Self {
        Self {
            stream: Stream::new(header),
            selector,
            aggregate: Aggregate::new(wanted, header.started_ns),
            audit,
            began_ns: header.started_ns,
            now_ns: header.started_ns,
            tells_refused_calls: header.tells_refused_calls(),
        }
    }

    /// Takes in one record. Whether it says what time it is.
    pub fn record(&mut self, bytes: &[u8], beside: &mut impl Beside) -> bool {
        self.stream.record(bytes);
        let Some(event) = self.stream.event() else { return false };
        self.audit.event(event);
        self.audit.told(&event.fact, self.stream.lifecycle().minis_by_netns());
        beside.event(event);
        if let Some((netns, settings)) = self.stream.told_settings() {
            self.aggregate.set_settings(netns, settings.clone());
        }
        if let Fact::Counters(counters) = &event.fact {
            take_over(&mut self.aggregate, &self.selector, counters);
        }
        if let Fact::Thinned { one_in } = event.fact {
            self.aggregate.thinned(one_in);
        }
        self.now_ns = self.now_ns.max(event.time_ns);
        let is_tick = matches!(event.fact, Fact::Tick { .. });
        self.take_in(beside);
        if is_tick && !self.aggregate.has_first() && self.stream.lifecycle().are_seeds_read() {
            let census = self.census(self.began_ns);
            self.aggregate.set_first(census);
        }
        is_tick
    }

    /// What was found wrong so far with the recording that the records are of.
    pub fn recorded(&mut self, found: Recorded) {
        self.stream.recorded(found);
    }

    /// The stream that the records are of.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The same, to learn names that were learnt otherwise.
    pub fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The time of the last record, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Takes over the kernel side's counts.
    pub fn account(&mut self, counters: &wire::Counters) {
        self.stream.ledger_mut().count_kernel(counters);
        take_over(&mut self.aggregate, &self.selector, counters);
    }

    /// The kernel's counters are being read. Returns the namespaces whose are needed.
    pub fn reading_begins(&mut self) -> Vec<NetnsId> {
        self.audit.begin_reading(self.stream.lifecycle().minis_by_netns())
    }

    /// The kernel's counters have been read.
    pub fn reading_ends(&mut self, reading: &Reading) {
        self.audit.end_reading(reading);
    }

    /// Lets go of everything that still waits for a later event: the stream is over.
    pub fn finish(&mut self, beside: &mut impl Beside) {
        self.stream.finish();
        self.take_in(beside);
        let Self { stream, selector, aggregate, .. } = self;
        let names = stream.context().names;
        let Ok(()) = selector.finish(names, |update| {
            aggregate.update(update, names);
            beside.wanted(update);
            Ok::<(), Infallible>(())
        });
    }

    /// What was lost.
    pub fn ledger(&self) -> Ledger {
        Ledger { undecided: self.selector.undecided(), ..self.stream.ledger() }
    }

    /// What was lost, and whether the counts differ from the kernel's.
    pub fn outcome(&self) -> Account {
        let ledger = self.ledger();
        Account { ledger, differs: self.audit.report(&ledger).differs() }
    }

    /// How far the counts agree with the kernel's.
    pub fn audit(&self) -> AuditReport {
        self.audit.report(&self.ledger())
    }

    /// The namespaces whose settings matter: those in which something connects.
    pub fn namespaces(&self) -> Vec<NetnsId> {
        let outgoing = self.stream.lifecycle().present().filter(|socket| socket.origin.is_outgoing());
        let namespaces: HashSet<NetnsId> = outgoing.map(|socket| socket.flow.netns).collect();
        namespaces.into_iter().collect()
    }

    /// The settings of namespaces as they are now.
    pub fn set_settings(&mut self, settings: impl IntoIterator<Item = (NetnsId, PortSettings)>) {
        settings.into_iter().for_each(|(netns, settings)| self.aggregate.set_settings(netns, settings));
    }

    /// The sockets there are that are wanted.
    pub fn present(&self) -> impl Iterator<Item = Present<'_>> {
        let names = self.stream.context().names;
        self.stream.lifecycle().present().filter(|socket| self.selector.shows(socket, names))
    }

    /// Groups by something else from now on. What is there is in its new group at once; what happened in the interval so far is in none.
    pub fn group_by(&mut self, by: Vec<GroupBy>, netns_implied: bool) {
        let Self { stream, selector, aggregate, .. } = self;
        let names = stream.context().names;
        let present = stream.lifecycle().present().filter(|socket| selector.shows(socket, names));
        aggregate.group_by(by, netns_implied, present, names);
    }

    /// Ends the interval and reports on it, or (`is_final`) on the whole time.
    pub fn report(&mut self, is_final: bool) -> StatReport {
        let lifecycle = self.stream.lifecycle();
        self.aggregate.set_wheel(Wheel { hz: lifecycle.hz(), slack_ns: lifecycle.timewait_slack_ns() });
        let ledger = self.ledger();
        let audit = self.audit.report(&ledger);
        let census = self.census(u64::MAX);
        let mut report = self.aggregate.report(self.now_ns, is_final, ledger, audit, census);
        report.failures.partial = !self.tells_refused_calls;
        report.findings.retain(|finding| self.is_about_selection(finding));
        report
    }

    /// Whether a finding is about what is selected: the kernel counts what it drops for a namespace, not for a port or a process.
    fn is_about_selection(&self, finding: &StatFinding) -> bool {
        let criteria = self.selector.criteria();
        match finding {
            StatFinding::Dropped { queue, .. } => {
                let is_there = |queue: &FullQueue| criteria.netns.admits(|netns| *netns == queue.netns.inode());
                criteria.is_everything_of_its_namespaces() && queue.as_ref().is_none_or(is_there)
            }
            StatFinding::Cookies { .. } => criteria.is_everything_of_its_namespaces(),
            _ => true,
        }
    }

    /// The sockets there are that are wanted, and were there before `before_ns`.
    fn census(&self, before_ns: u64) -> SocketCensus {
        let wanted = self.present().filter(|socket| socket.since_ns.is_none_or(|since_ns| since_ns < before_ns));
        SocketCensus::take(wanted, self.now_ns)
    }

    fn take_in(&mut self, beside: &mut impl Beside) {
        let Self { stream, selector, aggregate, audit, .. } = self;
        let names = stream.context().names;
        for update in stream.updates() {
            audit.update(update);
            beside.every(update);
            let Ok(()) = selector.pass(update, names, |update| {
                aggregate.update(update, names);
                beside.wanted(update);
                Ok::<(), Infallible>(())
            });
        }
    }
}

/// The whole way from a record to a report that is written.
pub struct Statistics<W: Write> {
    engine: StatEngine,
    view: Box<dyn ReportView>,
    out: W,
    due: Due,
}

impl<W: Write> Statistics<W> {
    /// Statistics of the records under this header.
    pub fn new(
        header: &Header,
        selector: Selector,
        wanted: StatOptions,
        schedule: Schedule,
        audit: Audit,
        view: Box<dyn ReportView>,
        out: W,
    ) -> Self {
        let engine = StatEngine::new(header, selector, wanted, audit);
        Self { engine, view, out, due: schedule.begin(header.started_ns) }
    }

    /// Takes in one record.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.engine.record(bytes, &mut ()) {
            return Ok(());
        }
        let now_ns = self.engine.now_ns();
        if self.is_due(now_ns) {
            self.due.passes(now_ns);
            self.report(false)?;
        }
        Ok(())
    }

    /// From a record to what a report is made of.
    pub fn engine(&self) -> &StatEngine {
        &self.engine
    }

    /// The same.
    pub fn engine_mut(&mut self) -> &mut StatEngine {
        &mut self.engine
    }

    /// Whether a report is due at this time, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.due.is(now_ns)
    }

    /// When the next is due, in the same.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.next_ns()
    }

    /// Whether as many reports as wanted have been given.
    pub fn is_over(&self) -> bool {
        self.due.is_over()
    }

    /// Gives the last report.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(&mut self) -> io::Result<Account> {
        self.engine.finish(&mut ());
        self.report(true)?;
        Ok(self.engine.outcome())
    }

    fn report(&mut self, is_final: bool) -> io::Result<()> {
        let report = self.engine.report(is_final);
        self.view.report(&report, self.engine.stream().context(), &mut self.out)?;
        self.out.flush()
    }
}

/// The kernel side's counts are comparable only where nothing is selected beyond what it selects itself.
fn take_over(aggregate: &mut Aggregate, selector: &Selector, counters: &wire::Counters) {
    if selector.criteria().is_everything_of_its_namespaces() {
        aggregate.set_exact(counters);
    }
}
