//! Reads the kernel's own counters of TIME_WAIT, one network namespace after the other: TcpExt (`/proc/net/netstat`), sockstat
//! and, if asked for, a listing by sock_diag. What they are held against is decided elsewhere.

use super::{
    counters,
    netns::{self, Netns},
    sock_diag,
};
use crate::{
    aggregate::{
        audit::{KernelCounts, Opens, Reading, TwCounts},
        unfollowed,
    },
    doctor::{MINIS, facts::Counters},
};

/// The timer that sock_diag shows of a mini-socket (`inet_twsk_diag_fill`).
const TIMEWAIT_TIMER: u8 = 3;

/// What `TW` and `TWKilled` count on a kernel of this release, as `uname -r` says it: the counting moved from the end of a
/// mini-socket to its beginning between 5.15 and 6.1 (`__inet_twsk_schedule`). `None` for versions between, which were not read.
pub fn meaning_of_tw(release: &str) -> Option<TwCounts> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
    match (numbers.next()??, numbers.next()??) {
        version if version >= (6, 1) => Some(TwCounts::Beginnings),
        version if version <= (5, 15) => Some(TwCounts::Expiries),
        _ => None,
    }
}

/// Reads the counters of every network namespace, or of those with the inode numbers `only`. `list`: count mini-sockets with
/// sock_diag too, which takes a second for a million. `now_ns` gives nanoseconds of `CLOCK_MONOTONIC`.
pub fn read(only: Option<&[u32]>, list: bool, now_ns: impl Fn() -> u64 + Sync) -> Reading {
    let mut reading = Reading::default();
    for ns in netns::all().iter().filter(|ns| only.is_none_or(|only| only.contains(&ns.inode))) {
        match read_one(ns, list, &now_ns) {
            Some(counts) => reading.namespaces.push(counts),
            None => reading.unreadable += 1,
        }
    }
    reading
}

fn read_one(ns: &Netns, list: bool, now_ns: &(impl Fn() -> u64 + Sync)) -> Option<KernelCounts> {
    let inside = || {
        let before_ns = now_ns();
        let counters = counters::read();
        let read_ns = (before_ns, now_ns());
        let listed = list.then(|| {
            let before_ns = now_ns();
            let mut minis = 0;
            sock_diag::tcp_sockets(|socket| minis += u64::from(socket.timer == TIMEWAIT_TIMER)).ok()?;
            Some((minis, (before_ns, now_ns())))
        });
        Some(KernelCounts {
            netns: ns.inode,
            read_ns,
            timewait: counters.get("TcpExtTW")? + counters.get("TcpExtTWKilled")?,
            recycled: counters.get("TcpExtTWRecycled")?,
            overflow: counters.get("TcpExtTCPTimeWaitOverflow")?,
            passive_opens: counters.get("TcpPassiveOpens"),
            opens: opens(&counters),
            unfollowed: unfollowed::COUNTERS.map(|name| counters.get(&format!("TcpExt{name}"))),
            sockstat: counters.get(MINIS),
            listed: listed.flatten(),
        })
    };
    netns::inside(ns, inside).ok()?
}

fn opens(counters: &Counters) -> Option<Opens> {
    Some(Opens {
        active: counters.get("TcpActiveOpens")?,
        failed: counters.get("TcpAttemptFails")?,
        resets: counters.get("TcpEstabResets")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meaning_follows_the_release() {
        for (release, meaning) in [
            ("5.15.0-100-generic", Some(TwCounts::Expiries)),
            ("6.1.0-18-amd64", Some(TwCounts::Beginnings)),
            ("6.18.44", Some(TwCounts::Beginnings)),
            ("10.0", Some(TwCounts::Beginnings)),
            ("6.0.1", None),
            ("odd", None),
        ] {
            assert_eq!(meaning_of_tw(release), meaning, "{release}");
        }
    }

    #[test]
    fn this_namespace_can_be_read() {
        let reading = read(netns::resolve("/proc/self/ns/net").ok().as_ref().map(std::slice::from_ref), true, || 7);
        assert_eq!((reading.namespaces.len(), reading.unreadable), (1, 0));
        assert!(reading.namespaces.iter().all(|counts| counts.sockstat.is_some() && counts.read_ns == (7, 7)));
    }
}
