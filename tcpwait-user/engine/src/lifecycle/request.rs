//! Connections in SYN_RECV: a request socket from the SYN to the ACK, or to whatever comes instead. A connection that is made of one
//! goes on as a full socket, and takes its time along (`fulls.rs`).

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

use super::{
    KeptIn, Present, Reason, Timing, Transition, Update,
    cancelled::{RequestVerdict, request_verdict},
    common::{Common, HOLD_NS, PORT_PATIENCE_NS},
    effort::room,
    fulls::{Fulls, Handshake, Newborn, RequestPast},
};
use crate::{
    event::{AcceptQueue, CancelSite, Event, HookContext, RequestSocket, RequestStart, Seed, StateChange, Task},
    origin::Origin,
    tcp::{Flow, State},
};

/// A connection in SYN_RECV.
#[derive(Debug)]
struct Request {
    /// Its cookie; 0 as long as sock_diag has not listed it.
    cookie: u64,
    /// When the SYN came; `None` when that was not seen.
    since_ns: Option<u64>,
    /// When its timer was last heard of.
    heard_ns: u64,
    /// The listener's cookie.
    listener: u64,
    /// Whose listener it is; the listener may be closed first.
    owner: Option<Arc<Task>>,
    retransmits: u8,
    /// Its first step waits for the connection's cookie.
    unsaid: bool,
    predates: bool,
}

/// A timer that ran out, or was cancelled for a reason that is not known, until the next event of its context says what that was.
#[derive(Debug)]
struct HeldRequest {
    time_ns: u64,
    reqsk: RequestSocket,
    /// `None`: it ran out.
    reason: Option<Reason>,
}

/// The end of one.
struct RequestEnd<'a> {
    time_ns: u64,
    reqsk: &'a RequestSocket,
    reason: Reason,
    by: Option<Arc<Task>>,
}

/// The connections in SYN_RECV that there are. Whose they are, the full sockets know: those that listen are among them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    all: HashMap<Flow, Request>,
    held: HashMap<HookContext, HeldRequest>,
    /// Those whose first step still waits for a cookie, the oldest first.
    unsaid: VecDeque<(u64, Flow)>,
}

impl Requests {
    /// A request socket's timer was started.
    pub(super) fn armed(
        &mut self,
        common: &mut Common,
        fulls: &Fulls,
        event: &Event,
        (reqsk, start): (&RequestSocket, RequestStart),
        out: &mut Vec<Update>,
    ) {
        let held = self.held.remove(&event.context);
        // What was given up may be followed by a SYN of the same peer at once.
        let is_another = |held: &HeldRequest| {
            held.reqsk.flow != reqsk.flow || (start == RequestStart::Syn && held.reqsk.listener == reqsk.listener)
        };
        if let Some(held) = held.filter(is_another) {
            self.end_held(common, fulls, held, out);
        }
        match self.all.get_mut(&reqsk.flow) {
            // A listener of the same SO_REUSEPORT group takes over from one that was closed (`inet_reqsk_clone`).
            Some(request) if start != RequestStart::Syn || ![0, reqsk.listener].contains(&request.listener) => {
                request.retransmits = reqsk.retransmits;
                request.heard_ns = event.time_ns;
                request.cookie = reqsk.cookie;
                request.listener = reqsk.listener;
                request.owner = fulls.owner_of(reqsk.listener).or(request.owner.take());
            }
            Some(_) => {
                common.unmatched().requests += 1;
                let end = RequestEnd { time_ns: event.time_ns, reqsk, reason: Reason::Unknown, by: None };
                self.end(common, fulls, end, out);
                self.begin(common, fulls, event.time_ns, reqsk);
            }
            None if start == RequestStart::Syn => self.begin(common, fulls, event.time_ns, reqsk),
            None => self.adopt(common, fulls, reqsk),
        }
    }

    fn begin(&mut self, common: &mut Common, fulls: &Fulls, time_ns: u64, reqsk: &RequestSocket) {
        common.tally.requests += 1;
        self.unsaid.push_back((time_ns, reqsk.flow));
        let request = Request {
            cookie: reqsk.cookie,
            since_ns: Some(time_ns),
            heard_ns: time_ns,
            listener: reqsk.listener,
            owner: fulls.owner_of(reqsk.listener),
            retransmits: reqsk.retransmits,
            unsaid: true,
            predates: false,
        };
        self.all.insert(reqsk.flow, request);
    }

    /// It may have ended before sock_diag was read.
    fn adopt_if_unknown(&mut self, common: &mut Common, fulls: &Fulls, reqsk: &RequestSocket) {
        if !self.all.contains_key(&reqsk.flow) {
            self.adopt(common, fulls, reqsk);
        }
    }

