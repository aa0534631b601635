//! Full sockets: every state change the kernel reports, with the task where it is known to be the socket's.

use aya_ebpf::{helpers::bpf_jiffies64, macros::btf_tracepoint, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::offset::{OFF_COOKIE, OFF_ERR, OFF_ERR_SOFT, OFF_PACKETS_OUT, OFF_TOTAL_RETRANS},
    wire::{
        Counter, END_BY_CALL, END_TASK_STACK, FLAG_HANDED_OVER, Hook, Kind, RETRANSMITS_KNOWN, SYN_ACKED, SYN_DEFERRED,
        SYN_OLD_PORT, SYN_OLD_SOFT, SYN_RETURNS, SYN_UNSENT, SockState, SockStateEnd, SockStateTask,
    },
};

use super::{
    birth::{born, goes_on, is_told_at_once},
    end::{About, end, has_errors, is_acked, patience, soft_error},
    held::{hold, release},
    owner::multipath,
    write_stack,
};
use crate::{
    claim::{Turn, takes},
    counters::{count, count_transition},
    emit::emit,
    filter::wanted,
    kernel,
    maps::{NOTES, UNOWNED, unowned_slot},
    sample::{chooses, holds, is_told, one_in},
    sock::{
        Fields, Netns, Typed, bound_port, flow, full_lport, held_by_task, is_deferred, is_tcp, make_cookie, netns_of,
        reuse, rport, syn_withheld, tcp_of, tw_room,
    },
    task,
};

// The tracepoint has them as `int`.
const FIN_WAIT2: i32 = kernel::TCP_FIN_WAIT2 as i32;
const CLOSE: i32 = kernel::TCP_CLOSE as i32;
const FIN_WAIT1: i32 = kernel::TCP_FIN_WAIT1 as i32;
const LAST_ACK: i32 = kernel::TCP_LAST_ACK as i32;
const LISTEN: i32 = kernel::TCP_LISTEN as i32;
const CLOSING: i32 = kernel::TCP_CLOSING as i32;
const SYN_SENT: i32 = kernel::TCP_SYN_SENT as i32;
const SYN_RECV: i32 = kernel::TCP_SYN_RECV as i32;
const ESTABLISHED: i32 = kernel::TCP_ESTABLISHED as i32;

/// The programs of the hook, which are alike.
macro_rules! programs {
    ($($name:ident is $number:literal,)*) => {$(
        #[btf_tracepoint(function = "inet_sock_set_state")]
        fn $name(ctx: BtfTracePointContext) -> i32 {
            changed(ctx, Turn { hook: Hook::State, program: $number, of: 2, of_preemptible: 4, of_function: false });
            0
        }
    )*};
}

// Two are enough where a task cannot be preempted in one of them: an interrupt comes in the middle of one, not of two. Else one is missing for each
// task that was preempted in one on that CPU: with four, three may be, and an interrupt still finds one.
programs! {
    inet_sock_set_state is 1,
    inet_sock_set_state_2 is 2,
    inet_sock_set_state_3 is 3,
    inet_sock_set_state_4 is 4,
}

