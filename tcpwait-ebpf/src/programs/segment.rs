//! Segments that a TIME_WAIT mini-socket absorbs: the FIN that turns FIN_WAIT2 into TIME_WAIT, and those that restart its clock.

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
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

/// Question: which segment reached a mini-socket, and when?
/// Prototype: `enum tcp_tw_status tcp_timewait_state_process(struct inet_timewait_sock *tw, struct sk_buff *skb, …)`; what
/// follows differs by version and is not read.
/// Since: 5.5 where the kernel has BPF trampolines (arm64: 6.4); hardened kernels refuse them. Runs in softirq or in a backlog, for
/// nothing but segments to mini-sockets, so it is preferred to `kfree_skb`.
#[fexit(function = "tcp_timewait_state_process")]
fn tcp_timewait_state_process(ctx: FExitContext) -> i32 {
    absorbed(&ctx, At(ctx.arg(0)));
    0
}

/// Question: the same, where there are no trampolines.
/// Prototype: `kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock *rx_sk)`.
/// Since: `rx_sk` 6.11; without it this program is not loaded. For every dropped packet of the machine: one read.
#[btf_tracepoint(function = "kfree_skb")]
fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    let rx_sk: u64 = ctx.arg(3);
    if rx_sk != 0 {
        absorbed(&ctx, At(rx_sk));
    }
    0
}

/// Tells of a segment if the socket is a mini-socket. A restart that stays in the same timer bucket is silent for the timer
/// (`__mod_timer`'s fast path), so this alone sees it. The mini-socket's reference may be gone by now: user space
/// believes the record only for a socket it follows.
#[inline(always)]
fn absorbed(ctx: &impl EbpfContext, tw: At) {
    if tw.read::<u8>(&OFF_STATE) != TIME_WAIT {
        return;
    }
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(Counter::TwSegments);
        // SAFETY: reserved memory.
        emit::<Mini>(ctx, Kind::TwSegment, 0, Counter::LostSegment, |record| unsafe { fill_mini(record, tw, netns) });
    }
}
