//! The records, byte for byte: written by the eBPF programs into the ring buffer, by user space into a recording.
//!
//! Every record starts with a [`Head`], is a multiple of 8 bytes long and has no hidden padding (the `zerocopy`
//! derives refuse to compile otherwise), so a recording is the ring buffer's bytes and nothing else.
//! This module states layouts; what a record means for a connection is the lifecycle's business.

mod counters;
mod hooks;
pub mod sample;
mod told;

pub use self::{counters::*, hooks::*, told::*};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of these layouts. A recording made with another version is refused.
pub const VERSION: u32 = 7;

/// The oldest version that can be read. In 3 the hand-over to a mini-socket and the birth of every passive connection had records. In 4 heads had
/// no thread, and recursion misses were counted for all hooks together;
/// up to 4 [`Flow::generation`] and [`Flow::bound_dev_if`] were zero, and a [`Seed`] said nothing of which side made a connection, nor the step
/// into SYN_SENT whether a SYN follows.
/// Up to 4 what a call gave back was told only of EADDRINUSE, and [`SockState::syn`], [`REUSE_V6ONLY_KNOWN`], [`Request::deferred`] and
/// [`Request::queue`], [`PortRefused::socket`] and [`Seed::about`] were zero.
/// Up to 5 a [`Seed`] said nothing of how long the socket had been in its state, and was 8 bytes shorter.
/// Up to 5 there was no [`Kind::StateEnd`], and [`SYN_ACKED`] was zero.
/// The first of version 6 have neither [`RETRANSMITS_KNOWN`] nor [`END_SOFT_KNOWN`], which say so, and [`SYN_OLD_SOFT`] is zero there. They have no
/// [`Kind::PodName`] either.
/// Up to 6 a recording held neither settings ([`Kind::Setting`]) nor the kernel's own counters ([`Kind::ReadingBegins`] and what follows).
pub const OLDEST_VERSION: u32 = 3;

/// Frames kept of a kernel stack, innermost first. The decisive frame of every known early death of a
/// TIME_WAIT socket is among the first ten (`net/ipv4/inet_timewait_sock.c` and its callers, 5.15 to 7.3).
pub const STACK_FRAMES: usize = 14;

/// `Head::flags` of [`Kind::TwArm`]: the timer was pending until just now, so this is a restart, not an entry.
pub const FLAG_REARM: u8 = 1;
/// `Head::flags` of [`Kind::State`]: the kernel side saw this socket's mini-socket being armed on this CPU
/// immediately before, so `-> CLOSE` is the hand-over to it. It has a record only if there was no room for the mini-socket's.
pub const FLAG_HANDED_OVER: u8 = 2;
/// `Head::flags` of [`Kind::TwCancel`]: the socket was already out of the established hash
/// (`tw_node.pprev == NULL`), which only a `connect()` that takes the tuple does.
pub const FLAG_UNHASHED: u8 = 4;
/// `Head::flags` of [`Kind::TwCancel`]: the socket's network namespace has no user left (`net.ns.count` is 0) and is being
/// taken down.
pub const FLAG_NETNS_GONE: u8 = 8;
/// `Head::flags` of [`Kind::TwCancel`]: the hook ran on the stack of the current task. Softirqs have a stack of their own, but
/// for those of `ksoftirqd` and for packets that a task hands in itself (`tun_get_user`).
pub const FLAG_TASK_STACK: u8 = 16;
/// `Head::flags` of [`Kind::ReqArm`]: the timer ran out just now and the SYN-ACK was sent again.
pub const FLAG_RETRANSMIT: u8 = 32;
/// `Head::flags` of [`Kind::State`], `SYN_RECV -> …`: the request socket that the connection came from was seen to end on this CPU
/// immediately before. SYN cookies and TCP Fast Open have none.
pub const FLAG_OF_REQUEST: u8 = 64;

