//! Decodes records into events: the same for the live ring buffer and for a recording of it.
//! An event is one fact as the kernel (or sock_diag) stated it; what it means for a connection is the lifecycle's business.

use std::fmt;

use etherparse::{TcpHeaderSlice, TcpOptionElement};
use tcpwait_wire::wire::{self, Kind};
use zerocopy::FromBytes;

use crate::tcp::{Flow, State};

/// `PF_KTHREAD` of `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// A fact, and when and where it was stated.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The CPU the hook ran on.
    pub cpu: u32,
    /// The fact.
    pub fact: Fact,
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
    /// The kernel side saw the mini-socket armed just before.
    pub handed_over: bool,
    /// What is known of an end that had no mini-socket.
    pub no_mini: Option<NoMini>,
}

/// FIN_WAIT2 or CLOSING ended in CLOSE, and no mini-socket took over.
#[derive(Clone, Debug, PartialEq)]
pub struct NoMini {
    /// Whether the namespace had as many mini-sockets as it may have; `None` where the kernel's types do not say.
    pub full: Option<bool>,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
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
        let end = self.comm.iter().position(|b| *b == 0).unwrap_or(self.comm.len());
        String::from_utf8_lossy(self.comm.get(..end).unwrap_or_default()).into_owned()
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
            Some(kind) => write!(f, "record of kind {kind} and {} bytes makes no sense", self.len),
            None => write!(f, "record of {} bytes is too short", self.len),
        }
    }
}

/// Decodes one record.
///
/// # Errors
/// The length, the kind or a value in it is not one that this version writes.
pub fn decode(bytes: &[u8]) -> Result<Event, Undecodable> {
    let Ok((head, _)) = wire::Head::read_from_prefix(bytes) else {
        return Err(Undecodable { kind: None, len: bytes.len() });
    };
    let wrong = Undecodable { kind: Some(head.kind), len: bytes.len() };
    if usize::from(head.len) != bytes.len() {
        return Err(wrong);
    }
    let fact = Kind::from_u8(head.kind).and_then(|kind| fact(kind, &head, bytes)).ok_or(wrong)?;
    Ok(Event { time_ns: head.time_ns, cpu: head.cpu, fact })
}

fn fact(kind: Kind, head: &wire::Head, bytes: &[u8]) -> Option<Fact> {
    Some(match kind {
        Kind::State => Fact::State(state_change(&wire::SockState::read_from_bytes(bytes).ok()?, None, None)?),
        Kind::StateTask => {
            let record = wire::SockStateTask::read_from_bytes(bytes).ok()?;
            Fact::State(state_change(&record.state, Task::from_wire(&record.task), None)?)
        }
        Kind::StateStack => {
            let record = wire::SockStateStack::read_from_bytes(bytes).ok()?;
            let full = (record.tw_max != u32::MAX).then_some(record.tw_count >= record.tw_max);
            Fact::State(state_change(&record.state, None, Some(NoMini { full, stack: frames(&record.stack) }))?)
        }
        Kind::Owner => {
            let record = wire::Owner::read_from_bytes(bytes).ok()?;
            Fact::Owner { cookie: record.cookie, task: Task::from_wire(&record.task) }
        }
        Kind::TwArm => Fact::Armed {
            mini: mini_socket(&wire::Mini::read_from_bytes(bytes).ok()?)?,
            rearmed: head.flags & wire::FLAG_REARM != 0,
        },
        Kind::TwExpire => Fact::Expired(mini_socket(&wire::Mini::read_from_bytes(bytes).ok()?)?),
        Kind::TwSegment => {
            let record = wire::MiniSegment::read_from_bytes(bytes).ok()?;
            Fact::Segment { mini: mini_socket(&record.mini)?, segment: segment(&record) }
        }
        Kind::TwCancel => {
            let record = wire::MiniCancel::read_from_bytes(bytes).ok()?;
            Fact::Cancelled {
                mini: mini_socket(&record.mini)?,
                site: CancelSite {
                    unhashed: head.flags & wire::FLAG_UNHASHED != 0,
                    netns_gone: head.flags & wire::FLAG_NETNS_GONE != 0,
                    on_task_stack: head.flags & wire::FLAG_TASK_STACK != 0,
                    task: Task::from_wire(&record.task),
                    stack: frames(&record.stack),
                },
            }
        }
        Kind::Tick => Fact::Tick { realtime_ns: wire::Tick::read_from_bytes(bytes).ok()?.realtime_ns },
        Kind::Seed => {
            let record = wire::Seed::read_from_bytes(bytes).ok()?;
            Fact::Seed(Seed {
                cookie: record.cookie,
                flow: Flow::from_wire(&record.flow)?,
                task: Task::from_wire(&record.task),
                state: State::from_kernel(record.state)?,
                // inet_twsk_diag_fill: timer 3 is a mini-socket's, and nothing else's.
                mini: record.timer == 3,
                expires_ms: record.expires_ms,
            })
        }
        Kind::SeedEnd => {
            let record = wire::SeedEnd::read_from_bytes(bytes).ok()?;
            Fact::SeedEnd { sockets: record.sockets, namespaces: record.namespaces, unreadable: record.unreadable }
        }
        Kind::CgroupName => {
            let record = wire::CgroupName::read_from_bytes(bytes).ok()?;
            let path: Vec<u8> = record.path.iter().copied().take_while(|b| *b != 0).collect();
            Fact::CgroupName { id: record.id, path: String::from_utf8_lossy(&path).into_owned() }
        }
        Kind::Counters => Fact::Counters(Box::new(wire::Counters::read_from_bytes(bytes).ok()?)),
    })
}

