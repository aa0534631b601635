//! Why a connection ended: the words of it. Who tells them apart is `end.rs`, `cancelled.rs` and `segment.rs`.

use serde::Serialize;

/// Why a connection, a listener, a mini-socket or a connection in SYN_RECV came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its timer ran out.
    Expired,
    /// `connect()` took its tuple (`tcp_twsk_unique`).
    ReusedByConnect,
    /// An acceptable SYN for a listener took its tuple (`TCP_TW_SYN`).
    ReusedBySyn,
    /// The peer's RST ended it.
    Reset,
    /// This side sent an RST. Of a mini-socket: data or a SYN reached an orphan's FIN_WAIT2 (`TCP_TW_RST`).
    ResetSent,
    /// A process destroyed it (`ss -K`, `bpf_sock_destroy`).
    Destroyed,
    /// Its network namespace went away.
    Netns,
    /// It ended, and nothing says why.
    Unknown,
    /// It never began: `tcp_max_tw_buckets` was reached (or memory ran out).
    Overflow,
    /// In SYN_RECV: no ACK came, and the SYN-ACK was not sent again (`tcp_synack_retries`).
    Timeout,
    /// In SYN_RECV: the ACK came, but the accept queue was full until the time was over, or this side reset it at once
    /// (`tcp_check_req`, `tcp_abort_on_overflow`).
    AcceptQueueFull,
    /// In SYN_RECV: the ACK came, but no data, which TCP_DEFER_ACCEPT waits for, until the time was over (`tcp_check_req`).
    NoData,
    /// In SYN_RECV, or made and not accepted yet: its listener was closed.
    ListenerClosed,
    /// An ICMP error ended it (`tcp_v4_err`, `tcp_v6_err`, `tcp_req_err`), which it does only before the connection is made.
    Unreachable,
    /// The last ACK came: the normal end of LAST_ACK. Or its process closed it where no segment is sent for that ([`Detail`]), or the listener.
    Closed,
    /// A timer of the kernel gave it up; [`Detail`] says which.
    TimedOut,
    /// It was taken out by TCP_REPAIR, and no segment was sent.
    Repair,
    /// The call that should have begun it failed: connect() before its SYN, listen() for its port.
    Failed,
}

/// How, in detail, a connection came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// close() with SO_LINGER of 0 seconds.
    #[serde(rename = "linger-0")]
    Linger0,
    /// close() before all that came was read (`TCPAbortOnClose`).
    UnreadData,
    /// Data came after close() (`TCPAbortOnData`).
    DataAfterClose,
    /// TCP has more memory than `tcp_mem` allows (`TCPAbortOnMemory`).
    OutOfMemory,
    /// More orphans than `tcp_max_orphans` (`TCPAbortOnMemory`).
    TooManyOrphans,
    /// connect() with AF_UNSPEC, or shutdown() in SYN_SENT (`tcp_disconnect`).
    Disconnect,
    /// Multipath TCP gave the subflow up.
    Multipath,
    /// The peer did not answer the probes of SO_KEEPALIVE.
    Keepalive,
    /// TCP_USER_TIMEOUT was over.
    UserTimeout,
    /// What was sent again and again was not acknowledged (`tcp_retries2`, `tcp_orphan_retries`, `tcp_syn_retries`).
    Retransmissions,
    /// The peer's window stayed closed.
    ZeroWindow,
    /// An orphan waited for the peer's FIN as long as it may (`tcp_fin_timeout`, TCP_LINGER2).
    #[serde(rename = "fin-wait-2")]
    FinWait2,
    /// The same, with a TCP_LINGER2 below 0: not at all.
    Linger,
    /// Its process closed it in SYN_SENT.
    GivenUp,
    /// The same, after an error for which the kernel does not end a connect() (`sk_err_soft`): an ICMP error that came while a process held the socket, as that of
    /// this machine's own firewall does, within connect(); or a route that was lost. It is told to who asks (SO_ERROR).
    SoftError,
}

impl Detail {
    /// Every one, in the order in which they are listed to people.
    pub const ALL: [Detail; 15] = [
        Detail::Linger0,
        Detail::UnreadData,
        Detail::DataAfterClose,
        Detail::OutOfMemory,
        Detail::TooManyOrphans,
        Detail::Disconnect,
        Detail::Multipath,
        Detail::Keepalive,
        Detail::UserTimeout,
        Detail::Retransmissions,
        Detail::ZeroWindow,
        Detail::FinWait2,
        Detail::Linger,
        Detail::GivenUp,
        Detail::SoftError,
    ];

