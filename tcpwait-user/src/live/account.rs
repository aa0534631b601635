//! What was counted and lost so far, told as it is due.

use anyhow::Result;
use tcpwait_wire::wire::{self, Kind};
use zerocopy::IntoBytes;

use super::{Live, Sink, head::head, losses::Losses};
use crate::system::clock::monotonic_ns;

impl Live {
    /// Gives the kernel side's counts to a sink that wants them now.
    pub(super) fn account(&mut self, sink: &mut impl Sink) -> Result<()> {
        if sink.is_due(monotonic_ns()) {
            sink.account(&self.probes.counters(monotonic_ns())?);
            // What was counted has been written by now.
            self.catch_up(sink)?;
        }
        Ok(())
    }

    /// Looks for losses if it is time to, and says how many there are if there are more than before.
    pub(super) fn say_lost(&mut self, losses: &mut Losses, sink: &mut impl Sink) -> Result<()> {
        if let Some(lost) = losses.grown(|| self.probes.lost())? {
            // What was lost was so before this, and what is left of that time comes first.
            self.catch_up(sink)?;
            sink.record(wire::Loss { head: head::<wire::Loss>(Kind::Loss), lost }.as_bytes())?;
        }
        Ok(())
    }
}
