//! What programs read of the running kernel: JSON that is as its schema says, and CSV that says the same.

use std::time::Duration;

use serde_json::Value;
use tcpwait::view::schema::JsonDocument;

use crate::{
    V4, V6, netns,
    schema::Checked,
    tracer::{Ended, Tracer, command},
    traffic::{self, Pair},
};

/// Time for several debug builds that end side by side.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two connections, and a connect() that fails.
fn traffic() -> [Pair; 2] {
    let closed = {
        let listener = traffic::listen(V4);
        traffic::address(&listener)
    };
    assert!(std::net::TcpStream::connect(closed).is_err(), "nobody listens at {closed}");
    let open = [Pair::on(V4), Pair::on(V6)];
    drop(Pair::on(V4).close_client_first());
    open
}

/// Starts each of these on this namespace, has traffic, and ends them.
fn seen<const N: usize>(commands: [&[&str]; N]) -> [Ended; N] {
    let netns = netns::inode().to_string();
    let tracers = commands.map(|command| Tracer::start(&[command, &["--netns", &netns]].concat()));
    let open = traffic();
    let ended = tracers.map(|tracer| tracer.stop_within(PATIENCE));
    drop(open);
    ended.iter().for_each(|ended| assert_eq!(ended.code, Some(0), "{ended:?}"));
    ended
}

fn check(document: JsonDocument, lines: &[String]) {
    let checked = Checked::new(document);
    assert!(!lines.is_empty(), "{}", document.command());
    // A program that takes today's documents is what the schema is for.
    assert!(checked.takes(&serde_json::from_str(&lines[0]).unwrap()));
    for line in lines {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["schema"], document.schema());
        checked.check(&value).unwrap_or_else(|why| panic!("{}: {why}\n{line}", document.command()));
    }
}

pub fn json_is_as_its_schema_says() {
    let [trace, raw, stat, ports] = seen([
        &["trace", "--json"],
        &["trace", "--raw", "--json"],
        &["stat", "--json", "1"],
        &["ports", "--json", "1"],
    ]);
    check(JsonDocument::Trace, &trace.stdout);
    check(JsonDocument::Raw, &raw.stdout);
    check(JsonDocument::Stat, &stat.stdout);
    check(JsonDocument::Ports, &ports.stdout);
    let netns = netns::inode().to_string();
    let listener = traffic::listen(V4);
    for (document, arguments) in [
        (JsonDocument::States, vec!["states", "--json", "--by", "service,process", "--netns", &netns]),
        (JsonDocument::Doctor, vec!["doctor", "--json", "--seconds", "0.2", "--netns", &netns]),
        (JsonDocument::Probes, vec!["probes", "--json"]),
    ] {
        let ended = Tracer::spawn(command(arguments)).end(PATIENCE);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        check(document, &ended.stdout);
    }
    drop(listener);
}

/// A recording does for them: rows are made of events, wherever these come from.
pub fn csv_says_what_json_says() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("formats.tcpwait");
    let file = file.to_str().unwrap();
    let [_] = seen([&["record", "-o", file]]);
    let told = |command: &[&str]| {
        let ended = Tracer::spawn(self::command([command, &["--from", file]].concat())).end(PATIENCE);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    };
    let (json, trace, stat) = (told(&["trace", "--json"]), told(&["trace", "--csv"]), told(&["stat", "--csv"]));
    let column = |table: &[String], name: &str| -> Vec<String> {
        let text = table.join("\r\n");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let at = reader.headers().unwrap().iter().position(|column| column == name);
        let at = at.unwrap_or_else(|| panic!("no column {name}: {text}"));
        reader.records().map(|row| row.unwrap()[at].to_owned()).collect()
    };
    let lines: Vec<Value> = json.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for name in ["id", "time", "from", "to"] {
        let said: Vec<&str> = lines.iter().map(|line| line[name].as_str().unwrap_or_default()).collect();
        assert_eq!(column(&trace.stdout, name), said, "{name}");
    }
    let events = column(&trace.stdout, "event");
    for event in ["transition", "connect-failed"] {
        assert!(events.iter().any(|found| found == event), "no {event}: {trace:?}");
    }
    let rows = column(&stat.stdout, "row");
    for row in ["report", "state", "group", "failure"] {
        assert!(rows.iter().any(|found| found == row), "no {row}: {stat:?}");
    }
    assert_eq!(column(&stat.stdout, "final").last().map(String::as_str), Some("true"));
}
