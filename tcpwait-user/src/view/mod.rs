//! What a person or a program reads. A view formats plain structs; it computes nothing and decides nothing.

pub mod audit;
pub mod cells;
pub mod check;
mod clock;
pub mod csv;
pub mod diff;
pub mod doctor;
pub mod failure;
pub mod journal;
pub mod json;
pub mod key;
pub mod ledger;
pub mod page;
pub mod paint;
pub mod perfetto;
pub mod ports;
pub mod probes;
pub mod raw;
pub mod schema;
pub mod stat;
pub mod states;
pub mod table;
pub mod text;
pub mod thinned;
pub mod units;
pub mod version;

use std::io::{self, Write};

use jiff::Timestamp;

use crate::{
    aggregate::{ports::report::PortsReport, report::StatReport},
    ledger::{Ledger, Recorded},
    lifecycle::{Failure, OlderConnection, Transition},
    names::Names,
    tcp::Flow,
};

/// What a view needs besides the transition itself.
#[derive(Clone, Copy, Debug)]
pub struct ViewContext<'a> {
    /// Names for numbers.
    pub names: &'a Names,
    /// Add to `CLOCK_MONOTONIC` nanoseconds to get `CLOCK_REALTIME`.
    pub realtime_offset_ns: i128,
    /// When tracing began, in `CLOCK_MONOTONIC` nanoseconds.
    pub started_ns: u64,
}

impl ViewContext<'_> {
    /// The wall-clock time of an event; `None` outside the years a clock can show.
    pub fn wall(&self, time_ns: u64) -> Option<Timestamp> {
        Timestamp::from_nanosecond(i128::from(time_ns) + self.realtime_offset_ns).ok()
    }
}

/// Writes transitions and calls that failed, one a line.
pub trait View {
    /// What stands above the first line.
    ///
    /// # Errors
    /// The output cannot be written.
    fn header(&mut self, out: &mut dyn Write) -> io::Result<()>;

    /// One transition.
    ///
    /// # Errors
    /// The output cannot be written.
    fn transition(&mut self, step: &Transition, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()>;

    /// One call that failed.
    ///
    /// # Errors
    /// The output cannot be written.
    fn failure(&mut self, failure: &Failure, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()>;

    /// A connection was there before, and is known now.
    ///
    /// # Errors
    /// The output cannot be written.
    fn found(
        &mut self,
        _found: &OlderConnection,
        _time_ns: u64,
        _context: ViewContext<'_>,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        Ok(())
    }

    /// What became of a connection was lost, as is known now.
    ///
    /// # Errors
    /// The output cannot be written.
    fn lost(
        &mut self,
        _id: u64,
        _flow: &Flow,
        _time_ns: u64,
        _context: ViewContext<'_>,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        Ok(())
    }

    /// At the end: something is wrong with the recording. A person is told on stderr; a program reads it here.
    ///
    /// # Errors
    /// The output cannot be written.
    fn damage(&mut self, _found: &Recorded, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Records did not fit into the ring buffer: so many by now. A person is told on stderr.
    ///
    /// # Errors
    /// The output cannot be written.
    fn loss(&mut self, _time_ns: u64, _lost: u64, _context: ViewContext<'_>, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Nothing more comes: the records end at this time. A person is told what was lost on stderr.
    ///
    /// # Errors
    /// The output cannot be written.
    fn account(
        &mut self,
        _ledger: &Ledger,
        _time_ns: u64,
        _context: ViewContext<'_>,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        Ok(())
    }
}

/// Writes reports.
pub trait ReportView {
    /// One report.
    ///
    /// # Errors
    /// The output cannot be written.
    fn report(&mut self, report: &StatReport, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()>;
}

/// Writes reports on ports.
pub trait PortsView {
    /// One report.
    ///
    /// # Errors
    /// The output cannot be written.
    fn report(&mut self, report: &PortsReport, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()>;
}
