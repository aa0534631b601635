//! Which side made a connection. The one place that decides it.
//!
//! Where its birth was seen that is certain: connect() takes a socket to SYN_SENT, a listener gives birth to one in SYN_RECV. A socket that is
//! older than the trace, or only listed, is judged by what else is in the listing, and by nothing that is merely likely: an outgoing connection is
//! told to hold a port of connect()'s, which is wrong of one that was accepted. What is not certain is [`Origin::Unknown`].
//!
//! Traps: a listener may be gone while its connections last (a server that was killed, passive FTP); a transparent proxy accepts on addresses
//! that are not this machine's and on ports that nobody listens on (IP_TRANSPARENT, `sk_lookup`), and may connect from such addresses too; a
//! connection restored by TCP_REPAIR passes SYN_SENT without a SYN; a socket may connect to itself.

use std::{cmp::Ordering, net::IpAddr};

use hashbrown::{HashMap, HashSet};
use tcpwait_wire::wire;

use crate::tcp::{Flow, NetnsId};

/// Up to here a port needs a privilege (`PROT_SOCK`): where one end has such a port, it is a service's.
const PRIVILEGED: u16 = 1024;

/// bindresvport(3) takes from here on: below, a privileged port is a service's.
const RESERVED: u16 = 512;

/// Where `ip_local_port_range` begins, unless somebody changed it (`inet_init_net`).
const EPHEMERAL: u16 = 32_768;

/// An active FTP server connects from this port to its clients.
const FTP_DATA: u16 = 20;

/// So many sockets with one remote address and port, on as many local ports, are no accident: a client behind NAT may come twice from one port.
const SHARED: u32 = 4;

/// Listeners that are told apart on one port; beyond, each of its addresses counts as listened on.
const MAX_ADDRESSES: usize = 8;

/// Ports that are listened on that are remembered anyhow; 200 bytes each at most.
const MIN_PORTS: usize = 16_384;

/// Which side made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// This side, by connect().
    Here,
    /// The peer: it was accepted.
    There,
    /// Nobody knows. It is named after this end where a service is to be named: the one whose port more sockets have; after none where neither has.
    Unknown(Option<Endpoint>),
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The local one.
    #[default]
    Local,
    /// The remote one.
    Remote,
}

impl Default for Origin {
    fn default() -> Self {
        Origin::Unknown(Some(Endpoint::Local))
    }
}

impl Origin {
    /// Whether this side made it; `None` where that is not known.
    pub fn made_here(self) -> Option<bool> {
        match self {
            Origin::Here => Some(true),
            Origin::There => Some(false),
            Origin::Unknown(_) => None,
        }
    }

    /// Whether connect() here made it, for certain: only such a connection holds a port that connect() chose.
    pub fn is_outgoing(self) -> bool {
        self == Origin::Here
    }

    /// The end that was listened on; of one that nobody knows, the likelier, if either is.
    pub fn service(self) -> Option<Endpoint> {
        match self {
            Origin::Here => Some(Endpoint::Remote),
            Origin::There => Some(Endpoint::Local),
            Origin::Unknown(end) => end,
        }
    }

    /// What was seen, or else what others tell.
    pub fn or(self, other: Self) -> Self {
        if matches!(self, Origin::Unknown(_)) { other } else { self }
    }

    /// Reads the form of a record; `None` where it does not say.
    pub fn from_wire(made: u8) -> Option<Self> {
        Some(match made {
            wire::MADE_HERE => Origin::Here,
            wire::MADE_THERE => Origin::There,
            wire::MADE_UNKNOWN => Origin::Unknown(Some(Endpoint::Local)),
            wire::MADE_UNKNOWN_REMOTE => Origin::Unknown(Some(Endpoint::Remote)),
            wire::MADE_UNKNOWN_NEITHER => Origin::Unknown(None),
            _ => return None,
        })
    }

    /// The form of a record.
    pub fn to_wire(self) -> u8 {
        match self {
            Origin::Here => wire::MADE_HERE,
            Origin::There => wire::MADE_THERE,
            Origin::Unknown(Some(Endpoint::Local)) => wire::MADE_UNKNOWN,
            Origin::Unknown(Some(Endpoint::Remote)) => wire::MADE_UNKNOWN_REMOTE,
            Origin::Unknown(None) => wire::MADE_UNKNOWN_NEITHER,
        }
    }
}

/// An address, and the number of the interface that a socket is bound to; 0 for none.
type Address = (IpAddr, u32);

