//! What the kernel alone counts, as nothing is left of it that could be followed: SYNs and ACKs that it dropped, cookies, TIME_WAITs that it had no room for.

use hashbrown::HashMap;
use tcpwait_wire::wire::{self, NOT_KNOWN};

use crate::{aggregate::unfollowed::COUNTERS, tcp::NetnsId};

/// Namespaces whose counters are remembered.
const MAX_NAMESPACES: usize = 4096;

/// One of the kernel's own counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelCount {
    /// SYNs and last ACKs of handshakes that found an accept queue full (`ListenOverflows`).
    AcceptQueue,
    /// SYNs that found a SYN queue full, with cookies off (`TCPReqQFullDrop`).
    SynQueue,
    /// Others that were dropped: no route, no memory (`ListenDrops` without those two).
    OtherDrop,
    /// Sockets that were to enter TIME_WAIT, where there were as many as may be (`TCPTimeWaitOverflow`).
    TimeWait,
    /// SYNs that were answered with a cookie (`SyncookiesSent`).
    Cookies,
}

impl KernelCount {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::AcceptQueue, Self::SynQueue, Self::OtherDrop, Self::TimeWait, Self::Cookies];

    /// As conditions and JSON have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptQueue => "drops.accept-queue",
            Self::SynQueue => "drops.syn-queue",
            Self::OtherDrop => "drops.other",
            Self::TimeWait => "drops.time-wait",
            Self::Cookies => "syn_cookies.sent",
        }
    }

    /// Its value in a reading; `None` where that kernel does not count it.
    pub fn of(self, counts: &wire::KernelCounts) -> Option<u64> {
        let of = |name: &str| {
            let (_, value) = COUNTERS.into_iter().zip(counts.unfollowed).find(|(known, _)| *known == name)?;
            (value != NOT_KNOWN).then_some(value)
        };
        match self {
            Self::AcceptQueue => of("ListenOverflows"),
            Self::SynQueue => of("TCPReqQFullDrop"),
            // Each of those is in it, too.
            Self::OtherDrop => {
                let known = of("ListenOverflows").zip(of("TCPReqQFullDrop"));
                of("ListenDrops").zip(known).map(|(all, (accept, syn))| all.saturating_sub(accept).saturating_sub(syn))
            }
            Self::TimeWait => Some(counts.overflow),
            Self::Cookies => of("SyncookiesSent"),
        }
    }
}

/// The last reading of each network namespace.
#[derive(Debug, Default)]
pub(super) struct KernelReadings(HashMap<NetnsId, [Option<u64>; KernelCount::ALL.len()]>);

impl KernelReadings {
    /// By how much each grew since the last reading of the same namespace: what the first one has is from before.
    pub(super) fn growth(&mut self, counts: &wire::KernelCounts) -> Vec<(KernelCount, u64)> {
        let netns = NetnsId::new(counts.netns, counts.generation.into());
        if self.0.len() >= MAX_NAMESPACES && !self.0.contains_key(&netns) {
            return Vec::new();
        }
        let now = KernelCount::ALL.map(|count| count.of(counts));
        let Some(before) = self.0.insert(netns, now) else { return Vec::new() };
        let pairs = KernelCount::ALL.into_iter().zip(before.into_iter().zip(now));
        pairs.filter_map(|(count, (before, now))| Some((count, now?.saturating_sub(before?)))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use zerocopy::FromBytes;

    use super::*;

    /// A reading: SYNs that found an accept queue full, and all that were dropped.
    fn reading(netns: u32, overflows: u64, drops: u64) -> wire::KernelCounts {
        let mut counts = wire::KernelCounts::read_from_bytes(&[0; size_of::<wire::KernelCounts>()]).unwrap();
        counts.netns = netns;
        for (name, value) in [("ListenOverflows", overflows), ("ListenDrops", drops), ("SyncookiesSent", NOT_KNOWN)] {
            let at = COUNTERS.iter().position(|known| *known == name).unwrap();
            *counts.unfollowed.get_mut(at).unwrap() = value;
        }
        counts
    }

    #[test]
    fn drops_are_what_grew_within_the_recording() {
        let mut readings = KernelReadings::default();
        assert_eq!(readings.growth(&reading(1, 1000, 1005)), []);
        assert_eq!(readings.growth(&reading(2, 7, 7)), [], "another namespace");
        let grown = readings.growth(&reading(1, 1120, 1127));
        let of = |wanted: KernelCount| grown.iter().find(|(count, _)| *count == wanted).map(|(_, growth)| *growth);
        assert_eq!(of(KernelCount::AcceptQueue), Some(120));
        assert_eq!(of(KernelCount::SynQueue), Some(0));
        assert_eq!(of(KernelCount::OtherDrop), Some(2));
        assert_eq!(of(KernelCount::Cookies), None, "this kernel has none: that is not 0");
    }
}
