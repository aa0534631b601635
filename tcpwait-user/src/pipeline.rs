//! From records to lines: decode, lifecycle, selection, view. The same for the live ring buffer and a recording.

use std::{
    io::{self, Write},
    sync::Arc,
};

use hashbrown::HashMap;

use crate::{
    aggregate::{
        audit::{Audit, AuditReport, Reading},
        ports::settings::PortSettings,
    },
    event::{Event, Fact, StateChange, decode, is_from_kernel},
    ledger::{Ledger, Recorded},
    lifecycle::{Lifecycle, Update},
    names::Names,
    recording::Header,
    select::{Selector, Steps},
    tcp::NetnsId,
    view::{View, ViewContext, raw},
};

/// So many namespaces' settings are kept: a recording may tell of as many as it likes.
const MAX_NAMESPACES: usize = 4096;

/// What is made of the events.
pub enum Shown {
    /// The connection's steps.
    Transitions(Box<dyn View>),
    /// The kernel's own events.
    Raw {
        /// As JSON.
        json: bool,
    },
}

/// What every use of records begins with: decoding, the lifecycle, names, clocks and the account.
pub struct Stream {
    lifecycle: Lifecycle,
    names: Arc<Names>,
    /// Settings as a recording tells them.
    settings: HashMap<NetnsId, PortSettings>,
    realtime_offset_ns: i128,
    started_ns: u64,
    ledger: Ledger,
    event: Option<Event>,
    updates: Vec<Update>,
}

impl Stream {
    /// A stream of records under this header.
    pub fn new(header: &Header) -> Self {
        Self {
            lifecycle: Lifecycle::new(header.symbols.clone(), header.segments).with_hz(header.hz),
            names: Arc::default(),
            settings: HashMap::new(),
            realtime_offset_ns: i128::from(header.started_realtime_ns) - i128::from(header.started_ns),
            started_ns: header.started_ns,
            ledger: Ledger::default(),
            event: None,
            updates: Vec::new(),
        }
    }

    /// Takes in one record. What it says is in [`event`](Self::event) and what follows from it in [`updates`](Self::updates) until the
    /// next: moving either about would cost more than making it.
    pub fn record(&mut self, bytes: &[u8]) {
        self.updates.clear();
        self.ledger.read += u64::from(is_from_kernel(bytes));
        let event = match decode(bytes) {
            Ok(event) => self.event.insert(event),
            Err(undecodable) => {
                self.event = None;
                self.ledger.undecodable += 1;
                log::warn!("{undecodable}");
                return;
            }
        };
        let one_in = self.lifecycle.one_in();
        if one_in > 1 && event.fact.connection().is_some_and(|flow| !flow.is_chosen(one_in)) {
            // It was on its way when it was left out, or a listing has it.
            self.ledger.left_out += u64::from(is_from_kernel(bytes));
            self.event = None;
            return;
        }
        match &event.fact {
            Fact::Tick { realtime_ns } => {
                self.realtime_offset_ns = i128::from(*realtime_ns) - i128::from(event.time_ns)
            }
            // Whoever looks at the names elsewhere has those of then; they are copied once for each such look.
            Fact::State(StateChange { flow, task: Some(task), .. }) => {
                Arc::make_mut(&mut self.names).meet(flow.netns, task);
            }
            Fact::CgroupName { id, path } => Arc::make_mut(&mut self.names).learn_cgroup(*id, path),
            Fact::PodName { cgroup, namespace, pod, container } => {
                Arc::make_mut(&mut self.names).learn_pod(*cgroup, namespace, pod, container.as_deref());
            }
            Fact::NetnsName { netns, name } => Arc::make_mut(&mut self.names).learn_netns(*netns, name),
            Fact::InterfaceName { interface, name } => Arc::make_mut(&mut self.names).learn_interface(*interface, name),
            Fact::Counters(counters) => self.ledger.count_kernel(counters),
            Fact::Setting { netns, name, value }
                if self.settings.len() < MAX_NAMESPACES || self.settings.contains_key(netns) =>
            {
                self.settings.entry(*netns).or_default().set(name, value);
            }
            Fact::Loss { lost } => self.ledger.lost_by_then = self.ledger.lost_by_then.max(*lost),
            _ => {}
        }
        self.lifecycle.apply(event, &mut self.updates);
    }

    /// What the last record said; `None` if it made no sense.
    pub fn event(&self) -> Option<&Event> {
        self.event.as_ref()
    }

    /// Lets go of everything that still waits for a later event: the stream is over.
    pub fn finish(&mut self) {
        self.updates.clear();
        self.lifecycle.finish(&mut self.updates);
    }

    /// What followed from the last record, or from the end.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// The settings that a record has just told of, and of which namespace; a recording tells one after the other.
    pub fn told_settings(&self) -> Option<(NetnsId, &PortSettings)> {
        match self.event()?.fact {
            Fact::Setting { netns, .. } => Some((netns, self.settings.get(&netns)?)),
            _ => None,
        }
    }

