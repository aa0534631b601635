//! Pictures of a comparison: rates over time one above the other, how long things took.

use crate::{
    diff::{
        blocks::Window,
        compare::DiffReport,
        durations::Quantile,
        quantity::Quantity,
        row::{CountRow, DurationRow, GaugeRow},
    },
    plain,
    tcp::State,
    view::{
        page::{
            axis::{Scale, round_up},
            machine::{self, MachineEdge},
            svg::Svg,
        },
        units::{count, duration, rate},
    },
};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 16.0;
/// Of one strip of the picture over time, and the space below it.
const STRIP: f64 = 56.0;
const GAP: f64 = 14.0;
/// So many strips at most.
const STRIPS: usize = 12;

/// What is drawn over time: its name, and both sides.
struct Strip<'a> {
    name: String,
    before: &'a (Vec<f64>, u64),
    after: &'a (Vec<f64>, u64),
}

/// Rates and sockets over time, both recordings from their beginning on; or why there is no picture.
pub fn course(comparison: &DiffReport) -> Result<String, &'static str> {
    let strips = strips(comparison);
    let length_ns = comparison.before.window.length_ns().max(comparison.after.window.length_ns());
    if strips.is_empty() || length_ns == 0 {
        return Err("Nothing was counted that could be drawn over time.");
    }
    let height = strips.len() as f64 * (STRIP + GAP) + 24.0;
    let mut svg = Svg::new("course", (WIDTH, height), "What was counted over time: before as an area, after as a line");
    let x = Scale::new((0.0, length_ns as f64), (LEFT, WIDTH - RIGHT));
    for (index, strip) in strips.iter().enumerate() {
        let top = index as f64 * (STRIP + GAP) + 4.0;
        draw(&mut svg, strip, (top, top + STRIP), x, [comparison.before.window, comparison.after.window]);
    }
    seconds(&mut svg, x, length_ns, height - 20.0);
    Ok(svg.finish())
}

fn strips(comparison: &DiffReport) -> Vec<Strip<'_>> {
    let is_shown = |row: &&CountRow| {
        let is_load = row.quantity == Quantity::Ended || row.quantity == Quantity::TimeWaitEntered;
        row.subject.is_none() && !row.quantity.is_drawn_only() && (is_load || row.verdict.is_change())
    };
    let counted = comparison.counts.iter().filter(is_shown).map(|row| {
        let CountRow { quantity, before, after, .. } = row;
        Strip { name: format!("{}/s", super::words::quantity(*quantity)), before: &before.course, after: &after.course }
    });
    let gauges = comparison.gauges.iter().filter(|row| row.subject.is_none() && row.verdict.is_change()).map(|row| {
        let GaugeRow { state, before, after, .. } = row;
        Strip { name: format!("sockets in {state}"), before: &before.course, after: &after.course }
    });
    counted.chain(gauges).take(STRIPS).collect()
}

fn draw(svg: &mut Svg, strip: &Strip<'_>, (top, bottom): (f64, f64), x: Scale, windows: [Window; 2]) {
    let most = strip.before.0.iter().chain(&strip.after.0).copied().fold(0.0, f64::max);
    let scale = round_up(most);
    let y = Scale::new((0.0, scale), (bottom, top));
    for value in [0.0, scale] {
        svg.line("grid", (LEFT, y.at(value)), (WIDTH - RIGHT, y.at(value)));
        svg.text("end small", (LEFT - 6.0, y.at(value) + 4.0), &count(value as u64));
    }
    svg.text("small", (4.0, f64::midpoint(top, bottom) + 4.0), &strip.name);
    let steps = |(values, width_ns): &(Vec<f64>, u64), length_ns: u64| -> Vec<(f64, f64)> {
        let edge = |index: usize| x.at((index as u64).saturating_mul(*width_ns).min(length_ns) as f64);
        let step = |(index, value): (usize, &f64)| [(edge(index), y.at(*value)), (edge(index + 1), y.at(*value))];
        values.iter().enumerate().flat_map(step).collect()
    };
    let joined =
        |points: &[(f64, f64)]| points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect::<Vec<_>>().join("L");
    let [before, after] = [(strip.before, windows[0]), (strip.after, windows[1])]
        .map(|(course, window)| steps(course, window.length_ns()));
    if let (Some(first), Some(last)) = (before.first(), before.last()) {
        let path = format!("M{:.1} {bottom:.1}L{}L{:.1} {bottom:.1}Z", first.0, joined(&before), last.0);
        svg.path("before-area", &path, Some(&format!("before: {} at most", count(highest(strip.before)))));
    }
    if !after.is_empty() {
        svg.path(
            "after-line",
            &format!("M{}", joined(&after)),
            Some(&format!("after: {} at most", count(highest(strip.after)))),
        );
    }
}

