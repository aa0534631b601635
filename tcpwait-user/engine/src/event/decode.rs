//! Records become events: bytes in, one fact out, or nothing where they make no sense.

mod full;
mod timer;

use std::mem::offset_of;

use tcpwait_wire::wire::{self, Kind};
use zerocopy::FromBytes;

use self::{
    full::{state_change, state_end},
    timer::{mini_socket, request_socket, segment, site},
};
use super::{
    Call, EndSite, Event, Fact, HookContext, PortRefused, RequestStart, Reuse, Seed, StateChange, Task, Undecodable,
};
use crate::{
    origin::Origin,
    tcp::{DIAG_TIMER_TIME_WAIT, Flow, Interface, NetnsId, State},
};

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
    let context = HookContext::new(head.cpu, head.thread);
    Ok(Event { time_ns: head.time_ns, cpu: head.cpu, context, fact })
}

fn fact(kind: Kind, head: &wire::Head, bytes: &[u8]) -> Option<Fact> {
    Some(match kind {
        Kind::State => Fact::State(state_change(&wire::SockState::read_from_bytes(bytes).ok()?, None)?),
        Kind::StateTask => {
            let record = wire::SockStateTask::read_from_bytes(bytes).ok()?;
            Fact::State(state_change(&record.state, Task::from_wire(&record.task))?)
        }
        Kind::StateStack => {
            let record = wire::SockStateStack::read_from_bytes(bytes).ok()?;
            let full = (record.tw_max != u32::MAX).then_some(record.tw_count >= record.tw_max);
            let site = EndSite { full, stack: frames(&record.stack), ..EndSite::default() };
            Fact::State(StateChange { end: Some(Box::new(site)), ..state_change(&record.state, None)? })
        }
        Kind::StateEnd => Fact::State(state_end(&wire::SockStateEnd::read_from_bytes(bytes).ok()?)?),
        Kind::Owner => {
            let record = wire::Owner::read_from_bytes(bytes).ok()?;
            let (cookie, task) = (record.cookie, Task::from_wire(&record.task));
            match head.flags & wire::FLAG_HEIR {
                0 => Fact::Owner { cookie, task },
                _ => Fact::Heir { cookie, task },
            }
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
            Fact::Cancelled { mini: mini_socket(&record.mini)?, site: site(head, &record.task, &record.stack) }
        }
        Kind::ReqArm => Fact::RequestArmed {
            reqsk: request_socket(&wire::Request::read_from_bytes(bytes).ok()?)?,
            start: match head.flags {
                flags if flags & wire::FLAG_RETRANSMIT != 0 => RequestStart::Retransmit,
                flags if flags & wire::FLAG_REARM != 0 => RequestStart::SynAgain,
                _ => RequestStart::Syn,
            },
        },
        Kind::ReqExpire => Fact::RequestExpired(request_socket(&wire::Request::read_from_bytes(bytes).ok()?)?),
        Kind::ReqCancel => {
            let record = wire::RequestCancel::read_from_bytes(bytes).ok()?;
            Fact::RequestCancelled {
                reqsk: request_socket(&record.reqsk)?,
                site: site(head, &record.task, &record.stack),
            }
        }
        Kind::PortRefused => {
            let record = wire::PortRefused::read_from_bytes(bytes).ok()?;
            Fact::PortRefused(PortRefused {
                cookie: record.cookie,
                socket: (record.socket != 0).then_some(record.socket),
                flow: Flow::from_wire(&record.flow)?,
                task: Task::from_wire(&record.task),
                errno: record.errno,
                call: match record.call {
                    wire::CALL_WAS_BIND => Call::Bind,
                    wire::CALL_WAS_LISTEN => Call::Listen,
                    wire::CALL_WAS_CONNECT => Call::Connect,
                    _ => return None,
                },
                reuse: reuse(record.reuse),
                v6only: v6only(record.reuse),
            })
        }
        Kind::Accepted => {
            let record = wire::Accepted::read_from_bytes(bytes).ok()?;
            Fact::Accepted { cookie: record.cookie, listener: record.listener, task: Task::from_wire(&record.task) }
        }
        Kind::Tick => Fact::Tick { realtime_ns: wire::Tick::read_from_bytes(bytes).ok()?.realtime_ns },
        Kind::Seed => {
            let record = seed(bytes)?;
            Fact::Seed(Seed {
                cookie: record.cookie,
                flow: Flow::from_wire(&record.flow)?,
                task: Task::from_wire(&record.task),
                state: State::from_kernel(record.state)?,
                mini: record.timer == DIAG_TIMER_TIME_WAIT,
                expires_ms: record.expires_ms,
                retransmits: record.retransmits,
                origin: Origin::from_wire(record.about & wire::MADE_BITS),
                v6only: v6only(record.about),
                by_ns: (record.by_ns != 0).then_some(record.by_ns),
            })
        }
        Kind::SeedEnd => {
            let record = wire::SeedEnd::read_from_bytes(bytes).ok()?;
            Fact::SeedEnd { sockets: record.sockets, namespaces: record.namespaces, unreadable: record.unreadable }
        }
        Kind::CgroupName => {
            let record = wire::CgroupName::read_from_bytes(bytes).ok()?;
            Fact::CgroupName { id: record.id, path: unpadded(&record.path) }
        }
        Kind::Setting => {
            let (record, value) = wire::Setting::read_from_prefix(bytes).ok()?;
            let netns = NetnsId::new(record.netns, record.generation.into());
            (value.len() <= wire::MAX_SETTING).then(|| Fact::Setting {
                netns,
                name: unpadded(&record.name),
                value: unpadded(value),
            })?
        }
        Kind::ReadingBegins => wire::ReadingBegins::read_from_bytes(bytes).ok().map(|_| Fact::ReadingBegins)?,
        Kind::KernelCounts => Fact::KernelCounts(Box::new(kernel_counts(bytes)?)),
        Kind::ReadingEnds => {
            let record = wire::ReadingEnds::read_from_bytes(bytes).ok()?;
            let [before, after] = record.entered;
            let entered = (before != wire::NOT_KNOWN && after != wire::NOT_KNOWN).then_some((before, after));
            Fact::ReadingEnds { unreadable: record.unreadable, entered }
        }
        Kind::Thinned => {
            let one_in = wire::Thinned::read_from_bytes(bytes).ok()?.one_in;
            (one_in.is_power_of_two() && one_in <= wire::sample::MOST).then_some(Fact::Thinned { one_in })?
        }
        Kind::Loss => Fact::Loss { lost: wire::Loss::read_from_bytes(bytes).ok()?.lost },
        Kind::Listed => {
            let record = wire::Listed::read_from_bytes(bytes).ok()?;
            Fact::Listed(NetnsId::new(record.netns, record.generation.into()))
        }
        Kind::InterfaceName => {
            let record = wire::InterfaceName::read_from_bytes(bytes).ok()?;
            let netns = NetnsId::new(record.netns, record.generation.into());
            Fact::InterfaceName { interface: Interface { netns, index: record.index }, name: unpadded(&record.name) }
        }
        Kind::NetnsName => {
            let record = wire::NetnsName::read_from_bytes(bytes).ok()?;
            Fact::NetnsName {
                netns: NetnsId::new(record.netns, record.generation.into()),
                name: unpadded(&record.name),
            }
        }
        Kind::PodName => {
            let record = wire::PodName::read_from_bytes(bytes).ok()?;
            let [namespace, pod] = [unpadded(&record.namespace), unpadded(&record.pod)];
            if namespace.is_empty() || pod.is_empty() {
                return None;
            }
            let container = Some(unpadded(&record.container)).filter(|name| !name.is_empty());
            Fact::PodName { cgroup: record.cgroup, namespace, pod, container }
        }
        Kind::Counters => Fact::Counters(Box::new(counters(bytes)?)),
    })
}

