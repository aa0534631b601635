//! One event, several programs: which of them takes it.
//!
//! The kernel runs no program while the same one is active on that CPU (`__bpf_trace_run`, `__bpf_prog_enter_recur`): an interrupt that comes in
//! the middle of it goes unseen, and from Linux 7.0 on, where a tracepoint no longer disables preemption (`guard(srcu_fast_notrace)`),
//! so does everything that other tasks do until the one that was preempted runs again. So a hook has several programs, all alike, and the first
//! of them that is not active takes the event.
//!
//! Whether one before it was there it reads from a slot that belongs to the event as long as it lasts. Its key is the address of the
//! arguments: they lie on the kernel stack, the same for all programs of one event (`bpf_trace_run3`; a trampoline's are in one frame),
//! and no two events that are under way at once share a place on a stack. That holds wherever the task goes on between two programs, on
//! any kernel; what is kept by CPU holds only while nothing else can come in between.

use core::ffi::c_void;

use aya_ebpf::{EbpfContext, helpers::bpf_jiffies64};
use tcpwait_wire::wire::Hook;

use crate::{
    counters::{add, count_taken_over},
    filter::is_running,
    maps::{HERE, PREEMPTIBLE, SLOTS, SLOTS_COUNT, Slot, THREADS},
    sock::distance,
};

/// How many slots are looked at. Those that are taken belong to events under way: as many as there are CPUs, and tasks that were preempted in a program.
const PROBES: u64 = 4;

/// A slot that nobody has touched for so long (16 s at HZ=1000, more at less) was left behind: the last program of the hook was skipped.
const ABANDONED_JIFFIES: u64 = 16_000;

/// A program of a hook, and how many there are.
#[derive(Clone, Copy)]
pub struct Turn {
    /// The hook.
    pub hook: Hook,
    /// Which of its programs this is, from 1, in the order in which they are attached.
    pub program: u64,
    /// How many it has where tracepoints disable preemption.
    pub of: u64,
    /// How many it has where they do not.
    pub of_preemptible: u64,
    /// Whether it is the end of a function. A trampoline leaves preemption on, on every kernel (`__bpf_prog_enter_recur`, which disables migration), so
    /// with PREEMPT_RT it has as many as where tracepoints do.
    pub of_function: bool,
}

impl Turn {
    /// The only program of a hook that nothing comes in the middle of: interrupts are off.
    pub const fn only(hook: Hook) -> Self {
        Self { hook, program: 1, of: 1, of_preemptible: 1, of_function: false }
    }

    /// A program of a hook that has a second one where tracepoints leave preemption on.
    pub const fn of_two(hook: Hook, program: u64) -> Self {
        Self { hook, program, of: 1, of_preemptible: 2, of_function: false }
    }

    /// The same of a hook at the end of a function.
    pub const fn at_the_end(hook: Hook, program: u64) -> Self {
        Self { hook, program, of: 1, of_preemptible: 2, of_function: true }
    }

    /// Whether others may come in the middle of a program of this hook.
    #[inline(always)]
    fn is_preemptible(self) -> bool {
        if self.of_function { THREADS.load() != 0 } else { PREEMPTIBLE.load() != 0 }
    }
}

/// Whether this program is the one that takes the event. `event` tells it from the one that was in the same place on the stack before.
#[inline(always)]
pub fn takes(ctx: &impl EbpfContext, turn: Turn, event: u64) -> bool {
    // Before the rest, or what the first program leaves would find no second one that gives it back.
    if !is_running() {
        return false;
    }
    let programs = if turn.is_preemptible() { turn.of_preemptible } else { turn.of };
    if programs == 1 {
        return true;
    }
    let Some(key) = place(ctx) else { return true };
    let last = turn.program == programs;
    if turn.program > 1
        && let Some(slot) = find(key)
    {
        // SAFETY: the slot is this event's, or was left by one that is over.
        unsafe {
            // A program runs once for an event: one that finds itself has found what an earlier event left.
            let taken = (*slot).words[0] == event && (*slot).words[1] < turn.program;
            if last {
                release(slot);
            } else {
                (*slot).words = [event, turn.program, 0];
            }
            if !taken {
                count_taken_over(turn.hook);
            }
            return !taken;
        }
    }
    if turn.program > 1 {
        count_taken_over(turn.hook);
    }
    if !last && let Some(slot) = own(key) {
        // SAFETY: the slot is this event's.
        unsafe { (*slot).words = [event, turn.program, 0] };
    }
    true
}

