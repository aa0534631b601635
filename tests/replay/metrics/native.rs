//! Protobuf with native histograms: what is counted there is what the text has, between finer bounds.

use tcpwait::{
    aggregate::audit::Audit,
    export::engine::Engine,
    metrics::{
        exposition,
        groups::GroupSlots,
        snapshot::{MetricValue, Snapshot},
        source::Observed,
    },
};

use super::RECORDINGS;
use crate::support::records;

fn snapshot(name: &str) -> Snapshot {
    let (header, records) = records(name);
    let observed = Observed { late_segments: true, accepters: true, syn_recv: true, refused_calls: true };
    let mut engine = Engine::new(&header, observed, Audit::new(None, None), GroupSlots::new(Vec::new(), 0));
    records.iter().for_each(|record| engine.record(record));
    engine.finish();
    engine.snapshot(None)
}

#[test]
fn histograms_are_those_of_the_text() {
    let mut counted = 0;
    for name in RECORDINGS {
        let snapshot = snapshot(name);
        let messages = exposition::messages(snapshot.clone()).unwrap();
        assert_eq!(messages.len(), snapshot.families.len());
        for (family, message) in snapshot.families.iter().zip(&messages) {
            assert_eq!(message.metric.len(), family.series.len(), "{}", message.name);
            for (series, metric) in family.series.iter().zip(&message.metric) {
                let MetricValue::Times { sum, buckets, .. } = &series.value else { continue };
                let told = metric.histogram.as_ref().unwrap();
                let count: u64 = buckets.iter().map(|(_, count)| count).sum();
                assert_eq!((told.sample_count, told.sample_sum), (count, *sum), "{}", message.name);
                let native = native(told.schema, &told.positive_span, &told.positive_delta);
                let all: u64 = native.iter().map(|(_, count)| count).sum();
                assert_eq!(all + told.zero_count, count, "{}", message.name);
                counted += native.len();
                // What is below a bound by both is at least what is in finer buckets that end there, and at most in those that begin below.
                let mut below = 0;
                for (bound, within) in buckets {
                    below += within;
                    let upper = |number: i32| f64::from(number).mul_add(0.125, 0.0).exp2();
                    let sum = |is: &dyn Fn(i32) -> bool| -> u64 {
                        native.iter().filter(|(number, _)| is(*number)).map(|(_, count)| count).sum()
                    };
                    let least = sum(&|number| upper(number) <= *bound) + told.zero_count;
                    let most = sum(&|number| upper(number - 1) < *bound) + told.zero_count;
                    assert!(least <= below && below <= most, "{} le={bound}: {least} {below} {most}", message.name);
                }
            }
        }
    }
    assert!(counted > 50, "{counted} native buckets");
}

/// Numbers and counts of a native histogram's buckets.
fn native(
    schema: i32,
    spans: &[prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::BucketSpan],
    deltas: &[i64],
) -> Vec<(i32, u64)> {
    assert_eq!(schema, 3);
    let (mut buckets, mut number, mut count, mut deltas) = (Vec::new(), 0, 0, deltas.iter());
    for span in spans {
        number += span.offset;
        for _ in 0..span.length {
            count += deltas.next().unwrap();
            buckets.push((number, u64::try_from(count).unwrap()));
            number += 1;
        }
    }
    assert_eq!(deltas.next(), None);
    buckets
}