/// A name without the NULs behind it.
fn unpadded(name: &[u8]) -> String {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// No counter has come so far: at a million a second that takes 35 years. The sums of all namespaces are still numbers.
const MOST_COUNTED: u64 = 1 << 50;

/// Counters that can have been read before they were told.
fn kernel_counts(bytes: &[u8]) -> Option<wire::KernelCounts> {
    let record = wire::KernelCounts::read_from_bytes(bytes).ok()?;
    let known = [record.timewait, record.reused_by_connect, record.overflow];
    let perhaps = record.tcp.iter().chain(&record.aborts).chain(&record.unfollowed);
    let perhaps = perhaps.chain([&record.sockstat, &record.listed]).filter(|count| **count != wire::NOT_KNOWN);
    let is_possible = known.iter().chain(perhaps).all(|count| *count <= MOST_COUNTED);
    let is_before = |[begun, ended]: [u64; 2]| begun <= ended && ended <= record.head.time_ns;
    (is_possible && is_before(record.read_ns) && is_before(record.listed_ns)).then_some(record)
}

fn v6only(flags: u8) -> Option<bool> {
    (flags & wire::REUSE_V6ONLY_KNOWN != 0).then_some(flags & wire::REUSE_V6ONLY != 0)
}

fn reuse(flags: u8) -> Option<Reuse> {
    (flags & wire::REUSE_KNOWN != 0)
        .then_some(Reuse { address: flags & wire::REUSE_ADDR != 0, port: flags & wire::REUSE_PORT != 0 })
}

fn frames(stack: &wire::Stack) -> Vec<u64> {
    let depth = usize::try_from(stack.depth).unwrap_or(usize::MAX);
    stack.frames.iter().copied().take(depth).collect()
}

/// Up to version 5 it ended before [`wire::Seed::by_ns`].
fn seed(bytes: &[u8]) -> Option<wire::Seed> {
    const OLDER: usize = offset_of!(wire::Seed, by_ns);
    if bytes.len() != OLDER {
        return wire::Seed::read_from_bytes(bytes).ok();
    }
    let mut longer = [0; size_of::<wire::Seed>()];
    longer.get_mut(..OLDER)?.copy_from_slice(bytes);
    wire::Seed::read_from_bytes(&longer).ok()
}

/// The kernel side's counts. Up to version 4 events withheld were counted for all hooks together, where the first hook's are now.
pub fn counters(bytes: &[u8]) -> Option<wire::Counters> {
    const OLDER: usize = size_of::<wire::Counters>() - 8 * (wire::HOOKS - 1);
    if bytes.len() != OLDER {
        return wire::Counters::read_from_bytes(bytes).ok();
    }
    let mut longer = [0; size_of::<wire::Counters>()];
    longer.get_mut(..OLDER)?.copy_from_slice(bytes);
    let mut counters = wire::Counters::read_from_bytes(&longer).ok()?;
    counters.withheld.swap(wire::Hook::State as usize, wire::Hook::Any as usize);
    Some(counters)
}

/// Whether the kernel side wrote a record, and not user space.
pub fn is_from_kernel(bytes: &[u8]) -> bool {
    wire::Head::read_from_prefix(bytes).is_ok_and(|(head, _)| head.kind < Kind::Tick as u8)
}

/// The task in a record, if it is of a kind that names one with a cgroup: live, that one's name is looked up while it still exists.
/// The rest of the record is not looked at.
pub fn task_of(bytes: &[u8]) -> Option<Task> {
    let (head, _) = wire::Head::read_from_prefix(bytes).ok()?;
    let at = match Kind::from_u8(head.kind)? {
        Kind::StateTask => offset_of!(wire::SockStateTask, task),
        Kind::StateEnd => offset_of!(wire::SockStateEnd, task),
        Kind::Owner => offset_of!(wire::Owner, task),
        Kind::TwCancel => offset_of!(wire::MiniCancel, task),
        Kind::ReqCancel => offset_of!(wire::RequestCancel, task),
        Kind::PortRefused => offset_of!(wire::PortRefused, task),
        Kind::Accepted => offset_of!(wire::Accepted, task),
        Kind::Seed => offset_of!(wire::Seed, task),
        _ => return None,
    };
    let (task, _) = wire::Task::read_from_prefix(bytes.get(at..)?).ok()?;
    Task::from_wire(&task).filter(|task| task.cgroup != 0)
}
