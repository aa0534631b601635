//! A recording in a Prometheus: the numbers are those of `stat` on the same recording.

use std::{collections::HashMap, fs, path::Path};

use serde_json::Value;

use super::server::{Prometheus, configuration, is_installed, promtool};
use crate::{
    of_stat,
    tracer::{SOON, Tracer, command},
};

/// As docs/metrics.md says it: `export --from`, `promtool tsdb create-blocks-from`, and a Prometheus on those blocks.
pub fn a_recording_becomes_graphs() {
    if !is_installed() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["incident", "ends"] {
        let recording = root.join(format!("tests/fixtures/{name}.tcpwait"));
        let recording = recording.to_str().unwrap();
        let exported = Tracer::spawn(command(["export", "--from", recording])).end(SOON);
        assert_eq!((exported.code, exported.stderr.as_str()), (Some(0), ""), "{name}");
        let times = exported.stdout.iter().filter(|line| !line.starts_with('#'));
        let times = times.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        let last_s = times.fold(0.0, f64::max);
        let place = tempfile::tempdir().unwrap();
        let om = place.path().join("incident.om");
        fs::write(&om, exported.stdout.join("\n") + "\n").unwrap();
        let data = place.path().join("data");
        promtool(&["tsdb", "create-blocks-from", "openmetrics", om.to_str().unwrap(), data.to_str().unwrap()], "");
        fs::write(place.path().join("prometheus.yml"), configuration(&[], &[])).unwrap();
        let prometheus = Prometheus::start(place.path());
        // Prometheus keeps milliseconds.
        let samples = prometheus.try_query("{__name__=~\"tcpwait_.+\"}", Some(last_s + 0.001)).unwrap();
        let exposed: HashMap<String, f64> = samples.iter().map(|sample| (sample.series(), sample.value)).collect();
        assert!(exposed.len() > 400, "{name}: {}", exposed.len());
        let stat = Tracer::spawn(command(["stat", "--json", "--from", recording])).end(SOON);
        let stat: Value = serde_json::from_str(stat.stdout.last().unwrap()).unwrap();
        of_stat::is_equal(name, &exposed, &stat);
    }
}
