//! What sock_diag tells of a socket.

use super::Task;
use crate::{
    origin::Origin,
    tcp::{Flow, State},
};

/// A socket from sock_diag.
#[derive(Clone, Debug, PartialEq)]
pub struct Seed {
    /// The socket cookie.
    pub cookie: u64,
    /// The addresses.
    pub flow: Flow,
    /// The owner, as found through `/proc`.
    pub task: Option<Task>,
    /// The state; a mini-socket shows its substate.
    pub state: State,
    /// Whether it is a TIME_WAIT mini-socket.
    pub mini: bool,
    /// Milliseconds to the nominal expiry of its timer.
    pub expires_ms: u32,
    /// How often its segment was sent again.
    pub retransmits: u8,
    /// Which side made it, as far as the listing tells; `None` where a recording does not say (up to version 4).
    pub origin: Option<Origin>,
    /// Whether it has IPV6_V6ONLY; known of listeners.
    pub v6only: Option<bool>,
    /// When it was in this state at the latest, in nanoseconds of `CLOCK_MONOTONIC`; `None` where a recording does not say (up to version 5).
    pub by_ns: Option<u64>,
}
