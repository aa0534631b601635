//! Connections in SYN_RECV: what the timer says of a request socket, from the SYN to the ACK or to whatever comes instead.
//! A connection that is made needs no record: the full socket's own says so.

use core::mem::MaybeUninit;

use aya_ebpf::programs::BtfTracePointContext;
use tcpwait_wire::{
    config::offset::*,
    wire::{Counter, FLAG_NETNS_GONE, FLAG_REARM, FLAG_RETRANSMIT, FLAG_TASK_STACK, Kind, Request, RequestCancel},
};

use super::{birth::is_made, notes, write_stack};
use crate::{
    counters::count,
    emit::emit,
    filter::wanted,
    kernel::TCP_LISTEN,
    opaque::zero,
    sample::is_told,
    sock::{At, Copied, Fields, Netns, accept_queue, bound_port, flow, netns, no_users, rport},
    task,
};

/// Writes everything after the head. What the listener's queue is like is read only where that may say why the request ends.
///
/// # Safety
/// `record` is reserved memory.
#[inline(always)]
unsafe fn fill(record: *mut Request, at: At, req: &Copied, netns: Netns<At>, may_end: bool) {
    let listener: At = req.follow(&OFF_LISTENER);
    // SAFETY: the caller's.
    unsafe {
        (*record).cookie = req.read(&OFF_COOKIE);
        (*record).req = at.0;
        (*record).flow = flow(req, netns, bound_port(req), rport(req));
        (*record).listener = if listener.0 == 0 { 0 } else { listener.read(&OFF_COOKIE) };
        (*record).retransmits = req.read(&OFF_REQ_RETRANS);
        (*record).listens = u8::from(listener.0 != 0 && listener.read::<u8>(&OFF_STATE) == TCP_LISTEN);
        (*record).acked = req.bits(&BIT_REQ_ACKED) & 1;
        (*record).deferred = 0;
        (*record).queue = 0;
        if may_end && (*record).listens != 0 {
            (*record).deferred = listener.read(&OFF_DEFER_ACCEPT);
            (*record).queue = accept_queue(listener);
        }
        (*record).reserved = [zero() as u8; 3];
    }
}

/// It begins; or its SYN-ACK was sent again, after a time or because the SYN came again.
#[inline(always)]
pub fn started(ctx: &BtfTracePointContext, at: At) {
    let mut memory = MaybeUninit::uninit();
    let req = Copied::into(&mut memory, at);
    // reqsk_timer_handler counts before it starts the timer again; a new request has counted nothing.
    let mut flags = if req.bits(&BIT_REQ_TIMEOUTS) & 0x7f != 0 { FLAG_RETRANSMIT } else { 0 };
    if let Some(notes) = notes() {
        // SAFETY: this CPU's own slot; interrupts are off.
        unsafe {
            if (*notes).cancelled == at.0 {
                flags = FLAG_REARM;
            }
            (*notes).cancelled = 0;
        }
    }
    let netns = netns(req);
    if wanted(netns, bound_port(req), rport(req)) {
        count(if flags == 0 { Counter::ReqEntered } else { Counter::ReqRearmed });
        if !is_told(req, bound_port(req), rport(req)) {
            return;
        }
        // SAFETY: reserved memory.
        emit::<Request>(
            ctx,
            Kind::ReqArm,
            flags,
            Counter::LostRequest,
            #[inline(always)]
            |record| unsafe { fill(record, at, req, netns, false) },
        );
    }
}

/// Its time ran out: the SYN-ACK is sent again, or nobody waits any longer.
#[inline(always)]
pub fn expired(ctx: &BtfTracePointContext, at: At) {
    let mut memory = MaybeUninit::uninit();
    let req = Copied::into(&mut memory, at);
    let netns = netns(req);
    if wanted(netns, bound_port(req), rport(req)) {
        count(Counter::ReqExpired);
        if !is_told(req, bound_port(req), rport(req)) {
            return;
        }
        // SAFETY: reserved memory.
        emit::<Request>(
            ctx,
            Kind::ReqExpire,
            0,
            Counter::LostRequest,
            #[inline(always)]
            |record| unsafe { fill(record, at, req, netns, true) },
        );
    }
}

/// Its connection was made, it was killed, or it is about to be started again.
#[inline(always)]
pub fn cancelled(ctx: &BtfTracePointContext, at: At) {
    // inet_csk_reqsk_queue_drop takes it out of the hash before it stops the timer; one that is set anew stays in.
    let mut memory = MaybeUninit::uninit();
    let req = Copied::into(&mut memory, at);
    let unhashed = req.read::<u64>(&OFF_NODE_PPREV) == 0;
    // One that is moved to another CPU's wheel stays in.
    let made = unhashed && is_made(ctx);
    if let Some(notes) = notes() {
        // SAFETY: this CPU's own slot; interrupts are off.
        unsafe { (*notes).cancelled = if unhashed { 0 } else { at.0 } };
    }
    let netns = netns(req);
    if !wanted(netns, bound_port(req), rport(req)) {
        return;
    }
    if made || !unhashed {
        if made {
            count(Counter::ReqCompleted);
        }
        return;
    }
    count(Counter::ReqCancelled);
    if !is_told(req, bound_port(req), rport(req)) {
        return;
    }
    let gone = if no_users(req) { FLAG_NETNS_GONE } else { 0 };
    let stack = if task::on_its_stack(ctx) { FLAG_TASK_STACK } else { 0 };
    emit::<RequestCancel>(ctx, Kind::ReqCancel, gone | stack, Counter::LostRequest, |record| {
        // SAFETY: reserved memory.
        unsafe {
            fill(&raw mut (*record).reqsk, at, req, netns, true);
            (*record).task = task::current();
            write_stack(ctx, &raw mut (*record).stack);
        }
    });
}
