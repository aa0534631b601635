//! Sockets by state over time: stacked, and each by itself on a logarithmic scale, on which one is seen beside a million. Hatched where events were lost.

use super::{
    axis::{LogScale, Scale, TimeAxis, round_up},
    data::PictureData,
    frame::{LEFT, PLOT, WIDTH, grid, mark, steps},
    svg::Svg,
};
use crate::{
    report::course::{Course, CourseStretch},
    tcp::State,
    view::units::{count, duration},
};

const TOP: f64 = 24.0;
const HEIGHT: f64 = 220.0;

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

/// The stack, or why there is none.
pub fn stacked(course: &Course, axis: &TimeAxis<'_>) -> Result<String, &'static str> {
    let moments = course.moments();
    let top = round_up(most(moments, |moment| STACK.into_iter().map(|state| of(moment, state)).sum())? as f64);
    let (mut svg, places) = begin("sockets", "Sockets by state over time, stacked", course, axis);
    grid(&mut svg, "sockets", top, Scale::new((0.0, top), (TOP + HEIGHT, TOP)));
    let y = Scale::new((0.0, top), (HEIGHT, 0.0));
    svg.begin_plot((LEFT, TOP), (PLOT, HEIGHT));
    let mut below: Vec<u64> = vec![0; moments.len()];
    for state in STACK {
        let above: Vec<u64> = moments.iter().zip(&below).map(|(moment, below)| below + of(moment, state)).collect();
        if above != below {
            let corners = |heights: &[u64]| {
                let at = |(place, height): (&[f64], &u64)| {
                    let y = y.at(*height as f64);
                    place.iter().map(|x| (*x, y)).collect::<Vec<_>>()
                };
                places.windows(2).zip(heights).flat_map(at).collect::<Vec<(f64, f64)>>()
            };
            let outline = corners(&above).into_iter().chain(corners(&below).into_iter().rev());
            let points: Vec<String> = outline.map(|(x, y)| format!("{x:.2} {y:.1}")).collect();
            svg.path(&class(state), &format!("M{}Z", points.join("L")), Some(&told_of(state, moments)));
        }
        below = above;
    }
    end(svg, &places, course, axis)
}

/// Each state by itself, or why there is no picture.
pub fn logarithmic(course: &Course, axis: &TimeAxis<'_>) -> Result<String, &'static str> {
    let moments = course.moments();
    let most = most(moments, |moment| STACK.into_iter().map(|state| of(moment, state)).max().unwrap_or_default())?;
    let label = "Sockets of each state over time, on a logarithmic scale";
    let (mut svg, places) = begin("sockets-log", label, course, axis);
    let outer = LogScale::new(most, (TOP + HEIGHT, TOP));
    outer.marks().for_each(|number| mark(&mut svg, outer.at(number), &count(number)));
    svg.text("small name", (LEFT, TOP - 8.0), "sockets of each state");
    let y = LogScale::new(most, (HEIGHT, 0.0));
    svg.begin_plot((LEFT, TOP), (PLOT, HEIGHT));
    for state in STACK.into_iter().filter(|state| moments.iter().any(|moment| of(moment, *state) > 0)) {
        let heights = moments.iter().map(|moment| moment.counts.is_some().then(|| y.at(of(moment, state))));
        svg.path(&format!("line {}", class(state)), &steps(&places, heights), Some(&told_of(state, moments)));
    }
    end(svg, &places, course, axis)
}

/// The numbers.
pub fn data(course: &Course, axis: &TimeAxis<'_>) -> PictureData {
    let columns = STACK.iter().map(|state| state.name()).chain(["lost"]);
    PictureData::over_time(
        "sockets",
        columns,
        axis,
        course.width_ns(),
        course.moments().iter().map(|moment| {
            let counts = STACK.into_iter().map(|state| moment.counts.map(|_| of(moment, state)).into());
            counts.chain([moment.lost.into()]).collect()
        }),
    )
}

fn begin(id: &'static str, label: &str, course: &Course, axis: &TimeAxis<'_>) -> (Svg, Vec<f64>) {
    let mut svg = Svg::new(id, (WIDTH, TOP + HEIGHT + 24.0), label);
    svg.define_hatch();
    (svg, axis.parts(PLOT, course.width_ns(), course.moments().len()))
}

fn end(mut svg: Svg, places: &[f64], course: &Course, axis: &TimeAxis<'_>) -> Result<String, &'static str> {
    hatch_losses(&mut svg, course, axis, (PLOT, HEIGHT));
    for (index, (place, moment)) in places.windows(2).zip(course.moments()).enumerate() {
        let &[from, to] = place else { continue };
        // What is pointed at tells of itself, on top of all.
        let begin_ns = axis.begin_ns + index as u64 * course.width_ns();
        svg.rect("hover", (from, 0.0), (to - from, HEIGHT), Some(&told(moment, begin_ns, course.width_ns(), axis)));
    }
    svg.end_plot();
    axis.draw(&mut svg, (LEFT, PLOT), TOP + HEIGHT);
    Ok(svg.finish())
}

/// Hatches an area of this size where events were lost, parts that follow each other in one piece.
pub fn hatch_losses(svg: &mut Svg, course: &Course, axis: &TimeAxis<'_>, (width, height): (f64, f64)) {
    let places = axis.parts(width, course.width_ns(), course.moments().len());
    let lost: Vec<bool> = course.moments().iter().map(|moment| moment.lost).collect();
    let mut index = 0;
    for run in lost.chunk_by(|one, other| one == other) {
        let (from, to) = (places.get(index), places.get(index + run.len()));
        if let (Some(true), Some(from), Some(to)) = (run.first(), from, to) {
            let told = "Events were lost here: all numbers are at least.";
            svg.hatched((*from, 0.0), ((to - from).max(3.0), height), told);
        }
        index += run.len();
    }
}

/// What is told of a part of the time.
fn told(moment: &CourseStretch, begin_ns: u64, width_ns: u64, axis: &TimeAxis<'_>) -> String {
    let mut lines = vec![format!("{}, {}", axis.time_of_day(begin_ns), duration(Some(width_ns)))];
    let there = STACK.into_iter().rev().filter(|state| of(moment, *state) > 0);
    lines.extend(there.map(|state| format!("{state} {}", count(of(moment, state)))));
    if moment.lost {
        lines.push("events were lost: numbers are at least".to_owned());
    }
    lines.join("\n")
}

fn told_of(state: State, moments: &[CourseStretch]) -> String {
    let peak = moments.iter().map(|moment| of(moment, state)).max().unwrap_or_default();
    format!("{state}: {} at most", count(peak))
}

fn most(moments: &[CourseStretch], number: impl Fn(&CourseStretch) -> u64) -> Result<u64, &'static str> {
    match moments.iter().map(number).max() {
        None | Some(0) => Err("No connection was there at the end of any part of the time."),
        Some(most) => Ok(most),
    }
}

fn of(moment: &CourseStretch, state: State) -> u64 {
    moment.counts.and_then(|counts| counts.get(state as usize - 1).copied()).unwrap_or_default()
}
