//! Calls that failed, by why and for whom: towards one destination, or of bind() and listen() in one place.
//! Bounded: beyond some callers the rest are counted together.

use serde::Serialize;

use crate::{
    event::Task,
    lifecycle::{Call, Failure, Why},
};

/// How many callers are told apart in one place.
const MAX_CALLERS: usize = 16;

/// A process that a number of ports or failures is put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its name.
    pub comm: [u8; 16],
    /// Its id; `None` where several of that name were.
    pub pid: Option<u32>,
}

impl Process {
    /// The process of a task.
    pub fn of(task: &Task) -> Self {
        Self { comm: task.comm, pid: Some(task.pid) }
    }

    /// Takes in another of the same name.
    pub fn and(&mut self, task: &Task) {
        self.pid = self.pid.filter(|pid| *pid == task.pid);
    }
}

/// Failures of one call for one reason and one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The call.
    pub call: Call,
    /// Why.
    pub why: Why,
    /// Its errno; 0 where the process gave up.
    pub errno: u16,
    /// For whom; `None` where that is not known, or for all beyond those told apart.
    pub process: Option<Process>,
    /// How often.
    pub count: u64,
    /// The first time, in nanoseconds of `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// The last time.
    pub last_ns: u64,
}

/// Failures in one place.
#[derive(Clone, Debug, Default)]
pub struct PortFailures(Vec<Failed>);

impl PortFailures {
    /// Counts one.
    pub fn count(&mut self, failure: &Failure) {
        let Failure { time_ns, call, why, errno, owner, .. } = failure;
        let mut process = owner.as_deref().map(Process::of);
        let same = |failed: &&mut Failed, comm: Option<[u8; 16]>| {
            (failed.call, failed.why, failed.errno) == (*call, *why, *errno)
                && failed.process.map(|process| process.comm) == comm
        };
        let comm = process.map(|process| process.comm);
        if self.0.len() >= MAX_CALLERS && !self.0.iter_mut().any(|failed| same(&failed, comm)) {
            process = None;
        }
        let comm = process.map(|process| process.comm);
        match self.0.iter_mut().find(|failed| same(failed, comm)) {
            Some(failed) => {
                failed.count += failure.calls();
                failed.first_ns = failed.first_ns.min(*time_ns);
                failed.last_ns = failed.last_ns.max(*time_ns);
                if let (Some(process), Some(task)) = (&mut failed.process, owner) {
                    process.and(task);
                }
            }
            None => self.0.push(Failed {
                call: *call,
                why: *why,
                errno: *errno,
                process,
                count: failure.calls(),
                first_ns: *time_ns,
                last_ns: *time_ns,
            }),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, the most frequent first.
    pub fn rows(&self) -> Vec<Failed> {
        let mut rows = self.0.clone();
        rows.sort_by_key(|failed| (std::cmp::Reverse(failed.count), failed.why, failed.first_ns));
        rows
    }

    /// When connect() last found no free port.
    pub fn last_without_port_ns(&self) -> Option<u64> {
        self.0.iter().filter(|failed| failed.why == Why::NoFreePort).map(|failed| failed.last_ns).max()
    }
}

/// What a failure says of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// There was no port.
    Ports,
    /// Something else.
    Else,
}

impl Failed {
    /// Whether it failed for want of a port.
    pub fn about(&self) -> About {
        match self.why {
            Why::NoFreePort | Why::PortTaken | Why::PortHeld | Why::RangeFull | Why::PortSearch => About::Ports,
            Why::Refused
            | Why::TimedOut
            | Why::Unreachable
            | Why::GivenUp
            | Why::SoftError
            | Why::NeverSent
            | Why::NoRoute
            | Why::NotAllowed
            | Why::NoAddress
            | Why::NoMemory
            | Why::Invalid
            | Why::NotTold
            | Why::Destroyed
            | Why::Other => About::Else,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::net::Ipv4Addr;

    use super::{MAX_CALLERS, PortFailures};
    use crate::{
        event::Task,
        lifecycle::{Call, Failure, Why},
        tcp::{Flow, NetnsId},
    };

    fn failure(time_ns: u64, pid: u32, name: u8) -> Failure {
        let address = Ipv4Addr::LOCALHOST.into();
        Failure {
            time_ns,
            id: 0,
            flow: Flow {
                netns: NetnsId::new(1, 0),
                bound_dev_if: 0,
                laddr: address,
                raddr: address,
                lport: 0,
                rport: 80,
            },
            call: Call::Connect,
            errno: 99,
            soft_errno: 0,
            why: Why::NoFreePort,
            owner: Some(Task { pid, uid: 0, cgroup: 0, comm: [name; 16] }.into()),
            retransmits: None,
            holders: None,
            search: None,
            v6only: None,
        }
    }

    #[test]
    fn callers_of_one_name_are_one() {
        let mut failures = PortFailures::default();
        failures.count(&failure(5, 1, b'a'));
        failures.count(&failure(3, 1, b'a'));
        failures.count(&failure(7, 2, b'b'));
        let rows = failures.rows();
        assert_eq!((rows[0].count, rows[0].first_ns, rows[0].last_ns), (2, 3, 5));
        assert_eq!((rows[0].process.unwrap().pid, rows.len()), (Some(1), 2));
        failures.count(&failure(9, 8, b'a'));
        assert_eq!(failures.rows()[0].process.unwrap().pid, None);
        assert_eq!(failures.last_without_port_ns(), Some(9));
    }

    #[test]
    fn too_many_callers_are_counted_together() {
        let mut failures = PortFailures::default();
        (0..200).for_each(|name| failures.count(&failure(1, 1, name)));
        assert_eq!(failures.rows().len(), MAX_CALLERS + 1);
        assert_eq!(failures.rows().iter().map(|failed| failed.count).sum::<u64>(), 200);
        assert_eq!(failures.rows()[0].process, None);
    }
}
