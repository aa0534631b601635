//! TIME_WAIT, and the FIN_WAIT2 of a connection that nobody holds: what the timer says of their mini-sockets.

use core::mem::MaybeUninit;

use aya_ebpf::{helpers::bpf_jiffies64, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::offset::*,
    wire::{Counter, FLAG_NETNS_GONE, FLAG_REARM, FLAG_TASK_STACK, FLAG_UNHASHED, Kind, Mini, MiniCancel},
};

use super::{notes, write_stack};
use crate::{
    counters::count,
    emit::emit,
    filter::wanted,
    kernel::TCP_FIN_WAIT2,
    opaque::zero,
    sample::is_told,
    sock::{At, Copied, Fields, Netns, Typed, bound_port, flow, netns, no_users, reuse, rport},
    task,
};

/// Writes everything after the head.
///
/// # Safety
/// `record` is reserved memory.
#[inline(always)]
pub unsafe fn fill_mini(record: *mut Mini, at: At, tw: &Copied, expires: u64, netns: Netns<At>) {
    // SAFETY: the caller's.
    unsafe {
        (*record).cookie = tw.read(&OFF_COOKIE);
        (*record).tw = at.0;
        (*record).flow = flow(tw, netns, bound_port(tw), rport(tw));
        (*record).expires = expires;
        (*record).jiffies = bpf_jiffies64();
        (*record).substate = tw.read(&OFF_TW_SUBSTATE);
        (*record).reuse = reuse(tw);
        (*record).timestamps = u8::from(tw.read::<u32>(&OFF_TW_TS_RECENT_STAMP) != 0);
        (*record).reserved = [zero() as u8; 5];
    }
}

/// When the timer of a mini-socket fires, in jiffies.
#[inline(always)]
pub fn expires(at: At) -> u64 {
    At(at.0 + u64::from(OFF_TW_TIMER.load())).read(&OFF_TIMER_EXPIRES)
}

/// It begins, or its clock is restarted.
#[inline(always)]
pub fn started(ctx: &BtfTracePointContext, timer: Typed, at: At) {
    let mut memory = MaybeUninit::uninit();
    let tw = Copied::into(&mut memory, at);
    let mut flags = 0;
    if let Some(notes) = notes() {
        let cookie: u64 = tw.read(&OFF_COOKIE);
        // SAFETY: this CPU's own slot; interrupts are off. The helper has no preconditions.
        unsafe {
            // __mod_timer cancels and starts in one section with interrupts off: nothing comes between. After a death the
            // same memory may begin another life, but with another cookie, and later.
            let rearm = (*notes).cancelled == at.0
                && (*notes).cancelled_cookie == cookie
                && bpf_jiffies64() - (*notes).cancelled_jiffies <= 1;
            if rearm {
                flags = FLAG_REARM;
            }
            (*notes).cancelled = 0;
            (*notes).armed_cookie = cookie;
            (*notes).armed_told = 0;
        }
    }
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(if flags == 0 { Counter::TwEntered } else { Counter::TwRearmed });
        if flags == 0 && tw.read::<u8>(&OFF_TW_SUBSTATE) == TCP_FIN_WAIT2 {
            count(Counter::TwEnteredFinWait2);
        }
        if !is_told(tw, bound_port(tw), rport(tw)) {
            return;
        }
        // SAFETY: reserved memory.
        let fill = #[inline(always)]
        |record| unsafe { fill_mini(record, at, tw, timer.read(&OFF_TIMER_EXPIRES), netns) };
        if emit::<Mini>(ctx, Kind::TwArm, flags, Counter::LostArm, fill)
            && let Some(notes) = notes()
        {
            // SAFETY: this CPU's own slot; interrupts are off.
            unsafe { (*notes).armed_told = tw.read(&OFF_COOKIE) };
        }
    }
}

/// It came to its natural end.
#[inline(always)]
pub fn expired(ctx: &BtfTracePointContext, timer: Typed, at: At) {
    let mut memory = MaybeUninit::uninit();
    let tw = Copied::into(&mut memory, at);
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(Counter::TwExpired);
        if !is_told(tw, bound_port(tw), rport(tw)) {
            return;
        }
        // SAFETY: reserved memory.
        emit::<Mini>(
            ctx,
            Kind::TwExpire,
            0,
            Counter::LostEnd,
            #[inline(always)]
            |record| unsafe { fill_mini(record, at, tw, timer.read(&OFF_TIMER_EXPIRES), netns) },
        );
    }
}

/// It was killed, or is about to be started again.
#[inline(always)]
pub fn cancelled(ctx: &BtfTracePointContext, timer: Typed, at: At) {
    let mut memory = MaybeUninit::uninit();
    let tw = Copied::into(&mut memory, at);
    let unhashed = tw.read::<u64>(&OFF_NODE_PPREV) == 0;
    if let Some(notes) = notes() {
        // SAFETY: this CPU's own slot; interrupts are off. The helper has no preconditions.
        unsafe {
            // What is out of the hash is dying, and is not started again.
            (*notes).cancelled = if unhashed { 0 } else { at.0 };
            (*notes).cancelled_cookie = tw.read(&OFF_COOKIE);
            (*notes).cancelled_jiffies = bpf_jiffies64();
        }
    }
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(Counter::TwCancelled);
        if !is_told(tw, bound_port(tw), rport(tw)) {
            return;
        }
        let mut flags = if unhashed { FLAG_UNHASHED } else { 0 };
        if no_users(tw) {
            flags |= FLAG_NETNS_GONE;
        }
        if task::on_its_stack(ctx) {
            flags |= FLAG_TASK_STACK;
        }
        emit::<MiniCancel>(
            ctx,
            Kind::TwCancel,
            flags,
            Counter::LostEnd,
            #[inline(always)]
            |record| {
                // SAFETY: reserved memory.
                unsafe {
                    fill_mini(&raw mut (*record).mini, at, tw, timer.read(&OFF_TIMER_EXPIRES), netns);
                    (*record).task = task::current();
                    write_stack(ctx, &raw mut (*record).stack);
                }
            },
        );
    }
}
