//! Which ring buffer a CPU writes to.

use core::arch::asm;

use aya_ebpf::maps::{RingBuf, ring_buf::RingBufEntry};

use crate::maps::{
    RECORDS, RECORDS_2, RECORDS_3, RECORDS_4, RECORDS_5, RECORDS_6, RECORDS_7, RECORDS_8, RING_SHIFT, RINGS,
};

/// Reserves room in the ring buffer of this CPU's group. Where there is one, the verifier never sees the rest.
#[inline(always)]
pub fn reserve<R: 'static>(cpu: u32) -> Option<RingBufEntry<R>> {
    if RINGS.load() <= 1 {
        return RECORDS.reserve::<R>(0);
    }
    match cpu >> (RING_SHIFT.load() & 31) {
        0 => of::<R>(&RECORDS),
        1 => of::<R>(&RECORDS_2),
        2 => of::<R>(&RECORDS_3),
        3 => of::<R>(&RECORDS_4),
        4 => of::<R>(&RECORDS_5),
        5 => of::<R>(&RECORDS_6),
        6 => of::<R>(&RECORDS_7),
        _ => of::<R>(&RECORDS_8),
    }
}

/// Each call stands for itself: made one, it would take the address of its map from a table in memory, which no loader fills in.
#[inline(always)]
fn of<R: 'static>(ring: &'static RingBuf) -> Option<RingBufEntry<R>> {
    // SAFETY: no instruction.
    unsafe { asm!("", options(nomem, nostack)) };
    ring.reserve::<R>(0)
}
