//! How a record comes into a ring buffer. A record is reserved whole, filled, submitted;
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
    maps::{ASLEEP, NOTES, WAKE_BYTES},
    ring::reserve,
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
    let cpu = cpu();
    let Some(mut entry) = reserve::<R>(cpu) else {
        if is_first(lost) {
            warn!(ctx, "ring buffer full: first loss of kind {} on this CPU", kind as u8);
        }
        count(lost);
        return false;
    };
    let record = entry.as_mut_ptr();
    let head = head_of::<R>(ctx, kind, flags, time_ns, cpu);
    // SAFETY: every record type starts with a `Head` (wire.rs) and the reserved memory is 8-byte aligned.
    unsafe { record.cast::<Head>().write(head) };
    fill(record);
    entry.submit(wakes(size_of::<R>()));
    true
}

/// Writes a record that was made before and held back. Returns whether it fitted.
#[inline(always)]
pub fn emit_again<R: Copy + 'static>(ctx: &impl EbpfContext, held: *const R, kind: Kind, lost: Counter) -> bool {
    let Some(mut entry) = reserve::<R>(cpu()) else {
        if is_first(lost) {
            warn!(ctx, "ring buffer full: first loss of kind {} on this CPU", kind as u8);
        }
        count(lost);
        return false;
    };
    // SAFETY: the reserved memory is of that size, and the caller's is as it was made.
    unsafe { entry.as_mut_ptr().copy_from_nonoverlapping(held, 1) };
    entry.submit(wakes(size_of::<R>()));
    true
}

/// The head of a record that is made now.
#[inline(always)]
pub fn head<R>(ctx: &impl EbpfContext, kind: Kind, flags: u8) -> Head {
    // SAFETY: the helper has no preconditions.
    head_of::<R>(ctx, kind, flags, unsafe { bpf_ktime_get_ns() }, cpu())
}

#[inline(always)]
fn cpu() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_smp_processor_id() }
}

/// Whether a record of so many bytes wakes the reader, as the kernel wants to be told. Waking it for each would cost more than the record.
#[inline(always)]
fn wakes(bytes: usize) -> u64 {
    u64::from(if is_wake_due(bytes as u64) || is_reader_asleep() { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}

#[inline(always)]
fn head_of<R>(ctx: &impl EbpfContext, kind: Kind, flags: u8, time_ns: u64, cpu: u32) -> Head {
    Head {
        time_ns,
        len: size_of::<R>() as u16,
        kind: kind as u8,
        flags,
        cpu: cpu as u16,
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

/// Whether the reader waits to be woken. It stays so until it is up: records that come meanwhile wake it again, which is one bit that is set already
/// (`bpf_ringbuf_commit` queues one `irq_work`).
#[inline(always)]
fn is_reader_asleep() -> bool {
    // SAFETY: an aligned word that lives as long as the map; user space may write it at any time.
    ASLEEP.get_ptr(0).is_some_and(|asleep| unsafe { asleep.read_volatile() } != 0)
}
