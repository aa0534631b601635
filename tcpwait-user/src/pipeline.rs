//! From records to lines: decode, lifecycle, selection, view. The same for the live ring buffer and a recording.

use std::io::{self, Write};

use crate::{
    event::{Fact, decode, is_from_kernel},
    ledger::Ledger,
    lifecycle::Lifecycle,
    names::Names,
    recording::Header,
    select::Selector,
    view::{Context, View, raw},
};

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

/// The whole way from a record to a line.
pub struct Pipeline<W: Write> {
    lifecycle: Lifecycle,
    selector: Selector,
    shown: Shown,
    out: W,
    names: Names,
    realtime_offset_ns: i128,
    started_ns: u64,
    ledger: Ledger,
    updates: Vec<crate::lifecycle::Update>,
}

impl<W: Write> Pipeline<W> {
    /// A pipeline for records under this header.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn new(header: &Header, selector: Selector, shown: Shown, out: W) -> io::Result<Self> {
        let mut pipeline = Self {
            lifecycle: Lifecycle::new(header.symbols.clone(), header.segments),
            selector,
            shown,
            out,
            names: Names::default(),
            realtime_offset_ns: i128::from(header.started_realtime_ns) - i128::from(header.started_ns),
            started_ns: header.started_ns,
            ledger: Ledger::default(),
            updates: Vec::new(),
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
        self.ledger.read += u64::from(is_from_kernel(bytes));
        let event = match decode(bytes) {
            Ok(event) => event,
            Err(undecodable) => {
                self.ledger.undecodable += 1;
                log::warn!("{undecodable}");
                return Ok(());
            }
        };
        match &event.fact {
            Fact::Tick { realtime_ns } => {
                self.realtime_offset_ns = i128::from(*realtime_ns) - i128::from(event.time_ns)
            }
            Fact::CgroupName { id, path } => self.names.learn_cgroup(*id, path),
            Fact::Counters(counters) => self.ledger.count_kernel(counters),
            _ => {}
        }
        self.lifecycle.apply(&event, &mut self.updates);
        if let Shown::Raw { json } = self.shown {
            self.updates.clear();
            if raw::flow_of(&event).is_some_and(|flow| self.selector.criteria().may_match(flow)) {
                let context = Context {
                    names: &self.names,
                    realtime_offset_ns: self.realtime_offset_ns,
                    started_ns: self.started_ns,
                };
                raw::event(&event, context, json, &mut self.out)?;
            }
        }
        self.show()
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
        self.lifecycle.finish(&mut self.updates);
        self.show()?;
        self.out.flush()?;
        Ok(self.ledger())
    }

    /// The account so far.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            tally: self.lifecycle.tally(),
            minis_now: self.lifecycle.minis_now() as u64,
            undecided: self.selector.undecided(),
            ..self.ledger
        }
    }

    fn show(&mut self) -> io::Result<()> {
        let Self { selector, shown, out, names, updates, .. } = self;
        let context = Context { names, realtime_offset_ns: self.realtime_offset_ns, started_ns: self.started_ns };
        let Shown::Transitions(view) = shown else {
            updates.clear();
            return Ok(());
        };
        for update in updates.drain(..) {
            selector.pass(update, names, |step| view.transition(&step, context, out))?;
        }
        Ok(())
    }
}
