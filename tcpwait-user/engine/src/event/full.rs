//! What is told of a full socket: its steps, and what it was like when it came to CLOSE.

use super::Task;
use crate::tcp::{Flow, State};

/// `sock:inet_sock_set_state`.
#[derive(Clone, Debug, PartialEq)]
pub struct StateChange {
    /// The socket cookie; 0 for a newborn (`LISTEN -> SYN_RECV`), whose cookie is not final yet.
    pub cookie: u64,
    /// Address of the `struct sock`.
    pub sk: u64,
    /// The addresses; a newborn may still show its listener's.
    pub flow: Flow,
    /// State before.
    pub old: State,
    /// State after.
    pub new: State,
    /// `sk_err`, a positive errno or 0.
    pub err: u16,
    /// The task that made it in connect, listen, shutdown or close, unless it is a kernel thread.
    pub task: Option<Task>,
    /// Somebody made it in connect, listen, shutdown or close, be it one that has no number here.
    pub by_call: bool,
    /// The kernel side saw the mini-socket armed just before.
    pub handed_over: bool,
    /// Leaving SYN_RECV: it was born of its listener just before, and has had no event of its own.
    pub newborn: bool,
    /// Leaving SYN_RECV: the kernel side saw a request socket's connection made just before.
    pub of_request: bool,
    /// How often segments were sent again in the connection's life so far (`total_retrans`), at the end of its handshake and of its life; `None` where
    /// that was not read.
    pub retransmits: Option<u16>,
    /// Whether others may share its port; `None` where that was not read.
    pub reuse: Option<Reuse>,
    /// Whether it has IPV6_V6ONLY; `None` where that was not read.
    pub v6only: Option<bool>,
    /// Leaving SYN_SENT for CLOSE: no SYN was ever sent.
    pub unsent: bool,
    /// Leaving SYN_SENT for CLOSE: TCP_FASTOPEN_CONNECT kept the SYN back until the first write.
    pub deferred: bool,
    /// Leaving SYN_SENT for CLOSE: what connect() gives back is told next, unless no hook sees this call.
    pub returns: bool,
    /// Entering SYN_SENT: the port it seems to have is that of a former connection.
    pub old_port: bool,
    /// Entering SYN_SENT: the error that the kernel noted is from before.
    pub old_soft: bool,
    /// Entering SYN_SENT: whether a SYN follows; `None` where that was not read.
    pub syn: Option<Syn>,
    /// Leaving LAST_ACK for CLOSE: the peer has acknowledged everything, FIN included.
    pub acked: bool,
    /// Entering CLOSE in any other way than with the last ACK or for a mini-socket: what says why. (Up to version 5 only of FIN_WAIT2 and CLOSING.)
    pub end: Option<Box<EndSite>>,
}

/// Whether a SYN follows the step into SYN_SENT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syn {
    /// In the same call, unless that fails.
    AtOnce,
    /// It may wait for the first data (TCP_FASTOPEN_CONNECT).
    MayWait,
    /// The connection is restored by TCP_REPAIR, and needs none.
    Never,
}

/// Where a full socket came to CLOSE, and what it was like then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndSite {
    /// Whether the namespace had as many mini-sockets as it may have; `None` where the kernel's types do not say.
    pub full: Option<bool>,
    /// The task on whose stack the hook ran; it is the cause only where the stack says so.
    pub task: Option<Task>,
    /// What the socket was like; `None` in recordings up to version 5.
    pub about: Option<EndFacts>,
    /// Return addresses, innermost first; empty where the kernel could not unwind.
    pub stack: Vec<u64>,
}

/// What a socket was like when it came to CLOSE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndFacts {
    /// No process held it any more.
    pub orphan: bool,
    /// It was in TCP_REPAIR; `None` where the kernel's types do not say.
    pub repair: Option<bool>,
    /// TCP_LINGER2 was below 0.
    pub no_linger2: bool,
    /// Its network namespace had no user left.
    pub netns_gone: bool,
    /// The peer's window was closed.
    pub window_closed: bool,
    /// The peer had acknowledged everything that was written.
    pub acked: bool,
    /// Something was written that has never been sent, if only a FIN.
    pub unsent: bool,
    /// All of TCP had more memory than `tcp_mem` allows; `None` where the kernel's types do not say.
    pub memory: Option<bool>,
    /// An error that the kernel noted and did not end the connection for (`sk_err_soft`), a positive errno or 0; `None` where that was not read.
    pub soft_err: Option<u16>,
    /// The process has asked for that error (SO_ERROR), and was told.
    pub soft_asked: bool,
    /// TCP_USER_TIMEOUT in milliseconds; 0 is none.
    pub user_timeout_ms: u32,
    /// For how many jiffies the peer's closed window had been probed; 0 where it was not, or is not known.
    pub probed_jiffies: u32,
    /// The longest that a retransmission may wait, in jiffies; 0 where the kernel's types do not say.
    pub rto_max_jiffies: u32,
}

/// Whether a socket shares its port with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reuse {
    /// SO_REUSEADDR.
    pub address: bool,
    /// SO_REUSEPORT.
    pub port: bool,
}
