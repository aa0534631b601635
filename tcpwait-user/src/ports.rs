//! From records to reports on ports: the stream's updates through the selection into the model, and a report whenever the time of the
//! records passes the end of an interval. The same for the live ring buffer, a recording, and a listing by sock_diag alone.

use std::{
    convert::Infallible,
    io::{self, Write},
};

use tcpwait_wire::wire;

use crate::{
    aggregate::ports::{PortModel, settings::PortSettings},
    event::Fact,
    ledger::{Ledger, Recorded},
    pipeline::Stream,
    recording::Header,
    schedule::{Due, Schedule},
    select::Selector,
    tcp::NetnsId,
    view::PortsView,
};

/// The whole way from a record to a report on ports.
pub struct PortsReports<W: Write> {
    stream: Stream,
    selector: Selector,
    ports: PortModel,
    view: Box<dyn PortsView>,
    out: W,
    top: usize,
    due: Due,
    now_ns: u64,
}

impl<W: Write> PortsReports<W> {
    /// Reports on the records under this header; `traced`: whether more will come than a listing.
    pub fn new(
        header: &Header,
        traced: bool,
        selector: Selector,
        top: usize,
        schedule: Schedule,
        view: Box<dyn PortsView>,
        out: W,
    ) -> Self {
        let whole = selector.criteria().is_everything_of_its_namespaces();
        Self {
            stream: Stream::new(header),
            selector,
            ports: PortModel::new(header.started_ns, traced, whole),
            view,
            out,
            top,
            due: schedule.begin(header.started_ns),
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
        self.ports.event(event);
        if let Some((netns, settings)) = self.stream.told_settings() {
            self.ports.set_settings(netns, settings.clone());
        }
        self.now_ns = self.now_ns.max(event.time_ns);
        let is_tick = matches!(event.fact, Fact::Tick { .. });
        self.take_in();
        if is_tick && self.is_due(self.now_ns) {
            self.due.passes(self.now_ns);
            self.report(self.is_over())?;
        }
        Ok(())
    }

    /// What was found wrong so far with the recording that the records are of.
    pub fn recorded(&mut self, found: Recorded) {
        self.stream.recorded(found);
    }

    /// Takes over the kernel side's counts.
    pub fn account(&mut self, counters: &wire::Counters) {
        self.stream.ledger_mut().count_kernel(counters);
    }

    /// The namespaces whose settings matter.
    pub fn namespaces(&self) -> Vec<NetnsId> {
        self.ports.namespaces()
    }

    /// The settings of namespaces as they are now.
    pub fn set_settings(&mut self, settings: impl IntoIterator<Item = (NetnsId, PortSettings)>) {
        settings.into_iter().for_each(|(netns, settings)| self.ports.set_settings(netns, settings));
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

    /// Gives the last report, unless as many as were wanted have been given.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(&mut self) -> io::Result<Ledger> {
        self.stream.finish();
        self.take_in();
        if !self.is_over() {
            self.report(true)?;
        }
        Ok(self.ledger())
    }

    fn ledger(&self) -> Ledger {
        Ledger { undecided: self.selector.undecided(), ..self.stream.ledger() }
    }

    fn take_in(&mut self) {
        let Self { stream, selector, ports, .. } = self;
        let names = stream.context().names;
        for update in stream.updates() {
            ports.observe(update);
            let Ok(()) = selector.pass(update, names, |update| {
                ports.update(update);
                Ok::<(), Infallible>(())
            });
        }
    }

    fn report(&mut self, is_final: bool) -> io::Result<()> {
        self.ports.set_slack(self.stream.lifecycle().timewait_slack_ns());
        let report = self.ports.report(self.now_ns, is_final, self.top, self.ledger());
        self.view.report(&report, self.stream.context(), &mut self.out)?;
        self.out.flush()
    }
}
