//! Wall-clock times as text, for views that write many: most lie in the same second as the one before, of which only the
//! nanoseconds change. Knows nothing of what the times are of.

use std::fmt::Write;

use jiff::Timestamp;

use super::ViewContext;

const NS: i64 = 1_000_000_000;

/// Writes times, and remembers the last second's text.
#[derive(Debug, Default)]
pub(super) struct TimeWriter {
    second: Option<i64>,
    text: String,
    /// Where the nanoseconds begin.
    fraction: usize,
}

impl TimeWriter {
    /// UTC with nanoseconds (RFC 3339); `None` outside the years a clock can show.
    pub(super) fn rfc3339(&mut self, context: ViewContext<'_>, time_ns: u64) -> Option<&str> {
        let at_ns = i128::from(time_ns) + context.realtime_offset_ns;
        // From 1677 to 2262; any other year is no clock's that is right.
        let Ok(at_ns) = i64::try_from(at_ns) else {
            self.second = None;
            self.text.clear();
            write!(self.text, "{:.9}", context.wall(time_ns)?).ok()?;
            return Some(&self.text);
        };
        let (second, mut ns) = (at_ns.div_euclid(NS), at_ns.rem_euclid(NS));
        if self.second != Some(second) {
            self.second = None;
            self.text.clear();
            write!(self.text, "{:.9}", Timestamp::from_second(second).ok()?).ok()?;
            self.fraction = self.text.find('.')? + 1;
            self.second = Some(second);
        }
        let mut digits = *b"000000000Z";
        for digit in digits.iter_mut().rev().skip(1) {
            *digit = b'0' + (ns % 10) as u8;
            ns /= 10;
        }
        self.text.truncate(self.fraction);
        self.text.push_str(str::from_utf8(&digits).ok()?);
        Some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::TimeWriter;
    use crate::{names::Names, view::ViewContext};

    proptest! {
        #[test]
        fn it_is_what_the_library_writes(
            offset_ns in prop_oneof![Just(1_700_000_000_123_456_789i128), -(1i128 << 64)..1 << 64, -(1i128 << 68)..1 << 68],
            times in prop::collection::vec(prop_oneof![0..3_000_000_000u64, any::<u64>()], 1..20),
        ) {
            let names = Names::default();
            let context = ViewContext { names: &names, realtime_offset_ns: offset_ns, started_ns: 0 };
            let mut clock = TimeWriter::default();
            for time_ns in times {
                let expected = context.wall(time_ns).map(|time| format!("{time:.9}"));
                prop_assert_eq!(clock.rfc3339(context, time_ns), expected.as_deref());
            }
        }
    }
}
