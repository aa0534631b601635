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
        audit::{Audit, Reading},
        census::SocketCensus,
        ports::settings::PortSettings,
    },
    event::Fact,
    ledger::{Ledger, Recorded},
    names::Names,
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

/// The whole way from a record to a report.
pub struct Statistics<W: Write> {
    stream: Stream,
    selector: Selector,
    aggregate: Aggregate,
    audit: Audit,
    view: Box<dyn ReportView>,
    out: W,
    due: Due,
    began_ns: u64,
    now_ns: u64,
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
        Self {
            stream: Stream::new(header),
            selector,
            aggregate: Aggregate::new(wanted, header.started_ns),
            audit,
            view,
            out,
            due: schedule.begin(header.started_ns),
            began_ns: header.started_ns,
            now_ns: header.started_ns,
        }
    }

    /// Takes in one record.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.record(bytes);
        let Some(event) = self.stream.event() else { return Ok(()) };
        self.audit.event(event);
        if let Fact::Counters(counters) = &event.fact {
            take_over(&mut self.aggregate, &self.selector, counters);
        }
        self.now_ns = self.now_ns.max(event.time_ns);
        let is_tick = matches!(event.fact, Fact::Tick { .. });
        self.take_in();
        if is_tick && !self.aggregate.has_first() && self.stream.lifecycle().are_seeds_read() {
            let census = self.census(self.began_ns);
            self.aggregate.set_first(census);
        }
        if is_tick && self.is_due(self.now_ns) {
            self.due.passes(self.now_ns);
            self.report(false)?;
        }
        Ok(())
    }

    /// What was found wrong so far with the recording that the records are of.
    pub fn recorded(&mut self, found: Recorded) {
        self.stream.recorded(found);
    }

    /// Names that were learnt otherwise.
    pub fn names_mut(&mut self) -> &mut Names {
        self.stream.names_mut()
    }

    /// Takes over the kernel side's counts.
    pub fn account(&mut self, counters: &wire::Counters) {
        self.stream.ledger_mut().count_kernel(counters);
        take_over(&mut self.aggregate, &self.selector, counters);
    }

    /// Whether a report is due at this time, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.due.is(now_ns)
    }

    /// The kernel's counters are being read.
    pub fn reading_begins(&mut self) {
        self.audit.begin_reading(self.stream.lifecycle().minis_by_netns());
    }

    /// The kernel's counters have been read.
    pub fn reading_ends(&mut self, reading: &Reading) {
        self.audit.end_reading(reading);
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
        self.stream.finish();
        self.take_in();
        let Self { stream, selector, aggregate, .. } = self;
        let Ok(()) = selector.finish(stream.context().names, |update| {
            aggregate.update(update);
            Ok::<(), Infallible>(())
        });
        self.report(true)?;
        let ledger = self.ledger();
        Ok(Account { ledger, differs: self.audit.report(&ledger).differs() })
    }

    fn ledger(&self) -> Ledger {
        Ledger { undecided: self.selector.undecided(), ..self.stream.ledger() }
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

    /// The sockets there are that are wanted, and were there before `before_ns`.
    fn census(&self, before_ns: u64) -> SocketCensus {
        let names = self.stream.context().names;
        let present = self.stream.lifecycle().present();
        let wanted = present.filter(|socket| {
            socket.since_ns.is_none_or(|since_ns| since_ns < before_ns) && self.selector.shows(socket, names)
        });
        SocketCensus::take(wanted, self.now_ns)
    }

    fn take_in(&mut self) {
        let Self { stream, selector, aggregate, audit, .. } = self;
        let names = stream.context().names;
        for update in stream.updates() {
            audit.update(update);
            let Ok(()) = selector.pass(update, names, |update| {
                aggregate.update(update);
                Ok::<(), Infallible>(())
            });
        }
    }

    fn report(&mut self, is_final: bool) -> io::Result<()> {
        let lifecycle = self.stream.lifecycle();
        self.aggregate.set_wheel(Wheel { hz: lifecycle.hz(), slack_ns: lifecycle.timewait_slack_ns() });
        let ledger = self.ledger();
        let audit = self.audit.report(&ledger);
        let census = self.census(u64::MAX);
        let report = self.aggregate.report(self.now_ns, is_final, ledger, audit, census);
        self.view.report(&report, self.stream.context(), &mut self.out)?;
        self.out.flush()
    }
}

/// The kernel side's counts are comparable only where nothing is selected beyond what it selects itself.
fn take_over(aggregate: &mut Aggregate, selector: &Selector, counters: &wire::Counters) {
    if selector.criteria().is_everything_of_its_namespaces() {
        aggregate.set_exact(counters);
    }
}
