//! Statistics on a handful of measurements: medians and quartiles, since some of them are always somebody else's noise.

use serde::Serialize;

/// What several measurements of the same thing came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// The least.
    pub min: f64,
    /// A quarter is below.
    pub q1: f64,
    /// Half is below.
    pub median: f64,
    /// A quarter is above.
    pub q3: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these; `None` where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let at = |share| quantile(&values, share);
        Some(Self { count: values.len(), min, q1: at(0.25)?, median: at(0.5)?, q3: at(0.75)?, max })
    }

    /// How far the middle half lies from 1, on the wider side: what a ratio of equals does by itself.
    pub fn noise_around_one(&self) -> f64 {
        (self.q3 - 1.0).abs().max((self.q1 - 1.0).abs())
    }
}

/// Between neighbours in proportion, as most programs do it.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (*sorted.get(place.floor() as usize)?, *sorted.get(place.ceil() as usize)?);
    Some(below + (above - below) * place.fract())
}

/// The quotient; `None` where the divisor is 0.
pub fn ratio(value: f64, to: f64) -> Option<f64> {
    (to != 0.0).then_some(value / to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Spread, ratio};

    #[test]
    fn quartiles_lie_between_neighbours() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.q1, spread.median, spread.q3, spread.max), (1.0, 1.75, 2.5, 3.25, 4.0));
        assert_eq!(Spread::of([5.0]).map(|spread| (spread.count, spread.q1, spread.median)), Some((1, 5.0, 5.0)));
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([f64::NAN, 2.0]).map(|spread| spread.median), Some(2.0), "what is no number is left out");
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!((ratio(1.0, 0.0), ratio(1.0, 4.0)), (None, Some(0.25)));
    }

    #[test]
    fn noise_is_the_wider_side() {
        let spread = Spread::of([0.9, 0.96, 1.0, 1.02, 1.1]).unwrap();
        assert!((spread.noise_around_one() - 0.04).abs() < 1e-9);
    }
}
