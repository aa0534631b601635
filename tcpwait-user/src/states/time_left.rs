//! How long TIME_WAITs have to go, from the nominal ends of their timers.

use super::report::{TimeLeft, Within};

/// The bounds that are counted up to, in seconds.
const BOUNDS_S: [u32; 4] = [1, 10, 30, 60];

/// Sums up times in milliseconds, and leaves them in another order.
pub fn summary(left_ms: &mut [u32]) -> TimeLeft {
    let within = BOUNDS_S.map(|bound_s| {
        let count = left_ms.iter().filter(|ms| **ms <= bound_s * 1000).count() as u64;
        Within { bound_ms: bound_s * 1000, count }
    });
    let over = left_ms.iter().filter(|ms| **ms == 0).count() as u64;
    let (least_ms, most_ms) = (left_ms.iter().min().copied(), left_ms.iter().max().copied());
    // Of two in the middle the lower.
    let middle = left_ms.len().saturating_sub(1) / 2;
    let median_ms = (!left_ms.is_empty()).then(|| *left_ms.select_nth_unstable(middle).1);
    TimeLeft { least_ms, median_ms, most_ms, within, over }
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn of_none_nothing_is_known() {
        let left = summary(&mut []);
        assert_eq!((left.least_ms, left.median_ms, left.most_ms, left.over), (None, None, None, 0));
        assert_eq!(left.within.map(|within| within.count), [0; 4]);
    }

    #[test]
    fn bounds_include_what_ends_by_then() {
        let left = summary(&mut [60_000, 0, 1_000, 1_001, 30_000, 0, 70_000]);
        assert_eq!((left.least_ms, left.median_ms, left.most_ms, left.over), (Some(0), Some(1_001), Some(70_000), 2));
        assert_eq!(left.within.map(|within| within.bound_ms), [1_000, 10_000, 30_000, 60_000]);
        assert_eq!(left.within.map(|within| within.count), [3, 4, 5, 6]);
        // Of two in the middle the lower.
        assert_eq!(summary(&mut [9, 5]).median_ms, Some(5));
    }
}
