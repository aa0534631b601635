//! Decodes records into events: the same for the live ring buffer and for a recording of it.
//! An event is one fact as the kernel (or sock_diag) stated it; what it means for a connection is the lifecycle's business.

mod decode;

use std::{borrow::Cow, fmt};

use serde::Serialize;
use tcpwait_wire::wire;

pub use self::decode::{counters, decode, is_from_kernel, task_of};
use crate::{
    origin::Origin,
    tcp::{Flow, Interface, NetnsId, State},
};

/// `PF_KTHREAD` of `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

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
    /// The kernel side's counts.
    Counters(Box<wire::Counters>),
}

/// `sock:inet_sock_set_state`.
#[derive(Clone, Debug, PartialEq)]
pub struct StateChange {
    /// The socket cookie; 0 for a newborn (`LISTEN -> SYN_RECV`), whose cookie is not final yet.
    pub cookie: u64,
    /// Address of the `struct sock`.
    pub sk: u64,
    /// The addresses; a newborn may still show its listener's.
    pub flow: Flow,
    /// State before.
    pub old: State,
    /// State after.
    pub new: State,
    /// `sk_err`, a positive errno or 0.
    pub err: u16,
    /// The task that made it in connect, listen, shutdown or close, unless it is a kernel thread.
    pub task: Option<Task>,
    /// Somebody made it in connect, listen, shutdown or close, be it one that has no number here.
    pub by_call: bool,
    /// The kernel side saw the mini-socket armed just before.
    pub handed_over: bool,
    /// Leaving SYN_RECV: it was born of its listener just before, and has had no event of its own.
    pub newborn: bool,
    /// Leaving SYN_RECV: the kernel side saw a request socket's connection made just before.
    pub of_request: bool,
    /// How often segments were sent again in the connection's life so far (`total_retrans`), at the end of its handshake and of its life; `None` where
    /// that was not read.
    pub retransmits: Option<u16>,
    /// Whether others may share its port; `None` where that was not read.
    pub reuse: Option<Reuse>,
    /// Whether it has IPV6_V6ONLY; `None` where that was not read.
    pub v6only: Option<bool>,
    /// Leaving SYN_SENT for CLOSE: no SYN was ever sent.
    pub unsent: bool,
    /// Leaving SYN_SENT for CLOSE: TCP_FASTOPEN_CONNECT kept the SYN back until the first write.
    pub deferred: bool,
    /// Leaving SYN_SENT for CLOSE: what connect() gives back is told next, unless no hook sees this call.
    pub returns: bool,
    /// Entering SYN_SENT: the port it seems to have is that of a former connection.
    pub old_port: bool,
    /// Entering SYN_SENT: the error that the kernel noted is from before.
    pub old_soft: bool,
    /// Entering SYN_SENT: whether a SYN follows; `None` where that was not read.
    pub syn: Option<Syn>,
    /// Leaving LAST_ACK for CLOSE: the peer has acknowledged everything, FIN included.
    pub acked: bool,
    /// Entering CLOSE in any other way than with the last ACK or for a mini-socket: what says why. (Up to version 5 only of FIN_WAIT2 and CLOSING.)
    pub end: Option<Box<EndSite>>,
}

/// Whether a SYN follows the step into SYN_SENT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syn {
    /// In the same call, unless that fails.
    AtOnce,
    /// It may wait for the first data (TCP_FASTOPEN_CONNECT).
    MayWait,
    /// The connection is restored by TCP_REPAIR, and needs none.
    Never,
}

/// Where a full socket came to CLOSE, and what it was like then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndSite {
    /// Whether the namespace had as many mini-sockets as it may have; `None` where the kernel's types do not say.
    pub full: Option<bool>,
    /// The task on whose stack the hook ran; it is the cause only where the stack says so.
    pub task: Option<Task>,
    /// What the socket was like; `None` in recordings up to version 5.
    pub about: Option<EndFacts>,
    /// Return addresses, innermost first; empty where the kernel could not unwind.
    pub stack: Vec<u64>,
}

