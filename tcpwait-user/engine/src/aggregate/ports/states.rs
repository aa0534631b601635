//! Ports by the state of their connection.

use serde::Serialize;

/// Ports by the state of their connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortStates {
    /// SYN_SENT (or SYN_RECV, of two that connect to each other).
    pub connecting: u64,
    /// ESTABLISHED.
    pub established: u64,
    /// CLOSE_WAIT: the peer has closed, this side has not.
    pub close_wait: u64,
    /// FIN_WAIT1, CLOSING, LAST_ACK.
    pub closing: u64,
    /// FIN_WAIT2.
    pub fin_wait2: u64,
    /// TIME_WAIT.
    pub time_wait: u64,
}
