//! Scales, and the numbers that stand at them.

use jiff::tz::TimeZone;

use super::svg::Svg;
use crate::view::{ViewContext, units::time_of_day};

/// From values to places, in equal steps.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// The values `from` lie at the places `to`. Both ends of the values may be the same: then all lie at the first.
    pub fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        Self { from, to }
    }

    /// Where a value lies.
    pub fn at(&self, value: f64) -> f64 {
        let length = self.from.1 - self.from.0;
        let share = if length > 0.0 { ((value - self.from.0) / length).clamp(0.0, 1.0) } else { 0.0 };
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// The round number that is not below this: 1, 2 or 5 with noughts.
pub fn round_up(value: f64) -> f64 {
    if value <= 1.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|round| *round >= value).unwrap_or(value)
}

/// Seconds between two marks of a time axis, of which there are ten at most.
fn seconds_apart(span_s: u64) -> u64 {
    const ROUND: [u64; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400];
    ROUND.into_iter().find(|step| span_s / step <= 10).unwrap_or_else(|| (span_s / 10).max(1))
}

/// The time that pictures have in common, and where it lies in each of them.
#[derive(Clone, Copy, Debug)]
pub struct TimeAxis<'a> {
    /// When it begins, in nanoseconds of `CLOCK_MONOTONIC`.
    pub begin_ns: u64,
    /// When it ends.
    pub end_ns: u64,
    /// The wall clock.
    pub context: ViewContext<'a>,
    /// The zone of its times.
    pub zone: &'a TimeZone,
}

impl TimeAxis<'_> {
    /// Where times lie in an area as wide as this.
    pub fn scale(&self, width: f64) -> Scale {
        Scale::new((self.begin_ns as f64, self.end_ns as f64), (0.0, width))
    }

    /// Where the parts of the time begin that each are so long, and where the last ends: where the time does.
    pub fn parts(&self, width: f64, part_ns: u64, parts: usize) -> Vec<f64> {
        let scale = self.scale(width);
        let at = |index: u64| scale.at(self.begin_ns.saturating_add(index.saturating_mul(part_ns)) as f64);
        (0..=parts as u64).map(at).collect()
    }

    /// Seconds from the beginning, to a microsecond.
    pub fn seconds(&self, ns: u64) -> f64 {
        (ns.saturating_sub(self.begin_ns) / 1_000) as f64 / 1e6
    }

    /// A time of the day.
    pub fn time_of_day(&self, ns: u64) -> String {
        time_of_day(self.context.wall(ns), self.zone)
    }

    /// Marks at full seconds of the wall clock, below an area that begins at `left`.
    pub fn draw(&self, svg: &mut Svg, (left, width): (f64, f64), y: f64) {
        const NS: i128 = 1_000_000_000;
        let scale = self.scale(width);
        let apart = i128::from(seconds_apart(self.end_ns.saturating_sub(self.begin_ns) / 1_000_000_000)) * NS;
        let offset_ns = self.context.realtime_offset_ns;
        let wall = |ns: u64| i128::from(ns) + offset_ns;
        svg.begin_group("times", &format!(r#" data-left="{left:.0}" data-width="{width:.0}" data-y="{y:.0}""#));
        let mut mark = wall(self.begin_ns).div_euclid(apart) * apart;
        while mark <= wall(self.end_ns) {
            if let Some(at_ns) = u64::try_from(mark - offset_ns).ok().filter(|ns| *ns >= self.begin_ns) {
                let x = left + scale.at(at_ns as f64);
                svg.line("axis", (x, y), (x, y + 4.0));
                svg.text("middle small", (x, y + 15.0), &self.time_of_day(at_ns));
            }
            mark += apart;
        }
        svg.line("axis", (left, y), (left + width, y));
        svg.end_group();
    }
}

/// A scale on which each power of ten takes as much room, and nothing lies at its beginning, below one.
#[derive(Clone, Copy, Debug)]
pub struct LogScale {
    powers: u32,
    to: (f64, f64),
}

impl LogScale {
    /// Up to a power of ten that is not below this.
    pub fn new(most: u64, to: (f64, f64)) -> Self {
        let powers = (1..).find(|power| 10u64.checked_pow(*power).is_none_or(|ten| ten >= most)).unwrap_or(19);
        Self { powers, to }
    }

    /// Where a number lies.
    pub fn at(&self, number: u64) -> f64 {
        let steps = if number == 0 { 0.0 } else { 1.0 + (number as f64).log10() };
        let share = (steps / f64::from(self.powers + 1)).clamp(0.0, 1.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }

    /// The numbers that stand at it.
    pub fn marks(&self) -> impl Iterator<Item = u64> {
        std::iter::once(0).chain((0..=self.powers).map(|power| 10u64.saturating_pow(power)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_scales_are_round() {
        let round = [0.0, 1.0, 1.1, 2.0, 3.0, 7.0, 10.0, 11.0, 99_000.0].map(round_up);
        assert_eq!(round, [1.0, 1.0, 2.0, 2.0, 5.0, 10.0, 10.0, 20.0, 100_000.0]);
        assert_eq!([0, 5, 60, 65, 3600, 90_000, 10_000_000].map(seconds_apart), [1, 1, 10, 10, 600, 21_600, 1_000_000]);
    }

    #[test]
    fn nothing_is_below_one_where_powers_of_ten_are_equal() {
        let scale = LogScale::new(950, (100.0, 0.0));
        assert_eq!(scale.marks().collect::<Vec<_>>(), [0, 1, 10, 100, 1000]);
        assert_eq!([0, 1, 10, 1000].map(|number| scale.at(number).round()), [100.0, 75.0, 50.0, 0.0]);
        assert_eq!(LogScale::new(0, (0.0, 1.0)).marks().collect::<Vec<_>>(), [0, 1, 10]);
        assert!(LogScale::new(u64::MAX, (0.0, 1.0)).at(u64::MAX) <= 1.0);
    }

    #[test]
    fn what_has_no_length_lies_at_the_beginning() {
        assert_eq!(Scale::new((5.0, 5.0), (10.0, 20.0)).at(7.0), 10.0);
        assert_eq!(Scale::new((0.0, 10.0), (10.0, 20.0)).at(50.0), 20.0);
    }
}
