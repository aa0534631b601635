//! What a segment does to a TIME_WAIT mini-socket: the decisions of `tcp_timewait_state_process` (net/ipv4/tcp_minisocks.c, the
//! same from 5.15 to 7.3), told from the segment's header. Knows nothing of timers, stacks and connections.

use serde::{Deserialize, Serialize};
use tcpwait_wire::wire::{VERDICT_RST, VERDICT_SYN};

use super::reason::Reason;
use crate::event::Segment;

/// What tells of segments that reach a mini-socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentSource {
    /// `fexit` of `tcp_timewait_state_process`: every one, with the kernel's verdict.
    Fexit,
    /// `skb:kfree_skb`: every one that is dropped, which is all but an accepted SYN.
    KfreeSkb,
    /// None: what the timer shows.
    #[default]
    Timer,
}

impl SegmentSource {
    /// The name, as `--timing` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            SegmentSource::Fexit => "fexit",
            SegmentSource::KfreeSkb => "kfree_skb",
            SegmentSource::Timer => "timer",
        }
    }
}

/// Why the clock of a TIME_WAIT was restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestartCause {
    /// The peer sent its FIN again: it never got the last ACK.
    DuplicateFin,
    /// Data from before the FIN, come late or sent again.
    OldData,
    /// An ACK without data: a keepalive probe, a window probe's answer, or a duplicate.
    Ack,
    /// A timestamp older than the latest (PAWS, RFC 7323): an old duplicate, or a peer whose clock differs by connection.
    Paws,
    /// Only the timer showed the restart.
    Unknown,
}

impl RestartCause {
    /// Every cause, in the order in which they are listed to people.
    pub const ALL: [RestartCause; 5] = [
        RestartCause::DuplicateFin,
        RestartCause::OldData,
        RestartCause::Ack,
        RestartCause::Paws,
        RestartCause::Unknown,
    ];

    /// The word for it, in text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            RestartCause::DuplicateFin => "duplicate-fin",
            RestartCause::OldData => "old-data",
            RestartCause::Ack => "ack",
            RestartCause::Paws => "paws",
            RestartCause::Unknown => "unknown",
        }
    }
}

/// How often the clock of a TIME_WAIT was restarted, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarts([u32; RestartCause::ALL.len()]);

impl Restarts {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Those of one cause.
    pub fn of(&self, cause: RestartCause) -> u32 {
        self.0.get(cause as usize).copied().unwrap_or_default()
    }

