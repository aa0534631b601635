//! Numbers by name as bars: an outcome each.

use super::{data::PictureData, frame::WIDTH, svg::Svg};
use crate::view::units::{count, percent};

const LEFT: f64 = 250.0;
const RIGHT: f64 = 150.0;
const ROW: f64 = 20.0;

/// A bar: what it is of, its class, how many.
pub type Bar = (String, &'static str, u64);

/// The picture, or why there is none.
pub fn picture(id: &'static str, label: &str, bars: &[Bar], none: &'static str) -> Result<String, &'static str> {
    let (most, all) =
        (bars.iter().map(|bar| bar.2).max().unwrap_or_default(), bars.iter().map(|bar| bar.2).sum::<u64>());
    if most == 0 {
        return Err(none);
    }
    let mut svg = Svg::new(id, (WIDTH, bars.len() as f64 * ROW + 4.0), label);
    for (index, (name, class, number)) in bars.iter().enumerate() {
        let y = index as f64 * ROW + 2.0;
        let length = *number as f64 / most as f64 * (WIDTH - LEFT - RIGHT);
        svg.text("end", (LEFT - 8.0, y + 13.0), name);
        svg.rect(class, (LEFT, y + 2.0), (length, ROW - 5.0), None);
        let text = format!("{} ({})", count(*number), percent(Some(*number as f64 / all as f64)));
        svg.text("", (LEFT + length + 6.0, y + 13.0), &text);
    }
    Ok(svg.finish())
}

/// The numbers.
pub fn data(name: &'static str, bars: &[Bar]) -> PictureData {
    PictureData::new(
        name,
        ["name", "count"],
        bars.iter().map(|(name, _, number)| vec![name.as_str().into(), (*number).into()]),
    )
}