    /// What is needed to look at what the records say.
    pub fn context(&self) -> ViewContext<'_> {
        ViewContext { names: &self.names, realtime_offset_ns: self.realtime_offset_ns, started_ns: self.started_ns }
    }

    /// The lifecycle.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The names that records carry.
    pub fn names_mut(&mut self) -> &mut Names {
        Arc::make_mut(&mut self.names)
    }

    /// The names as they are now, for whoever looks at them elsewhere.
    pub fn shared_names(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    /// What was found wrong so far with the recording that the records are of.
    pub fn recorded(&mut self, found: Recorded) {
        self.ledger.recording = found;
    }

    /// The account, to be added to.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The account so far.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            tally: self.lifecycle.tally(),
            minis_now: self.lifecycle.minis_now() as u64 * u64::from(self.lifecycle.one_in()),
            one_in: self.lifecycle.one_in(),
            now_unsure: self.lifecycle.is_unsure(),
            older_unknown: self.lifecycle.all_minis_now().is_none(),
            other_length_ns: self.lifecycle.other_length_ns(),
            ..self.ledger
        }
    }
}

/// The whole way from a record to a line.
pub struct Pipeline<W: Write> {
    stream: Stream,
    selector: Selector,
    steps: Steps,
    shown: Shown,
    audit: Option<Audit>,
    out: W,
    /// The latest time of a record, in nanoseconds of `CLOCK_MONOTONIC`.
    now_ns: u64,
}

impl<W: Write> Pipeline<W> {
    /// A pipeline for records under this header.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn new(header: &Header, selector: Selector, shown: Shown, out: W) -> io::Result<Self> {
        let mut pipeline = Self {
            stream: Stream::new(header),
            selector,
            steps: Steps::default(),
            shown,
            audit: None,
            out,
            now_ns: header.started_ns,
        };
        if let Shown::Transitions(view) = &mut pipeline.shown {
            view.header(&mut pipeline.out)?;
        }
        Ok(pipeline)
    }

    /// Takes in one record.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.record(bytes);
        let Some(event) = self.stream.event() else { return Ok(()) };
        self.now_ns = self.now_ns.max(event.time_ns);
        if let Some(audit) = &mut self.audit {
            audit.event(event);
            audit.told(&event.fact, self.stream.lifecycle().minis_by_netns());
        }
        if let Shown::Raw { json } = self.shown
            && raw::flow_of(event).is_some_and(|flow| self.selector.criteria().may_match(flow))
        {
            raw::event(event, self.stream.context(), json, &mut self.out)?;
        }
        if let (Fact::Loss { lost }, Shown::Transitions(view)) = (&event.fact, &mut self.shown) {
            view.loss(event.time_ns, *lost, self.stream.context(), &mut self.out)?;
        }
        self.show()
    }

    /// Shows only these steps of the connections that are selected.
    pub fn only(mut self, steps: Steps) -> Self {
        self.steps = steps;
        self
    }

    /// What was found wrong so far with the recording that the records are of.
    pub fn recorded(&mut self, found: Recorded) {
        self.stream.recorded(found);
    }

    /// Holds what is seen against the kernel's own counters, too.
    pub fn audited(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// The kernel's counters are being read. Returns the namespaces whose are needed.
    pub fn reading_begins(&mut self) -> Vec<NetnsId> {
        let minis = self.stream.lifecycle().minis_by_netns();
        self.audit.as_mut().map(|audit| audit.begin_reading(minis)).unwrap_or_default()
    }

    /// The kernel's counters have been read.
    pub fn reading_ends(&mut self, reading: &Reading) {
        if let Some(audit) = &mut self.audit {
            audit.end_reading(reading);
        }
    }

    /// What came of the audit, if there is one.
    pub fn audit(&self) -> Option<AuditReport> {
        self.audit.as_ref().map(|audit| audit.report(&self.ledger()))
    }

    /// Brings all lines out.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the stream and gives the account.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(&mut self) -> io::Result<Ledger> {
        self.stream.finish();
        self.show()?;
        let Self { stream, selector, steps, shown, out, now_ns, .. } = self;
        if let Shown::Transitions(view) = shown {
            let context = stream.context();
            selector.finish(context.names, |update| show(update, steps, view.as_mut(), *now_ns, context, out))?;
        }
        let ledger = self.ledger();
        if let Shown::Transitions(view) = &mut self.shown {
            view.account(&ledger, self.now_ns, self.stream.context(), &mut self.out)?;
        }
        if ledger.recording.is_lossy() {
            match &mut self.shown {
                Shown::Transitions(view) => view.damage(&ledger.recording, &mut self.out)?,
                Shown::Raw { json } => raw::damage(&ledger.recording, *json, &mut self.out)?,
            }
        }
        self.out.flush()?;
        Ok(ledger)
    }

    /// The account so far.
    pub fn ledger(&self) -> Ledger {
        Ledger { undecided: self.selector.undecided(), ..self.stream.ledger() }
    }

    fn show(&mut self) -> io::Result<()> {
        let Self { stream, selector, steps, shown, audit, out, now_ns } = self;
        let context = stream.context();
        for update in stream.updates() {
            if let Some(audit) = audit {
                audit.update(update);
            }
            let Shown::Transitions(view) = shown else { continue };
            selector.pass(update, context.names, |update| show(update, steps, view.as_mut(), *now_ns, context, out))?;
        }
        Ok(())
    }
}

fn show(
    update: &Update,
    steps: &Steps,
    view: &mut dyn View,
    now_ns: u64,
    context: ViewContext<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    match update {
        Update::Transition(step) if steps.admit(step) => view.transition(step, context, out),
        Update::Failed(failure) if steps.admit_failure(failure) => view.failure(failure, context, out),
        Update::Found(found) => view.found(found, now_ns, context, out),
        Update::Lost { id, flow } => view.lost(*id, flow, now_ns, context, out),
        _ => Ok(()),
    }
}
