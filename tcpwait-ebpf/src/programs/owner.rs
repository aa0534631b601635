//! Who accepted a connection: its first reader.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::offset::OFF_COOKIE,
    wire::{Counter, Hook, Kind, Owner},
};

use crate::{
    claim::{Turn, takes},
    emit::{count, emit},
    maps::{UNOWNED, unowned_slot},
    sock::{Fields, Typed, held_by_task},
    task,
};

#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    read(ctx, 1)
}

#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
fn tcp_rcv_space_adjust_2(ctx: BtfTracePointContext) -> i32 {
    read(ctx, 2)
}

/// Question: which process reads from this accepted connection?
/// Prototype: `tcp_rcv_space_adjust(struct sock *sk)`, in `tcp_recvmsg` once data was copied.
/// Since: 4.18. There is no tracepoint in accept() itself. Also reached from softirq (strparser), where the
/// lock is not held by a process, and that does not count.
/// Cost: one look at an array a read; one record a passive connection.
#[inline(always)]
fn read(ctx: BtfTracePointContext, program: u64) -> i32 {
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
        if unowned.read_volatile() != cookie
            || !held_by_task(sk)
            || !takes(&ctx, Turn::of_two(Hook::Read, program), sk.number())
        {
            return 0;
        }
        unowned.write_volatile(0);
    }
    count(Counter::OwnerSeen);
    emit::<Owner>(
        &ctx,
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
    0
}
