//! What a full socket is like when it comes to CLOSE, for whoever is to say why it did. Read only where it ends otherwise than with the last ACK or
//! for a mini-socket.

use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::{
        END_ACKED, END_MEMORY, END_MEMORY_KNOWN, END_NETNS_GONE, END_NO_LINGER2, END_ORPHAN, END_REPAIR,
        END_REPAIR_KNOWN, END_SOFT_ASKED, END_SOFT_KNOWN, END_SOFT_SHIFT, END_UNSENT, END_WINDOW_CLOSED,
    },
};

use crate::{
    kernel::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SOCK_DEAD},
    sock::{At, Fields, Typed, no_users},
};

/// Whether the peer has acknowledged everything that was written, FIN included: in LAST_ACK that is the normal end (`tcp_rcv_state_process`).
#[inline(always)]
pub fn is_acked(tcp: Typed) -> bool {
    tcp.read::<u32>(&OFF_SND_UNA) == tcp.read::<u32>(&OFF_WRITE_SEQ)
}

/// Bits that are set one by one in the record itself. Kept in a register, each choice would be another value for the verifier to follow: 273,000
/// instructions instead of 25,000 on 6.18.
#[derive(Clone, Copy)]
pub struct About(*mut u32);

impl About {
    /// None set.
    ///
    /// # Safety
    /// The word is in a reserved record, and outlives this.
    #[inline(always)]
    pub unsafe fn clear(about: *mut u32) -> Self {
        // SAFETY: the caller's.
        unsafe { about.write_volatile(0) };
        Self(about)
    }

    /// Sets one.
    #[inline(always)]
    pub fn set(self, bit: u32) {
        // SAFETY: as it was made. Volatile, so that it stays in memory.
        unsafe { self.0.write_volatile(self.0.read_volatile() | bit) };
    }
}

/// Tells what a socket says of its end (`END_…`), but for who is on the CPU.
#[inline(always)]
pub fn end(sk: Typed, tcp: Typed, about: About) {
    if sk.read::<u64>(&OFF_SK_FLAGS) >> SOCK_DEAD & 1 != 0 {
        about.set(END_ORPHAN);
    }
    if BIT_REPAIR.load() != ABSENT {
        about.set(END_REPAIR_KNOWN);
        if tcp.at().bits(&BIT_REPAIR) & 1 != 0 {
            about.set(END_REPAIR);
        }
    }
    if tcp.read::<i32>(&OFF_LINGER2) < 0 {
        about.set(END_NO_LINGER2);
    }
    if no_users(sk) {
        about.set(END_NETNS_GONE);
    }
    if tcp.read::<u32>(&OFF_SND_WND) == 0 {
        about.set(END_WINDOW_CLOSED);
    }
    if is_acked(tcp) {
        about.set(END_ACKED);
    }
    if tcp.read::<u32>(&OFF_SND_NXT) != tcp.read::<u32>(&OFF_WRITE_SEQ) {
        about.set(END_UNSENT);
    }
    memory(sk, about);
}

/// An error that the kernel noted and did not end the connection for. SO_ERROR takes it away (`sk_getsockopt`); an ICMP error over IPv4 in
/// SYN_SENT stays in the queue of errors (`tcp_v4_err`, `ip_icmp_error`), where few read it. Over IPv6 it does so with IPV6_RECVERR only.
#[inline(always)]
pub fn soft_error(sk: Typed, connects: bool, about: About) {
    about.set(END_SOFT_KNOWN);
    let noted = sk.read::<i32>(&OFF_ERR_SOFT);
    if noted != 0 {
        about.set(u32::from(noted as u16) << END_SOFT_SHIFT);
    } else if connects && has_errors(sk) && OFF_ERROR_ERRNO.load() != ABSENT && OFF_ERROR_ORIGIN.load() != ABSENT {
        // Others are no errors of the connection.
        let says = At(sk.at().follow(&OFF_FIRST_ERROR).0 + u64::from(OFF_SKB_CB.load()));
        let origin: u8 = says.read(&OFF_ERROR_ORIGIN);
        if origin == SO_EE_ORIGIN_ICMP || origin == SO_EE_ORIGIN_ICMP6 {
            about.set(END_SOFT_ASKED | u32::from(says.read::<u32>(&OFF_ERROR_ERRNO) as u16) << END_SOFT_SHIFT);
        }
    }
}

/// Whether errors wait in the socket's queue of them.
#[inline(always)]
pub fn has_errors(sk: Typed) -> bool {
    sk.read::<u32>(&OFF_ERRORS) != 0
}

/// `tcp_out_of_memory` (include/net/tcp.h and net/ipv4/tcp.c, 5.15 to 7.3).
#[inline(always)]
fn memory(sk: Typed, about: About) {
    /// `SOCK_MIN_SNDBUF`: twice 2048 bytes and a `struct sk_buff`.
    const SOCK_MIN_SNDBUF: i32 = 2 * (2048 + 256);
    /// The last of the three of `tcp_mem`.
    const LIMIT: u64 = 2 * 8;
    if OFF_PROT_MEMORY.load() == ABSENT || OFF_PROT_LIMITS.load() == ABSENT {
        return;
    }
    let prot = sk.at().follow(&OFF_PROT);
    let allocated: i64 = prot.follow(&OFF_PROT_MEMORY).read_here();
    let limit: i64 = At(prot.follow(&OFF_PROT_LIMITS).0 + LIMIT).read_here();
    let is_short = sk.read::<i32>(&OFF_WMEM_QUEUED) > SOCK_MIN_SNDBUF && allocated > limit;
    about.set(END_MEMORY_KNOWN);
    if is_short {
        about.set(END_MEMORY);
    }
}

/// TCP_USER_TIMEOUT in milliseconds, for how many jiffies the peer's closed window has been probed, and how many a retransmission may wait.
#[inline(always)]
pub fn patience(tcp: Typed, jiffies: u64) -> (u32, u32, u32) {
    let since = if OFF_PROBES_TSTAMP.load() == ABSENT { 0 } else { tcp.read::<u32>(&OFF_PROBES_TSTAMP) };
    let probed = if since == 0 { 0 } else { (jiffies as u32).wrapping_sub(since) };
    let rto_max = if OFF_RTO_MAX.load() == ABSENT { 0 } else { tcp.read::<u32>(&OFF_RTO_MAX) };
    (tcp.read(&OFF_USER_TIMEOUT), probed, rto_max)
}
