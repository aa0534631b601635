//! Who stands in the way of a bind() or listen() that failed: of all sockets that are followed, those that hold the port.
//! The rules are those of `inet_bind_conflict` and `inet_rcv_saddr_equal` (net/ipv4/inet_connection_sock.c, 5.15 to 7.3).

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;

use super::{PortHolder, PortHolders, effort::Effort, fulls::Fulls, minis::Minis};
use crate::{
    event::{PortRefused, Reuse, Task},
    origin::Origin,
    tcp::{Flow, State, TIMEWAIT_LEN_NS},
};

/// Beyond so many sockets a look-up takes a millisecond and more.
const MANY: usize = 10_000;

/// With so many, the same port is looked up again only after this time: a program that tries to bind in a loop must not keep the reader
/// from its other work.
const FRESH_NS: u64 = 1_000_000_000;

/// Looks up who holds a port.
#[derive(Debug, Default)]
pub(super) struct Holders {
    last: Option<LastHolders>,
}

/// What was found last.
#[derive(Debug)]
struct LastHolders {
    time_ns: u64,
    asked: Flow,
    sockets: Vec<PortHolder>,
    of_another_user: bool,
}

/// One socket that holds a port.
struct Socket<'a> {
    flow: Flow,
    state: State,
    owner: Option<&'a Arc<Task>>,
    end_ns: Option<u64>,
    reuse: Option<Reuse>,
    v6only: Option<bool>,
    made_here: Option<bool>,
}

/// Whether a socket keeps another from its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Conflict {
    No,
    /// As far as is known.
    Maybe,
    Yes,
}

/// Sockets of one state and owner.
struct HolderGroup {
    count: u64,
    /// `None` once it is not known of one of them.
    end_ns: Option<(u64, u64)>,
    /// Whether all (or none) have SO_REUSEADDR; `None` once that is not known of one, or differs.
    reuseaddr: Option<bool>,
    /// Likewise of having been made by connect() here.
    made_here: Option<bool>,
}

impl Holders {
    /// Who holds the port that a socket asked for, of these.
    pub(super) fn of(
        &mut self,
        (fulls, minis): (&Fulls, &Minis),
        effort: &mut Effort,
        time_ns: u64,
        refused: &PortRefused,
    ) -> PortHolders {
        let asked = refused.flow;
        let is_fresh = |found: &LastHolders| found.asked == asked && time_ns.saturating_sub(found.time_ns) < FRESH_NS;
        let found = match self.last.take().filter(is_fresh) {
            Some(found) if fulls.len() + minis.len() > MANY => found,
            // Then nobody knows.
            _ if !effort.affords(fulls.room() + minis.room()) => {
                LastHolders { time_ns, asked, sockets: Vec::new(), of_another_user: false }
            }
            _ => {
                let (sockets, of_another_user) = find(fulls, minis, refused);
                LastHolders { time_ns, asked, sockets, of_another_user }
            }
        };
        let would_do = |sockets: &[PortHolder]| sockets.iter().all(|holder| holder.state != State::Listen);
        let holders = PortHolders {
            reuseaddr_would_do: (!found.sockets.is_empty()).then(|| would_do(&found.sockets)),
            has_reuseaddr: refused.reuse.map(|reuse| reuse.address),
            of_another_user: found.of_another_user,
            sockets: found.sockets.clone(),
        };
        self.last = Some(found);
        holders
    }