/// `Head::flags` of [`Kind::State`], `SYN_RECV -> …`: the socket was born of its listener on this CPU immediately before, and that has no
/// record of its own.
pub const FLAG_NEWBORN: u8 = 128;
/// `Head::flags` of [`Kind::Owner`]: user space found who holds a listener whose process has ended, or whose port was refused to somebody.
/// A task that is all zero: several do, or nobody that can be seen.
pub const FLAG_HEIR: u8 = 1;

/// In [`SockState::syn`] of `CLOSE -> SYN_SENT`: the socket is being restored (TCP_REPAIR), and no SYN follows (`tcp_connect`).
pub const UNSENT_REPAIR: u8 = 16;
/// There: the SYN may wait for the first data (TCP_FASTOPEN_CONNECT, `tcp_fastopen_defer_connect`).
pub const UNSENT_DEFERRABLE: u8 = 32;
/// There: the two above are known.
pub const UNSENT_KNOWN: u8 = 64;

/// In [`Seed::about`]: this side made the connection, as far as the listing tells. 0: it was not asked.
pub const MADE_HERE: u8 = 1;
/// In [`Seed::about`]: the peer made it.
pub const MADE_THERE: u8 = 2;
/// In [`Seed::about`]: the listing does not tell; more of its sockets have the local port than have the remote port (in the first recordings of version 6, and older
/// ones: no fewer have it).
pub const MADE_UNKNOWN: u8 = 3;
/// In [`Seed::about`]: the listing does not tell; more of its sockets have the remote port.
pub const MADE_UNKNOWN_REMOTE: u8 = 4;
/// In [`Seed::about`]: the listing does not tell; as many of its sockets have the one port as the other.
pub const MADE_UNKNOWN_NEITHER: u8 = 5;
/// In [`Seed::about`]: the bits of `MADE_…`.
pub const MADE_BITS: u8 = 7;

/// In a record's `reuse`: the rest of it is known.
pub const REUSE_KNOWN: u8 = 4;
/// In a record's `reuse`: the socket has SO_REUSEADDR (`skc_reuse`).
pub const REUSE_ADDR: u8 = 1;
/// In a record's `reuse`: it has SO_REUSEPORT (`skc_reuseport`).
pub const REUSE_PORT: u8 = 2;

/// In a record's `reuse`: [`REUSE_V6ONLY`] is known.
pub const REUSE_V6ONLY_KNOWN: u8 = 16;
/// In a record's `reuse`: it has IPV6_V6ONLY (`skc_ipv6only`), and holds no port of IPv4.
pub const REUSE_V6ONLY: u8 = 8;

/// In [`SockState::syn`]: no SYN is under way (`tcp_sock.packets_out` is 0): none was sent yet, or all were given up, which leaves an error.
pub const SYN_UNSENT: u8 = 1;
/// In [`SockState::syn`]: TCP_FASTOPEN_CONNECT keeps the SYN back until the first write (`defer_connect`).
pub const SYN_DEFERRED: u8 = 2;
/// In [`SockState::syn`]: what connect() gives back has a record of its own, [`Kind::PortRefused`], where it is one of the errors that
/// leave no `sk_err` and a hook is on it. From version 5 on.
pub const SYN_RETURNS: u8 = 4;
/// In [`SockState::syn`], on the way into SYN_SENT: `inet_sport` is that of a former connection (`tcp_disconnect` leaves it).
pub const SYN_OLD_PORT: u8 = 8;

/// There: the socket has an error from before (`sk_err_soft`, `sk_error_queue`), which an acknowledgement takes away (`tcp_ack`), or its process.
pub const SYN_OLD_SOFT: u8 = 128;

/// In [`SockState::syn`] of any step but that into SYN_SENT: [`SockState::retransmits`] was read. The steps that leave SYN_SENT and SYN_RECV have
/// it always.
pub const RETRANSMITS_KNOWN: u8 = 64;

