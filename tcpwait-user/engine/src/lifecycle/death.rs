//! Early ends of mini-sockets: what a cancelled timer turns out to be. The kernel stack of the cancellation says it; where
//! the kernel could not unwind, what happened just before and after in that context does, or nothing.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    Reason, Update,
    cancelled::{CancelVerdict, verdict},
    common::{Common, HOLD_NS},
    effort::room,
    minis::{Minis, processing_ns},
    segment::{SegmentSource, sentence},
};
use crate::{
    event::{CancelSite, Event, HookContext, MiniSocket, Segment, Task},
    tcp::State,
};

/// A cancellation that waits for what comes next in its context: a start makes it a restart, an expiry an expiry, and a segment
/// says what killed it.
#[derive(Debug)]
struct HeldEnd {
    time_ns: u64,
    mini: MiniSocket,
    by_task: Option<Arc<Task>>,
}

/// A mini-socket that the kernel decided to kill for a segment, before it does.
#[derive(Debug)]
struct Sentenced {
    time_ns: u64,
    cookie: u64,
    reason: Reason,
}

/// Cancellations of mini-sockets' timers, as long as they wait for what tells what they are.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    /// What tells of segments.
    segments: SegmentSource,
    held: HashMap<HookContext, HeldEnd>,
    sentenced: HashMap<HookContext, Sentenced>,
}

impl Deaths {
    pub(super) fn new(segments: SegmentSource) -> Self {
        Self { segments, ..Self::default() }
    }

    /// A mini-socket's timer was cancelled before it ran out.
    pub(super) fn cancelled(
        &mut self,
        common: &mut Common,
        minis: &mut Minis,
        event: &Event,
        (socket, site): (&MiniSocket, &CancelSite),
        out: &mut Vec<Update>,
    ) {
        let sentenced = self.sentenced.remove(&event.context).filter(|sentenced| {
            sentenced.cookie == socket.cookie
                && event.time_ns.saturating_sub(sentenced.time_ns) <= processing_ns(event.context)
        });
        let verdict = verdict(&common.symbols, socket.substate, site);
        let reason = match (verdict, sentenced) {
            (CancelVerdict::Rearm, _) => return minis.catch_up(common, event.time_ns, socket, out),
            (CancelVerdict::Expiry, _) => return,
            (
                CancelVerdict::Death(Reason::ReusedBySyn | Reason::ResetSent) | CancelVerdict::Silent,
                Some(sentenced),
            ) => sentenced.reason,
            (CancelVerdict::Death(reason), _) => reason,
            (CancelVerdict::Silent, None) => {
                let task = site.task.as_ref().filter(|_| site.on_task_stack);
                let by_task = task.map(|task| common.share(task));
                self.held.insert(event.context, HeldEnd { time_ns: event.time_ns, mini: socket.clone(), by_task });
                return;
            }
        };
        let by = site.task.as_ref().filter(|_| matches!(reason, Reason::ReusedByConnect | Reason::Destroyed));
        let by = by.map(|task| common.share(task));
        minis.end(common, event.time_ns, socket, (reason, by), out);
    }

    /// A segment reached a mini-socket: it may be what a cancellation before or after is about.
    pub(super) fn judge(
        &mut self,
        common: &mut Common,
        minis: &mut Minis,
        event: &Event,
        (socket, segment): (&MiniSocket, Option<&Segment>),
        out: &mut Vec<Update>,
    ) {
        if let Some(reason) = segment.and_then(sentence) {
            let sentenced = Sentenced { time_ns: event.time_ns, cookie: socket.cookie, reason };
            self.sentenced.insert(event.context, sentenced);
        }
        let is_its = |held: &HeldEnd| held.mini.tw == socket.tw && held.mini.cookie == socket.cookie;
        let Some(segment) = segment.filter(|_| self.held.get(&event.context).is_some_and(is_its)) else { return };
        if let Some(held) = self.held.remove(&event.context) {
            let reason = match held.mini.substate {
                _ if segment.rst => Reason::Reset,
                State::FinWait2 => Reason::ResetSent,
                _ => Reason::Unknown,
            };
            minis.end(common, held.time_ns, &held.mini, (reason, None), out);
        }
    }

    /// A timer was set anew: a cancellation held for this very timer was the first half of it, and knew the timer as it was before.
    pub(super) fn rearmed(
        &mut self,
        common: &Common,
        minis: &mut Minis,
        context: HookContext,
        socket: &MiniSocket,
        out: &mut Vec<Update>,
    ) {
        if let Some(held) = self.held.remove(&context).filter(|held| held.mini.tw == socket.tw) {
            minis.catch_up(common, held.time_ns, &held.mini, out);
        }
    }

    /// A timer ran out: a cancellation held for this very timer was the first half of that.
    pub(super) fn expired(&mut self, context: HookContext, socket: &MiniSocket) {
        if self.held.get(&context).is_some_and(|held| held.mini.tw == socket.tw) {
            self.held.remove(&context);
        }
    }

    /// Something else happened in that context: a cancellation that was held there is a death.
    pub(super) fn settle(
        &mut self,
        common: &mut Common,
        minis: &mut Minis,
        context: HookContext,
        out: &mut Vec<Update>,
    ) {
        if let Some(held) = self.held.remove(&context) {
            let death = self.unexplained(&held);
            minis.end(common, held.time_ns, &held.mini, death, out);
        }
    }

    /// Nothing else happened for a while: the same.
    pub(super) fn settle_all(&mut self, common: &mut Common, minis: &mut Minis, now_ns: u64, out: &mut Vec<Update>) {
        let is_over = |held: &HeldEnd| now_ns.saturating_sub(held.time_ns) >= HOLD_NS;
        let mut contexts: Vec<HookContext> =
            self.held.iter().filter(|(_, held)| is_over(held)).map(|(context, _)| *context).collect();
        contexts.sort_unstable();
        for context in contexts {
            self.settle(common, minis, context, out);
        }
    }

    /// Whether nothing waits for the next event of its context.
    pub(super) fn holds_none(&self) -> bool {
        self.held.is_empty()
    }

    /// What it costs to look for those that waited long enough.
    pub(super) fn held_room(&self) -> usize {
        room(&self.held)
    }

    /// Why a mini-socket died when there is no stack, and no segment did it that a hook would have shown. In the context of
    /// a process only `tcp_abort` is left (`connect` unhashes first, `cleanup_net` is a kernel thread's). Else it is the one
    /// segment that `kfree_skb` does not see, an accepted SYN. Without a hook on segments it may be either, or any
    /// segment: a process can hand in packets itself (`tun_get_user`).
    fn unexplained(&self, held: &HeldEnd) -> (Reason, Option<Arc<Task>>) {
        match (self.segments, &held.by_task) {
            (SegmentSource::Timer, _) => (Reason::Unknown, None),
            (_, Some(task)) => (Reason::Destroyed, Some(task.clone())),
            (SegmentSource::KfreeSkb, None) if held.mini.substate == State::TimeWait => (Reason::ReusedBySyn, None),
            _ => (Reason::Unknown, None),
        }
    }
}
