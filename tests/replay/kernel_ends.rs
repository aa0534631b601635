//! Recordings of how connections end on other kernels (tests/kernel/story_of_ends.rs): every kernel tells the same, and nothing is unknown.

use crate::support::{fixture, trace};
use serde_json::Value;

const OF: [&str; 4] = ["6.1-ends", "7.3-ends", "7.3-rt-ends", "7.3-arm64-ends"];

/// Each end by its server's port, or what else it is of: which end, the state that was left, reason and detail.
fn ends(name: &str) -> Vec<String> {
    let told = trace(&fixture(name), &["--json"]).stdout;
    let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut ends: Vec<String> = lines
        .filter(|line| line["to"] == "CLOSE" && line["from"] != "LISTEN")
        .map(|line| {
            let is_ours = |key: &str| (8601..8700).contains(&line[key].as_u64().unwrap());
            let who = match (is_ours("rport"), is_ours("lport")) {
                (true, _) => format!("{} client", line["rport"]),
                (_, true) => format!("{} server", line["lport"]),
                _ => "a hand".to_owned(),
            };
            let word = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            format!("{who}: {} {} {}", word("from"), word("reason"), word("detail"))
        })
        .collect();
    ends.sort();
    ends
}

#[test]
fn every_kernel_tells_the_same_ends() {
    let [first, others @ ..] = OF;
    for other in others {
        assert_eq!(ends(first), ends(other), "{first} and {other}");
    }
    for end in [
        "8601 client: ESTABLISHED reset-sent linger-0",
        "8601 server: ESTABLISHED reset -",
        "8602 client: ESTABLISHED reset-sent unread-data",
        "8603 client: ESTABLISHED reset-sent disconnect",
        "8604 client: FIN_WAIT1 reset-sent data-after-close",
        "8605 client: ESTABLISHED destroyed -",
        "8606 client: ESTABLISHED repair -",
        "8607 client: FIN_WAIT2 reset-sent linger",
        "8607 server: CLOSE_WAIT reset -",
        "8608 server: ESTABLISHED listener-closed -",
        "a hand: SYN_SENT unreachable -",
        "a hand: SYN_SENT closed given-up",
        "8611 client: ESTABLISHED timed-out keepalive",
        "8612 client: ESTABLISHED timed-out user-timeout",
        "8613 client: ESTABLISHED timed-out retransmissions",
        "8614 client: ESTABLISHED timed-out zero-window",
        "8615 server: LAST_ACK closed -",
    ] {
        assert!(ends(first).iter().any(|found| found == end), "{end} is not in {:#?}", ends(first));
    }
    assert!(ends(first).iter().all(|end| !end.contains("unknown")), "{:#?}", ends(first));
}