/// In [`SockState::syn`] of `LAST_ACK -> CLOSE`: the peer has acknowledged everything, FIN included (`tcp_rcv_state_process`): the normal end.
pub const SYN_ACKED: u8 = 128;

/// In [`SockStateEnd::about`]: the task made it in a call that only the socket's owner can make (as [`Kind::StateTask`]).
pub const END_BY_CALL: u32 = 1;
/// There: the hook ran on the stack of the task, as softirqs mostly do not ([`FLAG_TASK_STACK`]). Else the task is all zero.
pub const END_TASK_STACK: u32 = 2;
/// There: no process holds the socket any more (`SOCK_DEAD`).
pub const END_ORPHAN: u32 = 4;
/// There: the socket is in TCP_REPAIR, and no segment was sent.
pub const END_REPAIR: u32 = 8;
/// There: TCP_LINGER2 is below 0.
pub const END_NO_LINGER2: u32 = 16;
/// There: the network namespace has no user left ([`FLAG_NETNS_GONE`]).
pub const END_NETNS_GONE: u32 = 32;
/// There: the peer's window is closed (`snd_wnd` is 0).
pub const END_WINDOW_CLOSED: u32 = 64;
/// There: the peer has acknowledged everything that was written.
pub const END_ACKED: u32 = 128;
/// There: it holds memory while all of TCP has more than `tcp_mem` allows (`tcp_out_of_memory`).
pub const END_MEMORY: u32 = 256;
/// There: [`END_MEMORY`] is known.
pub const END_MEMORY_KNOWN: u32 = 512;
/// There: [`END_REPAIR`] is known.
pub const END_REPAIR_KNOWN: u32 = 1024;

/// There: something was written that has never been sent, if only a FIN.
pub const END_UNSENT: u32 = 2048;
/// There: the upper 16 bits, from [`END_SOFT_SHIFT`] on, are the socket's `sk_err_soft`, a positive errno: an error that the kernel noted and told
/// nobody, as an ICMP error that came while a process held the socket (`tcp_v4_err`).
pub const END_SOFT_KNOWN: u32 = 4096;
/// There: they are of the ICMP error in the socket's queue of errors, and `sk_err_soft` is 0: the process has asked (SO_ERROR), and was told.
pub const END_SOFT_ASKED: u32 = 8192;
/// There.
pub const END_SOFT_SHIFT: u32 = 16;

/// In [`PortRefused::call`].
pub const CALL_WAS_BIND: u8 = 0;
/// In [`PortRefused::call`]: listen(), which asks for the port once more.
pub const CALL_WAS_LISTEN: u8 = 1;
/// In [`PortRefused::call`].
pub const CALL_WAS_CONNECT: u8 = 2;

/// In [`Request::queue`]: another connection fits into the listener's accept queue.
pub const QUEUE_HAS_ROOM: u8 = 1;
/// In [`Request::queue`]: it is full (`sk_acceptq_is_full`), and what does not fit is dropped.
pub const QUEUE_FULL: u8 = 2;
/// In [`Request::queue`]: it is full, and what does not fit is reset (`tcp_abort_on_overflow`).
pub const QUEUE_FULL_RESETS: u8 = 3;

