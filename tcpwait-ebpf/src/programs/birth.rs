//! The three events of a passive connection that is made: a socket is born of its listener, its request socket is dropped, it goes on. They come
//! in one go, in one softirq (`tcp_check_req`, `tcp_child_process`): what the first leaves for the next belongs to whoever runs it. On
//! PREEMPT_RT that is a thread, and others may run on its CPU in between.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_smp_processor_id, bpf_jiffies64},
};
use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::{FLAG_NEWBORN, FLAG_OF_REQUEST},
};

use crate::{
    claim::{find, own, release},
    kernel::TFO_SERVER_ENABLE,
    sock::{Fields, Typed},
    task,
};

/// It takes microseconds; a tick may come in between.
const MAKING_JIFFIES: u64 = 1;

/// Numbers of threads are below.
const CPU: u64 = 1 << 32;

/// Who runs this event.
#[inline(always)]
fn context(ctx: &impl EbpfContext) -> u64 {
    match task::thread(ctx) {
        // SAFETY: the helper has no preconditions.
        0 => CPU + unsafe { bpf_get_smp_processor_id() } as u64,
        thread => thread.into(),
    }
}

/// A socket was born of its listener.
#[inline(always)]
pub fn born(ctx: &impl EbpfContext, newborn: Typed) {
    if let Some(slot) = own(context(ctx)) {
        // SAFETY: the slot is this context's.
        unsafe { (*slot).words = [newborn.number(), 0, 0] };
    }
}

/// A request socket was dropped. Returns whether that is because its connection was made.
#[inline(always)]
pub fn is_made(ctx: &impl EbpfContext) -> bool {
    let Some(slot) = find(context(ctx)) else { return false };
    // SAFETY: the slot is this context's. The helper has no preconditions.
    unsafe {
        let made = (*slot).words[1] == 0 && bpf_jiffies64() - (*slot).since <= MAKING_JIFFIES;
        if made {
            (*slot).words[1] = 1;
        }
        made
    }
}

/// A socket leaves SYN_RECV. Returns the flags that say how it got there.
#[inline(always)]
pub fn goes_on(ctx: &impl EbpfContext, sk: Typed) -> u8 {
    let mut flags = if is_unaccepted(sk) && is_told_at_once(sk) { FLAG_NEWBORN } else { 0 };
    if let Some(slot) = find(context(ctx)) {
        // SAFETY: the slot is this context's. The helper has no preconditions.
        unsafe {
            if (*slot).words[0] == sk.number() {
                if (*slot).words[1] == 1 && bpf_jiffies64() - (*slot).since <= MAKING_JIFFIES {
                    flags |= FLAG_OF_REQUEST;
                }
                release(slot);
            }
        }
    }
    flags
}

/// Whether a socket in SYN_RECV came from a listener: nobody can have accepted it yet (`sk_clone` clears `sk_socket`), while one that connects to
/// another that connects (RFC 9293, 3.5) has its descriptor.
#[inline(always)]
fn is_unaccepted(sk: Typed) -> bool {
    sk.read::<u64>(&OFF_SK_SOCKET) == 0
}

/// Whether what becomes of a newborn is told in the same softirq: `tcp_child_process` makes it ESTABLISHED, or `tcp_done` ends it. A child of
/// TCP Fast Open stays in SYN_RECV until its ACK comes, and there is none unless servers may have it in this namespace (`tcp_try_fastopen`).
/// (Of the listener's own limit the newborn knows nothing: `inet_csk_clone_lock` clears it, from 6.13 on before the event.)
#[inline(always)]
pub fn is_told_at_once(newborn: Typed) -> bool {
    OFF_FASTOPEN.load() != ABSENT && newborn.follow_typed(&OFF_NET).read::<i32>(&OFF_FASTOPEN) & TFO_SERVER_ENABLE == 0
}
