//! A comparison as one JSON document. The keys and their units are in docs/output.md; what is not known is `null`.

use std::io::{self, Write};

use serde::Serialize;

use super::words;
use crate::{
    diff::{
        comparable::SideFacts,
        compare::DiffReport,
        condition::sockets_of,
        durations::Quantile,
        interval::{CONFIDENCE, Ratio},
        quantity::{Base, Direction},
        row::{ChangeKind, CountRow, CountSide, DurationRow, GaugeRow, GaugeSide, QuantileRow, SettingRow},
    },
    plain,
    view::schema,
};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    confidence: f64,
    before: OriginJson<'a>,
    after: OriginJson<'a>,
    unlike: Vec<String>,
    both_ends_before: u64,
    both_ends_after: u64,
    differences: usize,
    compared: usize,
    counts: Vec<CountJson<'a>>,
    sockets: Vec<GaugeJson<'a>>,
    durations: Vec<DurationJson<'a>>,
    settings: Option<Vec<SettingJson<'a>>>,
}

#[derive(Serialize)]
struct OriginJson<'a> {
    file: &'a str,
    kernel: &'a str,
    machine: &'a str,
    hz: Option<u64>,
    tcpwait: &'a str,
    begin: Option<String>,
    length_ns: u64,
    time_wait_ends_length_ns: u64,
    lost: u64,
}

#[derive(Serialize)]
struct CountJson<'a> {
    name: String,
    of: Option<&'a str>,
    verdict: &'static str,
    kind: Option<&'static str>,
    more_is_worse: bool,
    per_1000_of: Option<&'static str>,
    before: CountSideJson,
    after: CountSideJson,
    rate: Option<RatioJson>,
    share: Option<RatioJson>,
}

#[derive(Serialize)]
struct CountSideJson {
    count: u64,
    per_s: Option<f64>,
    per_1000: Option<f64>,
}

#[derive(Serialize)]
struct RatioJson {
    ratio: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct GaugeJson<'a> {
    name: String,
    of: Option<&'a str>,
    verdict: &'static str,
    kind: Option<&'static str>,
    more_is_worse: bool,
    before: GaugeSideJson,
    after: GaugeSideJson,
    ratio: Option<RatioJson>,
}

#[derive(Serialize)]
struct GaugeSideJson {
    mean: Option<f64>,
    max: u64,
    end: u64,
}

#[derive(Serialize)]
struct DurationJson<'a> {
    name: String,
    of: Option<&'a str>,
    more_is_worse: bool,
    count_before: u64,
    count_after: u64,
    still_before: u64,
    still_after: u64,
    quantiles: Vec<QuantileJson>,
}

#[derive(Serialize)]
struct QuantileJson {
    percent: u8,
    verdict: &'static str,
    kind: Option<&'static str>,
    before: Option<TimeJson>,
    after: Option<TimeJson>,
}

#[derive(Serialize)]
struct TimeJson {
    ns: u64,
    low_ns: Option<u64>,
    high_ns: Option<u64>,
    at_least: bool,
}

#[derive(Serialize)]
struct SettingJson<'a> {
    netns: &'a str,
    name: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

/// Writes it.
///
/// # Errors
/// The output cannot be written.
pub fn write(comparison: &DiffReport, out: &mut dyn Write) -> io::Result<()> {
    let (differences, compared) = comparison.changes();
    let document = Document {
        schema: schema::DIFF,
        confidence: f64::from(CONFIDENCE) / 100.0,
        before: origin(&comparison.before, comparison.delayed[0].length_ns()),
        after: origin(&comparison.after, comparison.delayed[1].length_ns()),
        unlike: comparison.unlike.iter().map(words::unlike).collect(),
        both_ends_before: comparison.both_ends[0],
        both_ends_after: comparison.both_ends[1],
        differences,
        compared,
        counts: comparison.counts.iter().map(of_count).collect(),
        sockets: comparison.gauges.iter().map(gauge).collect(),
        durations: comparison.durations.iter().map(of_duration).collect(),
        settings: comparison.settings.as_ref().map(|rows| rows.iter().map(setting).collect()),
    };
    plain::json(&mut *out, &document)?;
    out.write_all(b"\n")
}

/// The word for where a change belongs.
pub const fn kind_name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::NewFailure => "new-failure",
        ChangeKind::Worse => "worse",
        ChangeKind::Better => "better",
        ChangeKind::New => "new",
        ChangeKind::Gone => "gone",
        ChangeKind::Changed => "changed",
    }
}

fn origin(origin: &SideFacts, delayed_ns: u64) -> OriginJson<'_> {
    OriginJson {
        file: &origin.file,
        kernel: &origin.kernel,
        machine: &origin.machine,
        hz: origin.hz,
        tcpwait: &origin.tcpwait,
        begin: jiff::Timestamp::from_nanosecond(origin.realtime_ns).ok().map(|time| format!("{time:.9}")),
        length_ns: origin.window.length_ns(),
        time_wait_ends_length_ns: delayed_ns,
        lost: origin.lost(),
    }
}

fn of_count(row: &CountRow) -> CountJson<'_> {
    let side = |side: &CountSide| CountSideJson { count: side.count, per_s: side.per_s, per_1000: side.per_1000 };
    CountJson {
        name: row.quantity.name(),
        of: row.subject.as_deref(),
        verdict: row.verdict.name(),
        kind: row.kind().map(kind_name),
        more_is_worse: row.quantity.direction() == Direction::MoreIsWorse,
        per_1000_of: match row.quantity.base() {
            Base::None => None,
            Base::Ended => Some("connections-ended"),
            Base::TimeWaitLeft => Some("time-wait-left"),
        },
        before: side(&row.before),
        after: side(&row.after),
        rate: row.rate.map(ratio),
        share: row.share.map(ratio),
    }
}

fn ratio(ratio: Ratio) -> RatioJson {
    RatioJson { ratio: ratio.ratio, low: ratio.low, high: ratio.high }
}

fn gauge(row: &GaugeRow) -> GaugeJson<'_> {
    let side = |side: &GaugeSide| GaugeSideJson { mean: side.mean, max: side.most, end: side.at_the_end };
    GaugeJson {
        name: sockets_of(row.state),
        of: row.subject.as_deref(),
        verdict: row.verdict.name(),
        kind: row.kind().map(kind_name),
        more_is_worse: row.direction() == Direction::MoreIsWorse,
        before: side(&row.before),
        after: side(&row.after),
        ratio: row.ratio.map(ratio),
    }
}

fn of_duration(row: &DurationRow) -> DurationJson<'_> {
    let time = |quantile: Option<Quantile>| {
        quantile.map(|quantile| TimeJson {
            ns: quantile.ns,
            low_ns: quantile.low_ns,
            high_ns: quantile.high_ns,
            at_least: quantile.is_at_least,
        })
    };
    let quantile = |of: &QuantileRow| QuantileJson {
        percent: of.percent,
        verdict: of.verdict.name(),
        kind: of.kind(row.lasting).map(kind_name),
        before: time(of.before),
        after: time(of.after),
    };
    DurationJson {
        name: row.lasting.name(),
        of: row.subject.as_deref(),
        more_is_worse: row.lasting.direction() == Direction::MoreIsWorse,
        count_before: row.count_before,
        count_after: row.count_after,
        still_before: row.still_before,
        still_after: row.still_after,
        quantiles: row.quantiles.iter().map(quantile).collect(),
    }
}

fn setting(row: &SettingRow) -> SettingJson<'_> {
    SettingJson { netns: &row.netns, name: &row.name, before: row.before.as_deref(), after: row.after.as_deref() }
}