    /// Takes in a connection in SYN_RECV whose beginning was not seen.
    fn adopt(&mut self, common: &mut Common, fulls: &Fulls, reqsk: &RequestSocket) {
        common.unmatched().requests += u64::from(common.seeds_read);
        let request = Request {
            cookie: reqsk.cookie,
            since_ns: None,
            heard_ns: common.now_ns,
            listener: reqsk.listener,
            owner: fulls.owner_of(reqsk.listener),
            retransmits: reqsk.retransmits,
            unsaid: false,
            predates: !common.seeds_read,
        };
        self.all.insert(reqsk.flow, request);
    }

    /// Its time ran out; whether the SYN-ACK is sent again shows next.
    pub(super) fn expired(&mut self, common: &mut Common, fulls: &Fulls, event: &Event, reqsk: &RequestSocket) {
        self.adopt_if_unknown(common, fulls, reqsk);
        let held = HeldRequest { time_ns: event.time_ns, reqsk: reqsk.clone(), reason: None };
        self.held.insert(event.context, held);
    }

    /// Its timer was cancelled, and no connection was made just now.
    pub(super) fn cancelled(
        &mut self,
        common: &mut Common,
        fulls: &Fulls,
        event: &Event,
        (reqsk, site): (&RequestSocket, &CancelSite),
        out: &mut Vec<Update>,
    ) {
        let reason = match request_verdict(&common.symbols, reqsk, site) {
            // The full socket's own steps tell of it.
            RequestVerdict::Made | RequestVerdict::Expiry | RequestVerdict::Rearm => return,
            RequestVerdict::Death(reason) => reason,
            RequestVerdict::Silent => {
                self.adopt_if_unknown(common, fulls, reqsk);
                let held = HeldRequest { time_ns: event.time_ns, reqsk: reqsk.clone(), reason: Some(Reason::Unknown) };
                self.held.insert(event.context, held);
                return;
            }
        };
        let by = site.task.as_ref().filter(|_| reason == Reason::Destroyed).map(|task| common.share(task));
        self.adopt_if_unknown(common, fulls, reqsk);
        self.end(common, fulls, RequestEnd { time_ns: event.time_ns, reqsk, reason, by }, out);
    }

    /// Something else happened in that context: what ran out there was given up.
    pub(super) fn settle(&mut self, common: &mut Common, fulls: &Fulls, context: HookContext, out: &mut Vec<Update>) {
        if let Some(held) = self.held.remove(&context) {
            self.end_held(common, fulls, held, out);
        }
    }

    /// Nothing happened in some contexts for a while: the same.
    pub(super) fn settle_all(&mut self, common: &mut Common, fulls: &Fulls, now_ns: u64, out: &mut Vec<Update>) {
        let is_over = |held: &HeldRequest| now_ns.saturating_sub(held.time_ns) >= HOLD_NS;
        let mut contexts: Vec<HookContext> =
            self.held.iter().filter(|(_, held)| is_over(held)).map(|(context, _)| *context).collect();
        contexts.sort_unstable();
        for context in contexts {
            self.settle(common, fulls, context, out);
        }
    }

    /// Whether nothing waits for the next event of its context.
    pub(super) fn holds_none(&self) -> bool {
        self.held.is_empty()
    }

    /// What it costs to look for those that waited long enough for that.
    pub(super) fn held_room(&self) -> usize {
        room(&self.held)
    }

    fn end_held(&mut self, common: &mut Common, fulls: &Fulls, held: HeldRequest, out: &mut Vec<Update>) {
        let reason = held.reason.unwrap_or(match &held.reqsk {
            // reqsk_timer_handler drops it at once where nobody listens any more.
            RequestSocket { listens: false, .. } => Reason::ListenerClosed,
            RequestSocket { acked: true, deferred: false, .. } => Reason::AcceptQueueFull,
            // tcp_check_req marks both alike: an ACK without data, and one that found the queue full.
            RequestSocket { acked: true, queue: Some(AcceptQueue::HasRoom), .. } => Reason::NoData,
            RequestSocket { acked: true, .. } => Reason::Unknown,
            _ => Reason::Timeout,
        });
        let end = RequestEnd { time_ns: held.time_ns, reqsk: &held.reqsk, reason, by: None };
        self.end(common, fulls, end, out);
    }

    fn end(
        &mut self,
        common: &mut Common,
        fulls: &Fulls,
        RequestEnd { time_ns, reqsk, reason, by }: RequestEnd<'_>,
        out: &mut Vec<Update>,
    ) {
        let Some(mut request) = self.all.remove(&reqsk.flow) else {
            // A connection was made of it on another CPU meanwhile.
            return;
        };
        common.full_ended(reqsk.cookie);
        request.cookie = reqsk.cookie;
        say_begun(&mut request, reqsk.flow, out);
        let dwell_ns = request.since_ns.and_then(|since_ns| time_ns.checked_sub(since_ns));
        out.push(Update::Transition(Transition {
            dwell_ns,
            timing: if dwell_ns.is_some() { Timing::Exact } else { Timing::Unknown },
            owner: request.owner.or_else(|| fulls.owner_of(reqsk.listener)),
            reason: Some(reason),
            kept_in: KeptIn::Request,
            by,
            predates: request.predates,
            origin: Origin::There,
            retransmits: Some(reqsk.retransmits.into()),
            ..Transition::new(time_ns, reqsk.cookie, reqsk.flow, Some(State::SynRecv), State::Close)
        }));
    }

