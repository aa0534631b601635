//! A row of any kind, as its columns show it: the same in text and on a page.

use super::words;
use crate::diff::interval::CONFIDENCE;
use crate::{
    diff::{
        compare::DiffReport,
        durations::Quantile,
        quantity::{Direction, Quantity},
        row::{ChangeKind, CountRow, CountSide, DurationRow, GaugeRow, GaugeSide, QuantileRow, SettingRow},
        verdict::{DiffVerdict, LEAST_EVENTS, LEAST_NS, LEAST_WAIT_NS, NotSaid},
    },
    plain,
    view::{
        table::Column,
        units::{at_least, count, duration, rate},
    },
};

/// A row of any kind, as its columns show it.
#[derive(Debug)]
pub struct DiffLine {
    /// Where it belongs, if it is a difference.
    pub kind: Option<ChangeKind>,
    /// What the two sides say.
    pub verdict: DiffVerdict,
    /// Whether it is of a group, and another row is of all.
    pub is_of_group: bool,
    /// Of what is on one side only: whether it is enough to be called a difference, had it come more evenly.
    pub is_many: bool,
    /// Its weight among those that are not sure: what is worse comes first, then what there is more of.
    pub weight: (bool, u64),
    /// Whether the two are far from each other, and yet it cannot be said that they differ.
    pub is_far_apart: bool,
    what: String,
    before: String,
    after: String,
    change: String,
    interval: String,
    share: String,
}

/// Every row, those of the load first.
pub fn lines(comparison: &DiffReport) -> Vec<DiffLine> {
    let counted = comparison.counts.iter().filter(|row| !is_load(row) && !row.quantity.is_drawn_only()).map(of_count);
    let gauges = comparison.gauges.iter().filter(|row| row.is_told()).map(of_gauge);
    let durations =
        comparison.durations.iter().flat_map(|row| row.quantiles.iter().map(|quantile| of_quantile(row, quantile)));
    counted.chain(gauges).chain(durations).collect()
}

/// The one row that a sentence of its own tells.
fn is_load(row: &CountRow) -> bool {
    row.quantity == Quantity::Ended && row.subject.is_none()
}

fn of_count(row: &CountRow) -> DiffLine {
    let few = row.verdict == DiffVerdict::OneSided;
    let number = |side: &CountSide| match few {
        true => count(side.count),
        false => format!("{}/s", rate(side.per_s)),
    };
    let share = match (few, row.before.per_1000, row.after.per_1000) {
        (true, ..) | (_, None, None) => String::new(),
        (_, before, after) => format!("{} -> {}", rate(before), rate(after)),
    };
    DiffLine {
        kind: row.kind(),
        verdict: row.verdict,
        is_of_group: row.subject.is_some() && !matches!(row.quantity, Quantity::Failed(..)),
        is_many: row.before.count.max(row.after.count) >= LEAST_EVENTS,
        weight: (
            row.quantity.direction() == Direction::MoreIsWorse && row.after.count > row.before.count,
            row.before.count.max(row.after.count),
        ),
        is_far_apart: row.before.count.max(row.after.count) >= LEAST_EVENTS && is_far_apart(row.verdict, row.change()),
        what: words::what(row),
        before: number(&row.before),
        after: number(&row.after),
        change: if few { words::one_sided(row) } else { words::changed(row.verdict, row.change()) },
        interval: if few { String::new() } else { words::interval(row.rate) },
        share,
    }
}

fn of_gauge(row: &GaugeRow) -> DiffLine {
    let few = row.verdict == DiffVerdict::OneSided;
    let number = |side: &GaugeSide| match few {
        true => format!("{} at most", count(side.most)),
        false => words::mean(side.mean),
    };
    DiffLine {
        kind: row.kind(),
        verdict: row.verdict,
        is_of_group: row.subject.is_some(),
        is_many: row.before.most.max(row.after.most) >= LEAST_EVENTS,
        weight: (
            row.direction() == Direction::MoreIsWorse && row.after.mean > row.before.mean,
            row.before.most.max(row.after.most),
        ),
        is_far_apart: row.before.most.max(row.after.most) >= LEAST_EVENTS && is_far_apart(row.verdict, row.change()),
        what: format!("{}sockets in {}, mean", whose(row.subject.as_ref()), row.state),
        before: number(&row.before),
        after: number(&row.after),
        change: if few { String::new() } else { words::changed(row.verdict, row.change()) },
        interval: if few { String::new() } else { words::interval(row.ratio) },
        share: String::new(),
    }
}

