//! How many: as seen one by one, or, where records were lost, as the kernel side counted.

use serde::Serialize;

/// A count of what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Whether there may have been more: some were lost, and nobody counted those.
    pub at_least: bool,
    /// Whether it is an estimate: only some connections were told of, and nobody counted all.
    #[serde(skip)]
    pub estimate: bool,
}

impl Amount {
    /// From what was seen; `kernel`: what the kernel side counted, if it can tell; `lost`: whether events were lost meanwhile.
    pub fn of(seen: u64, kernel: Option<u64>, lost: bool) -> Self {
        match (lost, kernel) {
            (false, _) => Self { count: seen, ..Self::default() },
            (true, Some(counted)) => Self { count: seen.max(counted), ..Self::default() },
            (true, None) => Self { count: seen, at_least: true, estimate: false },
        }
    }

    /// The same where only some connections were told of, so that what was seen is an estimate.
    pub fn of_thinned(estimate: u64, kernel: Option<u64>, lost: bool) -> Self {
        let is_counted = kernel.is_some();
        Self { count: kernel.unwrap_or(estimate), at_least: lost && !is_counted, estimate: !is_counted }
    }

    /// The same where the kernel side has counted all but some of them, and these were estimated.
    pub fn mostly_counted(counted: u64, estimate: u64, lost: bool) -> Self {
        let is_estimated = estimate > 0;
        Self { count: counted.saturating_add(estimate), at_least: lost && is_estimated, estimate: is_estimated }
    }

    /// The same, where the kernel side has counted so many of them.
    pub fn and_at_least(self, counted: u64) -> Self {
        if self.at_least { Self { count: self.count.max(counted), ..self } } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn what_the_kernel_side_counted_is_taken_where_something_was_lost() {
        let amount = |count, at_least| Amount { count, at_least, estimate: false };
        assert_eq!(Amount::of(7, Some(9), false), amount(7, false), "read a moment later");
        assert_eq!(Amount::of(7, Some(9), true), amount(9, false));
        assert_eq!(Amount::of(7, None, true), amount(7, true));
        assert_eq!(Amount::of(7, None, true).and_at_least(8), amount(8, true));
        assert_eq!(Amount::of(7, None, false).and_at_least(8), amount(7, false));
    }

    #[test]
    fn what_the_kernel_side_counted_is_no_estimate() {
        let amount = |count, at_least, estimate| Amount { count, at_least, estimate };
        assert_eq!(Amount::of_thinned(16, Some(9), true), amount(9, false, false));
        assert_eq!(Amount::of_thinned(16, None, false), amount(16, false, true));
        assert_eq!(Amount::of_thinned(16, None, true), amount(16, true, true), "and some were lost of those followed");
        assert_eq!(Amount::mostly_counted(16, 0, true), amount(16, false, false));
        assert_eq!(Amount::mostly_counted(16, 4, false), amount(20, false, true));
    }
}
