//! What stands out, a line each: the number first, what it means, who.

use super::{
    super::{
        ViewContext,
        failure::{self, errno, short},
        key,
        paint::Mark,
        units::{at_least, count, counted, duration, percent},
    },
    sentences,
};
use crate::{
    aggregate::{
        by::{GroupBy, Value},
        census::{ByState, PlaceRow},
        failures::FailureRow,
        findings::{DropCounts, StatFinding},
        report::StatReport,
        unfollowed::FullQueue,
    },
    lifecycle::{Call, Why},
    plain,
    tcp::State,
};

/// So many lines; what is beyond is in the tables.
const LINES: usize = 6;

/// The lines, worst first.
pub fn lines(report: &StatReport, all: bool, context: ViewContext<'_>) -> Vec<(Mark, String)> {
    let marked = |finding: &StatFinding| (mark(finding), line(finding, report, context));
    let mut lines: Vec<(Mark, String)> = report.findings.iter().take(most(all)).map(marked).collect();
    let beyond = report.findings.len().saturating_sub(most(all));
    if beyond > 0 {
        let more = counted(beyond as u64, "more finding", "more findings");
        lines.push((Mark::Warning, format!("{more}: `tcpwait stat --wide` lists them all")));
    }
    lines
}

fn most(all: bool) -> usize {
    if all { usize::MAX } else { LINES }
}

/// What failed, and what only waits.
fn mark(finding: &StatFinding) -> Mark {
    match finding {
        StatFinding::Failed(_) | StatFinding::Dropped { .. } | StatFinding::Overflow { .. } | StatFinding::Ended(_) => {
            Mark::Failure
        }
        StatFinding::Ports { in_ns: Some(0), .. } => Mark::Failure,
        StatFinding::Ports { .. }
        | StatFinding::Cookies { .. }
        | StatFinding::Unanswered(_)
        | StatFinding::Waiting(_) => Mark::Warning,
    }
}

/// Whether every call that failed is in one of the lines.
pub fn tell_all_failures(report: &StatReport, all: bool) -> bool {
    let told =
        report.findings.iter().take(most(all)).filter(|finding| matches!(finding, StatFinding::Failed(_))).count();
    told == report.failures.rows.len() && report.failures.others == 0
}

/// One of them in words, with the network namespace where there are several.
pub fn line(finding: &StatFinding, report: &StatReport, context: ViewContext<'_>) -> String {
    let netns = match finding {
        StatFinding::Failed(row) => Some(row.kind.netns),
        StatFinding::Ports { row, .. } => Some(row.destination.netns),
        StatFinding::Dropped { queue, .. } => queue.map(|queue| queue.netns),
        StatFinding::Unanswered(row) | StatFinding::Waiting(row) => Some(row.place.netns),
        StatFinding::Cookies { .. } | StatFinding::Overflow { .. } | StatFinding::Ended(_) => None,
    };
    let mut text = words(finding, report, context);
    if let Some(netns) = netns.filter(|_| report.several_namespaces) {
        text.push_str(&format!(" [netns {}]", plain::column(&context.names.netns(netns))));
    }
    let counts_what_is_there =
        matches!(finding, StatFinding::Ports { .. } | StatFinding::Unanswered(_) | StatFinding::Waiting(_));
    if counts_what_is_there && report.ledger.now_unsure {
        text.push_str(" [uncertain: events were lost a moment ago]");
    }
    text
}

fn words(finding: &StatFinding, report: &StatReport, context: ViewContext<'_>) -> String {
    match finding {
        StatFinding::Failed(row) => failed(row, context),
        StatFinding::Ports { row, available, share, in_ns } => {
            let to = &row.destination;
            let to = plain::column(&context.names.endpoint(to.raddr, to.rport, to.interface()));
            let share = percent(Some(*share));
            let soon = match in_ns {
                Some(0) => ", none is left".to_owned(),
                Some(ns) => format!(", none is left in {} at this rate", duration(Some(*ns))),
                None => String::new(),
            };
            format!(
                "{} of {} ports of ip_local_port_range are in use {} to {to} ({share}){soon}: {}. Run `tcpwait ports 5`",
                count(row.taken),
                count(*available),
                by(row.owner),
                held(&row.states)
            )
        }
        StatFinding::Dropped { drops, queue, owner } => {
            let what = counted(drops.all, "SYN or handshake ACK", "SYNs or handshake ACKs");
            let full = queue.map(|queue| full(&queue, *owner)).unwrap_or_default();
            format!("{what} dropped{}{full}. Run `tcpwait doctor`", why_dropped(drops))
        }
        StatFinding::Cookies { count: sent } => format!(
            "{}: a SYN queue was full. Run `tcpwait doctor`",
            counted(*sent, "SYN was answered with a cookie", "SYNs were answered with cookies")
        ),
        StatFinding::Unanswered(row) => {
            let check = match queue_was_full(row, report) {
                _ if is_queue_full(row, report) => {
                    "The listener is on this machine, and its accept queue is full: see above".to_owned()
                }
                // Its drops are in the report before: the kernel's counters are not read for each.
                Some(queue) => format!(
                    "The listener is on this machine, and its accept queue was full when it was last looked at (`ss -ltn`: Recv-Q {}, Send-Q {})",
                    queue.waiting, queue.backlog
                ),
                None if row.here && has_overflowed(report) => {
                    "The other end is on this machine, where an accept queue was full meanwhile: see above, and \
                     compare Recv-Q with Send-Q in `ss -ltn`"
                        .to_owned()
                }
                None if row.here => "The other end is on this machine: check `ss -ltn` and its firewall".to_owned(),
                None => "Check the peer and firewalls".to_owned(),
            };
            format!(
                "{}{} {} unanswered for 1s or more, oldest {}. {check}",
                counted(row.unanswered, "connect()", "connect() calls"),
                of(row.owner),
                service(row, context),
                oldest(row)
            )
        }
        StatFinding::Waiting(row) => waiting(row, report, context),
        StatFinding::Overflow { count: missed } => format!(
            "{} not entered: net.ipv4.tcp_max_tw_buckets is reached",
            counted(*missed, "TIME_WAIT was", "TIME_WAITs were")
        ),
        StatFinding::Ended(lead) => sentences::ended(lead, report, context),
    }
}