/// Where somebody listens, or has listened as long as this was kept: connections outlive their listener.
#[derive(Clone, Debug, Default)]
pub struct Listened {
    addresses: HashMap<(NetnsId, u16), Vec<Address>>,
    /// Ports that are remembered before it is asked again which namespaces are still there.
    enough: usize,
}

impl Listened {
    /// Whether there are so many that those of namespaces without sockets should be forgotten ([`Self::forget_all_but`]).
    pub fn is_full(&self) -> bool {
        self.addresses.len() >= self.enough.max(MIN_PORTS)
    }

    /// Forgets who listened in all namespaces but these: where there is no socket any more, there is none whose origin could be asked for.
    pub fn forget_all_but(&mut self, namespaces: &HashSet<NetnsId>) {
        self.addresses.retain(|(netns, _), _| namespaces.contains(netns));
        // That going through all sockets is rare.
        self.enough = 2 * self.addresses.len();
    }

    /// Somebody listens there.
    pub fn add(&mut self, listener: &Flow) {
        let address = (listener.laddr, listener.bound_dev_if);
        let addresses = self.addresses.entry((listener.netns, listener.lport)).or_default();
        if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// Whether a listener was given connections to this end, which are bound to the interface that it is bound to itself (`inet_request_bound_dev_if`;
    /// one that is not bound may take them of any). `interface`: what the end is bound to; `None` if that is not known, as of the other end.
    /// (Whether one on `::` takes IPv4 is not known here, and it does unless told not to.)
    fn covers(&self, netns: NetnsId, address: IpAddr, port: u16, interface: Option<u32>) -> bool {
        let takes = |(listener, bound): &Address| {
            (*listener == address || (listener.is_unspecified() && (listener.is_ipv6() || address.is_ipv4())))
                && (*bound == 0 || interface.is_none_or(|interface| interface == *bound))
        };
        self.addresses
            .get(&(netns, port))
            .is_some_and(|addresses| addresses.len() >= MAX_ADDRESSES || addresses.iter().any(takes))
    }

    /// What a connection's own addresses tell, together with who listens. `None`: nothing that is certain.
    pub fn tell(&self, flow: &Flow) -> Option<Origin> {
        let Flow { netns, bound_dev_if, laddr, raddr, lport, rport } = *flow;
        if (laddr, lport) == (raddr, rport) {
            // Only connect() brings a socket together with itself.
            return Some(Origin::Here);
        }
        if self.covers(netns, laddr, lport, Some(bound_dev_if)) {
            return Some(Origin::There);
        }
        // The other end is on this machine as well, and somebody listens there.
        if (raddr.is_loopback() || raddr == laddr) && self.covers(netns, raddr, rport, None) {
            return Some(Origin::Here);
        }
        if rport < PRIVILEGED && lport >= PRIVILEGED && rport != FTP_DATA {
            return Some(Origin::Here);
        }
        (lport < RESERVED && rport >= PRIVILEGED).then_some(Origin::There)
    }
}

/// A listing, in which each socket is evidence for the others. First come listeners, then connections; then it can be asked.
#[derive(Clone, Debug, Default)]
pub struct OriginListing {
    listened: Listened,
    /// How many sockets have each local port, and each remote port.
    local_ports: HashMap<(NetnsId, u16), u32>,
    remote_ports: HashMap<(NetnsId, u16), u32>,
    /// Of those that their own addresses tell nothing of: how many have each end. On another interface the same address may be another's (VRF).
    local_ends: HashMap<(NetnsId, Address, u16), u32>,
    remote_ends: HashMap<(NetnsId, Address, u16), u32>,
    addresses: HashSet<(NetnsId, Address)>,
}

impl OriginListing {
    /// Somebody listens there.
    pub fn listener(&mut self, listener: &Flow) {
        self.listened.add(listener);
    }

    /// A connection. What is returned is certain, and need not be asked for again.
    pub fn connection(&mut self, flow: &Flow) -> Option<Origin> {
        let Flow { netns, bound_dev_if, laddr, raddr, lport, rport } = *flow;
        *self.local_ports.entry((netns, lport)).or_default() += 1;
        *self.remote_ports.entry((netns, rport)).or_default() += 1;
        let told = self.listened.tell(flow);
        if told.is_none() {
            *self.local_ends.entry((netns, (laddr, bound_dev_if), lport)).or_default() += 1;
            *self.remote_ends.entry((netns, (raddr, bound_dev_if), rport)).or_default() += 1;
        }
        if told == Some(Origin::There) {
            // Somebody listens there, so the address is this machine's (or a listener's that is transparent, which takes what it accepts).
            self.addresses.insert((netns, (laddr, bound_dev_if)));
        }
        told
    }

