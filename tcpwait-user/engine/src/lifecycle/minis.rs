//! Mini-sockets: TIME_WAIT, and the FIN_WAIT2 of a connection that nobody holds any more. Their beginning, their
//! restarts and their end come from the timer that carries them; what the timer does not tell is inferred from it.

mod unseen;

use std::{num::NonZeroU64, sync::Arc};

use hashbrown::HashMap;

use super::{
    KeptIn, Present, Reason, Timing, Transition, Update,
    common::Common,
    mini::{Former, Gone, Mini},
    mini_kind::{MiniKind, MiniKinds},
    segment::{RestartCause, Restarts, restart_cause},
};
use crate::{
    by_flow::ByFlow,
    event::{Event, HookContext, MiniSocket, Seed, Segment, Task},
    origin::Origin,
    tcp::{Flow, NetnsId, State, TIMEWAIT_LEN_MS},
};

/// How long the kernel may take from a timer to the end of the function that set it for a segment, or to the segment's drop. A thread may be preempted in
/// between (PREEMPT_RT), for as long as others want the CPU: what it does next there is the same call's all the same.
pub(super) const fn processing_ns(context: HookContext) -> u64 {
    match context {
        HookContext::Cpu(_) => 1_000_000,
        HookContext::Thread(_) => 1_000_000_000,
    }
}

/// The mini-sockets that there are.
#[derive(Debug, Default)]
pub(super) struct Minis {
    all: ByFlow<Mini>,
    kinds: MiniKinds,
    /// Of those whose clock was restarted, which few are.
    restarts: ByFlow<Restarts>,
    /// How many of them each namespace has.
    of_netns: HashMap<NetnsId, u64>,
    /// When the timers run out of older ones whose beginning cannot be told from that, by cookie.
    seeded_due: HashMap<u64, u64>,
    announced: HashMap<HookContext, Announced>,
}

/// What the timer showed of a mini-socket, whose segment is told of next in that context.
#[derive(Debug)]
struct Announced {
    time_ns: u64,
    cookie: u64,
    /// A restart, and not the FIN that ends FIN_WAIT2.
    is_restart: bool,
}

impl Minis {
    /// A mini-socket begins, and takes over from a full socket, if that one was followed.
    pub(super) fn armed(
        &mut self,
        common: &mut Common,
        time_ns: u64,
        socket: &MiniSocket,
        former: Option<Former>,
        out: &mut Vec<Update>,
    ) {
        common.tally.minis_entered += 1;
        self.end_stale(common, time_ns, socket, out);
        let former = former.unwrap_or_else(|| {
            common.unmatched().gaps += u64::from(common.seeds_read);
            Former {
                state: None,
                since_ns: None,
                dwell_at_least_ns: None,
                owner: None,
                predates: !common.seeds_read,
                origin: common.origin_of(&socket.flow),
                bound: None,
            }
        });
        let Former { state: from, since_ns, dwell_at_least_ns, owner, predates, origin, bound } = former;
        let mut mini = Mini {
            cookie: socket.cookie,
            state: from.unwrap_or(socket.substate),
            since: since_ns.and_then(NonZeroU64::new),
            timing: if since_ns.is_some() { Timing::Exact } else { Timing::Unknown },
            expires: socket.expires,
            kind: self.kinds.hold(MiniKind {
                owner,
                predates,
                origin,
                reuse: socket.reuse,
                v6only: socket.v6only,
                timestamps: Some(socket.timestamps),
                bound,
            }),
        };
        if socket.substate == State::TimeWait {
            common.clock.time_wait_set(socket.expires.saturating_sub(socket.jiffies), from.is_some());
            let dwell_ns = since_ns.and_then(|since_ns| time_ns.checked_sub(since_ns));
            let mut step =
                mini.enter_time_wait(self.kinds.get(mini.kind), (socket.flow, from), time_ns, dwell_ns, Timing::Exact);
            step.dwell_at_least_ns = dwell_at_least_ns.filter(|_| from.is_some());
            out.push(Update::Transition(step));
        }
        self.put(socket.flow, mini);
    }