    /// The word for it, in text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Detail::Linger0 => "linger-0",
            Detail::UnreadData => "unread-data",
            Detail::DataAfterClose => "data-after-close",
            Detail::OutOfMemory => "out-of-memory",
            Detail::TooManyOrphans => "too-many-orphans",
            Detail::Disconnect => "disconnect",
            Detail::Multipath => "multipath",
            Detail::Keepalive => "keepalive",
            Detail::UserTimeout => "user-timeout",
            Detail::Retransmissions => "retransmissions",
            Detail::ZeroWindow => "zero-window",
            Detail::FinWait2 => "fin-wait-2",
            Detail::Linger => "linger",
            Detail::GivenUp => "given-up",
            Detail::SoftError => "soft-error",
        }
    }
}

impl Reason {
    /// Every reason, in the order in which they are listed to people.
    pub const ALL: [Reason; 18] = [
        Reason::Expired,
        Reason::ReusedByConnect,
        Reason::ReusedBySyn,
        Reason::Reset,
        Reason::ResetSent,
        Reason::Destroyed,
        Reason::Netns,
        Reason::Unknown,
        Reason::Overflow,
        Reason::Timeout,
        Reason::AcceptQueueFull,
        Reason::NoData,
        Reason::ListenerClosed,
        Reason::Unreachable,
        Reason::Closed,
        Reason::TimedOut,
        Reason::Repair,
        Reason::Failed,
    ];

    /// The reasons for which full sockets come to CLOSE.
    pub const OF_ENDS: [Reason; 12] = [
        Reason::Closed,
        Reason::Reset,
        Reason::ResetSent,
        Reason::TimedOut,
        Reason::ListenerClosed,
        Reason::Destroyed,
        Reason::Unreachable,
        Reason::Netns,
        Reason::Repair,
        Reason::Overflow,
        Reason::Failed,
        Reason::Unknown,
    ];

    /// The reasons for which TIME_WAIT is left.
    pub const OF_TIME_WAIT: [Reason; 7] = [
        Reason::Expired,
        Reason::ReusedByConnect,
        Reason::ReusedBySyn,
        Reason::Reset,
        Reason::Destroyed,
        Reason::Netns,
        Reason::Unknown,
    ];

    /// The reasons for which a connection in SYN_RECV comes to nothing.
    pub const OF_SYN_RECV: [Reason; 10] = [
        Reason::Timeout,
        Reason::AcceptQueueFull,
        Reason::NoData,
        Reason::Reset,
        Reason::ResetSent,
        Reason::ListenerClosed,
        Reason::Unreachable,
        Reason::Destroyed,
        Reason::Netns,
        Reason::Unknown,
    ];

    /// The word for it, in text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Expired => "expired",
            Reason::ReusedByConnect => "reused-by-connect",
            Reason::ReusedBySyn => "reused-by-syn",
            Reason::Reset => "reset",
            Reason::ResetSent => "reset-sent",
            Reason::Destroyed => "destroyed",
            Reason::Netns => "netns",
            Reason::Unknown => "unknown",
            Reason::Overflow => "overflow",
            Reason::Timeout => "timeout",
            Reason::AcceptQueueFull => "accept-queue-full",
            Reason::NoData => "no-data",
            Reason::ListenerClosed => "listener-closed",
            Reason::Unreachable => "unreachable",
            Reason::Closed => "closed",
            Reason::TimedOut => "timed-out",
            Reason::Repair => "repair",
            Reason::Failed => "failed",
        }
    }
}

/// The counters of TcpExt for connections that are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abort {
    /// `TCPAbortOnData`: SO_LINGER of 0 seconds, data after close(), TCP_LINGER2 below 0 when the FIN is acknowledged.
    OnData,
    /// `TCPAbortOnClose`: close() before all that came was read.
    OnClose,
    /// `TCPAbortOnMemory`: too many orphans, or too much memory.
    OnMemory,
    /// `TCPAbortOnTimeout`: a timer gave it up (`tcp_write_err`), be it in SYN_SENT.
    OnTimeout,
    /// `TCPAbortOnLinger`: close() in FIN_WAIT2 with TCP_LINGER2 below 0.
    OnLinger,
}

impl Abort {
    /// All of them.
    pub const ALL: [Abort; 5] = [Abort::OnData, Abort::OnClose, Abort::OnMemory, Abort::OnTimeout, Abort::OnLinger];

    /// The counter's name in TcpExt.
    pub const fn name(self) -> &'static str {
        match self {
            Abort::OnData => "TCPAbortOnData",
            Abort::OnClose => "TCPAbortOnClose",
            Abort::OnMemory => "TCPAbortOnMemory",
            Abort::OnTimeout => "TCPAbortOnTimeout",
            Abort::OnLinger => "TCPAbortOnLinger",
        }
    }
}
