//! What the kernel alone counts of passive connections, since nothing is left of them that could be followed: SYN cookies, TCP Fast
//! Open, SYNs and ACKs that found a queue full.

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
