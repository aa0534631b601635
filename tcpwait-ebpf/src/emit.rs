//! The only file that touches the ring buffer and the counters. A record is reserved whole, filled, submitted;
//! what does not fit is counted under its cause. It never waits and knows nothing of what it carries.

use core::arch::asm;

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use aya_log_ebpf::warn;
use tcpwait_wire::wire::{Counter, Head, Hook, Kind, transition_slot};

use crate::{
    maps::{COUNTERS, NOTES, RECORDS, TAKEN_OVER, TRANSITIONS, WAKE_BYTES},
    task,
};

/// Adds one to a counter of this CPU. Atomic, since a softirq may run another program in the middle of this one.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        add_one(value);
    }
}

/// Counts a full socket's state change.
#[inline(always)]
pub fn count_transition(old: u8, new: u8) {
    if let Some(value) = TRANSITIONS.get_ptr_mut(transition_slot(old, new) as u32) {
        add_one(value);
    }
}

/// Counts an event that another program than the first took.
#[inline(always)]
pub fn count_taken_over(hook: Hook) {
    if let Some(value) = TAKEN_OVER.get_ptr_mut(hook as u32) {
        add_one(value);
    }
}

#[inline(always)]
fn add_one(value: *mut u64) {
    // SAFETY: the slot is an aligned u64 that lives as long as the map.
    unsafe { add(value, 1) };
}

/// Adds to a word that others may add to at the same time. (Rust has no atomic arithmetic for a target that had none before BPF v3; this
/// instruction is as old as BPF.)
///
/// # Safety
/// The word is aligned, and lives as long as its map.
#[inline(always)]
pub unsafe fn add(word: *mut u64, value: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("lock *(u64 *)({word} + 0) += {value}", word = in(reg) word, value = in(reg) value) };
}

/// Zero, which the compiler is not told: it would call a function that clears a few bytes one by one, which costs as much as writing
/// the rest of the record.
#[inline(always)]
pub fn zero() -> u64 {
    let zero;
    // SAFETY: one instruction that loads a number.
    unsafe { asm!("{zero} = 0", zero = out(reg) zero, options(pure, nomem, nostack)) };
    zero
}

/// Whether this CPU has counted none yet.
#[inline(always)]
fn is_first(counter: Counter) -> bool {
    // SAFETY: as above.
    COUNTERS.get_ptr(counter as u32).is_some_and(|value| unsafe { *value } == 0)
}

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
    let head = Head {
        time_ns,
        len: size_of::<R>() as u16,
        kind: kind as u8,
        flags,
        // SAFETY: the helper has no preconditions.
        cpu: unsafe { bpf_get_smp_processor_id() } as u16,
        thread: task::thread(ctx) as u16,
    };
    // SAFETY: every record type starts with a `Head` (wire.rs) and the reserved memory is 8-byte aligned.
    unsafe { record.cast::<Head>().write(head) };
    fill(record);
    // Waking the reader for each record would cost more than the record.
    entry.submit(u64::from(if is_wake_due(size_of::<R>() as u64) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
    true
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
