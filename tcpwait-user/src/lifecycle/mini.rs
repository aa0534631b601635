//! Mini-sockets: TIME_WAIT, and the FIN_WAIT2 of a connection that nobody holds any more. Their beginning, their
//! restarts and their end come from the timer that carries them; what the timer does not tell is inferred from it.

use std::{num::NonZeroU64, sync::Arc};

use hashbrown::HashSet;

use super::{
    KeptIn, Lifecycle, Reason, Timing, Transition, Update,
    common::HASHED_NS,
    segment::{RestartCause, Restarts, restart_cause},
};
use crate::{
    event::{Event, MiniSocket, Reuse, Seed, Segment, Task},
    origin::Origin,
    tcp::{Flow, NetnsId, State, TIMEWAIT_LEN_MS, TIMEWAIT_LEN_NS},
};

/// How long the kernel may take from a timer to the end of the function that set it for a segment, or to the segment's drop.
pub(super) const PROCESSING_NS: u64 = 1_000_000;

/// A connection in a mini-socket.
#[derive(Debug)]
pub(super) struct Mini {
    pub(super) cookie: u64,
    /// FIN_WAIT2 or TIME_WAIT.
    pub(super) state: State,
    /// When that was entered, in nanoseconds. Never 0, which saves a word of each of a million.
    since: Option<NonZeroU64>,
    timing: Timing,
    /// The timer, in jiffies; 0 when not known.
    expires: u64,
    /// Most have none.
    restarts: Option<Box<Restarts>>,
    pub(super) owner: Option<Arc<Task>>,
    predates: bool,
    pub(super) origin: Origin,
    pub(super) reuse: Option<Reuse>,
    pub(super) v6only: Option<bool>,
    timestamps: Option<bool>,
}

/// What the timer showed of a mini-socket, whose segment is told of next in that context.
#[derive(Debug)]
pub(super) struct Announced {
    time_ns: u64,
    cookie: u64,
    /// A restart, and not the FIN that ends FIN_WAIT2.
    is_restart: bool,
}

impl Mini {
    /// When its state was entered, in nanoseconds; `None` when not known.
    pub(super) fn since_ns(&self) -> Option<u64> {
        self.since.map(NonZeroU64::get)
    }

    /// Whether nothing has been heard of it since.
    fn is_older(&self, time_ns: u64) -> bool {
        self.since_ns().is_none_or(|since_ns| since_ns < time_ns)
    }

    fn restarted(&mut self, cause: RestartCause) {
        self.restarts.get_or_insert_default().add(cause);
    }
}

impl Lifecycle {
    /// A mini-socket begins.
    pub(super) fn armed(&mut self, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
        self.common.tally.minis_entered += 1;
        if let Some(stale) = self.take_mini(&socket.flow) {
            self.common.tally.unmatched.beginnings += 1;
            out.push(Update::Transition(leave(&stale, socket.flow, time_ns, None, Timing::Unknown, Reason::Unknown)));
        }
        let full = self.fulls.remove(&socket.cookie);
        self.hand_over(socket.cookie);
        let dwell_at_least_ns = full.as_ref().and_then(|full| full.dwell_at_least_ns(time_ns));
        let origin = full.as_ref().map_or_else(|| self.common.origin_of(&socket.flow), |full| full.origin);
        let (from, since_ns, owner, predates) = match full {
            Some(full) => {
                let known = matches!(full.state, State::FinWait2 | State::Closing);
                if !known {
                    self.common.tally.unmatched.gaps += 1;
                }
                (known.then_some(full.state), full.since_ns.filter(|_| known), full.owner, full.predates)
            }
            None => {
                self.common.tally.unmatched.gaps += u64::from(self.common.seeds_read);
                (None, None, None, !self.common.seeds_read)
            }
        };
        let mut mini = Mini {
            cookie: socket.cookie,
            state: from.unwrap_or(socket.substate),
            since: since_ns.and_then(NonZeroU64::new),
            timing: if since_ns.is_some() { Timing::Exact } else { Timing::Unknown },
            expires: socket.expires,
            restarts: None,
            owner,
            predates,
            origin,
            reuse: socket.reuse,
            v6only: socket.v6only,
            timestamps: Some(socket.timestamps),
        };
        if socket.substate == State::TimeWait {
            self.common.clock.time_wait_set(socket.expires.saturating_sub(socket.jiffies), from.is_some());
            let dwell_ns = since_ns.and_then(|since_ns| time_ns.checked_sub(since_ns));
            enter_time_wait(&mut mini, socket.flow, from, time_ns, dwell_ns, Timing::Exact, out);
            if let Some(Update::Transition(step)) = out.last_mut() {
                step.dwell_at_least_ns = dwell_at_least_ns.filter(|_| from.is_some());
            }
        }
        self.put_mini(socket.flow, mini);
    }

