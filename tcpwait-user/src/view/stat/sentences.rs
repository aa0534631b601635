//! What a report says in words: who fills TIME_WAIT, whether its length is normal, whether the counts can be trusted.

use super::super::{
    ViewContext, key,
    units::{count, counted, duration, known, percent, rate},
};
use crate::{
    aggregate::{
        SteadyVerdict, Trend,
        amount::Amount,
        by::{GroupBy, Value},
        census::TimeWaits,
        end_report::EndLead,
        group_row::{ClosedFirst, GroupRow},
        report::{StatReport, TimeWait},
    },
    lifecycle::{Detail, HzSource, Reason},
};

/// Whether those in TIME_WAIT hold ports of connect()'s: `, all of accept(): they hold no local port`.
pub fn made_by(time_waits: TimeWaits) -> String {
    let TimeWaits { outgoing, accepted, unknown } = time_waits;
    match (outgoing, accepted, unknown) {
        (0, 0, _) => String::new(),
        (0, 1.., 0) => ", all of accept(): they hold no local port".to_owned(),
        (1.., 0, 0) => ", all of connect(): each holds a local port".to_owned(),
        _ => {
            let parts = [
                (outgoing, "of connect(), which hold a local port each"),
                (accepted, "of accept(), which hold none"),
                (unknown, "of which that is unknown"),
            ];
            let there = parts.into_iter().filter(|(number, _)| *number > 0);
            let parts: Vec<String> = there.map(|(number, what)| format!("{} {what}", count(number))).collect();
            format!(" ({})", parts.join("; "))
        }
    }
}

/// How many are in TIME_WAIT, whether they hold ports, how many came and went.
pub fn standing(report: &StatReport) -> Option<String> {
    let time_wait = &report.time_wait;
    let now = if report.ledger.now_unsure { "known now, maybe more or fewer" } else { "now" };
    let mut text = format!(
        "TIME_WAIT: {}{} {now}{}; {} entered ({}/s), {} left ({}/s)",
        if report.sample.is_thinned() { "~" } else { "" },
        count(time_wait.now),
        made_by(report.time_waits),
        said(time_wait.entered),
        rate(time_wait.entered_per_s),
        said(time_wait.left),
        rate(time_wait.left_per_s),
    );
    if time_wait.restarts > 0 {
        text.push_str(&format!("; restarted {}x by late segments", count(time_wait.restarts)));
    }
    is_told(report).then_some(text)
}

/// Whether TIME_WAIT is worth a line: not where it is all zeros, and something else is wrong.
fn is_told(report: &StatReport) -> bool {
    let time_wait = &report.time_wait;
    let quiet = |amount: Amount| amount.count == 0 && !amount.at_least;
    report.findings.is_empty()
        || report.ledger.now_unsure
        || (time_wait.now, time_wait.restarts) != (0, 0)
        || !(quiet(time_wait.entered) && quiet(time_wait.left))
}

/// `5,414`, or `at least 5,414` where some were lost uncounted.
fn said(amount: Amount) -> String {
    let sign = if amount.estimate { "~" } else { "" };
    format!("{}{sign}{}", if amount.at_least { "at least " } else { "" }, count(amount.count))
}

/// The group to look at first, and why it has so many.
pub fn lead(report: &StatReport, context: ViewContext<'_>) -> Option<String> {
    let lead = report.lead.as_ref()?;
    let seen = report.time_wait.entered_seen;
    let share = if lead.share < 1.0 { format!(" ({})", percent(Some(lead.share))) } else { String::new() };
    let who = described(report, &lead.group, context);
    let mut text = match lead.of_entered {
        true => {
            let known = if !report.sample.is_thinned() && seen < report.time_wait.entered.count {
                " that were seen to begin"
            } else {
                ""
            };
            format!("{who} made {}{known}{share}", some_of(lead.group.entered, seen))
        }
        false => format!("{who} has {} now{share}", some_of(lead.group.now, report.time_wait.now)),
    };
    text.push_str(&with_peer(report, &lead.group));
    // What ended without a FIN is not in TIME_WAIT.
    let ClosedFirst { this_side, peer, both, .. } = lead.group.closed;
    let all = this_side + peer + both;
    let sides = [("This side", this_side), ("The peer", peer), ("Both sides at once", both)];
    if let Some((side, most)) = sides.into_iter().rev().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > 0)
    {
        let gets = match side {
            "Both sides at once" => "both then get TIME_WAIT",
            _ => "the side that closes first gets TIME_WAIT",
        };
        let part = if most == all { "all".to_owned() } else { percent(Some(most as f64 / all as f64)) };
        text.push_str(&format!(". {side} closed first in {part} of these connections; {gets}"));
    }
    Some(text + ".")
}

