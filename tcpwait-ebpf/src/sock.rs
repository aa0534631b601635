//! The only file with pointer arithmetic: reads sockets, mini-sockets, timers and tasks at the offsets that BTF gave.
//! What a hook is handed has a type that the verifier knows, and is loaded from as it stands; what is found otherwise is copied with
//! `bpf_probe_read_kernel`, some 20 ns a call. Neither can fault; a field that cannot be read gives zero.

use core::{arch::asm, ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_socket_cookie, bpf_probe_read_kernel, generated::bpf_get_current_task_btf,
        generated::bpf_probe_read_kernel as copy_kernel, generated::bpf_skc_to_tcp_sock,
    },
};
use tcpwait_wire::{
    config::{ABSENT, offset::*},
    wire::{
        Counter, Flow, QUEUE_FULL, QUEUE_FULL_RESETS, QUEUE_HAS_ROOM, REUSE_ADDR, REUSE_KNOWN, REUSE_PORT,
        REUSE_V6ONLY, REUSE_V6ONLY_KNOWN, UNSENT_DEFERRABLE, UNSENT_KNOWN, UNSENT_REPAIR,
    },
};

use crate::{
    counters::count,
    kernel::{AF_INET, AF_INET6, INET_FLAGS_DEFER_CONNECT, IPPROTO_MPTCP, IPPROTO_TCP},
    maps::HERE,
};

/// A kernel structure whose fields can be read.
pub trait Fields: Copy {
    /// Reads a field; zero when the memory cannot be read.
    fn read<T: Copy + Default>(self, offset: &Global<u32>) -> T;

    /// Reads the byte at this distance from the start.
    fn byte(self, at: u32) -> u8;

    /// Reads the byte that a bit field lies in, from its first bit on; zero where the kernel's types do not tell where it is.
    #[inline(always)]
    fn bits(self, offset: &Global<u32>) -> u8 {
        let bits = offset.load();
        if bits == ABSENT {
            return 0;
        }
        self.byte(bits / 8) >> (bits % 8)
    }

    /// Follows a pointer field.
    #[inline(always)]
    fn follow(self, offset: &Global<u32>) -> At {
        At(self.read(offset))
    }
}

/// A structure that the verifier knows the type of (`PTR_TO_BTF_ID`): a tracepoint's argument, the current task, and what their pointers
/// lead to. A field is one instruction, and the verifier checks that there is one at that offset (`btf_struct_access`, 5.5).
#[derive(Clone, Copy)]
pub struct Typed(*const c_void);

impl Typed {
    /// # Safety
    /// The verifier must know the pointer's type.
    #[inline(always)]
    pub unsafe fn new(pointer: *const c_void) -> Self {
        Self(pointer)
    }

    /// The current task.
    #[inline(always)]
    pub fn current_task() -> Self {
        // SAFETY: the helper has no preconditions, and what it returns is a `struct task_struct` to the verifier.
        Self(unsafe { bpf_get_current_task_btf() } as *const c_void)
    }

    /// Follows a pointer field to a structure that BTF describes.
    #[inline(always)]
    pub fn follow_typed(self, offset: &Global<u32>) -> Self {
        // SAFETY: the verifier checks the load; a bad address gives zero (`BPF_PROBE_MEM`). Volatile, so that it stays one load.
        Self(unsafe { self.0.byte_add(offset.load() as usize).cast::<*const c_void>().read_volatile() })
    }

    /// Tells it from others: a number that stays the same as long as the structure is where it is.
    #[inline(always)]
    pub fn number(self) -> u64 {
        HERE.get_ptr(0).map_or(0, |here| distance(self.0, here.cast()))
    }

    /// The same structure, to be read by copying: for fields of the larger structure that it is the beginning of.
    #[inline(always)]
    pub fn at(self) -> At {
        At(self.0 as u64)
    }
}

impl Fields for Typed {
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: &Global<u32>) -> T {
        // SAFETY: as in `follow_typed`.
        unsafe { self.0.byte_add(offset.load() as usize).cast::<T>().read_volatile() }
    }

    #[inline(always)]
    fn byte(self, at: u32) -> u8 {
        // SAFETY: as in `follow_typed`.
        unsafe { self.0.byte_add(at as usize).cast::<u8>().read_volatile() }
    }
}

/// How far apart two places are, in bytes: a number, where a pointer is more than that to the verifier.
#[inline(always)]
pub fn distance(from: *const c_void, to: *const c_void) -> u64 {
    let mut distance = from as u64;
    // SAFETY: one instruction, on two registers.
    unsafe { asm!("{from} -= {to}", from = inout(reg) distance, to = in(reg) to, options(pure, nomem, nostack)) };
    distance
}

/// A structure at this address.
#[derive(Clone, Copy)]
pub struct At(pub u64);

impl At {
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
}

impl Fields for At {
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: &Global<u32>) -> T {
        At(self.0 + u64::from(offset.load())).read_here()
    }

    #[inline(always)]
    fn byte(self, at: u32) -> u8 {
        At(self.0 + u64::from(at)).read_here()
    }
}

