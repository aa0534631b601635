//! How long TIME_WAIT really took, in the bounds of the histogram, with the band that the kernel's timer allows.

use super::{
    axis::{Scale, round_up},
    svg::Svg,
};
use crate::{
    aggregate::Bucket,
    view::units::{count, duration},
};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 64.0;
const BARS: (f64, f64) = (10.0, 170.0);

/// The picture, or why there is none.
pub fn picture(buckets: &[Bucket]) -> Result<String, &'static str> {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or_default();
    if most == 0 {
        return Err("No TIME_WAIT ended whose length is known.");
    }
    let mut svg = Svg::new(WIDTH, HEIGHT, "How long TIME_WAIT took");
    let top = round_up(most as f64);
    let y = Scale::new((0.0, top), (BARS.1, BARS.0));
    for value in [0.0, top / 2.0, top] {
        svg.line("grid", (LEFT, y.at(value)), (WIDTH - 8.0, y.at(value)));
        let text = if value.fract() == 0.0 { count(value as u64) } else { format!("{value:.1}") };
        svg.text("end small", (LEFT - 6.0, y.at(value) + 4.0), &text);
    }
    let width = ((WIDTH - 8.0 - LEFT) / buckets.len() as f64).min(120.0);
    for (index, bucket) in buckets.iter().enumerate() {
        let x = LEFT + index as f64 * width;
        if bucket.normal {
            svg.rect("band", (x, BARS.0), (width, BARS.1 - BARS.0), None);
        }
        let height = BARS.1 - y.at(bucket.count as f64);
        let told = format!("{}: {}", bounds(bucket), count(bucket.count));
        svg.rect("s-time-wait", (x + 2.0, BARS.1 - height), (width - 4.0, height), Some(&told));
        svg.text("middle small", (x + width / 2.0, BARS.1 + 14.0), &duration(Some(bucket.from_ns)));
        svg.text(
            "middle small",
            (x + width / 2.0, BARS.1 + 28.0),
            &bucket.to_ns.map_or_else(|| "or more".to_owned(), |ns| format!("to {}", duration(Some(ns)))),
        );
    }
    Ok(svg.finish())
}

fn bounds(bucket: &Bucket) -> String {
    let from = duration(Some(bucket.from_ns));
    bucket.to_ns.map_or_else(|| format!("{from} or more"), |to_ns| format!("{from} to {}", duration(Some(to_ns))))
}
