//! Reports where only some connections are followed: what is said, which numbers are exact, and that nobody is followed by half.

use std::{collections::HashMap, fs, path::Path};

use serde_json::Value;
use tcpwait::{
    event::{Fact, decode},
    tcp::State,
};
use tcpwait_wire::wire::{Counter, Head, Kind, Thinned, sample};
use zerocopy::IntoBytes;

use crate::{
    golden::compare,
    support::{records, run, write},
};

/// From here on one connection in so many is followed.
fn thinned(time_ns: u64, one_in: u32) -> Vec<u8> {
    let len = size_of::<Thinned>() as u16;
    let head = Head { time_ns, len, kind: Kind::Thinned as u8, flags: 0, cpu: 0, thread: 0 };
    Thinned { head, one_in, reserved: 0 }.as_bytes().to_vec()
}

/// A recording as the kernel side would have told it, if after these shares of its records it had been one in so many. What it leaves out is left out by the
/// reader, too, but for connects: it holds them back until they have their port and an answer.
fn told(fixture: &str, changes: &[(f64, u32)], to: &Path) {
    let (header, all) = records(fixture);
    let changes: Vec<(usize, u32)> =
        changes.iter().map(|(share, one_in)| ((all.len() as f64 * share) as usize, *one_in)).collect();
    let (mut one_in, mut held, mut never_told, mut made) = (1, HashMap::new(), 0, Vec::new());
    for (at, record) in all.iter().enumerate() {
        let event = decode(record).unwrap();
        if let Some((_, now)) = changes.iter().find(|(from, _)| *from == at) {
            one_in = *now;
            made.push(thinned(event.time_ns, one_in));
        }
        if let Fact::State(change) = &event.fact {
            if change.new == State::SynSent && one_in > 1 && !change.flow.is_chosen(one_in) {
                held.insert(change.cookie, record.clone());
                continue;
            }
            let connect = held.remove(&change.cookie).filter(|_| change.old == State::SynSent);
            let told = one_in == 1 || change.new == State::Close || change.flow.is_chosen(one_in);
            never_told += u64::from(connect.is_some() && !told);
            made.extend(connect.filter(|_| told));
        }
        let left_out = held.len() as u64 + never_told;
        made.push(match &event.fact {
            Fact::Counters(counters) => {
                let mut counters = **counters;
                counters.values[Counter::Thinned as usize] += left_out;
                counters.values[Counter::Written as usize] -= left_out;
                counters.as_bytes().to_vec()
            }
            _ => record.clone(),
        });
    }
    write(to, &header, &made, 1000);
}

fn stat(path: &Path, more: &[&str]) -> String {
    let path = path.to_str().unwrap();
    let ran = run([&["stat", "--from", path], more].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}

fn document(fixture: &str, changes: &[(f64, u32)]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thinned");
    told(fixture, changes, &path);
    let text = stat(&path, &["--json"]);
    fs::remove_file(path).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn number(document: &Value, path: &str) -> u64 {
    document.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {document}"))
}

#[test]
fn what_a_report_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thinned");
    told("nginx", &[(0.0, 8)], &path);
    compare("nginx.stat-thinned", &stat(&path, &[]));
}

#[test]
fn the_screen_and_the_exporter_say_so_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thinned");
    told("nginx", &[(0.0, 8)], &path);
    let path = path.to_str().unwrap();
    let screen = run(["top", "--from", path, "--once"]).stdout;
    assert!(screen.lines().next().unwrap().contains("~1/8 of connections"), "{screen}");
    let metrics = run(["export", "--from", path]).stdout;
    let value = |name: &str| {
        let last = metrics.lines().rfind(|line| line.starts_with(name));
        last.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("no {name}: {metrics}")).to_owned()
    };
    assert_eq!(value("tcpwait_sample_one_in "), "8.0");
    assert_ne!(value("tcpwait_records_left_out_total "), "0");
    assert_eq!(value("tcpwait_time_wait_entries_total "), "203", "the kernel side counted all");
    assert!(!metrics.contains("tcpwait_ports_fullest_used "), "ports of some connections are no number");
    assert!(!metrics.contains(r#"tcpwait_sockets{state="syn_sent"}"#), "connects without a port are held back");
}

#[test]
fn what_is_counted_of_connections_is_multiplied_and_what_was_counted_of_all_is_exact() {
    let (whole, eighth) = (document("nginx", &[]), document("nginx", &[(0.0, 8)]));
    assert_eq!((number(&whole, "/sample/one_in"), number(&whole, "/sample/most")), (1, 1));
    assert_eq!((number(&eighth, "/sample/one_in"), number(&eighth, "/sample/most")), (8, 8));
    for state in ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "CLOSE_WAIT", "LAST_ACK"] {
        let entered = |document: &Value| number(document, &format!("/states/{state}/entered"));
        assert_eq!(entered(&whole), entered(&eighth), "{state} was counted by the kernel side");
        assert_eq!(eighth["states"][state]["estimate"], false, "{state}");
    }
    assert_eq!(
        number(&whole, "/failures/total"),
        number(&eighth, "/failures/total"),
        "calls that fail are all told of"
    );
    assert_eq!(eighth["states"]["SYN_SENT"]["now"], Value::Null, "connects without a port are held back");
    assert!(
        number(&eighth, "/ledger/left_out") > 0 && eighth["ledger"]["lossy"] == whole["ledger"]["lossy"],
        "{eighth}"
    );
    let made = |document: &Value| {
        let rows = document["transitions"].as_array().unwrap().iter();
        let row = rows.filter(|row| row["from"] == "ESTABLISHED").map(|row| row["count"].as_u64().unwrap());
        row.sum::<u64>()
    };
    let (all, estimate) = (made(&whole) as f64, made(&eighth) as f64);
    assert_eq!(estimate % 8.0, 0.0);
    // The variance of a sum of so many that are each 8 with the chance 1/8, else 0.
    let deviation = (all * 7.0).sqrt();
    assert!((estimate - all).abs() < 5.0 * deviation, "{all}, by estimate {estimate}");
}

