//! How many: as seen one by one, or, where records were lost, as the kernel side counted.

use serde::Serialize;

/// A count of what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Whether there may have been more: some were lost, and nobody counted those.
    pub at_least: bool,
}

impl Amount {
    /// From what was seen; `kernel`: what the kernel side counted, if it can tell; `lost`: whether events were lost meanwhile.
    pub fn of(seen: u64, kernel: Option<u64>, lost: bool) -> Self {
        match (lost, kernel) {
            (false, _) => Self { count: seen, at_least: false },
            (true, Some(counted)) => Self { count: seen.max(counted), at_least: false },
            (true, None) => Self { count: seen, at_least: true },
        }
    }

    /// The same, where the kernel side has counted so many of them.
    pub fn and_at_least(self, counted: u64) -> Self {
        if self.at_least { Self { count: self.count.max(counted), at_least: true } } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn what_the_kernel_side_counted_is_taken_where_something_was_lost() {
        let amount = |count, at_least| Amount { count, at_least };
        assert_eq!(Amount::of(7, Some(9), false), amount(7, false), "read a moment later");
        assert_eq!(Amount::of(7, Some(9), true), amount(9, false));
        assert_eq!(Amount::of(7, None, true), amount(7, true));
        assert_eq!(Amount::of(7, None, true).and_at_least(8), amount(8, true));
        assert_eq!(Amount::of(7, None, false).and_at_least(8), amount(7, false));
    }
}
