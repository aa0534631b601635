//! What the kernel side counts exactly, whatever the ring buffer holds.

use super::Head;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Kind::Counters`](super::Kind::Counters): what the kernel side counted since it was attached, summed over CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Counters {
    /// The record's head.
    pub head: Head,
    /// By [`Counter`].
    pub values: [u64; COUNTERS],
    /// State changes of full sockets, by [`transition_slot`].
    pub transitions: [u64; TRANSITIONS],
    /// By [`Hook`]: events that the kernel handed to none of the hook's programs, because they were active on that CPU: `recursion_misses` of the first
    /// program, less what another took, and never more than any of them missed. Of state changes exact once the hooks are detached, of the
    /// others at most. `u64::MAX` when the kernel does not tell.
    pub withheld: [u64; HOOKS],
}

/// What one CPU counts: the only value of the map [`COUNTS_MAP`](crate::config::COUNTS_MAP). One structure, so that one system call reads it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CpuCounts {
    /// By [`Counter`].
    pub values: [u64; COUNTERS],
    /// State changes of full sockets, by [`transition_slot`].
    pub transitions: [u64; TRANSITIONS],
    /// By [`Hook`]: events that a later program took because the first was active. The kernel counts a recursion miss of the first for each, though
    /// nothing is missed.
    pub taken_over: [u64; HOOKS],
}

/// How many words a [`CpuCounts`] has.
pub const COUNT_WORDS: usize = COUNTERS + TRANSITIONS + HOOKS;

/// How many [`Hook`]s there may be.
pub const HOOKS: usize = 16;

/// The hooks, by the numbers that they have in counts.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `inet_sock_set_state`.
    State = 0,
    /// `timer_start`.
    TimerStart = 1,
    /// `timer_expire_entry`.
    TimerExpire = 2,
    /// `timer_cancel`.
    TimerCancel = 3,
    /// `tcp_timewait_state_process`.
    Segment = 4,
    /// `kfree_skb`.
    Drop = 5,
    /// `inet_csk_get_port`.
    Port = 6,
    /// `sys_exit`.
    SysExit = 7,
    /// `tcp_rcv_space_adjust`.
    Read = 8,
    /// `inet_bind`.
    Bind = 9,
    /// `inet6_bind`.
    Bind6 = 10,
    /// `inet_stream_connect`.
    Connect = 11,
    /// `inet_csk_accept`.
    Accept = 12,
    /// `tcp_sendmsg_locked`.
    Write = 13,
    /// Not told apart: recordings up to version 4.
    Any = 15,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::State,
        Self::TimerStart,
        Self::TimerExpire,
        Self::TimerCancel,
        Self::Segment,
        Self::Drop,
        Self::Port,
        Self::SysExit,
        Self::Read,
        Self::Bind,
        Self::Bind6,
        Self::Connect,
        Self::Accept,
        Self::Write,
        Self::Any,
    ];

    /// Whether every event of it tells of a connection. Of the others (a call that may fail, a read that may be the first, any timer or packet of the machine)
    /// few do, and what was withheld is at most what was missed.
    pub const fn tells_always(self) -> bool {
        matches!(self, Self::State | Self::TimerStart | Self::TimerCancel | Self::Segment | Self::Any)
    }

    /// The tracepoint or function; none for [`Hook::Any`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "inet_sock_set_state",
            Self::TimerStart => "timer_start",
            Self::TimerExpire => "timer_expire_entry",
            Self::TimerCancel => "timer_cancel",
            Self::Segment => "tcp_timewait_state_process",
            Self::Drop => "kfree_skb",
            Self::Port => "inet_csk_get_port",
            Self::SysExit => "sys_exit",
            Self::Read => "tcp_rcv_space_adjust",
            Self::Bind => "inet_bind",
            Self::Bind6 => "inet6_bind",
            Self::Connect => "inet_stream_connect",
            Self::Accept => "inet_csk_accept",
            Self::Write => "tcp_sendmsg_locked",
            Self::Any => "",
        }
    }
}

/// How many [`Counter`]s there are.
pub const COUNTERS: usize = 32;

/// How many slots [`Counters::transitions`] has.
pub const TRANSITIONS: usize = 256;

/// Where [`Counters::transitions`] counts a change between two states (`include/net/tcp_states.h`, all below 16).
pub const fn transition_slot(old: u8, new: u8) -> usize {
    ((old & 15) as usize) << 4 | (new & 15) as usize
}

/// The kernel side's exact counts, of what the filter wants. The discriminants index [`Counters::values`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// TCP state changes of full sockets seen (self-transitions included).
    StateSeen = 0,
    /// Mini-sockets seen to be armed for the first time: entries.
    TwEntered = 1,
    /// Mini-sockets seen to be armed again: restarts the timer saw, and moves off a CPU that went offline.
    TwRearmed = 2,
    /// Mini-sockets seen to expire.
    TwExpired = 3,
    /// Mini-sockets seen to have their timer cancelled before it expired: early ends, restarts, and moves off a CPU that went offline.
    TwCancelled = 4,
    /// Segments seen to be absorbed by a mini-socket.
    TwSegments = 5,
    /// Owners learnt at the first read.
    OwnerSeen = 6,
    /// Events of connections that the filter does not want.
    Filtered = 7,
    /// Records written to the ring buffer.
    Written = 8,
    /// State changes lost because the ring buffer was full.
    LostState = 9,
    /// Mini-socket entries and restarts lost because the ring buffer was full.
    LostArm = 10,
    /// Mini-socket ends lost because the ring buffer was full.
    LostEnd = 11,
    /// Segments to a mini-socket lost because the ring buffer was full.
    LostSegment = 12,
    /// Owners lost because the ring buffer was full.
    LostOwner = 13,
    /// Reads of kernel memory that failed; what hung on them was not seen.
    Unreadable = 14,
    /// Of the entries, those in substate FIN_WAIT2.
    TwEnteredFinWait2 = 15,
    /// Request sockets seen to be armed for the first time: connections that entered SYN_RECV.
    ReqEntered = 16,
    /// Request sockets seen to be armed again: SYN-ACKs sent again, after a time or for a SYN that came again.
    ReqRearmed = 17,
    /// Runs of request sockets' timers.
    ReqExpired = 18,
    /// Request sockets whose connection was made.
    ReqCompleted = 19,
    /// Request sockets that were killed.
    ReqCancelled = 20,
    /// bind(), listen() and connect() that failed before anything was sent.
    PortRefused = 21,
    /// Records of request sockets lost because the ring buffer was full.
    LostRequest = 22,
    /// Records of ports refused lost because the ring buffer was full.
    LostPortRefused = 23,
    /// State changes that are part of another record: hand-overs to a mini-socket, births of passive connections.
    Folded = 24,
    /// Connections seen to be accepted.
    Accepted = 25,
    /// Records left out, as their connections were not among the one in so many that were told of; those that were held back included.
    Thinned = 26,
    /// Of these, records that were held back until it was known whose they were, and told then.
    Released = 27,
}

/// What the kernel side writes a record of, besides state changes. ([`Counter::ReqCompleted`] and [`Counter::TwEnteredFinWait2`] have
/// none of their own.)
pub const TOLD: [Counter; 12] = [
    Counter::TwEntered,
    Counter::TwRearmed,
    Counter::TwExpired,
    Counter::TwCancelled,
    Counter::TwSegments,
    Counter::OwnerSeen,
    Counter::ReqEntered,
    Counter::ReqRearmed,
    Counter::ReqExpired,
    Counter::ReqCancelled,
    Counter::PortRefused,
    Counter::Accepted,
];

/// Records that did not fit.
pub const LOST: [Counter; 7] = [
    Counter::LostState,
    Counter::LostArm,
    Counter::LostEnd,
    Counter::LostSegment,
    Counter::LostOwner,
    Counter::LostRequest,
    Counter::LostPortRefused,
];