/// What a socket was like when it came to CLOSE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndFacts {
    /// No process held it any more.
    pub orphan: bool,
    /// It was in TCP_REPAIR; `None` where the kernel's types do not say.
    pub repair: Option<bool>,
    /// TCP_LINGER2 was below 0.
    pub no_linger2: bool,
    /// Its network namespace had no user left.
    pub netns_gone: bool,
    /// The peer's window was closed.
    pub window_closed: bool,
    /// The peer had acknowledged everything that was written.
    pub acked: bool,
    /// Something was written that has never been sent, if only a FIN.
    pub unsent: bool,
    /// All of TCP had more memory than `tcp_mem` allows; `None` where the kernel's types do not say.
    pub memory: Option<bool>,
    /// An error that the kernel noted and did not end the connection for (`sk_err_soft`), a positive errno or 0; `None` where that was not read.
    pub soft_err: Option<u16>,
    /// The process has asked for that error (SO_ERROR), and was told.
    pub soft_asked: bool,
    /// TCP_USER_TIMEOUT in milliseconds; 0 is none.
    pub user_timeout_ms: u32,
    /// For how many jiffies the peer's closed window had been probed; 0 where it was not, or is not known.
    pub probed_jiffies: u32,
    /// The longest that a retransmission may wait, in jiffies; 0 where the kernel's types do not say.
    pub rto_max_jiffies: u32,
}

/// A TIME_WAIT mini-socket as a hook found it.
#[derive(Clone, Debug, PartialEq)]
pub struct MiniSocket {
    /// Cookie of the full socket it took over from; 0 if that had none.
    pub cookie: u64,
    /// Address of the `struct inet_timewait_sock`.
    pub tw: u64,
    /// The addresses.
    pub flow: Flow,
    /// When its timer is due, in jiffies.
    pub expires: u64,
    /// Jiffies at the event.
    pub jiffies: u64,
    /// `FIN_WAIT2` or `TIME_WAIT`.
    pub substate: State,
    /// Whether others may share its port.
    pub reuse: Option<Reuse>,
    /// Whether it has IPV6_V6ONLY; `None` where that was not read.
    pub v6only: Option<bool>,
    /// Whether the connection had timestamps (RFC 7323).
    pub timestamps: bool,
}

/// Whether a socket shares its port with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// SO_REUSEADDR.
    pub address: bool,
    /// SO_REUSEPORT.
    pub port: bool,
}

/// A request socket as a hook found it.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestSocket {
    /// The cookie that the connection's socket will have; 0 if there is none yet.
    pub cookie: u64,
    /// Address of the `struct request_sock`.
    pub req: u64,
    /// The addresses.
    pub flow: Flow,
    /// Cookie of the listener; 0 if it never had one.
    pub listener: u64,
    /// How often the SYN-ACK was sent again.
    pub retransmits: u8,
    /// Whether the listener still listens.
    pub listens: bool,
    /// Whether the final ACK came and no connection was made of it.
    pub acked: bool,
    /// Whether the listener lets an ACK without data wait (TCP_DEFER_ACCEPT).
    pub deferred: bool,
    /// The listener's accept queue at that moment; `None` where that was not read.
    pub queue: Option<AcceptQueue>,
}

/// A listener's accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptQueue {
    /// Another connection fits.
    HasRoom,
    /// Full: what does not fit is dropped.
    Full,
    /// Full: what does not fit is reset (`tcp_abort_on_overflow`).
    FullAndResets,
}

/// Why a request socket's timer was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStart {
    /// The SYN came.
    Syn,
    /// The SYN came again.
    SynAgain,
    /// The time ran out, and the SYN-ACK was sent again.
    Retransmit,
}

/// A call on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// connect(2), until the connection is made.
    Connect,
    /// bind(2).
    Bind,
    /// listen(2), which asks for the port once more.
    Listen,
}

