//! Segments that reach a TIME_WAIT mini-socket: the FIN that turns FIN_WAIT2 into TIME_WAIT, those that restart its clock, and
//! those that end it. The header is passed on as it came; user space knows what the kernel makes of it.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_probe_read_kernel,
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use tcpwait_wire::{
    config::offset::*,
    wire::{Counter, Hook, Kind, MiniSegment, TCP_HEADER, VERDICT_UNKNOWN},
};

use super::{
    result_behind,
    timewait::{expires, fill_mini},
};
use crate::{
    claim::{Turn, takes},
    counters::count,
    emit::emit,
    filter::wanted,
    kernel::TCP_TIME_WAIT,
    maps::{DROP_CHECKSUM, DROP_PSP, DROP_XFRM, PROCESS_ARGUMENTS},
    sample::is_told,
    sock::{At, Copied, Fields, Typed, bound_port, netns, rport},
};

/// Question: which segment reached a mini-socket, when, and what did the kernel make of it?
/// Prototype: `enum tcp_tw_status tcp_timewait_state_process(struct inet_timewait_sock *tw, struct sk_buff *skb,
/// const struct tcphdr *th, …)`; what follows differs by version, so BTF says behind how many arguments the result is.
/// Since: 5.5 where the kernel has BPF trampolines (arm64: 6.4); hardened kernels refuse them. Runs where `tcp_v4_rcv` does, for
/// nothing but segments to mini-sockets, so it is preferred to `kfree_skb`.
#[inline(always)]
fn processed(ctx: FExitContext, program: u64) -> i32 {
    if !takes(&ctx, Turn::at_the_end(Hook::Segment, program), ctx.arg(1)) {
        return 0;
    }
    let verdict = match PROCESS_ARGUMENTS.load() {
        3 => result_behind::<3>(&ctx) as u8,
        4 => result_behind::<4>(&ctx) as u8,
        5 => result_behind::<5>(&ctx) as u8,
        _ => VERDICT_UNKNOWN,
    };
    reached(&ctx, At(ctx.arg(0)), At(ctx.arg(1)), At(ctx.arg(2)), verdict);
    0
}

#[fexit(function = "tcp_timewait_state_process")]
fn tcp_timewait_state_process(ctx: FExitContext) -> i32 {
    processed(ctx, 1)
}

#[fexit(function = "tcp_timewait_state_process")]
fn tcp_timewait_state_process_2(ctx: FExitContext) -> i32 {
    processed(ctx, 2)
}

/// Question: the same, where there are no trampolines. A SYN that the kernel accepts is not dropped, and not seen here.
/// Prototype: `kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock *rx_sk)`.
/// Since: `rx_sk` 6.11; without it this program is not loaded. For every dropped packet of the machine: one read.
#[inline(always)]
fn dropped(ctx: BtfTracePointContext, program: u64) -> i32 {
    // SAFETY: the tracepoint's argument.
    let rx_sk = unsafe { Typed::new(ctx.arg(3)) };
    if rx_sk.at().0 != 0
        && rx_sk.read::<u8>(&OFF_STATE) == TCP_TIME_WAIT
        && is_processed(ctx.arg(2))
        && takes(&ctx, Turn::of_two(Hook::Drop, program), rx_sk.number())
    {
        let skb = At(ctx.arg(0));
        let th = At(skb.follow(&OFF_SKB_HEAD).0 + u64::from(skb.read::<u16>(&OFF_SKB_TRANSPORT)));
        reached(&ctx, rx_sk.at(), skb, th, VERDICT_UNKNOWN);
    }
    0
}

#[btf_tracepoint(function = "kfree_skb")]
fn kfree_skb(ctx: BtfTracePointContext) -> i32 {
    dropped(ctx, 1)
}

#[btf_tracepoint(function = "kfree_skb")]
fn kfree_skb_2(ctx: BtfTracePointContext) -> i32 {
    dropped(ctx, 2)
}

/// Whether what is dropped for this reason reached the mini-socket before: a wrong checksum, or what a policy does not let through,
/// restarts no clock.
#[inline(always)]
fn is_processed(reason: u32) -> bool {
    reason != DROP_CHECKSUM.load() && reason != DROP_XFRM.load() && reason != DROP_PSP.load()
}

/// Tells of a segment if the socket is a mini-socket. A restart that stays in the same timer bucket is silent for the timer
/// (`__mod_timer`'s fast path), so this alone sees it. The mini-socket's reference may be gone by now: user space
/// believes the record only for a socket it follows.
#[inline(always)]
fn reached(ctx: &impl EbpfContext, at: At, skb: At, th: At, verdict: u8) {
    let mut memory = MaybeUninit::uninit();
    let tw = Copied::into(&mut memory, at);
    if tw.read::<u8>(&OFF_STATE) != TCP_TIME_WAIT {
        return;
    }
    let netns = netns(tw);
    if wanted(netns, bound_port(tw), rport(tw)) {
        count(Counter::TwSegments);
        if !is_told(tw, bound_port(tw), rport(tw)) {
            return;
        }
        emit::<MiniSegment>(
            ctx,
            Kind::TwSegment,
            0,
            Counter::LostSegment,
            #[inline(always)]
            |record| {
                // SAFETY: reserved memory, all of which is written here.
                unsafe {
                    fill_mini(&raw mut (*record).mini, at, tw, expires(at), netns);
                    let header = write_header(&raw mut (*record).header, th);
                    (*record).payload = skb.read::<u32>(&OFF_SKB_LEN).saturating_sub(header);
                    (*record).rcv_nxt = tw.read(&OFF_TW_RCV_NXT);
                    (*record).ts_recent = tw.read(&OFF_TW_TS_RECENT);
                    (*record).has_ts_recent = u8::from(tw.read::<u32>(&OFF_TW_TS_RECENT_STAMP) != 0);
                    (*record).verdict = verdict;
                    (*record).reserved = [0; 6];
                }
            },
        );
    }
}

/// Copies a TCP header, no further than it says it goes, so that no data leaves the kernel. Returns its length.
///
/// # Safety
/// `header` is part of a reserved record.
#[inline(always)]
unsafe fn write_header(header: *mut [u8; TCP_HEADER], th: At) -> u32 {
    /// Of the byte whose upper half is the header's length in words.
    const DATA_OFFSET: u64 = 12;
    let words = u32::from(At(th.0 + DATA_OFFSET).read_here::<u8>() >> 4);
    // SAFETY: the caller's; the helper checks the address, and the length is at most that of `header`.
    unsafe {
        *header = [0; TCP_HEADER];
        if bpf_probe_read_kernel(header.cast(), words * 4, th.0 as *const _) != 0 {
            count(Counter::Unreadable);
        }
    }
    words * 4
}