    /// A full socket leaves SYN_RECV: what is known of its time in there, which was a request socket's. `None`: no full socket could be made of it
    /// (`tcp_v4_syn_recv_sock`), and the connection in SYN_RECV goes on.
    pub(super) fn hand_over(
        &mut self,
        fulls: &Fulls,
        newborn: Option<Newborn>,
        change: &StateChange,
        out: &mut Vec<Update>,
    ) -> Option<Handshake> {
        let flow = change.flow;
        if newborn.is_some() && change.new == State::Close && self.all.contains_key(&flow) {
            return None;
        }
        // A listener that is older may have been read after the SYN came.
        let owner_of = |request: &Request| request.owner.clone().or_else(|| fulls.owner_of(request.listener));
        let listener = self.all.get(&flow).and_then(owner_of);
        let request = if newborn.is_some() { self.all.remove(&flow) } else { None };
        let request = request.map(|mut request| {
            // Its first step is said with the connection's cookie, if it was not yet.
            request.cookie = change.cookie;
            say_begun(&mut request, flow, out);
            RequestPast { since_ns: request.since_ns, predates: request.predates }
        });
        Some(Handshake { newborn, listener, request })
    }

    /// Beginnings that waited long enough for their connection are shown without its cookie.
    pub(super) fn flush(&mut self, now_ns: u64, out: &mut Vec<Update>) {
        while let Some((time_ns, flow)) = self.unsaid.front().copied() {
            if now_ns.saturating_sub(time_ns) < PORT_PATIENCE_NS {
                break;
            }
            self.unsaid.pop_front();
            let is_it = |request: &Request| request.unsaid && request.since_ns == Some(time_ns);
            if let Some(mut request) = self.all.remove(&flow) {
                if is_it(&request) {
                    say_begun(&mut request, flow, out);
                }
                self.all.insert(flow, request);
            }
        }
    }

    /// Those that are not told of any more are forgotten.
    pub(super) fn thin(&mut self, one_in: u32, out: &mut Vec<Update>) {
        self.all.retain(|flow, request| {
            let stays = flow.is_chosen(one_in);
            if !stays && !request.unsaid {
                out.push(Update::Lost { id: request.cookie, flow: *flow });
            }
            stays
        });
    }

    /// One that sock_diag lists; whether it was not known.
    pub(super) fn seed(&mut self, common: &Common, seed: &Seed) -> bool {
        if self.all.contains_key(&seed.flow) {
            return false;
        }
        let request = Request {
            cookie: seed.cookie,
            since_ns: None,
            heard_ns: common.now_ns,
            listener: 0,
            owner: None,
            retransmits: seed.retransmits,
            unsaid: false,
            predates: true,
        };
        self.all.insert(seed.flow, request);
        true
    }

    /// Ends those that were last heard of before this time: their end was lost.
    pub(super) fn end_overdue(&mut self, common: &mut Common, heard_ns: u64, out: &mut Vec<Update>) {
        let overdue = self.all.iter().filter(|(_, request)| request.heard_ns < heard_ns);
        let mut overdue: Vec<(u64, Flow)> = overdue.map(|(flow, request)| (request.heard_ns, *flow)).collect();
        overdue.sort_by_key(|(heard_ns, flow)| (*heard_ns, flow.laddr, flow.lport, flow.raddr, flow.rport));
        for (_, flow) in overdue {
            let Some(mut request) = self.all.remove(&flow) else { continue };
            common.unmatched().overdue += 1;
            say_begun(&mut request, flow, out);
            out.push(Update::Transition(Transition {
                owner: request.owner.clone(),
                reason: Some(Reason::Unknown),
                kept_in: KeptIn::Request,
                predates: request.predates,
                origin: Origin::There,
                ..Transition::new(common.now_ns, request.cookie, flow, Some(State::SynRecv), State::Close)
            }));
        }
    }

    /// Those that there are now.
    pub(super) fn present(&self) -> impl Iterator<Item = Present<'_>> {
        self.all.iter().map(|(flow, request)| Present {
            id: 0,
            state: State::SynRecv,
            flow: *flow,
            owner: request.owner.as_deref(),
            origin: Origin::There,
            syn_sent: false,
            since_ns: request.since_ns,
            by_ns: request.since_ns,
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
        room(&self.all)
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
