//! The timer lens: a mini-socket lives and dies by one timer, whose handler tells what it is. The hooks, and whose story each
//! timer belongs to; the stories are in `timewait.rs` and `request.rs`.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::offset::{OFF_REQ_TIMER, OFF_TIMER_FUNCTION, OFF_TIMER_PPREV, OFF_TW_TIMER},
    wire::Hook,
};

use super::{request, timewait};
use crate::{
    claim::{Turn, takes},
    maps::{REQSK_TIMER_HANDLER, STACK_BYTES, TW_TIMER_HANDLER},
    sock::{At, Fields, Typed},
    task,
};

/// The mini-socket around a timer.
enum Socket {
    TimeWait(At),
    Request(At),
}

/// The timer that a hook was handed.
#[inline(always)]
fn timer(ctx: &BtfTracePointContext) -> Typed {
    // SAFETY: the tracepoint's argument.
    unsafe { Typed::new(ctx.arg(0)) }
}

#[inline(always)]
fn socket_of(timer: Typed) -> Option<Socket> {
    let handler: u64 = timer.read(&OFF_TIMER_FUNCTION);
    if handler == TW_TIMER_HANDLER.load() {
        Some(Socket::TimeWait(At(timer.at().0 - u64::from(OFF_TW_TIMER.load()))))
    } else if REQSK_TIMER_HANDLER.load() != 0 && handler == REQSK_TIMER_HANDLER.load() {
        Some(Socket::Request(At(timer.at().0 - u64::from(OFF_REQ_TIMER.load()))))
    } else {
        None
    }
}

/// The mini-socket around the timer that a hook was handed, if this program takes the event.
#[inline(always)]
fn taken(ctx: &BtfTracePointContext, turn: Turn) -> Option<Socket> {
    let timer = timer(ctx);
    let socket = socket_of(timer)?;
    takes(ctx, turn, timer.number()).then_some(socket)
}

/// Question: which mini-socket begins, or has its clock set anew?
/// Prototype: `timer_start(struct timer_list *timer, …)`; the second argument changed meaning in 6.8 and is not read.
/// Since: 2.6. Runs with interrupts off under the timer base's lock. For every timer of the machine: one read.
#[btf_tracepoint(function = "timer_start")]
fn timer_start(ctx: BtfTracePointContext) -> i32 {
    match taken(&ctx, Turn::only(Hook::TimerStart)) {
        Some(Socket::TimeWait(tw)) => timewait::started(&ctx, timer(&ctx), tw),
        Some(Socket::Request(req)) => request::started(&ctx, req),
        None => {}
    }
    0
}

/// Question: which mini-socket's time ran out?
/// Prototype: `timer_expire_entry(struct timer_list *timer, unsigned long baseclk)`.
/// Since: 2.6. Runs in the timer softirq, a whole bucket in one go. On PREEMPT_RT that is a thread, and interrupts are on.
#[inline(always)]
fn expired(ctx: BtfTracePointContext, program: u64) {
    match taken(&ctx, Turn::of_two(Hook::TimerExpire, program)) {
        Some(Socket::TimeWait(tw)) => timewait::expired(&ctx, timer(&ctx), tw),
        Some(Socket::Request(req)) => request::expired(&ctx, req),
        None => {}
    }
}

#[btf_tracepoint(function = "timer_expire_entry")]
fn timer_expire_entry(ctx: BtfTracePointContext) -> i32 {
    expired(ctx, 1);
    0
}

#[btf_tracepoint(function = "timer_expire_entry")]
fn timer_expire_entry_2(ctx: BtfTracePointContext) -> i32 {
    expired(ctx, 2);
    0
}

/// Question: which mini-socket was killed, by what, and by whom?
/// Prototype: `timer_cancel(struct timer_list *timer)`.
/// Since: 2.6. Runs with interrupts off. Also fires before every expiry (told apart here, no record) and every restart.
/// Cost: one record with a stack for each early death or restart; none for a connection in SYN_RECV that is made.
#[btf_tracepoint(function = "timer_cancel")]
fn timer_cancel(ctx: BtfTracePointContext) -> i32 {
    match taken(&ctx, Turn::only(Hook::TimerCancel)) {
        Some(Socket::TimeWait(tw)) if !expiring(&ctx, timer(&ctx)) => timewait::cancelled(&ctx, timer(&ctx), tw),
        Some(Socket::Request(req)) if !expiring(&ctx, timer(&ctx)) => request::cancelled(&ctx, req),
        _ => {}
    }
    0
}

/// Whether this cancellation is the first half of an expiry, which `timer_expire_entry` will report.
/// `__run_timers` moves the bucket to a list head on its own stack and takes the first entry, so `pprev` of an
/// expiring timer points a few frames up this very stack (kernel/time/timer.c, 5.4 to 7.3); one that is killed is still
/// in a bucket. Where this should fail, the stack of the record says the same, and user space waits for the expiry.
#[inline(always)]
fn expiring(ctx: &BtfTracePointContext, timer: Typed) -> bool {
    let pprev: u64 = timer.read(&OFF_TIMER_PPREV);
    pprev.wrapping_sub(task::address_of(ctx)) < STACK_BYTES.load()
}
