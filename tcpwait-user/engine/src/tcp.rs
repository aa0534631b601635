//! The states of RFC 9293 under the names that `netstat`, bcc and the JSON output use, and the addresses of a connection.
//! Knows nothing of where they were seen.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::Serialize;
use tcpwait_wire::wire::{self, sample};

/// `TCP_TIMEWAIT_LEN` (`include/net/tcp.h`; a constant in every mainline version, 5.15 to 7.3), in seconds.
pub const TIMEWAIT_LEN_S: u64 = 60;

/// The same in milliseconds.
pub const TIMEWAIT_LEN_MS: u32 = 60_000;

/// The same in nanoseconds.
pub const TIMEWAIT_LEN_NS: u64 = TIMEWAIT_LEN_S * 1_000_000_000;

/// `idiag_timer` of sock_diag: a segment waits for its acknowledgement (`inet_sk_diag_fill`, `net/ipv4/inet_diag.c`).
pub const DIAG_TIMER_RETRANSMIT: u8 = 1;

/// The same of SO_KEEPALIVE.
pub const DIAG_TIMER_KEEPALIVE: u8 = 2;

/// The same of a mini-socket, and of nothing else (`inet_twsk_diag_fill`).
pub const DIAG_TIMER_TIME_WAIT: u8 = 3;

/// The same where the peer's window is probed.
pub const DIAG_TIMER_PROBE: u8 = 4;

/// A TCP state; the discriminants are the kernel's (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "RFC 9293 says what they are")]
#[repr(u8)]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    #[serde(rename = "FIN_WAIT1")]
    FinWait1 = 4,
    #[serde(rename = "FIN_WAIT2")]
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl State {
    /// Every state, in the order of the kernel's numbers, which begin at 1.
    pub const ALL: [State; 11] = [
        State::Established,
        State::SynSent,
        State::SynRecv,
        State::FinWait1,
        State::FinWait2,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::Closing,
    ];

    /// The state with the kernel's number.
    pub fn from_kernel(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The name as `netstat` and bcc's tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Established => "ESTABLISHED",
            State::SynSent => "SYN_SENT",
            State::SynRecv => "SYN_RECV",
            State::FinWait1 => "FIN_WAIT1",
            State::FinWait2 => "FIN_WAIT2",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::Listen => "LISTEN",
            State::Closing => "CLOSING",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    /// Takes `TIME_WAIT`, `time-wait` (ss) and `time_wait` (Prometheus), and ss's spellings `FIN-WAIT-1`, `ESTAB`, `CLOSED`.
    fn from_str(text: &str) -> Result<Self, String> {
        let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        let letters = match letters.as_str() {
            "ESTAB" => "ESTABLISHED",
            "CLOSED" | "UNCONN" => "CLOSE",
            "SYNRCV" | "SYNRECEIVED" => "SYNRECV",
            other => other,
        };
        Self::ALL.into_iter().find(|state| state.name().replace('_', "") == letters).ok_or_else(|| {
            format!("no TCP state is called \"{text}\"; the states are {}", Self::ALL.map(State::name).join(", "))
        })
    }
}

/// A network namespace: the inode number by which people know it, and what tells it from others that have had this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
// As short as its parts: there is one in every connection's addresses.
#[repr(Rust, packed(2))]
pub struct NetnsId {
    inode: u32,
    generation: u16,
}

impl NetnsId {
    /// The namespace with this inode number and cookie (SO_NETNS_COOKIE); cookie 0 where the kernel has none.
    pub const fn new(inode: u32, cookie: u64) -> Self {
        Self { inode, generation: cookie as u16 }
    }

    /// As in `readlink /proc/PID/ns/net`. A new namespace gets the number of a dead one at once.
    pub const fn inode(self) -> u32 {
        self.inode
    }

    /// The lower bits of the cookie; 0 where that is not known.
    pub const fn generation(self) -> u16 {
        self.generation
    }
}

impl fmt::Display for NetnsId {
    /// The inode number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inode().fmt(f)
    }
}

impl Serialize for NetnsId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(self.inode())
    }
}

/// A network interface, or an L3 master device (VRF), of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// The namespace.
    pub netns: NetnsId,
    /// Its number there.
    pub index: u32,
}

/// A connection's addresses in its network namespace. IPv4 carried by an IPv6 socket is IPv4 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The network namespace.
    pub netns: NetnsId,
    /// Number of the interface, or L3 master device, that the socket is bound to: the same addresses on another are another
    /// connection's (`inet_match`). 0 for none, or where that is not known (recordings before version 5).
    pub bound_dev_if: u32,
    /// Local address.
    pub laddr: IpAddr,
    /// Remote address; the unspecified one for a listener.
    pub raddr: IpAddr,
    /// Local port; 0 while the socket has none.
    pub lport: u16,
    /// Remote port; 0 for a listener.
    pub rport: u16,
}

/// In as few pieces as there can be, since it is hashed for every mini-socket and every connection in SYN_RECV: what mostly is the same for
/// all of them is left out.
impl Hash for Flow {
    fn hash<H: Hasher>(&self, to: &mut H) {
        match (self.laddr, self.raddr) {
            (IpAddr::V4(laddr), IpAddr::V4(raddr)) => {
                to.write_u64(u64::from(laddr.to_bits()) << 32 | u64::from(raddr.to_bits()));
            }
            addresses => addresses.hash(to),
        }
        to.write_u64(u64::from(self.netns.inode()) << 32 | u64::from(self.lport) << 16 | u64::from(self.rport));
    }
}

impl Flow {
    /// Reads the kernel's form. An unknown family gives `None`.
    pub fn from_wire(flow: &wire::Flow) -> Option<Self> {
        let (laddr, raddr) = match flow.family {
            2 => (v4(&flow.laddr), v4(&flow.raddr)),
            10 => {
                let (laddr, raddr) = (Ipv6Addr::from(flow.laddr), Ipv6Addr::from(flow.raddr));
                (laddr.to_canonical(), raddr.to_canonical())
            }
            _ => return None,
        };
        let netns = NetnsId { inode: flow.netns, generation: flow.generation };
        Some(Self { netns, bound_dev_if: flow.bound_dev_if, laddr, raddr, lport: flow.lport, rport: flow.rport })
    }

    /// Whether it is among the connections of which one in so many is told of. `false` of one whose port is not known.
    pub fn is_chosen(&self, one_in: u32) -> bool {
        // As the kernel has it: words in network byte order.
        let word = |bytes: [u8; 4]| u32::from_ne_bytes(bytes);
        let raddr = match self.raddr {
            IpAddr::V4(address) => [word(address.octets()), 0, 0, 0],
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
                [word([a, b, c, d]), word([e, f, g, h]), word([i, j, k, l]), word([m, n, o, p])]
            }
        };
        self.lport != 0 && sample::is_chosen(sample::spread(raddr, self.lport, self.rport), one_in)
    }

    /// The interface, or L3 master device, that the socket is bound to.
    pub fn interface(&self) -> Option<Interface> {
        (self.bound_dev_if != 0).then_some(Interface { netns: self.netns, index: self.bound_dev_if })
    }
}

fn v4(bytes: &[u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = *bytes;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn every_spelling_of_a_state_is_understood() {
        for state in State::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(state.name().to_lowercase().replace('_', "-").parse(), Ok(state));
        }
        assert_eq!("FIN-WAIT-1".parse(), Ok(State::FinWait1));
        assert_eq!("ESTAB".parse(), Ok(State::Established));
        assert!("TIME_WEIGHT".parse::<State>().is_err_and(|e| e.contains("TIME_WAIT")));
    }
}