    /// A mini-socket's timer was set anew, and the timer wheel shows it; or was moved to another CPU, as its own was taken offline
    /// (`migrate_timer_list`, which cancels and starts it as `__mod_timer` does). Only the latter leaves `expires` as it was: `__mod_timer`
    /// returns early then.
    pub(super) fn rearmed(&mut self, common: &mut Common, event: &Event, socket: &MiniSocket, out: &mut Vec<Update>) {
        if !self.known(socket) {
            self.adopt(common, event.time_ns, socket, out);
            if common.seeds_read {
                common.unmatched().beginnings += 1;
            }
            return;
        }
        let Some(mini) = self.all.get_mut(&socket.flow) else { return };
        let is_old =
            mini.expires == 0 && common.clock.is_fresh(socket.expires.saturating_sub(socket.jiffies)) == Some(false);
        if mini.expires == socket.expires || is_old {
            mini.expires = socket.expires;
            // The FIN may have come within the very jiffy in which FIN_WAIT2 began.
            return self.infer_switch(common, event.time_ns, socket, out);
        }
        let is_restart = !mini.switches(socket);
        if is_restart {
            restarted(&mut self.restarts, socket.flow, RestartCause::Unknown);
        } else {
            mini.enter_from_fin_wait2(self.kinds.get(mini.kind), event.time_ns, socket, out);
        }
        mini.expires = socket.expires;
        let announced = Announced { time_ns: event.time_ns, cookie: socket.cookie, is_restart };
        self.announced.insert(event.context, announced);
    }

    /// A segment reached a mini-socket just now: the FIN that it waited for, or one that may have restarted the clock.
    pub(super) fn segment(
        &mut self,
        event: &Event,
        socket: &MiniSocket,
        segment: Option<&Segment>,
        out: &mut Vec<Update>,
    ) {
        let announced = self.announced.remove(&event.context).filter(|announced| {
            announced.cookie == socket.cookie
                && event.time_ns.saturating_sub(announced.time_ns) <= processing_ns(event.context)
        });
        if !self.known(socket) {
            // kfree_skb runs after the fact: the mini-socket may be gone, or another one.
            return;
        }
        let Some(mini) = self.all.get_mut(&socket.flow) else { return };
        let cause = match segment {
            Some(segment) => restart_cause(segment),
            None => (mini.expires != 0 && mini.expires != socket.expires).then_some(RestartCause::Unknown),
        };
        match (announced, cause) {
            (Some(Announced { is_restart: true, .. }), Some(cause)) => {
                if let Some(restarts) = self.restarts.get_mut(&socket.flow) {
                    restarts.explain(cause);
                }
            }
            (Some(_), _) => {}
            (None, _) if mini.switches(socket) => {
                mini.enter_from_fin_wait2(self.kinds.get(mini.kind), event.time_ns, socket, out);
            }
            (None, Some(cause)) if mini.state == State::TimeWait => {
                restarted(&mut self.restarts, socket.flow, cause);
            }
            (None, _) => {}
        }
        mini.expires = socket.expires;
    }

    /// A mini-socket is gone.
    pub(super) fn end(
        &mut self,
        common: &mut Common,
        time_ns: u64,
        socket: &MiniSocket,
        (reason, by): (Reason, Option<Arc<Task>>),
        out: &mut Vec<Update>,
    ) {
        common.tally.minis_ended += 1;
        common.mini_ended(socket.cookie);
        if !self.known(socket) {
            self.adopt(common, time_ns, socket, out);
            if common.seeds_read {
                common.unmatched().ends += 1;
            }
        }
        self.infer_switch(common, time_ns, socket, out);
        self.catch_up(common, time_ns, socket, out);
        let Some(mut gone) = self.take(&socket.flow) else { return };
        let mini = &mut gone.mini;
        let began_unseen = gone.kind.predates || mini.since_ns().is_none();
        if mini.state == State::TimeWait && began_unseen && mini.timing != Timing::Exact && gone.restarts.is_none() {
            // The timer knows the last start of its clock better than sock_diag's milliseconds do.
            mini.since = started_ns(common, time_ns, socket).and_then(NonZeroU64::new).or(mini.since);
            mini.timing = if mini.since_ns().is_some() { Timing::Jiffy } else { Timing::Unknown };
        }
        let dwell_ns = mini.since_ns().and_then(|since_ns| time_ns.checked_sub(since_ns));
        let mut step = gone.leave(time_ns, dwell_ns, reason);
        step.by = by;
        out.push(Update::Transition(step));
    }

