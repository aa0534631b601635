//! How a record comes into a ring buffer. A record is reserved whole, filled, submitted;
//! what does not fit is counted under its cause. It never waits and knows nothing of what it carries.
//! What is the same for every type of record is a function that is called: the verifier's work grows faster than a program does.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use aya_log_ebpf::warn;
use tcpwait_wire::wire::{Counter, Head, Kind};

use crate::{
    counters::{count, is_first},
    ring::{reserve, submit},
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
    let record = reserve(cpu, size_of::<R>() as u64);
    if record.is_null() {
        no_room(ctx.as_ptr(), kind as u8, lost);
        return false;
    }
    let head = head_of::<R>(ctx, kind, flags, time_ns, cpu);
    // SAFETY: every record type starts with a `Head` (wire.rs), and the reserved memory is of its size and 8-byte aligned.
    unsafe {
        record.cast::<Head>().write(head);
        fill(record.cast());
        submit(record, size_of::<R>() as u64);
    }
    true
}

/// Writes a record that was made before and held back. Returns whether it fitted.
#[inline(always)]
pub fn emit_again<R: Copy + 'static>(ctx: &impl EbpfContext, held: *const R, kind: Kind, lost: Counter) -> bool {
    let record = reserve(cpu(), size_of::<R>() as u64);
    if record.is_null() {
        no_room(ctx.as_ptr(), kind as u8, lost);
        return false;
    }
    // SAFETY: the reserved memory is of that size, and the caller's is as it was made.
    unsafe {
        record.cast::<R>().copy_from_nonoverlapping(held, 1);
        submit(record, size_of::<R>() as u64);
    }
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

/// Counts a record that did not fit, and says so of the first. (Not `#[cold]`: that has a section of its own, and aya calls what is at the same place in `.text`.)
#[inline(never)]
fn no_room(ctx: *mut c_void, kind: u8, lost: Counter) {
    if is_first(lost) {
        warn!(&Context(ctx), "ring buffer full: first loss of kind {} on this CPU", kind);
    }
    count(lost);
}

/// The context of whatever program this is part of.
struct Context(*mut c_void);

impl EbpfContext for Context {
    fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}
