//! What a kernel keeps from every BPF program without counting it.
//!
//! A hardened one runs none while a protected process of its own is on the CPU, nor in the softirqs that interrupt that process
//! (docs/kernel.md, "Events that a kernel withholds"): of 50,000 connections one may lack a step, and at times a whole bucket of
//! timers goes unseen. Tests that count many events allow for a thousandth, and so does the account of the tracer that they share. One
//! that has a single connection to look at cannot, and fails: `cargo xtask test` runs it again.

use crate::guest;

/// How many of so many events may be withheld: none in a guest, whose kernel has nothing to hide.
pub fn of(events: u64) -> u64 {
    if guest::is_where_we_are() { 0 } else { events / 1000 }
}

/// How many of few events that take long: a thousandth says nothing of them, since those that are withheld come together, all that one
/// softirq does.
pub fn of_few(events: u64) -> u64 {
    const AT_ONCE: u64 = 20;
    if guest::is_where_we_are() { 0 } else { of(events).max(AT_ONCE) }
}
