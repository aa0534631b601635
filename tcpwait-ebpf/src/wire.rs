//! The records, byte for byte: written by the eBPF programs into the ring buffer, by user space into a recording.
//!
//! Every record starts with a [`Head`], is a multiple of 8 bytes long and has no hidden padding (the `zerocopy`
//! derives refuse to compile otherwise), so a recording is the ring buffer's bytes and nothing else.
//! This module states layouts; what a record means for a connection is the lifecycle's business.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of these layouts. A recording made with another version is refused.
pub const VERSION: u32 = 2;

/// Frames kept of a kernel stack, innermost first. The decisive frame of every known early death of a
/// TIME_WAIT socket is among the first ten (`net/ipv4/inet_timewait_sock.c` and its callers, 5.15 to 7.3).
pub const STACK_FRAMES: usize = 14;

/// `Head::flags` of [`Kind::TwArm`]: the timer was pending until just now, so this is a restart, not an entry.
pub const FLAG_REARM: u8 = 1;
/// `Head::flags` of [`Kind::State`]: the kernel side saw this socket's mini-socket being armed on this CPU
/// immediately before, so `-> CLOSE` is the hand-over to it.
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

/// What kind of record follows the head. The discriminants are the on-disk format: never renumber.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`SockState`]: `sock:inet_sock_set_state`.
    State = 1,
    /// [`SockStateTask`]: the same, made by the current task in connect, listen, shutdown or close.
    StateTask = 2,
    /// [`SockStateStack`]: the same, leaving FIN_WAIT2 or CLOSING for CLOSE with no mini-socket seen: the stack says why.
    StateStack = 3,
    /// [`Owner`]: the current task reads from a socket whose owner was not known.
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
            32 => Self::Tick,
            33 => Self::Seed,
            34 => Self::SeedEnd,
            35 => Self::CgroupName,
            36 => Self::Counters,
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
    pub cpu: u32,
}

/// A socket's addresses, in the network namespace that gives them meaning.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Flow {
    /// Local address in network byte order; IPv4 in the first four bytes, the rest zero.
    pub laddr: [u8; 16],
    /// Remote address, likewise.
    pub raddr: [u8; 16],
    /// Inode of the network namespace (`readlink /proc/PID/ns/net`).
    pub netns: u32,
    /// Local port in host byte order; 0 when the socket has none yet.
    pub lport: u16,
    /// Remote port in host byte order.
    pub rport: u16,
    /// `AF_INET` (2) or `AF_INET6` (10). A v4-mapped IPv6 connection is written as `AF_INET`.
    pub family: u16,
    /// Zero.
    pub reserved: [u16; 3],
}

/// A task, as seen from inside its own context.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Task {
    /// The process id as `ps` shows it (`task_struct.tgid`, initial PID namespace).
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

/// [`Kind::State`]: a full socket changed state.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockState {
    /// The record's head.
    pub head: Head,
    /// The socket cookie (`sk:` of `ss -e`). Not yet final in a `LISTEN -> SYN_RECV` event before 6.13:
    /// `inet_csk_clone_lock` overwrites it afterwards.
    pub cookie: u64,
    /// Address of the `struct sock`: only to join the two first events of a passive connection.
    pub sk: u64,
    /// The addresses.
    pub flow: Flow,
    /// State before (`enum` in `include/net/tcp_states.h`).
    pub old: u8,
    /// State after.
    pub new: u8,
    /// `sk_err`, a positive errno.
    pub err: u16,
    /// Zero.
    pub reserved: u32,
}

/// [`Kind::StateTask`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockStateTask {
    /// What changed.
    pub state: SockState,
    /// The task that holds the socket lock.
    pub task: Task,
}

/// [`Kind::StateStack`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SockStateStack {
    /// What changed.
    pub state: SockState,
    /// Mini-sockets in the namespace (one more from 5.19 on), 0 when not known.
    pub tw_count: u32,
    /// `tcp_max_tw_buckets`; `u32::MAX` when not known.
    pub tw_max: u32,
    /// Where in the kernel.
    pub stack: Stack,
}

/// [`Kind::Owner`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Owner {
    /// The record's head.
    pub head: Head,
    /// The socket cookie.
    pub cookie: u64,
    /// The reader.
    pub task: Task,
}

/// [`Kind::TwArm`], [`Kind::TwExpire`]: a TIME_WAIT mini-socket (`struct inet_timewait_sock`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Mini {
    /// The record's head.
    pub head: Head,
    /// `tw_cookie`: the cookie of the full socket it took over from; 0 if that never had one.
    pub cookie: u64,
    /// Address of the mini-socket: only for `--raw`.
    pub tw: u64,
    /// The addresses.
    pub flow: Flow,
    /// `tw_timer.expires` in jiffies. At a cancellation: before the change that follows.
    pub expires: u64,
    /// Jiffies when the hook ran (`bpf_jiffies64`).
    pub jiffies: u64,
    /// `tw_substate`: 5 FIN_WAIT2, 6 TIME_WAIT.
    pub substate: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// [`Kind::TwCancel`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MiniCancel {
    /// The mini-socket.
    pub mini: Mini,
    /// The task on the CPU. It is the cause only where the stack says so.
    pub task: Task,
    /// Where in the kernel.
    pub stack: Stack,
}