fn failed(row: &FailureRow, context: ViewContext<'_>) -> String {
    let kind = &row.kind;
    let call = kind.call.name();
    let to = if kind.call == Call::Listen { "on" } else { "to" };
    let address = plain::column(&context.names.endpoint(kind.address, kind.port, kind.interface));
    let errno = errno(kind.errno).map(|errno| format!("{errno}, ")).unwrap_or_default();
    format!(
        "{}{} {to} {address} failed: {errno}{}",
        counted(row.count, &format!("{call}()"), &format!("{call}() calls")),
        of(kind.comm.map(|comm| (comm, true))),
        why(row)
    )
}

/// Why. Who held the port, and how many SYNs had no answer, only one of several calls tells, which is the last.
fn why(row: &FailureRow) -> String {
    let short = short(row.kind.why);
    let Some(last) = &row.last else { return short.to_owned() };
    match (last.why, last.retransmits) {
        (Why::PortHeld, _) if row.count == 1 => failure::held(last),
        (Why::PortHeld, _) => format!("{short}. At the last of them: {}", failure::held(last)),
        (Why::GivenUp, Some(again @ 1..)) => {
            let whose = if row.count == 1 { "" } else { "the last of them " };
            format!("{short}, {whose}after {} SYNs without an answer", u32::from(again) + 1)
        }
        _ => short.to_owned(),
    }
}

/// `500 ESTABLISHED`, `480 TIME_WAIT, 20 ESTABLISHED`: the most first.
fn held(states: &ByState) -> String {
    let mut held: Vec<(u64, State)> = State::ALL
        .into_iter()
        .filter_map(|state| Some((states.get(state as usize).copied().filter(|count| *count > 0)?, state)))
        .collect();
    held.sort_by_key(|(count, state)| (std::cmp::Reverse(*count), *state));
    held.into_iter().map(|(held, state)| format!("{} {state}", count(held))).collect::<Vec<_>>().join(", ")
}

/// Whether a connect waits for a listener of this machine whose accept queue another finding names.
fn is_queue_full(row: &PlaceRow, report: &StatReport) -> bool {
    let Value::Pair(_, port, _) = row.place.service else { return false };
    let is_it = |queue: &FullQueue| (queue.netns, queue.port) == (row.place.netns, port);
    let full =
        |finding: &StatFinding| matches!(finding, StatFinding::Dropped { queue: Some(queue), .. } if is_it(queue));
    row.here && report.findings.iter().any(full)
}

/// Whether an accept queue was full in what the report is on.
fn has_overflowed(report: &StatReport) -> bool {
    let dropped = |finding: &StatFinding| matches!(finding, StatFinding::Dropped { drops, .. } if drops.overflows > 0);
    report.findings.iter().any(dropped)
}

/// The listener of this machine that a connect waits for, if its accept queue was full when the kernel was last asked.
fn queue_was_full(row: &PlaceRow, report: &StatReport) -> Option<FullQueue> {
    let Value::Pair(_, port, _) = row.place.service else { return None };
    report.audit.full.filter(|queue| row.here && (queue.netns, queue.port) == (row.place.netns, port))
}

/// Whether no fewer connections wait in CLOSE_WAIT on the same port of this machine, where the other ends of these in FIN_WAIT2 are. (Theirs may be
/// more: an orphan's FIN_WAIT2 ends by `tcp_fin_timeout`, CLOSE_WAIT by nothing.)
fn has_other_ends(row: &PlaceRow, report: &StatReport) -> bool {
    let Value::Pair(_, port, _) = row.place.service else { return false };
    let is_it = |other: &PlaceRow| {
        let place = (other.place.state, other.place.netns, other.place.service);
        place == (State::CloseWait, row.place.netns, Value::Local(port)) && other.now >= row.now
    };
    row.here && report.places.iter().any(is_it)
}

