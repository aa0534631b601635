//! `--csv` says what `--json` says: each row is an object, each column a key of it, and a key without a column is known to have none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use ::csv::{Reader, StringRecord};
use serde_json::{Value, json};

use tcpwait::view::{
    View,
    csv::TraceCsv,
    json::TraceJson,
    stat::{csv::StatCsv, json::StatJson},
};

use crate::{
    pods,
    schema::made,
    support::{FIXTURES, Ran, fixture, run, tests},
};

/// Keys of lines of `trace` that no column is for: who holds a port is in `words`.
const NOT_IN_TRACE: [&str; 2] = ["schema", "holders"];

/// Keys of the objects of `stat` that no column is for: objects by names that are not known beforehand, and arrays.
const NOT_IN_STAT: [&str; 4] = ["from.", "details.", "shared", "ends."];

/// A row: its cells by column, without those that are empty.
type Cells = BTreeMap<String, String>;

fn from(verb: &str, name: &str, more: &[&str]) -> Ran {
    let path = fixture(name);
    let ran = run([verb, "--from", path.to_str().unwrap()].iter().chain(more));
    assert_eq!(ran.code, Some(0), "{verb} {name} {more:?}: {}", ran.stderr);
    ran
}

fn columns(text: &str) -> Vec<String> {
    assert!(text.lines().all(|line| text.contains(&format!("{line}\r\n"))), "RFC 4180 ends lines with CRLF");
    Reader::from_reader(text.as_bytes()).headers().unwrap().iter().map(str::to_owned).collect()
}

fn rows(text: &str) -> Vec<Cells> {
    let mut reader = Reader::from_reader(text.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let cells = |row: StringRecord| -> Cells {
        let cells = columns.iter().zip(&row).filter(|(_, cell)| !cell.is_empty());
        cells.map(|(column, cell)| (column.to_owned(), cell.to_owned())).collect()
    };
    reader.records().map(|row| cells(row.unwrap())).collect()
}

fn documents(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a row of an object has: nested keys with a dot between, and nothing for null and arrays.
fn flat(object: &Value) -> Cells {
    fn walk(path: &str, value: &Value, cells: &mut Cells) {
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, value, cells);
            }),
            Value::Null | Value::Array(_) => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => drop(cells.insert(path.to_owned(), text.clone())),
            other => drop(cells.insert(path.to_owned(), other.to_string())),
        }
    }
    let mut cells = Cells::new();
    walk("", object, &mut cells);
    cells
}

