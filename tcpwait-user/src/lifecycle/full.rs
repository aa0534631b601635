//! Full sockets: what `sock:inet_sock_set_state` reports, with the kernel's artefacts folded.

use std::sync::Arc;

use super::{
    Detail, Lifecycle, Reason, Timing, Transition, Update,
    calls::{ConnectCall, SynSentEnd},
    common::{Common, PORT_PATIENCE_NS},
    end::{EndClock, EndedBy, end},
};
use crate::{
    event::{Reuse, Seed, StateChange, Syn, Task},
    origin::Origin,
    tcp::{Flow, State},
};

/// A connection in a full socket.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) flow: Flow,
    pub(super) state: State,
    /// When `state` was entered; `None` when that was not seen.
    pub(super) since_ns: Option<u64>,
    /// When it was in `state` at the latest, where `since_ns` is not known; 0 where that is not known either.
    pub(super) by_ns: u64,
    pub(super) owner: Option<Arc<Task>>,
    /// Of a passive connection: whose listener it came through.
    listener: Option<Arc<Task>>,
    pub(super) predates: bool,
    pub(super) origin: Origin,
    /// Whether others may share its port, when that was last read.
    pub(super) reuse: Option<Reuse>,
    /// Whether it has IPV6_V6ONLY, when that was last read.
    pub(super) v6only: Option<bool>,
    /// In SYN_SENT: the port it seemed to have was that of a former connection.
    old_port: bool,
    /// In SYN_SENT: its SYN has been sent for certain.
    pub(super) syn_sent: bool,
    /// In SYN_SENT: the error that the kernel noted was there before.
    old_soft: bool,
    /// Its first step, which waits for the port.
    waiting: Option<Box<Transition>>,
}

impl Full {
    /// One whose beginning was lost.
    pub(super) fn found_again(seed: &Seed, owner: Option<Arc<Task>>, origin: Origin) -> Self {
        Self {
            flow: seed.flow,
            state: seed.state,
            since_ns: None,
            by_ns: seed.by_ns.unwrap_or_default(),
            owner,
            listener: None,
            predates: false,
            origin,
            reuse: None,
            v6only: seed.v6only,
            old_port: false,
            syn_sent: false,
            old_soft: false,
            waiting: None,
        }
    }

    /// How long it has been in its state at least, at this time, where that is all that is known.
    pub(super) fn dwell_at_least_ns(&self, time_ns: u64) -> Option<u64> {
        let bounded = self.since_ns.is_none() && self.by_ns != 0;
        if bounded { time_ns.checked_sub(self.by_ns) } else { None }
    }

    /// Whose it is, or whose listener it came through as long as nobody is known to have accepted it.
    pub(super) fn owner_or_listener(&self) -> Option<&Arc<Task>> {
        self.owner.as_ref().or(self.listener.as_ref())
    }
}

/// A passive connection's first event, which on many kernels still shows its listener's addresses and no final cookie.
#[derive(Debug)]
pub(super) struct Newborn {
    time_ns: u64,
}

impl Newborn {
    pub(super) fn is_younger(&self, time_ns: u64) -> bool {
        self.time_ns > time_ns
    }
}