    /// Another holds a listener than who was known to: what was found is old.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

/// Whether connect() on this machine chose the port: not where bind() had given it, and unknown where that was not seen.
fn chosen_by_connect(origin: Origin, bound: Option<bool>) -> Option<bool> {
    let made_here = origin.made_here()?;
    if made_here { bound.map(|bound| !bound) } else { Some(false) }
}

/// Of all but the socket that asked, which may be in LISTEN already (`inet_csk_listen_start` changes the state first).
/// And whether one of them has SO_REUSEPORT as the socket that asked.
fn find(fulls: &Fulls, minis: &Minis, refused: &PortRefused) -> (Vec<PortHolder>, bool) {
    let others = fulls.iter().filter(|(other, _)| **other != refused.cookie);
    let fulls = others.map(|(_, full)| Socket {
        flow: full.flow,
        state: full.state,
        owner: full.owner_or_listener(),
        end_ns: None,
        reuse: full.reuse,
        v6only: full.v6only,
        made_here: chosen_by_connect(full.origin, full.bound).filter(|_| full.state != State::Listen),
    });
    let minis = minis.iter().map(|(flow, mini, kind)| Socket {
        flow,
        state: mini.state,
        owner: kind.owner.as_ref(),
        end_ns: mini.since_ns().map(|since_ns| since_ns + TIMEWAIT_LEN_NS).filter(|_| mini.state == State::TimeWait),
        reuse: kind.reuse,
        v6only: kind.v6only,
        made_here: chosen_by_connect(kind.origin, kind.bound),
    });
    let mut found: Vec<(Conflict, Socket<'_>)> = fulls
        .chain(minis)
        .filter(|socket| (socket.flow.netns, socket.flow.lport) == (refused.flow.netns, refused.flow.lport))
        .map(|socket| (conflict(refused, &socket), socket))
        .collect();
    // The kernel found one that is in the way: of those that only may be it is one, if no other is.
    let worst = found.iter().map(|(conflict, _)| *conflict).max().unwrap_or(Conflict::No);
    found.retain(|(conflict, _)| *conflict == worst && worst != Conflict::No);
    let shares = |reuse: Option<Reuse>| reuse.is_some_and(|reuse| reuse.port);
    let of_another_user = shares(refused.reuse) && found.iter().any(|(_, socket)| shares(socket.reuse));
    let mut groups: HashMap<(State, Option<&Arc<Task>>), HolderGroup> = HashMap::new();
    for (_, socket) in found {
        let ends = socket.end_ns.map(|ns| (ns, ns));
        let reuseaddr = socket.reuse.map(|reuse| reuse.address);
        groups
            .entry((socket.state, socket.owner))
            .and_modify(|group| {
                group.count += 1;
                group.end_ns = group.end_ns.zip(ends).map(|((first, last), (ns, _))| (first.min(ns), last.max(ns)));
                group.reuseaddr = group.reuseaddr.filter(|had| Some(*had) == reuseaddr);
                group.made_here = group.made_here.filter(|made| Some(*made) == socket.made_here);
            })
            .or_insert(HolderGroup { count: 1, end_ns: ends, reuseaddr, made_here: socket.made_here });
    }
    let mut sockets: Vec<PortHolder> = groups
        .into_iter()
        .map(|((state, owner), group)| PortHolder {
            state,
            owner: owner.cloned(),
            count: group.count,
            end_ns: group.end_ns,
            reuseaddr: group.reuseaddr,
            made_here: group.made_here,
        })
        .collect();
    sockets.sort_by_key(|holder| {
        let pid = holder.owner.as_ref().map(|task| task.pid);
        (holder.state != State::Listen, std::cmp::Reverse(holder.count), holder.state as usize, pid)
    });
    (sockets, of_another_user)
}

/// Whether a socket that has the port that was asked for is in the way (`inet_bind_conflict`, asked by a bind() to that port or by listen()).
fn conflict(asked: &PortRefused, socket: &Socket<'_>) -> Conflict {
    let [mine, theirs] = [asked.flow.bound_dev_if, socket.flow.bound_dev_if];
    if mine != 0 && theirs != 0 && mine != theirs {
        return Conflict::No;
    }
    let addresses = overlap((asked.flow.laddr, asked.v6only), (socket.flow.laddr, socket.v6only));
    let Some((mine, theirs)) = asked.reuse.zip(socket.reuse) else { return addresses.min(Conflict::Maybe) };
    // A socket that listen() asks for is in LISTEN already (inet_csk_listen_start); that makes no difference but in `reuse` of the fast way.
    if mine.address && theirs.address && socket.state != State::Listen {
        return Conflict::No;
    }
    if mine.port && theirs.port {
        if socket.state == State::TimeWait {
            return Conflict::No;
        }
        // The kernel compares who made the sockets; what is known is whose they are.
        let uid = asked.task.as_ref().map(|task| task.uid);
        let other = socket.owner.map(|task| task.uid);
        if uid.is_none() || uid == other || other.is_none() {
            return addresses.min(Conflict::Maybe);
        }
    }
    addresses
}

/// Whether two local addresses, each with its IPV6_V6ONLY, overlap (`inet_rcv_saddr_equal` with wildcards).
fn overlap((asked, asked_v6only): (IpAddr, Option<bool>), (held, held_v6only): (IpAddr, Option<bool>)) -> Conflict {
    let unless = |v6only: Option<bool>| match v6only {
        Some(true) => Conflict::No,
        Some(false) => Conflict::Yes,
        None => Conflict::Maybe,
    };
    let equal = |equal: bool| if equal { Conflict::Yes } else { Conflict::No };
    match (asked, held) {
        // An address of IPv4 may be that of a socket of IPv6 that takes both.
        (IpAddr::V4(asked), IpAddr::V4(held)) => {
            equal(asked == held || asked.is_unspecified() || held.is_unspecified())
        }
        (IpAddr::V6(asked), IpAddr::V6(held)) => {
            equal(asked == held || asked.is_unspecified() || held.is_unspecified())
        }
        (IpAddr::V4(_), IpAddr::V6(held)) if held.is_unspecified() => unless(held_v6only),
        // bind() to an address sets IPV6_V6ONLY (__inet6_bind); a connection that came through [::] has none, and is in the way of 0.0.0.0
        // (its IPv4 address is one that nobody has, LOOPBACK4_IPV6).
        (IpAddr::V4(asked), IpAddr::V6(_)) if asked.is_unspecified() => unless(held_v6only),
        (IpAddr::V4(_), IpAddr::V6(_)) => Conflict::No,
        (IpAddr::V6(asked), IpAddr::V4(_)) if asked.is_unspecified() => unless(asked_v6only),
        // 0.0.0.0 takes no address of IPv6 (ipv6_rcv_saddr_equal).
        (IpAddr::V6(_), IpAddr::V4(_)) => Conflict::No,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Conflict, overlap};

    #[test]
    fn the_wildcard_takes_every_address_of_its_families() {
        let ip = |text: &str| text.parse().unwrap();
        let only = |text: &str| match text {
            "only" => Some(true),
            "both" => Some(false),
            _ => None,
        };
        for line in [
            "0.0.0.0 - 10.0.0.1 - yes",
            "10.0.0.1 - 10.0.0.1 - yes",
            "10.0.0.1 - 10.0.0.2 - no",
            "10.0.0.1 - :: both yes",
            "10.0.0.1 - :: only no",
            "10.0.0.1 - :: - maybe",
            "0.0.0.0 - :: only no",
            "0.0.0.0 - fd00::1 only no",
            "0.0.0.0 - fd00::1 both yes",
            "10.0.0.1 - fd00::1 both no",
            ":: both 10.0.0.1 - yes",
            ":: only 10.0.0.1 - no",
            "fd00::1 both 0.0.0.0 - no",
            ":: only fd00::1 only yes",
            "fd00::1 - fd00::2 - no",
            "fd00::1 only :: only yes",
        ] {
            let [asked, asked_only, held, held_only, conflict] =
                line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let wanted = match conflict {
                "yes" => Conflict::Yes,
                "no" => Conflict::No,
                _ => Conflict::Maybe,
            };
            assert_eq!(overlap((ip(asked), only(asked_only)), (ip(held), only(held_only))), wanted, "{line}");
        }
    }
}