#[test]
fn each_line_of_trace_is_a_row() {
    let mut seen = BTreeSet::new();
    let made = |view: &mut dyn View| {
        let mut text = Vec::new();
        made::write_lines(view, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let made = ("made", made(&mut TraceJson::default()), made(&mut TraceCsv::default()));
    let recorded = FIXTURES.into_iter().map(|name| {
        let (json, csv) = (from("trace", name, &["--json"]), from("trace", name, &["--csv"]));
        assert_eq!(json.stderr, csv.stderr, "{name}: what was lost is said alike");
        (name, json.stdout, csv.stdout)
    });
    let pods = ("pods", pods::named(&["trace", "--json"]), pods::named(&["trace", "--csv"]));
    for (name, json, csv) in recorded.chain([made, pods]) {
        let wanted = documents(&json).into_iter().map(|mut line| {
            NOT_IN_TRACE.iter().for_each(|key| drop(line.as_object_mut().unwrap().remove(*key)));
            line.as_object_mut().unwrap().entry("event").or_insert(json!("transition"));
            flat(&line)
        });
        let rows = rows(&csv);
        for (row, wanted) in rows.iter().zip(wanted.clone()) {
            assert_eq!(*row, wanted, "{name}");
            seen.extend(row.keys().cloned());
        }
        assert_eq!(rows.len(), wanted.count(), "{name}");
    }
    let all: BTreeSet<String> =
        columns(&from("trace", "natural", &["--csv", "--netns", "1"]).stdout).into_iter().collect();
    // No recording here has these causes.
    let never: Vec<&String> = all.difference(&seen).collect();
    assert_eq!(never, ["restart_causes.old-data", "restart_causes.paws"]);
}

#[test]
fn no_row_is_a_header_all_the_same() {
    let ran = from("trace", "natural", &["--csv", "--netns", "1"]);
    assert_eq!((ran.stdout.lines().count(), rows(&ran.stdout).len()), (1, 0));
    assert!(ran.stdout.starts_with("event,time,id,netns,"), "{}", ran.stdout);
}

#[test]
fn a_damaged_recording_ends_with_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    let whole = fs::read(fixture("natural")).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let cut = (whole.len() / 2).to_string();
    let ran = run(["trace", "--csv", "--from", path.to_str().unwrap()]);
    let rows_of_trace = rows(&ran.stdout);
    let last = rows_of_trace.last().unwrap();
    assert_eq!((last["event"].as_str(), last["lossy"].as_str()), ("recording-damaged", "true"));
    assert_eq!((&last["cut.at_byte"], last["cut.why"].as_str()), (&cut, "ends-early"));
    assert!(ran.stderr.contains("cut short"), "{}", ran.stderr);
    let ran = run(["stat", "--csv", "--from", path.to_str().unwrap()]);
    let report = rows(&ran.stdout).into_iter().find(|row| row["row"] == "report").unwrap();
    assert_eq!((report["ledger.lossy"].as_str(), &report["ledger.cut.at_byte"]), ("true", &cut));
}

#[test]
fn each_object_of_a_report_is_a_row() {
    let arguments = ["20", "--by", "service,process,uid", "--top", "1"];
    let mut seen = BTreeSet::new();
    for name in FIXTURES {
        let json = from("stat", name, &[&["--json"], &arguments[..]].concat());
        let csv = from("stat", name, &[&["--csv"], &arguments[..]].concat());
        reports_are_alike(name, &json.stdout, &csv.stdout, &mut seen);
    }
    let by_pod = |format| pods::named(&["stat", format, "20", "--by", "pod", "--top", "1"]);
    reports_are_alike("pods", &by_pod("--json"), &by_pod("--csv"), &mut seen);
    let csv = made::altered(StatCsv::default());
    reports_are_alike("made", &made::altered(StatJson), &csv, &mut seen);
    let all: BTreeSet<String> = columns(&csv).into_iter().collect();
    let never: Vec<&String> = all.difference(&seen).collect();
    // No recording here has the first; the last two are those of one that is cut, above.
    assert_eq!(never, ["exits.unknown", "ledger.cut.at_byte", "ledger.cut.why"]);
}

#[test]
fn each_loss_is_a_row() {
    let rows = rows(&made::altered(StatCsv::default()));
    let losses =
        rows.iter().filter(|row| row["row"] == "loss").map(|row| (row["cause"].as_str(), row["count"].as_str()));
    let losses: BTreeSet<_> = losses.collect();
    let wanted = [("ring_buffer.states", "3"), ("ring_buffer.segments", "2"), ("undecodable", "1")];
    assert!(wanted.iter().all(|loss| losses.contains(loss)), "{losses:?}");
    assert!(rows.iter().filter(|row| row["row"] == "report").all(|row| row["ledger.lossy"] == "true"));
}

/// Rows and documents of the same reports.
fn reports_are_alike(of: &str, json: &str, csv: &str, seen: &mut BTreeSet<String>) {
    let columns: BTreeSet<String> = columns(csv).into_iter().collect();
    let mut wanted = Vec::new();
    for document in documents(json) {
        let mut add = |kind: &str, name: Option<(&str, &str)>, object: &Value| {
            let mut row = flat(object);
            row.retain(|column, _| {
                let without = NOT_IN_STAT.iter().any(|begin| column.starts_with(begin)) && !columns.contains(column);
                assert!(columns.contains(column) || without, "no column {column}");
                !without
            });
            row.extend(name.map(|(column, name)| (column.to_owned(), name.to_owned())));
            row.insert("row".to_owned(), kind.to_owned());
            for key in ["time", "begin", "interval_ns", "final"] {
                row.extend(flat(&json!({ key: document[key] })));
            }
            wanted.push(row);
        };
        for (kind, place) in [
            ("finding", "/findings"),
            ("waiting", "/waiting"),
            ("group", "/groups"),
            ("transition", "/transitions"),
            ("failure", "/failures/rows"),
        ] {
            for object in document.pointer(place).unwrap().as_array().unwrap() {
                add(if object["key"].is_null() && kind == "group" { "others" } else { kind }, None, object);
            }
        }
        for (kind, place, column) in [
            ("state", "/states", "state"),
            ("exit", "/exits", "reason"),
            ("syn_recv", "/syn_recv/outcomes", "reason"),
            ("end", "/ends", "reason"),
        ] {
            for (name, object) in document.pointer(place).unwrap().as_object().unwrap() {
                add(kind, Some((column, name)), object);
            }
        }
    }
    let found = rows(csv);
    seen.extend(found.iter().flat_map(|row| row.keys().cloned()));
    let (own, found): (Vec<Cells>, Vec<Cells>) =
        found.into_iter().partition(|row| ["report", "loss"].contains(&row["row"].as_str()));
    let same = |rows: &[Cells]| -> BTreeSet<String> { rows.iter().map(comparable).collect() };
    assert_eq!(same(&found), same(&wanted), "{of}");
    assert_eq!(found.len(), wanted.len(), "{of}");
    for (document, row) in documents(json).iter().zip(own.iter().filter(|row| row["row"] == "report")) {
        let whole = flat(document);
        for (column, cell) in row.iter().filter(|(column, _)| *column != "row") {
            assert_eq!(number(&whole[column]), number(cell), "{of}: {column}");
        }
        assert!(row.len() > 20, "{row:?}");
    }
}

/// JSON that is read again may have another last digit.
fn number(cell: &str) -> String {
    match cell.parse::<f64>() {
        Ok(number) if cell.contains('.') => format!("{number:.9e}"),
        _ => cell.to_owned(),
    }
}

fn comparable(row: &Cells) -> String {
    format!("{:?}", row.iter().map(|(column, cell)| (column, number(cell))).collect::<Vec<_>>())
}

#[test]
fn a_report_goes_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.csv");
    let ran = from("stat", "natural", &["--csv", "-o", path.to_str().unwrap()]);
    assert_eq!(ran.stdout, "");
    assert_eq!(fs::read_to_string(path).unwrap(), from("stat", "natural", &["--csv"]).stdout);
}

#[test]
fn the_manual_has_every_column() {
    let text = fs::read_to_string(tests().join("../docs/output.md")).unwrap();
    let section = text.split("\n## --csv\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let words: BTreeSet<&str> = section.split(|c: char| c.is_whitespace() || c == '`' || c == ',').collect();
    let mut missing = Vec::new();
    for verb in ["trace", "stat"] {
        let columns = columns(&from(verb, "natural", &["--csv"]).stdout);
        missing.extend(columns.into_iter().filter(|column| !words.contains(column.as_str())));
    }
    assert!(missing.is_empty(), "docs/output.md: {missing:?}");
    let kinds = ["transition", "connect-failed", "bind-failed", "listen-failed", "recording-damaged"];
    let rows = [
        "report",
        "finding",
        "waiting",
        "group",
        "others",
        "transition",
        "failure",
        "state",
        "exit",
        "syn_recv",
        "end",
        "loss",
    ];
    for kind in kinds.iter().chain(&rows) {
        assert!(words.contains(kind), "docs/output.md: {kind}");
    }
}
