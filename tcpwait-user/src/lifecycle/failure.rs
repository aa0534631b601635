//! Calls that failed: connect(), bind() and listen() that came to nothing, and why, as the kernel told it.
//! Says nothing of how often; counting is the aggregates' business.

use std::sync::Arc;

use nix::errno::Errno;
use serde::Serialize;

use super::Lifecycle;
use crate::{
    event::{PortRefused, StateChange, Task},
    tcp::{Flow, State},
};

/// `EADDRNOTAVAIL` of a connect() comes before the first SYN, in the same call: this long after at most, however busy the machine.
const SAME_CALL_NS: u64 = 1_000_000_000;

/// The call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// connect(2), until the connection is made.
    Connect,
    /// bind(2).
    Bind,
    /// listen(2), which asks for the port once more.
    Listen,
}

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
    /// connect(): EHOSTUNREACH, ENETUNREACH and their like, said by an ICMP error or by ARP.
    Unreachable,
    /// bind() or listen(): EADDRINUSE, somebody holds the port (`inet_csk_get_port`).
    PortHeld,
    /// bind() to port 0 or the like: EADDRINUSE, no port of the range is free.
    RangeFull,
    /// connect(): the process closed the socket before any answer came.
    GivenUp,
    /// Some other error; its errno is known.
    Other,
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
    /// Why it failed.
    pub why: Why,
    /// The process that called.
    pub owner: Option<Arc<Task>>,
    /// How often the SYN was sent again, of a connect() that sent any.
    pub retransmits: Option<u16>,
    /// Of bind() and listen(): who holds the port.
    pub holders: Option<Holders>,
}

/// Who holds a port that somebody else asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holders {
    /// The sockets that stand in the way, by state and owner; the listener first, then the most.
    pub sockets: Vec<Holder>,
    /// Whether SO_REUSEADDR on the socket that asked and on all of those would have let it through, since none listens; `None` where
    /// none of them is known.
    pub reuseaddr_would_do: Option<bool>,
    /// Whether the socket that asked had SO_REUSEADDR; `None` where that is not known.
    pub has_reuseaddr: Option<bool>,
}

/// Sockets of one state and one owner that hold a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Holder {
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
}

impl Lifecycle {
    /// Why a connect() failed that left SYN_SENT for CLOSE. `asked` is what was asked for when it entered SYN_SENT.
    pub(super) fn connect_failed(
        &self,
        time_ns: u64,
        asked: Flow,
        since_ns: Option<u64>,
        change: &StateChange,
        owner: Option<Arc<Task>>,
    ) -> Failure {
        let in_the_call = change.task.is_some()
            && change.unsent
            && since_ns.is_none_or(|since_ns| time_ns.saturating_sub(since_ns) < SAME_CALL_NS);
        let (why, errno) = match Errno::from_raw(change.err.into()) {
            // __inet_hash_connect and __inet_check_established leave no sk_err.
            _ if change.err == 0 && in_the_call && asked.lport == 0 => (Why::NoFreePort, Errno::EADDRNOTAVAIL as u16),
            _ if change.err == 0 && in_the_call => (Why::PortTaken, Errno::EADDRNOTAVAIL as u16),
            _ if change.err == 0 => (Why::GivenUp, 0),
            Errno::ECONNREFUSED => (Why::Refused, change.err),
            Errno::ETIMEDOUT => (Why::TimedOut, change.err),
            Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN => (Why::Unreachable, change.err),
            _ => (Why::Other, change.err),
        };
        let lport = if why == Why::NoFreePort { 0 } else { change.flow.lport };
        Failure {
            time_ns,
            id: change.cookie,
            flow: Flow { lport, ..change.flow },
            call: Call::Connect,
            errno,
            why,
            owner,
            // An error comes after a SYN, which is not there any more when it has purged the queue (tcp_reset, tcp_write_err).
            retransmits: (!change.unsent || change.err != 0).then_some(change.retransmits),
            holders: None,
        }
    }

    /// bind() or listen() did not get its port.
    pub(super) fn port_refused(&mut self, time_ns: u64, refused: &PortRefused) -> Failure {
        let any_port = refused.flow.lport == 0;
        Failure {
            time_ns,
            id: refused.cookie,
            flow: refused.flow,
            call: if refused.listen { Call::Listen } else { Call::Bind },
            errno: refused.errno,
            why: if any_port { Why::RangeFull } else { Why::PortHeld },
            owner: refused.task.as_ref().map(|task| self.share(task)),
            retransmits: None,
            holders: (!any_port).then(|| self.holders(time_ns, refused)),
        }
    }
}
