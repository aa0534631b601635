//! What user space adds to the ring buffer's records: clocks, older sockets, names, settings, the kernel's own counters.

use super::{Flow, Head, Task};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Kind::Tick`](super::Kind::Tick): keeps time moving in the model and ties the two clocks together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tick {
    /// The record's head.
    pub head: Head,
    /// Nanoseconds of `CLOCK_REALTIME` at `head.time_ns`.
    pub realtime_ns: u64,
}

/// [`Kind::Seed`](super::Kind::Seed): a socket found by sock_diag (`struct inet_diag_msg`).
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
    /// `idiag_retrans`.
    pub retransmits: u8,
    /// In the low three bits `MADE_…`: which side made the connection, as far as the whole listing tells. Of a listener
    /// [`REUSE_V6ONLY`](super::REUSE_V6ONLY), and whether it is known (INET_DIAG_SKV6ONLY).
    pub about: u8,
    /// `idiag_expires`: milliseconds to the nominal expiry of that timer.
    pub expires_ms: u32,
    /// Nanoseconds of `CLOCK_MONOTONIC` at which it was in this state at the latest, as far as sock_diag bounds that. From version 6 on.
    pub by_ns: u64,
}

/// [`Kind::SeedEnd`](super::Kind::SeedEnd).
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

/// [`Kind::InterfaceName`](super::Kind::InterfaceName).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct InterfaceName {
    /// The record's head.
    pub head: Head,
    /// As in [`Flow`].
    pub netns: u32,
    /// As [`Flow::bound_dev_if`].
    pub index: u32,
    /// `net_device.name`, NUL-padded.
    pub name: [u8; 16],
    /// As in [`Flow`].
    pub generation: u16,
    /// Zero.
    pub reserved: [u16; 3],
}

/// [`Kind::NetnsName`](super::Kind::NetnsName).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NetnsName {
    /// The record's head.
    pub head: Head,
    /// As in [`Flow`].
    pub netns: u32,
    /// As in [`Flow`].
    pub generation: u16,
    /// Zero.
    pub reserved: u16,
    /// What people call it, NUL-padded; cut where it is longer.
    pub name: [u8; 64],
}

/// [`Kind::Loss`](super::Kind::Loss).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Loss {
    /// The record's head.
    pub head: Head,
    /// How many events are known to be lost since the start.
    pub lost: u64,
}

/// [`Kind::Thinned`](super::Kind::Thinned): what is told of connections is of one in so many from here on ([`sample`](super::sample)); counts stay those of all.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Thinned {
    /// The record's head.
    pub head: Head,
    /// A power of two; 1 is all of them.
    pub one_in: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`Kind::Listed`](super::Kind::Listed): of this namespace the [`Seed`]s before tell of every full socket that was there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Listed {
    /// The record's head; its time is when the namespace was begun to be read.
    pub head: Head,
    /// As in [`Flow`].
    pub netns: u32,
    /// As in [`Flow`].
    pub generation: u16,
    /// Zero.
    pub reserved: u16,
}

/// [`Kind::CgroupName`](super::Kind::CgroupName).
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

/// [`Kind::PodName`](super::Kind::PodName): what Kubernetes calls the pod and the container that a cgroup is of. Each name is NUL-padded; none is longer
/// than Kubernetes allows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PodName {
    /// The record's head.
    pub head: Head,
    /// The cgroup id.
    pub cgroup: u64,
    /// The pod's namespace.
    pub namespace: [u8; 64],
    /// The pod's name.
    pub pod: [u8; 256],
    /// The container's name; empty where it is not known.
    pub container: [u8; 64],
}

/// In place of a number that is not known.
pub const NOT_KNOWN: u64 = u64::MAX;

/// [`Kind::Setting`](super::Kind::Setting): a setting as it was then, as `/proc/sys` has it. Behind this comes the value: text, NUL-padded to a multiple of
/// 8 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Setting {
    /// The record's head.
    pub head: Head,
    /// As in [`Flow`].
    pub netns: u32,
    /// As in [`Flow`].
    pub generation: u16,
    /// Zero.
    pub reserved: u16,
    /// As sysctl(8) calls it, NUL-padded.
    pub name: [u8; 64],
}

/// The longest value of a [`Setting`], in bytes. One that is longer is not told.
pub const MAX_SETTING: usize = 32 << 10;

/// [`Kind::ReadingBegins`](super::Kind::ReadingBegins): what is read is told of in [`KernelCounts`] up to the next [`ReadingEnds`]. What happens in between may be in them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReadingBegins {
    /// The record's head.
    pub head: Head,
}

/// [`Kind::KernelCounts`](super::Kind::KernelCounts): counters of a network namespace, with their names in `/proc/net/snmp` and `netstat`. [`NOT_KNOWN`] stands for one that
/// could not be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct KernelCounts {
    /// The record's head.
    pub head: Head,
    /// As in [`Flow`].
    pub netns: u32,
    /// As in [`Flow`].
    pub generation: u16,
    /// The port of the fullest listener whose accept queue was full; 0 if none was.
    pub full_port: u16,
    /// Nanoseconds of `CLOCK_MONOTONIC` before and after the counters were read.
    pub read_ns: [u64; 2],
    /// `TW` and `TWKilled` of TcpExt, added.
    pub timewait: u64,
    /// `TWRecycled` of TcpExt.
    pub reused_by_connect: u64,
    /// `TCPTimeWaitOverflow` of TcpExt.
    pub overflow: u64,
    /// `PassiveOpens`, `ActiveOpens`, `AttemptFails`, `EstabResets` and `OutRsts` of Tcp.
    pub tcp: [u64; 5],
    /// `TCPAbortOnData`, `TCPAbortOnClose`, `TCPAbortOnMemory`, `TCPAbortOnTimeout` and `TCPAbortOnLinger` of TcpExt.
    pub aborts: [u64; 5],
    /// `SyncookiesSent`, `SyncookiesRecv`, `SyncookiesFailed`, `TCPFastOpenPassive`, `ListenOverflows`, `ListenDrops`, `TCPReqQFullDrop` and
    /// `TCPReqQFullDoCookies` of TcpExt.
    pub unfollowed: [u64; 8],
    /// `tw` of sockstat.
    pub sockstat: u64,
    /// TIME_WAIT sockets and orphans in FIN_WAIT2 that sock_diag listed.
    pub listed: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC` before and after they were listed.
    pub listed_ns: [u64; 2],
    /// Connections that waited for accept() at [`full_port`](Self::full_port).
    pub full_waiting: u32,
    /// How many may wait there.
    pub full_backlog: u32,
    /// Other listeners whose queue was full.
    pub full_others: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`Kind::ReadingEnds`](super::Kind::ReadingEnds).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReadingEnds {
    /// The record's head.
    pub head: Head,
    /// Mini-sockets that the kernel side had seen begin before and after everything was read; [`NOT_KNOWN`] where it was not asked.
    pub entered: [u64; 2],
    /// Network namespaces that could not be read.
    pub unreadable: u32,
    /// Zero.
    pub reserved: u32,
}