fn highest((values, _): &(Vec<f64>, u64)) -> u64 {
    values.iter().copied().fold(0.0, f64::max).round() as u64
}

/// Seconds since the beginning of each, below a picture.
fn seconds(svg: &mut Svg, x: Scale, length_ns: u64, y: f64) {
    let apart = round_up((length_ns as f64 / 1e9 / 10.0).max(1.0));
    let mut at = 0.0;
    while at * 1e9 <= length_ns as f64 {
        svg.line("axis", (x.at(at * 1e9), y), (x.at(at * 1e9), y + 4.0));
        svg.text("middle small", (x.at(at * 1e9), y + 15.0), &duration(Some((at * 1e9) as u64)));
        at += apart;
    }
}

/// So many of them: those that differ, then those with most.
const TIMED: usize = 8;

/// Of a duration: a row of the picture for each quantile.
const ROW: f64 = 18.0;
const SPREAD: f64 = 60.0;
/// Letters that fit beside it.
const LETTERS: usize = 40;

/// How long things took: how both are spread, and their quantiles with their intervals; or why there is no picture.
pub fn durations(all: &[DurationRow]) -> Result<String, &'static str> {
    let differs = |row: &DurationRow| row.quantiles.iter().any(|row| row.verdict.is_change());
    let mut rows: Vec<&DurationRow> = all.iter().collect();
    rows.sort_by_key(|row| (!differs(row), std::cmp::Reverse(row.count_before + row.count_after)));
    rows.truncate(TIMED);
    let lengths = || rows.iter().flat_map(|row| row.spread_before.iter().chain(&row.spread_after)).map(|(ns, _)| *ns);
    let (Some(least), Some(most)) = (lengths().min(), lengths().max()) else {
        return Err("Of nothing it is known in both recordings how long it took.");
    };
    let each = SPREAD + 3.0 * ROW + 16.0;
    let height = rows.len() as f64 * each + 24.0;
    let mut svg = Svg::new("durations", (WIDTH, height), "How long things took, before and after");
    let log = |ns: u64| (ns.max(1) as f64).log10();
    let (from, to) = (log(least).floor(), log(most).ceil().max(log(least).floor() + 1.0));
    let x = Scale::new((from, to), (LEFT, WIDTH - RIGHT));
    let mut power = from as i32;
    while f64::from(power) <= to {
        let at = x.at(f64::from(power));
        svg.line("grid", (at, 4.0), (at, height - 20.0));
        svg.text("middle small", (at, height - 5.0), &duration(Some(10f64.powi(power) as u64)));
        power += 1;
    }
    for (index, row) in rows.iter().enumerate() {
        let top = index as f64 * each + 4.0;
        let whose = row.subject.as_ref().map_or_else(|| "all".to_owned(), |subject| plain::escaped(subject));
        let known = format!("{} before, {} after", count(row.count_before), count(row.count_after));
        svg.text("small strong", (4.0, top + 14.0), &row.lasting.words());
        svg.text("small", (4.0, top + 28.0), &plain::beginning(&whose, LETTERS));
        svg.text("small name", (4.0, top + 42.0), &known);
        let place = |ns: u64| x.at(log(ns));
        spread(&mut svg, &row.spread_before, "before-area", (top, top + SPREAD), &place);
        spread(&mut svg, &row.spread_after, "after-line", (top, top + SPREAD), &place);
        for (number, quantile) in row.quantiles.iter().enumerate() {
            let y = top + SPREAD + 10.0 + number as f64 * ROW;
            let strong = if quantile.verdict.is_change() { "end small strong" } else { "end small" };
            svg.text(strong, (LEFT - 6.0, y + 4.0), &format!("P{}", quantile.percent));
            if let (Some(before), Some(after)) = (quantile.before, quantile.after) {
                svg.line("axis", (place(before.ns), y), (place(after.ns), y));
            }
            dot(&mut svg, quantile.before, "before", y - 3.0, &place);
            dot(&mut svg, quantile.after, "after", y + 3.0, &place);
        }
    }
    Ok(svg.finish())
}

