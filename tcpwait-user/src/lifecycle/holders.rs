//! Who stands in the way of a bind() or listen() that failed: of all sockets that are followed, those that hold the port.
//! The rules are those of `inet_bind_conflict` (net/ipv4/inet_connection_sock.c, 5.15 to 7.3).

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;

use super::{Holder, Holders, Lifecycle, mini::TIMEWAIT_NS};
use crate::{
    event::{PortRefused, Reuse, Task},
    tcp::{Flow, State},
};

/// Beyond so many sockets a look-up takes a millisecond and more.
const MANY: usize = 10_000;

/// With so many, the same port is looked up again only after this time: a program that tries to bind in a loop must not keep the reader
/// from its other work.
const FRESH_NS: u64 = 1_000_000_000;

/// What was found last.
#[derive(Debug)]
pub(super) struct Found {
    time_ns: u64,
    asked: Flow,
    sockets: Vec<Holder>,
}

/// One socket that holds a port.
struct Socket<'a> {
    state: State,
    owner: Option<&'a Arc<Task>>,
    end_ns: Option<u64>,
    reuse: Option<Reuse>,
}

/// Sockets of one state and owner.
struct Group {
    count: u64,
    /// `None` once it is not known of one of them.
    end_ns: Option<(u64, u64)>,
    /// Whether all (or none) have SO_REUSEADDR; `None` once that is not known of one, or differs.
    reuseaddr: Option<bool>,
}

impl Lifecycle {
    /// Who holds the port that a socket asked for.
    pub(super) fn holders(&mut self, time_ns: u64, refused: &PortRefused) -> Holders {
        let asked = refused.flow;
        let is_fresh = |found: &Found| found.asked == asked && time_ns.saturating_sub(found.time_ns) < FRESH_NS;
        let found = match self.found_holders.take().filter(is_fresh) {
            Some(found) if self.fulls.len() + self.minis.len() > MANY => found,
            _ => Found { time_ns, asked, sockets: self.find_holders(refused.cookie, &asked) },
        };
        let would_do = |sockets: &[Holder]| sockets.iter().all(|holder| holder.state != State::Listen);
        let holders = Holders {
            reuseaddr_would_do: (!found.sockets.is_empty()).then(|| would_do(&found.sockets)),
            has_reuseaddr: refused.reuse.map(|reuse| reuse.address),
            sockets: found.sockets.clone(),
        };
        self.found_holders = Some(found);
        holders
    }

    /// Of all but the socket that asked, which may be in LISTEN already (`inet_csk_listen_start` changes the state first).
    fn find_holders(&self, cookie: u64, asked: &Flow) -> Vec<Holder> {
        let others = self.fulls.iter().filter(|(other, _)| **other != cookie);
        let fulls = others.map(|(_, full)| {
            let socket = Socket { state: full.state, owner: full.owner_or_listener(), end_ns: None, reuse: full.reuse };
            (&full.flow, socket)
        });
        let minis = self.minis.iter().map(|(flow, mini)| {
            let end_ns =
                mini.since_ns().map(|since_ns| since_ns + TIMEWAIT_NS).filter(|_| mini.state == State::TimeWait);
            (flow, Socket { state: mini.state, owner: mini.owner.as_ref(), end_ns, reuse: mini.reuse })
        });
        let mut groups: HashMap<(State, Option<&Arc<Task>>), Group> = HashMap::new();
        for (_, socket) in fulls.chain(minis).filter(|(flow, _)| stands_in_the_way(flow, asked)) {
            let ends = socket.end_ns.map(|ns| (ns, ns));
            let reuseaddr = socket.reuse.map(|reuse| reuse.address);
            groups
                .entry((socket.state, socket.owner))
                .and_modify(|group| {
                    group.count += 1;
                    group.end_ns = group.end_ns.zip(ends).map(|((first, last), (ns, _))| (first.min(ns), last.max(ns)));
                    group.reuseaddr = group.reuseaddr.filter(|had| Some(*had) == reuseaddr);
                })
                .or_insert(Group { count: 1, end_ns: ends, reuseaddr });
        }
        let mut sockets: Vec<Holder> = groups
            .into_iter()
            .map(|((state, owner), group)| Holder {
                state,
                owner: owner.cloned(),
                count: group.count,
                end_ns: group.end_ns,
                reuseaddr: group.reuseaddr,
            })
            .collect();
        sockets.sort_by_key(|holder| {
            let pid = holder.owner.as_ref().map(|task| task.pid);
            (holder.state != State::Listen, std::cmp::Reverse(holder.count), holder.state as usize, pid)
        });
        sockets
    }
}

/// Whether a socket with these addresses keeps another from its port. Two sockets of one namespace share a port if their addresses
/// differ and neither is the wildcard; `::` stands for all of IPv4 too, unless IPV6_V6ONLY is set, which is not seen.
fn stands_in_the_way(flow: &Flow, asked: &Flow) -> bool {
    flow.netns == asked.netns && flow.lport == asked.lport && overlap(flow.laddr, asked.laddr)
}

fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let is_all = |address: IpAddr, family_of: IpAddr| {
        address.is_unspecified() && (address.is_ipv6() || address.is_ipv4() == family_of.is_ipv4())
    };
    one == other || is_all(one, other) || is_all(other, one)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::overlap;

    #[test]
    fn the_wildcard_takes_every_address() {
        let ip = |text: &str| text.parse().unwrap();
        for (one, other, both) in [
            ("0.0.0.0", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::", "10.0.0.1", true),
            ("0.0.0.0", "fd00::1", false),
            ("0.0.0.0", "::", true),
            ("fd00::1", "fd00::2", false),
        ] {
            assert_eq!(overlap(ip(one), ip(other)), both, "{one} {other}");
            assert_eq!(overlap(ip(other), ip(one)), both, "{other} {one}");
        }
    }
}
