//! The end: lets go of the kernel, takes what is left in the ring buffer, and gives the last account.

use std::time::Duration;

use anyhow::Result;
use zerocopy::IntoBytes;

use super::{Live, Sink, drain::BATCH};
use crate::system::clock::monotonic_ns;

/// How long a program may take from its detachment to its last record.
const LAST_RECORD: Duration = Duration::from_millis(10);

impl Live {
    /// Nothing is traced after this.
    pub(super) async fn finish(&mut self, sink: &mut impl Sink) -> Result<()> {
        // Nothing may be added while the rest is read: a flood would never end. A full ring buffer of the usual size takes less than a second.
        self.probes.detach()?;
        while self.drain(sink)?.0 == BATCH {}
        // A program that still ran when it was detached finishes its record within microseconds; one that was not finished
        // hides those behind it.
        tokio::time::sleep(LAST_RECORD).await;
        while self.drain(sink)?.0 == BATCH {}
        self.tick(sink)?;
        sink.record(self.probes.counters(monotonic_ns())?.as_bytes())?;
        sink.sync()?;
        Ok(())
    }
}
