//! The timer lens: a TIME_WAIT mini-socket lives and dies by one timer, whose handler tells what it is.

use core::ffi::c_void;

use aya_ebpf::{helpers::bpf_jiffies64, macros::btf_tracepoint, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::offset::*,
    wire::{Counter, FLAG_NETNS_GONE, FLAG_REARM, FLAG_TASK_STACK, FLAG_UNHASHED, Kind, Mini, MiniCancel},
};

use super::write_stack;
use crate::{
    emit::{count, emit},
    filter::wanted,
    maps::{CpuNotes, NOTES, TW_TIMER_HANDLER},
    sock::{At, bound_port, flow, netns, no_users, rport},
    task,
};

const FIN_WAIT2: u8 = 5;

/// The mini-socket around a timer, if the timer is one's.
#[inline(always)]
fn mini_of(timer: *const c_void) -> Option<At> {
    let timer = At(timer as u64);
    if timer.read::<u64>(&OFF_TIMER_FUNCTION) != TW_TIMER_HANDLER.load() {
        return None;
    }
    Some(At(timer.0 - u64::from(OFF_TW_TIMER.load())))
}

#[inline(always)]
fn notes() -> Option<*mut CpuNotes> {
    NOTES.get_ptr_mut(0)
}

/// Writes everything after the head.
///
/// # Safety
/// `record` is reserved memory.
#[inline(always)]
pub unsafe fn fill_mini(record: *mut Mini, tw: At, netns: u32) {
    // SAFETY: the caller's.
    unsafe {
        (*record).cookie = tw.read(&OFF_COOKIE);
        (*record).tw = tw.0;
        (*record).flow = flow(tw, netns, bound_port(tw), rport(tw));
        (*record).expires = At(tw.0 + u64::from(OFF_TW_TIMER.load())).read(&OFF_TIMER_EXPIRES);
        (*record).jiffies = bpf_jiffies64();
        (*record).substate = tw.read(&OFF_TW_SUBSTATE);
        (*record).reserved = [0; 7];
    }
}

/// Question: which mini-socket begins, or has its clock restarted?
/// Prototype: `timer_start(struct timer_list *timer, …)`; the second argument changed meaning in 6.8 and is not read.
/// Since: 2.6. Runs with interrupts off under the timer base's lock. For every timer of the machine: one read.
#[btf_tracepoint(function = "timer_start")]
fn timer_start(ctx: BtfTracePointContext) -> i32 {
    let Some(tw) = mini_of(ctx.arg(0)) else { return 0 };
    let mut flags = 0;
    if let Some(notes) = notes() {
        let cookie: u64 = tw.read(&OFF_COOKIE);
        // SAFETY: this CPU's own slot; interrupts are off. The helper has no preconditions.
        unsafe {
            // __mod_timer cancels and starts in one section with interrupts off: nothing comes between. After a death the
            // same memory may begin another life, but with another cookie, and later.
            let rearm = (*notes).cancelled == tw.0
                && (*notes).cancelled_cookie == cookie
                && bpf_jiffies64() - (*notes).cancelled_jiffies <= 1;
            if rearm {
                flags = FLAG_REARM;
            }
            (*notes).cancelled = 0;
            (*notes).armed_cookie = cookie;
        }
    }
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(if flags == 0 { Counter::TwEntered } else { Counter::TwRearmed });
        if flags == 0 && tw.read::<u8>(&OFF_TW_SUBSTATE) == FIN_WAIT2 {
            count(Counter::TwEnteredFinWait2);
        }
        // SAFETY: reserved memory.
        emit::<Mini>(&ctx, Kind::TwArm, flags, Counter::LostArm, |record| unsafe { fill_mini(record, tw, netns) });
    }
    0
}

/// Question: which mini-socket came to its natural end?
/// Prototype: `timer_expire_entry(struct timer_list *timer, unsigned long baseclk)`.
/// Since: 2.6. Runs in the timer softirq, a whole bucket in one go.
#[btf_tracepoint(function = "timer_expire_entry")]
fn timer_expire_entry(ctx: BtfTracePointContext) -> i32 {
    let Some(tw) = mini_of(ctx.arg(0)) else { return 0 };
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(Counter::TwExpired);
        // SAFETY: reserved memory.
        emit::<Mini>(&ctx, Kind::TwExpire, 0, Counter::LostEnd, |record| unsafe { fill_mini(record, tw, netns) });
    }
    0
}

/// Question: which mini-socket was killed, by what, and by whom?
/// Prototype: `timer_cancel(struct timer_list *timer)`.
/// Since: 2.6. Runs with interrupts off. Also fires before every expiry (told apart here, no record) and every restart.
/// Cost: one record with a stack for each early death or restart.
#[btf_tracepoint(function = "timer_cancel")]
fn timer_cancel(ctx: BtfTracePointContext) -> i32 {
    let Some(tw) = mini_of(ctx.arg(0)) else { return 0 };
    if expiring(&ctx, tw) {
        return 0;
    }
    let unhashed = tw.read::<u64>(&OFF_NODE_PPREV) == 0;
    if let Some(notes) = notes() {
        // SAFETY: this CPU's own slot; interrupts are off. The helper has no preconditions.
        unsafe {
            // What is out of the hash is dying, and is not started again.
            (*notes).cancelled = if unhashed { 0 } else { tw.0 };
            (*notes).cancelled_cookie = tw.read(&OFF_COOKIE);
            (*notes).cancelled_jiffies = bpf_jiffies64();
        }
    }
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(Counter::TwCancelled);
        let mut flags = if unhashed { FLAG_UNHASHED } else { 0 };
        if no_users(tw) {
            flags |= FLAG_NETNS_GONE;
        }
        if task::on_its_stack(&ctx) {
            flags |= FLAG_TASK_STACK;
        }
        emit::<MiniCancel>(&ctx, Kind::TwCancel, flags, Counter::LostEnd, |record| {
            // SAFETY: reserved memory.
            unsafe {
                fill_mini(&raw mut (*record).mini, tw, netns);
                (*record).task = task::current();
                write_stack(&ctx, &raw mut (*record).stack);
            }
        });
    }
    0
}

/// Whether this cancellation is the first half of an expiry, which `timer_expire_entry` will report.
/// `__run_timers` moves the bucket to a list head on its own stack and takes the first entry, so `pprev` of an
/// expiring timer points a few frames up this very stack (kernel/time/timer.c, 5.4 to 7.3); one that is killed is still
/// in a bucket. Where this should fail, the stack of the record says the same, and user space waits for the expiry.
#[inline(always)]
fn expiring(ctx: &BtfTracePointContext, tw: At) -> bool {
    let pprev: u64 = At(tw.0 + u64::from(OFF_TW_TIMER.load())).read(&OFF_TIMER_PPREV);
    pprev.wrapping_sub(task::address_of(ctx)) < task::STACK_BYTES
}
