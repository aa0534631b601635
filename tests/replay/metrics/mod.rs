//! `tcpwait export`: the metrics of a recording are `stat`'s numbers, the documents and what is in contrib/ name no metric that does not exist.

mod dashboard;
mod native;
mod of_stat;

use std::{collections::BTreeSet, env, fs};

use serde_json::Value as Json;
use tcpwait::metrics::{
    snapshot::{MetricValue, Snapshot},
    table::{self, Metric, MetricKind},
};

use crate::support::{fixture, run, tests};

const RECORDINGS: [&str; 6] = ["reasons", "incident", "handshakes", "ends", "7.3-ends", "predates"];

fn path(name: &str) -> String {
    fixture(name).to_str().unwrap().to_owned()
}

/// What is exposed at the end of a recording: the last value of each series, by its name with labels.
fn exposed(name: &str) -> std::collections::HashMap<String, f64> {
    let ran = run(["export", "--from", &path(name)]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{name}");
    assert!(ran.stdout.ends_with("# EOF\n"));
    let samples = ran.stdout.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let mut words = line.rsplitn(3, ' ');
            let (_time, value, series) = (words.next(), words.next().unwrap(), words.next().unwrap());
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn they_are_the_numbers_of_stat() {
    for name in RECORDINGS {
        let ran = run(["stat", "--json", "--from", &path(name)]);
        let stat: Json = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        let exposed = exposed(name);
        of_stat::is_equal(name, &exposed, &stat);
    }
}

#[test]
fn histograms_add_up_to_what_left() {
    for name in RECORDINGS {
        let exposed = exposed(name);
        for (series, count) in exposed.iter().filter(|(series, _)| series.contains("_bucket{le=\"+Inf\"")) {
            let counted = series.replace("_bucket{le=\"+Inf\",", "_count{");
            assert_eq!(Some(count), exposed.get(&counted), "{name}: {series}");
        }
    }
}

#[test]
fn every_series_is_there_from_the_first_moment_on() {
    let ran = run(["export", "--from", &path("incident")]);
    let mut first: BTreeSet<&str> = BTreeSet::new();
    let mut last: BTreeSet<&str> = BTreeSet::new();
    let times: BTreeSet<&str> =
        ran.stdout.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit(' ').next()).collect();
    let (begin, end) = (*times.first().unwrap(), *times.last().unwrap());
    for line in ran.stdout.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.rsplitn(3, ' ');
        let (time, series) = (words.next().unwrap(), words.nth(1).unwrap());
        first.extend((time == begin).then_some(series));
        last.extend((time == end).then_some(series));
    }
    let new: Vec<_> = last
        .difference(&first)
        .filter(|series| !series.starts_with("tcpwait_time_wait_normal") && !series.contains("cause=\"withheld\""))
        .collect();
    assert!(new.is_empty(), "{new:?}");
}

/// docs/metrics.md has the table; `UPDATE_GOLDEN=1` writes it anew, between the marks.
#[test]
fn the_document_is_made_from_the_table() {
    let path = tests().join("../docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- metrics: made from tcpwait-user/src/metrics/table.rs -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let mut made = "| metric | kind | labels | meaning | absent |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for metric in table::ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let absent = if metric.absent.is_empty() { "never" } else { metric.absent };
        let kind = metric.kind.name();
        made += &format!("| `{}` | {kind} | {} | {} | {absent} |\n", metric.exposed(), labels.join(" "), metric.help);
    }
    let mark = "<!-- metrics: made from tcpwait-user/src/metrics/table.rs -->\n";
    let made = format!("{before}{mark}{made}<!-- end -->{after}");
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        return fs::write(&path, made).unwrap();
    }
    assert_eq!(text, made, "docs/metrics.md (UPDATE_GOLDEN=1 writes its table anew)");
}

fn is_exposed(name: &str) -> bool {
    table::ALL.iter().any(|metric| {
        let exposed = metric.exposed();
        let parts: &[&str] =
            if metric.kind == MetricKind::Histogram { &["", "_bucket", "_sum", "_count"] } else { &[""] };
        parts.iter().any(|part| name == format!("{exposed}{part}"))
    })
}

#[test]
fn nothing_names_a_metric_that_does_not_exist() {
    let root = tests().join("..");
    let files = [
        "contrib/prometheus/alerts.yml",
        "contrib/prometheus/rules.yml",
        "contrib/grafana/dashboard.json",
        "docs/metrics.md",
    ];
    let mut named = 0;
    for file in files {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
        for word in words.filter(|word| word.starts_with("tcpwait_") && !word.contains(':')) {
            assert!(is_exposed(word), "{file} names {word}");
            named += 1;
        }
    }
    assert!(named > 50);
}

#[test]
fn what_others_chose_is_escaped_and_bounded() {
    use tcpwait::metrics::{
        exposition::{self, Format},
        snapshot::{Exemplar, Series},
    };
    static NAMED: Metric = table::GROUP_ENTRIES;
    let nasty = "a\"b\\c\nd\u{1b}[31m\u{202e}}\u{9b} # {x=\"y\"} 1";
    for format in [Format::OpenMetrics, Format::Text] {
        let mut snapshot = Snapshot::default();
        let labels = [("process", nasty.to_owned()), ("other", "false".to_owned())];
        let exemplar = Exemplar::new(vec![("comm", nasty.repeat(20))]);
        snapshot.add(&NAMED, [Series { exemplar: Some(exemplar), ..Series::new(labels, MetricValue::Count(3)) }]);
        let text = String::from_utf8(exposition::bytes(snapshot, format).unwrap()).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples.len(), 1, "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{text:?}");
    }
}