impl Lifecycle {
    pub(super) fn state(&mut self, time_ns: u64, change: &StateChange, out: &mut Vec<Update>) {
        if change.old == change.new {
            return;
        }
        if change.old == State::Listen && change.new == State::SynRecv {
            self.newborns.insert(change.sk, Newborn { time_ns });
            return;
        }
        // An answer to a SYN may be taken by anybody who locks the socket; it leaves an error.
        let by_its_owner = !(change.old == State::SynSent && change.new == State::Close && change.err != 0);
        if change.new == State::Listen {
            self.common.listened.add(&change.flow);
        }
        let owner = change.task.as_ref().filter(|_| by_its_owner).map(|task| self.common.share(task));
        let newborn = match change.old {
            State::SynRecv => {
                // Both only where servers were allowed TCP Fast Open meanwhile.
                let told = self.newborns.remove(&change.sk);
                told.or(change.newborn.then_some(Newborn { time_ns }))
            }
            _ => None,
        };
        if self.is_hand_over(change, out) {
            return;
        }
        if newborn.is_some() && change.new == State::Close && self.requests.contains_key(&change.flow) {
            // A socket that could not be made (tcp_v4_syn_recv_sock): the connection in SYN_RECV goes on.
            return;
        }
        let listener = if change.old == State::SynRecv { self.listener_of(&change.flow) } else { None };
        let was_known = self.fulls.contains_key(&change.cookie);
        let fresh = match newborn {
            Some(newborn) => Some(self.born(newborn, change, out)),
            None if was_known && change.old != State::Close => None,
            None => {
                // A socket can be connected again; that its former life ended was lost.
                self.common.tally.unmatched.gaps += u64::from(was_known);
                Some(self.unknown(change))
            }
        };
        if let Some(fresh) = fresh {
            self.fulls.insert(change.cookie, fresh);
        }
        // What is known is changed where it is: this is the way of almost every record.
        let Self { fulls, portless, common: Common { tally, .. }, .. } = self;
        let Some(full) = fulls.get_mut(&change.cookie) else { return };
        if let Some(mut step) = full.waiting.take() {
            // Addresses that were not chosen yet then are known now.
            step.flow = change.flow;
            out.push(Update::Transition(*step));
        }
        if owner.is_some() {
            full.owner = owner;
        }
        if listener.is_some() {
            full.listener = listener;
        }
        full.reuse = change.reuse.or(full.reuse);
        full.v6only = change.v6only.or(full.v6only);
        if change.new != State::Close {
            full.old_port = change.old_port;
            full.syn_sent = change.syn == Some(Syn::AtOnce);
            full.old_soft = change.old_soft;
        }
        let entered_syn_sent = (change.old, change.new) == (State::Close, State::SynSent);
        let since_ns = if full.state == change.old {
            full.since_ns
        } else {
            // sock_diag may have read this socket after the event was written; that is no gap.
            if !(full.predates && full.since_ns.is_none()) {
                tally.unmatched.gaps += 1;
            }
            None
        };
        let dwell_ns = since_ns.and_then(|since_ns| time_ns.checked_sub(since_ns));
        let dwell_at_least_ns = full.dwell_at_least_ns(time_ns).filter(|_| full.state == change.old);
        let mut step = Transition {
            dwell_ns,
            dwell_at_least_ns,
            timing: if dwell_ns.is_some() { Timing::Exact } else { Timing::Unknown },
            owner: full.owner.clone(),
            predates: full.predates,
            listener: if change.old == State::SynRecv { full.listener.clone() } else { None },
            origin: full.origin,
            // What tcp_v4_connect chooses it chooses after this event (inet_hash_connect).
            bound: entered_syn_sent.then_some(change.flow.lport != 0),
            retransmits: change.retransmits,
            ..Transition::new(time_ns, change.cookie, change.flow, Some(change.old), change.new)
        };
        if change.new == State::Close {
            let full = fulls.remove(&change.cookie);
            self.common.full_ended(change.cookie);
            let old_soft = full.as_ref().is_some_and(|full| full.old_soft);
            self.explain(change, was_known, old_soft, &mut step);
            if step.reason == Some(Reason::ListenerClosed) && step.owner.is_none() {
                // Nobody had accepted it, and nobody will.
                step.listener = full.as_ref().and_then(|full| full.listener.clone());
            }
            let asked = change.end.as_ref().and_then(|site| site.about).is_some_and(|about| about.soft_asked);
            let found =
                SynSentEnd { destroyed: step.reason == Some(Reason::Destroyed), soft_errno: step.soft_errno, asked };
            out.push(Update::Transition(step));
            if let (State::SynSent, Some(full)) = (change.old, full) {
                let asked = ConnectCall { flow: full.flow, old_port: full.old_port };
                self.calls.connect_failed(time_ns, (asked, found), since_ns, change, full.owner, out);
            }
            return;
        }
        full.flow = change.flow;
        full.state = change.new;
        full.since_ns = Some(time_ns);
        if change.flow.lport == 0 {
            full.waiting = Some(Box::new(step));
            portless.push(change.cookie);
        } else {
            out.push(Update::Transition(step));
        }
    }

    /// Says why a step leads to CLOSE.
    fn explain(&mut self, change: &StateChange, was_known: bool, old_soft: bool, step: &mut Transition) {
        let clock = EndClock { hz: self.common.clock.known().map(|(hz, _)| hz), dwell_ns: step.dwell_ns };
        let end = end(&self.common.symbols, change, clock);
        step.errno = change.err;
        let about = change.end.as_ref().and_then(|site| site.about).filter(|_| !old_soft);
        step.soft_errno = about.and_then(|about| about.soft_err).unwrap_or_default();
        step.reason = Some(match end.reason {
            // Of a socket that was not known, the mini-socket may have begun before the trace did.
            Reason::Overflow if !was_known => Reason::Unknown,
            reason => reason,
        });
        step.detail = match end.detail {
            Some(Detail::GivenUp) if step.soft_errno != 0 => Some(Detail::SoftError),
            detail => detail,
        };
        step.abort = end.abort;
        step.rst_sent = end.rst;
        let task = change.end.as_ref().and_then(|site| site.task.as_ref()).filter(|_| end.by != EndedBy::Nobody);
        step.by = task.map(|task| self.common.share(task));
        if end.by == EndedBy::Owner && step.by.is_some() {
            step.owner = step.by.clone();
        }
    }

