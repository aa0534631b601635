//! Who is on the CPU. Whether that says anything about a socket is for the caller to know.

use aya_ebpf::{EbpfContext, helpers::bpf_get_current_cgroup_id};
use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::Task,
};

use crate::{
    maps::{HERE, PID_NAMESPACE, STACK_BYTES, THREADS},
    opaque::zero,
    sock::{At, Fields, Typed, distance},
};

/// The current process: its id, and the name of its main thread, which is what `ps` and `ss -p` print.
#[inline(always)]
pub fn current() -> Task {
    let task = Typed::current_task();
    let comm: [u64; 2] = task.follow_typed(&OFF_TASK_LEADER).read(&OFF_TASK_COMM);
    Task {
        pid: number(task),
        uid: task.follow_typed(&OFF_TASK_CRED).read(&OFF_CRED_UID),
        cgroup: cgroup(task),
        // SAFETY: same size, every bit pattern is valid for bytes.
        comm: unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(comm) },
        flags: task.read(&OFF_TASK_FLAGS),
        reserved: 0,
    }
}

/// No process.
#[inline(always)]
pub fn nobody() -> Task {
    let zero = zero();
    // SAFETY: same size, every bit pattern is valid.
    unsafe { core::mem::transmute([zero; 5]) }
}

/// The process id as the tool's PID namespace has it, which is what `ps` shows there; 0 for a process outside of it (`pid_nr_ns`).
#[inline(always)]
fn number(task: Typed) -> u32 {
    /// `MAX_PID_NS_LEVEL` is 32; this deep nobody nests containers.
    const LEVELS: u32 = 8;
    /// `struct upid`: the number, and the namespace.
    const UPID: u64 = 16;
    if PID_NAMESPACE.load() == 0 {
        return task.read(&OFF_TASK_TGID);
    }
    let fields = [OFF_TASK_THREAD_PID.load(), OFF_PID_LEVEL.load(), OFF_PID_NUMBERS.load(), OFF_PID_NS_INUM.load()];
    if fields[0] == ABSENT || fields[1] == ABSENT || fields[2] == ABSENT || fields[3] == ABSENT {
        return 0;
    }
    let pid = task.follow_typed(&OFF_TASK_LEADER).follow(&OFF_TASK_THREAD_PID);
    let deepest: u32 = pid.read(&OFF_PID_LEVEL);
    for level in 0..LEVELS {
        if level > deepest {
            break;
        }
        let upid = pid.0 + u64::from(OFF_PID_NUMBERS.load()) + UPID * u64::from(level);
        let namespace = At(At(upid + 8).read_here());
        if namespace.read::<u32>(&OFF_PID_NS_INUM) == PID_NAMESPACE.load() {
            return At(upid).read_here();
        }
    }
    0
}

/// Id of the task's cgroup in the cgroup-v2 hierarchy (`task_dfl_cgroup`, `cgroup_id`).
#[inline(always)]
fn cgroup(task: Typed) -> u64 {
    if OFF_TASK_CGROUPS.load() == ABSENT
        || OFF_CGROUPS_V2.load() == ABSENT
        || OFF_CGROUP_KN.load() == ABSENT
        || OFF_KN_ID.load() == ABSENT
    {
        // SAFETY: the helper has no preconditions.
        return unsafe { bpf_get_current_cgroup_id() };
    }
    let cgroup = task.follow_typed(&OFF_TASK_CGROUPS).follow_typed(&OFF_CGROUPS_V2);
    cgroup.follow_typed(&OFF_CGROUP_KN).read(&OFF_KN_ID)
}

/// Whether a hook runs on the stack of the current task. Softirqs have a stack of their own (`do_softirq_own_stack`; arm64: since
/// 6.0), but for those of `ksoftirqd`, those of PREEMPT_RT, and packets that a task hands in itself (`tun_get_user`).
#[inline(always)]
pub fn on_its_stack(ctx: &impl EbpfContext) -> bool {
    let begin: u64 = Typed::current_task().read(&OFF_TASK_STACK);
    address_of(ctx).wrapping_sub(begin) < STACK_BYTES.load()
}

/// The context's address as a number: it lies on the kernel stack (`bpf_trace_run1`). The verifier keeps pointers and numbers apart, but
/// what comes out of a map is a number to it, and so is the distance of two pointers. The map always holds the same value, so whoever else writes it
/// does no harm.
#[inline(always)]
pub fn address_of(ctx: &impl EbpfContext) -> u64 {
    let Some(here) = HERE.get_ptr_mut(0) else { return 0 };
    // SAFETY: an aligned word that lives as long as the map. Volatile, since a compiler would see that it is a round about nothing.
    let base = unsafe {
        here.write_volatile(here as u64);
        here.read_volatile()
    };
    base.wrapping_add(distance(ctx.as_ptr(), here.cast()))
}

/// Whose doing an event is: the thread on whose stack it runs, or the CPU that it interrupts. What one of them does comes in one go, whatever
/// others do on the same CPU in between. Where tracepoints and softirqs cannot be preempted, the CPU alone says that (`0`).
#[inline(always)]
pub fn thread(ctx: &impl EbpfContext) -> u32 {
    if THREADS.load() == 0 || !on_its_stack(ctx) { 0 } else { Typed::current_task().read(&OFF_TASK_PID) }
}