    /// A mini-socket's timer was set anew, and the timer wheel shows it; or was moved to another CPU, as its own was taken offline
    /// (`migrate_timer_list`, which cancels and starts it as `__mod_timer` does). Only the latter leaves `expires` as it was: `__mod_timer`
    /// returns early then.
    pub(super) fn rearmed(&mut self, event: &Event, socket: &MiniSocket, out: &mut Vec<Update>) {
        if !self.known(socket) {
            self.adopt(event.time_ns, socket, out);
            if self.common.seeds_read {
                self.common.tally.unmatched.beginnings += 1;
            }
            return;
        }
        let Some(mini) = self.minis.get_mut(&socket.flow) else { return };
        let is_old = mini.expires == 0
            && self.common.clock.is_fresh(socket.expires.saturating_sub(socket.jiffies)) == Some(false);
        if mini.expires == socket.expires || is_old {
            mini.expires = socket.expires;
            // The FIN may have come within the very jiffy in which FIN_WAIT2 began.
            return self.infer_switch(event.time_ns, socket, out);
        }
        let is_restart = !switches(mini, socket);
        if is_restart {
            mini.restarted(RestartCause::Unknown);
        } else {
            enter_from_fin_wait2(mini, event.time_ns, socket, out);
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
            announced.cookie == socket.cookie && event.time_ns.saturating_sub(announced.time_ns) <= PROCESSING_NS
        });
        if !self.known(socket) {
            // kfree_skb runs after the fact: the mini-socket may be gone, or another one.
            return;
        }
        let Some(mini) = self.minis.get_mut(&socket.flow) else { return };
        let cause = match segment {
            Some(segment) => restart_cause(segment),
            None => (mini.expires != 0 && mini.expires != socket.expires).then_some(RestartCause::Unknown),
        };
        match (announced, cause) {
            (Some(Announced { is_restart: true, .. }), Some(cause)) => {
                if let Some(restarts) = &mut mini.restarts {
                    restarts.explain(cause);
                }
            }
            (Some(_), _) => {}
            (None, _) if switches(mini, socket) => enter_from_fin_wait2(mini, event.time_ns, socket, out),
            (None, Some(cause)) if mini.state == State::TimeWait => mini.restarted(cause),
            (None, _) => {}
        }
        mini.expires = socket.expires;
    }

    /// A mini-socket is gone.
    pub(super) fn end(
        &mut self,
        time_ns: u64,
        socket: &MiniSocket,
        reason: Reason,
        by: Option<Arc<Task>>,
        out: &mut Vec<Update>,
    ) {
        self.common.tally.minis_ended += 1;
        self.common.mini_ended(socket.cookie);
        if !self.known(socket) {
            self.adopt(time_ns, socket, out);
            if self.common.seeds_read {
                self.common.tally.unmatched.ends += 1;
            }
        }
        self.infer_switch(time_ns, socket, out);
        self.catch_up(time_ns, socket, out);
        let Some(mut mini) = self.take_mini(&socket.flow) else { return };
        let began_unseen = mini.predates || mini.since_ns().is_none();
        if mini.state == State::TimeWait && began_unseen && mini.timing != Timing::Exact && mini.restarts.is_none() {
            // The timer knows the last start of its clock better than sock_diag's milliseconds do.
            mini.since = self.started_ns(time_ns, socket).and_then(NonZeroU64::new).or(mini.since);
            mini.timing = if mini.since_ns().is_some() { Timing::Jiffy } else { Timing::Unknown };
        }
        let dwell_ns = mini.since_ns().and_then(|since_ns| time_ns.checked_sub(since_ns));
        let mut step = leave(&mini, socket.flow, time_ns, dwell_ns, mini.timing, reason);
        step.by = by;
        out.push(Update::Transition(step));
    }

    /// Learns what the timer kept to itself: `expires` is written also where the wheel's bucket stays the same.
    pub(super) fn catch_up(&mut self, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
        if !self.known(socket) {
            return;
        }
        let changed = |mini: &Mini| mini.expires != 0 && mini.expires != socket.expires;
        match self.minis.get_mut(&socket.flow) {
            Some(mini) if changed(mini) && mini.state == State::TimeWait => {
                // One at least.
                mini.restarted(RestartCause::Unknown);
                mini.expires = socket.expires;
            }
            // Nothing but the FIN changes the timer of a FIN_WAIT2.
            Some(mini) if changed(mini) => self.infer_switch(time_ns, socket, out),
            // sock_diag knew it in milliseconds only.
            Some(mini) => mini.expires = socket.expires,
            None => {}
        }
    }

    /// The FIN came within the timer's bucket, and no better hook saw it: TIME_WAIT began when the clock last did.
    fn infer_switch(&mut self, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
        let started_ns = self.started_ns(time_ns, socket);
        let slack_ns = 2 * self.common.clock.tick_ns().unwrap_or_default();
        let Some(mini) = self.minis.get_mut(&socket.flow) else { return };
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
        enter_time_wait(mini, socket.flow, from, at_ns.unwrap_or(time_ns), dwell_ns, Timing::Jiffy, out);
        mini.since = at_ns.and_then(NonZeroU64::new);
        mini.expires = socket.expires;
    }

    /// When TIME_WAIT's clock was last started, right to a jiffy.
    fn started_ns(&self, time_ns: u64, socket: &MiniSocket) -> Option<u64> {
        if socket.substate != State::TimeWait {
            return None;
        }
        self.common.clock.timewait_started_ns(time_ns, socket.jiffies, socket.expires)
    }

    /// Those whose timer ran out so long ago that their end was lost.
    pub(super) fn end_overdue_minis(&mut self, now_ns: u64, slack_ns: u64, out: &mut Vec<Update>) {
        let is_overdue = |mini: &Mini| self.due_ns(mini).is_some_and(|due_ns| due_ns + slack_ns < now_ns);
        let overdue: Vec<Flow> =
            self.minis.iter().filter(|(_, mini)| is_overdue(mini)).map(|(flow, _)| *flow).collect();
        overdue.iter().for_each(|flow| self.end_unseen(flow, now_ns, out));
    }

    /// Whether a listing shows another under these addresses than the one that is followed: that one's end was lost, and is taken note of.
    pub(super) fn end_replaced(&mut self, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        let replaced = |mini: &Mini| ![0, seed.cookie].contains(&mini.cookie) && mini.is_older(time_ns);
        if self.minis.get(&seed.flow).is_some_and(replaced) {
            self.end_unseen(&seed.flow, time_ns, out);
        }
    }

    /// Whether a listing shows one in TIME_WAIT that waited for the peer's FIN: that it came was lost.
    pub(super) fn enter_unseen(&mut self, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        let Some(mini) = self.minis.get_mut(&seed.flow) else { return };
        if seed.state != State::TimeWait || mini.state == State::TimeWait || !mini.is_older(time_ns) {
            return;
        }
        self.common.tally.unmatched.gaps += 1;
        enter_time_wait(mini, seed.flow, None, time_ns, None, Timing::Unknown, out);
        // Its timer will say when.
        mini.since = None;
        if let Some(Update::Transition(step)) = out.last_mut() {
            step.unseen = true;
        }
    }

    /// Ends those that a listing did not show. `begun_ns`: when it began in the namespace, if it has been there; `listed`: the cookies that it showed.
    pub(super) fn end_unlisted_minis(
        &mut self,
        begun_ns: impl Fn(NetnsId) -> Option<u64>,
        listed: &HashSet<u64>,
        out: &mut Vec<Update>,
    ) {
        let gone = self.minis.iter().filter(|(_, mini)| !listed.contains(&mini.cookie));
        let gone = gone.filter_map(|(flow, mini)| {
            let begun_ns = begun_ns(flow.netns)?;
            mini.is_older(begun_ns.saturating_sub(HASHED_NS)).then_some((*flow, begun_ns))
        });
        for (flow, begun_ns) in gone.collect::<Vec<_>>() {
            self.end_unseen(&flow, begun_ns, out);
        }
    }

    fn end_unseen(&mut self, flow: &Flow, time_ns: u64, out: &mut Vec<Update>) {
        let Some(mini) = self.take_mini(flow) else { return };
        self.common.tally.unmatched.overdue += 1;
        out.push(Update::Transition(leave(&mini, *flow, time_ns, None, Timing::Unknown, Reason::Unknown)));
    }

    /// When its timer runs out, as far as that is known.
    fn due_ns(&self, mini: &Mini) -> Option<u64> {
        if mini.expires != 0 {
            return self.common.clock.time_of(mini.expires);
        }
        match (mini.state, mini.since_ns()) {
            (State::TimeWait, Some(since_ns)) => Some(since_ns + TIMEWAIT_LEN_NS),
            // Of an older one sock_diag said it.
            _ => self.seeded_due.get(&mini.cookie).copied(),
        }
    }

    fn put_mini(&mut self, flow: Flow, mini: Mini) {
        *self.minis_of.entry(flow.netns).or_default() += u64::from(self.minis.insert(flow, mini).is_none());
    }

    fn take_mini(&mut self, flow: &Flow) -> Option<Mini> {
        let mini = self.minis.remove(flow)?;
        if let Some(count) = self.minis_of.get_mut(&flow.netns) {
            *count -= 1;
            if *count == 0 {
                self.minis_of.remove(&flow.netns);
            }
        }
        if mini.expires == 0 && !self.seeded_due.is_empty() {
            self.seeded_due.remove(&mini.cookie);
        }
        Some(mini)
    }

    /// Whether a mini-socket is the one that is followed under these addresses.
    fn known(&self, socket: &MiniSocket) -> bool {
        self.minis
            .get(&socket.flow)
            .is_some_and(|mini| mini.cookie == socket.cookie || mini.cookie == 0 || socket.cookie == 0)
    }

    /// Takes in a mini-socket whose beginning was not seen.
    fn adopt(&mut self, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
        if let Some(stale) = self.take_mini(&socket.flow) {
            self.common.tally.unmatched.beginnings += 1;
            out.push(Update::Transition(leave(&stale, socket.flow, time_ns, None, Timing::Unknown, Reason::Unknown)));
        }
        let mini = Mini {
            cookie: socket.cookie,
            state: socket.substate,
            since: None,
            timing: Timing::Unknown,
            expires: socket.expires,
            restarts: None,
            owner: None,
            // Once all older sockets are known, a beginning that was not seen was lost.
            predates: !self.common.seeds_read,
            origin: self.common.origin_of(&socket.flow),
            reuse: socket.reuse,
            v6only: socket.v6only,
            timestamps: Some(socket.timestamps),
        };
        self.put_mini(socket.flow, mini);
    }

    /// One that sock_diag lists; whether it was not known. `predates`: it is older than the trace, and not one whose beginning was lost.
    pub(super) fn seed_mini(&mut self, time_ns: u64, seed: &Seed, origin: Origin, predates: bool) -> bool {
        if let Some(mini) = self.minis.get_mut(&seed.flow) {
            if mini.cookie == 0 {
                mini.cookie = seed.cookie;
            }
            mini.origin = mini.origin.or(origin);
            return false;
        }
        let in_time_wait = seed.state == State::TimeWait;
        // A nominal expiry of 0 ms has passed already: how long ago is not said until the end.
        let says = in_time_wait && seed.expires_ms > 0 && self.common.clock.other_length_ns().is_none();
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
            restarts: None,
            owner: None,
            predates,
            origin,
            reuse: None,
            v6only: None,
            timestamps: None,
        };
        self.put_mini(seed.flow, mini);
        true
    }
}