/// Words of a mini-socket that are copied: what is read of a `tcp_timewait_sock` or a `tcp_request_sock` mostly lies before (5.15 to 7.3).
const COPIED_WORDS: usize = 32;

/// A mini-socket of which the beginning is copied, in one go: a call costs more than a hundred bytes. What lies behind is read where it is.
pub struct Copied {
    words: [u64; COPIED_WORDS],
    at: At,
}

impl Copied {
    /// Copies into `memory`, which is the caller's since the stack holds it only once; all zero when the socket cannot be read.
    #[inline(always)]
    pub fn into(memory: &mut MaybeUninit<Self>, at: At) -> &Self {
        let copied = memory.as_mut_ptr();
        // SAFETY: the helper checks the address, and writes all of the words: zeros where it fails.
        unsafe {
            (*copied).at = at;
            let words = (&raw mut (*copied).words).cast();
            if copy_kernel(words, (COPIED_WORDS * 8) as u32, at.0 as *const _) != 0 {
                count(Counter::Unreadable);
            }
            &*copied
        }
    }

    /// A value at this distance from the start. The distance is read-only data, so the verifier sees one of the two ways only.
    #[inline(always)]
    fn load<T: Copy + Default>(&self, offset: u32) -> T {
        if offset as usize + size_of::<T>() > size_of_val(&self.words) {
            return At(self.at.0 + u64::from(offset)).read_here();
        }
        // SAFETY: it lies in the copy, which the verifier checks too.
        unsafe { self.words.as_ptr().byte_add(offset as usize).cast::<T>().read_volatile() }
    }
}

impl Fields for &Copied {
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: &Global<u32>) -> T {
        self.load(offset.load())
    }

    #[inline(always)]
    fn byte(self, at: u32) -> u8 {
        self.load(at)
    }
}

/// Whether a full socket speaks TCP: MPTCP and DCCP sockets pass the same tracepoint.
#[inline(always)]
pub fn is_tcp(sk: impl Fields) -> bool {
    sk.read::<u16>(&OFF_PROTOCOL) == IPPROTO_TCP
}

/// Whether a socket is Multipath TCP's own, which has TCP connections below it.
#[inline(always)]
pub fn is_multipath(sk: impl Fields) -> bool {
    sk.read::<u16>(&OFF_PROTOCOL) == IPPROTO_MPTCP
}

/// Whether what a process asks of a socket is asked of TCP.
#[inline(always)]
pub fn is_stream(sk: impl Fields) -> bool {
    is_tcp(sk) || is_multipath(sk)
}

/// Whether TCP_FASTOPEN_CONNECT keeps the socket's SYN back until the first write (`tcp_fastopen_defer_connect`).
#[inline(always)]
pub fn is_deferred(sk: Typed) -> bool {
    if OFF_INET_FLAGS.load() != ABSENT {
        return sk.at().read::<u64>(&OFF_INET_FLAGS) >> INET_FLAGS_DEFER_CONNECT & 1 != 0;
    }
    sk.at().bits(&BIT_DEFER_CONNECT) & 1 != 0
}

/// Whether a process holds the socket lock (`sk_lock.owned`). While it does, softirqs put their segments into the
/// backlog and timers step back, so whoever runs this code for this socket is the lock's holder (`lock_sock_nested`, 5.15 to 7.3).
#[inline(always)]
pub fn held_by_task(sk: impl Fields) -> bool {
    sk.read::<i32>(&OFF_OWNED) != 0
}

/// The cookie of a socket that a tracepoint was handed, made now if it has none.
#[inline(always)]
pub fn make_cookie(sk: Typed) -> u64 {
    match sk.read(&OFF_COOKIE) {
        // SAFETY: the verifier checks that it is a trusted argument.
        0 => unsafe { bpf_get_socket_cookie(sk.0.cast_mut()) },
        cookie => cookie,
    }
}

/// A network namespace.
#[derive(Clone, Copy)]
pub struct Netns<Net> {
    net: Net,
    /// Its inode.
    pub inode: u32,
}

impl<Net: Fields> Netns<Net> {
    /// Which no other has had since boot; 0 where there is none. Read where it is asked for, since it lies far from the inode.
    #[inline(always)]
    pub fn cookie(self) -> u64 {
        if OFF_NET_COOKIE.load() == ABSENT {
            return 0;
        }
        self.net.read(&OFF_NET_COOKIE)
    }
}

/// The socket's network namespace.
#[inline(always)]
pub fn netns(common: impl Fields) -> Netns<At> {
    let net = common.follow(&OFF_NET);
    Netns { net, inode: net.read(&OFF_NET_INUM) }
}

/// The same, of a socket that a tracepoint was handed.
#[inline(always)]
pub fn netns_of(sk: Typed) -> Netns<Typed> {
    let net = sk.follow_typed(&OFF_NET);
    Netns { net, inode: net.read(&OFF_NET_INUM) }
}

