//! Connections in SYN_RECV: a request socket from the SYN to the ACK, or to whatever comes instead. A connection that is made of one
//! goes on as a full socket, and takes its time along (`full.rs`).

use std::sync::Arc;

use super::{
    KeptIn, Lifecycle, Reason, Timing, Transition, Update,
    cancelled::{RequestVerdict, request_verdict},
    common::PORT_PATIENCE_NS,
};
use crate::{
    event::{AcceptQueue, CancelSite, Event, HookContext, RequestSocket, RequestStart, Seed, Task},
    origin::Origin,
    tcp::{Flow, State},
};

/// A connection in SYN_RECV.
#[derive(Debug)]
pub(super) struct Request {
    /// Its cookie; 0 as long as sock_diag has not listed it.
    cookie: u64,
    /// When the SYN came; `None` when that was not seen.
    pub(super) since_ns: Option<u64>,
    /// When its timer was last heard of.
    heard_ns: u64,
    /// The listener's cookie.
    listener: u64,
    /// Whose listener it is; the listener may be closed first.
    pub(super) owner: Option<Arc<Task>>,
    retransmits: u8,
    /// Its first step waits for the connection's cookie.
    unsaid: bool,
    pub(super) predates: bool,
}

/// A timer that ran out, or was cancelled for a reason that is not known, until the next event of its context says what that was.
#[derive(Debug)]
pub(super) struct HeldRequest {
    time_ns: u64,
    reqsk: RequestSocket,
    /// `None`: it ran out.
    reason: Option<Reason>,
}

impl Lifecycle {
    /// A request socket's timer was started.
    pub(super) fn request_armed(
        &mut self,
        event: &Event,
        reqsk: &RequestSocket,
        start: RequestStart,
        out: &mut Vec<Update>,
    ) {
        let held = self.held_requests.remove(&event.context);
        // What was given up may be followed by a SYN of the same peer at once.
        let is_another = |held: &HeldRequest| {
            held.reqsk.flow != reqsk.flow || (start == RequestStart::Syn && held.reqsk.listener == reqsk.listener)
        };
        if let Some(held) = held.filter(is_another) {
            self.end_held(held, out);
        }
        self.settle_context(event.context, out);
        let owner = self.owner_of(reqsk.listener);
        match self.requests.get_mut(&reqsk.flow) {
            // A listener of the same SO_REUSEPORT group takes over from one that was closed (`inet_reqsk_clone`).
            Some(request) if start != RequestStart::Syn || ![0, reqsk.listener].contains(&request.listener) => {
                request.retransmits = reqsk.retransmits;
                request.heard_ns = event.time_ns;
                request.cookie = reqsk.cookie;
                request.listener = reqsk.listener;
                request.owner = owner.or(request.owner.take());
            }
            Some(_) => {
                self.common.tally.unmatched.requests += 1;
                self.end_request(event.time_ns, reqsk, Reason::Unknown, None, out);
                self.begin_request(event.time_ns, reqsk);
            }
            None if start == RequestStart::Syn => self.begin_request(event.time_ns, reqsk),
            None => self.adopt_request(reqsk),
        }
    }

    fn begin_request(&mut self, time_ns: u64, reqsk: &RequestSocket) {
        self.common.tally.requests += 1;
        self.unsaid.push_back((time_ns, reqsk.flow));
        let request = Request {
            cookie: reqsk.cookie,
            since_ns: Some(time_ns),
            heard_ns: time_ns,
            listener: reqsk.listener,
            owner: self.owner_of(reqsk.listener),
            retransmits: reqsk.retransmits,
            unsaid: true,
            predates: false,
        };
        self.requests.insert(reqsk.flow, request);
    }

    /// It may have ended before sock_diag was read.
    fn adopt_if_unknown(&mut self, reqsk: &RequestSocket) {
        if !self.requests.contains_key(&reqsk.flow) {
            self.adopt_request(reqsk);
        }
    }

