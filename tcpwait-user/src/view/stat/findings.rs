//! What stands out, a line each: the number first, what it means, who.

use super::{
    super::{
        ViewContext,
        failure::{errno, short},
        key,
        paint::Mark,
        units::{at_least, count, counted, duration, percent},
    },
    sentences,
};
use crate::{
    aggregate::{
        by::{GroupBy, Value},
        census::PlaceRow,
        failures::FailureRow,
        findings::{DropCounts, StatFinding},
        report::StatReport,
        unfollowed::FullQueue,
    },
    lifecycle::Call,
    plain,
    tcp::State,
};

/// So many lines; what is beyond is in the tables.
const LINES: usize = 6;

/// The lines, worst first.
pub fn lines(report: &StatReport, context: ViewContext<'_>) -> Vec<(Mark, String)> {
    let marked = |finding: &StatFinding| (mark(finding), line(finding, report, context));
    let mut lines: Vec<(Mark, String)> = report.findings.iter().take(LINES).map(marked).collect();
    let beyond = report.findings.len().saturating_sub(LINES);
    if beyond > 0 {
        let more = counted(beyond as u64, "more finding", "more findings");
        lines.push((Mark::Warning, format!("{more}: see \"findings\" in tcpwait stat --json")));
    }
    lines
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
pub fn tell_all_failures(report: &StatReport) -> bool {
    let told = report.findings.iter().take(LINES).filter(|finding| matches!(finding, StatFinding::Failed(_))).count();
    told == report.failures.rows.len() && report.failures.others == 0
}

/// One of them in words, with the network namespace where there are several.
pub(super) fn line(finding: &StatFinding, report: &StatReport, context: ViewContext<'_>) -> String {
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
            let held =
                format!("{} of {} ports to {to} are in use ({share}){soon}", count(row.taken), count(*available));
            format!("{held}: {}. Run tcpwait ports 5", owner(row.owner))
        }
        StatFinding::Dropped { drops, queue, owner } => {
            let what = counted(drops.all, "SYN or handshake ACK", "SYNs or handshake ACKs");
            format!("{what} dropped: {}. Run tcpwait doctor", why_dropped(drops, *queue, *owner))
        }
        StatFinding::Cookies { count: sent } => format!(
            "{}: a SYN queue is full. Run tcpwait doctor",
            counted(*sent, "SYN was answered with a cookie", "SYNs were answered with cookies")
        ),
        StatFinding::Unanswered(row) => format!(
            "{} unanswered for 1s or more, the oldest for {}: {} {}. Check the peer and firewalls",
            counted(row.unanswered, "connect", "connects"),
            oldest(row),
            owner(row.owner),
            service(row, context)
        ),
        StatFinding::Waiting(row) => waiting(row, context),
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
    let at = if kind.call == Call::Connect { "to" } else { "at" };
    let address = plain::column(&context.names.endpoint(kind.address, kind.port, kind.interface));
    let errno = errno(kind.errno).map(|errno| format!("{errno}, ")).unwrap_or_default();
    format!(
        "{} failed: {} {at} {address}: {errno}{}",
        counted(row.count, &format!("{call}()"), &format!("{call}()s")),
        owner(kind.comm.map(|comm| (comm, true))),
        short(kind.why)
    )
}

fn waiting(row: &PlaceRow, context: ViewContext<'_>) -> String {
    let PlaceRow { place, now, growth, .. } = row;
    let more = growth.filter(|growth| *growth != 0).map(|growth| format!(", {growth:+}")).unwrap_or_default();
    let head = format!("{} {} now{more}, the oldest for {}", place.state, count(*now), oldest(row));
    let (who, service) = (owner(row.owner), service(row, context));
    match place.state {
        State::CloseWait => {
            format!("{head}: the peer has closed, {who} has not ({service}). No kernel setting ends CLOSE_WAIT")
        }
        // By close() or shutdown().
        State::FinWait2 => format!("{head}: {who} has sent its FIN, the peer has not ({service})"),
        // What was written before the FIN may be what is not acknowledged.
        _ => format!(
            "{head}: the peer has not acknowledged the FIN or the data before it; it may not answer, or its window is 0 ({who} {service})"
        ),
    }
}

fn why_dropped(drops: &DropCounts, queue: Option<FullQueue>, owner: Option<[u8; 16]>) -> String {
    let DropCounts { all, overflows, no_cookies, others } = *drops;
    let mut reasons = Vec::new();
    let of = |part: u64| if part == all { String::new() } else { format!("{} ", count(part)) };
    if overflows > 0 {
        let full = queue.map(|queue| format!(" (full now: {})", full(&queue, owner))).unwrap_or_default();
        reasons.push(format!("{}because an accept queue was full{full}", of(overflows)));
    }
    if no_cookies > 0 {
        reasons.push(format!("{}because a SYN queue was full and SYN cookies are off", of(no_cookies)));
    }
    if others > 0 {
        reasons.push(format!("{}for another reason", of(others)));
    }
    reasons.join("; ")
}

/// `billing :9001, 129 wait and 129 fit`.
fn full(queue: &FullQueue, owner: Option<[u8; 16]>) -> String {
    let whose = owner.map(|comm| format!("{} ", plain::column(&key::comm_of(comm)))).unwrap_or_default();
    let others = match queue.others {
        0 => String::new(),
        1 => ", and one more".to_owned(),
        others => format!(", and {} more", count(others.into())),
    };
    let (waiting, room) = (count(queue.waiting.into()), count(queue.room()));
    format!("{whose}:{}, {waiting} wait and {room} fit{others}", queue.port)
}

fn service(row: &PlaceRow, context: ViewContext<'_>) -> String {
    match row.place.service {
        Value::Local(port) => format!("on :{port}"),
        Value::Unknown => format!("{} unknown", GroupBy::Service.name()),
        value => format!("to {}", key::text(value, context.names)),
    }
}

/// `nginx`, `mostly nginx`.
fn owner(owner: Option<([u8; 16], bool)>) -> String {
    match owner {
        Some((comm, true)) => plain::column(&key::comm_of(comm)),
        Some((comm, false)) => format!("mostly {}", plain::column(&key::comm_of(comm))),
        None => "an unknown process".to_owned(),
    }
}

fn oldest(row: &PlaceRow) -> String {
    if row.oldest_exact { duration(row.oldest_ns) } else { at_least(row.oldest_ns) }
}
