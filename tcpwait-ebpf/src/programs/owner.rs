//! Who accepted a connection: who took it from the accept queue, and the first that reads or writes.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::{Accepted, Counter, Hook, Kind, Owner},
};

use super::result_behind;
use crate::{
    claim::{Turn, takes_if},
    counters::{count, count_taken_over},
    emit::emit,
    filter::{is_running, wanted},
    maps::{ACCEPT_ARGUMENTS, UNOWNED, unowned_slot},
    sample::is_told,
    sock::{At, Fields, Typed, bound_port, held_by_task, is_multipath, netns, rport},
    task,
};

/// Question: who took which connection from which listener's queue?
/// Prototype: `struct sock *inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)`, from 6.10 on `(sk, struct proto_accept_arg *)`.
/// Since: BPF trampolines. Runs in process context, once a connection, of Multipath TCP too (`mptcp_stream_accept`).
#[inline(always)]
fn accepted(ctx: FExitContext, program: u64) -> i32 {
    let accepted = At(match ACCEPT_ARGUMENTS.load() {
        2 => result_behind::<2>(&ctx),
        4 => result_behind::<4>(&ctx),
        _ => 0,
    });
    // accept() of an empty queue gives nothing back.
    if !takes_if(&ctx, Turn::at_the_end(Hook::Accept, program), accepted.0, accepted.0 != 0) {
        return 0;
    }
    let cookie: u64 = accepted.read(&OFF_COOKIE);
    // One without has not been told of.
    if cookie == 0 || !wanted(netns(accepted), bound_port(accepted), rport(accepted)) {
        return 0;
    }
    count(Counter::Accepted);
    if !is_told(accepted, bound_port(accepted), rport(accepted)) {
        return 0;
    }
    emit::<Accepted>(
        &ctx,
        Kind::Accepted,
        0,
        Counter::LostOwner,
        #[inline(always)]
        |record| {
            // SAFETY: reserved memory; all of it after the head is written here.
            unsafe {
                (*record).cookie = cookie;
                (*record).listener = At(ctx.arg(0)).read(&OFF_COOKIE);
                (*record).task = task::current();
            }
        },
    );
    0
}

#[fexit(function = "inet_csk_accept")]
fn inet_csk_accept(ctx: FExitContext) -> i32 {
    accepted(ctx, 1)
}

#[fexit(function = "inet_csk_accept")]
fn inet_csk_accept_2(ctx: FExitContext) -> i32 {
    accepted(ctx, 2)
}

/// Question: which process reads from this accepted connection?
/// Prototype: `tcp_rcv_space_adjust(struct sock *sk)`, in `tcp_recvmsg` once data was copied.
/// Since: 4.18. There is no tracepoint in accept() itself. Also reached from softirq (strparser), where the
/// lock is not held by a process, and that does not count.
/// Cost: one look at an array a read; one record a passive connection.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    used(ctx, Hook::Read, 1)
}

#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
fn tcp_rcv_space_adjust_2(ctx: BtfTracePointContext) -> i32 {
    used(ctx, Hook::Read, 2)
}

/// Question: which process writes to this accepted connection before it has read?
/// Prototype: `tcp_sendmsg_locked(const struct sock *sk, const struct msghdr *msg, const struct sk_buff *skb, int size_goal)`.
/// Since: 6.16. Cost: as above, a write.
#[btf_tracepoint(function = "tcp_sendmsg_locked")]
fn tcp_sendmsg_locked(ctx: BtfTracePointContext) -> i32 {
    used(ctx, Hook::Write, 1)
}

#[btf_tracepoint(function = "tcp_sendmsg_locked")]
fn tcp_sendmsg_locked_2(ctx: BtfTracePointContext) -> i32 {
    used(ctx, Hook::Write, 2)
}

/// Tells whose an accepted connection is, if nobody has yet. That is what the programs of a hook are told apart by, too: one that comes after the one that
/// told finds nothing to tell, so it would not give back what the first had claimed.
#[inline(always)]
fn used(ctx: BtfTracePointContext, hook: Hook, program: u64) -> i32 {
    // SAFETY: the tracepoint's argument.
    let sk = unsafe { Typed::new(ctx.arg(0)) };
    let cookie: u64 = sk.read(&OFF_COOKIE);
    // One that a filter left out mostly has none, and an empty slot is 0 too.
    if cookie == 0 {
        return 0;
    }
    let Some(unowned) = UNOWNED.get_ptr_mut(unowned_slot(cookie)) else { return 0 };
    // SAFETY: an aligned word that lives as long as the map; whichever of two CPUs writes last is right.
    unsafe {
        if unowned.read_volatile() != cookie || !held_by_task(sk) || !is_running() {
            return 0;
        }
        if program > 1 {
            count_taken_over(hook);
        }
        unowned.write_volatile(0);
    }
    tell(&ctx, cookie, sk);
    0
}

/// A Multipath TCP socket changed its state by a call of its process: the process that its first TCP connection belongs to, whose own
/// state changes are a kernel worker's (`mptcp_worker`).
#[inline(always)]
pub fn multipath(ctx: &BtfTracePointContext, sk: Typed) {
    if OFF_MPTCP_FIRST.load() == ABSENT || !is_multipath(sk) || !held_by_task(sk) {
        return;
    }
    let first = sk.at().follow(&OFF_MPTCP_FIRST);
    if first.0 == 0 {
        return;
    }
    let cookie: u64 = first.read(&OFF_COOKIE);
    if cookie != 0 && wanted(netns(first), bound_port(first), rport(first)) {
        tell(ctx, cookie, first);
    }
}

#[inline(always)]
fn tell(ctx: &impl EbpfContext, cookie: u64, sk: impl Fields) {
    count(Counter::OwnerSeen);
    if !is_told(sk, bound_port(sk), rport(sk)) {
        return;
    }
    emit::<Owner>(
        ctx,
        Kind::Owner,
        0,
        Counter::LostOwner,
        #[inline(always)]
        |record| {
            // SAFETY: reserved memory; all of it after the head is written here.
            unsafe {
                (*record).cookie = cookie;
                (*record).task = task::current();
            }
        },
    );
}
