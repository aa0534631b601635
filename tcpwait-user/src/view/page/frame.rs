//! What pictures have in common: their width, where numbers stand, what is at the ends of a scale.

use super::{axis::Scale, svg::Svg};
use crate::view::units::count;

/// How wide every picture is.
pub const WIDTH: f64 = 960.0;

/// Where what is drawn begins, right of the numbers of a scale.
pub const LEFT: f64 = 64.0;

/// How wide it is. (The last number of a time axis needs room.)
pub const PLOT: f64 = WIDTH - LEFT - 32.0;

/// Lines at the ends and in the middle of a scale that goes from 0 to `top`, with their numbers, and the name of what they count.
pub fn grid(svg: &mut Svg, name: &str, top: f64, y: Scale) {
    for value in [0.0, top / 2.0, top] {
        mark(svg, y.at(value), &number(value));
    }
    svg.text("small name", (LEFT, y.at(top) - 8.0), name);
}

/// A line at this height, and a number.
pub fn mark(svg: &mut Svg, y: f64, text: &str) {
    svg.line("grid", (LEFT, y), (LEFT + PLOT, y));
    svg.text("end small", (LEFT - 6.0, y + 4.0), text);
}

/// `5`, `2.5`, `0.25`.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { count(value as u64) } else { format!("{value}") }
}

/// A line in steps: at each height from one place to the next. Where a height is not known it is broken.
pub fn steps(places: &[f64], heights: impl Iterator<Item = Option<f64>>) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for (place, height) in places.windows(2).zip(heights) {
        let (&[from, to], Some(height)) = (place, height) else {
            is_open = false;
            continue;
        };
        let begins = if is_open { "L" } else { "M" };
        path.push_str(&format!("{begins}{from:.2} {height:.1}L{to:.2} {height:.1}"));
        is_open = true;
    }
    path
}
