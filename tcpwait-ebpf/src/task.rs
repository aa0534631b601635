//! Who is on the CPU. Whether that says anything about a socket is for the caller to know.

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
};
use tcpwait_wire::{config::offset::*, wire::Task};

use crate::sock::At;

/// The current process: its id, and the name of its main thread, which is what `ps` and `ss -p` print.
#[inline(always)]
pub fn current() -> Task {
    // SAFETY: the helper has no preconditions.
    let task = At(unsafe { bpf_get_current_task() });
    Task {
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid: bpf_get_current_uid_gid() as u32,
        // SAFETY: the helper has no preconditions.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        comm: task.follow(&OFF_TASK_LEADER).read(&OFF_TASK_COMM),
        flags: task.read(&OFF_TASK_FLAGS),
        reserved: 0,
    }
}

/// Where the current task's kernel stack begins.
#[inline(always)]
pub fn stack() -> u64 {
    // SAFETY: the helper has no preconditions.
    At(unsafe { bpf_get_current_task() }).read(&OFF_TASK_STACK)
}
