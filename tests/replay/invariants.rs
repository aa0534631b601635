//! What must hold of every recording, whatever is in it: each connection's steps continue one another, add up to the
//! time that passed, and end as the account says. Read from `--json`, as a program would.

use std::collections::HashMap;

use serde_json::Value;

use crate::support::{FIXTURES, fixture, trace};

fn lines(name: &str, arguments: &[&str]) -> Vec<Value> {
    let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    let stdout = trace(&fixture(name), &arguments).stdout;
    let lines = stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    // Calls that fail are no steps of a connection.
    lines.filter(|line: &Value| line["event"].is_null()).collect()
}

fn ns(time: &Value) -> i128 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_nanosecond()
}

#[test]
fn every_step_continues_the_one_before() {
    for name in FIXTURES {
        let mut now: HashMap<String, (Value, i128)> = HashMap::new();
        for line in lines(name, &[]) {
            // A connection in SYN_RECV that comes to nothing has no id.
            let Some(id) = line["id"].as_str().map(str::to_owned) else { continue };
            let time = ns(&line["time"]);
            if let Some((state, since)) = now.insert(id, (line["to"].clone(), time)) {
                assert_eq!(line["from"], state, "{name}: {line}");
                // Ticks tie the clocks together anew, to within what the kernel slews one of them.
                if line["timing"] == "exact" {
                    let passed = time - since;
                    let dwell = i128::from(line["dwell_ns"].as_u64().unwrap());
                    assert!((passed - dwell).abs() < 50_000_000, "{name}: {passed} ns passed: {line}");
                }
            }
        }
    }
}

#[test]
fn a_reason_is_said_on_every_step_to_close_and_nowhere_else() {
    for name in FIXTURES {
        for line in lines(name, &[]) {
            let ends_mini = line["from"] == "TIME_WAIT";
            assert_eq!(line["to"] == "CLOSE", line["reason"].is_string(), "{name}: {line}");
            assert!(line["detail"].is_null() || line["reason"].is_string(), "{name}: {line}");
            let names_who = ["reused-by-connect", "destroyed"].iter().any(|reason| line["reason"] == *reason);
            assert!(!names_who || line["by"].is_object(), "{name}: {line}");
            let done_by_nobody = ["expired", "reused-by-syn", "reset", "timeout", "unreachable"]
                .iter()
                .any(|reason| line["reason"] == *reason);
            assert!(!done_by_nobody || line["by"].is_null(), "{name}: {line}");
            assert_eq!(ends_mini, line["restarts"].is_u64(), "{name}: {line}");
        }
    }
}

#[test]
fn a_natural_time_wait_takes_60_s_and_a_bucket() {
    for name in ["natural", "nginx"] {
        let ended: Vec<Value> = lines(name, &[]).into_iter().filter(|line| line["from"] == "TIME_WAIT").collect();
        assert!(!ended.is_empty());
        for line in ended {
            assert_eq!((&line["reason"], &line["timing"]), (&"expired".into(), &"exact".into()), "{line}");
            let ms = line["dwell_ns"].as_u64().unwrap() / 1_000_000;
            // A timer of 60 s expires with its bucket, which is an eighth of that wide at most.
            assert!((60_000..67_500).contains(&ms), "{line}");
        }
    }
}

/// ab's 200 requests, each served by nginx, which closes first.
#[test]
fn nginx_served_every_request() {
    let steps = lines("nginx", &["--comm", "nginx", "-L", "8080"]);
    // One more connected to see whether nginx listens, and was reset.
    assert_eq!(steps.iter().filter(|line| line["to"] == "TIME_WAIT").count(), 200);
    assert_eq!(steps.iter().filter(|line| line["reason"] == "expired").count(), 200);
    // ab opens connections ahead, of which it closes those that it does not need.
    let clients = lines("nginx", &["--comm", "ab"]);
    assert_eq!(clients.iter().filter(|line| line["to"] == "CLOSE_WAIT").count(), 200);
}

/// Every reason that a recording can hold is in one.
#[test]
fn the_fixtures_have_every_reason() {
    let found: std::collections::BTreeSet<String> = ["reasons", "handshakes", "ends"]
        .iter()
        .flat_map(|name| lines(name, &[]))
        .filter_map(|line| line["reason"].as_str().map(str::to_owned))
        .collect();
    for reason in tcpwait::lifecycle::Reason::ALL.map(tcpwait::lifecycle::Reason::name) {
        let is_rare = ["unknown", "accept-queue-full", "no-data"].contains(&reason);
        assert_eq!(found.contains(reason), !is_rare, "{reason}: {found:?}");
    }
}
