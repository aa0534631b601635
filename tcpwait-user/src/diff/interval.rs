//! Whether two means differ by more than each of them varies by itself, from what was counted in blocks of time.
//!
//! The error of a mean is that of its blocks (of a ratio: of their residuals), widened where each block is like the one before it, and never below that of
//! as many independent events. Two means are compared by the logarithm of their ratio, so that the comparison of B with A mirrors that of A with B.

/// Two-sided quantiles of Student's t for [`CONFIDENCE`], by degrees of freedom.
const T: [(f64, f64); 16] = [
    (1.0, 63.657),
    (2.0, 9.925),
    (3.0, 5.841),
    (4.0, 4.604),
    (5.0, 4.032),
    (6.0, 3.707),
    (7.0, 3.499),
    (8.0, 3.355),
    (9.0, 3.250),
    (10.0, 3.169),
    (12.0, 3.055),
    (15.0, 2.947),
    (20.0, 2.845),
    (30.0, 2.750),
    (60.0, 2.660),
    (120.0, 2.617),
];

/// So sure an interval is, in percent. With 95, one row in twenty would differ by chance alone.
pub const CONFIDENCE: u32 = 99;

/// A mean, and how far it is to be believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanOfBlocks {
    /// The mean itself.
    pub mean: f64,
    /// Its variance as a part of its square.
    relative_variance: f64,
    /// So many blocks would say as much if none had to do with another.
    independent: f64,
}

/// A ratio of two means, and the interval in which it lies with [`CONFIDENCE`] percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// After through before.
    pub ratio: f64,
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

impl MeanOfBlocks {
    /// Of `numbers`, a block each, to what `of` has in the same block; `floor`: the relative variance that it has at least. `None` for fewer than two blocks,
    /// and where nothing was counted.
    pub fn new(numbers: &[f64], of: &[f64], floor: f64) -> Option<Self> {
        let (sum, base) = (numbers.iter().sum::<f64>(), of.iter().sum::<f64>());
        let blocks = numbers.len().min(of.len()) as f64;
        if blocks < 2.0 || sum <= 0.0 || base <= 0.0 {
            return None;
        }
        let mean = sum / base;
        let residuals: Vec<f64> = numbers.iter().zip(of).map(|(number, of)| number - mean * of).collect();
        let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
        let alike = likeness(&residuals, squares);
        let widened = (1.0 + alike) / (1.0 - alike);
        let relative_variance = (squares / (blocks - 1.0) * blocks * widened / (sum * sum)).max(floor);
        Some(Self { mean, relative_variance, independent: blocks / widened })
    }

    /// The same if all of its numbers were so many times as large.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { mean: self.mean * factor, ..self }
    }

    /// As sure as this one, of another mean.
    #[must_use]
    pub fn at(self, mean: f64) -> Self {
        Self { mean, ..self }
    }

    /// This one through another.
    pub fn through(self, before: Self) -> Option<Ratio> {
        let ratio = self.mean / before.mean;
        let (mine, other) = (self.relative_variance, before.relative_variance);
        // After Welch and Satterthwaite. Fewer than two independent blocks say nothing.
        let freedom = |mean: Self| mean.independent - 1.0;
        if !ratio.is_finite() || ratio <= 0.0 || freedom(self) < 1.0 || freedom(before) < 1.0 {
            return None;
        }
        let both = mine + other;
        let degrees = match mine * mine / freedom(self) + other * other / freedom(before) {
            0.0 => f64::INFINITY,
            divisor => both * both / divisor,
        };
        let width = (student(degrees) * both.sqrt()).exp();
        Some(Ratio { ratio, low: ratio / width, high: ratio * width })
    }

    /// How far the mean may be off, as a part of it, with [`CONFIDENCE`] percent.
    pub fn margin(self) -> f64 {
        student(self.independent - 1.0) * self.relative_variance.sqrt()
    }
}

/// How much each is like the one before it: the autocorrelation at a lag of one, 0 to 0.9. That of short rows is estimated too low, by one part in their
/// length for such as have nothing to do with each other.
fn likeness(residuals: &[f64], squares: f64) -> f64 {
    if squares <= 0.0 {
        return 0.0;
    }
    let next: f64 = residuals.iter().zip(residuals.iter().skip(1)).map(|(one, next)| one * next).sum();
    (next / squares + 1.0 / residuals.len() as f64).clamp(0.0, 0.9)
}

fn student(degrees: f64) -> f64 {
    let at_most = T.into_iter().rev().find(|(least, _)| *least <= degrees);
    at_most.map_or(T[0].1, |(_, t)| t)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mean(numbers: &[f64]) -> MeanOfBlocks {
        let sum: f64 = numbers.iter().sum();
        MeanOfBlocks::new(numbers, &vec![1.0; numbers.len()], 1.0 / sum).unwrap()
    }

    #[test]
    fn what_varies_by_itself_is_no_difference() {
        let steady = mean(&[100.0, 104.0, 97.0, 99.0, 102.0, 98.0, 101.0, 100.0]);
        let higher = steady.times(1.3);
        let ratio = higher.through(steady).unwrap();
        assert!((ratio.ratio - 1.3).abs() < 1e-9 && ratio.low > 1.05, "{ratio:?}");
        let wild = mean(&[10.0, 300.0, 20.0, 150.0, 5.0, 90.0, 220.0, 5.0]);
        let ratio = wild.times(1.3).through(wild).unwrap();
        assert!(ratio.low < 1.0 && ratio.high > 1.0, "{ratio:?}");
    }

    #[test]
    fn blocks_that_are_like_each_other_say_less() {
        let up: Vec<f64> = (1..=12).map(|n| f64::from(n) * 20.0).collect();
        let mut mixed = up.clone();
        mixed.sort_by_key(|n| (*n as u64 * 7) % 11);
        assert!(mean(&up).margin() > mean(&mixed).margin() * 1.5, "{} {}", mean(&up).margin(), mean(&mixed).margin());
    }

    #[test]
    fn few_events_say_little_however_even_they_come() {
        let few = mean(&[1.0; 10]);
        assert!(few.margin() > 0.8, "{}", few.margin());
        assert!(mean(&[1000.0; 10]).margin() < 0.04);
    }

    #[test]
    fn a_comparison_mirrors() {
        let (one, other) = (mean(&[10.0, 12.0, 9.0, 30.0]), mean(&[40.0, 41.0, 33.0]));
        let (there, back) = (one.through(other).unwrap(), other.through(one).unwrap());
        assert!((there.low * back.high - 1.0).abs() < 1e-9 && (there.ratio * back.ratio - 1.0).abs() < 1e-9);
    }

    #[test]
    fn too_few_blocks_have_no_interval() {
        assert_eq!(MeanOfBlocks::new(&[5.0], &[1.0], 0.2), None);
        assert_eq!(MeanOfBlocks::new(&[0.0; 5], &[1.0; 5], 0.2), None);
    }
}
