//! Connects that are held back while only some connections are told of. connect() chooses its port only after the step into SYN_SENT (`inet_hash_connect`),
//! and the port is part of what connections are chosen by (`sample.rs`); and a connect that fails is told of in any case. So that step waits for the next one, with
//! the time and the task that it had. Whoever stays in SYN_SENT is not told of until then.

use aya_ebpf::{EbpfContext, programs::BtfTracePointContext};
use tcpwait_wire::wire::{Counter, Head, Kind, SockStateTask};

use crate::{
    counters::count,
    emit::{emit_again, head},
    maps::HELD,
};

/// Holds a step back. `fill` writes all of it after the head.
#[inline(always)]
pub fn hold(ctx: &BtfTracePointContext, cookie: u64, fill: impl FnOnce(*mut SockStateTask)) {
    let mut record = core::mem::MaybeUninit::<SockStateTask>::uninit();
    // SAFETY: every record starts with a head, and the rest of it is written by `fill`.
    let record = unsafe {
        record.as_mut_ptr().cast::<Head>().write(head::<SockStateTask>(ctx, Kind::StateTask, 0));
        fill(record.as_mut_ptr());
        record.assume_init_ref()
    };
    // Left out for good, if nothing more comes of it.
    count(if HELD.insert(&cookie, record, 0).is_ok() { Counter::Thinned } else { Counter::LostState });
}

/// The next step has come: tells the one that was held back, or (`told` is false) forgets it.
#[inline(always)]
pub fn release(ctx: &impl EbpfContext, cookie: u64, told: bool) {
    if let Some(record) = HELD.get_ptr(&cookie) {
        if told {
            count(Counter::Released);
            emit_again(ctx, record, Kind::StateTask, Counter::LostState);
        }
        // It was there a moment ago, and is nobody else's.
        let _ = HELD.remove(&cookie);
    }
}
