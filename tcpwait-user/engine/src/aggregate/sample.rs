//! Of how many connections one is told of, as a report has it.

use serde::Serialize;

/// Of how many connections one was told of in the time of a report. What was seen of connections is counted as so many, and is an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// At its end; 1 is all of them.
    pub one_in: u32,
    /// The most in its time: 1 where nothing in the report is an estimate.
    pub most: u32,
}

impl Sample {
    /// Whether there are estimates in the report.
    pub fn is_thinned(self) -> bool {
        self.most > 1
    }
}

/// The same for an interval and for the whole time.
#[derive(Clone, Copy, Debug)]
pub struct SampleSpan {
    one_in: u32,
    interval: u32,
    total: u32,
}

impl Default for SampleSpan {
    fn default() -> Self {
        Self { one_in: 1, interval: 1, total: 1 }
    }
}

impl SampleSpan {
    /// From now on it is one in so many.
    pub fn changes(&mut self, one_in: u32) {
        *self = Self { one_in, interval: self.interval.max(one_in), total: self.total.max(one_in) };
    }

    /// What is to be said of the interval or of the (`whole`) time.
    pub fn report(self, whole: bool) -> Sample {
        Sample { one_in: self.one_in, most: if whole { self.total } else { self.interval } }
    }

    /// The next interval begins.
    pub fn end_interval(&mut self) {
        self.interval = self.one_in;
    }
}

#[cfg(test)]
mod tests {
    use super::{Sample, SampleSpan};

    #[test]
    fn an_interval_that_was_thinned_once_has_estimates() {
        let mut span = SampleSpan::default();
        assert!(!span.report(false).is_thinned());
        [4, 8, 4].into_iter().for_each(|one_in| span.changes(one_in));
        assert_eq!(span.report(false), Sample { one_in: 4, most: 8 });
        span.end_interval();
        assert_eq!(span.report(false), Sample { one_in: 4, most: 4 });
        span.changes(1);
        span.end_interval();
        assert!(!span.report(false).is_thinned());
        assert_eq!(span.report(true), Sample { one_in: 1, most: 8 });
    }
}
