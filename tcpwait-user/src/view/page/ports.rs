//! Ports in use towards the fullest destinations over time, how many there are, what was foreseen, and connect() that failed.

use super::{
    axis::{Scale, TimeAxis, round_up},
    data::PictureData,
    frame::{LEFT, PLOT, WIDTH, grid, steps},
    sockets::hatch_losses,
    svg::Svg,
};
use crate::{
    aggregate::ports::{forecast::Forecast, report::PortDestination},
    report::{
        course::Course,
        ports::{DestinationOverTime, PortsCourse, PortsThen},
    },
    view::{ViewContext, ports::address, units::count},
};

const TOP: f64 = 24.0;
const HEIGHT: f64 = 180.0;
const ROW: f64 = 16.0;

/// So many destinations are drawn.
pub const DRAWN: usize = 6;

/// Ports that are so much fewer than there are would all lie on the ground.
const FAR: f64 = 20.0;

/// The picture, or why there is none.
pub fn picture(course: &PortsCourse, all: &Course, axis: &TimeAxis<'_>) -> Result<String, &'static str> {
    let fullest = course.fullest(DRAWN);
    let most = peak(&fullest);
    if fullest.is_empty() || (most == 0 && fullest.iter().all(|one| one.failed.iter().all(|failed| *failed == 0))) {
        return Err("No local port was in use for a connection that was made here, and no connect() failed.");
    }
    let (near, far) = sizes(&fullest, most);
    let top = round_up(near.iter().copied().chain([most]).max().unwrap_or_default() as f64 * 1.04);
    let height = TOP + HEIGHT + 30.0 + fullest.len() as f64 * ROW;
    let mut svg = Svg::new("ports", (WIDTH, height), "Local ports in use towards the fullest destinations, over time");
    let outer = Scale::new((0.0, top), (TOP + HEIGHT, TOP));
    grid(&mut svg, "ports in use", top, outer);
    let width_ns = course.width_ns();
    let parts = fullest.first().map_or(0, |one| one.then.len());
    let places = axis.parts(PLOT, width_ns, parts);
    let y = Scale::new((0.0, top), (HEIGHT, 0.0));
    svg.define_hatch();
    svg.begin_plot((LEFT, TOP), (PLOT, HEIGHT));
    for size in &near {
        svg.path(
            "range",
            &format!("M0 {0:.1}H{PLOT:.0}", y.at(*size as f64)),
            Some(&format!("{} ports may be taken", count(*size))),
        );
    }
    for (index, one) in fullest.iter().enumerate() {
        let told = label(one, axis.context);
        let heights = one.then.iter().map(|then| then.map(|then| y.at(then.in_use as f64)));
        svg.path(&format!("line p{index}"), &steps(&places, heights), Some(&told));
        if let Some((path, told)) = foreseen(one, axis, y) {
            svg.path(&format!("line foreseen p{index}"), &path, Some(&told));
        }
    }
    hatch_losses(&mut svg, all, axis, (PLOT, HEIGHT));
    svg.end_plot();
    // Crosses keep their shape, so that they are no part of the area: the script moves them.
    svg.begin_group("crosses", "");
    for (index, one) in fullest.iter().enumerate() {
        let at = TOP + HEIGHT - 6.0 - index as f64 * 9.0;
        let crosses = one.failed.iter().zip(places.windows(2)).filter(|(failed, _)| **failed > 0);
        for (failed, place) in crosses {
            let x = LEFT + place.iter().sum::<f64>() / 2.0;
            let (left, right, up, down) = (x - 3.0, x + 3.0, at - 3.0, at + 3.0);
            let cross = format!("M{left:.1} {up:.1}L{right:.1} {down:.1}M{left:.1} {down:.1}L{right:.1} {up:.1}");
            svg.path(&format!("cross p{index}"), &cross, Some(&format!("{} failed", calls(*failed))));
        }
    }
    svg.end_group();
    if let Some(size) = near.last() {
        svg.text(
            "end small strong",
            (LEFT + PLOT - 4.0, outer.at(*size as f64) - 6.0),
            &format!("{} ports may be taken", count(*size)),
        );
    }
    if let Some(size) = far.last() {
        let text = format!("the {} ports that may be taken are far above", count(*size));
        svg.text("end small strong", (LEFT + PLOT, TOP - 8.0), &text);
    }
    axis.draw(&mut svg, (LEFT, PLOT), TOP + HEIGHT);
    for (index, one) in fullest.iter().enumerate() {
        let y = TOP + HEIGHT + 32.0 + index as f64 * ROW;
        svg.path(&format!("line p{index}"), &format!("M{LEFT:.0} {0:.1}h24", y - 4.0), None);
        svg.text("", (LEFT + 32.0, y), &label(one, axis.context));
    }
    Ok(svg.finish())
}

fn peak(fullest: &[DestinationOverTime]) -> u64 {
    fullest.iter().map(DestinationOverTime::peak).max().unwrap_or_default()
}

/// How many ports there are: those numbers that fit into the picture, and those that are far above all that is in use.
fn sizes(fullest: &[DestinationOverTime], most: u64) -> (Vec<u64>, Vec<u64>) {
    let mut sizes: Vec<u64> = fullest.iter().filter_map(DestinationOverTime::size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.into_iter().partition(|size| (*size as f64) < FAR * most.max(1) as f64)
}

/// What stands in the picture beside the ports in use, where it does.
pub fn explained(course: &PortsCourse) -> Vec<&'static str> {
    let fullest = course.fullest(DRAWN);
    let there = [
        (!sizes(&fullest, peak(&fullest)).0.is_empty(), "The thick grey line: how many ports connect() may take."),
        (fullest.iter().any(|one| one.foreseen().is_some()), "Dotted: what was foreseen, from when it was."),
        (
            fullest.iter().any(|one| one.failed.iter().any(|failed| *failed > 0)),
            "×: connect() failed, for whatever reason.",
        ),
    ];
    there.into_iter().filter(|(is_there, _)| *is_there).map(|(_, sentence)| sentence).collect()
}

/// The numbers.
pub fn data(course: &PortsCourse, axis: &TimeAxis<'_>) -> PictureData {
    let fullest = course.fullest(DRAWN);
    let names: Vec<String> = fullest.iter().map(|one| name(&one.destination, axis.context)).collect();
    let columns = names.iter().cloned().chain(names.iter().map(|name| format!("failed: {name}")));
    let parts = fullest.first().map_or(0, |one| one.then.len());
    let rows = (0..parts).map(|index| {
        let in_use = fullest.iter().map(|one| one.then.get(index).copied().flatten().map(|then| then.in_use).into());
        in_use.chain(fullest.iter().map(|one| one.failed.get(index).copied().into())).collect()
    });
    PictureData::over_time("ports", columns, axis, course.width_ns(), rows)
}

/// `10.0.0.1 to 10.0.0.2:80`.
fn name(destination: &PortDestination, context: ViewContext<'_>) -> String {
    format!("{} to {}", address::from(destination, context), address::to(destination))
}

fn label(one: &DestinationOverTime, context: ViewContext<'_>) -> String {
    let of = one.size().map_or_else(String::new, |size| format!(" of {}", count(size)));
    let failed: u64 = one.failed.iter().sum();
    let failed = if failed > 0 { format!("; {} failed (×)", calls(failed)) } else { String::new() };
    format!("{}: at most {}{of} in use{failed}", name(&one.destination, context), count(one.peak()))
}

fn calls(failed: u64) -> String {
    if failed == 1 { "1 connect()".to_owned() } else { format!("{} connect()", count(failed)) }
}

/// The line of a forecast from when it was made, and what it said.
fn foreseen(one: &DestinationOverTime, axis: &TimeAxis<'_>, y: Scale) -> Option<(String, String)> {
    let PortsThen { time_ns, in_use, size, forecast } = one.foreseen()?;
    let x = axis.scale(PLOT);
    let (from, then) = (x.at(time_ns as f64), axis.time_of_day(time_ns));
    let end_x = x.at(axis.end_ns as f64);
    match forecast? {
        Forecast::FullIn { in_ns } => {
            let (full_ns, size) = (time_ns.saturating_add(in_ns), size?);
            // What lies behind the end of the time is cut off there.
            let share = ((axis.end_ns.saturating_sub(time_ns)) as f64 / in_ns.max(1) as f64).min(1.0);
            let ports = in_use as f64 + share * (size.saturating_sub(in_use)) as f64;
            let to = if full_ns > axis.end_ns { end_x } else { x.at(full_ns as f64) };
            let path = format!("M{from:.2} {:.1}L{to:.2} {:.1}", y.at(in_use as f64), y.at(ports));
            Some((path, format!("foreseen at {then}: full at {}", axis.time_of_day(full_ns))))
        }
        Forecast::Steady { ports, .. } => {
            let path = format!("M{from:.2} {0:.1}L{end_x:.2} {0:.1}", y.at(ports));
            Some((path, format!("foreseen at {then}: {} ports in the long run", count(ports.round() as u64))))
        }
        Forecast::Full { .. } | Forecast::Idle => None,
    }
}