/// `200 of 203 TIME_WAITs`, `all 203 TIME_WAITs`.
fn some_of(some: u64, all: u64) -> String {
    match all {
        1 => "the only TIME_WAIT".to_owned(),
        _ if some == all => format!("all {} TIME_WAITs", count(all)),
        _ => format!("{} of {} TIME_WAITs", count(some), count(all)),
    }
}

/// `, all with 10.0.0.7`: the peer of the connections that were accepted on a port.
fn with_peer(report: &StatReport, group: &GroupRow) -> String {
    let accepted = report.by.iter().zip(&group.key).any(|(_, value)| matches!(value, Value::Local(_)));
    match group.peer.filter(|_| accepted) {
        Some(peer) if peer.only => format!(", all with {}", peer.address),
        Some(peer) if peer.entered * 2 > group.entered => format!(", mostly with {}", peer.address),
        _ => String::new(),
    }
}

/// `10.0.0.7`, where it is the only peer of a group; `10.0.0.7 (12 of 30)` where it is the most frequent; `-` where none is known.
pub fn about_peer(group: &GroupRow) -> String {
    match group.peer {
        None => "-".to_owned(),
        Some(peer) if peer.only => peer.address.to_string(),
        Some(peer) => format!("{} ({} of {})", peer.address, count(peer.entered), count(group.entered)),
    }
}

/// `php-fpm to 10.0.0.7:5432`, `nginx on :8080`: the process, and what else the groups are by.
fn described(report: &StatReport, group: &GroupRow, context: ViewContext<'_>) -> String {
    let is_told = |by: &GroupBy| *by != GroupBy::Netns || !report.netns_implied || report.several_namespaces;
    let told = || report.by.iter().zip(&group.key).filter(|(by, _)| is_told(by));
    let who = told().find(|(by, _)| **by == GroupBy::Process).map(|(_, value)| match value {
        Value::Unknown => "an unknown process".to_owned(),
        value => key::text(*value, context.names),
    });
    let others = told().filter(|(by, _)| **by != GroupBy::Process).map(|(by, value)| match (by, value) {
        (_, Value::Unknown) => format!("({} unknown)", by.name()),
        (_, Value::Local(port)) => format!("on :{port}"),
        (GroupBy::Service, value) => format!("to {}", key::text(*value, context.names)),
        (GroupBy::Pair | GroupBy::Remote, value) => format!("with {}", key::text(*value, context.names)),
        (GroupBy::Netns, value) => format!("in netns {}", key::text(*value, context.names)),
        (by, value) => format!("of {} {}", by.name().replace('-', " "), key::text(*value, context.names)),
    });
    // Without the process it is this machine that has the connections.
    std::iter::once(who.unwrap_or_else(|| "this machine".to_owned())).chain(others).collect::<Vec<_>>().join(" ")
}

