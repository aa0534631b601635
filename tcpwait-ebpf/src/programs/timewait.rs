//! TIME_WAIT, and the FIN_WAIT2 of a connection that nobody holds: what the timer says of their mini-sockets.

use aya_ebpf::{helpers::bpf_jiffies64, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::offset::*,
    wire::{Counter, FLAG_NETNS_GONE, FLAG_REARM, FLAG_TASK_STACK, FLAG_UNHASHED, Kind, Mini, MiniCancel},
};

use super::{timer::notes, write_stack};
use crate::{
    emit::{count, emit},
    filter::wanted,
    sock::{At, Common, Fields, bound_port, flow, netns, no_users, reuse, rport},
    task::{self, Asking},
};

const FIN_WAIT2: u8 = 5;

/// Writes everything after the head.
///
/// # Safety
/// `record` is reserved memory.
#[inline(always)]
pub unsafe fn fill_mini(record: *mut Mini, tw: At, common: &Common, netns: u32) {
    // SAFETY: the caller's.
    unsafe {
        (*record).cookie = common.read(&OFF_COOKIE);
        (*record).tw = tw.0;
        (*record).flow = flow(common, netns, bound_port(common), rport(common));
        (*record).expires = At(tw.0 + u64::from(OFF_TW_TIMER.load())).read(&OFF_TIMER_EXPIRES);
        (*record).jiffies = bpf_jiffies64();
        (*record).substate = tw.read(&OFF_TW_SUBSTATE);
        (*record).reuse = reuse(common);
        (*record).timestamps = u8::from(tw.read::<u32>(&OFF_TW_TS_RECENT_STAMP) != 0);
        (*record).reserved = [0; 5];
    }
}

/// It begins, or its clock is restarted.
#[inline(always)]
pub fn started(ctx: &BtfTracePointContext, tw: At) {
    let common = &Common::of(tw);
    let mut flags = 0;
    if let Some(notes) = notes() {
        let cookie: u64 = common.read(&OFF_COOKIE);
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
            (*notes).armed_told = 0;
        }
    }
    let netns = netns(common);
    if wanted(netns, bound_port(common), rport(common)) {
        count(if flags == 0 { Counter::TwEntered } else { Counter::TwRearmed });
        if flags == 0 && tw.read::<u8>(&OFF_TW_SUBSTATE) == FIN_WAIT2 {
            count(Counter::TwEnteredFinWait2);
        }
        // SAFETY: reserved memory.
        let fill = |record| unsafe { fill_mini(record, tw, common, netns) };
        if emit::<Mini>(ctx, Kind::TwArm, flags, Counter::LostArm, fill)
            && let Some(notes) = notes()
        {
            // SAFETY: this CPU's own slot; interrupts are off.
            unsafe { (*notes).armed_told = 1 };
        }
    }
}

/// It came to its natural end.
#[inline(always)]
pub fn expired(ctx: &BtfTracePointContext, tw: At) {
    let common = &Common::of(tw);
    let netns = netns(common);
    if wanted(netns, bound_port(common), rport(common)) {
        count(Counter::TwExpired);
        // SAFETY: reserved memory.
        emit::<Mini>(ctx, Kind::TwExpire, 0, Counter::LostEnd, |record| unsafe {
            fill_mini(record, tw, common, netns)
        });
    }
}

/// It was killed, or is about to be started again.
#[inline(always)]
pub fn cancelled(ctx: &BtfTracePointContext, tw: At) {
    let common = &Common::of(tw);
    let unhashed = common.read::<u64>(&OFF_NODE_PPREV) == 0;
    if let Some(notes) = notes() {
        // SAFETY: this CPU's own slot; interrupts are off. The helper has no preconditions.
        unsafe {
            // What is out of the hash is dying, and is not started again.
            (*notes).cancelled = if unhashed { 0 } else { tw.0 };
            (*notes).cancelled_cookie = common.read(&OFF_COOKIE);
            (*notes).cancelled_jiffies = bpf_jiffies64();
        }
    }
    let netns = netns(common);
    if wanted(netns, bound_port(common), rport(common)) {
        count(Counter::TwCancelled);
        let mut flags = if unhashed { FLAG_UNHASHED } else { 0 };
        if no_users(common) {
            flags |= FLAG_NETNS_GONE;
        }
        if task::on_its_stack(ctx, Asking::Timer) {
            flags |= FLAG_TASK_STACK;
        }
        emit::<MiniCancel>(ctx, Kind::TwCancel, flags, Counter::LostEnd, |record| {
            // SAFETY: reserved memory.
            unsafe {
                fill_mini(&raw mut (*record).mini, tw, common, netns);
                (*record).task = task::current();
                write_stack(ctx, &raw mut (*record).stack);
            }
        });
    }
}
