//! How sure a mean is: Student's interval, and the rule by which measuring ends. A mean, as what happens seldom and costs much belongs to the cost.

use std::time::Duration;

use serde::Serialize;

/// A mean, and where the true one is, 19 times in 20, if nothing but chance is in the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// How many measurements.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// The least that the true one is.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Interval {
    /// Of these; `None` where there are less than two, which say nothing of chance.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / freedom as f64;
        let reach = student(freedom)? * (variance / values.len() as f64).sqrt();
        Some(Self { count: values.len(), mean, low: mean - reach, high: mean + reach })
    }

    /// From end to end.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }

    /// Whether the true mean is at most this; `None` where that lies within.
    pub fn at_most(&self, limit: f64) -> Option<bool> {
        if self.high <= limit {
            return Some(true);
        }
        (self.low > limit).then_some(false)
    }

    /// Whether the true mean is at least this; `None` where that lies within.
    pub fn at_least(&self, limit: f64) -> Option<bool> {
        if self.low >= limit {
            return Some(true);
        }
        (self.high < limit).then_some(false)
    }
}

/// The 97.5th percentile of Student's distribution for so many degrees of freedom (Abramowitz and Stegun, table 26.10, and 26.7.5 for
/// those beyond).
fn student(freedom: usize) -> Option<f64> {
    const FEW: [f64; 8] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306];
    const Z: f64 = 1.959_964;
    let before = freedom.checked_sub(1)?;
    Some(FEW.get(before).copied().unwrap_or_else(|| {
        let freedom = freedom as f64;
        let first = (Z.powi(3) + Z) / 4.0;
        let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
        let third = (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0;
        Z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
    }))
}

/// When to stop measuring.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// Every interval is narrower than this, from end to end.
    pub narrower_than: f64,
    /// But not before so many measurements: who looks often enough at few finds them alike once by chance.
    pub at_least: usize,
    /// Or so much time is over.
    pub at_most: Duration,
}

impl Until {
    /// Whether it is time. What has no interval yet is not narrow.
    pub fn reached(&self, intervals: &[Option<Interval>], elapsed: Duration) -> bool {
        let narrow = |interval: &Option<Interval>| {
            interval.is_some_and(|known| known.count >= self.at_least && known.width() < self.narrower_than)
        };
        elapsed >= self.at_most || intervals.iter().all(narrow)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::{Interval, Until, student};

    #[test]
    fn the_interval_is_student_s() {
        // Of 1 to 5: deviation 1.5811, error of the mean 0.7071, times 2.776.
        let interval = Interval::of([1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!((interval.count, interval.mean), (5, 3.0));
        assert!((interval.low - 1.0371).abs() < 1e-3 && (interval.high - 4.9629).abs() < 1e-3, "{interval:?}");
        let certain = Interval::of([2.0, 2.0, 2.0]).unwrap();
        assert_eq!((certain.low, certain.high, certain.width()), (2.0, 2.0, 0.0));
    }

    #[test]
    fn one_measurement_says_nothing_of_chance() {
        assert_eq!((Interval::of([]), Interval::of([1.0]), Interval::of([1.0, f64::NAN])), (None, None, None));
    }

    #[test]
    fn student_s_table_and_what_lies_beyond() {
        for (freedom, right) in
            [(1, 12.706), (8, 2.306), (9, 2.262), (10, 2.228), (30, 2.042), (120, 1.980), (10_000, 1.960)]
        {
            assert!((student(freedom).unwrap() - right).abs() < 1e-3, "{freedom}: {:?}", student(freedom));
        }
        assert_eq!(student(0), None);
    }

    #[test]
    fn a_limit_within_the_interval_is_neither_kept_nor_broken() {
        let interval = Interval { count: 9, mean: 2.0, low: 1.5, high: 2.5 };
        assert_eq!(
            [3.0, 2.5, 2.0, 1.5, 1.0].map(|limit| interval.at_most(limit)),
            [Some(true), Some(true), None, None, Some(false)]
        );
        assert_eq!(
            [1.0, 1.5, 2.0, 2.5, 3.0].map(|limit| interval.at_least(limit)),
            [Some(true), Some(true), None, None, Some(false)]
        );
    }

    #[test]
    fn it_ends_when_all_are_narrow_or_the_time_is_over() {
        let until = Until { narrower_than: 0.5, at_least: 8, at_most: Duration::from_secs(600) };
        let interval = |count, low, high| Some(Interval { count, mean: 0.0, low, high });
        let (soon, late) = (Duration::from_secs(10), Duration::from_secs(600));
        let narrow = interval(8, 1.0, 1.4);
        assert!(until.reached(&[narrow, narrow], soon));
        assert!(!until.reached(&[narrow, interval(8, 1.0, 1.5)], soon), "one is as wide as it may not be");
        assert!(!until.reached(&[narrow, interval(7, 1.0, 1.1)], soon), "narrow by chance");
        assert!(!until.reached(&[narrow, None], soon), "unknown is not narrow");
        assert!(until.reached(&[interval(8, 0.0, 9.0), None], late));
    }
}