/// What is to be said of connections in SYN_RECV: SYN-ACKs that were not answered.
pub fn syn_recv(report: &StatReport) -> Option<String> {
    let syn_recv = &report.syn_recv;
    let mut parts = Vec::new();
    if syn_recv.retransmits > 0 {
        parts.push(format!(
            "{} retransmitted for {}",
            counted(syn_recv.retransmits, "SYN-ACK", "SYN-ACKs"),
            counted(syn_recv.retransmitted, "connection", "connections")
        ));
    }
    if syn_recv.without_request > 0 {
        parts.push(format!(
            "{} without a request socket (SYN cookies or TCP Fast Open): time in SYN_RECV unknown",
            counted(syn_recv.without_request, "connection", "connections")
        ));
    }
    (!parts.is_empty()).then(|| format!("SYN_RECV: {}", parts.join("; ")))
}

/// What the kernel alone counts of handshakes.
pub fn kernel_counters(report: &StatReport) -> Option<String> {
    let grown: Vec<String> =
        report.unfollowed.grown().map(|(name, growth)| format!("{name} +{}", count(growth))).collect();
    let time = if report.is_final { "since tcpwait started" } else { "in this interval" };
    (!grown.is_empty()).then(|| format!("kernel counters of the network namespaces {time}: {}", grown.join(", ")))
}

/// Who hung up first: always the same, or the most frequent and its share.
pub fn closed_first(closed: &ClosedFirst) -> Option<String> {
    let total = closed.total();
    let most =
        [("this side", closed.this_side), ("peer", closed.peer), ("both", closed.both), ("neither", closed.neither)];
    // Of two that are as many, the first.
    let (who, count) = most.into_iter().rev().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > 0)?;
    Some(match count == total {
        true => who.to_owned(),
        false => format!("{who} {}", percent(Some(count as f64 / total as f64))),
    })
}

/// How the connections of a group end, where that stands out: `444 of 1,200 connections of nginx to 10.0.0.7:5432 (37%) were reset …`.
pub fn ended(lead: &EndLead, report: &StatReport, context: ViewContext<'_>) -> String {
    let EndLead { group, row, over } = lead;
    let from = row.from.map_or("a state that was not seen", |from| from.name());
    let detail = row.detail.map(|detail| format!(" ({})", detail.name())).unwrap_or_default();
    let ended = match row.reason {
        Reason::Reset => "were reset by the peer, or by a firewall in its name,".to_owned(),
        Reason::ResetSent => format!("were reset by this side{detail}"),
        Reason::TimedOut => format!("timed out{detail}"),
        reason => format!("ended by {}", end_name(reason, row.detail)),
    };
    let mut text = format!(
        "{} of {} connections of {} ({}) {ended} in {from}",
        count(row.count),
        count(*over),
        described(report, group, context),
        percent(Some(row.count as f64 / *over as f64)),
    );
    match row.times.shared {
        Some(shared) if shared.count < row.count => {
            text.push_str(&format!(", {} of them after {}", count(shared.count), duration(Some(shared.ns))));
        }
        Some(shared) => text.push_str(&format!(", all after {}", duration(Some(shared.ns)))),
        None => text.push_str(&format!(", after {} on average", duration(row.times.mean_ns))),
    }
    if row.times.shared.is_some() {
        text.push_str(match row.reason {
            Reason::Reset if group.key.iter().any(is_loopback) => ": likely a timeout of the peer",
            Reason::Reset => ": likely a timeout of the peer, or of a device in between",
            Reason::ResetSent | Reason::TimedOut => ": likely a timeout of this side",
            _ => "",
        });
    }
    text + "."
}

fn is_loopback(value: &Value) -> bool {
    matches!(value, Value::Remote(ip, _) | Value::Pair(ip, ..) if ip.is_loopback())
}

/// `reset-sent (linger-0)`.
pub fn end_name(reason: Reason, detail: Option<Detail>) -> String {
    match detail {
        Some(detail) => format!("{} ({})", reason.name(), detail.name()),
        None => reason.name().to_owned(),
    }
}

/// `expired 98%`: the most frequent reason.
pub fn ended_by(exits: &[(Reason, u64)]) -> String {
    let total: u64 = exits.iter().map(|(_, count)| count).sum();
    match exits.iter().max_by_key(|(reason, count)| (*count, std::cmp::Reverse(*reason as u8))) {
        None => "-".to_owned(),
        Some((reason, count)) if *count == total => reason.name().to_owned(),
        Some((reason, count)) => format!("{} {}", reason.name(), percent(Some(*count as f64 / total as f64))),
    }
}

