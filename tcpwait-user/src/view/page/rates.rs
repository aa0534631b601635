//! TIME_WAITs that began and ended a second, and calls that failed, over time.

use super::{
    axis::{Scale, TimeAxis, round_up},
    data::PictureData,
    frame::{LEFT, PLOT, WIDTH, grid, steps},
    sockets::hatch_losses,
    svg::Svg,
};
use crate::{
    report::course::Course,
    view::units::{count, duration},
};

const TOP: f64 = 24.0;
/// Rates, and below them the calls that failed.
const RATES: f64 = 100.0;
const FAILED: (f64, f64) = (110.0, 122.0);

/// The picture, or why there is none.
pub fn picture(course: &Course, axis: &TimeAxis<'_>) -> Result<String, &'static str> {
    let moments = course.moments();
    if moments.iter().all(|moment| moment.entered + moment.left + moment.failed == 0) {
        return Err("No TIME_WAIT began or ended, and no call failed.");
    }
    let width_ns = course.width_ns();
    let rate = |number: u64| number as f64 * 1e9 / width_ns as f64;
    let fastest = moments.iter().map(|moment| moment.entered.max(moment.left)).max().unwrap_or_default();
    let top = round_up(rate(fastest));
    let label = "TIME_WAITs entered and left a second, and calls that failed, over time";
    let mut svg = Svg::new("rates", (WIDTH, TOP + FAILED.1 + 24.0), label);
    svg.define_hatch();
    grid(&mut svg, "TIME_WAIT/s: entered (bars), left (line)", top, Scale::new((0.0, top), (TOP + RATES, TOP)));
    if moments.iter().any(|moment| moment.failed > 0) {
        svg.text("end small", (LEFT - 6.0, TOP + FAILED.1 - 2.0), "failed");
    }
    let y = Scale::new((0.0, top), (RATES, 0.0));
    let places = axis.parts(PLOT, width_ns, moments.len());
    svg.begin_plot((LEFT, TOP), (PLOT, FAILED.1));
    for (place, moment) in places.windows(2).zip(moments) {
        let &[from, to] = place else { continue };
        if moment.entered > 0 {
            let height = RATES - y.at(rate(moment.entered));
            svg.rect("s-time-wait", (from, RATES - height), (to - from, height), None);
        }
        if moment.failed > 0 {
            svg.rect("failed", (from, FAILED.0), ((to - from).max(1.0), FAILED.1 - FAILED.0), None);
        }
    }
    let left = steps(&places, moments.iter().map(|moment| Some(y.at(rate(moment.left)))));
    svg.path("left", &left, None);
    hatch_losses(&mut svg, course, axis, (PLOT, FAILED.1));
    for (index, (place, moment)) in places.windows(2).zip(moments).enumerate() {
        let &[from, to] = place else { continue };
        let told = format!(
            "{}, {}\nTIME_WAIT: {} entered, {} left\n{} calls failed",
            axis.time_of_day(axis.begin_ns + index as u64 * width_ns),
            duration(Some(width_ns)),
            count(moment.entered),
            count(moment.left),
            count(moment.failed)
        );
        svg.rect("hover", (from, 0.0), (to - from, FAILED.1), Some(&told));
    }
    svg.end_plot();
    axis.draw(&mut svg, (LEFT, PLOT), TOP + FAILED.1);
    Ok(svg.finish())
}

/// The numbers.
pub fn data(course: &Course, axis: &TimeAxis<'_>) -> PictureData {
    let columns = ["entered", "left", "failed_calls"];
    let row = |moment: &crate::report::course::CourseStretch| {
        [moment.entered, moment.left, moment.failed].map(Into::into).into()
    };
    PictureData::over_time("rates", columns, axis, course.width_ns(), course.moments().iter().map(row))
}
