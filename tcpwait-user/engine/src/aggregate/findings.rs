//! What stands out in a report, worst first: what fails, what is about to, what waits for somebody. Decides what is worth a line, and in which order;
//! the words are the view's.

use std::{cmp::Reverse, collections::HashMap};

use super::{
    census::{PlaceRow, SocketCensus, TakenRow},
    end_report::EndLead,
    failures::FailureRow,
    ports::settings::PortSettings,
    unfollowed::{FullQueue, Growth},
};
use crate::{
    lifecycle::Why,
    tcp::{NetnsId, State},
};

/// So many more in an interval are worth a line.
pub const MORE: i64 = 10;

/// So many that have been there for long are worth one, too.
const MANY: u64 = 10;

/// A process that has not answered the peer's FIN for so long does not do so by itself any more.
const LONG_NS: u64 = 60_000_000_000;

/// A server that still has something to send to a client that has closed its half has done that by then, mostly; and one that leaks a connection every
/// few seconds has so many in half a minute.
const LONG_IN_CLOSE_WAIT_NS: u64 = 15_000_000_000;

/// Two SYNs without an answer may be lost; the third is sent after three seconds (`TCP_TIMEOUT_INIT`, doubled).
const THIRD_SYN_NS: u64 = 3_000_000_000;

/// A share of the ports at which they are worth a line whatever the rate.
const FILLED: f64 = 0.8;

/// And with a rate at which they run out within a minute.
const FILLING: f64 = 0.25;

/// A rate over a longer time says nothing of the next minute.
const PACE_NS: u64 = 60_000_000_000;

/// One thing that stands out.
#[derive(Clone, Debug)]
pub enum StatFinding {
    /// Calls that failed.
    Failed(FailureRow),
    /// Ports towards a destination are taken, or soon are.
    Ports {
        /// The destination and who connects.
        row: TakenRow,
        /// How many connect() may take.
        available: u64,
        /// The share of these that connections hold.
        share: f64,
        /// In how many nanoseconds none is left at the rate of the interval; `None` where they do not become more, or that is not known.
        in_ns: Option<u64>,
    },
    /// SYNs, and ACKs of handshakes, that this machine dropped.
    Dropped {
        /// How many, and why.
        drops: DropCounts,
        /// A listener whose accept queue was full when it was last looked at.
        queue: Option<FullQueue>,
        /// Who listens there.
        owner: Option<[u8; 16]>,
    },
    /// A SYN queue was full and answered with cookies.
    Cookies {
        /// How many.
        count: u64,
    },
    /// Connects to which nothing has come back.
    Unanswered(PlaceRow),
    /// Connections that wait for somebody, in CLOSE_WAIT, FIN_WAIT1, FIN_WAIT2 or LAST_ACK.
    Waiting(PlaceRow),
    /// TIME_WAITs that were not entered, as `tcp_max_tw_buckets` was reached.
    Overflow {
        /// How many.
        count: u64,
    },
    /// Connections of a group that end otherwise than by FINs.
    Ended(Box<EndLead>),
}

/// Drops by their reason.
#[derive(Clone, Copy, Debug)]
pub struct DropCounts {
    /// All of them.
    pub all: u64,
    /// As an accept queue was full (`ListenOverflows`).
    pub overflows: u64,
    /// As a SYN queue was full and cookies are off (`TCPReqQFullDrop`).
    pub no_cookies: u64,
    /// For a reason that has no counter of its own.
    pub others: u64,
}

/// What findings are made of.
pub struct Sources<'a> {
    /// The sockets there are.
    pub census: &'a SocketCensus,
    /// Those that there were at the beginning; `None` where that is not known.
    pub before: Option<&'a SocketCensus>,
    /// How long the report is on.
    pub length_ns: u64,
    /// Calls that failed.
    pub failures: &'a [FailureRow],
    /// What the kernel alone counts.
    pub unfollowed: &'a Growth,
    /// The settings of namespaces, as far as they were read.
    pub settings: &'a dyn Fn(NetnsId) -> Option<&'a PortSettings>,
    /// TIME_WAITs that found no room.
    pub overflows: u64,
    /// Ends that stand out.
    pub leads: &'a [EndLead],
}

/// Everything that stands out, worst first.
pub fn find(from: &Sources<'_>) -> Vec<StatFinding> {
    let mut found: Vec<StatFinding> = from.failures.iter().cloned().map(StatFinding::Failed).collect();
    found.extend(ports(from));
    let (overflows, no_cookies) = (from.unfollowed.overflows(), from.unfollowed.no_cookies());
    // What is full now says nothing of drops that have another reason.
    let queue = from.unfollowed.full.filter(|_| overflows > 0);
    let owner = queue.and_then(|queue| from.census.listener(queue.netns, queue.port));
    let dropped = |all: u64| {
        let others = all.saturating_sub(overflows + no_cookies);
        StatFinding::Dropped { drops: DropCounts { all, overflows, no_cookies, others }, queue, owner }
    };
    found.extend(from.unfollowed.dropped().map(dropped));
    found.extend(from.unfollowed.cookies().map(|count| StatFinding::Cookies { count }));
    found.extend(from.census.places(from.before).into_iter().filter_map(waiting));
    if from.overflows > 0 {
        found.push(StatFinding::Overflow { count: from.overflows });
    }
    found.extend(from.leads.iter().cloned().map(|lead| StatFinding::Ended(Box::new(lead))));
    found.sort_by_key(|finding| (finding.rank(), Reverse(finding.weight())));
    found
}