/// Whether the socket's namespace is being taken down (`cleanup_net`); `false` where the kernel's types do not say.
#[inline(always)]
pub fn no_users(common: impl Fields) -> bool {
    OFF_NET_USERS.load() != ABSENT && common.follow(&OFF_NET).read::<i32>(&OFF_NET_USERS) == 0
}

/// Whether others may share its port (`REUSE_…`).
#[inline(always)]
pub fn reuse(common: impl Fields) -> u8 {
    if BIT_REUSE.load() == ABSENT || BIT_REUSEPORT.load() == ABSENT {
        return 0;
    }
    let address = if common.bits(&BIT_REUSE) & 15 != 0 { REUSE_ADDR } else { 0 };
    let port = if common.bits(&BIT_REUSEPORT) & 1 != 0 { REUSE_PORT } else { 0 };
    REUSE_KNOWN | address | port | v6only(common)
}

#[inline(always)]
fn v6only(common: impl Fields) -> u8 {
    if BIT_V6ONLY.load() == ABSENT {
        return 0;
    }
    REUSE_V6ONLY_KNOWN | if common.bits(&BIT_V6ONLY) & 1 != 0 { REUSE_V6ONLY } else { 0 }
}

/// The state of a listener's accept queue (`QUEUE_…`), by `sk_acceptq_is_full`.
#[inline(always)]
pub fn accept_queue(listener: At) -> u8 {
    if listener.read::<u32>(&OFF_ACK_BACKLOG) <= listener.read::<u32>(&OFF_MAX_ACK_BACKLOG) {
        return QUEUE_HAS_ROOM;
    }
    if OFF_ABORT_ON_OVERFLOW.load() != ABSENT && listener.follow(&OFF_NET).read::<u8>(&OFF_ABORT_ON_OVERFLOW) != 0 {
        return QUEUE_FULL_RESETS;
    }
    QUEUE_FULL
}

/// The same socket as the `struct tcp_sock` that it is the beginning of; `None` where it is none (`bpf_skc_to_tcp_sock`).
#[inline(always)]
pub fn tcp_of(sk: Typed) -> Option<Typed> {
    // SAFETY: the verifier checks that it is a socket, and knows the type of what comes back.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.0.cast_mut()) };
    if tcp.is_null() { None } else { Some(Typed(tcp.cast())) }
}

/// Whether a SYN follows the step into SYN_SENT (`UNSENT_…`).
#[inline(always)]
pub fn syn_withheld(sk: Typed) -> u8 {
    if BIT_REPAIR.load() == ABSENT || BIT_FASTOPEN_CONNECT.load() == ABSENT {
        return 0;
    }
    let repair = if sk.at().bits(&BIT_REPAIR) & 1 != 0 { UNSENT_REPAIR } else { 0 };
    let deferrable = if sk.at().bits(&BIT_FASTOPEN_CONNECT) & 1 != 0 { UNSENT_DEFERRABLE } else { 0 };
    UNSENT_KNOWN | repair | deferrable
}

/// How many mini-sockets the socket's namespace has, and may have; `(0, u32::MAX)` where the kernel's types do not say.
#[inline(always)]
pub fn tw_room(common: impl Fields) -> (u32, u32) {
    if OFF_DEATH_ROW.load() == ABSENT || OFF_TW_COUNT.load() == ABSENT || OFF_TW_MAX.load() == ABSENT {
        return (0, u32::MAX);
    }
    let row = At(common.follow(&OFF_NET).0 + u64::from(OFF_DEATH_ROW.load()));
    (row.read(&OFF_TW_COUNT), row.read(&OFF_TW_MAX))
}

/// Local port of a full socket: `inet_sport` outlives `skc_num`, which `inet_put_port` clears before `-> CLOSE`.
#[inline(always)]
pub fn full_lport(sk: Typed) -> u16 {
    match bound_port(sk) {
        0 => u16::from_be(sk.at().read(&OFF_SPORT)),
        port => port,
    }
}

/// The port a socket is bound to (`skc_num`, `tw_num`): a mini-socket's local port, and a full socket's until it is given back.
#[inline(always)]
pub fn bound_port(common: impl Fields) -> u16 {
    common.read(&OFF_NUM)
}

/// Remote port.
#[inline(always)]
pub fn rport(common: impl Fields) -> u16 {
    u16::from_be(common.read(&OFF_DPORT))
}

/// The addresses of a full socket or a mini-socket; both start with `struct sock_common`.
/// A v4-mapped IPv6 socket carries its IPv4 addresses as well (`tcp_v6_connect`, `tcp_v6_syn_recv_sock`), and those are taken.
#[inline(always)]
pub fn flow(common: impl Fields, netns: Netns<impl Fields>, lport: u16, rport: u16) -> Flow {
    let mut flow = Flow {
        laddr: [0; 16],
        raddr: [0; 16],
        netns: netns.inode,
        lport,
        rport,
        family: common.read(&OFF_FAMILY),
        generation: netns.cookie() as u16,
        bound_dev_if: common.read(&OFF_BOUND_DEV_IF),
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