    /// The causes that occurred, and how often.
    pub fn by_cause(&self) -> impl Iterator<Item = (RestartCause, u32)> + '_ {
        RestartCause::ALL.into_iter().map(|cause| (cause, self.of(cause))).filter(|(_, count)| *count > 0)
    }

    /// Counts one.
    pub(super) fn add(&mut self, cause: RestartCause) {
        if let Some(count) = self.0.get_mut(cause as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// The cause of one that was counted as unknown has become known.
    pub(super) fn explain(&mut self, cause: RestartCause) {
        if let Some(unknown @ 1..) = self.0.get_mut(RestartCause::Unknown as usize) {
            *unknown -= 1;
            self.add(cause);
        }
    }
}

/// Why a segment that reached a socket in TIME_WAIT restarted its clock; `None` if it did not.
pub(super) fn restart_cause(segment: &Segment) -> Option<RestartCause> {
    let paws = is_paws_rejected(segment);
    let in_order = segment.seq == segment.rcv_nxt;
    let is_bare = segment.payload == 0 && !segment.syn && !segment.fin;
    if !paws && in_order && segment.rst {
        // It ends the connection, or with tcp_rfc1337 does nothing.
        return None;
    }
    if !paws && in_order && is_bare {
        return Some(RestartCause::Ack);
    }
    if is_acceptable_syn(segment, paws) || segment.rst {
        return None;
    }
    if paws {
        return Some(RestartCause::Paws);
    }
    // Without ACK it may be a new SYN as well as an old one: the clock is left alone.
    segment.ack.then_some(match (segment.fin, segment.payload) {
        (true, _) => RestartCause::DuplicateFin,
        (false, 1..) => RestartCause::OldData,
        (false, 0) => RestartCause::Ack,
    })
}

/// The death that a segment is the cause of, where the kernel's verdict says so before the timer is cancelled.
pub(super) fn sentence(segment: &Segment) -> Option<Reason> {
    match segment.verdict? {
        VERDICT_RST => Some(Reason::ResetSent),
        VERDICT_SYN => Some(Reason::ReusedBySyn),
        _ => None,
    }
}

/// `tcp_paws_reject`, but for what cannot be told from here: a timestamp that is 24 days old, and an RST after a minute.
fn is_paws_rejected(segment: &Segment) -> bool {
    match (segment.timestamp, segment.ts_recent) {
        (Some(timestamp), Some(recent @ 1..)) => recent.wrapping_sub(timestamp).cast_signed() > 0,
        _ => false,
    }
}

fn is_acceptable_syn(segment: &Segment, paws: bool) -> bool {
    let is_after = segment.rcv_nxt.wrapping_sub(segment.seq).cast_signed() < 0;
    let is_newer = match (segment.timestamp, segment.ts_recent) {
        (Some(timestamp), Some(recent)) => recent.wrapping_sub(timestamp).cast_signed() < 0,
        _ => false,
    };
    segment.syn && !segment.rst && !segment.ack && !paws && (is_after || is_newer)
}

#[cfg(test)]
mod tests {
    use super::{RestartCause, restart_cause, sentence};
    use crate::{event::Segment, lifecycle::Reason};

    /// An ACK at the sequence number that is due, with the newest timestamp.
    fn ack() -> Segment {
        Segment { ack: true, seq: 1000, rcv_nxt: 1000, timestamp: Some(50), ts_recent: Some(50), ..Segment::default() }
    }

    #[test]
    fn what_restarts_the_clock_and_what_does_not() {
        let cases = [
            ("a bare ACK", ack(), Some(RestartCause::Ack)),
            ("a keepalive probe", Segment { seq: 999, ..ack() }, Some(RestartCause::Ack)),
            ("the FIN again", Segment { fin: true, seq: 999, ..ack() }, Some(RestartCause::DuplicateFin)),
            (
                "the FIN again, with data",
                Segment { fin: true, seq: 900, payload: 99, ..ack() },
                Some(RestartCause::DuplicateFin),
            ),
            ("old data", Segment { seq: 900, payload: 100, ..ack() }, Some(RestartCause::OldData)),
            (
                "old data, and an old timestamp",
                Segment { seq: 900, payload: 100, timestamp: Some(49), ..ack() },
                Some(RestartCause::Paws),
            ),
            (
                "a timestamp that wrapped",
                Segment { timestamp: Some(5), ts_recent: Some(u32::MAX - 5), ..ack() },
                Some(RestartCause::Ack),
            ),
            ("an old timestamp in order", Segment { timestamp: Some(49), ..ack() }, Some(RestartCause::Paws)),
            (
                "no timestamp to compare with",
                Segment { timestamp: Some(49), ts_recent: None, ..ack() },
                Some(RestartCause::Ack),
            ),
            ("an RST in order", Segment { rst: true, ..ack() }, None),
            ("an RST out of order", Segment { rst: true, seq: 900, ..ack() }, None),
            ("a new SYN", Segment { syn: true, ack: false, seq: 5000, ..ack() }, None),
            ("an old SYN", Segment { syn: true, ack: false, seq: 5, ..ack() }, None),
            ("an old SYN-ACK", Segment { syn: true, seq: 5, ..ack() }, Some(RestartCause::Ack)),
            (
                "a SYN with an old timestamp",
                Segment { syn: true, ack: false, seq: 5000, timestamp: Some(49), ..ack() },
                Some(RestartCause::Paws),
            ),
        ];
        for (what, segment, cause) in cases {
            assert_eq!(restart_cause(&segment), cause, "{what}");
        }
    }

    #[test]
    fn the_kernels_verdict_is_the_reason() {
        let verdict = |verdict| sentence(&Segment { verdict, ..ack() });
        assert_eq!(verdict(Some(1)), Some(Reason::ResetSent));
        assert_eq!(verdict(Some(3)), Some(Reason::ReusedBySyn));
        assert_eq!([verdict(Some(0)), verdict(Some(2)), verdict(Some(4)), verdict(None)], [None; 4]);
    }
}
