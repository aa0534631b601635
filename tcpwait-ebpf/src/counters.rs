//! The only file that touches the counters. It knows nothing of what they count.

use core::arch::asm;

use tcpwait_wire::wire::{Counter, CpuCounts, Hook, transition_slot};

use crate::maps::COUNTS;

/// What this CPU has counted. A task that goes on elsewhere meanwhile adds to the one where it was: only the sum is of interest.
#[inline(always)]
fn counts() -> Option<*mut CpuCounts> {
    COUNTS.get_ptr_mut(0)
}

/// Adds one to a counter of this CPU. Atomic, since a softirq may run another program in the middle of this one.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(counts) = counts() {
        // SAFETY: the structure lives as long as the map.
        add_one(unsafe { (&raw mut (*counts).values).cast::<u64>().add(counter as usize) });
    }
}

/// Counts a full socket's state change.
#[inline(always)]
pub fn count_transition(old: u8, new: u8) {
    if let Some(counts) = counts() {
        // SAFETY: as above; a slot is below 256, of which there are as many.
        add_one(unsafe { (&raw mut (*counts).transitions).cast::<u64>().add(transition_slot(old, new)) });
    }
}

/// Counts an event that another program than the first took.
#[inline(always)]
pub fn count_taken_over(hook: Hook) {
    if let Some(counts) = counts() {
        // SAFETY: the structure lives as long as the map.
        add_one(unsafe { (&raw mut (*counts).taken_over).cast::<u64>().add(hook as usize) });
    }
}

#[inline(always)]
fn add_one(value: *mut u64) {
    // SAFETY: an aligned word of the structure, which lives as long as the map.
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

/// Whether this CPU has counted none yet.
#[inline(always)]
pub fn is_first(counter: Counter) -> bool {
    // SAFETY: the structure lives as long as the map.
    counts()
        .is_some_and(|counts| unsafe { (&raw const (*counts).values).cast::<u64>().add(counter as usize).read() } == 0)
}
