//! Records of full sockets.

use tcpwait_wire::wire::{self, Kind};

use super::{
    super::{EndFacts, EndSite, StateChange, Syn, Task},
    frames, reuse, v6only,
};
use crate::tcp::{Flow, State};

/// Inlined, since its result is long and would be moved twice.
#[inline(always)]
pub(super) fn state_change(record: &wire::SockState, task: Option<Task>) -> Option<StateChange> {
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
pub(super) fn state_end(record: &wire::SockStateEnd) -> Option<StateChange> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use zerocopy::{FromZeros, IntoBytes};

    use super::{
        super::super::{Fact, decode},
        StateChange, wire,
    };
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