/// Whether TIME_WAIT takes as long as the kernel's timer says.
pub fn length(time_wait: &TimeWait) -> Option<String> {
    let (shortest, longest) = time_wait.natural_ns?;
    let histogram = &time_wait.histogram;
    let (from, to) = (duration(Some(shortest)), duration(Some(longest)));
    let found = format!("expired TIME_WAITs took {from} to {to}");
    let Some((normal_to_ns, (hz, from))) = histogram.normal_to_ns.zip(time_wait.hz) else {
        return Some(format!("{found}; unknown whether that is normal, until the kernel's HZ is known"));
    };
    // Up to the next hundredth, as times are cut after it.
    let measured = if from == HzSource::Clock { ", measured by its clocks" } else { "" };
    let normal = format!("normal is 60s to {} at HZ={hz}{measured}", duration(Some(normal_to_ns + 9_999_999)));
    Some(match (histogram.early, histogram.late) {
        (0, 0) => format!("{found}: as expected ({normal})"),
        (early, late) => format!(
            "NOT NORMAL: {found}, {} too short and {} too long ({normal}): a vendor kernel's TIME_WAIT, or late timers",
            count(early),
            count(late)
        ),
    })
}

/// Little's law in words; `early`: also before there is anything to compare.
pub fn steady(time_wait: &TimeWait, early: bool) -> Option<String> {
    let steady = &time_wait.steady;
    if steady.verdict == SteadyVerdict::Lost {
        return Some("steady state: unknown, events were lost in the last 65s".to_owned());
    }
    if steady.now == 0 && steady.expected.unwrap_or_default() == 0 {
        return None;
    }
    let verdict = match steady.verdict {
        SteadyVerdict::Fits => "as expected",
        SteadyVerdict::More => match steady.trend {
            Trend::Falls => "more than expected; the rate was higher before, the number will fall",
            Trend::Rises | Trend::Even => "more than expected; how the rate changed does not explain it",
        },
        SteadyVerdict::Fewer => match steady.trend {
            Trend::Rises => "fewer than expected; the rate has just grown, the number will grow",
            Trend::Falls | Trend::Even => "fewer than expected; how the rate changed does not explain it",
        },
        SteadyVerdict::TooEarly | SteadyVerdict::Lost => {
            return early.then_some(format!(
                "steady state: {}/s x 60s would be {} TIME_WAITs, {} now; not compared in the first 65s",
                rate(steady.rate_per_s),
                known(steady.if_all_stay),
                count(steady.now)
            ));
        }
    };
    Some(format!(
        "steady state: {}/s x {} = {} TIME_WAITs, {} now: {verdict}",
        rate(steady.rate_per_s),
        duration(steady.mean_dwell_ns),
        known(steady.expected),
        count(steady.now)
    ))
}

/// What the numbers rest on; nothing where the kernel side's counts are missing.
pub fn rests_on(report: &StatReport) -> Option<String> {
    let ledger = &report.ledger;
    let (states, minis) = ledger.states_seen.zip(ledger.minis_entered)?;
    let counted = format!("{} state changes and {} timewait sockets entered", count(states), count(minis));
    Some(match (ledger.is_lossy(), ledger.recursion()) {
        (false, _) if report.sample.is_thinned() => {
            format!("exact: {counted}, counted in the kernel; figures with ~ are estimates")
        }
        (false, _) => format!("exact: counted from {counted}"),
        (true, Some(0)) if report.audit.differs() => {
            format!("incomplete: the kernel skipped some hook calls; counted from {counted}")
        }
        (true, Some(0)) => {
            format!("exact: {counted}, counted in the kernel; other figures exclude lost events")
        }
        (true, _) => {
            format!("complete except for skipped hook calls: {counted}; other figures exclude lost events")
        }
    })
}