fn waiting(row: &PlaceRow, report: &StatReport, context: ViewContext<'_>) -> String {
    let PlaceRow { place, now, .. } = row;
    // Who held it last need not hold it now: a child or a parent may have the descriptor, and before accept() nobody has.
    let whose = match place.state {
        State::CloseWait => last_used(row.owner),
        _ => of(row.owner),
    };
    let head = format!(
        "{}{whose} {} in {}{}, oldest {}",
        counted(*now, "connection", "connections"),
        service(row, context),
        place.state,
        grown(row, report),
        oldest(row)
    );
    match place.state {
        State::CloseWait => {
            format!(
                "{head}: the peer has closed, this side has not: `tcpwait doctor` names who holds them. CLOSE_WAIT has no timeout"
            )
        }
        // By close() or shutdown().
        State::FinWait2 => {
            let ends = if has_other_ends(row, report) {
                "; these are the other ends of those in CLOSE_WAIT on that port"
            } else {
                ""
            };
            format!("{head}: this side has sent its FIN, the peer has not{ends}")
        }
        // What was written before the FIN may be what is not acknowledged.
        _ => format!(
            "{head}: the peer has not acknowledged the FIN or the data before it; it may not answer, or its window is 0"
        ),
    }
}

/// How many more there are than at the beginning of the report.
fn grown(row: &PlaceRow, report: &StatReport) -> String {
    let since = || match report.is_final {
        true => "at the start".to_owned(),
        false => format!("{} ago", duration(Some(report.end_ns.saturating_sub(report.begin_ns)))),
    };
    match row.growth {
        None | Some(0) => String::new(),
        Some(growth) if u64::try_from(growth) == Ok(row.now) => ", all new".to_owned(),
        Some(growth) => {
            let word = if growth > 0 { "more" } else { "fewer" };
            format!(", {} {word} than {}", count(growth.unsigned_abs()), since())
        }
    }
}

fn why_dropped(drops: &DropCounts) -> String {
    let DropCounts { all, overflows, no_cookies, others } = *drops;
    let mut reasons = Vec::new();
    let of = |part: u64| if part == all { String::new() } else { format!("{} ", count(part)) };
    if overflows > 0 {
        reasons.push(format!("{}because an accept queue was full", of(overflows)));
    }
    if no_cookies > 0 {
        reasons.push(format!("{}because a SYN queue was full and SYN cookies are off", of(no_cookies)));
    }
    if others > 0 {
        reasons.push(format!("{}for another reason", of(others)));
    }
    match reasons.as_slice() {
        [one] => format!(" {one}"),
        several => format!(": {}", several.join("; ")),
    }
}

/// Which accept queue is full. It takes one more than the backlog (`sk_acceptq_is_full`); the numbers are plain, as `ss` prints them.
fn full(queue: &FullQueue, owner: Option<[u8; 16]>) -> String {
    let others = match queue.others {
        0 => String::new(),
        1 => " One more is full".to_owned(),
        others => format!(" {} more are full", count(others.into())),
    };
    let others = if others.is_empty() { others } else { format!(".{others}") };
    format!(
        ". Full now: that of {} on :{} (`ss -ltn`: Recv-Q {}, Send-Q {}), which accepts too slowly, or not at all{others}",
        owner.map_or_else(|| "an unknown process".to_owned(), |comm| plain::column(&key::comm_of(comm))),
        queue.port,
        queue.waiting,
        queue.backlog
    )
}

fn service(row: &PlaceRow, context: ViewContext<'_>) -> String {
    match row.place.service {
        Value::Local(port) => format!("on :{port}"),
        Value::Unknown => format!("{} unknown", GroupBy::Service.name()),
        value => format!("to {}", key::text(value, context.names)),
    }
}

/// ` of nginx`, `, mostly of nginx,`.
fn of(owner: Option<([u8; 16], bool)>) -> String {
    match owner {
        Some((comm, true)) => format!(" of {}", plain::column(&key::comm_of(comm))),
        Some((comm, false)) => format!(", mostly of {},", plain::column(&key::comm_of(comm))),
        None => " of an unknown process".to_owned(),
    }
}

/// ` last used by nginx`, `, mostly last used by nginx,`.
fn last_used(owner: Option<([u8; 16], bool)>) -> String {
    match owner {
        Some((comm, true)) => format!(" last used by {}", plain::column(&key::comm_of(comm))),
        Some((comm, false)) => format!(", mostly last used by {},", plain::column(&key::comm_of(comm))),
        None => " of an unknown process".to_owned(),
    }
}

/// `by nginx`, `mostly by nginx`.
fn by(owner: Option<([u8; 16], bool)>) -> String {
    match owner {
        Some((comm, true)) => format!("by {}", plain::column(&key::comm_of(comm))),
        Some((comm, false)) => format!("mostly by {}", plain::column(&key::comm_of(comm))),
        None => "by an unknown process".to_owned(),
    }
}

fn oldest(row: &PlaceRow) -> String {
    if row.oldest_exact { duration(row.oldest_ns) } else { at_least(row.oldest_ns) }
}