impl Call {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Call::Connect => "connect",
            Call::Bind => "bind",
            Call::Listen => "listen",
        }
    }
}

/// bind(), listen() or connect() failed before anything was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct PortRefused {
    /// The socket cookie; 0 where it has none.
    pub cookie: u64,
    /// What tells this socket from others of its time; `None` in recordings up to version 4.
    pub socket: Option<u32>,
    /// The local end that was asked for, port 0 is any; of connect() the remote one.
    pub flow: Flow,
    /// Who asked.
    pub task: Option<Task>,
    /// A positive errno.
    pub errno: u16,
    /// The call.
    pub call: Call,
    /// Whether the socket that asked would have shared the port.
    pub reuse: Option<Reuse>,
    /// Whether it has IPV6_V6ONLY; `None` where that was not read.
    pub v6only: Option<bool>,
}

/// Where a mini-socket's timer was cancelled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CancelSite {
    /// The mini-socket was out of the hash already.
    pub unhashed: bool,
    /// Its network namespace was being taken down.
    pub netns_gone: bool,
    /// It happened on the stack of the current task, and not on one for softirqs.
    pub on_task_stack: bool,
    /// The task on the CPU; the cause only where the rest says so.
    pub task: Option<Task>,
    /// Return addresses, innermost first; empty when the kernel could not unwind.
    pub stack: Vec<u64>,
}

/// A TCP segment that reached a mini-socket, and what it was held against.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// SYN.
    pub syn: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
    /// ACK.
    pub ack: bool,
    /// Sequence number.
    pub seq: u32,
    /// Bytes of data.
    pub payload: u32,
    /// Its timestamp (RFC 7323), if it has one.
    pub timestamp: Option<u32>,
    /// The sequence number that was due.
    pub rcv_nxt: u32,
    /// The peer's latest timestamp before it, if there was one.
    pub ts_recent: Option<u32>,
    /// What the kernel decided, where a hook tells.
    pub verdict: Option<u8>,
}

/// A user-space process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// Process id.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// cgroup-v2 id; 0 when not known.
    pub cgroup: u64,
    /// Name of the process's main thread.
    pub comm: [u8; 16],
}

impl Task {
    /// The name as text.
    pub fn comm(&self) -> String {
        self.comm_text().into_owned()
    }

    /// The same, borrowed where it is UTF-8.
    pub fn comm_text(&self) -> Cow<'_, str> {
        let end = self.comm.iter().position(|b| *b == 0).unwrap_or(self.comm.len());
        String::from_utf8_lossy(self.comm.get(..end).unwrap_or_default())
    }

    /// Kernel threads own no user's socket: what a worker does, it does for somebody else.
    pub fn from_wire(task: &wire::Task) -> Option<Self> {
        (task.pid != 0 && task.flags & PF_KTHREAD == 0).then_some(Self {
            pid: task.pid,
            uid: task.uid,
            cgroup: task.cgroup,
            comm: task.comm,
        })
    }
}

/// A socket from sock_diag.
#[derive(Clone, Debug, PartialEq)]
pub struct Seed {
    /// The socket cookie.
    pub cookie: u64,
    /// The addresses.
    pub flow: Flow,
    /// The owner, as found through `/proc`.
    pub task: Option<Task>,
    /// The state; a mini-socket shows its substate.
    pub state: State,
    /// Whether it is a TIME_WAIT mini-socket.
    pub mini: bool,
    /// Milliseconds to the nominal expiry of its timer.
    pub expires_ms: u32,
    /// How often its segment was sent again.
    pub retransmits: u8,
    /// Which side made it, as far as the listing tells; `None` where a recording does not say (up to version 4).
    pub origin: Option<Origin>,
    /// Whether it has IPV6_V6ONLY; known of listeners.
    pub v6only: Option<bool>,
    /// When it was in this state at the latest, in nanoseconds of `CLOCK_MONOTONIC`; `None` where a recording does not say (up to version 5).
    pub by_ns: Option<u64>,
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
