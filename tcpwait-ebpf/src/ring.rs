//! The ring buffer that a CPU writes to: room in it, and what was written there.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_ringbuf_reserve, bpf_ringbuf_submit},
    maps::RingBuf,
};

use crate::maps::{
    ASLEEP, NOTES, RECORDS, RECORDS_2, RECORDS_3, RECORDS_4, RECORDS_5, RECORDS_6, RECORDS_7, RECORDS_8, RING_SHIFT,
    RINGS, WAKE_BYTES,
};

/// Reserves so many bytes in the ring buffer of this CPU's group; null if it is full. Whoever calls has to ask: a kernel before 6.4 that was asked here
/// forgets the answer. Where there is one buffer, the verifier never sees the rest.
#[inline(never)]
pub fn reserve(cpu: u32, bytes: u64) -> *mut c_void {
    if RINGS.load() <= 1 {
        return of(&RECORDS, bytes);
    }
    match cpu >> (RING_SHIFT.load() & 31) {
        0 => of(&RECORDS, bytes),
        1 => of(&RECORDS_2, bytes),
        2 => of(&RECORDS_3, bytes),
        3 => of(&RECORDS_4, bytes),
        4 => of(&RECORDS_5, bytes),
        5 => of(&RECORDS_6, bytes),
        6 => of(&RECORDS_7, bytes),
        _ => of(&RECORDS_8, bytes),
    }
}

/// Each call stands for itself: made one, it would take the address of its map from a table in memory, which no loader fills in.
#[inline(always)]
fn of(ring: &'static RingBuf, bytes: u64) -> *mut c_void {
    // SAFETY: no instruction.
    unsafe { asm!("", options(nomem, nostack)) };
    // SAFETY: a map; where the loader has put its descriptor, the kernel puts its address.
    unsafe { bpf_ringbuf_reserve((&raw const *ring).cast_mut().cast(), bytes, 0) }
}

/// Hands the reader what was written, and wakes it if it is to be woken. Waking it for each record would cost more than the record.
///
/// # Safety
/// `record` is from [`reserve`], for so many bytes, all of them written, and nobody's from here on.
#[inline(never)]
pub unsafe fn submit(record: *mut c_void, bytes: u64) {
    let wakes = if is_wake_due(bytes) || is_reader_asleep() { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    // SAFETY: the caller's.
    unsafe { bpf_ringbuf_submit(record, u64::from(wakes)) };
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
