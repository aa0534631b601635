//! The sockets of a namespace as far as findings need them: how many ports a destination uses, how full listeners are, who
//! does not close.

use std::net::IpAddr;

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
