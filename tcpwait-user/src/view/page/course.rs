//! Pictures of what there was over time, one below the other on one axis: sockets by state, entries to TIME_WAIT and exits, calls that failed; red where
//! events were lost.

use jiff::tz::TimeZone;

use super::{
    axis::{self, Scale, round_up},
    svg::Svg,
};
use crate::{
    report::course::{Course, CourseStretch},
    tcp::State,
    view::{
        ViewContext,
        units::{count, duration, time_of_day},
    },
};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 8.0;
/// Sockets, then rates, then failures.
const SOCKETS: (f64, f64) = (10.0, 220.0);
const RATES: (f64, f64) = (245.0, 335.0);
const FAILED: (f64, f64) = (350.0, 362.0);
const HEIGHT: f64 = 385.0;

/// What is stacked, from the bottom up. A listener is no connection.
pub const STACK: [State; 9] = [
    State::Established,
    State::CloseWait,
    State::FinWait1,
    State::FinWait2,
    State::Closing,
    State::LastAck,
    State::SynSent,
    State::SynRecv,
    State::TimeWait,
];

/// The class of a state's shapes.
pub fn class(state: State) -> String {
    format!("s-{}", state.name().to_lowercase().replace('_', "-"))
}

/// The picture, or why there is none.
pub fn picture(course: &Course, context: ViewContext<'_>, zone: &TimeZone) -> Result<String, &'static str> {
    let moments = course.moments();
    let most = moments.iter().map(stacked).max().unwrap_or_default();
    let any = moments.iter().any(|moment| moment.entered + moment.left + moment.failed > 0);
    if most == 0 && !any {
        return Err("No connection was there, and none was made.");
    }
    let (begin_ns, end_ns) = course.span_ns();
    let width_ns = course.width_ns();
    let x = Scale::new((begin_ns as f64, end_ns as f64), (LEFT, WIDTH - RIGHT));
    // The last part may be cut.
    let begin_of = |index: usize| begin_ns + index as u64 * width_ns;
    let left_of = |index: usize| x.at(begin_of(index) as f64);
    let mut svg = Svg::new(
        WIDTH,
        HEIGHT,
        "Sockets by state over time, TIME_WAIT entered and left a second, and calls that failed",
    );

    let top = round_up(most as f64);
    let y = Scale::new((0.0, top), (SOCKETS.1, SOCKETS.0));
    grid(&mut svg, "sockets", top, y);
    let mut below: Vec<u64> = vec![0; moments.len()];
    for state in STACK {
        let above: Vec<u64> = moments.iter().zip(&below).map(|(moment, below)| below + of(moment, state)).collect();
        if above != below {
            let steps = |heights: &[u64]| {
                let at = |(index, height): (usize, &u64)| {
                    [(left_of(index), y.at(*height as f64)), (left_of(index + 1), y.at(*height as f64))]
                };
                heights.iter().enumerate().flat_map(at).collect::<Vec<(f64, f64)>>()
            };
            let outline = steps(&above).into_iter().chain(steps(&below).into_iter().rev());
            let points: Vec<String> = outline.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let peak = moments.iter().map(|moment| of(moment, state)).max().unwrap_or_default();
            let told = format!("{state}: {} at most", count(peak));
            svg.path(&class(state), &format!("M{}Z", points.join("L")), Some(&told));
        }
        below = above;
    }

    let rate = |number: u64| number as f64 * 1e9 / width_ns as f64;
    let fastest = moments.iter().map(|moment| moment.entered.max(moment.left)).max().unwrap_or_default();
    let top = round_up(rate(fastest));
    let y = Scale::new((0.0, top), (RATES.1, RATES.0));
    grid(&mut svg, "TIME_WAIT/s", top, y);
    for (index, moment) in moments.iter().enumerate() {
        if moment.entered > 0 {
            let height = RATES.1 - y.at(rate(moment.entered));
            svg.rect(
                "s-time-wait",
                (left_of(index), RATES.1 - height),
                (left_of(index + 1) - left_of(index), height),
                None,
            );
        }
    }
    let left: Vec<String> = moments
        .iter()
        .enumerate()
        .flat_map(|(index, moment)| {
            [index, index + 1].map(|at| format!("{:.1} {:.1}", left_of(at), y.at(rate(moment.left))))
        })
        .collect();
    svg.path("left", &format!("M{}", left.join("L")), Some("left TIME_WAIT"));

    if moments.iter().any(|moment| moment.failed > 0) {
        svg.text("end small", (LEFT - 6.0, FAILED.1 - 2.0), "failed");
    }
    for (index, moment) in moments.iter().enumerate() {
        let place = (left_of(index), left_of(index + 1) - left_of(index));
        if moment.failed > 0 {
            let told = format!("{} calls failed", count(moment.failed));
            svg.rect("failed", (place.0, FAILED.0), (place.1.max(1.0), FAILED.1 - FAILED.0), Some(&told));
        }
        if moment.lost {
            svg.rect(
                "lost",
                (place.0, SOCKETS.0),
                (place.1.max(2.0), FAILED.1 - SOCKETS.0),
                Some("events were lost here: all numbers are at least"),
            );
        }
        // What is pointed at tells of itself, on top of all.
        svg.rect(
            "hover",
            (place.0, SOCKETS.0),
            (place.1, RATES.1 - SOCKETS.0),
            Some(&told(moment, begin_of(index), width_ns, context, zone)),
        );
    }
    axis::time(&mut svg, x, (begin_ns, end_ns), FAILED.1 + 2.0, context, zone);
    Ok(svg.finish())
}

/// What is told of a part of the time.
fn told(moment: &CourseStretch, begin_ns: u64, width_ns: u64, context: ViewContext<'_>, zone: &TimeZone) -> String {
    let mut lines = vec![format!("{}, {}", time_of_day(context.wall(begin_ns), zone), duration(Some(width_ns)))];
    lines.extend(
        STACK
            .into_iter()
            .rev()
            .filter(|state| of(moment, *state) > 0)
            .map(|state| format!("{state} {}", count(of(moment, state)))),
    );
    lines.push(format!("TIME_WAIT: {} entered, {} left", count(moment.entered), count(moment.left)));
    lines.join("\n")
}

/// Lines at the ends and in the middle of a scale, with their numbers.
fn grid(svg: &mut Svg, name: &str, top: f64, y: Scale) {
    for value in [0.0, top / 2.0, top] {
        svg.line("grid", (LEFT, y.at(value)), (WIDTH - RIGHT, y.at(value)));
        let text = if value.fract() == 0.0 { count(value as u64) } else { format!("{value:.1}") };
        svg.text("end small", (LEFT - 6.0, y.at(value) + 4.0), &text);
    }
    svg.text("small name", (LEFT + 4.0, y.at(top) + 12.0), name);
}

fn of(moment: &CourseStretch, state: State) -> u64 {
    moment.counts.and_then(|counts| counts.get(state as usize - 1).copied()).unwrap_or_default()
}

fn stacked(moment: &CourseStretch) -> u64 {
    STACK.into_iter().map(|state| of(moment, state)).sum()
}
