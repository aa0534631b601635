//! What is told of a request socket: a connection in SYN_RECV.

use crate::tcp::Flow;

/// A request socket as a hook found it.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestSocket {
    /// The cookie that the connection's socket will have; 0 if there is none yet.
    pub cookie: u64,
    /// Address of the `struct request_sock`.
    pub req: u64,
    /// The addresses.
    pub flow: Flow,
    /// Cookie of the listener; 0 if it never had one.
    pub listener: u64,
    /// How often the SYN-ACK was sent again.
    pub retransmits: u8,
    /// Whether the listener still listens.
    pub listens: bool,
    /// Whether the final ACK came and no connection was made of it.
    pub acked: bool,
    /// Whether the listener lets an ACK without data wait (TCP_DEFER_ACCEPT).
    pub deferred: bool,
    /// The listener's accept queue at that moment; `None` where that was not read.
    pub queue: Option<AcceptQueue>,
}

/// A listener's accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptQueue {
    /// Another connection fits.
    HasRoom,
    /// Full: what does not fit is dropped.
    Full,
    /// Full: what does not fit is reset (`tcp_abort_on_overflow`).
    FullAndResets,
}

/// Why a request socket's timer was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStart {
    /// The SYN came.
    Syn,
    /// The SYN came again.
    SynAgain,
    /// The time ran out, and the SYN-ACK was sent again.
    Retransmit,
}