    /// A passive connection, at its second event. It was in SYN_RECV in a request socket, and the full socket's own microseconds in
    /// SYN_RECV are no time of it. Where there was none, as with SYN cookies and TCP Fast Open, how long is not known.
    fn born(&mut self, newborn: Newborn, change: &StateChange, out: &mut Vec<Update>) -> Full {
        let request = self.take_request(change.cookie, change.flow, out);
        let (since_ns, predates) = match request {
            Some(request) => (request.since_ns, request.predates),
            // Where the kernel side saw one end, its beginning was lost, or is older: nobody knows when the SYN came.
            None if change.of_request => {
                self.common.tally.unmatched.requests += u64::from(self.common.seeds_read);
                (None, !self.common.seeds_read)
            }
            None => {
                self.common.tally.without_request += 1;
                out.push(Update::Transition(Transition {
                    origin: Origin::There,
                    ..Transition::new(newborn.time_ns, change.cookie, change.flow, Some(State::Listen), State::SynRecv)
                }));
                (None, false)
            }
        };
        Full {
            flow: change.flow,
            state: State::SynRecv,
            since_ns,
            by_ns: 0,
            owner: None,
            listener: None,
            predates,
            origin: Origin::There,
            reuse: None,
            v6only: None,
            old_port: false,
            syn_sent: false,
            old_soft: false,
            waiting: None,
        }
    }

    /// A socket that was not known: a new one, or one that was there before.
    fn unknown(&mut self, change: &StateChange) -> Full {
        let is_new = change.old == State::Close;
        if !is_new && self.common.seeds_read {
            self.common.tally.unmatched.gaps += 1;
        }
        let origin = match (change.old, change.new) {
            // A restored connection may have been accepted, elsewhere or before, and has its port by bind(); it sends no SYN.
            (State::Close, State::SynSent) if change.syn == Some(Syn::Never) => {
                self.common.listened.tell(&change.flow).unwrap_or(Origin::Unknown(None))
            }
            (State::Close, State::SynSent) | (State::SynSent, _) => Origin::Here,
            _ => self.common.origin_of(&change.flow),
        };
        Full {
            flow: change.flow,
            state: change.old,
            since_ns: None,
            by_ns: 0,
            owner: None,
            listener: None,
            predates: !is_new && !self.common.seeds_read,
            origin,
            reuse: None,
            v6only: None,
            old_port: false,
            syn_sent: false,
            old_soft: false,
            waiting: None,
        }
    }

    /// Whether this is the full socket's CLOSE at the hand-over to its mini-socket, which is no step of the connection.
    fn is_hand_over(&mut self, change: &StateChange, out: &mut Vec<Update>) -> bool {
        if change.new != State::Close || !matches!(change.old, State::FinWait2 | State::Closing) {
            return false;
        }
        // The mini-socket may be gone already. And it has no cookie if the full socket had none yet when it was copied. Where its beginning was seen, the full
        // socket was forgotten then: one that is known has been connected again since.
        let seen_to_begin = !self.fulls.contains_key(&change.cookie)
            && (self.handed_over.contains(&change.cookie)
                || self.minis.get(&change.flow).is_some_and(|mini| mini.cookie == change.cookie || mini.cookie == 0));
        if !seen_to_begin {
            if !change.handed_over {
                return false;
            }
            // Its beginning was lost; the connection has not ended.
            self.common.tally.unmatched.gaps += 1;
        }
        let full = self.fulls.remove(&change.cookie);
        if let Some(full) = full.filter(|_| !seen_to_begin) {
            out.push(Update::Lost { id: change.cookie, flow: full.flow });
        }
        self.common.full_ended(change.cookie);
        true
    }

    /// A mini-socket took over: the full socket's CLOSE, where it is told of at all, is no step of the connection. It comes within
    /// microseconds (`tcp_time_wait`).
    pub(super) fn hand_over(&mut self, cookie: u64) {
        const AT_ONCE: usize = 64;
        self.handed_over.truncate(AT_ONCE - 1);
        self.handed_over.push_front(cookie);
        self.common.full_ended(cookie);
    }

    pub(super) fn seed_full(&mut self, seed: &Seed, owner: Option<Arc<Task>>, origin: Origin) -> bool {
        if let Some(full) = self.fulls.get_mut(&seed.cookie) {
            full.owner = full.owner.take().or(owner);
            full.origin = full.origin.or(origin);
            full.v6only = full.v6only.or(seed.v6only);
            return false;
        }
        let full = Full {
            flow: seed.flow,
            state: seed.state,
            since_ns: None,
            by_ns: seed.by_ns.unwrap_or_default(),
            owner,
            listener: None,
            predates: true,
            origin,
            reuse: None,
            v6only: seed.v6only,
            old_port: false,
            syn_sent: false,
            old_soft: false,
            waiting: None,
        };
        self.fulls.insert(seed.cookie, full);
        true
    }

    /// Steps that waited long enough for their port are shown without it.
    pub(super) fn flush_portless(&mut self, now_ns: u64, out: &mut Vec<Update>) {
        let Self { portless, fulls, .. } = self;
        portless.retain(|cookie| {
            let Some(full) = fulls.get_mut(cookie) else { return false };
            let Some(step) = full.waiting.take_if(|step| now_ns.saturating_sub(step.time_ns) >= PORT_PATIENCE_NS)
            else {
                return full.waiting.is_some();
            };
            out.push(Update::Transition(*step));
            false
        });
    }
}
