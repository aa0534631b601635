//! Who accepted a connection: its first reader.

use core::ffi::c_void;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::offset::OFF_COOKIE,
    wire::{Counter, Kind, Owner},
};

use crate::{
    emit::{count, emit},
    maps::UNOWNED,
    sock::{At, held_by_task},
    task,
};

/// Question: which process reads from this accepted connection?
/// Prototype: `tcp_rcv_space_adjust(struct sock *sk)`, in `tcp_recvmsg` once data was copied.
/// Since: 4.18. There is no tracepoint in accept() itself. Also reached from softirq (strparser), where the
/// lock is not held by a process, and that does not count.
/// Cost: one hash lookup a read; one record a passive connection.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
fn tcp_rcv_space_adjust(ctx: BtfTracePointContext) -> i32 {
    let sk: *const c_void = ctx.arg(0);
    let at = At(sk as u64);
    let cookie: u64 = at.read(&OFF_COOKIE);
    if UNOWNED.get_ptr(cookie).is_none() || !held_by_task(at) {
        return 0;
    }
    let _ = UNOWNED.remove(&cookie);
    count(Counter::OwnerSeen);
    emit::<Owner>(&ctx, Kind::Owner, 0, Counter::LostOwner, |record| {
        // SAFETY: reserved memory; all of it after the head is written here.
        unsafe {
            (*record).cookie = cookie;
            (*record).task = task::current();
        }
    });
    0
}
