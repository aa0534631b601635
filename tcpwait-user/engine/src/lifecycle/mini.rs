//! One connection in a mini-socket: TIME_WAIT, or the FIN_WAIT2 of a connection that nobody holds any more.

use std::{num::NonZeroU64, sync::Arc};

use super::{
    KeptIn, Reason, Timing, Transition, Update,
    mini_kind::{KindId, MiniKind},
    segment::Restarts,
};
use crate::{
    event::{MiniSocket, Task},
    origin::Origin,
    tcp::{Flow, State},
};

/// A connection in a mini-socket.
#[derive(Debug)]
pub(super) struct Mini {
    pub(super) cookie: u64,
    /// FIN_WAIT2 or TIME_WAIT.
    pub(super) state: State,
    /// When that was entered, in nanoseconds. Never 0, which saves a word of each of a million.
    pub(super) since: Option<NonZeroU64>,
    pub(super) timing: Timing,
    /// The timer, in jiffies; 0 when not known.
    pub(super) expires: u64,
    /// What it has in common with others.
    pub(super) kind: KindId,
}

/// One that is followed no more, with all that was known of it.
pub(super) struct Gone {
    pub(super) flow: Flow,
    pub(super) mini: Mini,
    pub(super) kind: MiniKind,
    /// Of its clock, if there were any.
    pub(super) restarts: Option<Restarts>,
}

/// What a full socket hands over to its mini-socket.
pub(super) struct Former {
    /// The state it was in; `None` where it was none that leads to a mini-socket.
    pub(super) state: Option<State>,
    pub(super) since_ns: Option<u64>,
    pub(super) dwell_at_least_ns: Option<u64>,
    pub(super) owner: Option<Arc<Task>>,
    pub(super) predates: bool,
    pub(super) origin: Origin,
    /// Whether bind() gave its port; `None` where connect() was not seen.
    pub(super) bound: Option<bool>,
}

impl Mini {
    /// When its state was entered, in nanoseconds; `None` when not known.
    pub(super) fn since_ns(&self) -> Option<u64> {
        self.since.map(NonZeroU64::get)
    }

    /// Whether nothing has been heard of it since.
    pub(super) fn is_older(&self, time_ns: u64) -> bool {
        self.since_ns().is_none_or(|since_ns| since_ns < time_ns)
    }

    /// Whether this event finds in TIME_WAIT what was in FIN_WAIT2.
    pub(super) fn switches(&self, socket: &MiniSocket) -> bool {
        self.state != State::TimeWait && socket.substate == State::TimeWait
    }

    /// The FIN came, and was seen as it came.
    pub(super) fn enter_from_fin_wait2(
        &mut self,
        kind: &MiniKind,
        time_ns: u64,
        socket: &MiniSocket,
        out: &mut Vec<Update>,
    ) {
        let dwell_ns = self.since_ns().and_then(|since_ns| time_ns.checked_sub(since_ns));
        let from = Some(self.state);
        let step = self.enter_time_wait(kind, (socket.flow, from), time_ns, dwell_ns, Timing::Exact);
        out.push(Update::Transition(Transition { kept_in: KeptIn::Mini, ..step }));
    }

    /// The step into TIME_WAIT.
    pub(super) fn enter_time_wait(
        &mut self,
        kind: &MiniKind,
        (flow, from): (Flow, Option<State>),
        time_ns: u64,
        dwell_ns: Option<u64>,
        timing: Timing,
    ) -> Transition {
        let step = Transition {
            dwell_ns,
            timing: if dwell_ns.is_some() { timing } else { Timing::Unknown },
            owner: kind.owner.clone(),
            predates: kind.predates,
            origin: kind.origin,
            timestamps: kind.timestamps,
            ..Transition::new(time_ns, self.cookie, flow, from, State::TimeWait)
        };
        self.state = State::TimeWait;
        self.since = NonZeroU64::new(time_ns);
        self.timing = timing;
        step
    }
}

impl Gone {
    /// The step to CLOSE; `dwell_ns` is as exact as `mini.timing`.
    pub(super) fn leave(self, time_ns: u64, dwell_ns: Option<u64>, reason: Reason) -> Transition {
        let Self { flow, mini, kind, restarts } = self;
        Transition {
            dwell_ns,
            timing: if dwell_ns.is_some() { mini.timing } else { Timing::Unknown },
            owner: kind.owner,
            reason: Some(reason),
            kept_in: KeptIn::Mini,
            rst_sent: reason == Reason::ResetSent,
            restarts: (mini.state == State::TimeWait).then(|| restarts.unwrap_or_default()),
            predates: kind.predates,
            origin: kind.origin,
            ..Transition::new(time_ns, mini.cookie, flow, Some(mini.state), State::Close)
        }
    }

    /// The step to CLOSE of one whose end was not seen: it is gone at this time.
    pub(super) fn leave_unseen(self, time_ns: u64) -> Transition {
        self.leave(time_ns, None, Reason::Unknown)
    }
}
