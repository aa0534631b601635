//! Full sockets: what `sock:inet_sock_set_state` reports, with the kernel's artefacts folded.

mod listed;
mod owners;
mod thinned;

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

use super::{
    Detail, Present, Reason, Timing, Transition, Update,
    calls::{Calls, ConnectCall, SynSentEnd},
    common::{Common, PORT_PATIENCE_NS},
    effort::room,
    end::{EndClock, EndedBy, end},
    full::Full,
    mini::Former,
    minis::Minis,
};
use crate::{
    compact::CompactMap,
    event::{StateChange, Syn, Task},
    origin::Origin,
    tcp::State,
};

/// The full sockets that there are.
#[derive(Debug, Default)]
pub(super) struct Fulls {
    /// By cookie.
    all: CompactMap<u64, Full>,
    /// By the address of the `struct sock`.
    newborns: HashMap<u64, Newborn>,
    /// Cookies of those that mini-sockets took over from last.
    handed_over: VecDeque<u64>,
    /// Those whose first step still waits for its port.
    portless: Vec<u64>,
}

/// A passive connection's first event, which on many kernels still shows its listener's addresses and no final cookie.
#[derive(Debug)]
pub(super) struct Newborn {
    time_ns: u64,
}

/// What is known of a connection that leaves SYN_RECV.
pub(super) struct Handshake {
    /// It had a first event, or was born just now.
    pub(super) newborn: Option<Newborn>,
    /// Whose listener it came through.
    pub(super) listener: Option<Arc<Task>>,
    /// What its request socket knew, if there was one that is known.
    pub(super) request: Option<RequestPast>,
}

/// What a request socket knows of the connection that is made of it.
pub(super) struct RequestPast {
    /// When the SYN came; `None` when that was not seen.
    pub(super) since_ns: Option<u64>,
    pub(super) predates: bool,
}

impl Fulls {
    /// Whether this is a passive connection's first event, which is taken note of.
    pub(super) fn is_birth(&mut self, time_ns: u64, change: &StateChange) -> bool {
        let is_birth = change.old == State::Listen && change.new == State::SynRecv;
        if is_birth {
            self.newborns.insert(change.sk, Newborn { time_ns });
        }
        is_birth
    }

    /// The first event of one that leaves SYN_RECV.
    pub(super) fn take_newborn(&mut self, time_ns: u64, change: &StateChange) -> Option<Newborn> {
        // Both only where servers were allowed TCP Fast Open meanwhile.
        let told = self.newborns.remove(&change.sk);
        told.or(change.newborn.then_some(Newborn { time_ns }))
    }

