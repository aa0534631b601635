//! Calls that failed: connect(), bind() and listen() that came to nothing, and why, as the kernel told it.
//! Says nothing of how often; counting is the aggregates' business.

use std::sync::Arc;

use serde::Serialize;

pub use crate::event::Call;
use crate::{
    event::Task,
    tcp::{Flow, State},
};

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// connect(): EADDRNOTAVAIL, every port of the range is taken towards this destination (`__inet_hash_connect`).
    NoFreePort,
    /// connect(): EADDRNOTAVAIL, the source port it was bound to is taken towards this destination, as by a TIME_WAIT that may not be
    /// reused (`__inet_check_established`).
    PortTaken,
    /// connect(): ECONNREFUSED, an RST answered the SYN, or an ICMP error that says that there is no such port.
    Refused,
    /// connect(): ETIMEDOUT, nothing answered.
    TimedOut,
    /// connect(): EHOSTUNREACH, ENETUNREACH, EACCES and their like, said by an ICMP error or by ARP.
    Unreachable,
    /// bind() or listen(): EADDRINUSE, somebody holds the port (`inet_csk_get_port`).
    PortHeld,
    /// bind() to port 0 or the like: EADDRINUSE, no port of the range is free.
    RangeFull,
    /// connect(): the process closed the socket before any answer came.
    GivenUp,
    /// connect(): the process closed the socket after an error that the kernel had noted (`sk_err_soft`, [`Detail::SoftError`](super::Detail)), and had not asked
    /// for it.
    SoftError,
    /// connect(): TCP_FASTOPEN_CONNECT keeps the SYN back until the first write, and the process closed the socket before
    /// (`tcp_fastopen_defer_connect`). No call failed.
    NeverSent,
    /// connect(): ENETUNREACH, EHOSTUNREACH from this machine's own routes, before anything was sent (`ip_route_connect`, `ip_route_newports`).
    NoRoute,
    /// EACCES, EPERM, EKEYREJECTED: this machine does not allow it (a port below ip_unprivileged_port_start, a prohibiting route, an LSM,
    /// a cgroup's BPF program, a TCP-AO key).
    NotAllowed,
    /// bind(): EADDRNOTAVAIL, the address is of no interface here (`__inet_bind`); connect(): there is no source address.
    NoAddress,
    /// ENOBUFS, ENOMEM: the kernel had no memory for it (`tcp_connect`).
    NoMemory,
    /// EINVAL: bind() of a socket that is bound, an address that is too short; connect() through a blackhole route.
    Invalid,
    /// connect(): a port was found, and then the route, a policy or want of memory ended the call; which, no hook told.
    NotTold,
    /// bind(): EADDRINUSE on one port after the other, as by a search for a free one (bindresvport(3)).
    PortSearch,
    /// connect(): ECONNABORTED, somebody destroyed the socket (`ss -K`).
    Destroyed,
    /// Some other error; its errno is known.
    Other,
}

impl Why {
    /// Each of them.
    pub const ALL: [Why; 19] = [
        Why::NoFreePort,
        Why::PortTaken,
        Why::Refused,
        Why::TimedOut,
        Why::Unreachable,
        Why::PortHeld,
        Why::RangeFull,
        Why::GivenUp,
        Why::SoftError,
        Why::NeverSent,
        Why::NoRoute,
        Why::NotAllowed,
        Why::NoAddress,
        Why::NoMemory,
        Why::Invalid,
        Why::NotTold,
        Why::PortSearch,
        Why::Destroyed,
        Why::Other,
    ];

    /// The word for it, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Why::NoFreePort => "no-free-port",
            Why::PortTaken => "port-taken",
            Why::Refused => "refused",
            Why::TimedOut => "timed-out",
            Why::Unreachable => "unreachable",
            Why::PortHeld => "port-held",
            Why::RangeFull => "range-full",
            Why::GivenUp => "given-up",
            Why::SoftError => "soft-error",
            Why::NeverSent => "never-sent",
            Why::NoRoute => "no-route",
            Why::NotAllowed => "not-allowed",
            Why::NoAddress => "no-address",
            Why::NoMemory => "no-memory",
            Why::Invalid => "invalid",
            Why::NotTold => "not-told",
            Why::PortSearch => "port-search",
            Why::Destroyed => "destroyed",
            Why::Other => "other",
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The socket cookie; 0 where it is not known.
    pub id: u64,
    /// The addresses asked for; of bind() and listen() the remote end is all zero, and port 0 is any.
    pub flow: Flow,
    /// The call.
    pub call: Call,
    /// Its errno, positive; 0 where the process gave up.
    pub errno: u16,
    /// Of `why` [`Why::SoftError`]: the error that the kernel noted and did not tell; else 0.
    pub soft_errno: u16,
    /// Why it failed.
    pub why: Why,
    /// The process that called.
    pub owner: Option<Arc<Task>>,
    /// How often the SYN was sent again, of a connect() that sent any.
    pub retransmits: Option<u16>,
    /// Of bind() and listen(): who holds the port.
    pub holders: Option<PortHolders>,
    /// Of a search: the ports that were refused.
    pub search: Option<Search>,
    /// Whether the socket had IPV6_V6ONLY; `None` where that is not known.
    pub v6only: Option<bool>,
}

impl Failure {
    /// How many calls failed.
    pub fn calls(&self) -> u64 {
        self.search.map_or(1, |search| search.refused)
    }
}

/// Ports that one socket tried one after the other, and was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// The lowest.
    pub lowest: u16,
    /// The highest.
    pub highest: u16,
    /// How often it was refused.
    pub refused: u64,
    /// When last, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
}

/// Who holds a port that somebody else asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortHolders {
    /// The sockets that stand in the way, by state and owner; the listener first, then the most.
    pub sockets: Vec<PortHolder>,
    /// Whether SO_REUSEADDR on the socket that asked and on all of those would have let it through, since none listens; `None` where
    /// none of them is known.
    pub reuseaddr_would_do: Option<bool>,
    /// Whether the socket that asked had SO_REUSEADDR; `None` where that is not known.
    pub has_reuseaddr: Option<bool>,
    /// Whether one of them would share the port (SO_REUSEPORT on both), but is of another user.
    pub of_another_user: bool,
}

/// Sockets of one state and one owner that hold a port.
#[derive(Clone, Debug, PartialEq)]
pub struct PortHolder {
    /// The state.
    pub state: State,
    /// Whose they are, or were.
    pub owner: Option<Arc<Task>>,
    /// How many.
    pub count: u64,
    /// When the first and the last of them leave TIME_WAIT at the earliest (`TCP_TIMEWAIT_LEN`), in nanoseconds of `CLOCK_MONOTONIC`;
    /// only of TIME_WAIT, and where it is known of all.
    pub end_ns: Option<(u64, u64)>,
    /// Whether all of them (or none) have SO_REUSEADDR; `None` where that is not known or differs.
    pub reuseaddr: Option<bool>,
    /// Whether this machine's connect() made all of them (or none); `None` where that is not known or differs.
    pub made_here: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::Why;

    #[test]
    fn words_are_those_of_json() {
        for why in Why::ALL {
            assert_eq!(serde_json::to_value(why).ok(), Some(why.name().into()));
        }
    }
}