    /// Which side made a connection of the listing.
    pub fn origin(&self, flow: &Flow) -> Origin {
        if let Some(told) = self.listened.tell(flow) {
            return told;
        }
        let Flow { netns, bound_dev_if, laddr, raddr, lport, rport } = *flow;
        let of = |counts: &HashMap<(NetnsId, Address, u16), u32>, address, port| {
            counts.get(&(netns, (address, bound_dev_if), port)).copied().unwrap_or_default()
        };
        if self.addresses.contains(&(netns, (raddr, bound_dev_if))) && self.listened.covers(netns, raddr, rport, None) {
            return Origin::Here;
        }
        // Many local ports towards one remote end are a client's; many remote ends of one local port are a server's, whoever is gone, or of
        // connect() that shares a port between destinations: that is not certain.
        let (mine, theirs) = (of(&self.local_ends, laddr, lport), of(&self.remote_ends, raddr, rport));
        if theirs >= SHARED && theirs > mine {
            return Origin::Here;
        }
        let with =
            |counts: &HashMap<(NetnsId, u16), u32>, port| counts.get(&(netns, port)).copied().unwrap_or_default();
        // Of one alone the port that connect() does not choose by itself is the likelier; where it may have chosen both, the own one.
        let chosen_here = rport < EPHEMERAL && lport >= EPHEMERAL && rport != FTP_DATA;
        Origin::Unknown(match with(&self.remote_ports, rport).cmp(&with(&self.local_ports, lport)) {
            Ordering::Greater => Some(Endpoint::Remote),
            Ordering::Equal if chosen_here => Some(Endpoint::Remote),
            Ordering::Equal | Ordering::Less => Some(Endpoint::Local),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Origin, OriginListing};
    use crate::tcp::{Flow, NetnsId};

    fn flow(laddr: &str, lport: u16, raddr: &str, rport: u16) -> Flow {
        let ip = |text: &str| text.parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
        Flow { netns: NetnsId::new(7, 0), bound_dev_if: 0, laddr: ip(laddr), raddr: ip(raddr), lport, rport }
    }

    fn told(listeners: &[(&str, u16)], flows: &[Flow]) -> Vec<Origin> {
        let mut census = OriginListing::default();
        for (address, port) in listeners {
            census.listener(&flow(address, *port, "0.0.0.0", 0));
        }
        for flow in flows {
            let at_once = census.connection(flow);
            assert!(at_once.is_none_or(|origin| origin == census.origin(flow)), "{flow:?}");
        }
        flows.iter().map(|flow| census.origin(flow)).collect()
    }

    #[test]
    fn a_killed_server_s_are_not_outgoing() {
        let clients: Vec<Flow> = (0..476).map(|n| flow("10.9.6.2", 8080, "10.9.6.1", 32_768 + 2 * n)).collect();
        assert!(told(&[], &clients).iter().all(|origin| *origin == Origin::Unknown(Some(Endpoint::Local))));
        // Nor is what one left in the range: passive FTP, each on a port of its own, from clients that come twice from one port.
        let transfers: Vec<Flow> = (0..300).map(|n| flow("10.0.0.1", 40_000 + n, "10.0.0.9", 5000 + n / 2)).collect();
        assert!(told(&[], &transfers).iter().all(|origin| !origin.is_outgoing()));
        assert_eq!(
            told(&[], &[flow("10.0.0.1", 40_000, "10.0.0.9", 41_000)]),
            [Origin::Unknown(Some(Endpoint::Local))]
        );
    }

    /// One connection whose listener is gone: nobody knows which side made it, and it is named by the port that connect() does not choose.
    #[test]
    fn one_connection_alone_is_named_by_the_likelier_port() {
        let both = [flow("127.0.0.1", 40_001, "127.0.0.1", 8080), flow("127.0.0.1", 8080, "127.0.0.1", 40_001)];
        assert_eq!(told(&[], &both), [Endpoint::Remote, Endpoint::Local].map(|end| Origin::Unknown(Some(end))));
        let more = [flow("127.0.0.1", 40_001, "127.0.0.1", 8080), flow("127.0.0.1", 40_002, "127.0.0.1", 8080)];
        assert_eq!(told(&[], &more), [Origin::Unknown(Some(Endpoint::Remote)); 2]);
    }

    #[test]
    fn many_ports_towards_one_end_are_a_client_s() {
        let mut flows: Vec<Flow> = (0..4).map(|n| flow("10.0.0.1", 40_000 + n, "10.0.0.9", 5432)).collect();
        assert!(told(&[], &flows).iter().all(|origin| *origin == Origin::Here));
        flows.pop();
        assert!(
            told(&[], &flows).iter().all(|origin| *origin == Origin::Unknown(Some(Endpoint::Remote))),
            "three may be chance"
        );
        // A crawler shares its ports between destinations of one service.
        let crawler: Vec<Flow> =
            (0..200u16).map(|n| flow("10.0.0.1", 40_000 + n % 90, &format!("10.1.0.{n}"), 8333)).collect();
        assert!(told(&[], &crawler).iter().all(|origin| origin.service() == Some(Endpoint::Remote)));
        assert_eq!(told(&[], &[flow("10.0.0.1", 40_000, "10.0.0.9", 443)]), [Origin::Here]);
        assert_eq!(
            told(&[], &[flow("10.0.0.1", 40_000, "10.0.0.9", 20)]),
            [Origin::Unknown(Some(Endpoint::Local))],
            "active FTP"
        );
    }

    #[test]
    fn who_listens_tells() {
        let both = [flow("127.0.0.1", 40_001, "127.0.0.1", 8080), flow("127.0.0.1", 8080, "127.0.0.1", 40_001)];
        assert_eq!(told(&[("0.0.0.0", 8080)], &both), [Origin::Here, Origin::There]);
        assert_eq!(told(&[("::", 8080)], &both), [Origin::Here, Origin::There]);
        assert_eq!(
            told(&[("10.0.0.1", 8080)], &both[1..]),
            [Origin::Unknown(Some(Endpoint::Local))],
            "somebody else's address"
        );
        assert_eq!(
            told(&[("10.0.0.1", 40_001)], &[flow("10.0.0.2", 40_001, "10.0.0.9", 443)]),
            [Origin::Here],
            "connect() from another address than the listener's"
        );
        let own = [flow("10.0.0.1", 80, "10.0.0.9", 5000), flow("10.0.0.2", 5001, "10.0.0.1", 80)];
        assert_eq!(told(&[("0.0.0.0", 80)], &own), [Origin::There, Origin::Here]);
        assert_eq!(told(&[("0.0.0.0", 40_004)], &[flow("127.0.0.1", 40_004, "127.0.0.1", 40_004)]), [Origin::Here]);
    }

    #[test]
    fn the_same_addresses_on_two_interfaces_are_two() {
        let on = |bound_dev_if, flow| Flow { bound_dev_if, ..flow };
        let accepted = flow("10.0.0.1", 40_000, "10.0.0.9", 5000);
        let mut census = OriginListing::default();
        census.listener(&on(5, flow("0.0.0.0", 40_000, "0.0.0.0", 0)));
        let told: Vec<_> = [0, 5, 6].map(|interface| census.connection(&on(interface, accepted))).into();
        assert_eq!(told, [None, Some(Origin::There), None], "a listener that is bound to one takes what comes there");
        // Three towards an address on each of two interfaces: of another host each, maybe.
        let flows: Vec<Flow> =
            (0..6).map(|n| on(5 + u32::from(n % 2), flow("10.0.0.1", 41_000 + n, "10.0.0.8", 5432))).collect();
        assert!(super::tests::told(&[], &flows).iter().all(|origin| !origin.is_outgoing()));
    }

    #[test]
    fn a_transparent_proxy_s_are_not_known() {
        // Its clients' side, and its own towards the server, from the client's address.
        let sides = [flow("93.184.0.1", 8443, "10.0.0.7", 50_000), flow("10.0.0.7", 50_000, "93.184.0.1", 8443)];
        assert!(told(&[("127.0.0.1", 3129)], &sides).iter().all(|origin| !origin.is_outgoing()));
    }

    #[test]
    fn a_record_says_the_same() {
        let unknown = [Some(Endpoint::Local), Some(Endpoint::Remote), None].map(Origin::Unknown);
        for origin in unknown.into_iter().chain([Origin::Here, Origin::There]) {
            assert_eq!(Origin::from_wire(origin.to_wire()), Some(origin));
        }
        assert_eq!((Origin::from_wire(0), Origin::from_wire(9)), (None, None));
    }
}
