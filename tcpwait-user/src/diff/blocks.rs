//! CountsOverTime in equal parts of the time that is compared, and the blocks that they are judged by.

use crate::report::equal_parts::{EqualParts, Stretch};

/// So many parts at most.
pub(super) const MOST: usize = 240;

/// How long a part is at first.
pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// About so many blocks are made of the parts: enough to see how much they vary, and each long enough to know little of the one before.
const BLOCKS: usize = 24;

/// From when to when something is compared, in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// From then on.
    pub begin_ns: u64,
    /// Until before then.
    pub end_ns: u64,
}

impl Window {
    /// Whether a time lies in it.
    pub fn has(self, time_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&time_ns)
    }

    /// How long it is.
    pub fn length_ns(self) -> u64 {
        self.end_ns.saturating_sub(self.begin_ns)
    }

    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.length_ns() as f64 / 1e9
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Count(u64);

impl Stretch for Count {
    fn append(&mut self, later: Self) {
        self.0 += later.0;
    }
}

/// What was counted, part by part.
#[derive(Debug)]
pub struct CountsOverTime {
    window: Window,
    parts: EqualParts<Count>,
    total: u64,
}

impl CountsOverTime {
    /// Nothing yet, in this time.
    pub fn new(window: Window) -> Self {
        Self { window, parts: EqualParts::new(window.begin_ns, SECOND_NS, MOST), total: 0 }
    }

    /// So many more; those outside of the time are left out.
    pub fn add(&mut self, time_ns: u64, n: u64) {
        if self.window.has(time_ns) {
            self.parts.at(time_ns, |part| part.0 += n);
            self.total += n;
        }
    }

    /// How many they are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// No more come: brought to the end of the time, which `end_ns` says where the time had none.
    pub fn finish(&mut self, end_ns: u64) {
        self.window.end_ns = self.window.end_ns.min(end_ns).max(self.window.begin_ns);
        self.parts.at(self.window.end_ns.saturating_sub(1), |_| ());
    }

    /// Adds others of the same time.
    pub fn append(&mut self, other: &Self) {
        for (index, part) in other.parts.parts().iter().enumerate() {
            self.parts.at(other.parts.begin_ns() + index as u64 * other.parts.width_ns(), |mine| mine.0 += part.0);
        }
        self.total += other.total;
    }

    /// The blocks, each of the same length; what is left at the end for no whole one is left out.
    pub fn blocks(&self) -> Vec<f64> {
        let numbers: Vec<f64> = self.parts.parts().iter().map(|part| part.0 as f64).collect();
        blocks(&numbers, self.parts.width_ns(), self.window).iter().map(|block| block.iter().sum()).collect()
    }

    /// How many came in each part, a second, and how long a part is in nanoseconds.
    pub fn rates(&self) -> (Vec<f64>, u64) {
        let width_ns = self.parts.width_ns();
        (self.parts.parts().iter().map(|part| part.0 as f64 * 1e9 / width_ns as f64).collect(), width_ns)
    }
}

/// Whole parts of a time put together to blocks of equal length.
pub(super) fn blocks<T>(parts: &[T], width_ns: u64, window: Window) -> Vec<&[T]> {
    let whole = usize::try_from(window.length_ns() / width_ns.max(1)).unwrap_or(usize::MAX).min(parts.len());
    let of_each = (whole / BLOCKS).max(1);
    parts.get(..whole).unwrap_or_default().chunks_exact(of_each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_and_of_the_time_alone() {
        let window = Window { begin_ns: 5 * SECOND_NS, end_ns: 65 * SECOND_NS + 1 };
        let mut counts = CountsOverTime::new(window);
        for ms in 0..100_000u64 {
            counts.add(ms * 1_000_000, 1);
        }
        counts.finish(u64::MAX);
        assert_eq!(counts.total(), 60_001);
        assert_eq!(counts.blocks(), vec![2000.0; 30]);
        let mut twice = CountsOverTime::new(window);
        twice.append(&counts);
        twice.append(&counts);
        twice.finish(u64::MAX);
        assert_eq!(twice.blocks(), vec![4000.0; 30]);
    }

    #[test]
    fn nothing_in_a_long_time_is_blocks_of_nothing() {
        let mut counts = CountsOverTime::new(Window { begin_ns: 0, end_ns: u64::MAX });
        counts.finish(1000 * SECOND_NS);
        assert!(counts.blocks().len() >= BLOCKS && counts.blocks().iter().all(|count| *count == 0.0));
    }
}