/// What kind of record follows the head. The discriminants are the on-disk format: never renumber.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`SockState`]: `sock:inet_sock_set_state`.
    State = 1,
    /// [`SockStateTask`]: the same, made by the current task in connect, listen, shutdown or close.
    StateTask = 2,
    /// [`SockStateStack`]: the same, leaving FIN_WAIT2 or CLOSING for CLOSE with no mini-socket seen. Up to version 5.
    StateStack = 3,
    /// [`Owner`]: the current task reads from a socket whose owner was not known; or ([`FLAG_HEIR`]) who holds a listener.
    Owner = 4,
    /// [`Mini`]: `timer:timer_start` of a TIME_WAIT mini-socket.
    TwArm = 5,
    /// [`Mini`]: `timer:timer_expire_entry` of a TIME_WAIT mini-socket.
    TwExpire = 6,
    /// [`MiniSegment`]: a segment reached a TIME_WAIT mini-socket (`tcp_timewait_state_process`), or was dropped after it had
    /// (`skb:kfree_skb`).
    TwSegment = 7,
    /// [`MiniCancel`]: `timer:timer_cancel` of a TIME_WAIT mini-socket.
    TwCancel = 8,
    /// [`Request`]: `timer:timer_start` of a request socket: a connection is in SYN_RECV, or its clock was set anew.
    ReqArm = 9,
    /// [`Request`]: `timer:timer_expire_entry` of a request socket: its SYN-ACK is sent again, or it is given up.
    ReqExpire = 10,
    /// [`RequestCancel`]: `timer:timer_cancel` of a request socket that is out of the hash, unless its connection was made just now.
    ReqCancel = 11,
    /// [`PortRefused`]: bind(), listen() or connect() failed in the kernel's own hands, before anything was sent.
    PortRefused = 12,
    /// [`Accepted`]: the current task took a connection from the accept queue.
    Accepted = 13,
    /// [`SockStateEnd`]: the same, entering CLOSE in any other way than with the last ACK or for a mini-socket: what says why. Since version 6.
    StateEnd = 14,
    /// [`Tick`]: user space drained the ring buffer.
    Tick = 32,
    /// [`Seed`]: a socket that was there before the tool, from sock_diag.
    Seed = 33,
    /// [`SeedEnd`]: all network namespaces have been read.
    SeedEnd = 34,
    /// [`CgroupName`]: the path that belongs to a cgroup id.
    CgroupName = 35,
    /// [`Counters`]: the kernel side's exact counts.
    Counters = 36,
    /// [`InterfaceName`]: the name of a network interface. Since version 5.
    InterfaceName = 37,
    /// [`Loss`]: events have been lost. Since version 5.
    Loss = 38,
    /// [`Listed`]: the full sockets of a namespace have been told once more. Since version 5.
    Listed = 39,
    /// [`NetnsName`]: what people call a network namespace. Since version 6.
    NetnsName = 40,
    /// [`PodName`]: the pod and the container that a cgroup is of. Not in the first recordings of version 6.
    PodName = 41,
    /// [`Thinned`]: from here on one connection of so many is told of. Never in a recording that the tool makes.
    Thinned = 42,
    /// [`Setting`]: a setting of a network namespace. Since version 7.
    Setting = 43,
    /// [`ReadingBegins`]: the kernel's own counters are going to be read. Since version 7.
    ReadingBegins = 44,
    /// [`KernelCounts`]: the kernel's own counters of a namespace. Since version 7.
    KernelCounts = 45,
    /// [`ReadingEnds`]: those of all namespaces have been told. Since version 7.
    ReadingEnds = 46,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub const fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::State,
            2 => Self::StateTask,
            3 => Self::StateStack,
            4 => Self::Owner,
            5 => Self::TwArm,
            6 => Self::TwExpire,
            7 => Self::TwSegment,
            8 => Self::TwCancel,
            9 => Self::ReqArm,
            10 => Self::ReqExpire,
            11 => Self::ReqCancel,
            12 => Self::PortRefused,
            13 => Self::Accepted,
            14 => Self::StateEnd,
            32 => Self::Tick,
            33 => Self::Seed,
            34 => Self::SeedEnd,
            35 => Self::CgroupName,
            36 => Self::Counters,
            37 => Self::InterfaceName,
            38 => Self::Loss,
            39 => Self::Listed,
            40 => Self::NetnsName,
            41 => Self::PodName,
            42 => Self::Thinned,
            43 => Self::Setting,
            44 => Self::ReadingBegins,
            45 => Self::KernelCounts,
            46 => Self::ReadingEnds,
            _ => return None,
        })
    }
}

