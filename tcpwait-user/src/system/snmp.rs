//! Reads the kernel's own counters of TIME_WAIT, one network namespace after the other: TcpExt (`/proc/net/netstat`), sockstat
//! and, if asked for, a listing by sock_diag. What they are held against is decided elsewhere.

use super::{
    counters,
    netns::{self, Identity, Netns},
    sock_diag, sysctl,
};
use crate::{
    aggregate::{
        audit::{KernelCounts, Opens, Reading},
        unfollowed::{self, FullQueue},
    },
    doctor::{
        MINIS,
        facts::{Counters, SysctlSettings},
        settings,
    },
    lifecycle::Abort,
    select::Pick,
    tcp::{DIAG_TIMER_TIME_WAIT, NetnsId, State},
};

/// What is read besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Besides {
    /// How many mini-sockets sock_diag lists, which takes a second for a million.
    pub list: bool,
    /// The settings.
    pub settings: bool,
}

/// Reads the counters of each of these network namespaces that `only` selects. `now_ns` gives nanoseconds of `CLOCK_MONOTONIC`.
pub fn read(there: &[Netns], only: &Pick<Identity>, besides: Besides, now_ns: impl Fn() -> u64 + Sync) -> Reading {
    let mut reading = Reading::default();
    // Whether one is to be left out is seen inside.
    for ns in there.iter().filter(|ns| only.not || only.admits(|wanted| wanted.inode == ns.inode)) {
        match netns::inside(ns, || read_here(ns.inode, only, besides, &now_ns)) {
            Ok(Here::Read(counts, settings)) => {
                reading.settings.extend(settings.map(|settings| (counts.netns, settings.0)));
                reading.namespaces.push(*counts);
            }
            Ok(Here::Unwanted) => {}
            Ok(Here::Unreadable) | Err(_) => reading.unreadable += 1,
        }
    }
    reading
}

/// What came of reading a namespace.
enum Here {
    Read(Box<KernelCounts>, Option<SysctlSettings>),
    /// It is not wanted, or has the inode number of one that was wanted, and went away.
    Unwanted,
    Unreadable,
}

fn read_here(inode: u32, only: &Pick<Identity>, besides: Besides, now_ns: &impl Fn() -> u64) -> Here {
    let here = netns::here(inode);
    if !only.admits(|named| named.is(here)) {
        return Here::Unwanted;
    }
    let read = || {
        let before_ns = now_ns();
        let counters = counters::read();
        let read_ns = (before_ns, now_ns());
        let listed = besides.list.then(|| {
            let before_ns = now_ns();
            let mut minis = 0;
            sock_diag::tcp_sockets(|socket| minis += u64::from(socket.timer == DIAG_TIMER_TIME_WAIT)).ok()?;
            Some((minis, (before_ns, now_ns())))
        });
        Some(KernelCounts {
            netns: here.id(),
            read_ns,
            timewait: counters.get("TcpExtTW")? + counters.get("TcpExtTWKilled")?,
            reused_by_connect: counters.get("TcpExtTWRecycled")?,
            overflow: counters.get("TcpExtTCPTimeWaitOverflow")?,
            passive_opens: counters.get("TcpPassiveOpens"),
            opens: opens(&counters),
            aborts: aborts(&counters),
            rsts: counters.get("TcpOutRsts"),
            unfollowed: unfollowed::COUNTERS.map(|name| counters.get(&format!("TcpExt{name}"))),
            full: full_queue(here.id()),
            sockstat: counters.get(MINIS),
            listed: listed.flatten(),
        })
    };
    let settings = besides.settings.then(|| sysctl::settings(settings::names()));
    read().map_or(Here::Unreadable, |counts| Here::Read(Box::new(counts), settings))
}

/// The fullest accept queue of this network namespace, if one is full.
fn full_queue(netns: NetnsId) -> Option<FullQueue> {
    let mut fullest: Option<FullQueue> = None;
    let mut full = 0;
    let listeners = sock_diag::DiagQuery { states: 1 << State::Listen as u32, ..sock_diag::DiagQuery::EVERYTHING };
    let look = |socket: sock_diag::DiagSocket| {
        // Of a listener these are how many wait for accept(), and how many may (tcp_diag_get_info).
        let (waiting, backlog) = (socket.receive_queue, socket.send_queue);
        if waiting <= backlog {
            return;
        }
        full += 1;
        if fullest.is_none_or(|queue| queue.waiting < waiting) {
            fullest = Some(FullQueue { netns, port: socket.lport, waiting, backlog, others: 0 });
        }
    };
    sock_diag::tcp_sockets_of(listeners, look).ok()?;
    fullest.map(|queue| FullQueue { others: full - 1, ..queue })
}

fn opens(counters: &Counters) -> Option<Opens> {
    Some(Opens {
        active: counters.get("TcpActiveOpens")?,
        failed: counters.get("TcpAttemptFails")?,
        resets: counters.get("TcpEstabResets")?,
    })
}

fn aborts(counters: &Counters) -> Option<[u64; Abort::ALL.len()]> {
    let mut all = [0; Abort::ALL.len()];
    for (count, abort) in all.iter_mut().zip(Abort::ALL) {
        *count = counters.get(&format!("TcpExt{}", abort.name()))?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_namespace_can_be_read() {
        let own = netns::resolve("/proc/self/ns/net").unwrap_or_default();
        let reading =
            read(&netns::all(), &netns::identify(&vec![own].into()), Besides { list: true, settings: true }, || 7);
        assert_eq!((reading.namespaces.len(), reading.unreadable), (1, 0));
        assert!(reading.settings.iter().all(|(_, settings)| settings.contains_key("net.ipv4.tcp_tw_reuse")));
        assert_eq!(reading.settings.len(), 1);
        assert!(reading.namespaces.iter().all(|counts| counts.sockstat.is_some() && counts.read_ns == (7, 7)));
    }
}
