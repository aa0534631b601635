//! What is counted of a recording: its name, as conditions and JSON have it, and what it is held against.

use super::kernel_count::KernelCount;
use crate::{
    aggregate::group_row::Closer,
    lifecycle::{Call, Detail, Reason, RestartCause, Why},
    tcp::State,
};

/// Something that happens, and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// Connections that this side made.
    Connected,
    /// Connections that a listener here got.
    Accepted,
    /// Connections that were over: in TIME_WAIT, or ended otherwise once they had been made.
    Ended,
    /// Of those, by who hung up first.
    ClosedFirst(Closer),
    /// TIME_WAITs that began.
    TimeWaitEntered,
    /// TIME_WAITs that ended: what their reasons are held against.
    TimeWaitLeft,
    /// Of those, by reason.
    TimeWaitLeftBy(Reason),
    /// Restarts of TIME_WAIT's clock.
    Restarted(RestartCause),
    /// Connections that ended otherwise than in TIME_WAIT, once they had been made.
    EndedBy(Reason, Option<Detail>),
    /// Connections in SYN_RECV that were never made.
    SynRecvEndedBy(Reason),
    /// Connects whose SYN was sent again.
    SynSentAgain,
    /// Connects that nothing had answered a second after they began.
    Unanswered,
    /// What the kernel alone counts.
    Kernel(KernelCount),
    /// Calls that failed.
    Failed(Call, Why),
    /// Steps from one state to another: what the state machine is drawn of.
    Step(State, State),
}

/// What a quantity is to be held against, as load differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// It is the load itself.
    None,
    /// Connections that were over; a group's own, for a group.
    Ended,
    /// TIME_WAITs that ended.
    TimeWaitLeft,
}

/// Whether more of it is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More is worse.
    MoreIsWorse,
    /// Neither is better.
    Neither,
}

impl Quantity {
    /// As conditions and JSON have it.
    pub fn name(self) -> String {
        let detailed = |reason: Reason, detail: Option<Detail>| match detail {
            Some(detail) => format!("{}.{}", reason.name(), detail.name()),
            None => reason.name().to_owned(),
        };
        match self {
            Self::Connected => "connections.connected".to_owned(),
            Self::Accepted => "connections.accepted".to_owned(),
            Self::Ended => "connections.ended".to_owned(),
            Self::ClosedFirst(closer) => format!("closed_first.{}", closer_name(closer)),
            Self::TimeWaitEntered => "time_wait.entered".to_owned(),
            Self::TimeWaitLeft => "time_wait.left".to_owned(),
            Self::TimeWaitLeftBy(reason) => format!("time_wait.left.{}", reason.name()),
            Self::Restarted(cause) => format!("time_wait.restarts.{}", cause.name()),
            Self::EndedBy(reason, detail) => format!("ended.{}", detailed(reason, detail)),
            Self::SynRecvEndedBy(reason) => format!("syn_recv.{}", reason.name()),
            Self::SynSentAgain => "connect.syn_sent_again".to_owned(),
            Self::Unanswered => "connect.unanswered".to_owned(),
            Self::Kernel(count) => count.name().to_owned(),
            Self::Failed(_, why) => format!("failures.{}", why.name()),
            Self::Step(from, to) => format!("steps.{}.{}", from.name().to_lowercase(), to.name().to_lowercase()),
        }
    }

    /// What it is held against.
    pub fn base(self) -> Base {
        match self {
            Self::Connected | Self::Accepted | Self::Ended | Self::TimeWaitLeft | Self::Kernel(_) => Base::None,
            Self::TimeWaitLeftBy(_) | Self::Restarted(_) => Base::TimeWaitLeft,
            Self::ClosedFirst(_)
            | Self::TimeWaitEntered
            | Self::EndedBy(..)
            | Self::SynRecvEndedBy(_)
            | Self::SynSentAgain
            | Self::Unanswered
            | Self::Failed(..)
            | Self::Step(..) => Base::Ended,
        }
    }

    /// Whether more of it is worse.
    pub fn direction(self) -> Direction {
        match self {
            Self::Failed(..) | Self::SynSentAgain | Self::Unanswered | Self::SynRecvEndedBy(_) => {
                Direction::MoreIsWorse
            }
            Self::Kernel(count) if count != KernelCount::Cookies => Direction::MoreIsWorse,
            Self::EndedBy(reason, _) if is_bad_end(reason) => Direction::MoreIsWorse,
            Self::TimeWaitLeftBy(Reason::Reset) => Direction::MoreIsWorse,
            _ => Direction::Neither,
        }
    }

    /// Whether it is part of others, which have rows of their own, and is there to be drawn.
    pub fn is_drawn_only(self) -> bool {
        matches!(self, Self::Step(..))
    }

    /// Whether it comes as late after a connection's end as TIME_WAIT takes, so that what was before a recording shows in its first minute.
    pub fn is_delayed(self) -> bool {
        matches!(self, Self::TimeWaitLeft | Self::TimeWaitLeftBy(_) | Self::Restarted(_))
    }
}

/// Whether a connection that ends so was cut short. What is unknown is not said to be bad; what somebody destroyed on purpose neither.
pub(super) fn is_bad_end(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::Closed | Reason::Expired | Reason::Unknown | Reason::Destroyed | Reason::Netns | Reason::Repair
    )
}

fn closer_name(closer: Closer) -> &'static str {
    match closer {
        Closer::ThisSide => "this_side",
        Closer::Peer => "peer",
        Closer::Both => "both",
        Closer::Neither => "neither",
    }
}
