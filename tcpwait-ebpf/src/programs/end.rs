//! What a full socket is like when it comes to CLOSE, for whoever is to say why it did. Read only where it ends otherwise than with the last ACK or
//! for a mini-socket.

use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::{
        END_ACKED, END_MEMORY, END_MEMORY_KNOWN, END_NETNS_GONE, END_NO_LINGER2, END_ORPHAN, END_REPAIR,
        END_REPAIR_KNOWN, END_UNSENT, END_WINDOW_CLOSED,
    },
};

use crate::sock::{At, Fields, Typed, no_users};

/// Whether the peer has acknowledged everything that was written, FIN included: in LAST_ACK that is the normal end (`tcp_rcv_state_process`).
#[inline(always)]
pub fn is_acked(tcp: Typed) -> bool {
    tcp.read::<u32>(&OFF_SND_UNA) == tcp.read::<u32>(&OFF_WRITE_SEQ)
}

/// What a socket says of its end (`END_…`), but for who is on the CPU.
#[inline(always)]
pub fn end(sk: Typed, tcp: Typed) -> u32 {
    const SOCK_DEAD: u64 = 0;
    let mut about = 0;
    if sk.read::<u64>(&OFF_SK_FLAGS) >> SOCK_DEAD & 1 != 0 {
        about |= END_ORPHAN;
    }
    if BIT_REPAIR.load() != ABSENT {
        about |= END_REPAIR_KNOWN | if tcp.at().bits(&BIT_REPAIR) & 1 != 0 { END_REPAIR } else { 0 };
    }
    if tcp.read::<i32>(&OFF_LINGER2) < 0 {
        about |= END_NO_LINGER2;
    }
    if no_users(sk) {
        about |= END_NETNS_GONE;
    }
    if tcp.read::<u32>(&OFF_SND_WND) == 0 {
        about |= END_WINDOW_CLOSED;
    }
    if is_acked(tcp) {
        about |= END_ACKED;
    }
    if tcp.read::<u32>(&OFF_SND_NXT) != tcp.read::<u32>(&OFF_WRITE_SEQ) {
        about |= END_UNSENT;
    }
    about | memory(sk)
}

/// `tcp_out_of_memory` (include/net/tcp.h and net/ipv4/tcp.c, 5.15 to 7.3).
#[inline(always)]
fn memory(sk: Typed) -> u32 {
    /// `SOCK_MIN_SNDBUF`: twice 2048 bytes and a `struct sk_buff`.
    const SOCK_MIN_SNDBUF: i32 = 2 * (2048 + 256);
    /// The last of the three of `tcp_mem`.
    const LIMIT: u64 = 2 * 8;
    if OFF_PROT_MEMORY.load() == ABSENT || OFF_PROT_LIMITS.load() == ABSENT {
        return 0;
    }
    let prot = sk.at().follow(&OFF_PROT);
    let allocated: i64 = prot.follow(&OFF_PROT_MEMORY).read_here();
    let limit: i64 = At(prot.follow(&OFF_PROT_LIMITS).0 + LIMIT).read_here();
    let is_short = sk.read::<i32>(&OFF_WMEM_QUEUED) > SOCK_MIN_SNDBUF && allocated > limit;
    END_MEMORY_KNOWN | if is_short { END_MEMORY } else { 0 }
}

/// TCP_USER_TIMEOUT in milliseconds, for how many jiffies the peer's closed window has been probed, and how many a retransmission may wait.
#[inline(always)]
pub fn patience(tcp: Typed, jiffies: u64) -> (u32, u32, u32) {
    let since = if OFF_PROBES_TSTAMP.load() == ABSENT { 0 } else { tcp.read::<u32>(&OFF_PROBES_TSTAMP) };
    let probed = if since == 0 { 0 } else { (jiffies as u32).wrapping_sub(since) };
    let rto_max = if OFF_RTO_MAX.load() == ABSENT { 0 } else { tcp.read::<u32>(&OFF_RTO_MAX) };
    (tcp.read(&OFF_USER_TIMEOUT), probed, rto_max)
}
