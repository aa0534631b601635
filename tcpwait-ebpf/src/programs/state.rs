//! Full sockets: every state change the kernel reports, with the task where it is known to be the socket's.

use aya_ebpf::{helpers::bpf_jiffies64, macros::btf_tracepoint, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::{
        ABSENT,
        offset::{OFF_ERR, OFF_FASTOPEN, OFF_NET, OFF_PACKETS_OUT, OFF_TOTAL_RETRANS},
    },
    wire::{
        Counter, FLAG_HALF_OPEN, FLAG_HANDED_OVER, FLAG_NEWBORN, Kind, SYN_DEFERRED, SYN_OLD_PORT, SYN_RETURNS,
        SYN_UNSENT, SockState, SockStateStack, SockStateTask,
    },
};

use super::{owner::multipath, request::MAKING_JIFFIES, timer::notes, write_stack};
use crate::{
    emit::{count, count_nested, count_transition, emit},
    filter::wanted,
    maps::{NOTES, UNOWNED, unowned_slot},
    sock::{
        Fields, Typed, bound_port, flow, full_lport, held_by_task, is_deferred, is_tcp, make_cookie, netns_of, reuse,
        rport, tw_room,
    },
    task::{self, Asking},
};

const FIN_WAIT2: i32 = 5;
const CLOSE: i32 = 7;
const FIN_WAIT1: i32 = 4;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;
const CLOSING: i32 = 11;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const ESTABLISHED: i32 = 1;

/// Question: which state did a full socket leave, and for which?
/// Prototype: `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
/// Since: 4.16, the same arguments in every version to 7.3. Runs in process context or softirq, interrupts may be on.
/// Cost: one record a transition; a stack only where FIN_WAIT2 or CLOSING ends in CLOSE with no mini-socket in sight.
///
/// The kernel runs no program inside itself (`__bpf_trace_run`), and a softirq may come in the middle of this one: so there
/// are two, of which one is for softirqs and the other for the rest. (Where softirqs run on the task's stack they miss what they
/// interrupt, and that is counted.)
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    if task::on_its_stack(&ctx, Asking::State) {
        set_changing(1);
        changed(ctx);
        set_changing(0);
    }
    0
}

/// The other one.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state_softirq(ctx: BtfTracePointContext) -> i32 {
    if !task::on_its_stack(&ctx, Asking::StateInSoftirq) {
        // SAFETY: this CPU's own slot.
        if NOTES.get_ptr(0).is_some_and(|notes| unsafe { (&raw const (*notes).changing).read_volatile() } != 0) {
            count_nested();
        }
        changed(ctx);
    }
    0
}

#[inline(always)]
fn set_changing(changing: u64) {
    if let Some(notes) = NOTES.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe { (&raw mut (*notes).changing).write_volatile(changing) };
    }
}

#[inline(always)]
fn changed(ctx: BtfTracePointContext) {
    // SAFETY: the tracepoint's argument.
    let sk = unsafe { Typed::new(ctx.arg(0)) };
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    if !is_tcp(sk) {
        if by_its_owner(old, new) {
            multipath(&ctx, sk);
        }
        return;
    }
    let netns = netns_of(sk);
    let newborn = old == LISTEN && new == SYN_RECV;
    let untold = newborn && is_told_at_once(sk);
    let flags = note_birth(sk, old, newborn, untold);
    // Before 6.13 a newborn still shows its listener's ports (inet_csk_clone_lock sets the state first).
    let rport = if newborn { 0 } else { rport(sk) };
    // connect() chooses the port only after this event; until then inet_sport may hold the one of a former connection
    // (tcp_disconnect leaves it), while skc_num is what is bound.
    let lport = if new == SYN_SENT { bound_port(sk) } else { full_lport(sk) };
    if !wanted(netns, lport, rport) {
        return;
    }
    count_transition(old as u8, new as u8);
    if untold {
        count(Counter::Folded);
        return;
    }
    // Made at the first event, so that the mini-socket, which copies it, and `ss -e` show the same.
    // A newborn's would be overwritten by its request socket's.
    let cookie = if newborn { 0 } else { make_cookie(sk) };
    let change = Change { sk, old, new, cookie, netns, lport };
    if new == CLOSE && (old == FIN_WAIT2 || old == CLOSING) {
        match armed_here(cookie) {
            Armed::Told => count(Counter::Folded),
            Armed::Untold => tell(&ctx, change, FLAG_HANDED_OVER),
            Armed::NotHere => tell_with_stack(&ctx, change),
        }
    } else if by_its_owner(old, new) && held_by_task(sk) {
        tell_with_task(&ctx, change);
    } else {
        tell(&ctx, change, flags);
        if old == SYN_RECV && new == ESTABLISHED {
            if let Some(unowned) = UNOWNED.get_ptr_mut(unowned_slot(cookie)) {
                // SAFETY: an aligned word that lives as long as the map.
                unsafe { unowned.write_volatile(cookie) };
            }
        }
    }
}

#[inline(always)]
fn tell(ctx: &BtfTracePointContext, change: Change, flags: u8) {
    let write = #[inline(always)]
    // SAFETY: reserved memory.
    |record| unsafe { change.write(record) };
    emit::<SockState>(ctx, Kind::State, flags, Counter::LostState, write);
}

#[inline(always)]
fn tell_with_task(ctx: &BtfTracePointContext, change: Change) {
    let write = #[inline(always)]
    |record: *mut SockStateTask| {
        // SAFETY: reserved memory, which begins with what changed.
        unsafe {
            change.write(record.cast());
            (*record).task = task::current();
        }
    };
    emit(ctx, Kind::StateTask, 0, Counter::LostState, write);
}

