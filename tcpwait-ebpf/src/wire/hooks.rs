//! What the hooks write: full sockets, TIME_WAIT mini-sockets, request sockets, refused ports.

use super::{Flow, Head, Stack, Task};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Kind::State`](super::Kind::State): a full socket changed state.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockState {
    /// The record's head.
    pub head: Head,
    /// The socket cookie (`sk:` of `ss -e`). Not yet final in a `LISTEN -> SYN_RECV` event before 6.13:
    /// `inet_csk_clone_lock` overwrites it afterwards.
    pub cookie: u64,
    /// Address of the `struct sock`: only to join the two first events of a passive connection.
    pub sk: u64,
    /// The addresses.
    pub flow: Flow,
    /// State before (`enum` in `include/net/tcp_states.h`).
    pub old: u8,
    /// State after.
    pub new: u8,
    /// `sk_err`, a positive errno.
    pub err: u16,
    /// `tcp_sock.total_retrans`, at most 65535: where SYN_SENT or SYN_RECV is left, FIN_WAIT2 entered (all that was sent is acknowledged then),
    /// and entering CLOSE, if [`RETRANSMITS_KNOWN`](super::RETRANSMITS_KNOWN); else 0.
    pub retransmits: u16,
    /// `REUSE_…`, read where a socket starts to listen and where a connection is made; else 0.
    pub reuse: u8,
    /// `SYN_…` and `UNSENT_…`, entering SYN_SENT, and leaving it or LAST_ACK for CLOSE; [`RETRANSMITS_KNOWN`](super::RETRANSMITS_KNOWN); else 0.
    pub syn: u8,
}

/// [`Kind::StateTask`](super::Kind::StateTask).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockStateTask {
    /// What changed.
    pub state: SockState,
    /// The task that holds the socket lock.
    pub task: Task,
}

/// [`Kind::StateStack`](super::Kind::StateStack): what version 5 and older tell of such an end.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockStateStack {
    /// What changed.
    pub state: SockState,
    /// Mini-sockets in the namespace (one more from 5.19 on), 0 when not known.
    pub tw_count: u32,
    /// `tcp_max_tw_buckets`; `u32::MAX` when not known.
    pub tw_max: u32,
    /// Where in the kernel.
    pub stack: Stack,
}

/// [`Kind::StateEnd`](super::Kind::StateEnd).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockStateEnd {
    /// What changed.
    pub state: SockState,
    /// The task on the CPU. It is the cause only where the stack says so.
    pub task: Task,
    /// As in [`SockStateStack`].
    pub tw_count: u32,
    /// As in [`SockStateStack`].
    pub tw_max: u32,
    /// TCP_USER_TIMEOUT in milliseconds; 0 is none.
    pub user_timeout_ms: u32,
    /// For how many jiffies the peer's closed window has been probed (`icsk_probes_tstamp`); 0 where it is not, or not known.
    pub probed_jiffies: u32,
    /// `END_…`.
    pub about: u32,
    /// The longest that a retransmission may wait, in jiffies (TCP_RTO_MAX_MS); 0 where the kernel's types do not say.
    pub rto_max_jiffies: u32,
    /// Where in the kernel.
    pub stack: Stack,
}

/// [`Kind::Owner`](super::Kind::Owner).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Owner {
    /// The record's head.
    pub head: Head,
    /// The socket cookie.
    pub cookie: u64,
    /// The reader.
    pub task: Task,
}

/// [`Kind::TwArm`](super::Kind::TwArm), [`Kind::TwExpire`](super::Kind::TwExpire): a TIME_WAIT mini-socket (`struct inet_timewait_sock`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Mini {
    /// The record's head.
    pub head: Head,
    /// `tw_cookie`: the cookie of the full socket it took over from; 0 if that never had one.
    pub cookie: u64,
    /// Address of the mini-socket: only for `--raw`.
    pub tw: u64,
    /// The addresses.
    pub flow: Flow,
    /// `tw_timer.expires` in jiffies. At a cancellation: before the change that follows.
    pub expires: u64,
    /// Jiffies when the hook ran (`bpf_jiffies64`).
    pub jiffies: u64,
    /// `tw_substate`: 5 FIN_WAIT2, 6 TIME_WAIT.
    pub substate: u8,
    /// `REUSE_…`.
    pub reuse: u8,
    /// Whether the connection had timestamps (`tw_ts_recent_stamp` is not 0).
    pub timestamps: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// [`Kind::TwCancel`](super::Kind::TwCancel).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MiniCancel {
    /// The mini-socket.
    pub mini: Mini,
    /// The task on the CPU. It is the cause only where the stack says so.
    pub task: Task,
    /// Where in the kernel.
    pub stack: Stack,
}

/// [`Kind::TwSegment`](super::Kind::TwSegment).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MiniSegment {
    /// The mini-socket, after the segment was processed.
    pub mini: Mini,
    /// The TCP header as it came, options included; zero behind its end. All zero when it could not be read.
    pub header: [u8; TCP_HEADER],
    /// Bytes of data behind the header.
    pub payload: u32,
    /// `tw_rcv_nxt`: the sequence number that was due.
    pub rcv_nxt: u32,
    /// `tw_ts_recent`: the latest timestamp of the peer.
    pub ts_recent: u32,
    /// Whether `tw_ts_recent` is one (`tw_ts_recent_stamp` is not 0).
    pub has_ts_recent: u8,
    /// What `tcp_timewait_state_process` returned (`enum tcp_tw_status`); [`VERDICT_UNKNOWN`] from `kfree_skb`.
    pub verdict: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// [`Kind::ReqArm`](super::Kind::ReqArm), [`Kind::ReqExpire`](super::Kind::ReqExpire): a connection in SYN_RECV (`struct request_sock`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Request {
    /// The record's head.
    pub head: Head,
    /// `ir_cookie`, which the connection's socket inherits; 0 unless sock_diag has listed it.
    pub cookie: u64,
    /// Address of the request socket: to join what happens to it within one softirq.
    pub req: u64,
    /// The addresses.
    pub flow: Flow,
    /// Cookie of the listener; 0 if it never had one.
    pub listener: u64,
    /// `num_retrans`: how often the SYN-ACK was sent again.
    pub retransmits: u8,
    /// Whether the listener still listens.
    pub listens: u8,
    /// Whether the final ACK came and no connection was made of it (`acked`): the accept queue was full, or [`deferred`](Self::deferred).
    pub acked: u8,
    /// `rskq_defer_accept` of the listener: so many SYN-ACKs are sent before an ACK without data makes the connection (TCP_DEFER_ACCEPT).
    pub deferred: u8,
    /// `QUEUE_…` of the listener's accept queue when the hook ran; 0 where that was not read.
    pub queue: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// [`Kind::ReqCancel`](super::Kind::ReqCancel).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RequestCancel {
    /// The request socket.
    pub reqsk: Request,
    /// The task on the CPU. It is the cause only where the stack says so.
    pub task: Task,
    /// Where in the kernel.
    pub stack: Stack,
}

/// [`Kind::PortRefused`](super::Kind::PortRefused): a call that gave back an error that the kernel found by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PortRefused {
    /// The record's head.
    pub head: Head,
    /// The socket cookie; 0 where it has none.
    pub cookie: u64,
    /// The local end that was asked for, port 0 is any; of connect() the local end it had, and the remote one that was asked for.
    pub flow: Flow,
    /// The task that asked.
    pub task: Task,
    /// A positive errno.
    pub errno: u16,
    /// `CALL_WAS_…`.
    pub call: u8,
    /// `REUSE_…`.
    pub reuse: u8,
    /// The low half of the address of the `struct sock`: only to tell several refusals of one socket, which may have no cookie, from
    /// those of several.
    pub socket: u32,
}

/// [`Kind::Accepted`](super::Kind::Accepted).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Accepted {
    /// The record's head.
    pub head: Head,
    /// The connection's cookie.
    pub cookie: u64,
    /// The listener's cookie; 0 if it never had one.
    pub listener: u64,
    /// Who called accept().
    pub task: Task,
}

/// The longest TCP header there can be, in bytes: 15 words (RFC 9293, 3.1).
pub const TCP_HEADER: usize = 60;

/// [`MiniSegment::verdict`] where it is not known.
pub const VERDICT_UNKNOWN: u8 = 255;
/// `TCP_TW_RST` (`include/net/tcp.h`, 5.15 to 7.3): an RST answers the segment and the mini-socket is killed.
pub const VERDICT_RST: u8 = 1;
/// `TCP_TW_SYN`: an acceptable SYN takes the tuple if somebody listens.
pub const VERDICT_SYN: u8 = 3;
