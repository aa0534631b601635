//! Decodes records into events: the same for the live ring buffer and for a recording of it.
//! An event is one fact as the kernel (or sock_diag) stated it; what it means for a connection is the lifecycle's business.

mod call;
mod decode;
mod full;
mod mini;
mod request;
mod seed;
mod task;

use std::fmt;

use tcpwait_wire::wire;

pub use self::{
    call::{Call, PortRefused},
    decode::{counters, decode, is_from_kernel, task_of},
    full::{EndFacts, EndSite, Reuse, StateChange, Syn},
    mini::{CancelSite, MiniSocket, Segment},
    request::{AcceptQueue, RequestSocket, RequestStart},
    seed::Seed,
    task::Task,
};
use crate::tcp::{Flow, Interface, NetnsId, State};

/// A fact, and when and where it was stated.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The CPU the hook ran on.
    pub cpu: u16,
    /// Whose doing it is: what one context does comes in one go, whatever others do in between.
    pub context: HookContext,
    /// The fact.
    pub fact: Fact,
}

/// Who runs a hook, as far as the order of events goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookContext {
    /// This CPU: a kernel whose tracepoints disable preemption, or an interrupt.
    Cpu(u16),
    /// A thread with these low bits of its id, which others may preempt.
    Thread(u16),
}

impl HookContext {
    /// From a record's head: no thread stands for the CPU.
    pub const fn new(cpu: u16, thread: u16) -> Self {
        match thread {
            0 => Self::Cpu(cpu),
            thread => Self::Thread(thread),
        }
    }
}

/// What was stated.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A full socket changed state.
    State(StateChange),
    /// A process read from an accepted connection for the first time.
    Owner {
        /// The socket cookie.
        cookie: u64,
        /// The reader; absent for a kernel thread.
        task: Option<Task>,
    },
    /// It was looked up who holds a listener: its process had ended, or somebody was refused its port.
    Heir {
        /// The listener's cookie.
        cookie: u64,
        /// The one who holds it; absent where that is nobody who can be seen, or where several do.
        task: Option<Task>,
    },
    /// A mini-socket's timer was started: it begins, or (`rearmed`) its clock was restarted.
    Armed {
        /// The mini-socket.
        mini: MiniSocket,
        /// Whether the timer was pending before.
        rearmed: bool,
    },
    /// A mini-socket's timer ran out.
    Expired(MiniSocket),
    /// A segment reached a mini-socket.
    Segment {
        /// The mini-socket, after it processed the segment.
        mini: MiniSocket,
        /// The segment; absent when its header could not be read.
        segment: Option<Segment>,
    },
    /// A mini-socket's timer was cancelled.
    Cancelled {
        /// The mini-socket.
        mini: MiniSocket,
        /// Where that was.
        site: CancelSite,
    },
    /// A request socket's timer was started: a connection is in SYN_RECV, or its SYN-ACK was sent again.
    RequestArmed {
        /// The request socket.
        reqsk: RequestSocket,
        /// Why its timer was started.
        start: RequestStart,
    },
    /// A request socket's timer ran out: its SYN-ACK is sent again, or it is given up.
    RequestExpired(RequestSocket),
    /// A request socket's timer was cancelled, and no connection was made of it.
    RequestCancelled {
        /// The request socket.
        reqsk: RequestSocket,
        /// Where that was.
        site: CancelSite,
    },
    /// bind(), listen() or connect() failed before anything was sent.
    PortRefused(PortRefused),
    /// A process took a connection from its listener's queue.
    Accepted {
        /// The connection's cookie.
        cookie: u64,
        /// The listener's cookie; 0 if it never had one.
        listener: u64,
        /// Who called accept(); absent for a kernel thread.
        task: Option<Task>,
    },
    /// The ring buffer was drained at this time.
    Tick {
        /// Nanoseconds of `CLOCK_REALTIME` at the event's time.
        realtime_ns: u64,
    },
    /// sock_diag reported a socket older than the tool.
    Seed(Seed),
    /// All of sock_diag was read.
    SeedEnd {
        /// Sockets read.
        sockets: u64,
        /// Network namespaces read.
        namespaces: u32,
        /// Network namespaces that could not be read.
        unreadable: u32,
    },
    /// A cgroup id's path.
    CgroupName {
        /// The cgroup id.
        id: u64,
        /// Its path below the cgroup-v2 mount.
        path: String,
    },
    /// Events have been lost.
    Loss {
        /// So many since the start.
        lost: u64,
    },
    /// From here on only one connection of so many is told of.
    Thinned {
        /// A power of two; 1 is all of them.
        one_in: u32,
    },
    /// sock_diag has told once more of every full socket of a namespace that was there at the event's time.
    Listed(NetnsId),
    /// A network interface's name.
    InterfaceName {
        /// The interface.
        interface: Interface,
        /// Its name.
        name: String,
    },
    /// What people call a network namespace.
    NetnsName {
        /// The namespace.
        netns: NetnsId,
        /// Its name.
        name: String,
    },
    /// What Kubernetes calls the pod and the container that a cgroup is of.
    PodName {
        /// The cgroup id.
        cgroup: u64,
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        pod: String,
        /// The container's name, where it is known.
        container: Option<String>,
    },
    /// The kernel side's counts.
    Counters(Box<wire::Counters>),
    /// A setting as it was at the event's time.
    Setting {
        /// The network namespace.
        netns: NetnsId,
        /// As sysctl(8) calls it.
        name: String,
        /// As `/proc/sys` has it, without blanks around it.
        value: String,
    },
    /// The kernel's own counters are going to be read.
    ReadingBegins,
    /// Those of a namespace.
    KernelCounts(Box<wire::KernelCounts>),
    /// Those of all namespaces have been told.
    ReadingEnds {
        /// Network namespaces that could not be read.
        unreadable: u32,
        /// Mini-sockets that the kernel side had seen begin before and after; `None` where it was not asked.
        entered: Option<(u64, u64)>,
    },
}

impl Fact {
    /// The connection that it is about and may be left out for, where only some are told of: neither a listener's, nor a connect that has not been answered yet, or fails.
    pub fn connection(&self) -> Option<&Flow> {
        let flow = match self {
            Self::State(change)
                if ![change.old, change.new].contains(&State::Listen)
                    && change.new != State::SynSent
                    && (change.old, change.new) != (State::SynSent, State::Close) =>
            {
                &change.flow
            }
            Self::Armed { mini, .. }
            | Self::Expired(mini)
            | Self::Segment { mini, .. }
            | Self::Cancelled { mini, .. } => &mini.flow,
            Self::RequestArmed { reqsk, .. } | Self::RequestExpired(reqsk) | Self::RequestCancelled { reqsk, .. } => {
                &reqsk.flow
            }
            Self::Seed(seed) if seed.state != State::Listen => &seed.flow,
            _ => return None,
        };
        Some(flow).filter(|flow| flow.lport != 0)
    }
}

/// Why a record says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The kind byte, if there was one.
    pub kind: Option<u8>,
    /// How long the record is.
    pub len: usize,
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "record of kind {kind} and {} bytes is malformed", self.len),
            None => write!(f, "record of {} bytes is too short", self.len),
        }
    }
}
