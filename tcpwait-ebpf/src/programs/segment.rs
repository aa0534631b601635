//! Segments that a TIME_WAIT mini-socket absorbs: the FIN that turns FIN_WAIT2 into TIME_WAIT, and those that restart its clock.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tcpwait_wire::{
    config::offset::*,
    wire::{Counter, Kind, Mini},
};

use super::timewait::fill_mini;
use crate::{
    emit::{count, emit},
    filter::wanted,
    sock::{At, bound_port, netns, rport},
};

const TIME_WAIT: u8 = 6;

/// Question: which segment reached a mini-socket, and when? A restart that stays in the same timer bucket
/// is silent for the timer (`__mod_timer`'s fast path), so this is the only tracepoint that sees it.
/// Prototype: `kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock *rx_sk)`.
/// Since: `rx_sk` 6.11; without it this program is not loaded. For every dropped packet of the machine: one read.
/// The mini-socket's reference may be gone by now: user space believes the record only for a socket it follows.
#[btf_tracepoint(function = "kfree_skb")]
fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    let rx_sk: u64 = ctx.arg(3);
    if rx_sk == 0 {
        return 0;
    }
    let tw = At(rx_sk);
    if tw.read::<u8>(&OFF_STATE) != TIME_WAIT {
        return 0;
    }
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(Counter::TwSegments);
        // SAFETY: reserved memory.
        emit::<Mini>(&ctx, Kind::TwSegment, 0, Counter::LostSegment, |record| unsafe { fill_mini(record, tw, netns) });
    }
    0
}
