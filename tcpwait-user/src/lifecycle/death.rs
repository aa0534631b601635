//! Early ends of mini-sockets: what a cancelled timer turns out to be. The kernel stack of the cancellation says it; where
//! the kernel could not unwind, what happened just before and after in that context does, or nothing.

use std::sync::Arc;

use super::{
    Lifecycle, Reason, Update,
    cancelled::{CancelVerdict, verdict},
    mini::PROCESSING_NS,
    segment::{SegmentSource, sentence},
};
use crate::{
    event::{CancelSite, Event, HookContext, MiniSocket, Segment, Task},
    tcp::State,
};

/// How long a cancellation whose stack does not say what it is waits for the next event of its context.
const HOLD_NS: u64 = 10_000_000;

/// A cancellation that waits for what comes next in its context: a start makes it a restart, an expiry an expiry, and a segment
/// says what killed it.
#[derive(Debug)]
pub(super) struct HeldEnd {
    pub(super) time_ns: u64,
    pub(super) mini: MiniSocket,
    by_task: Option<Arc<Task>>,
}

/// A mini-socket that the kernel decided to kill for a segment, before it does.
#[derive(Debug)]
pub(super) struct Sentenced {
    time_ns: u64,
    cookie: u64,
    reason: Reason,
}

impl Lifecycle {
    /// A mini-socket's timer was cancelled before it ran out.
    pub(super) fn cancelled(&mut self, event: &Event, socket: &MiniSocket, site: &CancelSite, out: &mut Vec<Update>) {
        let sentenced = self.sentenced.remove(&event.context).filter(|sentenced| {
            sentenced.cookie == socket.cookie && event.time_ns.saturating_sub(sentenced.time_ns) <= PROCESSING_NS
        });
        let verdict = verdict(&self.common.symbols, socket.substate, site);
        let reason = match (verdict, sentenced) {
            (CancelVerdict::Rearm, _) => return self.catch_up(event.time_ns, socket, out),
            (CancelVerdict::Expiry, _) => return,
            (
                CancelVerdict::Death(Reason::ReusedBySyn | Reason::ResetSent) | CancelVerdict::Silent,
                Some(sentenced),
            ) => sentenced.reason,
            (CancelVerdict::Death(reason), _) => reason,
            (CancelVerdict::Silent, None) => {
                let task = site.task.as_ref().filter(|_| site.on_task_stack);
                let by_task = task.map(|task| self.common.share(task));
                self.held.insert(event.context, HeldEnd { time_ns: event.time_ns, mini: socket.clone(), by_task });
                return;
            }
        };
        let by = site.task.as_ref().filter(|_| matches!(reason, Reason::ReusedByConnect | Reason::Destroyed));
        let by = by.map(|task| self.common.share(task));
        self.end(event.time_ns, socket, reason, by, out);
    }

    /// A segment reached a mini-socket: it may be what a cancellation before or after is about.
    pub(super) fn judge(
        &mut self,
        event: &Event,
        socket: &MiniSocket,
        segment: Option<&Segment>,
        out: &mut Vec<Update>,
    ) {
        if let Some(reason) = segment.and_then(sentence) {
            let sentenced = Sentenced { time_ns: event.time_ns, cookie: socket.cookie, reason };
            self.sentenced.insert(event.context, sentenced);
        }
        let is_its = |held: &HeldEnd| held.mini.tw == socket.tw && held.mini.cookie == socket.cookie;
        let (Some(segment), true) = (segment, self.held.get(&event.context).is_some_and(is_its)) else {
            return self.settle_context(event.context, out);
        };
        if let Some(held) = self.held.remove(&event.context) {
            let reason = match held.mini.substate {
                _ if segment.rst => Reason::Reset,
                State::FinWait2 => Reason::ResetSent,
                _ => Reason::Unknown,
            };
            self.end(held.time_ns, &held.mini, reason, None, out);
        }
    }

    /// Something else happened in that context: a cancellation that was held there is a death.
    pub(super) fn settle_context(&mut self, context: HookContext, out: &mut Vec<Update>) {
        // Almost always there is nothing, and this is asked for every record.
        if self.held.is_empty() && self.held_requests.is_empty() {
            return;
        }
        self.settle_request(context, out);
        if let Some(held) = self.held.remove(&context) {
            let (reason, by) = self.unexplained(&held);
            self.end(held.time_ns, &held.mini, reason, by, out);
        }
    }

    /// Nothing else happened for a while: the same.
    pub(super) fn settle_all(&mut self, now_ns: u64, out: &mut Vec<Update>) {
        let mut contexts: Vec<HookContext> = self
            .held
            .iter()
            .filter(|(_, held)| now_ns.saturating_sub(held.time_ns) >= HOLD_NS)
            .map(|(context, _)| *context)
            .collect();
        contexts.sort_unstable();
        for context in contexts {
            self.settle_context(context, out);
        }
        self.settle_requests(now_ns, HOLD_NS, out);
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
