//! Where records go, and what whoever takes them decides.

use std::io;

use nix::sys::signal::Signal;
use tcpwait_wire::wire;

use crate::{
    aggregate::{audit::Reading, ports::settings::PortSettings},
    tcp::NetnsId,
    thinning::Thinner,
};

/// Where records go.
pub trait Sink {
    /// One record.
    ///
    /// # Errors
    /// The output cannot be written.
    fn record(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The end of a round: bring lines out.
    ///
    /// # Errors
    /// The output cannot be written.
    fn round(&mut self) -> io::Result<()>;

    /// From time to time: bring everything out.
    ///
    /// # Errors
    /// The output cannot be written.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether it wants the kernel side's counts at this time, in nanoseconds of `CLOCK_MONOTONIC`.
    fn is_due(&mut self, _now_ns: u64) -> bool {
        false
    }

    /// When it wants to be told what time it is, in nanoseconds of `CLOCK_MONOTONIC`, even if nothing happens until then.
    fn next_due_ns(&self) -> Option<u64> {
        None
    }

    /// Whether it has to be asked often if it is over: something else than records ends it.
    fn is_watching(&self) -> bool {
        false
    }

    /// The kernel side's counts so far: when they were due.
    fn account(&mut self, _counters: &wire::Counters) {}

    /// The kernel's own counters are going to be read. Returns the namespaces whose are needed: others may be read as well.
    fn reading_begins(&mut self) -> Vec<NetnsId> {
        Vec::new()
    }

    /// They have been read.
    fn reading_ends(&mut self, _reading: &Reading) {}

    /// The namespaces whose port settings it wants to be told of.
    fn namespaces(&self) -> Vec<NetnsId> {
        Vec::new()
    }

    /// Settings as they were a moment ago, of those that could be read.
    fn settings(&mut self, _read: Vec<(NetnsId, PortSettings)>) {}

    /// From now on one connection in so many is told of; that has been said by a record, too.
    fn thinned(&mut self, _change: &Thinner) {}

    /// Whether it can take more. While it cannot, records stay in the ring buffer, and what does not fit there is counted by the kernel side.
    fn has_room(&self) -> bool {
        true
    }

    /// Whether it wants no more.
    fn is_over(&mut self) -> bool {
        false
    }

    /// SIGINT, SIGTERM or SIGHUP came: whether to end.
    fn ends_at(&mut self, _signal: Signal) -> bool {
        true
    }
}