/// Question: which state did a full socket leave, and for which?
/// Prototype: `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
/// Since: 4.16, the same arguments in every version to 7.3. Runs in process context or softirq, interrupts may be on.
/// Cost: one record a transition; a stack only where it ends in CLOSE otherwise than with the last ACK or for a mini-socket.
#[inline(always)]
fn changed(ctx: BtfTracePointContext, turn: Turn) {
    // SAFETY: the tracepoint's argument.
    let sk = unsafe { Typed::new(ctx.arg(0)) };
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    let event = sk.number() << 8 | (old as u64 & 15) << 4 | new as u64 & 15;
    if !is_tcp(sk) {
        if by_its_owner(old, new) && takes(&ctx, turn, event) {
            multipath(&ctx, sk);
        }
        return;
    }
    if !takes(&ctx, turn, event) {
        return;
    }
    let newborn = old == LISTEN && new == SYN_RECV;
    let untold = newborn && is_told_at_once(sk);
    let mut flags = 0;
    if newborn {
        born(&ctx, sk);
    } else if old == SYN_RECV {
        flags = goes_on(&ctx, sk);
    }
    let netns = netns_of(sk);
    // Before 6.13 a newborn still shows its listener's ports (inet_csk_clone_lock sets the state first).
    let rport = if newborn { 0 } else { rport(sk) };
    // connect() chooses the port only after this event; until then inet_sport may hold the one of a former connection
    // (tcp_disconnect leaves it), while skc_num is what is bound.
    let lport = if new == SYN_SENT { bound_port(sk) } else { full_lport(sk) };
    let held = old == SYN_SENT && holds();
    if !wanted(netns, lport, rport) {
        if held {
            release(&ctx, sk.read(&OFF_COOKIE), false);
        }
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
    // Whether it is told of depends on its port, and on whether it fails.
    if new == SYN_SENT && one_in() > 1 && (lport == 0 || !chooses(sk, lport, rport)) {
        hold(
            &ctx,
            cookie,
            #[inline(always)]
            // SAFETY: memory for a record.
            |record| unsafe {
                change.write_with_task(record);
                if !held_by_task(sk) {
                    (*record).task = task::nobody();
                }
            },
        );
        return;
    }
    // What listens is no connection, and its child shows its addresses later.
    if old != LISTEN && new != LISTEN {
        // A connect that fails is told of in any case.
        let told = old == SYN_SENT && new == CLOSE || is_told(sk, lport, rport);
        if held {
            release(&ctx, cookie, told);
        }
        if !told {
            if new == CLOSE {
                let _ = armed_here(cookie);
            }
            return;
        }
    }
    if new == CLOSE {
        let armed = if old == FIN_WAIT2 || old == CLOSING { armed_here(cookie) } else { Armed::NotHere };
        match armed {
            Armed::Told => count(Counter::Folded),
            Armed::Untold => tell(&ctx, change, FLAG_HANDED_OVER),
            Armed::NotHere if change.is_normal_end() => tell(&ctx, change, 0),
            Armed::NotHere => tell_end(&ctx, change, flags),
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
    // SAFETY: reserved memory.
    let write = #[inline(always)]
    |record| unsafe { change.write_with_task(record) };
    emit(ctx, Kind::StateTask, 0, Counter::LostState, write);
}

/// Tells what says why a connection ended.
#[inline(always)]
fn tell_end(ctx: &BtfTracePointContext, change: Change, flags: u8) {
    let write = #[inline(always)]
    |record: *mut SockStateEnd| {
        // SAFETY: reserved memory, which begins with what changed; all of it after the head is written here.
        unsafe {
            change.write(record.cast());
            if change.old == LAST_ACK {
                // Not with the last ACK.
                (*record).state.syn = RETRANSMITS_KNOWN;
            }
            let about = About::clear(&raw mut (*record).about);
            if let Some(tcp) = tcp_of(change.sk) {
                end(change.sk, tcp, about);
                soft_error(change.sk, change.old == SYN_SENT, about);
                let patience = patience(tcp, bpf_jiffies64());
                ((*record).user_timeout_ms, (*record).probed_jiffies, (*record).rto_max_jiffies) = patience;
            } else {
                ((*record).user_timeout_ms, (*record).probed_jiffies, (*record).rto_max_jiffies) = (0, 0, 0);
            }
            if task::on_its_stack(ctx) {
                about.set(END_TASK_STACK);
                if by_its_owner(change.old, change.new) && held_by_task(change.sk) {
                    about.set(END_BY_CALL);
                }
                (*record).task = task::current();
            } else {
                (*record).task = task::nobody();
            }
            ((*record).tw_count, (*record).tw_max) = tw_room(change.sk);
            write_stack(ctx, &raw mut (*record).stack);
        }
    };
    emit(ctx, Kind::StateEnd, flags, Counter::LostState, write);
}

/// A state change.
#[derive(Clone, Copy)]
struct Change {
    sk: Typed,
    old: i32,
    new: i32,
    cookie: u64,
    netns: Netns<Typed>,
    lport: u16,
}

impl Change {
    /// Whether it is LAST_ACK's end with the last ACK, of which nothing else needs to be known.
    #[inline(always)]
    fn is_normal_end(self) -> bool {
        self.old == LAST_ACK && self.sk.read::<i32>(&OFF_ERR) == 0 && tcp_of(self.sk).is_some_and(is_acked)
    }

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
            if tells_retransmits(old, new)
                && let Some(tcp) = tcp_of(sk)
            {
                let retransmits: u32 = tcp.read(&OFF_TOTAL_RETRANS);
                (*record).retransmits = if retransmits > 0xffff { 0xffff } else { retransmits as u16 };
            }
            if new == LISTEN || new == ESTABLISHED {
                (*record).reuse = reuse(sk);
            }
        }
    }

    /// The same, with the current task.
    ///
    /// # Safety
    /// `record` is memory for it.
    #[inline(always)]
    unsafe fn write_with_task(self, record: *mut SockStateTask) {
        // SAFETY: the caller's; it begins with what changed.
        unsafe {
            self.write(record.cast());
            (*record).task = task::current();
        }
    }
}

/// Whether a step tells how often segments were sent again: the ends of a handshake and of a life. Before a mini-socket takes over, the step into FIN_WAIT2 is
/// the last at which that can change, as the peer has acknowledged everything then; of CLOSING, which is rare, it stays unknown.
#[inline(always)]
fn tells_retransmits(old: i32, new: i32) -> bool {
    old == SYN_SENT || old == SYN_RECV || new == FIN_WAIT2 || new == CLOSE && old != LISTEN
}

/// What is known of a connect()'s SYN (`SYN_…`), and whether a step tells how often segments were sent again.
#[inline(always)]
fn syn(sk: Typed, old: i32, new: i32) -> u8 {
    if new == SYN_SENT {
        let old_port = if bound_port(sk) == 0 && full_lport(sk) != 0 { SYN_OLD_PORT } else { 0 };
        let old_soft = if sk.read::<i32>(&OFF_ERR_SOFT) != 0 || has_errors(sk) { SYN_OLD_SOFT } else { 0 };
        return old_port | old_soft | if old == CLOSE { syn_withheld(sk) } else { 0 };
    }
    if old == LAST_ACK && new == CLOSE {
        return RETRANSMITS_KNOWN | SYN_ACKED;
    }
    if old != SYN_SENT || new != CLOSE {
        return if tells_retransmits(old, new) { RETRANSMITS_KNOWN } else { 0 };
    }
    let unsent = if sk.at().read::<u32>(&OFF_PACKETS_OUT) == 0 { SYN_UNSENT } else { 0 };
    let deferred = if is_deferred(sk) { SYN_DEFERRED } else { 0 };
    RETRANSMITS_KNOWN | SYN_RETURNS | unsent | deferred
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

/// Whether the mini-socket armed last on this CPU took over from this socket. That comes in one go, in `tcp_time_wait`; where a task is preempted or
/// moved in between, another's may be noted here, or none. A miss only costs a stack.
#[inline(always)]
fn armed_here(cookie: u64) -> Armed {
    let Some(notes) = NOTES.get_ptr_mut(0) else { return Armed::NotHere };
    // SAFETY: this CPU's own slot; the cookie says whose.
    unsafe {
        if (&raw const (*notes).armed_cookie).read_volatile() != cookie {
            return Armed::NotHere;
        }
        let told = (&raw const (*notes).armed_told).read_volatile() == cookie;
        // A socket that is connected again keeps its cookie.
        (&raw mut (*notes).armed_cookie).write_volatile(0);
        if told { Armed::Told } else { Armed::Untold }
    }
}
