//! The process that does something.

use std::borrow::Cow;

use tcpwait_wire::wire;

/// `PF_KTHREAD` of `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// A user-space process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// Process id.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// cgroup-v2 id; 0 when not known.
    pub cgroup: u64,
    /// Name of the process's main thread.
    pub comm: [u8; 16],
}

impl Task {
    /// The name as text.
    pub fn comm(&self) -> String {
        self.comm_text().into_owned()
    }

    /// The same, borrowed where it is UTF-8.
    pub fn comm_text(&self) -> Cow<'_, str> {
        let end = self.comm.iter().position(|b| *b == 0).unwrap_or(self.comm.len());
        String::from_utf8_lossy(self.comm.get(..end).unwrap_or_default())
    }

    /// Kernel threads own no user's socket: what a worker does, it does for somebody else.
    pub fn from_wire(task: &wire::Task) -> Option<Self> {
        (task.pid != 0 && task.flags & PF_KTHREAD == 0).then_some(Self {
            pid: task.pid,
            uid: task.uid,
            cgroup: task.cgroup,
            comm: task.comm,
        })
    }
}
