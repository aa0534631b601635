//! The only file that touches the counters. It knows nothing of what they count.

use core::arch::asm;

use tcpwait_wire::wire::{Counter, Hook, transition_slot};

use crate::maps::{COUNTERS, TAKEN_OVER, TRANSITIONS};

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

/// Whether this CPU has counted none yet.
#[inline(always)]
pub fn is_first(counter: Counter) -> bool {
    // SAFETY: the slot is an aligned u64 that lives as long as the map.
    COUNTERS.get_ptr(counter as u32).is_some_and(|value| unsafe { *value } == 0)
}
