//! TIME_WAIT: how long it took, why it ended, what restarted it.

use maud::{Markup, html};

use super::{
    bars::{self, Bar},
    data::PictureData,
    markup, times,
};
use crate::{
    aggregate::report::{Exit, StatReport, TimeWait},
    lifecycle::RestartCause,
    report::time_buckets::TimeBuckets,
    view::{
        stat::sentences,
        table::Column,
        units::{count, duration, known, rate},
    },
};

/// The section.
pub fn content(report: &StatReport, took: &TimeBuckets) -> Markup {
    let time_wait = &report.time_wait;
    let normal_to_ns = time_wait.histogram.normal_to_ns;
    let pictures = [
        ("how many", times::time_wait(took, normal_to_ns)),
        ("share that was over", times::time_wait_shares(took, normal_to_ns)),
    ];
    html! {
        @if let Some(length) = sentences::length(time_wait) { p { (length) "." } }
        (markup::switch("took", "How long it took", "time_wait", pictures))
        (markup::picture("Why TIME_WAIT ended", "exits", bars::picture("exits", "Why TIME_WAIT ended", &exits(time_wait), "No TIME_WAIT ended.")))
        @if !time_wait.exits.is_empty() { (markup::table("TIME_WAITs by what ended them", columns(&time_wait.exits), "")) }
        (markup::sentences(restarts(time_wait)))
        @if let Some(steady) = sentences::steady(time_wait, true) { p { (steady) "." } }
    }
}

/// The numbers of its pictures.
pub fn data(report: &StatReport, took: &TimeBuckets) -> [PictureData; 2] {
    [times::data("time_wait", &[("count", "", took)]), bars::data("exits", &exits(&report.time_wait))]
}

fn exits(time_wait: &TimeWait) -> Vec<Bar> {
    time_wait.exits.iter().map(|exit| (exit.reason.name().to_owned(), "s-time-wait", exit.count)).collect()
}

fn columns(exits: &[Exit]) -> Vec<Column> {
    let column = |cell: &dyn Fn(&Exit) -> String| exits.iter().map(cell).collect::<Vec<_>>();
    vec![
        Column::text("ENDED BY", 0, column(&|exit| exit.reason.name().to_owned())),
        Column::number("COUNT", 0, column(&|exit| known(Some(exit.count)))),
        Column::number("/s", 0, column(&|exit| rate(exit.rate_per_s))),
        Column::number("P50", 0, column(&|exit| duration(exit.dwell.p50_ns))),
        Column::number("P99", 0, column(&|exit| duration(exit.dwell.p99_ns))),
        Column::number("MAX", 0, column(&|exit| duration(exit.dwell.max_ns))),
    ]
}

/// What restarted its clock.
fn restarts(time_wait: &TimeWait) -> Vec<String> {
    if time_wait.restarts == 0 {
        return Vec::new();
    }
    let all = format!("Late segments restarted the clock of TIME_WAIT {} times:", count(time_wait.restarts));
    let cause = |(cause, number): &(RestartCause, u64)| format!("{}: {}.", count(*number), words(*cause));
    std::iter::once(all).chain(time_wait.restart_causes.iter().map(cause)).collect()
}

fn words(cause: RestartCause) -> &'static str {
    match cause {
        RestartCause::DuplicateFin => "the peer sent its FIN again, as it never got the last ACK",
        RestartCause::OldData => "data from before the FIN came late, or again",
        RestartCause::Ack => "an ACK without data, as of a keepalive",
        RestartCause::Paws => {
            "a timestamp older than the latest (PAWS): an old duplicate, or a peer whose clock differs by connection"
        }
        RestartCause::Unknown => "only the timer showed it; which segment it was is not known",
    }
}
