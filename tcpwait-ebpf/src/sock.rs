//! The only file with pointer arithmetic: reads sockets, mini-sockets and timers at the offsets that BTF gave.
//! Every read goes through `bpf_probe_read_kernel`, which cannot fault; a failed read gives zero.

use aya_ebpf::{
    Global,
    helpers::{bpf_get_socket_cookie, bpf_probe_read_kernel},
};
use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::{Counter, Flow, REUSE_ADDR, REUSE_KNOWN, REUSE_PORT},
};

use crate::emit::count;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

/// A kernel structure at this address.
#[derive(Clone, Copy)]
pub struct At(pub u64);

impl At {
    /// Reads a field; zero when the memory cannot be read.
    #[inline(always)]
    pub fn read<T: Copy + Default>(self, offset: &Global<u32>) -> T {
        At(self.0 + u64::from(offset.load())).read_here()
    }

    /// Reads what is at the address itself; zero when the memory cannot be read.
    #[inline(always)]
    pub fn read_here<T: Copy + Default>(self) -> T {
        // SAFETY: bpf_probe_read_kernel checks the address itself and reports a fault as an error.
        match unsafe { bpf_probe_read_kernel(self.0 as *const T) } {
            Ok(value) => value,
            Err(_) => {
                count(Counter::Unreadable);
                T::default()
            }
        }
    }

    /// Reads the byte that a bit field lies in, from its first bit on; zero where the kernel's types do not tell where it is.
    #[inline(always)]
    pub fn bits(self, offset: &Global<u32>) -> u8 {
        let bits = offset.load();
        if bits == ABSENT {
            return 0;
        }
        At(self.0 + u64::from(bits / 8)).read_here::<u8>() >> (bits % 8)
    }

    /// Follows a pointer field.
    #[inline(always)]
    pub fn follow(self, offset: &Global<u32>) -> At {
        At(self.read(offset))
    }
}

/// Whether a full socket speaks TCP: MPTCP and DCCP sockets pass the same tracepoint.
#[inline(always)]
pub fn is_tcp(sk: At) -> bool {
    sk.read::<u16>(&OFF_PROTOCOL) == IPPROTO_TCP
}

/// Whether a process holds the socket lock (`sk_lock.owned`). While it does, softirqs put their segments into the
/// backlog and timers step back, so whoever runs this code for this socket is the lock's holder (`lock_sock_nested`, 5.15 to 7.3).
#[inline(always)]
pub fn held_by_task(sk: At) -> bool {
    sk.read::<i32>(&OFF_OWNED) != 0
}

/// The socket's cookie, made now if it has none.
#[inline(always)]
pub fn make_cookie(sk: *const core::ffi::c_void) -> u64 {
    // SAFETY: `sk` is the tracepoint's own trusted argument, which the verifier checks.
    unsafe { bpf_get_socket_cookie(sk.cast_mut()) }
}

/// Inode of the socket's network namespace.
#[inline(always)]
pub fn netns(common: At) -> u32 {
    common.follow(&OFF_NET).read(&OFF_NET_INUM)
}

/// Whether the socket's namespace is being taken down (`cleanup_net`); `false` where the kernel's types do not say.
#[inline(always)]
pub fn no_users(common: At) -> bool {
    OFF_NET_USERS.load() != ABSENT && common.follow(&OFF_NET).read::<i32>(&OFF_NET_USERS) == 0
}

/// Whether others may share its port (`REUSE_…`).
#[inline(always)]
pub fn reuse(common: At) -> u8 {
    if BIT_REUSE.load() == ABSENT || BIT_REUSEPORT.load() == ABSENT {
        return 0;
    }
    let address = if common.bits(&BIT_REUSE) & 15 != 0 { REUSE_ADDR } else { 0 };
    let port = if common.bits(&BIT_REUSEPORT) & 1 != 0 { REUSE_PORT } else { 0 };
    REUSE_KNOWN | address | port
}

/// How many mini-sockets the socket's namespace has, and may have; `(0, u32::MAX)` where the kernel's types do not say.
#[inline(always)]
pub fn tw_room(common: At) -> (u32, u32) {
    if OFF_DEATH_ROW.load() == ABSENT || OFF_TW_COUNT.load() == ABSENT || OFF_TW_MAX.load() == ABSENT {
        return (0, u32::MAX);
    }
    let row = At(common.follow(&OFF_NET).0 + u64::from(OFF_DEATH_ROW.load()));
    (row.read(&OFF_TW_COUNT), row.read(&OFF_TW_MAX))
}

/// Local port of a full socket: `inet_sport` outlives `skc_num`, which `inet_put_port` clears before `-> CLOSE`.
#[inline(always)]
pub fn full_lport(sk: At) -> u16 {
    u16::from_be(sk.read(&OFF_SPORT))
}

/// The port a socket is bound to (`skc_num`, `tw_num`): a mini-socket's local port, and a full socket's until it is given back.
#[inline(always)]
pub fn bound_port(common: At) -> u16 {
    common.read(&OFF_NUM)
}

/// Remote port.
#[inline(always)]
pub fn rport(common: At) -> u16 {
    u16::from_be(common.read(&OFF_DPORT))
}

/// The addresses of a full socket or a mini-socket; both start with `struct sock_common`.
/// A v4-mapped IPv6 socket carries its IPv4 addresses as well (`tcp_v6_connect`, `tcp_v6_syn_recv_sock`), and those are taken.
#[inline(always)]
pub fn flow(common: At, netns: u32, lport: u16, rport: u16) -> Flow {
    let mut flow = Flow {
        laddr: [0; 16],
        raddr: [0; 16],
        netns,
        lport,
        rport,
        family: common.read(&OFF_FAMILY),
        reserved: [0; 3],
    };
    if flow.family == AF_INET6 {
        let raddr: [u32; 4] = common.read(&OFF_V6_DADDR);
        if raddr[0] == 0 && raddr[1] == 0 && raddr[2] == u32::to_be(0xffff) {
            flow.family = AF_INET;
        } else {
            flow.raddr = bytes(raddr);
            flow.laddr = bytes(common.read(&OFF_V6_RCV_SADDR));
        }
    }
    if flow.family == AF_INET {
        flow.raddr = bytes([common.read(&OFF_DADDR), 0, 0, 0]);
        flow.laddr = bytes([common.read(&OFF_RCV_SADDR), 0, 0, 0]);
    }
    flow
}

#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: same size, no padding, every bit pattern is valid for bytes.
    unsafe { core::mem::transmute(words) }
}
