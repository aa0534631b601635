//! A tool that follows only some connections: what it counts of all of them is what the kernel counts, and those that it follows it follows whole.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::{
    fifty_thousand::churn,
    guest::many,
    netns,
    tracer::{SOON, START, Tracer},
    traffic::until,
    withheld,
};

const CONNECTIONS: u32 = 4_000;
const ONE_IN: u64 = 8;

/// Time for a debug build to take in what it was sent, beside all other tests.
const PATIENCE: Duration = Duration::from_secs(100);

fn start(more: &[&str]) -> Tracer {
    let netns = netns::inode().to_string();
    Tracer::start(&[&["stat", "--json", "--netns", &netns], more].concat())
}

/// The last document, which covers the whole time.
fn last(tracer: Tracer) -> Value {
    let ended = tracer.stop_within(PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let last = ended.stdout.last().unwrap_or_else(|| panic!("no report: {ended:?}"));
    serde_json::from_str(last).unwrap()
}

fn number(document: &Value, path: &str) -> u64 {
    document.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {document}"))
}

/// How often a transition was seen, each time for so many connections.
fn seen(document: &Value, from: &str, to: &str) -> u64 {
    let mut rows = document["transitions"].as_array().unwrap().iter();
    rows.find(|row| row["from"] == from && row["to"] == to).map_or(0, |row| number(row, "/count"))
}

fn nobody_in_last_ack() {
    const LAST_ACK: &str = "09";
    until("nobody in LAST_ACK", SOON, || {
        let sockets = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        sockets.lines().all(|line| line.split_whitespace().nth(3) != Some(LAST_ACK))
    });
}

pub fn one_in_eight() {
    netns::sysctl("ipv4/tcp_max_tw_buckets", "500000");
    let tracer = start(&["--one-in", "8", "--ring-buffer", "256"]);
    tracer.wait_until_it_says("tcpwait: 1 connection in 8 is followed from now on");
    let counted = || netns::tcp_ext("TW") + netns::tcp_ext("TWKilled");
    let before = counted();
    let connections = u64::from(many(CONNECTIONS));
    churn(0, many(CONNECTIONS));
    nobody_in_last_ack();
    let entered = counted() - before;
    assert_eq!(entered, connections, "the kernel counts one mini-socket for each connection");
    let document = last(tracer);
    let withheld = withheld::of(entered);
    assert_eq!((number(&document, "/sample/one_in"), number(&document, "/sample/most")), (ONE_IN, ONE_IN));

    // Exact: what the kernel side counts before it leaves anything out.
    let minis = number(&document, "/ledger/minis_entered");
    assert!(minis <= entered && minis + withheld >= entered, "{entered} counted by the kernel: {document}");
    for state in ["SYN_SENT", "FIN_WAIT1", "CLOSE_WAIT", "LAST_ACK"] {
        let count = number(&document, &format!("/states/{state}/entered"));
        assert!(count <= connections && count + withheld >= connections, "{state}: {document}");
        assert_eq!(document["states"][state]["estimate"], false, "{state}: {document}");
    }
    let lost = &document["ledger"]["lost"];
    assert!(lost["unread"] == 0 && (document["ledger"]["lossy"] == false || lost["recursion"] != 0), "{document}");
    let differs = document["audit"]["checks"].as_array().unwrap().iter().any(|check| check["explained"] == false);
    assert!(!differs, "what is exact is held against what is exact: {document}");
    assert!(number(&document, "/ledger/left_out") > connections, "{document}");

    // Whole: each that is followed takes all of its steps.
    let whole = |steps: &[(&str, &str)]| {
        let counts: Vec<u64> = steps.iter().map(|(from, to)| seen(&document, from, to)).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= ONE_IN * withheld, "{counts:?}: {document}");
        *most
    };
    let active = whole(&[
        ("CLOSE", "SYN_SENT"),
        ("SYN_SENT", "ESTABLISHED"),
        ("ESTABLISHED", "FIN_WAIT1"),
        ("FIN_WAIT1", "FIN_WAIT2"),
    ]);
    let passive = whole(&[
        ("LISTEN", "SYN_RECV"),
        ("SYN_RECV", "ESTABLISHED"),
        ("ESTABLISHED", "CLOSE_WAIT"),
        ("CLOSE_WAIT", "LAST_ACK"),
        ("LAST_ACK", "CLOSE"),
    ]);
    assert!(number(&document, "/ledger/followed_in_part") <= withheld, "{document}");

    // Near: a sum of so many that are each ONE_IN with the chance 1 / ONE_IN, else 0.
    let deviation = ((connections * (ONE_IN - 1)) as f64).sqrt();
    for estimate in [active, passive] {
        let off = estimate.abs_diff(connections) as f64;
        assert!(off < 5.0 * deviation, "{estimate} for {connections}, which is {:.1} deviations", off / deviation);
    }
}

/// What costs more than it may says so, and thins itself in the middle of connections.
pub fn too_dear() {
    netns::sysctl("ipv4/tcp_max_tw_buckets", "500000");
    let tracer = start(&["--max-cpu", "0.01%", "--ring-buffer", "256"]);
    let said = || {
        tracer
            .said()
            .contains("of the machine's CPU time went to tcpwait, where --max-cpu allows 0.01%: 1 connection in 2")
    };
    until("it costs too much", START, || {
        churn(1, 100);
        said()
    });
    churn(2, 500);
    nobody_in_last_ack();
    let document = last(tracer);
    assert!(number(&document, "/sample/most") >= 2, "{document}");
    let lost = &document["ledger"]["lost"];
    assert!(document["ledger"]["lossy"] == false || lost["recursion"] != 0, "who was left out is not lost: {document}");
}
