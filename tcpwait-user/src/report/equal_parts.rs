//! Time in equal parts, never more than so many: where one more would be too many, each two become one. So a picture of any time has as many points, and
//! nobody has to know beforehand how long it will be.

/// What is kept of a part of time.
pub trait Stretch: Default {
    /// What came in the part after this one.
    fn append(&mut self, later: Self);
}

/// Parts of time from a beginning on.
#[derive(Debug)]
pub struct EqualParts<T> {
    begin_ns: u64,
    width_ns: u64,
    most: usize,
    parts: Vec<T>,
}

impl<T: Stretch> EqualParts<T> {
    /// From this time on, in nanoseconds of `CLOCK_MONOTONIC`, in parts of `width_ns` at first and at most `most` of them.
    pub fn new(begin_ns: u64, width_ns: u64, most: usize) -> Self {
        Self { begin_ns, width_ns: width_ns.max(1), most: most.max(2), parts: Vec::new() }
    }

    /// Has something done with the part that this time lies in: the first for a time before the beginning.
    pub fn at(&mut self, time_ns: u64, change: impl FnOnce(&mut T)) {
        let since_ns = time_ns.saturating_sub(self.begin_ns);
        while since_ns / self.width_ns >= self.most as u64 {
            self.halve();
        }
        let index = usize::try_from(since_ns / self.width_ns).unwrap_or(usize::MAX);
        if self.parts.len() <= index {
            self.parts.resize_with(index + 1, T::default);
        }
        if let Some(part) = self.parts.get_mut(index) {
            change(part);
        }
    }

    /// When the first begins.
    pub fn begin_ns(&self) -> u64 {
        self.begin_ns
    }

    /// How long a part is, in nanoseconds.
    pub fn width_ns(&self) -> u64 {
        self.width_ns
    }

    /// Each part, from the first on.
    pub fn parts(&self) -> &[T] {
        &self.parts
    }

    /// The same, to be changed.
    pub fn parts_mut(&mut self) -> &mut [T] {
        &mut self.parts
    }

    fn halve(&mut self) {
        self.width_ns = self.width_ns.saturating_mul(2);
        let mut parts = std::mem::take(&mut self.parts).into_iter();
        while let Some(mut part) = parts.next() {
            if let Some(later) = parts.next() {
                part.append(later);
            }
            self.parts.push(part);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Times(Vec<u64>);

    impl Stretch for Times {
        fn append(&mut self, later: Self) {
            self.0.extend(later.0);
        }
    }

    proptest! {
        #[test]
        fn every_time_is_in_its_part(mut times in prop::collection::vec(0..100_000u64, 1..200)) {
            let mut buckets = EqualParts::<Times>::new(1000, 7, 10);
            for time in &times {
                buckets.at(*time, |part| part.0.push(*time));
            }
            prop_assert!(buckets.parts().len() <= 10);
            let mut found: Vec<u64> = Vec::new();
            for (index, part) in buckets.parts().iter().enumerate() {
                let begin = 1000 + index as u64 * buckets.width_ns();
                for time in &part.0 {
                    let time = (*time).max(1000);
                    prop_assert!((begin..begin + buckets.width_ns()).contains(&time));
                }
                found.extend(&part.0);
            }
            found.sort_unstable();
            times.sort_unstable();
            prop_assert_eq!(found, times);
        }
    }
}