/// Whether this event finds in TIME_WAIT what was in FIN_WAIT2.
fn switches(mini: &Mini, socket: &MiniSocket) -> bool {
    mini.state != State::TimeWait && socket.substate == State::TimeWait
}

/// The FIN came, and was seen as it came.
fn enter_from_fin_wait2(mini: &mut Mini, time_ns: u64, socket: &MiniSocket, out: &mut Vec<Update>) {
    let dwell_ns = mini.since_ns().and_then(|since_ns| time_ns.checked_sub(since_ns));
    let from = Some(mini.state);
    enter_time_wait(mini, socket.flow, from, time_ns, dwell_ns, Timing::Exact, out);
}

fn enter_time_wait(
    mini: &mut Mini,
    flow: Flow,
    from: Option<State>,
    time_ns: u64,
    dwell_ns: Option<u64>,
    timing: Timing,
    out: &mut Vec<Update>,
) {
    out.push(Update::Transition(Transition {
        dwell_ns,
        timing: if dwell_ns.is_some() { timing } else { Timing::Unknown },
        owner: mini.owner.clone(),
        predates: mini.predates,
        origin: mini.origin,
        timestamps: mini.timestamps,
        ..Transition::new(time_ns, mini.cookie, flow, from, State::TimeWait)
    }));
    mini.state = State::TimeWait;
    mini.since = NonZeroU64::new(time_ns);
    mini.timing = timing;
}

fn leave(mini: &Mini, flow: Flow, time_ns: u64, dwell_ns: Option<u64>, timing: Timing, reason: Reason) -> Transition {
    Transition {
        dwell_ns,
        timing: if dwell_ns.is_some() { timing } else { Timing::Unknown },
        owner: mini.owner.clone(),
        reason: Some(reason),
        kept_in: KeptIn::Mini,
        rst_sent: reason == Reason::ResetSent,
        restarts: (mini.state == State::TimeWait).then(|| mini.restarts.as_deref().cloned().unwrap_or_default()),
        predates: mini.predates,
        origin: mini.origin,
        ..Transition::new(time_ns, mini.cookie, flow, Some(mini.state), State::Close)
    }
}
