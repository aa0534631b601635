//! A snapshot as Prometheus reads it, by `prometheus-client`: OpenMetrics 1.0; the older text format for what does not ask for that; and protobuf with
//! native histograms for who prefers it.

mod accept;
mod spans;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NativeHistogram,
        NativeHistogramBuckets, NoLabelSet, prometheus_protobuf, prometheus_text, text,
    },
    metrics::{MetricType, exemplar::CounterWithExemplar},
    registry::{Registry, Unit},
};

use super::{
    snapshot::{MetricValue, Series, Snapshot},
    table::MetricKind,
};
use crate::{aggregate::buckets::SCHEMA, plain};

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Text,
    /// Prometheus' protobuf, each metric with its length before it.
    Protobuf,
}

impl Format {
    /// As it is named in HTTP.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The one to answer with, by the request's Accept: what it likes best of these; the older text for whoever names none.
    pub fn accepted(accept: Option<&str>) -> Self {
        accept.and_then(accept::preferred).unwrap_or(Format::Text)
    }
}

/// A snapshot as bytes.
///
/// # Errors
/// The library does not write it, which no snapshot is known to bring about.
pub fn bytes(snapshot: Snapshot, format: Format) -> Result<Vec<u8>, fmt::Error> {
    let registry = registry(snapshot);
    let mut out = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
        Format::Text => prometheus_text::encode(&mut out, &registry)?,
        Format::Protobuf => return prometheus_protobuf::encode_to_vec(&registry).map_err(|_| fmt::Error),
    }
    Ok(out.into_bytes())
}

/// A snapshot as OpenMetrics.
///
/// # Errors
/// The library does not write it, which no snapshot is known to bring about.
pub fn open_metrics(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut out = String::new();
    text::encode(&mut out, &registry(snapshot))?;
    Ok(out)
}

/// A snapshot as the library's messages of Prometheus' protobuf.
///
/// # Errors
/// The library does not write it, which no snapshot is known to bring about.
pub fn messages(
    snapshot: Snapshot,
) -> Result<Vec<prometheus_protobuf::prometheus_data_model::MetricFamily>, fmt::Error> {
    prometheus_protobuf::encode(&registry(snapshot))
}

fn registry(snapshot: Snapshot) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(snapshot)));
    registry
}

/// A snapshot as the library asks for it.
#[derive(Debug)]
struct Collected(Snapshot);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.0.families {
            let metric = family.metric;
            let unit = (!metric.unit.is_empty()).then(|| Unit::Other(metric.unit.to_owned()));
            let kind = match metric.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
                MetricKind::Info => MetricType::Info,
            };
            let help = format!("{}.", metric.help);
            let mut encoder = encoder.encode_descriptor(metric.name, &help, unit.as_ref(), kind)?;
            for series in &family.series {
                let labels = Labels(&series.labels);
                match &series.value {
                    MetricValue::Info => encoder.encode_info(&labels)?,
                    _ if series.labels.is_empty() => number(&mut encoder, metric.kind, series)?,
                    _ => number(&mut encoder.encode_family(&labels)?, metric.kind, series)?,
                }
            }
        }
        Ok(())
    }
}

fn number(encoder: &mut MetricEncoder<'_>, metric: MetricKind, series: &Series) -> Result<(), fmt::Error> {
    match (&series.value, &series.exemplar) {
        (MetricValue::Count(count), Some(exemplar)) => {
            // The library makes an exemplar of what a counter is added, and no other way.
            let counter: CounterWithExemplar<_> = CounterWithExemplar::default();
            counter.inc_by(count.saturating_sub(1), None, None);
            counter.inc_by((*count).min(1), Some(Labels(&exemplar.labels).owned()), None);
            let (_, exemplar) = counter.get();
            encoder.encode_counter(count, exemplar.as_ref())
        }
        (MetricValue::Count(count), None) if metric == MetricKind::Counter => {
            encoder.encode_counter::<NoLabelSet, _, u64>(count, None)
        }
        (MetricValue::Count(count), None) => encoder.encode_gauge(&(*count as f64)),
        (MetricValue::Number(number), _) if metric == MetricKind::Counter => {
            encoder.encode_counter::<NoLabelSet, _, u64>(number, None)
        }
        (MetricValue::Number(number), _) => encoder.encode_gauge(number),
        (MetricValue::Times { sum, buckets, exponential, zero }, _) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            let (spans, deltas) = spans::of(exponential);
            let native = NativeHistogram {
                schema: SCHEMA,
                // Nothing is between 0 and a nanosecond.
                zero_threshold: 1e-10,
                zero_count: *zero,
                negative: NativeHistogramBuckets { spans: &[], deltas: &[] },
                positive: NativeHistogramBuckets { spans: &spans, deltas: &deltas },
                created: None,
            };
            encoder.encode_histogram_with_native::<NoLabelSet>(*sum, count, buckets, None, native)
        }
        (MetricValue::Info, _) => Ok(()),
    }
}

/// Labels whose values others may have chosen. The library escapes what the formats must not have (`\`, `"`, line ends); what a terminal or a page must
/// not have is escaped here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Labels<'a>(&'a [(&'static str, String)]);

impl Labels<'_> {
    fn owned(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), plain::escaped(value))).collect()
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, value) in self.0 {
            (*name, plain::escaped(value).as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}
