//! How connections came about: what became of handshakes and of connect(), how long they took, what had to be sent again.

use maud::{Markup, html};

use super::{
    bars::{self, Bar},
    data::PictureData,
    markup,
    times::{self, KindOfTimes},
};
use crate::{
    aggregate::report::StatReport,
    lifecycle::Reason,
    report::ReportContents,
    view::{
        ViewContext,
        stat::{sections, sentences},
        units::{count, counted},
    },
};

/// The section.
pub fn content(report: &StatReport, collected: &ReportContents, context: ViewContext<'_>) -> Markup {
    let (accepted, made) = (outcomes(report), connects(report));
    let connects = &report.connects.all;
    html! {
        h3 { "Connections from others" }
        (markup::picture("What became of handshakes", "accepted", bars::picture("accepted", "What became of connections in SYN_RECV", &accepted,
            "No connection from others was seen in SYN_RECV.")))
        @if let Some(sentence) = sentences::syn_recv(report) { p { (sentence) "." } }
        @if let Some(sentence) = queues(report) { p { (sentence) } }
        h3 { "Connections to others" }
        (markup::picture("What became of connect()", "connected", bars::picture("connected", "What became of connects", &made,
            "No connect() was seen to succeed or fail.")))
        @if connects.retransmitted > 0 {
            p { "For " (counted(connects.retransmitted, "connect", "connects")) " of " (count(connects.left)) " the SYN was sent again, "
                (counted(connects.syn_retransmits, "time", "times")) " in all." }
            (markup::table("Connects whose SYN was sent again", sections::connect_columns(report, context), ""))
        } @else if connects.left > 0 { p { "No SYN was sent again." } }
        h3 { "How long handshakes took" }
        (markup::picture("How long handshakes took", "handshakes", times::handshakes(kinds(collected))))
        @if collected.accepted.total() + collected.connected.total() > 0 {
            ul.key {
                li { svg viewBox="0 0 10 10" aria-hidden="true" { rect.s-syn-recv width="10" height="10" {} } " in SYN_RECV, until the peer's ACK" }
                li { svg viewBox="0 0 10 10" aria-hidden="true" { rect.s-syn-sent width="10" height="10" {} } " in SYN_SENT, until the peer's SYN-ACK" }
            }
        }
    }
}

/// The numbers of its pictures.
pub fn data(report: &StatReport, collected: &ReportContents) -> [PictureData; 3] {
    [
        bars::data("accepted", &outcomes(report)),
        bars::data("connected", &connects(report)),
        times::data("handshakes", &kinds(collected)),
    ]
}

fn kinds(collected: &ReportContents) -> [KindOfTimes<'_>; 2] {
    [("SYN_RECV", "s-syn-recv", &collected.accepted), ("SYN_SENT", "s-syn-sent", &collected.connected)]
}

/// What became of connections in SYN_RECV.
fn outcomes(report: &StatReport) -> Vec<Bar> {
    let class = |reason: Option<Reason>| if reason.is_some() { "failed" } else { "s-syn-recv" };
    let outcomes = report.syn_recv.outcomes.iter();
    outcomes.map(|outcome| (outcome.name().to_owned(), class(outcome.reason), outcome.count)).collect()
}

/// What became of those in SYN_SENT.
fn connects(report: &StatReport) -> Vec<Bar> {
    let connects = &report.connects.all;
    let all = [
        ("connected", "s-syn-sent", connects.made),
        ("closed after a soft error", "failed", connects.soft_errors),
        ("failed, or given up", "failed", connects.left.saturating_sub(connects.made + connects.soft_errors)),
    ];
    let all = all.into_iter().map(|(name, class, number)| (name.to_owned(), class, number));
    all.filter(|(_, _, number)| *number > 0).collect()
}

/// What the kernel counted of full queues, in words.
fn queues(report: &StatReport) -> Option<String> {
    if let Some(counters) = sentences::kernel_counters(report) {
        return Some(format!("Of the {counters}."));
    }
    report
        .audit
        .time_ns
        .map(|_| "The kernel dropped no SYN for want of room: none of its counters of full queues grew.".to_owned())
}