    /// Takes in a connection in SYN_RECV whose beginning was not seen.
    fn adopt_request(&mut self, reqsk: &RequestSocket) {
        self.common.tally.unmatched.requests += u64::from(self.common.seeds_read);
        let request = Request {
            cookie: reqsk.cookie,
            since_ns: None,
            heard_ns: self.common.now_ns,
            listener: reqsk.listener,
            owner: self.owner_of(reqsk.listener),
            retransmits: reqsk.retransmits,
            unsaid: false,
            predates: !self.common.seeds_read,
        };
        self.requests.insert(reqsk.flow, request);
    }

    /// Its time ran out; whether the SYN-ACK is sent again shows next.
    pub(super) fn request_expired(&mut self, event: &Event, reqsk: &RequestSocket, out: &mut Vec<Update>) {
        self.settle_context(event.context, out);
        self.adopt_if_unknown(reqsk);
        let held = HeldRequest { time_ns: event.time_ns, reqsk: reqsk.clone(), reason: None };
        self.held_requests.insert(event.context, held);
    }

    /// Its timer was cancelled, and no connection was made just now.
    pub(super) fn request_cancelled(
        &mut self,
        event: &Event,
        reqsk: &RequestSocket,
        site: &CancelSite,
        out: &mut Vec<Update>,
    ) {
        self.settle_context(event.context, out);
        let reason = match request_verdict(&self.common.symbols, reqsk, site) {
            // The full socket's own steps tell of it.
            RequestVerdict::Made | RequestVerdict::Expiry | RequestVerdict::Rearm => return,
            RequestVerdict::Death(reason) => reason,
            RequestVerdict::Silent => {
                self.adopt_if_unknown(reqsk);
                let held = HeldRequest { time_ns: event.time_ns, reqsk: reqsk.clone(), reason: Some(Reason::Unknown) };
                self.held_requests.insert(event.context, held);
                return;
            }
        };
        let by = site.task.as_ref().filter(|_| reason == Reason::Destroyed).map(|task| self.common.share(task));
        self.adopt_if_unknown(reqsk);
        self.end_request(event.time_ns, reqsk, reason, by, out);
    }

    /// Something else happened in that context: what ran out there was given up.
    pub(super) fn settle_request(&mut self, context: HookContext, out: &mut Vec<Update>) {
        if let Some(held) = self.held_requests.remove(&context) {
            self.end_held(held, out);
        }
    }

    /// Nothing happened in some contexts for a while: the same.
    pub(super) fn settle_requests(&mut self, now_ns: u64, patience_ns: u64, out: &mut Vec<Update>) {
        let is_over = |held: &HeldRequest| now_ns.saturating_sub(held.time_ns) >= patience_ns;
        let mut contexts: Vec<HookContext> =
            self.held_requests.iter().filter(|(_, held)| is_over(held)).map(|(context, _)| *context).collect();
        contexts.sort_unstable();
        for context in contexts {
            self.settle_request(context, out);
        }
    }

    fn end_held(&mut self, held: HeldRequest, out: &mut Vec<Update>) {
        let reason = held.reason.unwrap_or(match &held.reqsk {
            // reqsk_timer_handler drops it at once where nobody listens any more.
            RequestSocket { listens: false, .. } => Reason::ListenerClosed,
            RequestSocket { acked: true, deferred: false, .. } => Reason::AcceptQueueFull,
            // tcp_check_req marks both alike: an ACK without data, and one that found the queue full.
            RequestSocket { acked: true, queue: Some(AcceptQueue::HasRoom), .. } => Reason::NoData,
            RequestSocket { acked: true, .. } => Reason::Unknown,
            _ => Reason::Timeout,
        });
        self.end_request(held.time_ns, &held.reqsk, reason, None, out);
    }

    fn end_request(
        &mut self,
        time_ns: u64,
        reqsk: &RequestSocket,
        reason: Reason,
        by: Option<Arc<Task>>,
        out: &mut Vec<Update>,
    ) {
        let Some(mut request) = self.requests.remove(&reqsk.flow) else {
            // A connection was made of it on another CPU meanwhile.
            return;
        };
        self.common.full_ended(reqsk.cookie);
        request.cookie = reqsk.cookie;
        say_begun(&mut request, reqsk.flow, out);
        let dwell_ns = request.since_ns.and_then(|since_ns| time_ns.checked_sub(since_ns));
        out.push(Update::Transition(Transition {
            dwell_ns,
            timing: if dwell_ns.is_some() { Timing::Exact } else { Timing::Unknown },
            owner: request.owner.or_else(|| self.owner_of(reqsk.listener)),
            reason: Some(reason),
            kept_in: KeptIn::Request,
            by,
            predates: request.predates,
            origin: Origin::There,
            retransmits: Some(reqsk.retransmits.into()),
            ..Transition::new(time_ns, reqsk.cookie, reqsk.flow, Some(State::SynRecv), State::Close)
        }));
    }

