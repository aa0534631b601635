//! What the lifecycle yields: transitions of the textbook state machine, and who a connection belongs to.

use std::sync::Arc;

use serde::Serialize;

use super::{failure::Failure, segment::Restarts};
use crate::{
    event::Task,
    origin::Origin,
    tcp::{Flow, State},
};

/// How exactly a time spent in a state is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// Both ends were seen as they happened.
    Exact,
    /// One end was inferred from the mini-socket's timer: right to a jiffy (4 ms at HZ=250) or two.
    Jiffy,
    /// One end was not seen.
    Unknown,
}

/// Why a mini-socket or a half-open connection was left, or why there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its timer ran out.
    Expired,
    /// `connect()` took its tuple (`tcp_twsk_unique`).
    Reused,
    /// An acceptable SYN for a listener took its tuple (`TCP_TW_SYN`).
    Recycled,
    /// An RST killed it.
    Reset,
    /// Data or a SYN reached an orphan's FIN_WAIT2 and was answered with an RST (`TCP_TW_RST`).
    ResetSent,
    /// A process destroyed it (`ss -K`, `bpf_sock_destroy`).
    Destroyed,
    /// Its network namespace went away.
    Netns,
    /// It ended, and nothing says why.
    Unknown,
    /// It never began: `tcp_max_tw_buckets` was reached (or memory ran out).
    Overflow,
    /// Half-open: no ACK came, and the SYN-ACK was not sent again (`tcp_synack_retries`).
    Timeout,
    /// Half-open: the ACK came, but the accept queue was full until the time was over, or this side reset it at once
    /// (`tcp_check_req`, `tcp_abort_on_overflow`).
    AcceptQueueFull,
    /// Half-open: the ACK came, but no data, which TCP_DEFER_ACCEPT waits for, until the time was over (`tcp_check_req`).
    NoData,
    /// Half-open: the listener was closed.
    ListenerClosed,
    /// Half-open: an ICMP error came back (`tcp_req_err`).
    Unreachable,
}

impl Reason {
    /// Every reason, in the order in which they are listed to people.
    pub const ALL: [Reason; 14] = [
        Reason::Expired,
        Reason::Reused,
        Reason::Recycled,
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
    ];

    /// The reasons for which TIME_WAIT is left.
    pub const OF_TIME_WAIT: [Reason; 7] = [
        Reason::Expired,
        Reason::Reused,
        Reason::Recycled,
        Reason::Reset,
        Reason::Destroyed,
        Reason::Netns,
        Reason::Unknown,
    ];

    /// The reasons for which a half-open connection comes to nothing.
    pub const OF_HALF_OPEN: [Reason; 9] = [
        Reason::Timeout,
        Reason::AcceptQueueFull,
        Reason::NoData,
        Reason::Reset,
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
            Reason::Reused => "reused",
            Reason::Recycled => "recycled",
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
        }
    }
}

/// A step of the textbook state machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`. A step that was inferred carries the inferred time.
    pub time_ns: u64,
    /// The socket cookie, which is the connection's id; 0 when the socket never had one.
    pub id: u64,
    /// The addresses.
    pub flow: Flow,
    /// The state left; `None` when what came before was not seen.
    pub from: Option<State>,
    /// The state entered.
    pub to: State,
    /// Nanoseconds spent in `from`.
    pub dwell_ns: Option<u64>,
    /// Where `dwell_ns` is not known: so many nanoseconds at least, as the connection was in `from` already when it was listed.
    pub dwell_at_least_ns: Option<u64>,
    /// How exactly `dwell_ns` is known.
    pub timing: Timing,
    /// Whose socket it is.
    pub owner: Option<Arc<Task>>,
    /// Why, for what leaves a mini-socket or never got one, and for a half-open connection that comes to nothing.
    pub reason: Option<Reason>,
    /// Who did it, where `reason` is `reused` or `destroyed`.
    pub by: Option<Arc<Task>>,
    /// How often late segments restarted TIME_WAIT's clock, on the step that leaves it.
    pub restarts: Option<Restarts>,
    /// The connection is older than the tool; what happened before is inferred or missing.
    pub predates: bool,
    /// On the step into a mini-socket: whether connect() may ever take its port, since the connection had timestamps
    /// (`tcp_twsk_unique`); `None` where that is not known.
    pub timestamps: Option<bool>,
    /// Whose listener a passive connection came through, as long as nobody is known to have accepted it.
    pub listener: Option<Arc<Task>>,
    /// Which side made it.
    pub origin: Origin,
    /// On the step into SYN_SENT: whether bind() had given the port, or the kernel chose it for this destination.
    pub bound: Option<bool>,
    /// On the step that leaves SYN_SENT or SYN_RECV: how often the SYN or SYN-ACK was sent again.
    pub retransmits: Option<u16>,
    /// The step itself was not seen: a listing found the connection in `to` some time after it.
    pub unseen: bool,
}

impl Transition {
    /// A step of which nothing else is known.
    pub fn new(time_ns: u64, id: u64, flow: Flow, from: Option<State>, to: State) -> Self {
        Self {
            time_ns,
            id,
            flow,
            from,
            to,
            dwell_ns: None,
            dwell_at_least_ns: None,
            timing: Timing::Unknown,
            owner: None,
            reason: None,
            by: None,
            restarts: None,
            predates: false,
            timestamps: None,
            listener: None,
            origin: Origin::default(),
            bound: None,
            retransmits: None,
            unseen: false,
        }
    }
}

/// A connection that was there before the tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The socket cookie.
    pub id: u64,
    /// The addresses.
    pub flow: Flow,
    /// The state that it is in.
    pub state: State,
    /// Whose socket it is.
    pub owner: Option<Arc<Task>>,
    /// Which side made it, as far as the listing tells.
    pub origin: Origin,
    /// When it was in that state at the latest, in nanoseconds of `CLOCK_MONOTONIC`; `None` where that is not known.
    pub by_ns: Option<u64>,
}

/// One thing the lifecycle has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// A connection took a step.
    Transition(Transition),
    /// A connection is older than the tool, and was taken in.
    Found(Found),
    /// A connection's owner became known between two steps.
    Owned {
        /// The connection.
        id: u64,
        /// Its owner.
        owner: Arc<Task>,
    },
    /// A call failed.
    Failed(Box<Failure>),
}