    /// Learns what the timer kept to itself: `expires` is written also where the wheel's bucket stays the same.
    pub(super) fn catch_up(&mut self, common: &Common, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
        if !self.known(socket) {
            return;
        }
        let changed = |mini: &Mini| mini.expires != 0 && mini.expires != socket.expires;
        match self.all.get_mut(&socket.flow) {
            Some(mini) if changed(mini) && mini.state == State::TimeWait => {
                // One at least.
                restarted(&mut self.restarts, socket.flow, RestartCause::Unknown);
                mini.expires = socket.expires;
            }
            // Nothing but the FIN changes the timer of a FIN_WAIT2.
            Some(mini) if changed(mini) => self.infer_switch(common, time_ns, socket, out),
            // sock_diag knew it in milliseconds only.
            Some(mini) => mini.expires = socket.expires,
            None => {}
        }
    }

    /// The FIN came within the timer's bucket, and no better hook saw it: TIME_WAIT began when the clock last did.
    fn infer_switch(&mut self, common: &Common, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
        let started_ns = started_ns(common, time_ns, socket);
        let slack_ns = 2 * common.clock.tick_ns().unwrap_or_default();
        let Some(mini) = self.all.get_mut(&socket.flow) else { return };
        if socket.substate != State::TimeWait || mini.state == State::TimeWait {
            return;
        }
        // Counted in jiffies it may seem to have come before FIN_WAIT2 did.
        let at_ns = started_ns.and_then(|at_ns| match mini.since_ns() {
            Some(since_ns) if at_ns < since_ns => (since_ns - at_ns <= slack_ns).then_some(since_ns),
            _ => Some(at_ns),
        });
        let dwell_ns = at_ns.zip(mini.since_ns()).and_then(|(at_ns, since_ns)| at_ns.checked_sub(since_ns));
        let from = Some(mini.state);
        let kind = self.kinds.get(mini.kind);
        let step = mini.enter_time_wait(kind, (socket.flow, from), at_ns.unwrap_or(time_ns), dwell_ns, Timing::Jiffy);
        out.push(Update::Transition(Transition { kept_in: KeptIn::Mini, ..step }));
        mini.since = at_ns.and_then(NonZeroU64::new);
        mini.expires = socket.expires;
    }

    /// Those that are not told of any more are forgotten.
    pub(super) fn thin(&mut self, one_in: u32, out: &mut Vec<Update>) {
        let left_out: Vec<Flow> =
            self.all.iter().map(|(flow, _)| flow).filter(|flow| !flow.is_chosen(one_in)).collect();
        for flow in left_out {
            let Some(mini) = self.take(&flow) else { continue };
            out.push(Update::Lost { id: mini.mini.cookie, flow });
        }
    }

    fn put(&mut self, flow: Flow, mini: Mini) {
        *self.of_netns.entry(flow.netns).or_default() += u64::from(self.all.insert(flow, mini).is_none());
    }

    /// Takes one out.
    fn take(&mut self, flow: &Flow) -> Option<Gone> {
        let mini = self.all.remove(flow)?;
        // Mostly there are none of anybody.
        let restarts = if self.restarts.is_empty() { None } else { self.restarts.remove(flow) };
        if let Some(count) = self.of_netns.get_mut(&flow.netns) {
            *count -= 1;
            if *count == 0 {
                self.of_netns.remove(&flow.netns);
            }
        }
        if mini.expires == 0 && !self.seeded_due.is_empty() {
            self.seeded_due.remove(&mini.cookie);
        }
        let kind = self.kinds.get(mini.kind).clone();
        self.kinds.release(mini.kind);
        Some(Gone { flow: *flow, mini, kind, restarts })
    }

    /// Whether a mini-socket is the one that is followed under these addresses.
    fn known(&self, socket: &MiniSocket) -> bool {
        self.all
            .get(&socket.flow)
            .is_some_and(|mini| mini.cookie == socket.cookie || mini.cookie == 0 || socket.cookie == 0)
    }

    /// Another begins under the addresses of one whose end was not seen.
    fn end_stale(&mut self, common: &mut Common, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
        if let Some(stale) = self.take(&socket.flow) {
            common.unmatched().beginnings += 1;
            out.push(Update::Transition(stale.leave_unseen(time_ns)));
        }
    }

