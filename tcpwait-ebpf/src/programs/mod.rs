//! One file a story.

mod birth;
mod end;
mod held;
mod owner;
mod port;
mod request;
mod segment;
mod state;
mod timer;
mod timewait;

use core::{arch::asm, ptr};

use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_stack, programs::FExitContext};
use tcpwait_wire::wire::{STACK_FRAMES, Stack};

use crate::maps::{CpuNotes, NOTES};

/// What this CPU remembers.
#[inline(always)]
fn notes() -> Option<*mut CpuNotes> {
    NOTES.get_ptr_mut(0)
}

/// Writes the kernel stack of the hook into `stack`, all of it.
#[inline(always)]
fn write_stack(ctx: &impl EbpfContext, stack: *mut Stack) {
    // SAFETY: `stack` is part of a reserved record; the helper writes at most the size it is given, and the
    // fields it leaves alone are cleared first, so that no stale byte leaves the kernel.
    unsafe {
        (*stack).frames = [0; STACK_FRAMES];
        let bytes =
            bpf_get_stack(ctx.as_ptr(), ptr::addr_of_mut!((*stack).frames).cast(), (STACK_FRAMES * 8) as u32, 0);
        (*stack).depth = if bytes > 0 { bytes as u64 / 8 } else { 0 };
    }
}

/// The result of a function with this many arguments. In assembly, since the verifier wants a constant place in the context, and the
/// compiler likes to compute one for all cases. The verifier never sees the cases that are not this kernel's.
#[inline(always)]
pub fn result_behind<const ARGUMENTS: usize>(ctx: &FExitContext) -> u64 {
    let result: u64;
    // SAFETY: the context of a function with this many arguments has one word for each and one for the result.
    unsafe {
        asm!(
            "{result} = *(u64 *)({ctx} + {at})",
            result = out(reg) result,
            ctx = in(reg) ctx.as_ptr(),
            at = const ARGUMENTS * 8,
        );
    }
    result
}