/// Whether this program is the one that tells of an event, of a hook whose events mostly are of no interest. Where a task may be preempted in a program
/// each event is claimed all the same: what another program was run for is not withheld, and no count of the kernel's knows. Elsewhere
/// nothing comes in the middle of these hooks, which belong to tasks, and what is of no interest costs one comparison.
#[inline(always)]
pub fn takes_if(ctx: &impl EbpfContext, turn: Turn, event: u64, of_interest: bool) -> bool {
    (of_interest || turn.is_preemptible()) && takes(ctx, turn, event) && of_interest
}

/// Where the arguments of an event are, as a number that is never 0. (The verifier keeps pointers and numbers apart, but their difference is a number to it,
/// and where this map is does not change.)
#[inline(always)]
fn place(ctx: &impl EbpfContext) -> Option<u64> {
    let here = HERE.get_ptr(0)?;
    Some(distance(ctx.as_ptr(), here.cast::<c_void>()) | 1)
}

/// The slot with this key.
#[inline(always)]
pub fn find(key: u64) -> Option<*mut Slot> {
    let mut probe = 0;
    while probe < PROBES {
        let slot = SLOTS.get_ptr_mut(slot_index(key, probe))?;
        // SAFETY: an aligned word that lives as long as the map.
        if unsafe { (&raw const (*slot).key).read_volatile() } == key {
            return Some(slot);
        }
        probe += 1;
    }
    None
}

/// A slot for this key, which nobody else has: one that it has already, or a free one. Owners are counted, and whoever is not alone steps
/// back: that needs no instruction newer than BPF itself. `None` if all that were looked at are in use.
#[inline(always)]
pub fn own(key: u64) -> Option<*mut Slot> {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_jiffies64() };
    let mut probe = 0;
    while probe < PROBES {
        let slot = SLOTS.get_ptr_mut(slot_index(key, probe))?;
        // SAFETY: aligned words that live as long as the map.
        unsafe {
            if (&raw const (*slot).key).read_volatile() == key {
                (*slot).since = now;
                return Some(slot);
            }
            let owners = (&raw const (*slot).owners).read_volatile();
            let abandoned = owners == 1 && now.wrapping_sub((*slot).since) > ABANDONED_JIFFIES;
            if owners == 0 || abandoned {
                add(&raw mut (*slot).owners, 1);
                let alone = (&raw const (*slot).owners).read_volatile() == owners + 1;
                if abandoned || !alone {
                    // Whoever abandoned it does not come back to do this; or it is this one that steps back.
                    add(&raw mut (*slot).owners, u64::MAX);
                }
                if alone {
                    (*slot).since = now;
                    (&raw mut (*slot).key).write_volatile(key);
                    return Some(slot);
                }
            }
        }
        probe += 1;
    }
    None
}

/// Gives a slot back.
///
/// # Safety
/// The caller's key is in it.
#[inline(always)]
pub unsafe fn release(slot: *mut Slot) {
    // SAFETY: aligned words that live as long as the map; the caller owns them.
    unsafe {
        (&raw mut (*slot).key).write_volatile(0);
        add(&raw mut (*slot).owners, u64::MAX);
    }
}

/// Fibonacci hashing: addresses differ in their middle bits.
#[inline(always)]
fn slot_index(key: u64, probe: u64) -> u32 {
    let hash = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS_COUNT.trailing_zeros())) + probe;
    (hash & u64::from(SLOTS_COUNT - 1)) as u32
}