#[inline(always)]
fn tell_with_stack(ctx: &BtfTracePointContext, change: Change) {
    let write = #[inline(always)]
    |record: *mut SockStateStack| {
        // SAFETY: reserved memory, which begins with what changed.
        unsafe {
            change.write(record.cast());
            ((*record).tw_count, (*record).tw_max) = tw_room(change.sk);
            write_stack(ctx, &raw mut (*record).stack);
        }
    };
    emit(ctx, Kind::StateStack, 0, Counter::LostState, write);
}

/// A state change.
#[derive(Clone, Copy)]
struct Change {
    sk: Typed,
    old: i32,
    new: i32,
    cookie: u64,
    netns: u32,
    lport: u16,
}

impl Change {
    /// Writes everything after the head.
    ///
    /// # Safety
    /// `record` is reserved memory.
    #[inline(always)]
    unsafe fn write(self, record: *mut SockState) {
        let Self { sk, old, new, cookie, netns, lport } = self;
        // SAFETY: the caller's.
        unsafe {
            (*record).cookie = cookie;
            (*record).sk = sk.at().0;
            (*record).flow = flow(sk, netns, lport, rport(sk));
            (*record).old = old as u8;
            (*record).new = new as u8;
            (*record).err = sk.read::<i32>(&OFF_ERR) as u16;
            (*record).retransmits = 0;
            (*record).reuse = 0;
            (*record).syn = syn(sk, old, new);
            if old == SYN_SENT || old == SYN_RECV {
                let retransmits: u32 = sk.at().read(&OFF_TOTAL_RETRANS);
                (*record).retransmits = if retransmits > 0xffff { 0xffff } else { retransmits as u16 };
            }
            if new == LISTEN || new == ESTABLISHED {
                (*record).reuse = reuse(sk);
            }
        }
    }
}

/// What is known of a connect()'s SYN (`SYN_…`).
#[inline(always)]
fn syn(sk: Typed, old: i32, new: i32) -> u8 {
    if new == SYN_SENT {
        return if bound_port(sk) == 0 && full_lport(sk) != 0 { SYN_OLD_PORT } else { 0 };
    }
    if old != SYN_SENT || new != CLOSE {
        return 0;
    }
    let unsent = if sk.at().read::<u32>(&OFF_PACKETS_OUT) == 0 { SYN_UNSENT } else { 0 };
    let deferred = if is_deferred(sk) { SYN_DEFERRED } else { 0 };
    SYN_RETURNS | unsent | deferred
}

/// Keeps for the timer, and for the next event, that a connection was born here just now. Returns the flags of one that leaves SYN_RECV.
#[inline(always)]
fn note_birth(sk: Typed, old: i32, newborn: bool, untold: bool) -> u8 {
    let Some(notes) = notes() else { return 0 };
    let mut flags = 0;
    // SAFETY: this CPU's own slot. The helper has no preconditions.
    unsafe {
        if old == SYN_RECV {
            if (*notes).born_untold == sk.at().0 {
                flags |= FLAG_NEWBORN;
            }
            if (*notes).made == sk.at().0 && bpf_jiffies64() - (*notes).made_jiffies <= MAKING_JIFFIES {
                flags |= FLAG_HALF_OPEN;
            }
            (*notes).made = 0;
        }
        (*notes).born_untold = if untold { sk.at().0 } else { 0 };
        (*notes).born = 0;
        if newborn {
            (*notes).born = sk.at().0;
            (*notes).born_jiffies = bpf_jiffies64();
        }
    }
    flags
}

/// Whether what becomes of a newborn is told in the same softirq: `tcp_child_process` makes it ESTABLISHED, or `tcp_done` ends it. A child of
/// TCP Fast Open stays in SYN_RECV until its ACK comes, and there is none unless servers may have it in this namespace (`tcp_try_fastopen`).
/// (Of the listener's own limit the newborn knows nothing: `inet_csk_clone_lock` clears it, from 6.13 on before the event.)
#[inline(always)]
fn is_told_at_once(newborn: Typed) -> bool {
    const TFO_SERVER_ENABLE: u8 = 2;
    OFF_FASTOPEN.load() != ABSENT && newborn.follow_typed(&OFF_NET).read::<u8>(&OFF_FASTOPEN) & TFO_SERVER_ENABLE == 0
}

/// Whether a transition is made by connect, listen, shutdown or close alone. Others may happen in the backlog of anyone who
/// locks the socket, as `ss -i` does for a moment (`tcp_get_info`). An answer that ends SYN_SENT may be such a one, too; it
/// leaves an error, and whose it is makes no difference then.
#[inline(always)]
fn by_its_owner(old: i32, new: i32) -> bool {
    (old == SYN_SENT && new == CLOSE) || new == SYN_SENT || new == LISTEN || new == FIN_WAIT1 || new == LAST_ACK
}

/// The mini-socket that may have taken over from a socket.
enum Armed {
    /// It began here just now, and was told of.
    Told,
    /// It began here just now, and its record did not fit.
    Untold,
    /// None began here.
    NotHere,
}

/// Whether the mini-socket armed last on this CPU took over from this socket. A miss only costs a stack:
/// `tcp_time_wait` can be moved to another CPU in between when it runs in process context.
#[inline(always)]
fn armed_here(cookie: u64) -> Armed {
    let Some(notes) = NOTES.get_ptr(0) else { return Armed::NotHere };
    // SAFETY: this CPU's own slot.
    match unsafe { ((*notes).armed_cookie == cookie, (*notes).armed_told) } {
        (true, 0) => Armed::Untold,
        (true, _) => Armed::Told,
        (false, _) => Armed::NotHere,
    }
}
