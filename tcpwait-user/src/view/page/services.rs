//! A heat map: how many TIME_WAITs began, for each service and each part of the time.

use super::{axis::TimeAxis, data::PictureData, frame::WIDTH, sockets::hatch_losses, svg::Svg};
use crate::{
    plain,
    report::{
        course::Course,
        services::{ServiceOverTime, Services},
    },
    view::{
        key,
        units::{count, counted},
    },
};

const LEFT: f64 = 250.0;
const RIGHT: f64 = 70.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
const ROW: f64 = 16.0;
const TOP: f64 = 4.0;

/// So many rows at most.
const ROWS: usize = 40;

/// So many colours, the darkest for the most.
const COLOURS: usize = 7;

/// Letters that fit into the margin.
const LETTERS: usize = 40;

/// The picture, or why there is none.
pub fn picture(services: &Services, all: &Course, axis: &TimeAxis<'_>) -> Result<String, &'static str> {
    let rows = services.rows(ROWS);
    let most = rows.iter().flat_map(|row| row.parts.iter().copied()).max().unwrap_or_default();
    if most == 0 {
        return Err("No TIME_WAIT began.");
    }
    let height = rows.len() as f64 * ROW;
    let mut svg = Svg::new("services", (WIDTH, TOP + height + 44.0), "TIME_WAITs entered, by service and time");
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + (index + 1) as f64 * ROW - 4.0;
        svg.text("end small mono", (LEFT - 6.0, y), &shortened(&name(row, axis)));
        svg.text("small", (LEFT + PLOT + 6.0, y), &count(row.entered));
    }
    let parts = rows.first().map_or(0, |row| row.parts.len());
    let places = axis.parts(PLOT, services.width_ns(), parts);
    svg.define_hatch();
    svg.begin_plot((LEFT, TOP), (PLOT, height));
    for (index, row) in rows.iter().enumerate() {
        let y = index as f64 * ROW + 1.0;
        let mut paths = vec![String::new(); COLOURS];
        for (entered, place) in row.parts.iter().zip(places.windows(2)) {
            let (&[from, to], Some(path)) = (place, paths.get_mut(colour(*entered, most))) else { continue };
            if *entered > 0 {
                path.push_str(&format!("M{from:.2} {y:.0}H{to:.2}v{0:.0}H{from:.2}z", ROW - 2.0));
            }
        }
        svg.rect("heat-none", (0.0, y), (PLOT, ROW - 2.0), Some(&told(row, axis)));
        for (colour, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            svg.path(&format!("heat h{colour}"), path, Some(&told(row, axis)));
        }
    }
    hatch_losses(&mut svg, all, axis, (PLOT, height));
    svg.end_plot();
    axis.draw(&mut svg, (LEFT, PLOT), TOP + height);
    scale(&mut svg, most, TOP + height + 24.0);
    Ok(svg.finish())
}

/// The numbers.
pub fn data(services: &Services, axis: &TimeAxis<'_>) -> PictureData {
    let rows = services.rows(ROWS);
    let parts = rows.first().map_or(0, |row| row.parts.len());
    let columns: Vec<String> = rows.iter().map(|row| name(row, axis)).collect();
    let entered = (0..parts).map(|index| rows.iter().map(|row| row.parts.get(index).copied().into()).collect());
    PictureData::over_time("services", columns, axis, services.width_ns(), entered)
}

/// What the colours stand for: the first for one, the last for the most, each of the others for so many times more than the one before.
fn scale(svg: &mut Svg, most: u64, y: f64) {
    svg.text("end small", (LEFT - 6.0, y + 9.0), "entered in a part of the time:");
    let mut from = 1;
    for index in 0..COLOURS {
        let Some(to) = last_of(index, most) else { continue };
        let x = LEFT + index as f64 * 90.0;
        svg.rect(&format!("heat h{index}"), (x, y), (10.0, 10.0), None);
        let text = if from == to { count(from) } else { format!("{} to {}", count(from), count(to)) };
        svg.text("small", (x + 14.0, y + 9.0), &text);
        from = to + 1;
    }
}

/// The largest number of a colour, if it has any.
fn last_of(index: usize, most: u64) -> Option<u64> {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = high - (high - low) / 2;
        if colour(middle, most) <= index { low = middle } else { high = middle - 1 }
    }
    (low > 0 && colour(low, most) == index).then_some(low)
}

/// Which colour a number has, where this is the largest.
fn colour(number: u64, most: u64) -> usize {
    if number <= 1 || most <= 1 {
        return if most <= 1 { COLOURS - 1 } else { 0 };
    }
    let share = (number as f64).ln() / (most as f64).ln();
    ((share * COLOURS as f64).ceil() as usize).clamp(1, COLOURS) - 1
}

fn name(row: &ServiceOverTime, axis: &TimeAxis<'_>) -> String {
    match row.service {
        Some(crate::aggregate::by::Value::Unknown) => "service unknown".to_owned(),
        Some(service) => key::text(service, axis.context.names),
        None => "all others".to_owned(),
    }
}

fn told(row: &ServiceOverTime, axis: &TimeAxis<'_>) -> String {
    let most = row.parts.iter().copied().max().unwrap_or_default();
    let entered = counted(row.entered, "TIME_WAIT", "TIME_WAITs");
    format!("{}: {entered}, at most {} in a part of the time", name(row, axis), count(most))
}

fn shortened(text: &str) -> String {
    if plain::width(text) <= LETTERS {
        return text.to_owned();
    }
    format!("{}+", plain::fitting(text, LETTERS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_in_order_and_all_numbers_have_one() {
        for most in [1, 2, 5, 7, 100, 12_345, u64::MAX] {
            let numbers = [1, 2, 3, 5, 8, 50, 1000, most].into_iter().filter(|number| *number <= most);
            let mut numbers: Vec<u64> = numbers.collect();
            numbers.sort_unstable();
            let colours: Vec<usize> = numbers.iter().map(|number| colour(*number, most)).collect();
            assert!(colours.is_sorted() && colours.last() == Some(&(COLOURS - 1)), "{most}: {colours:?}");
            let mut last = (0..COLOURS).filter_map(|index| last_of(index, most));
            assert_eq!(last.next_back(), Some(most));
        }
    }
}
