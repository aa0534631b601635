//! Of a report: how connections ended.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    aggregate::{
        DwellSummary,
        end_report::EndReport,
        ends::{EndRow, Shared},
    },
    lifecycle::Reason,
    tcp::State,
};

/// Ends of one reason, in the whole or in a group.
#[derive(Serialize)]
pub(super) struct Ended<D> {
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_s: Option<f64>,
    from: BTreeMap<&'static str, u64>,
    details: BTreeMap<&'static str, u64>,
    dwell: D,
    shared: Vec<SharedTime>,
}

/// Times in a group.
#[derive(Default, Serialize)]
pub(super) struct TimesJson {
    count: u64,
    mean_ns: Option<u64>,
    min_ns: Option<u64>,
    max_ns: Option<u64>,
}

/// A time that many share.
#[derive(Serialize)]
struct SharedTime {
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    ns: u64,
    count: u64,
}

/// Every reason for which a full socket can come to CLOSE is there, and of the others those that occurred.
pub(super) fn ends(report: &EndReport) -> BTreeMap<&'static str, Ended<DwellSummary>> {
    let occurred = report.reasons.iter().map(|of| of.reason);
    let all = Reason::OF_ENDS.into_iter().chain(occurred.filter(|reason| !Reason::OF_ENDS.contains(reason)));
    let ended = |reason| {
        let of = report.reasons.iter().find(|of| of.reason == reason);
        let per_s = of.map_or(Some(0.0), |of| of.per_s);
        (reason.name(), ended(&report.rows, reason, per_s, of.map(|of| of.dwell).unwrap_or_default()))
    };
    all.map(ended).collect()
}

/// The same of a group: those that occurred.
pub(super) fn of_group(rows: &[EndRow]) -> BTreeMap<&'static str, Ended<TimesJson>> {
    let mut all = BTreeMap::new();
    for EndRow { reason, .. } in rows {
        all.entry(reason.name()).or_insert_with(|| ended(rows, *reason, None, times(rows, *reason)));
    }
    all
}

fn ended<D>(rows: &[EndRow], reason: Reason, per_s: Option<f64>, dwell: D) -> Ended<D> {
    let mut ended =
        Ended { count: 0, per_s, from: BTreeMap::new(), details: BTreeMap::new(), dwell, shared: Vec::new() };
    for row in rows.iter().filter(|row| row.reason == reason) {
        let from = row.from.map_or("unknown", State::name);
        ended.count += row.count;
        *ended.from.entry(from).or_default() += row.count;
        if let Some(detail) = row.detail {
            *ended.details.entry(detail.name()).or_default() += row.count;
        }
        if let Some(Shared { ns, count }) = row.times.shared {
            ended.shared.push(SharedTime { from, detail: row.detail.map(|detail| detail.name()), ns, count });
        }
    }
    ended
}

fn times(rows: &[EndRow], reason: Reason) -> TimesJson {
    let mut times = TimesJson::default();
    let mut sum_ns = 0u128;
    for row in rows.iter().filter(|row| row.reason == reason) {
        times.count += row.times.known;
        sum_ns += u128::from(row.times.mean_ns.unwrap_or_default()) * u128::from(row.times.known);
        times.min_ns = times.min_ns.into_iter().chain(row.times.min_ns).min();
        times.max_ns = times.max_ns.into_iter().chain(row.times.max_ns).max();
    }
    times.mean_ns = sum_ns.checked_div(times.count.into()).and_then(|mean_ns| u64::try_from(mean_ns).ok());
    times
}
