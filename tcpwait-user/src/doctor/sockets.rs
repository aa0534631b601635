//! The sockets of a namespace as far as findings need them: how many ports a destination uses, how full listeners are, who
//! does not close.

use std::net::IpAddr;

use super::{
    stuck::{Blocked, HalfClosed},
    unclosed::Unclosed,
};
use crate::tcp::State;

/// One socket.
#[derive(Clone, Copy, Debug)]
pub struct SurveyedSocket {
    /// Its state; of a mini-socket its substate.
    pub state: State,
    /// Whether it is a mini-socket: in TIME_WAIT, or in FIN_WAIT2 and held by nobody.
    pub mini: bool,
    /// Number of the interface, or L3 master device, that it is bound to; 0 for none.
    pub bound_dev_if: u32,
    /// Local address and port.
    pub local: (IpAddr, u16),
    /// Remote address and port.
    pub remote: (IpAddr, u16),
    /// Milliseconds that a mini-socket has left.
    pub left_ms: u64,
    /// `Recv-Q`.
    pub receive_queue: u32,
    /// `Send-Q`.
    pub send_queue: u32,
    /// How often its oldest segment was sent again, while the timer for that runs; else 0.
    pub retransmits: u8,
    /// How often it sent window probes, while the timer for that runs; else 0.
    pub probes: u8,
    /// Whether the timer runs that probes the peer's window.
    pub probing: bool,
    /// Whether the timer of SO_KEEPALIVE runs, and no other.
    pub keepalive: bool,
    /// Milliseconds since data last came; of a full socket.
    pub received_ms: Option<u32>,
    /// The window that the peer offers, in bytes; of a full socket, from Linux 5.4 on.
    pub window: Option<u32>,
    /// For how many milliseconds it has been in its state at least; `None` where nothing tells.
    pub at_least_ms: Option<u32>,
    /// The socket cookie.
    pub cookie: u64,
    /// Inode number of the socket's file.
    pub inode: u32,
}

impl SurveyedSocket {
    /// The same of one that was in it at both readings, so many milliseconds apart.
    pub(super) fn age_ms(&self, window_ms: u64) -> u64 {
        u64::from(self.at_least_ms.unwrap_or_default()).max(window_ms)
    }
}

/// Who holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// How many others may be meant as well: they hold the socket, too.
    pub others: u64,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub local: (IpAddr, u16),
    /// Connections that wait for accept().
    pub waiting: u32,
    /// How many may wait; one more does not fit (`sk_acceptq_is_full`).
    pub backlog: u32,
    /// Who holds it, as far as that may be known.
    pub owner: Option<Owner>,
    /// Its file.
    pub inode: u32,
}

impl Listener {
    /// Whether the next connection is dropped.
    pub fn is_full(&self) -> bool {
        self.waiting > self.backlog
    }
}

/// The use of local ports towards one address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationUse {
    /// The name of the interface that the sockets are bound to, if they are to one: another has ports of its own.
    pub interface: Option<String>,
    /// The local address.
    pub laddr: IpAddr,
    /// The remote address and port.
    pub remote: (IpAddr, u16),
    /// Local ports within `ip_local_port_range` that are taken.
    pub used: u64,
    /// Of these by sockets in TIME_WAIT.
    pub time_wait: u64,
    /// Of these by ones that are younger than the delay of `tcp_tw_reuse`.
    pub young: u64,
}

impl DestinationUse {
    /// Whether `tcp_tw_reuse` = 2 applies (`tcp_twsk_unique`; sockets bound to `lo` are not known here).
    pub fn is_loopback(&self) -> bool {
        self.laddr.is_loopback() || self.remote.0.is_loopback()
    }
}

/// Connections that were closed here and whose FIN is not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unacknowledged {
    /// In FIN_WAIT1 or CLOSING: this side closed first, or both did.
    pub fin_wait1: u64,
    /// In LAST_ACK: the peer closed first.
    pub last_ack: u64,
    /// Of all of them, those that have nothing under way but the FIN (Send-Q 1).
    pub fin_only: u64,
    /// Not of them: in any of these states, with a FIN that has not left, and window probes instead, though the window is not known to be
    /// closed.
    pub unsent: u64,
}

impl Unacknowledged {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.fin_wait1 + self.last_ack
    }
}

/// What is known of the sockets.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// In TIME_WAIT.
    pub time_wait: u64,
    /// In FIN_WAIT2 and held by nobody.
    pub orphaned_fin_wait2: u64,
    /// Of those, the ones that have waited for the peer's FIN for some seconds.
    pub stale_fin_wait2: u64,
    /// In FIN_WAIT1, CLOSING and LAST_ACK at both readings, with something that is sent again.
    pub unacknowledged: Unacknowledged,
    /// In CLOSE_WAIT.
    pub close_wait: u64,
    /// Ports that connect() passes over, as somebody listens there or has and its connections last: of those it may choose from.
    pub served: u64,
    /// The destinations with the most ports taken, the most first.
    pub destinations: Vec<DestinationUse>,
    /// Listeners that were full at both readings.
    pub full_listeners: Vec<Listener>,
    /// The listener with the most connections waiting, for its share of the backlog.
    pub fullest_listener: Option<Listener>,
    /// Listeners with as many connections in SYN_RECV as their backlog, and how many those are, the most first
    /// (`inet_csk_reqsk_queue_is_full`).
    pub full_of_syns: Vec<(Listener, u64)>,
    /// The listener with the most connections in SYN_RECV, and how many those are.
    pub most_syns: Option<(Listener, u64)>,
    /// CLOSE_WAIT by process, the most first.
    pub unclosed: Vec<Unclosed>,
    /// FIN_WAIT2 by process, the most first.
    pub half_closed: Vec<HalfClosed>,
    /// What was closed and cannot be sent.
    pub blocked: Blocked,
}
