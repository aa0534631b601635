//! What the kernel alone counts of passive connections, since nothing is left of them that could be followed: SYN cookies, TCP Fast
//! Open, SYNs and ACKs that found a queue full.

use crate::tcp::NetnsId;

/// The counters of TcpExt that are read.
pub const COUNTERS: [&str; 8] = [
    "SyncookiesSent",
    "SyncookiesRecv",
    "SyncookiesFailed",
    "TCPFastOpenPassive",
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDrop",
    "TCPReqQFullDoCookies",
];

/// Their values in a network namespace; `None` where the kernel has no such counter.
pub type Unfollowed = [Option<u64>; COUNTERS.len()];

/// By how much each grew from a first reading to a later one, summed over namespaces.
pub fn growth<'a>(pairs: impl Iterator<Item = (&'a Unfollowed, &'a Unfollowed)>) -> Vec<(&'static str, u64)> {
    let mut sums: [Option<u64>; COUNTERS.len()] = [None; COUNTERS.len()];
    for (first, later) in pairs {
        for (sum, (first, later)) in sums.iter_mut().zip(first.iter().zip(later)) {
            if let Some(later) = later {
                *sum = Some(sum.unwrap_or_default() + later.saturating_sub(first.unwrap_or_default()));
            }
        }
    }
    COUNTERS.into_iter().zip(sums).filter_map(|(name, sum)| Some((name, sum?))).collect()
}

/// A listener whose accept queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullQueue {
    /// Its network namespace.
    pub netns: NetnsId,
    /// Its port.
    pub port: u16,
    /// Connections that wait for accept().
    pub waiting: u32,
    /// How many may wait; one more does not fit (`sk_acceptq_is_full`).
    pub backlog: u32,
    /// How many other listeners had a full queue at that time.
    pub others: u32,
}

/// By how much the counters grew over a time, and where a queue was full.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    counters: Vec<(&'static str, u64)>,
    /// The fullest accept queue, if one was full when the counters were read.
    pub full: Option<FullQueue>,
}

impl Growth {
    /// What grew between two sums since the start.
    pub fn between(before: &[(&'static str, u64)], later: &[(&'static str, u64)], full: Option<FullQueue>) -> Self {
        let then = |name: &str| before.iter().find(|(known, _)| *known == name).map_or(0, |(_, sum)| *sum);
        Self { counters: later.iter().map(|(name, sum)| (*name, sum.saturating_sub(then(name)))).collect(), full }
    }

    /// The counters that grew.
    pub fn grown(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counters.iter().copied().filter(|(_, growth)| *growth > 0)
    }

    fn of(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, growth)| *growth)
    }

    /// SYNs and ACKs of handshakes that were dropped, for whatever reason (`tcp_listendrop`, called by `tcp_conn_request` and `tcp_v4_syn_recv_sock`: a full
    /// queue, no route, no memory). `None` for none.
    pub fn dropped(&self) -> Option<u64> {
        Some(self.of("ListenDrops")).filter(|count| *count > 0)
    }

    /// Of those dropped, such as found an accept queue full (`sk_acceptq_is_full`).
    pub fn overflows(&self) -> u64 {
        self.of("ListenOverflows")
    }

    /// Of those dropped, SYNs that found a SYN queue full while cookies are off (`tcp_syn_flood_action`).
    pub fn no_cookies(&self) -> u64 {
        self.of("TCPReqQFullDrop")
    }

    /// SYNs that a full SYN queue answered with cookies; `None` for none.
    pub fn cookies(&self) -> Option<u64> {
        Some(self.of("TCPReqQFullDoCookies")).filter(|count| *count > 0)
    }
}
