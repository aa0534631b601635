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

/// A time axis below a picture: marks at full seconds of the wall clock, of this zone.
pub fn time(svg: &mut Svg, scale: Scale, span_ns: (u64, u64), y: f64, context: ViewContext<'_>, zone: &TimeZone) {
    const NS: i128 = 1_000_000_000;
    let (begin_ns, end_ns) = span_ns;
    let apart = i128::from(seconds_apart(end_ns.saturating_sub(begin_ns) / 1_000_000_000)) * NS;
    let wall = |ns: u64| i128::from(ns) + context.realtime_offset_ns;
    let mut mark = wall(begin_ns).div_euclid(apart) * apart;
    while mark <= wall(end_ns) {
        if let Ok(at_ns) = u64::try_from(mark - context.realtime_offset_ns)
            && at_ns >= begin_ns
        {
            let x = scale.at(at_ns as f64);
            svg.line("axis", (x, y), (x, y + 4.0));
            let text = time_of_day(context.wall(at_ns), zone);
            svg.text("middle small", (x, y + 15.0), text.split('.').next().unwrap_or_default());
        }
        mark += apart;
    }
    svg.line("axis", (scale.at(begin_ns as f64), y), (scale.at(end_ns as f64), y));
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
    fn what_has_no_length_lies_at_the_beginning() {
        assert_eq!(Scale::new((5.0, 5.0), (10.0, 20.0)).at(7.0), 10.0);
        assert_eq!(Scale::new((0.0, 10.0), (10.0, 20.0)).at(50.0), 20.0);
    }
}
