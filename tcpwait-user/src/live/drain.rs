//! Takes records from the ring buffer and passes them on, each after the names that it needs.

use std::io;

use tcpwait_wire::wire::{self, Kind};
use zerocopy::IntoBytes;

use super::{Live, Sink, head::head, naming::Naming};
use crate::{
    event::task_of,
    system::clock::{monotonic_ns, realtime_ns},
};

/// How many records are taken in one go before signals and the clock get their turn.
pub(super) const BATCH: usize = 8_192;

impl Live {
    /// Takes everything that is in the ring buffer now, and of what comes meanwhile no more than fits into it: on a machine that makes more than can
    /// be taken there is no end to that.
    pub(super) fn catch_up(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let mut bytes = 0;
        while sink.has_room() && bytes < u64::from(self.settings.ring_bytes) {
            let (records, taken) = self.drain(sink)?;
            bytes += taken;
            if records < BATCH {
                break;
            }
        }
        if let Some(thin) = &mut self.thin {
            thin.drained(bytes);
        }
        Ok(())
    }

    /// Takes what the ring buffer has. Returns how many records, [`BATCH`] says that there may be more, and how many bytes of the buffer they took.
    pub(super) fn drain(&mut self, sink: &mut impl Sink) -> io::Result<(usize, u64)> {
        /// `struct bpf_ringbuf_hdr`.
        const HEADER: u64 = 8;
        let Self { probes, naming, heirs, has_passed, .. } = self;
        let mut bytes = 0;
        let records = probes.drain(BATCH, monotonic_ns, |record| {
            bytes += HEADER + record.len() as u64;
            heirs.note(record);
            name_and_pass(record, naming, sink)
        })?;
        *has_passed |= records > 0;
        Ok((records, bytes))
    }

    /// Passes on records that were read beside the tracing.
    pub(super) fn pass_all(&mut self, records: &[u8], sink: &mut impl Sink) -> io::Result<()> {
        self.has_passed |= !records.is_empty();
        split(records).try_for_each(|record| {
            self.heirs.note(record);
            name_and_pass(record, &mut self.naming, sink)
        })
    }

    /// Says what time it is.
    pub(super) fn tick(&self, sink: &mut impl Sink) -> io::Result<()> {
        let tick = wire::Tick { head: head::<wire::Tick>(Kind::Tick), realtime_ns: realtime_ns() };
        sink.record(tick.as_bytes())
    }
}

fn name_and_pass(record: &[u8], naming: &mut Naming, sink: &mut impl Sink) -> io::Result<()> {
    if let Some(task) = task_of(record) {
        naming.say(&task, sink)?;
    }
    sink.record(record)
}

fn split(mut records: &[u8]) -> impl Iterator<Item = &[u8]> {
    const LEN_AT: usize = std::mem::offset_of!(wire::Head, len);
    std::iter::from_fn(move || {
        let len = records.get(LEN_AT..LEN_AT + 2)?.try_into().map(u16::from_ne_bytes).ok()?;
        let (record, rest) = records.split_at_checked(usize::from(len))?;
        records = rest;
        Some(record)
    })
}
