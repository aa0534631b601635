//! The values of all metrics at one moment, as numbers: what is absent is not in it.

use super::table::Metric;

/// All metrics.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Those that have any series, in the order in which they were added.
    pub families: Vec<MetricFamily>,
}

/// A metric and its series.
#[derive(Clone, Debug)]
pub struct MetricFamily {
    /// The metric.
    pub metric: &'static Metric,
    /// Each combination of labels.
    pub series: Vec<Series>,
}

/// A number and its labels.
#[derive(Clone, Debug)]
pub struct Series {
    /// Names and values; what others chose is in the values as it is.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: MetricValue,
    /// Where one of those counted is named.
    pub exemplar: Option<Exemplar>,
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// How many.
    Count(u64),
    /// How much.
    Number(f64),
    /// Times, in seconds.
    Times {
        /// Their sum.
        sum: f64,
        /// Upper bound and count of each bucket, which is not added to the next; the last bound is infinite.
        buckets: Vec<(f64, u64)>,
        /// Number and count of each exponential bucket that has any ([`SCHEMA`](crate::aggregate::buckets::SCHEMA)).
        exponential: Vec<(i32, u64)>,
        /// How many are 0, which no exponential bucket has.
        zero: u64,
    },
    /// Nothing but the labels.
    Info,
}

/// One of those that a counter has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// What it was.
    pub labels: Vec<(&'static str, String)>,
}

/// What OpenMetrics allows an exemplar's names and values to have together, in characters.
pub const MAX_EXEMPLAR: usize = 128;

impl Snapshot {
    /// Adds a metric with all its series; one without any is absent.
    pub fn add(&mut self, metric: &'static Metric, series: impl IntoIterator<Item = Series>) {
        let series: Vec<Series> = series.into_iter().collect();
        if !series.is_empty() {
            self.families.push(MetricFamily { metric, series });
        }
    }

    /// The one value with these labels.
    pub fn value(&self, metric: &Metric, labels: &[(&str, &str)]) -> Option<&MetricValue> {
        let family = self.families.iter().find(|family| family.metric == metric)?;
        let fits = |series: &&Series| {
            series.labels.len() == labels.len()
                && series.labels.iter().zip(labels).all(|((name, value), wanted)| (*name, value.as_str()) == *wanted)
        };
        family.series.iter().find(fits).map(|series| &series.value)
    }
}

impl Series {
    /// A number with labels.
    pub fn new<const N: usize>(labels: [(&'static str, String); N], value: MetricValue) -> Self {
        Self { labels: labels.into(), value, exemplar: None }
    }

    /// How many, with one label.
    pub fn count(label: &'static str, of: impl Into<String>, count: u64) -> Self {
        Self::new([(label, of.into())], MetricValue::Count(count))
    }
}

impl Exemplar {
    /// As much of it as OpenMetrics allows: a long value is cut, at a character.
    pub fn new(labels: Vec<(&'static str, String)>) -> Self {
        let mut room = MAX_EXEMPLAR.saturating_sub(labels.iter().map(|(name, _)| name.chars().count()).sum());
        let cut = |(name, value): (&'static str, String)| {
            let value: String = value.chars().take(room).collect();
            room -= value.chars().count();
            (name, value)
        };
        Self { labels: labels.into_iter().map(cut).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exemplar, MAX_EXEMPLAR};

    #[test]
    fn an_exemplar_is_never_too_long() {
        let long = Exemplar::new(vec![("comm", "ü".repeat(200)), ("raddr", "::1".to_owned())]);
        let length: usize = long.labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        assert_eq!(length, MAX_EXEMPLAR);
    }
}
