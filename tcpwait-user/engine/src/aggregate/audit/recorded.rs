//! Readings of the kernel's own counters as a recording has them, and back.

use tcpwait_wire::wire::{self, Kind, NOT_KNOWN};

use super::{super::unfollowed::FullQueue, Audit, KernelCounts, Opens, Reading};
use crate::{event::Fact, tcp::NetnsId};
use hashbrown::HashMap;

impl Audit {
    /// Takes in what a recording tells of a reading; `minis` as for [`begin_reading`](Audit::begin_reading).
    pub fn told(&mut self, fact: &Fact, minis: Option<&HashMap<NetnsId, u64>>) {
        match fact {
            Fact::ReadingBegins => {
                self.told = Reading::default();
                self.begin_reading(minis);
            }
            Fact::KernelCounts(counts) if self.told.namespaces.len() < super::MAX_NAMESPACES => {
                self.told.namespaces.push(KernelCounts::from_wire(counts));
            }
            Fact::KernelCounts(_) => self.told.unreadable = self.told.unreadable.saturating_add(1),
            Fact::ReadingEnds { unreadable, entered } => {
                let mut reading = std::mem::take(&mut self.told);
                reading.unreadable = reading.unreadable.saturating_add(*unreadable);
                reading.entered = *entered;
                self.end_reading(&reading);
            }
            _ => {}
        }
    }
}

impl Reading {
    /// What a recording is told, but for the beginning: the counters of each namespace, at this time in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn counts(&self, time_ns: u64) -> impl Iterator<Item = wire::KernelCounts> + '_ {
        self.namespaces.iter().map(move |counts| counts.to_wire(time_ns))
    }

    /// That all of them have been told.
    pub fn end(&self, time_ns: u64) -> wire::ReadingEnds {
        let (before, after) = self.entered.unwrap_or((NOT_KNOWN, NOT_KNOWN));
        let head = head::<wire::ReadingEnds>(time_ns, Kind::ReadingEnds);
        wire::ReadingEnds { head, entered: [before, after], unreadable: self.unreadable, reserved: 0 }
    }
}

/// That counters are going to be read, at this time in nanoseconds of `CLOCK_MONOTONIC`.
pub fn reading_begins(time_ns: u64) -> wire::ReadingBegins {
    wire::ReadingBegins { head: head::<wire::ReadingBegins>(time_ns, Kind::ReadingBegins) }
}

fn head<T>(time_ns: u64, kind: Kind) -> wire::Head {
    wire::Head { time_ns, len: size_of::<T>() as u16, kind: kind as u8, flags: 0, cpu: 0, thread: 0 }
}

impl KernelCounts {
    fn to_wire(self, time_ns: u64) -> wire::KernelCounts {
        let known = |number: Option<u64>| number.unwrap_or(NOT_KNOWN);
        let opens = |number: fn(&Opens) -> u64| known(self.opens.as_ref().map(number));
        let full = self.full.filter(|full| full.netns == self.netns);
        let (listed, listed_ns) = self.listed.unwrap_or((NOT_KNOWN, (0, 0)));
        wire::KernelCounts {
            head: head::<wire::KernelCounts>(time_ns, Kind::KernelCounts),
            netns: self.netns.inode(),
            generation: self.netns.generation(),
            full_port: full.map_or(0, |full| full.port),
            read_ns: [self.read_ns.0, self.read_ns.1],
            timewait: self.timewait,
            reused_by_connect: self.reused_by_connect,
            overflow: self.overflow,
            tcp: [
                known(self.passive_opens),
                opens(|opens| opens.active),
                opens(|opens| opens.failed),
                opens(|opens| opens.resets),
                known(self.rsts),
            ],
            aborts: self.aborts.unwrap_or([NOT_KNOWN; 5]),
            unfollowed: self.unfollowed.map(known),
            sockstat: known(self.sockstat),
            listed,
            listed_ns: [listed_ns.0, listed_ns.1],
            full_waiting: full.map_or(0, |full| full.waiting),
            full_backlog: full.map_or(0, |full| full.backlog),
            full_others: full.map_or(0, |full| full.others),
            reserved: 0,
        }
    }

    fn from_wire(counts: &wire::KernelCounts) -> Self {
        let known = |number: u64| (number != NOT_KNOWN).then_some(number);
        let netns = NetnsId::new(counts.netns, counts.generation.into());
        let [passive, active, failed, resets, rsts] = counts.tcp.map(known);
        let full = FullQueue {
            netns,
            port: counts.full_port,
            waiting: counts.full_waiting,
            backlog: counts.full_backlog,
            others: counts.full_others,
        };
        Self {
            netns,
            read_ns: (counts.read_ns[0], counts.read_ns[1]),
            timewait: counts.timewait,
            reused_by_connect: counts.reused_by_connect,
            overflow: counts.overflow,
            passive_opens: passive,
            opens: active.zip(failed).zip(resets).map(|((active, failed), resets)| Opens { active, failed, resets }),
            aborts: counts.aborts.iter().all(|count| *count != NOT_KNOWN).then_some(counts.aborts),
            rsts,
            unfollowed: counts.unfollowed.map(known),
            full: (counts.full_port != 0).then_some(full),
            sockstat: known(counts.sockstat),
            listed: known(counts.listed).map(|listed| (listed, (counts.listed_ns[0], counts.listed_ns[1]))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_told_is_what_was_read() {
        let netns = NetnsId::new(4_026_531_840, 7);
        let all = KernelCounts {
            netns,
            read_ns: (10, 20),
            timewait: 1,
            reused_by_connect: 2,
            overflow: 3,
            passive_opens: Some(4),
            opens: Some(Opens { active: 5, failed: 6, resets: 7 }),
            aborts: Some([8, 9, 10, 11, 12]),
            rsts: Some(13),
            unfollowed: [Some(14), None, Some(15), Some(16), Some(17), Some(18), None, Some(19)],
            full: Some(FullQueue { netns, port: 80, waiting: 129, backlog: 128, others: 1 }),
            sockstat: Some(20),
            listed: Some((21, (30, 40))),
        };
        let little = KernelCounts { netns, read_ns: (10, 20), ..KernelCounts::default() };
        for counts in [all, little] {
            assert_eq!(KernelCounts::from_wire(&counts.to_wire(50)), counts);
        }
    }
}