    /// Takes in a mini-socket whose beginning was not seen.
    fn adopt(&mut self, common: &mut Common, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
        self.end_stale(common, time_ns, socket, out);
        let mini = Mini {
            cookie: socket.cookie,
            state: socket.substate,
            since: None,
            timing: Timing::Unknown,
            expires: socket.expires,
            kind: self.kinds.hold(MiniKind {
                owner: None,
                // Once all older sockets are known, a beginning that was not seen was lost.
                predates: !common.seeds_read,
                origin: common.origin_of(&socket.flow),
                reuse: socket.reuse,
                v6only: socket.v6only,
                timestamps: Some(socket.timestamps),
                bound: None,
            }),
        };
        self.put(socket.flow, mini);
    }

    /// One that sock_diag lists; whether it was not known. `predates`: it is older than the trace, and not one whose beginning was lost.
    pub(super) fn seed(&mut self, common: &Common, time_ns: u64, seed: &Seed, origin: Origin, predates: bool) -> bool {
        if let Some(mini) = self.all.get_mut(&seed.flow) {
            if mini.cookie == 0 {
                mini.cookie = seed.cookie;
            }
            let kind = self.kinds.get(mini.kind);
            let origin = kind.origin.or(origin);
            if origin != kind.origin {
                let kind = MiniKind { origin, ..kind.clone() };
                let kind = self.kinds.hold(kind);
                self.kinds.release(std::mem::replace(&mut mini.kind, kind));
            }
            return false;
        }
        let in_time_wait = seed.state == State::TimeWait;
        // A nominal expiry of 0 ms has passed already: how long ago is not said until the end.
        let says = in_time_wait && seed.expires_ms > 0 && common.clock.other_length_ns().is_none();
        let age_ms = TIMEWAIT_LEN_MS.checked_sub(seed.expires_ms).filter(|_| says);
        let since_ns = age_ms.and_then(|age_ms| time_ns.checked_sub(u64::from(age_ms) * 1_000_000));
        if since_ns.is_none() {
            self.seeded_due.insert(seed.cookie, time_ns + u64::from(seed.expires_ms) * 1_000_000);
        }
        let mini = Mini {
            cookie: seed.cookie,
            state: seed.state,
            since: since_ns.and_then(NonZeroU64::new),
            timing: if since_ns.is_some() { Timing::Jiffy } else { Timing::Unknown },
            expires: 0,
            kind: self.kinds.hold(MiniKind {
                owner: None,
                predates,
                origin,
                reuse: None,
                v6only: None,
                timestamps: None,
                bound: None,
            }),
        };
        self.put(seed.flow, mini);
        true
    }

    /// One under these addresses.
    pub(super) fn get(&self, flow: &Flow) -> Option<&Mini> {
        self.all.get(flow)
    }

    /// Those that there are now.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Flow, &Mini, &MiniKind)> {
        self.all.iter().map(|(flow, mini)| (flow, mini, self.kinds.get(mini.kind)))
    }

    /// Those that there are now, for those who ask for the sockets of all kinds.
    pub(super) fn present(&self) -> impl Iterator<Item = Present<'_>> {
        self.iter().map(|(flow, mini, kind)| Present {
            id: mini.cookie,
            state: mini.state,
            flow,
            owner: kind.owner.as_deref(),
            origin: kind.origin,
            syn_sent: false,
            since_ns: mini.since_ns(),
            by_ns: mini.since_ns(),
            stands_for: 1,
            timer: mini.expires,
        })
    }

    /// How many there are now.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many each namespace has.
    pub(super) fn by_netns(&self) -> &HashMap<NetnsId, u64> {
        &self.of_netns
    }

    /// What it costs to go through them.
    pub(super) fn room(&self) -> usize {
        self.all.room()
    }
}

/// The clock of one was restarted.
fn restarted(all: &mut ByFlow<Restarts>, flow: Flow, cause: RestartCause) {
    match all.get_mut(&flow) {
        Some(restarts) => restarts.add(cause),
        None => {
            let mut restarts = Restarts::default();
            restarts.add(cause);
            all.insert(flow, restarts);
        }
    }
}

/// When TIME_WAIT's clock was last started, right to a jiffy.
fn started_ns(common: &Common, time_ns: u64, socket: &MiniSocket) -> Option<u64> {
    if socket.substate != State::TimeWait {
        return None;
    }
    common.clock.timewait_started_ns(time_ns, socket.jiffies, socket.expires)
}

#[cfg(test)]
mod tests {
    use super::Mini;

    #[test]
    fn a_mini_socket_costs_32_bytes_beside_its_addresses() {
        assert_eq!(size_of::<Option<Mini>>(), 32);
    }
}