/// The start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Head {
    /// Nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`) when the hook ran.
    pub time_ns: u64,
    /// Length of the whole record in bytes, this head included.
    pub len: u16,
    /// A [`Kind`].
    pub kind: u8,
    /// `FLAG_…`, by kind.
    pub flags: u8,
    /// The CPU the hook ran on; 0 for records that user space writes.
    pub cpu: u16,
    /// Where others may come in between on that CPU (PREEMPT_RT, and from Linux 7.0 on): the low bits of the id of the thread on whose stack the hook ran. 0 elsewhere, and
    /// where it ran in an interrupt: then what comes next on the CPU is its doing.
    pub thread: u16,
}

/// A socket's addresses, in the network namespace that gives them meaning.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Flow {
    /// Local address in network byte order; IPv4 in the first four bytes, the rest zero.
    pub laddr: [u8; 16],
    /// Remote address, likewise.
    pub raddr: [u8; 16],
    /// Inode of the network namespace (`readlink /proc/PID/ns/net`). A new namespace gets the number of a dead one at once.
    pub netns: u32,
    /// Local port in host byte order; 0 when the socket has none yet.
    pub lport: u16,
    /// Remote port in host byte order.
    pub rport: u16,
    /// `AF_INET` (2) or `AF_INET6` (10). A v4-mapped IPv6 connection is written as `AF_INET`.
    pub family: u16,
    /// The low 16 bits of the namespace's cookie (`net.net_cookie`, SO_NETNS_COOKIE), which no other namespace gets before the machine
    /// reboots. Of namespaces that have one inode number one after the other, two would have to lie a multiple of 65,536 cookies apart to
    /// look alike. 0 where the kernel has none, and before version 5.
    pub generation: u16,
    /// The interface, or the L3 master device (VRF), that the connection is bound to (`skc_bound_dev_if`, `tw_bound_dev_if`, `ir_iif`):
    /// the same addresses on two of them are two connections (`inet_match`). 0 for none, and before version 5.
    pub bound_dev_if: u32,
}

/// A task, as seen from inside its own context.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Task {
    /// The process id as `ps` shows it where the tool runs (`task_struct.tgid`; in a PID namespace that one's number, 0 for a process
    /// outside of it).
    pub pid: u32,
    /// The real user id in the initial user namespace.
    pub uid: u32,
    /// Id of the task's cgroup in the cgroup-v2 hierarchy.
    pub cgroup: u64,
    /// `comm` of the thread-group leader, as `ps -o comm -p PID` and `ss -p` print it; NUL-padded.
    pub comm: [u8; 16],
    /// `task_struct.flags`; `PF_KTHREAD` (0x0020_0000) marks a kernel thread.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// A kernel stack, innermost frame first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Stack {
    /// How many of `frames` are filled; 0 when the kernel could not unwind.
    pub depth: u64,
    /// Return addresses.
    pub frames: [u64; STACK_FRAMES],
}

// Sizes are part of the format.
const _: () = {
    assert!(size_of::<Head>() == 16);
    assert!(size_of::<Flow>() == 48);
    assert!(size_of::<Task>() == 40);
    assert!(size_of::<SockState>() == 88);
    assert!(size_of::<SockStateEnd>() == 88 + 40 + 24 + 120);
    assert!(size_of::<Mini>() == 104);
    assert!(size_of::<MiniCancel>() == 104 + 40 + 120);
    assert!(size_of::<Request>() == 96);
    assert!(size_of::<RequestCancel>() == 96 + 40 + 120);
    assert!(size_of::<PortRefused>() == 120);
    assert!(size_of::<Accepted>() == 72);
    assert!(size_of::<SockStateTask>() == 128 && size_of::<Thinned>() == 24);
    assert!(size_of::<MiniSegment>() == 104 + TCP_HEADER + 20);
    assert!(size_of::<Counters>() == 16 + 8 * COUNTERS + 8 * TRANSITIONS + 8 * HOOKS);
};