#[test]
fn who_is_followed_is_followed_from_beginning_to_end() {
    let whole = document("nginx", &[(0.0, 4)]);
    let rows = whole["transitions"].as_array().unwrap();
    let count = |from: &str, to: &str| {
        rows.iter().find(|row| row["from"] == from && row["to"] == to).map_or(0, |row| row["count"].as_u64().unwrap())
    };
    assert!(count("CLOSE", "SYN_SENT") > 0, "{whole}");
    let left_syn_sent: u64 =
        rows.iter().filter(|row| row["from"] == "SYN_SENT").map(|row| row["count"].as_u64().unwrap()).sum();
    let still = number(&whole, "/states/SYN_SENT/entered") - number(&whole, "/states/SYN_SENT/left");
    assert_eq!(count("CLOSE", "SYN_SENT"), left_syn_sent + still, "{whole}");
    assert_eq!(number(&whole, "/ledger/followed_in_part"), 0, "{whole}");
}

#[test]
fn a_change_in_the_middle_is_no_loss() {
    for changes in
        [&[(0.4, 4)][..], &[(0.3, 8), (0.6, 2)], &[(0.3, 16), (0.5, 8), (0.7, 1)], &[(0.2, 2), (0.4, 1), (0.6, 2)]]
    {
        for fixture in ["nginx", "handshakes", "incident", "natural"] {
            let (whole, thinned) = (document(fixture, &[]), document(fixture, changes));
            assert_eq!(thinned["ledger"]["lossy"], whole["ledger"]["lossy"], "{fixture} {changes:?}: {thinned}");
            assert_eq!(thinned["ledger"]["lost"], whole["ledger"]["lost"], "{fixture} {changes:?}");
            let most = changes.iter().map(|(_, one_in)| *one_in).max().unwrap();
            assert_eq!(number(&thinned, "/sample/most"), u64::from(most));
        }
    }
}

#[test]
fn a_connection_is_chosen_alike_by_all_its_records_and_by_every_share() {
    let (_, all) = records("nginx");
    let flows: Vec<_> = all
        .iter()
        .filter_map(|record| decode(record).ok())
        .filter_map(|event| match event.fact {
            Fact::Seed(_) => None,
            fact => fact.connection().copied(),
        })
        .collect();
    assert!(flows.len() > 1_000);
    for flow in &flows {
        let shares: Vec<bool> = (0..=10).map(|bits| flow.is_chosen(1 << bits)).collect();
        assert!(shares[0] && shares.windows(2).all(|two| two[0] || !two[1]), "{flow:?}: {shares:?}");
    }
}

#[test]
fn ports_in_a_row_are_spread_evenly() {
    // As the kernel gives them: every other one, to one destination; and one local port with many remote ones.
    let outgoing = |number: u16| sample::spread([0x0100_007f, 0, 0, 0], 32_768 + 2 * number, 443);
    let accepted = |number: u16| sample::spread([0x0100_000a + u32::from(number) % 7, 1, 2, 3], 443, 1_024 + number);
    for one_in in [2, 8, 64] {
        for of in [&outgoing as &dyn Fn(u16) -> u32, &accepted] {
            let chosen = (0..14_000).filter(|number| sample::is_chosen(of(*number), one_in)).count() as f64;
            let expected = 14_000.0 / f64::from(one_in);
            assert!((chosen - expected).abs() < 5.0 * expected.sqrt(), "{chosen} of 14,000 at 1/{one_in}");
        }
    }
}