fn of_quantile(row: &DurationRow, of: &QuantileRow) -> DiffLine {
    let ratio = of.before.zip(of.after).map(|(before, after)| after.ns as f64 / before.ns.max(1) as f64);
    let least_ns = if row.lasting.direction() == Direction::MoreIsWorse { LEAST_WAIT_NS } else { LEAST_NS };
    let is_worth_it = of.before.zip(of.after).is_some_and(|(before, after)| before.ns.abs_diff(after.ns) > least_ns);
    let words = row.lasting.words();
    let whose = whose(row.subject.as_ref());
    let ns = |quantile: Option<Quantile>| match quantile {
        Some(Quantile { ns, is_at_least: true, .. }) => at_least(Some(ns)),
        quantile => duration(quantile.map(|quantile| quantile.ns)),
    };
    DiffLine {
        kind: of.kind(row.lasting),
        verdict: of.verdict,
        is_of_group: false,
        is_many: false,
        weight: (false, 0),
        is_far_apart: is_worth_it && is_far_apart(of.verdict, ratio),
        what: format!("{whose}{words}, P{}", of.percent),
        before: ns(of.before),
        after: ns(of.after),
        change: words::changed(of.verdict, ratio),
        interval: words::interval_of_both(of.before, of.after),
        share: String::new(),
    }
}

/// Twice as much or half of it, where it cannot be said whether that is chance.
fn is_far_apart(verdict: DiffVerdict, ratio: Option<f64>) -> bool {
    const TWICE: f64 = 2.0;
    matches!(verdict, DiffVerdict::Unknown(NotSaid::TooShort | NotSaid::StillThere))
        && ratio.is_some_and(|ratio| ratio >= TWICE || ratio <= 1.0 / TWICE)
}

/// What is far apart and may yet be chance: what would be worse first.
pub fn far_apart(lines: &[DiffLine]) -> Vec<&DiffLine> {
    let mut rows: Vec<&DiffLine> = lines.iter().filter(|line| line.is_far_apart).collect();
    rows.sort_by_key(|line| !line.weight.0);
    rows
}

/// Rows of no more than so many events are told together.
const FEW: u64 = 2;

/// What is on one side only, the heaviest first; and how many rows have so few events that they are told in one.
pub fn one_sided(lines: &[DiffLine]) -> (Vec<&DiffLine>, Vec<&DiffLine>) {
    let mut rows: Vec<&DiffLine> = lines.iter().filter(|line| line.verdict == DiffVerdict::OneSided).collect();
    rows.sort_by_key(|line| std::cmp::Reverse(line.weight));
    rows.into_iter().partition(|line| line.weight.1 > FEW)
}

/// `nginx :80: `, or nothing of all.
fn whose(subject: Option<&String>) -> String {
    subject.map_or_else(String::new, |subject| format!("{}: ", plain::column(subject)))
}

/// The columns of rows; `heading`: what stands above what they are of.
pub fn columns(heading: &str, rows: &[&DiffLine]) -> Vec<Column> {
    let cells = |cell: fn(&DiffLine) -> &String| rows.iter().map(|row| cell(row).clone()).collect::<Vec<_>>();
    vec![
        Column::text(heading, 0, cells(|row| &row.what)),
        Column::number("BEFORE", 0, cells(|row| &row.before)),
        Column::number("AFTER", 0, cells(|row| &row.after)),
        Column::number("CHANGE", 0, cells(|row| &row.change)),
        Column::number(&format!("{CONFIDENCE}% INTERVAL"), 1, cells(|row| &row.interval)),
        Column::number("PER 1,000", 2, cells(|row| &row.share)),
    ]
}

/// The columns of settings.
pub fn setting_columns(rows: &[SettingRow]) -> Vec<Column> {
    let several = rows.iter().any(|row| row.netns != rows.first().map_or("", |first| &first.netns));
    let name = |row: &SettingRow| match several || row.name == "network namespace" {
        true => format!("{} {}", plain::column(&row.netns), plain::column(&row.name)),
        false => plain::column(&row.name),
    };
    let value = |value: &Option<String>| value.as_ref().map_or_else(|| "-".to_owned(), |value| plain::column(value));
    vec![
        Column::text("SETTINGS", 0, rows.iter().map(name).collect()),
        Column::text("BEFORE", 0, rows.iter().map(|row| value(&row.before)).collect()),
        Column::text("AFTER", 0, rows.iter().map(|row| value(&row.after)).collect()),
    ]
}
