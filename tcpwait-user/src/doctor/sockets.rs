//! What is known of a namespace's sockets, all told.

use std::net::IpAddr;

use super::{
    socket::Listener,
    stuck::{Blocked, HalfClosed},
    unclosed::Unclosed,
};

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
    /// Of these by sockets in ESTABLISHED.
    pub established: u64,
    /// Of these by sockets in TIME_WAIT.
    pub time_wait: u64,
    /// Of those in TIME_WAIT, ones that are younger than the delay of `tcp_tw_reuse`.
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
