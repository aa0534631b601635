//! What a report says in words: who fills TIME_WAIT, whether its length is normal, whether the counts can be trusted.

use super::super::{
    ViewContext, key,
    units::{count, counted, duration, known, percent, rate},
};
use crate::{
    aggregate::{
        SteadyVerdict,
        by::{GroupBy, Value},
        census::TimeWaits,
        end_report::EndLead,
        group_row::{ClosedFirst, GroupRow},
        report::{StatReport, TimeWait},
    },
    lifecycle::{Detail, HzSource, Reason},
};

/// Whether those in TIME_WAIT hold ports of connect()'s: `, all accepted, which hold no port`.
pub fn made_by(time_waits: TimeWaits) -> String {
    let TimeWaits { outgoing, accepted, unknown } = time_waits;
    match (outgoing, accepted, unknown) {
        (0, 0, _) => String::new(),
        (0, 1.., 0) => ", all accepted: they hold no port".to_owned(),
        (1.., 0, 0) => ", all of connections made here: each holds a port".to_owned(),
        (_, _, unknown) => {
            let unknown = if unknown > 0 { format!(", {} unknown", count(unknown)) } else { String::new() };
            format!(
                " ({} of connections made here, which hold a port each; {} accepted{unknown})",
                count(outgoing),
                count(accepted)
            )
        }
    }
}

/// The group to look at first, and why it has so many.
pub fn lead(report: &StatReport, context: ViewContext<'_>) -> Option<String> {
    let lead = report.lead.as_ref()?;
    let seen = report.time_wait.entered_seen;
    let of = match lead.of_entered {
        true if seen < report.time_wait.entered.count => {
            format!("of the {} that were seen to enter TIME_WAIT", count(seen))
        }
        true => "of TIME_WAITs entered".to_owned(),
        false => "of TIME_WAITs now".to_owned(),
    };
    let mut text = format!("{} {of}: {}", percent(Some(lead.share)), described(report, &lead.group, context));
    // What ended without a FIN is not in TIME_WAIT.
    if let Some(closed) = closed_first(&ClosedFirst { neither: 0, ..lead.group.closed }) {
        let sentence = match closed.as_str() {
            "this side" => "This side closes first, and whoever closes first enters TIME_WAIT".to_owned(),
            "both" => "Both sides close at once, and both enter TIME_WAIT".to_owned(),
            mixed => format!("Closed first by {mixed}; whoever closes first enters TIME_WAIT"),
        };
        text.push_str(&format!(". {sentence}"));
    }
    Some(text + ".")
}

/// `to 10.0.0.7:5432, by php-fpm`.
fn described(report: &StatReport, group: &GroupRow, context: ViewContext<'_>) -> String {
    let is_told = |by: &GroupBy| *by != GroupBy::Netns || !report.netns_implied || report.several_namespaces;
    let parts = report.by.iter().zip(&group.key).filter(|(by, _)| is_told(by)).map(|(by, value)| match (by, value) {
        (GroupBy::Process, Value::Unknown) => "by an unknown process".to_owned(),
        (_, Value::Unknown) => format!("{} unknown", by.name()),
        (GroupBy::Process, value) => format!("by {}", key::text(*value, context.names)),
        (_, Value::Local(port)) => match group.peer {
            Some(peer) if peer.only => format!("on port {port}, with {}", peer.address),
            Some(peer) if peer.entered * 2 > group.entered => format!("on port {port}, mostly with {}", peer.address),
            _ => format!("on port {port}"),
        },
        (GroupBy::Service, value) => format!("to {}", key::text(*value, context.names)),
        (GroupBy::Pair | GroupBy::Remote, value) => format!("with {}", key::text(*value, context.names)),
        (by, value) => format!("{} {}", by.name().replace('-', " "), key::text(*value, context.names)),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// What is to be said of connections in SYN_RECV: SYN-ACKs that were not answered, and what the kernel alone counts.
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
    let grown: Vec<String> =
        report.unfollowed.grown().map(|(name, growth)| format!("{name} +{}", count(growth))).collect();
    if !grown.is_empty() {
        let time = if report.is_final { "since the start" } else { "in this interval" };
        parts.push(format!("kernel counters {time}: {}", grown.join(", ")));
    }
    (!parts.is_empty()).then(|| format!("SYN_RECV: {}", parts.join("; ")))
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

/// How the connections of a group end, where that stands out: `37% of 1,200 connections to 10.0.0.7:5432, by nginx ended by reset …`.
pub fn ended(lead: &EndLead, report: &StatReport, context: ViewContext<'_>) -> String {
    let EndLead { group, row, over } = lead;
    let from = row.from.map_or("a state that was not seen", |from| from.name());
    let mut text = format!(
        "{} of {} connections {}, ended by {}",
        percent(Some(row.count as f64 / *over as f64)),
        count(*over),
        described(report, group, context),
        end_name(row.reason, row.detail),
    );
    match row.times.shared {
        Some(shared) if shared.count < row.count => text.push_str(&format!(
            " in {from}, {} of {} after {}",
            count(shared.count),
            count(row.count),
            duration(Some(shared.ns))
        )),
        Some(shared) => text.push_str(&format!(" after {} in {from}", duration(Some(shared.ns)))),
        None => text.push_str(&format!(" in {from}, after {} on average", duration(row.times.mean_ns))),
    }
    if row.times.shared.is_some() {
        text.push_str(match row.reason {
            Reason::Reset => ". Many ended after the same time: a timeout of the peer, or of a device in between",
            Reason::ResetSent | Reason::TimedOut => ". Many ended after the same time: a timeout of this side",
            _ => "",
        });
    }
    text + "."
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

/// Little's law in words.
pub fn steady(time_wait: &TimeWait) -> Option<String> {
    let steady = &time_wait.steady;
    if steady.verdict == SteadyVerdict::Lost {
        return Some("steady state: unknown, events were lost in the last 65s".to_owned());
    }
    if steady.now == 0 && steady.expected.unwrap_or_default() == 0 {
        return None;
    }
    let verdict = match steady.verdict {
        SteadyVerdict::Fits => "as expected",
        SteadyVerdict::More => "more than expected; the rate was higher before, the number will fall",
        SteadyVerdict::Fewer => "fewer than expected; the rate is uneven, or has just grown",
        SteadyVerdict::TooEarly | SteadyVerdict::Lost => {
            return Some(format!(
                "steady state: {}/s x 60s would be {} TIME_WAITs, {} now; not compared in the first 65s of the trace",
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
    let counted = format!("{} state changes and {} entries to mini-sockets", count(states), count(minis));
    Some(match (ledger.is_lossy(), ledger.recursion()) {
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