/// [`Kind::TwSegment`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MiniSegment {
    /// The mini-socket, after the segment was processed.
    pub mini: Mini,
    /// The TCP header as it came, options included; zero behind its end. All zero when it could not be read.
    pub header: [u8; TCP_HEADER],
    /// Bytes of data behind the header.
    pub payload: u32,
    /// `tw_rcv_nxt`: the sequence number that was due.
    pub rcv_nxt: u32,
    /// `tw_ts_recent`: the latest timestamp of the peer.
    pub ts_recent: u32,
    /// Whether `tw_ts_recent` is one (`tw_ts_recent_stamp` is not 0).
    pub has_ts_recent: u8,
    /// What `tcp_timewait_state_process` returned (`enum tcp_tw_status`); [`VERDICT_UNKNOWN`] from `kfree_skb`.
    pub verdict: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// The longest TCP header there can be, in bytes: 15 words (RFC 9293, 3.1).
pub const TCP_HEADER: usize = 60;

/// [`MiniSegment::verdict`] where it is not known.
pub const VERDICT_UNKNOWN: u8 = 255;
/// `TCP_TW_RST` (`include/net/tcp.h`, 5.15 to 7.3): an RST answers the segment and the mini-socket is killed.
pub const VERDICT_RST: u8 = 1;
/// `TCP_TW_SYN`: an acceptable SYN takes the tuple if somebody listens.
pub const VERDICT_SYN: u8 = 3;

/// [`Kind::Tick`]: keeps time moving in the model and ties the two clocks together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tick {
    /// The record's head.
    pub head: Head,
    /// Nanoseconds of `CLOCK_REALTIME` at `head.time_ns`.
    pub realtime_ns: u64,
}

/// [`Kind::Seed`]: a socket found by sock_diag (`struct inet_diag_msg`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Seed {
    /// The record's head; its time is when the namespace was read.
    pub head: Head,
    /// The socket cookie.
    pub cookie: u64,
    /// The addresses.
    pub flow: Flow,
    /// The owner as found through `/proc/*/fd`; all zero when there is none to be found.
    pub task: Task,
    /// `idiag_state`; a TIME_WAIT socket shows its substate here (5 or 6).
    pub state: u8,
    /// `idiag_timer`; 3 is a mini-socket's.
    pub timer: u8,
    /// Zero.
    pub reserved: u16,
    /// `idiag_expires`: milliseconds to the nominal expiry of that timer.
    pub expires_ms: u32,
}

/// [`Kind::SeedEnd`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SeedEnd {
    /// The record's head.
    pub head: Head,
    /// Sockets read.
    pub sockets: u64,
    /// Network namespaces read.
    pub namespaces: u32,
    /// Network namespaces that could not be read.
    pub unreadable: u32,
}

/// [`Kind::CgroupName`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CgroupName {
    /// The record's head.
    pub head: Head,
    /// The cgroup id.
    pub id: u64,
    /// Its path below the cgroup-v2 mount, `/` first, NUL-padded, cut at the end if longer.
    pub path: [u8; 256],
}

/// [`Kind::Counters`]: what the kernel side counted since it was attached, summed over CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Counters {
    /// The record's head.
    pub head: Head,
    /// By [`Counter`].
    pub values: [u64; COUNTERS],
    /// State changes of full sockets, by [`transition_slot`].
    pub transitions: [u64; TRANSITIONS],
    /// Events the kernel did not hand to the programs because one of them was running on that CPU
    /// (`recursion_misses` of every program, summed); `u64::MAX` when the kernel does not tell.
    pub recursion_misses: u64,
}

/// How many [`Counter`]s there are.
pub const COUNTERS: usize = 16;

/// How many slots [`Counters::transitions`] has.
pub const TRANSITIONS: usize = 256;

/// Where [`Counters::transitions`] counts a change between two states (`include/net/tcp_states.h`, all below 16).
pub const fn transition_slot(old: u8, new: u8) -> usize {
    ((old & 15) as usize) << 4 | (new & 15) as usize
}

/// The kernel side's exact counts, of what the filter wants. The discriminants index [`Counters::values`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// TCP state changes of full sockets seen (self-transitions included).
    StateSeen = 0,
    /// Mini-sockets seen to be armed for the first time: entries.
    TwEntered = 1,
    /// Mini-sockets seen to be armed again: restarts the timer saw.
    TwRearmed = 2,
    /// Mini-sockets seen to expire.
    TwExpired = 3,
    /// Mini-sockets seen to have their timer cancelled before it expired: early ends, and restarts.
    TwCancelled = 4,
    /// Segments seen to be absorbed by a mini-socket.
    TwSegments = 5,
    /// Owners learnt at the first read.
    OwnerSeen = 6,
    /// Events of connections that the filter does not want.
    Filtered = 7,
    /// Records written to the ring buffer.
    Written = 8,
    /// State changes lost because the ring buffer was full.
    LostState = 9,
    /// Mini-socket entries and restarts lost because the ring buffer was full.
    LostArm = 10,
    /// Mini-socket ends lost because the ring buffer was full.
    LostEnd = 11,
    /// Segments to a mini-socket lost because the ring buffer was full.
    LostSegment = 12,
    /// Owners lost because the ring buffer was full.
    LostOwner = 13,
    /// Reads of kernel memory that failed; what hung on them was not seen.
    Unreadable = 14,
    /// Of the entries, those in substate FIN_WAIT2.
    TwEnteredFinWait2 = 15,
}

// Sizes are part of the format.
const _: () = {
    assert!(size_of::<Head>() == 16);
    assert!(size_of::<Flow>() == 48);
    assert!(size_of::<Task>() == 40);
    assert!(size_of::<SockState>() == 88);
    assert!(size_of::<Mini>() == 104);
    assert!(size_of::<MiniCancel>() == 104 + 40 + 120);
    assert!(size_of::<MiniSegment>() == 104 + TCP_HEADER + 20);
    assert!(size_of::<Counters>() == 16 + 8 * COUNTERS + 8 * TRANSITIONS + 8);
};
