//! Who is on the CPU. Whether that says anything about a socket is for the caller to know.

use core::arch::asm;

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
        generated::bpf_get_current_task_btf,
    },
};
use tcpwait_wire::{config::offset::*, wire::Task};

use crate::sock::{Fields, Typed};

/// The current process: its id, and the name of its main thread, which is what `ps` and `ss -p` print.
#[inline(always)]
pub fn current() -> Task {
    let task = Typed::current_task();
    let comm: [u64; 2] = task.follow_typed(&OFF_TASK_LEADER).read(&OFF_TASK_COMM);
    Task {
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid: bpf_get_current_uid_gid() as u32,
        // SAFETY: the helper has no preconditions.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        // SAFETY: same size, every bit pattern is valid for bytes.
        comm: unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(comm) },
        flags: task.read(&OFF_TASK_FLAGS),
        reserved: 0,
    }
}

/// Stacks are at most this large (x86-64 and arm64: 16 KiB).
pub const STACK_BYTES: u64 = 16384;

/// Whether a hook runs on the stack of the current task. Softirqs have a stack of their own (`do_softirq_own_stack`; arm64: since
/// 6.0), but for those of `ksoftirqd`, those of PREEMPT_RT, and packets that a task hands in itself (`tun_get_user`).
#[inline(always)]
pub fn on_its_stack(ctx: &impl EbpfContext) -> bool {
    let begin: u64 = Typed::current_task().read(&OFF_TASK_STACK);
    address_of(ctx).wrapping_sub(begin) < STACK_BYTES
}

/// The context's address as a number: it lies on the kernel stack (`__bpf_trace_run`). The verifier keeps pointers and numbers apart, but
/// the difference of two pointers is a number to it; and the current task is to be had as both.
#[inline(always)]
pub fn address_of(ctx: &impl EbpfContext) -> u64 {
    let mut address = ctx.as_ptr() as u64;
    // SAFETY: the helpers have no preconditions. In assembly, since a compiler would see that it is a round about nothing.
    unsafe {
        let task = bpf_get_current_task();
        asm!("{address} -= {task}", address = inout(reg) address, task = in(reg) bpf_get_current_task_btf());
        address.wrapping_add(task)
    }
}