/// A share of all for each length, as an outline.
fn spread(svg: &mut Svg, spread: &[(u64, u64)], class: &str, (top, bottom): (f64, f64), place: &dyn Fn(u64) -> f64) {
    /// Lengths that are so near each other are drawn as one.
    const APART: f64 = 4.0;
    let mut bars: Vec<(f64, u64)> = Vec::new();
    for (ns, count) in spread {
        let at = (place(*ns) / APART).floor() * APART;
        match bars.last_mut().filter(|(last, _)| *last >= at) {
            Some((_, number)) => *number += count,
            None => bars.push((at, *count)),
        }
    }
    let most = bars.iter().map(|(_, number)| *number).max().unwrap_or(1) as f64;
    let height = Scale::new((0.0, most), (bottom, top));
    let path: String = bars
        .iter()
        .map(|(at, number)| {
            let y = height.at(*number as f64);
            format!("M{at:.1} {bottom:.1}L{at:.1} {y:.1}L{:.1} {y:.1}L{:.1} {bottom:.1}", at + APART, at + APART)
        })
        .collect();
    svg.path(class, &path, None);
}

fn dot(svg: &mut Svg, quantile: Option<Quantile>, side: &str, y: f64, place: &dyn Fn(u64) -> f64) {
    let Some(quantile) = quantile else { return };
    let (low, high) = (quantile.low_ns.unwrap_or(quantile.ns), quantile.high_ns.unwrap_or(quantile.ns));
    let told = format!("{side}: {}", super::words::quantile(Some(quantile)));
    let width = (place(high) - place(low)).max(1.0);
    svg.rect(&format!("{side}-interval"), (place(low), y - 1.0), (width, 2.0), Some(&told));
    svg.rect(&format!("{side}-dot"), (place(quantile.ns) - 2.5, y - 2.5), (5.0, 5.0), Some(&told));
}

/// The state machine, with the rates of both on its edges; or why there is none. What was before a connection was seen, and ends of TIME_WAIT, have no edge.
pub fn machine(report: &DiffReport) -> Result<String, &'static str> {
    let edges: Vec<MachineEdge> = report
        .counts
        .iter()
        .filter_map(|row| match row.quantity {
            Quantity::Step(from, to) => Some(MachineEdge {
                from,
                to,
                number: row.before.count.max(row.after.count),
                text: format!("{} -> {}/s", rate(row.before.per_s), rate(row.after.per_s)),
                is_strong: row.verdict.is_change(),
            }),
            _ => None,
        })
        .collect();
    let nodes = |state: State| {
        let row = report.gauges.iter().find(|row| row.state == state && row.subject.is_none());
        let most = row.map(|row| format!("at most {} -> {}", count(row.before.most), count(row.after.most)));
        most.into_iter().collect()
    };
    machine::draw("The TCP state machine, with the rates of its steps before and after", &edges, &nodes)
}