    /// The connection that a one in SYN_RECV became; its first step is said with the connection's cookie, if it was not yet.
    pub(super) fn take_request(&mut self, cookie: u64, flow: Flow, out: &mut Vec<Update>) -> Option<Request> {
        let mut request = self.requests.remove(&flow)?;
        request.cookie = cookie;
        say_begun(&mut request, flow, out);
        Some(request)
    }

    fn owner_of(&self, listener: u64) -> Option<Arc<Task>> {
        self.fulls.get(&listener).and_then(|listener| listener.owner.clone())
    }

    /// Whose listener a connection in SYN_RECV came through.
    pub(super) fn listener_of(&self, flow: &Flow) -> Option<Arc<Task>> {
        // A listener that is older may have been read after the SYN came.
        self.requests.get(flow).and_then(|request| request.owner.clone().or_else(|| self.owner_of(request.listener)))
    }

    /// Beginnings that waited long enough for their connection are shown without its cookie.
    pub(super) fn flush_unsaid(&mut self, now_ns: u64, out: &mut Vec<Update>) {
        while let Some((time_ns, flow)) = self.unsaid.front().copied() {
            if now_ns.saturating_sub(time_ns) < PORT_PATIENCE_NS {
                break;
            }
            self.unsaid.pop_front();
            let is_it = |request: &Request| request.unsaid && request.since_ns == Some(time_ns);
            if let Some(mut request) = self.requests.remove(&flow) {
                if is_it(&request) {
                    say_begun(&mut request, flow, out);
                }
                self.requests.insert(flow, request);
            }
        }
    }

    pub(super) fn seed_request(&mut self, seed: &Seed) -> bool {
        if self.fulls.contains_key(&seed.cookie) || self.requests.contains_key(&seed.flow) {
            return false;
        }
        let request = Request {
            cookie: seed.cookie,
            since_ns: None,
            heard_ns: self.common.now_ns,
            listener: 0,
            owner: None,
            retransmits: seed.retransmits,
            unsaid: false,
            predates: true,
        };
        self.requests.insert(seed.flow, request);
        true
    }

    /// Ends those that were last heard of before this time: their end was lost.
    pub(super) fn end_overdue_requests(&mut self, heard_ns: u64, out: &mut Vec<Update>) {
        let overdue = self.requests.iter().filter(|(_, request)| request.heard_ns < heard_ns);
        let mut overdue: Vec<(u64, Flow)> = overdue.map(|(flow, request)| (request.heard_ns, *flow)).collect();
        overdue.sort_by_key(|(heard_ns, flow)| (*heard_ns, flow.laddr, flow.lport, flow.raddr, flow.rport));
        for (_, flow) in overdue {
            let Some(mut request) = self.requests.remove(&flow) else { continue };
            self.common.tally.unmatched.overdue += 1;
            say_begun(&mut request, flow, out);
            out.push(Update::Transition(Transition {
                owner: request.owner.clone(),
                reason: Some(Reason::Unknown),
                kept_in: KeptIn::Request,
                predates: request.predates,
                origin: Origin::There,
                ..Transition::new(self.common.now_ns, request.cookie, flow, Some(State::SynRecv), State::Close)
            }));
        }
    }

    /// Connections in SYN_RECV now.
    pub fn requests_now(&self) -> usize {
        self.requests.len()
    }
}

fn say_begun(request: &mut Request, flow: Flow, out: &mut Vec<Update>) {
    if let (true, Some(since_ns)) = (std::mem::take(&mut request.unsaid), request.since_ns) {
        out.push(Update::Transition(Transition {
            listener: request.owner.clone(),
            origin: Origin::There,
            ..Transition::new(since_ns, request.cookie, flow, Some(State::Listen), State::SynRecv)
        }));
    }
}