    /// A connection takes a step. `handshake`: if it leaves SYN_RECV.
    pub(super) fn step(
        &mut self,
        common: &mut Common,
        calls: &mut Calls,
        (time_ns, change): (u64, &StateChange),
        handshake: Option<Handshake>,
        out: &mut Vec<Update>,
    ) {
        // An answer to a SYN may be taken by anybody who locks the socket; it leaves an error.
        let by_its_owner = !(change.old == State::SynSent && change.new == State::Close && change.err != 0);
        if change.new == State::Listen {
            common.listened.add(&change.flow);
        }
        let owner = change.task.as_ref().filter(|_| by_its_owner).map(|task| common.share(task));
        let (newborn, listener, request) =
            handshake.map_or((None, None, None), |known| (known.newborn, known.listener, known.request));
        let was_known = self.all.contains_key(&change.cookie);
        let fresh = match newborn {
            Some(newborn) => Some(born(common, (newborn, request), change, out)),
            None if was_known && change.old != State::Close => None,
            None => {
                // A socket can be connected again; that its former life ended was lost.
                common.unmatched().gaps += u64::from(was_known);
                Some(unknown(common, change))
            }
        };
        if let Some(fresh) = fresh {
            self.all.insert(change.cookie, fresh);
        }
        // What is known is changed where it is: this is the way of almost every record.
        let Self { all, portless, .. } = self;
        let Some(full) = all.get_mut(&change.cookie) else { return };
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
        if entered_syn_sent {
            full.bound = Some(change.flow.lport != 0);
        }
        let since_ns = if full.state == change.old {
            full.since_ns
        } else {
            // sock_diag may have read this socket after the event was written; that is no gap.
            if !(full.predates && full.since_ns.is_none()) {
                common.unmatched().gaps += 1;
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
            let full = all.remove(&change.cookie);
            common.full_ended(change.cookie);
            let old_soft = full.as_ref().is_some_and(|full| full.old_soft);
            explain(common, change, was_known, old_soft, &mut step);
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
                calls.connect_failed(time_ns, (asked, found), since_ns, change, full.owner, out);
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

    /// Whether this is the full socket's CLOSE at the hand-over to its mini-socket, which is no step of the connection.
    pub(super) fn is_hand_over(
        &mut self,
        common: &mut Common,
        minis: &Minis,
        change: &StateChange,
        out: &mut Vec<Update>,
    ) -> bool {
        if change.new != State::Close || !matches!(change.old, State::FinWait2 | State::Closing) {
            return false;
        }
        // The mini-socket may be gone already. And it has no cookie if the full socket had none yet when it was copied. Where its beginning was seen, the full
        // socket was forgotten then: one that is known has been connected again since.
        let seen_to_begin = !self.all.contains_key(&change.cookie)
            && (self.handed_over.contains(&change.cookie)
                || minis.get(&change.flow).is_some_and(|mini| mini.cookie == change.cookie || mini.cookie == 0));
        if !seen_to_begin {
            if !change.handed_over {
                return false;
            }
            // Its beginning was lost; the connection has not ended.
            common.unmatched().gaps += 1;
        }
        let full = self.all.remove(&change.cookie);
        if let Some(full) = full.filter(|_| !seen_to_begin) {
            out.push(Update::Lost { id: change.cookie, flow: full.flow });
        }
        common.full_ended(change.cookie);
        true
    }

    /// A mini-socket takes over. The full socket's CLOSE, where it is told of at all, is no step of the connection; it comes within microseconds
    /// (`tcp_time_wait`).
    pub(super) fn hand_over(&mut self, common: &mut Common, cookie: u64, time_ns: u64) -> Option<Former> {
        const AT_ONCE: usize = 64;
        let full = self.all.remove(&cookie);
        self.handed_over.truncate(AT_ONCE - 1);
        self.handed_over.push_front(cookie);
        common.full_ended(cookie);
        let full = full?;
        let dwell_at_least_ns = full.dwell_at_least_ns(time_ns);
        let state = Some(full.state).filter(|state| matches!(state, State::FinWait2 | State::Closing));
        common.unmatched().gaps += u64::from(state.is_none());
        let since_ns = full.since_ns.filter(|_| state.is_some());
        let Full { owner, predates, origin, bound, .. } = full;
        Some(Former { state, since_ns, dwell_at_least_ns, owner, predates, origin, bound })
    }

    /// Steps that waited long enough for their port are shown without it.
    pub(super) fn flush_portless(&mut self, now_ns: u64, out: &mut Vec<Update>) {
        let Self { portless, all, .. } = self;
        portless.retain(|cookie| {
            let Some(full) = all.get_mut(cookie) else { return false };
            let Some(step) = full.waiting.take_if(|step| now_ns.saturating_sub(step.time_ns) >= PORT_PATIENCE_NS)
            else {
                return full.waiting.is_some();
            };
            out.push(Update::Transition(*step));
            false
        });
    }

    /// Those whose beginning waited so long for the rest of it that it was lost are forgotten.
    pub(super) fn forget_newborns(&mut self, before_ns: u64) {
        self.newborns.retain(|_, newborn| newborn.time_ns > before_ns);
    }

    /// Whether one with this cookie is followed.
    pub(super) fn is_known(&self, cookie: u64) -> bool {
        self.all.contains_key(&cookie)
    }

    /// Those that there are now, by cookie.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&u64, &Full)> {
        self.all.iter()
    }

    /// Those that there are now.
    pub(super) fn present(&self) -> impl Iterator<Item = Present<'_>> {
        self.all.iter().map(|(cookie, full)| Present {
            id: *cookie,
            state: full.state,
            flow: full.flow,
            owner: full.owner_or_listener().map(AsRef::as_ref),
            origin: full.origin,
            syn_sent: full.syn_sent,
            since_ns: full.since_ns,
            by_ns: full.since_ns.or((full.by_ns != 0).then_some(full.by_ns)),
            stands_for: 1,
            timer: 0,
        })
    }

    /// How many there are now.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// What it costs to go through them.
    pub(super) fn room(&self) -> usize {
        self.all.room()
    }

    /// What it costs to go through those of which only the first event has come.
    pub(super) fn newborns_room(&self) -> usize {
        room(&self.newborns)
    }

    /// How many wait for their port.
    pub(super) fn portless(&self) -> usize {
        self.portless.len()
    }
}

/// Says why a step leads to CLOSE.
fn explain(common: &mut Common, change: &StateChange, was_known: bool, old_soft: bool, step: &mut Transition) {
    let clock = EndClock { hz: common.clock.known().map(|(hz, _)| hz), dwell_ns: step.dwell_ns };
    let end = end(&common.symbols, change, clock);
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
    step.by = task.map(|task| common.share(task));
    if end.by == EndedBy::Owner && step.by.is_some() {
        step.owner = step.by.clone();
    }
}

/// A passive connection, at its second event. It was in SYN_RECV in a request socket, and the full socket's own microseconds in
/// SYN_RECV are no time of it. Where there was none, as with SYN cookies and TCP Fast Open, how long is not known.
fn born(
    common: &mut Common,
    (newborn, request): (Newborn, Option<RequestPast>),
    change: &StateChange,
    out: &mut Vec<Update>,
) -> Full {
    let (since_ns, predates) = match request {
        Some(RequestPast { since_ns, predates }) => (since_ns, predates),
        // Where the kernel side saw one end, its beginning was lost, or is older: nobody knows when the SYN came.
        None if change.of_request => {
            common.unmatched().requests += u64::from(common.seeds_read);
            (None, !common.seeds_read)
        }
        None => {
            common.tally.without_request += 1;
            out.push(Update::Transition(Transition {
                origin: Origin::There,
                ..Transition::new(newborn.time_ns, change.cookie, change.flow, Some(State::Listen), State::SynRecv)
            }));
            (None, false)
        }
    };
    Full { since_ns, predates, ..Full::new(change.flow, State::SynRecv, Origin::There) }
}

/// A socket that was not known: a new one, or one that was there before.
fn unknown(common: &mut Common, change: &StateChange) -> Full {
    let is_new = change.old == State::Close;
    if !is_new && common.seeds_read {
        common.unmatched().gaps += 1;
    }
    let origin = match (change.old, change.new) {
        // A restored connection may have been accepted, elsewhere or before, and has its port by bind(); it sends no SYN.
        (State::Close, State::SynSent) if change.syn == Some(Syn::Never) => {
            common.listened.tell(&change.flow).unwrap_or(Origin::Unknown(None))
        }
        (State::Close, State::SynSent) | (State::SynSent, _) => Origin::Here,
        _ => common.origin_of(&change.flow),
    };
    Full { predates: !is_new && !common.seeds_read, ..Full::new(change.flow, change.old, origin) }
}
