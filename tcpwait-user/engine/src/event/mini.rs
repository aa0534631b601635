//! What is told of a mini-socket: as its timer found it, the segments that reach it, and where its timer was cancelled.

use super::{Reuse, Task};
use crate::tcp::{Flow, State};

/// A TIME_WAIT mini-socket as a hook found it.
#[derive(Clone, Debug, PartialEq)]
pub struct MiniSocket {
    /// Cookie of the full socket it took over from; 0 if that had none.
    pub cookie: u64,
    /// Address of the `struct inet_timewait_sock`.
    pub tw: u64,
    /// The addresses.
    pub flow: Flow,
    /// When its timer is due, in jiffies.
    pub expires: u64,
    /// Jiffies at the event.
    pub jiffies: u64,
    /// `FIN_WAIT2` or `TIME_WAIT`.
    pub substate: State,
    /// Whether others may share its port.
    pub reuse: Option<Reuse>,
    /// Whether it has IPV6_V6ONLY; `None` where that was not read.
    pub v6only: Option<bool>,
    /// Whether the connection had timestamps (RFC 7323).
    pub timestamps: bool,
}

/// A TCP segment that reached a mini-socket, and what it was held against.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// SYN.
    pub syn: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
    /// ACK.
    pub ack: bool,
    /// Sequence number.
    pub seq: u32,
    /// Bytes of data.
    pub payload: u32,
    /// Its timestamp (RFC 7323), if it has one.
    pub timestamp: Option<u32>,
    /// The sequence number that was due.
    pub rcv_nxt: u32,
    /// The peer's latest timestamp before it, if there was one.
    pub ts_recent: Option<u32>,
    /// What the kernel decided, where a hook tells.
    pub verdict: Option<u8>,
}

/// Where a mini-socket's timer was cancelled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CancelSite {
    /// The mini-socket was out of the hash already.
    pub unhashed: bool,
    /// Its network namespace was being taken down.
    pub netns_gone: bool,
    /// It happened on the stack of the current task, and not on one for softirqs.
    pub on_task_stack: bool,
    /// The task on the CPU; the cause only where the rest says so.
    pub task: Option<Task>,
    /// Return addresses, innermost first; empty when the kernel could not unwind.
    pub stack: Vec<u64>,
}
