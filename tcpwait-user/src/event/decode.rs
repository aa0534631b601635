//! Records become events: bytes in, one fact out, or nothing where they make no sense.

use std::mem::offset_of;

use etherparse::{TcpHeaderSlice, TcpOptionElement};
use tcpwait_wire::wire::{self, Kind};
use zerocopy::FromBytes;

use super::{
    AcceptQueue, Call, CancelSite, EndFacts, EndSite, Event, Fact, HookContext, MiniSocket, PortRefused, RequestSocket,
    RequestStart, Reuse, Seed, Segment, StateChange, Syn, Task, Undecodable,
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
            let path: Vec<u8> = record.path.iter().copied().take_while(|b| *b != 0).collect();
            Fact::CgroupName { id: record.id, path: String::from_utf8_lossy(&path).into_owned() }
        }
        Kind::Loss => Fact::Loss { lost: wire::Loss::read_from_bytes(bytes).ok()?.lost },
        Kind::Listed => {
            let record = wire::Listed::read_from_bytes(bytes).ok()?;
            Fact::Listed(NetnsId::new(record.netns, record.generation.into()))
        }
        Kind::InterfaceName => {
            let record = wire::InterfaceName::read_from_bytes(bytes).ok()?;
            let name: Vec<u8> = record.name.iter().copied().take_while(|b| *b != 0).collect();
            let netns = NetnsId::new(record.netns, record.generation.into());
            Fact::InterfaceName {
                interface: Interface { netns, index: record.index },
                name: String::from_utf8_lossy(&name).into_owned(),
            }
        }
        Kind::NetnsName => {
            let record = wire::NetnsName::read_from_bytes(bytes).ok()?;
            let name: Vec<u8> = record.name.iter().copied().take_while(|b| *b != 0).collect();
            Fact::NetnsName {
                netns: NetnsId::new(record.netns, record.generation.into()),
                name: String::from_utf8_lossy(&name).into_owned(),
            }
        }
        Kind::Counters => Fact::Counters(Box::new(counters(bytes)?)),
    })
}

/// Inlined, since its result is long and would be moved twice.
#[inline(always)]
fn state_change(record: &wire::SockState, task: Option<Task>) -> Option<StateChange> {
    Some(StateChange {
        cookie: record.cookie,
        sk: record.sk,
        flow: Flow::from_wire(&record.flow)?,
        old: State::from_kernel(record.old)?,
        new: State::from_kernel(record.new)?,
        err: record.err,
        task,
        by_call: record.head.kind == Kind::StateTask as u8,
        handed_over: record.head.flags & wire::FLAG_HANDED_OVER != 0,
        newborn: record.head.flags & wire::FLAG_NEWBORN != 0,
        of_request: record.head.flags & wire::FLAG_OF_REQUEST != 0,
        retransmits: retransmits(record),
        reuse: reuse(record.reuse),
        v6only: v6only(record.reuse),
        unsent: record.syn & wire::SYN_UNSENT != 0,
        deferred: record.syn & wire::SYN_DEFERRED != 0,
        returns: record.syn & wire::SYN_RETURNS != 0,
        old_port: record.syn & wire::SYN_OLD_PORT != 0,
        old_soft: record.syn & wire::SYN_OLD_SOFT != 0,
        syn: syn(record),
        acked: record.syn & wire::SYN_ACKED != 0,
        end: None,
    })
}

/// Not inlined into what is done for every record.
#[inline(never)]
fn state_end(record: &wire::SockStateEnd) -> Option<StateChange> {
    let is = |flag| record.about & flag != 0;
    let known = |known, flag| is(known).then(|| is(flag));
    let task = Task::from_wire(&record.task);
    let by_call = is(wire::END_BY_CALL);
    let site = EndSite {
        full: (record.tw_max != u32::MAX).then_some(record.tw_count >= record.tw_max),
        task: task.clone().filter(|_| is(wire::END_TASK_STACK)),
        about: Some(EndFacts {
            orphan: is(wire::END_ORPHAN),
            repair: known(wire::END_REPAIR_KNOWN, wire::END_REPAIR),
            no_linger2: is(wire::END_NO_LINGER2),
            netns_gone: is(wire::END_NETNS_GONE),
            window_closed: is(wire::END_WINDOW_CLOSED),
            acked: is(wire::END_ACKED),
            unsent: is(wire::END_UNSENT),
            memory: known(wire::END_MEMORY_KNOWN, wire::END_MEMORY),
            soft_err: is(wire::END_SOFT_KNOWN).then_some((record.about >> wire::END_SOFT_SHIFT) as u16),
            soft_asked: is(wire::END_SOFT_ASKED),
            user_timeout_ms: record.user_timeout_ms,
            probed_jiffies: record.probed_jiffies,
            rto_max_jiffies: record.rto_max_jiffies,
        }),
        stack: frames(&record.stack),
    };
    let change = state_change(&record.state, task.filter(|_| by_call))?;
    Some(StateChange { by_call, end: Some(Box::new(site)), ..change })
}

