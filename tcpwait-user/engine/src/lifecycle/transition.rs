//! What the lifecycle yields: transitions of the textbook state machine, and who a connection belongs to.

use std::sync::Arc;

use serde::Serialize;

use super::{
    failure::Failure,
    reason::{Abort, Detail, Reason},
    segment::Restarts,
};
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

/// What the kernel keeps a connection in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeptIn {
    /// A full socket.
    #[default]
    Full,
    /// A mini-socket (`struct inet_timewait_sock`).
    Mini,
    /// A request socket (`struct request_sock`).
    Request,
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
    /// Why, on every step to CLOSE.
    pub reason: Option<Reason>,
    /// How, in detail, where there is more to say than `reason`.
    pub detail: Option<Detail>,
    /// Who did it, where a process did in a call of its own.
    pub by: Option<Arc<Task>>,
    /// On the step to CLOSE: the socket's error (`sk_err`), a positive errno or 0.
    pub errno: u16,
    /// On the step to CLOSE: an error that the kernel noted and did not end the connection for (`sk_err_soft`), a positive errno; 0 where there was none, or
    /// it is not known.
    pub soft_errno: u16,
    /// On the step to CLOSE: the counter that the kernel counts it under.
    pub abort: Option<Abort>,
    /// On the step to CLOSE: this side sent an RST, for certain.
    pub rst_sent: bool,
    /// What the kernel kept the connection in until this step.
    pub kept_in: KeptIn,
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
    /// How often segments were sent again in the connection's life so far. On the step that leaves SYN_SENT or SYN_RECV that is the SYN or SYN-ACK; it is known
    /// too where FIN_WAIT2 begins, and where a full socket comes to CLOSE.
    pub retransmits: Option<u16>,
    /// How many connections this one stands for: more than 1 where only one in so many is told of.
    pub stands_for: u32,
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
            detail: None,
            by: None,
            errno: 0,
            soft_errno: 0,
            abort: None,
            rst_sent: false,
            kept_in: KeptIn::Full,
            restarts: None,
            predates: false,
            timestamps: None,
            listener: None,
            origin: Origin::default(),
            bound: None,
            retransmits: None,
            stands_for: 1,
            unseen: false,
        }
    }
}

/// A connection that was there before the tool.
#[derive(Clone, Debug, PartialEq)]
pub struct OlderConnection {
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
    Found(OlderConnection),
    /// A connection's owner became known between two steps.
    Owned {
        /// The connection.
        id: u64,
        /// Its owner.
        owner: Arc<Task>,
    },
    /// A call failed.
    Failed(Box<Failure>),
    /// What became of a connection was lost, and it is not followed any more.
    Lost {
        /// The connection.
        id: u64,
        /// Its addresses.
        flow: Flow,
    },
}