impl StatFinding {
    /// Every word that there is for one.
    pub const NAMES: [&str; 8] = [
        "call-failed",
        "ports",
        "handshakes-dropped",
        "syn-cookies",
        "connect-unanswered",
        "not-closed",
        "time-wait-overflow",
        "ended",
    ];

    /// The word for it, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Failed(_) => "call-failed",
            Self::Ports { .. } => "ports",
            Self::Dropped { .. } => "handshakes-dropped",
            Self::Cookies { .. } => "syn-cookies",
            Self::Unanswered(_) => "connect-unanswered",
            Self::Waiting(_) => "not-closed",
            Self::Overflow { .. } => "time-wait-overflow",
            Self::Ended(_) => "ended",
        }
    }

    /// What fails comes first, then what is about to, then what waits.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Failed(FailureRow { kind, .. }) => match kind.why {
                Why::NoFreePort | Why::PortTaken | Why::RangeFull => 0,
                Why::PortHeld | Why::NoMemory => 1,
                Why::NotTold | Why::NotAllowed | Why::NoRoute | Why::NoAddress | Why::Invalid => 2,
                Why::TimedOut | Why::Unreachable | Why::Refused | Why::SoftError => 5,
                // The process's own doing.
                Why::PortSearch | Why::NeverSent | Why::GivenUp | Why::Destroyed | Why::Other => 9,
            },
            Self::Dropped { .. } => 3,
            Self::Ports { .. } => 4,
            Self::Unanswered(_) => 5,
            Self::Waiting(row) if row.place.state == State::CloseWait => 6,
            Self::Ended(_) => 7,
            Self::Waiting(_) | Self::Overflow { .. } | Self::Cookies { .. } => 8,
        }
    }

    /// How many sockets or calls it is about.
    pub fn weight(&self) -> u64 {
        match self {
            Self::Failed(row) => row.count,
            Self::Ports { row, .. } => row.taken,
            Self::Dropped { drops, .. } => drops.all,
            Self::Cookies { count } | Self::Overflow { count } => *count,
            Self::Unanswered(row) => row.unanswered,
            Self::Waiting(row) => row.now,
            Self::Ended(lead) => lead.row.count,
        }
    }
}

fn waiting(row: PlaceRow) -> Option<StatFinding> {
    let old = row.oldest_ns.unwrap_or_default();
    if row.place.state == State::SynSent {
        return (row.unanswered > 0 && (old >= THIRD_SYN_NS || row.unanswered >= MANY))
            .then_some(StatFinding::Unanswered(row));
    }
    let long_ns = if row.place.state == State::CloseWait { LONG_IN_CLOSE_WAIT_NS } else { LONG_NS };
    let is_long = old >= long_ns && row.now >= MANY;
    (is_long || row.growth.is_some_and(|growth| growth >= MORE)).then_some(StatFinding::Waiting(row))
}

fn ports(from: &Sources<'_>) -> Vec<StatFinding> {
    // There may be many thousands of destinations, in few namespaces.
    let mut sizes = HashMap::new();
    let mut finding = |row: TakenRow| {
        let netns = row.destination.netns;
        let settings = (from.settings)(netns)?;
        let size = sizes.entry(netns).or_insert_with(|| settings.available(from.census.closed(netns)));
        let available = (*size)?;
        // connect() takes over TIME_WAITs there: those are in nobody's way for long.
        let to = &row.destination;
        let reuses = settings.timestamps != Some(0) && settings.reuses(to.laddr, to.raddr) == Some(true);
        let share_of = |ports: u64| ports as f64 / available.max(1) as f64;
        let in_the_way = share_of(if reuses { row.taken.saturating_sub(row.waits()) } else { row.taken });
        let per_ns = row.growth.filter(|growth| !reuses && *growth > 0 && (1..=PACE_NS).contains(&from.length_ns));
        let in_ns = per_ns.map(|growth| {
            let left = available.saturating_sub(row.taken) as f64;
            (left / growth as f64 * from.length_ns as f64) as u64
        });
        let is_near = in_the_way >= FILLED || (in_the_way >= FILLING && in_ns.is_some_and(|ns| ns <= PACE_NS));
        is_near.then_some(StatFinding::Ports { row, available, share: share_of(row.taken), in_ns })
    };
    from.census.taken(from.before).into_iter().filter_map(&mut finding).collect()
}
