//! The only file that touches the ring buffer. A record is reserved whole, filled, submitted;
//! what does not fit is counted under its cause. It never waits and knows nothing of what it carries.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use aya_log_ebpf::warn;
use tcpwait_wire::wire::{Counter, Head, Kind};

use crate::{
    counters::{count, is_first},
    maps::{NOTES, RECORDS, WAKE_BYTES},
    task,
};

/// Reserves a record of type `R`, lets `fill` write all of it, and submits it. When the buffer is full the loss
/// is counted under `lost`. `fill` gets memory with stale content: it must write every byte after the head. Returns whether it fitted.
#[inline(always)]
pub fn emit<R: 'static>(
    ctx: &impl EbpfContext,
    kind: Kind,
    flags: u8,
    lost: Counter,
    fill: impl FnOnce(*mut R),
) -> bool {
    // Before there is room for it: whoever waits for that, or is preempted, tells of what was.
    // SAFETY: the helper has no preconditions.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let Some(mut entry) = RECORDS.reserve::<R>(0) else {
        if is_first(lost) {
            warn!(ctx, "ring buffer full: first loss of kind {} on this CPU", kind as u8);
        }
        count(lost);
        return false;
    };
    let record = entry.as_mut_ptr();
    let head = head_of::<R>(ctx, kind, flags, time_ns);
    // SAFETY: every record type starts with a `Head` (wire.rs) and the reserved memory is 8-byte aligned.
    unsafe { record.cast::<Head>().write(head) };
    fill(record);
    // Waking the reader for each record would cost more than the record.
    entry.submit(u64::from(if is_wake_due(size_of::<R>() as u64) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
    true
}

/// Writes a record that was made before and held back. Returns whether it fitted.
#[inline(always)]
pub fn emit_again<R: Copy + 'static>(ctx: &impl EbpfContext, held: *const R, kind: Kind, lost: Counter) -> bool {
    let Some(mut entry) = RECORDS.reserve::<R>(0) else {
        if is_first(lost) {
            warn!(ctx, "ring buffer full: first loss of kind {} on this CPU", kind as u8);
        }
        count(lost);
        return false;
    };
    // SAFETY: the reserved memory is of that size, and the caller's is as it was made.
    unsafe { entry.as_mut_ptr().copy_from_nonoverlapping(held, 1) };
    entry.submit(u64::from(if is_wake_due(size_of::<R>() as u64) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
    true
}

/// The head of a record that is made now.
#[inline(always)]
pub fn head<R>(ctx: &impl EbpfContext, kind: Kind, flags: u8) -> Head {
    // SAFETY: the helper has no preconditions.
    head_of::<R>(ctx, kind, flags, unsafe { bpf_ktime_get_ns() })
}

#[inline(always)]
fn head_of<R>(ctx: &impl EbpfContext, kind: Kind, flags: u8, time_ns: u64) -> Head {
    Head {
        time_ns,
        len: size_of::<R>() as u16,
        kind: kind as u8,
        flags,
        // SAFETY: the helper has no preconditions.
        cpu: unsafe { bpf_get_smp_processor_id() } as u16,
        thread: task::thread(ctx) as u16,
    }
}

/// Whether this CPU has written its share. The reader comes by on its own several times a second, and then the buffer is emptier than
/// this knows: asking (`bpf_ringbuf_query`) costs more than one wake-up too many among thousands of records.
#[inline(always)]
fn is_wake_due(bytes: u64) -> bool {
    let Some(notes) = NOTES.get_ptr_mut(0) else { return true };
    // SAFETY: this CPU's own slot. A softirq in between makes it a few bytes less.
    unsafe {
        let written = (*notes).unread_bytes + bytes;
        let due = written >= WAKE_BYTES.load();
        (*notes).unread_bytes = if due { 0 } else { written };
        due
    }
}
