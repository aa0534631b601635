//! Recordings from other kernels, of one story told again on each (tests/kernel/story.rs), by every way of timing late segments
//! that the kernel has. What may differ between those is how exactly something is known, and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{FIXTURES, fixture, trace};

/// A jiffy of these kernels (HZ=250), and what a record may be late.
const JIFFY_NS: u64 = 4_000_000 + 100_000;

/// The recordings of one kernel that were made beside each other: the exact one, and those by other timings.
const BESIDE: [(&str, &[&str]); 2] = [("6.1-fexit", &["6.1-timer"]), ("6.12-fexit", &["6.12-kfree_skb", "6.12-timer"])];

/// Each connection's lines, by its cookie and the state that was left, in their order.
fn lines(name: &str) -> BTreeMap<(String, usize), Value> {
    let mut count = BTreeMap::new();
    let stdout = trace(&fixture(name), &["--json"]).stdout;
    let lines = stdout.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let id = line["id"].as_str().unwrap().to_owned();
        let number = count.entry(id.clone()).and_modify(|number| *number += 1).or_insert(0);
        ((id, *number), line)
    });
    lines.collect()
}

#[test]
fn every_recording_has_its_kernel_and_its_timing() {
    for (exact, others) in BESIDE {
        for name in [&[exact], others].concat() {
            assert!(FIXTURES.contains(&name));
            let header = crate::support::records(name).0;
            let (kernel, timing) = name.split_once('-').unwrap();
            assert!(header.kernel.starts_with(&format!("{kernel}.")), "{name} is of {}", header.kernel);
            let hooks = [("fexit", "tcp_timewait_state_process"), ("kfree_skb", "kfree_skb")];
            for (other, hook) in hooks {
                assert_eq!(header.missing_hooks.contains_key(hook), other != timing, "{name}: {hook}");
            }
        }
    }
}

#[test]
fn ways_of_timing_differ_in_exactness_only() {
    for (exact, others) in BESIDE {
        let exact_lines = lines(exact);
        for name in others {
            let found = lines(name);
            assert!(found.keys().eq(exact_lines.keys()), "{name} has other lines than {exact}");
            for (key, line) in &found {
                let told = &exact_lines[key];
                for field in ["netns", "laddr", "lport", "raddr", "rport", "from", "to", "reason", "by", "pid", "comm"]
                {
                    assert_eq!(line[field], told[field], "{name}: {field} of {line}, but {told}");
                }
                // The timer alone does not see each of several restarts in one bucket of its wheel.
                let (restarts, all) = (&line["restarts"], &told["restarts"]);
                match name.ends_with("timer") {
                    true => assert_eq!(restarts.as_u64().map(|count| count > 0), all.as_u64().map(|count| count > 0)),
                    false => assert_eq!(restarts, all, "{name}: {line}"),
                }
                let dwell = |line: &Value| line["dwell_ns"].as_u64();
                if let (Some(dwell), Some(right)) = (dwell(line), dwell(told)) {
                    assert!(dwell.abs_diff(right) < JIFFY_NS, "{name}: {line}, but {told}");
                }
                assert_eq!(told["dwell_ns"].is_null(), line["dwell_ns"].is_null(), "{name}: {line}, but {told}");
            }
        }
    }
}

/// What becomes of a connection in the story is the same on every kernel.
#[test]
fn every_kernel_tells_the_same_story() {
    let ends = |name| {
        let mut ends: Vec<String> = lines(name)
            .into_values()
            .filter(|line| line["reason"].is_string())
            .map(|line| {
                let server = [&line["lport"], &line["rport"]]
                    .into_iter()
                    .find(|port| (8301..8400).contains(&port.as_u64().unwrap()));
                format!("{} {} {} {}", server.unwrap(), line["from"], line["reason"], line["restarts"])
            })
            .collect();
        ends.sort();
        ends
    };
    let [(first, _), others @ ..] = BESIDE;
    for (other, _) in others {
        assert_eq!(ends(first), ends(other), "{first} and {other}");
    }
    for end in [
        r#"8301 "TIME_WAIT" "expired" 0"#,
        r#"8303 "TIME_WAIT" "expired" 3"#,
        r#"8304 "TIME_WAIT" "expired" 0"#,
        r#"8306 "FIN_WAIT2" "expired" null"#,
        r#"8307 "FIN_WAIT2" "reset-sent" null"#,
        r#"8308 "TIME_WAIT" "reset" 0"#,
        r#"8309 "TIME_WAIT" "destroyed" 0"#,
        r#"8310 "TIME_WAIT" "reused-by-connect" 0"#,
        r#"8311 "TIME_WAIT" "reused-by-syn" 0"#,
        r#"8312 "FIN_WAIT2" "overflow" null"#,
        r#"8315 "TIME_WAIT" "netns" 0"#,
    ] {
        assert!(ends(first).iter().any(|found| found == end), "{end} is not in {:#?}", ends(first));
    }
}