fn state_change(record: &wire::SockState, task: Option<Task>, no_mini: Option<NoMini>) -> Option<StateChange> {
    Some(StateChange {
        cookie: record.cookie,
        sk: record.sk,
        flow: Flow::from_wire(&record.flow)?,
        old: State::from_kernel(record.old)?,
        new: State::from_kernel(record.new)?,
        err: record.err,
        task,
        handed_over: record.head.flags & wire::FLAG_HANDED_OVER != 0,
        no_mini,
    })
}

fn mini_socket(record: &wire::Mini) -> Option<MiniSocket> {
    Some(MiniSocket {
        cookie: record.cookie,
        tw: record.tw,
        flow: Flow::from_wire(&record.flow)?,
        expires: record.expires,
        jiffies: record.jiffies,
        substate: State::from_kernel(record.substate).filter(|s| matches!(s, State::FinWait2 | State::TimeWait))?,
    })
}

/// A header that makes no sense, as where it could not be read, gives `None`.
fn segment(record: &wire::MiniSegment) -> Option<Segment> {
    let header = TcpHeaderSlice::from_slice(&record.header).ok()?;
    let timestamp = header.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::Timestamp(value, _)) => Some(value),
        _ => None,
    });
    Some(Segment {
        syn: header.syn(),
        fin: header.fin(),
        rst: header.rst(),
        ack: header.ack(),
        seq: header.sequence_number(),
        payload: record.payload,
        timestamp,
        rcv_nxt: record.rcv_nxt,
        ts_recent: (record.has_ts_recent != 0).then_some(record.ts_recent),
        verdict: (record.verdict != wire::VERDICT_UNKNOWN).then_some(record.verdict),
    })
}

fn frames(stack: &wire::Stack) -> Vec<u64> {
    let depth = usize::try_from(stack.depth).unwrap_or(usize::MAX);
    stack.frames.iter().copied().take(depth).collect()
}

/// Whether the kernel side wrote a record, and not user space.
pub fn is_from_kernel(bytes: &[u8]) -> bool {
    wire::Head::read_from_prefix(bytes).is_ok_and(|(head, _)| head.kind < Kind::Tick as u8)
}

/// The cgroup id in a record, if it carries a task: live, its name is looked up while the cgroup still exists.
pub fn cgroup_of(event: &Event) -> Option<u64> {
    let task = match &event.fact {
        Fact::State(StateChange { task, .. })
        | Fact::Cancelled { site: CancelSite { task, .. }, .. }
        | Fact::Owner { task, .. } => task.as_ref()?,
        Fact::Seed(seed) => seed.task.as_ref()?,
        _ => return None,
    };
    (task.cgroup != 0).then_some(task.cgroup)
}
