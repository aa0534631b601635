//! What a report says: plain numbers, already counted, for a view to show. Times are nanoseconds of `CLOCK_MONOTONIC`.

use super::{
    age::AgeSummary,
    amount::Amount,
    audit::AuditReport,
    by::GroupBy,
    census::{PlaceRow, TimeWaits},
    connects::ConnectReport,
    dwell::DwellSummary,
    end_report::EndReport,
    failures::FailureReport,
    findings::StatFinding,
    group_row::{ClosedFirst, GroupRow, Rows},
    histogram::HistogramSummary,
    sample::Sample,
    steady::Steady,
    syn_recv::SynRecvReport,
    unfollowed::Growth,
};
use crate::{
    ledger::Ledger,
    lifecycle::{HzSource, Reason, RestartCause},
    tcp::State,
};

/// A report on an interval, or (`is_final`) on the whole time.
#[derive(Clone, Debug)]
pub struct StatReport {
    /// When it begins.
    pub begin_ns: u64,
    /// When it ends.
    pub end_ns: u64,
    /// Whether it is the last, which covers the whole time.
    pub is_final: bool,
    /// Every state, in the order of a connection's life.
    pub states: Vec<StateRow>,
    /// Every transition that occurred.
    pub transitions: Vec<TransitionRow>,
    /// TIME_WAIT.
    pub time_wait: TimeWait,
    /// Connections in SYN_RECV.
    pub syn_recv: SynRecvReport,
    /// What the kernel alone counted of them in the time of the report.
    pub unfollowed: Growth,
    /// Whether it is on more than one network namespace.
    pub several_namespaces: bool,
    /// Whether groups are by network namespace only so that those of several are not mixed.
    pub netns_implied: bool,
    /// What stands out, worst first.
    pub findings: Vec<StatFinding>,
    /// Sockets that wait for somebody, by state, service and network namespace, the most first.
    pub places: Vec<PlaceRow>,
    /// TIME_WAITs by the side that made them.
    pub time_waits: TimeWaits,
    /// How connections, listeners and connections in SYN_RECV ended.
    pub ends: EndReport,
    /// Calls that failed.
    pub failures: FailureReport,
    /// Connects, and those whose SYN was sent again.
    pub connects: ConnectReport,
    /// What the groups are by.
    pub by: Vec<GroupBy>,
    /// The first groups, and all others.
    pub groups: Rows,
    /// The group with most of the TIME_WAIT entered; of that there is now, when none entered.
    pub lead: Option<Lead>,
    /// Of how many connections one is told of.
    pub sample: Sample,
    /// What was lost, since the start.
    pub ledger: Ledger,
    /// How far the counts agree with the kernel's, since the start.
    pub audit: AuditReport,
}

/// The group to look at first.
#[derive(Clone, Debug)]
pub struct Lead {
    /// The group.
    pub group: GroupRow,
    /// Its share, 0 to 1.
    pub share: f64,
    /// Whether that is its share of what entered (else of what is there now).
    pub of_entered: bool,
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// The state.
    pub state: State,
    /// Sockets in it at the end; `None` for CLOSE, in which sockets are not followed, and for SYN_SENT where not all connections are told of.
    pub now: Option<u64>,
    /// How many entered it.
    pub entered: Amount,
    /// How many left it.
    pub left: Amount,
    /// Times spent in it, of those that left and whose time is known.
    pub dwell: DwellSummary,
    /// How long those that are in it at the end have been.
    pub age: AgeSummary,
}

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransitionRow {
    /// From; `None` when what came before was not seen.
    pub from: Option<State>,
    /// To.
    pub to: State,
    /// How many were seen, one by one.
    pub count: u64,
    /// How many the kernel side counted, which no loss of records changes; `None` where it does not count them.
    pub kernel: Option<u64>,
}

/// TIME_WAIT.
#[derive(Clone, Debug)]
pub struct TimeWait {
    /// Sockets in it at the end.
    pub now: u64,
    /// How many entered.
    pub entered: Amount,
    /// Of these, those that were seen one by one, and are in groups.
    pub entered_seen: u64,
    /// How many left.
    pub left: Amount,
    /// Entries a second; `None` for an interval without length.
    pub entered_per_s: Option<f64>,
    /// Exits a second.
    pub left_per_s: Option<f64>,
    /// Exits by reason, where any occurred.
    pub exits: Vec<Exit>,
    /// How an orphan's FIN_WAIT2 ended without TIME_WAIT, where any did.
    pub orphans: Vec<(Reason, u64)>,
    /// How often late segments restarted the clock of those that left; at least, where no hook times late segments.
    pub restarts: u64,
    /// Why, where any were.
    pub restart_causes: Vec<(RestartCause, u64)>,
    /// How often TIME_WAIT was not entered because `tcp_max_tw_buckets` was reached.
    pub overflows: u64,
    /// Who hung up first.
    pub closed: ClosedFirst,
    /// The times spent.
    pub histogram: HistogramSummary,
    /// The shortest and the longest time of those that expired without a restart.
    pub natural_ns: Option<(u64, u64)>,
    /// The kernel's ticks a second and what they are known from; `None` while not known.
    pub hz: Option<(u64, HzSource)>,
    /// Little's law.
    pub steady: Steady,
}

/// A reason for which TIME_WAIT was left.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// The reason.
    pub reason: Reason,
    /// How many.
    pub count: u64,
    /// How many a second.
    pub rate_per_s: Option<f64>,
    /// Time spent in TIME_WAIT.
    pub dwell: DwellSummary,
}
