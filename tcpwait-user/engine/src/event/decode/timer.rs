//! Records of timers: those of mini-sockets and request sockets, and the segments that reach mini-sockets.

use etherparse::{TcpHeaderSlice, TcpOptionElement};
use tcpwait_wire::wire;

use super::{
    super::{AcceptQueue, CancelSite, MiniSocket, RequestSocket, Segment, Task},
    frames, reuse, v6only,
};
use crate::tcp::{Flow, State};

pub(super) fn mini_socket(record: &wire::Mini) -> Option<MiniSocket> {
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

pub(super) fn request_socket(record: &wire::Request) -> Option<RequestSocket> {
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

pub(super) fn site(head: &wire::Head, task: &wire::Task, stack: &wire::Stack) -> CancelSite {
    CancelSite {
        unhashed: head.flags & wire::FLAG_UNHASHED != 0,
        netns_gone: head.flags & wire::FLAG_NETNS_GONE != 0,
        on_task_stack: head.flags & wire::FLAG_TASK_STACK != 0,
        task: Task::from_wire(task),
        stack: frames(stack),
    }
}

/// A header that makes no sense, as where it could not be read, gives `None`.
pub(super) fn segment(record: &wire::MiniSegment) -> Option<Segment> {
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
