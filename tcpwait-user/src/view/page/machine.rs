//! The state machine as RFC 9293 draws it, with what was counted on its edges. CLOSE stands at the top, where connections begin, and at the bottom, where they end.

use super::{course::class, svg::Svg};
use crate::{
    aggregate::report::{StatReport, TransitionRow},
    tcp::State,
    view::units::{count, duration},
};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 620.0;
const NODE: (f64, f64) = (176.0, 40.0);

/// Where a state stands; `below`: of CLOSE, the one at the end.
fn place(state: State, below: bool) -> (f64, f64) {
    match state {
        State::Close if below => (480.0, 590.0),
        State::Close => (480.0, 30.0),
        State::Listen => (180.0, 110.0),
        State::SynRecv => (180.0, 220.0),
        State::SynSent => (780.0, 170.0),
        State::Established => (480.0, 280.0),
        State::FinWait1 => (260.0, 370.0),
        State::CloseWait => (780.0, 370.0),
        State::FinWait2 => (110.0, 470.0),
        State::Closing => (340.0, 470.0),
        State::LastAck => (780.0, 480.0),
        State::TimeWait => (200.0, 560.0),
    }
}

/// The picture, or why there is none.
pub fn picture(report: &StatReport) -> Result<String, &'static str> {
    let rows: Vec<&TransitionRow> = report.transitions.iter().filter(|row| row.count > 0).collect();
    if rows.is_empty() {
        return Err("No connection took a step.");
    }
    let mut svg = Svg::new(WIDTH, HEIGHT, "The TCP state machine, with how often each step was taken");
    for row in &rows {
        // What came before was not seen: there is no edge for it.
        if let Some(from) = row.from {
            edge(&mut svg, from, row);
        }
    }
    let is_there = |state: State| rows.iter().any(|row| row.to == state || row.from == Some(state));
    for state in State::ALL.into_iter().filter(|state| is_there(*state) || *state == State::TimeWait) {
        node(&mut svg, report, state, false);
    }
    if rows.iter().any(|row| row.to == State::Close) {
        node(&mut svg, report, State::Close, true);
    }
    Ok(svg.finish())
}

fn edge(svg: &mut Svg, from: State, row: &TransitionRow) {
    let (x1, y1) = place(from, false);
    let (x2, y2) = place(row.to, true);
    let number = row.kernel.unwrap_or(row.count).max(row.count);
    let width = 1.0 + (number as f64).log10();
    // A little to the left of the way, so that there and back are two; more where a state lies in between.
    let (dx, dy) = (x2 - x1, y2 - y1);
    let length = dx.hypot(dy).max(1.0);
    let aside = if length > 260.0 { 60.0 } else { 14.0 };
    let (mx, my) = (f64::midpoint(x1, x2) - dy / length * aside, f64::midpoint(y1, y2) + dx / length * aside);
    let told = format!("{from} to {}: {}", row.to, count(number));
    let path = format!("M{x1:.1} {y1:.1}Q{mx:.1} {my:.1} {x2:.1} {y2:.1}");
    svg.path_of_width("edge", &path, width, Some(&told));
    // Where it leads, a little behind the middle; both are points of a quadratic curve, and this is its direction there.
    let (at, back) = (0.62, 0.38);
    let on = |from: f64, by: f64, to: f64| back * back * from + 2.0 * back * at * by + at * at * to;
    let (ax, ay) = (on(x1, mx, x2), on(y1, my, y2));
    let (ux, uy) = (back * (mx - x1) + at * (x2 - mx), back * (my - y1) + at * (y2 - my));
    let unit = ux.hypot(uy).max(1.0);
    let (ux, uy) = (ux / unit, uy / unit);
    let (size, tip) = (4.0 + width, (ax + ux * 5.0, ay + uy * 5.0));
    let corner = |side: f64| (ax - ux * size + side * uy * size * 0.7, ay - uy * size - side * ux * size * 0.7);
    let ((x3, y3), (x4, y4)) = (corner(1.0), corner(-1.0));
    let arrow = format!("M{:.1} {:.1}L{x3:.1} {y3:.1}L{x4:.1} {y4:.1}Z", tip.0, tip.1);
    svg.path("arrow", &arrow, None);
    let middle = (f64::midpoint(f64::midpoint(x1, x2), mx), f64::midpoint(f64::midpoint(y1, y2), my));
    svg.text("middle small edge-count", (middle.0, middle.1 + 4.0), &count(number));
}

fn node(svg: &mut Svg, report: &StatReport, state: State, below: bool) {
    let (x, y) = place(state, below);
    let (width, height) = NODE;
    let row = report.states.iter().find(|row| row.state == state);
    svg.rect("node", (x - width / 2.0, y - height / 2.0), (width, height), None);
    svg.rect(&class(state), (x - width / 2.0, y - height / 2.0), (6.0, height), None);
    let Some(row) = row.filter(|_| state != State::Close) else {
        svg.text("middle strong", (x, y + 4.0), state.name());
        return;
    };
    let now = row.now.filter(|now| *now > 0).map_or_else(String::new, |now| format!(" now {}", count(now)));
    svg.text("middle strong", (x, y - 4.0), state.name());
    let times = match row.dwell.p50_ns {
        Some(p50_ns) => format!("P50 {} P99 {}{now}", duration(Some(p50_ns)), duration(row.dwell.p99_ns)),
        None => now.trim().to_owned(),
    };
    svg.text("middle small", (x, y + 12.0), &times);
}