/// The first records of version 6, and older ones, tell it of handshakes alone.
fn retransmits(record: &wire::SockState) -> Option<u16> {
    let of_a_handshake = record.old == State::SynSent as u8 || record.old == State::SynRecv as u8;
    let is_told = record.new != State::SynSent as u8 && record.syn & wire::RETRANSMITS_KNOWN != 0;
    (of_a_handshake || is_told).then_some(record.retransmits)
}

/// Records of version 4 did not say.
fn syn(record: &wire::SockState) -> Option<Syn> {
    if record.new != State::SynSent as u8 || record.syn & wire::UNSENT_KNOWN == 0 {
        return None;
    }
    Some(match record.syn {
        bits if bits & wire::UNSENT_REPAIR != 0 => Syn::Never,
        bits if bits & wire::UNSENT_DEFERRABLE != 0 => Syn::MayWait,
        _ => Syn::AtOnce,
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
        reuse: reuse(record.reuse),
        v6only: v6only(record.reuse),
        timestamps: record.timestamps != 0,
    })
}

fn request_socket(record: &wire::Request) -> Option<RequestSocket> {
    Some(RequestSocket {
        cookie: record.cookie,
        req: record.req,
        flow: Flow::from_wire(&record.flow)?,
        listener: record.listener,
        retransmits: record.retransmits,
        listens: record.listens != 0,
        acked: record.acked != 0,
        deferred: record.deferred != 0,
        queue: match record.queue {
            0 => None,
            wire::QUEUE_HAS_ROOM => Some(AcceptQueue::HasRoom),
            wire::QUEUE_FULL => Some(AcceptQueue::Full),
            wire::QUEUE_FULL_RESETS => Some(AcceptQueue::FullAndResets),
            _ => return None,
        },
    })
}

fn v6only(flags: u8) -> Option<bool> {
    (flags & wire::REUSE_V6ONLY_KNOWN != 0).then_some(flags & wire::REUSE_V6ONLY != 0)
}

fn reuse(flags: u8) -> Option<Reuse> {
    (flags & wire::REUSE_KNOWN != 0)
        .then_some(Reuse { address: flags & wire::REUSE_ADDR != 0, port: flags & wire::REUSE_PORT != 0 })
}

fn site(head: &wire::Head, task: &wire::Task, stack: &wire::Stack) -> CancelSite {
    CancelSite {
        unhashed: head.flags & wire::FLAG_UNHASHED != 0,
        netns_gone: head.flags & wire::FLAG_NETNS_GONE != 0,
        on_task_stack: head.flags & wire::FLAG_TASK_STACK != 0,
        task: Task::from_wire(task),
        stack: frames(stack),
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use zerocopy::{FromZeros, IntoBytes};

    use super::{Fact, StateChange, decode, wire};
    use crate::tcp::State;

    fn changed(old: State, new: State, write: impl FnOnce(&mut wire::SockStateEnd)) -> StateChange {
        let mut record = wire::SockStateEnd::new_zeroed();
        record.state.head.kind = wire::Kind::StateEnd as u8;
        record.state.head.len = size_of::<wire::SockStateEnd>() as u16;
        record.state.flow.family = 2;
        (record.state.old, record.state.new, record.state.retransmits) = (old as u8, new as u8, 7);
        write(&mut record);
        match decode(record.as_bytes()).unwrap().fact {
            Fact::State(change) => change,
            other => panic!("{other:?}"),
        }
    }

    /// The bits that say that something was read are not in older records, which say what they said.
    #[test]
    fn what_was_not_read_is_not_known() {
        let about = |change: &StateChange| change.end.as_ref().and_then(|site| site.about).unwrap();
        let older = changed(State::Established, State::Close, |_| ());
        assert_eq!((older.retransmits, about(&older).soft_err, older.old_soft), (None, None, false));
        let handshake = changed(State::SynSent, State::Close, |_| ());
        assert_eq!(handshake.retransmits, Some(7));
        let newer = changed(State::LastAck, State::Close, |record| {
            record.state.syn = wire::RETRANSMITS_KNOWN;
            record.about = wire::END_SOFT_KNOWN | wire::END_ORPHAN | 113 << wire::END_SOFT_SHIFT;
        });
        assert_eq!((newer.retransmits, newer.acked), (Some(7), false));
        let told = about(&newer);
        assert_eq!((told.soft_err, told.soft_asked, told.orphan, told.unsent), (Some(113), false, true, false));
        let asked = changed(State::SynSent, State::Close, |record| {
            record.about = wire::END_SOFT_KNOWN | wire::END_SOFT_ASKED | 111 << wire::END_SOFT_SHIFT;
        });
        assert_eq!((about(&asked).soft_err, about(&asked).soft_asked), (Some(111), true));
        // Entering SYN_SENT the same bits mean something else.
        let begins = changed(State::Close, State::SynSent, |record| {
            record.state.syn = wire::UNSENT_KNOWN | wire::SYN_OLD_SOFT;
        });
        assert_eq!((begins.retransmits, begins.old_soft), (None, true));
    }
}
