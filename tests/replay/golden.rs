//! What every view makes of the recordings in `tests/fixtures` is what it made of them when a person last looked:
//! `tests/golden/NAME.VIEW`. `UPDATE_GOLDEN=1 cargo test -p tcpwait --test replay golden` writes them anew, for the
//! next person to look at the difference.

use std::{env, fs};

use crate::support::{finish, fixture, tcpwait, tests, trace};

/// The views, by the name that their golden files end in.
const VIEWS: [(&str, &[&str]); 7] = [
    ("text", &[]),
    ("relative-time", &["-t"]),
    ("time-of-day", &["-T"]),
    ("wide", &["-w", "-t"]),
    ("json", &["--json"]),
    ("raw", &["--raw"]),
    ("raw-json", &["--raw", "--json"]),
];

/// Lines of a difference that are shown.
const SHOWN: usize = 30;

#[test]
fn natural_ends() {
    check_views("natural");
    check("natural", "csv", &["--csv"]);
    check("natural", "lport", &["-L", "8002"]);
    check("natural", "rport-json", &["-D", "8001", "--json"]);
    check("natural", "ipv4", &["-4"]);
    check("natural", "ipv6-raw", &["-6", "--raw"]);
    check("natural", "state", &["--state", "time-wait"]);
    check("natural", "laddr", &["--laddr", "127.0.0.0/8", "--state", "FIN_WAIT2"]);
}

#[test]
fn every_reason() {
    check_views("reasons");
    check("reasons", "state", &["--state", "TIME_WAIT,FIN_WAIT2", "-w"]);
    check("reasons", "comm", &["--comm", "other-client"]);
    check("reasons", "raddr", &["--raddr", "::1", "--json"]);
    check("reasons", "cgroup", &["--cgroup", "/", "--state", "LAST_ACK"]);
    check("reasons", "none", &["--netns", "1"]);
}

#[test]
fn sockets_older_than_the_tool() {
    check_views("predates");
    check("predates", "state", &["--state", "TIME_WAIT", "-T"]);
    check("predates", "comm", &["--comm", "server", "-t"]);
}

#[test]
fn syn_recv_connections_and_calls_that_fail() {
    check_views("handshakes");
    check("handshakes", "csv", &["--csv"]);
    check("handshakes", "state", &["--state", "SYN_RECV"]);
    check("handshakes", "comm", &["--comm", "impostor,restarted"]);
}

#[test]
fn connections_that_end_otherwise_than_by_fins() {
    for (view, arguments) in [("text", &[][..]), ("json", &["--json"]), ("raw", &["--raw"])] {
        check("ends", view, arguments);
    }
}

/// Its other views would be megabytes that nobody reads.
#[test]
fn nginx_and_ab() {
    check("nginx", "server", &["--comm", "nginx", "-L", "8080", "--state", "TIME_WAIT", "-t"]);
}

/// The other views are of records that other fixtures have too.
#[test]
fn other_kernels() {
    for name in ["6.1-fexit", "6.1-timer", "6.12-fexit", "6.12-kfree_skb", "6.12-timer"] {
        check(name, "state", &["--state", "TIME_WAIT,FIN_WAIT2", "-w", "-t"]);
    }
    for name in ["6.1-fexit", "6.12-fexit"] {
        check(name, "raw", &["--raw"]);
    }
    for name in ["6.1-ends", "7.3-ends", "7.3-rt-ends", "7.3-arm64-ends"] {
        check(name, "wide", &["-w", "-t"]);
        report(name, "stat", &[], None);
    }
}

/// Reports on a whole recording, on its intervals, and in narrow terminals.
#[test]
fn reports() {
    for name in ["natural", "predates", "reasons", "handshakes", "ends", "nginx"] {
        report(name, "stat", &[], None);
        report(name, "stat-json", &["--json"], None);
    }
    report("natural", "stat-intervals", &["20"], None);
    report("natural", "stat-intervals-json", &["30", "--json"], None);
    report("natural", "stat-count", &["20", "1"], None);
    report("natural", "stat-csv", &["30", "--csv"], None);
    report("handshakes", "stat-csv", &["--csv", "--by", "service,cgroup,uid"], None);
    report("natural", "stat-60", &[], Some(60));
    report("natural", "stat-40", &[], Some(40));
    report("natural", "stat-20", &[], Some(20));
    report("reasons", "stat-by", &["--by", "remote-port,uid,cgroup", "--top", "3", "--sort", "dwell"], None);
    report("reasons", "stat-pair", &["--by", "pair,netns,local-port,pid,remote", "-w"], None);
    report("reasons", "stat-comm", &["--comm", "other-client"], None);
    report("nginx", "stat-lport", &["-L", "8080", "--state", "TIME_WAIT", "--by", "remote"], None);
}

fn report(name: &str, view: &str, arguments: &[&str], columns: Option<usize>) {
    let mut command = tcpwait();
    command.args(["stat", "--from"]).arg(fixture(name)).args(arguments).env_remove("COLUMNS");
    if let Some(columns) = columns {
        command.env("COLUMNS", columns.to_string());
    }
    let ran = finish(&mut command);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "stat {arguments:?}");
    let to_program = arguments.contains(&"--json") || arguments.contains(&"--csv");
    for line in ran.stdout.lines().filter(|_| !to_program && !arguments.contains(&"-w")) {
        assert!(line.chars().count() <= columns.unwrap_or(80), "too long: {line}");
    }
    compare(&format!("{name}.{view}"), &ran.stdout);
}

fn check_views(name: &str) {
    for (view, arguments) in VIEWS {
        check(name, view, arguments);
    }
}

/// The output, what was said, and that it went well.
fn check(name: &str, view: &str, arguments: &[&str]) {
    let ran = trace(&fixture(name), arguments);
    assert_eq!(ran.code, Some(0), "trace {arguments:?}: {}", ran.stderr);
    assert!(ran.stderr.lines().any(|line| line.starts_with("seen: ")), "no account: {}", ran.stderr);
    compare(&format!("{name}.{view}"), &ran.stdout);
    // What is said is the same for every view, but a filter may add to it.
    match ran.stderr.contains("not shown: ") {
        true => compare(&format!("{name}.{view}-account"), &ran.stderr),
        false => compare(&format!("{name}.account"), &ran.stderr),
    }
}

/// Holds it against a golden file.
pub fn compare(file: &str, found: &str) {
    let path = tests().join("golden").join(file);
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        return fs::write(&path, found).unwrap();
    }
    let wanted =
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("tests/golden/{file}: {e}; UPDATE_GOLDEN=1 writes it"));
    if wanted != found {
        panic!("not as in tests/golden/{file} (UPDATE_GOLDEN=1 writes it anew):\n{}", difference(&wanted, found));
    }
}

/// The lines between the common beginning and the common end.
fn difference(wanted: &str, found: &str) -> String {
    let (wanted, found): (Vec<_>, Vec<_>) = (wanted.lines().collect(), found.lines().collect());
    let before = wanted.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let (wanted, found) = (&wanted[before..], &found[before..]);
    let after = wanted.iter().rev().zip(found.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut text = format!("from line {} on:\n", before + 1);
    for (mark, lines) in [('-', &wanted[..wanted.len() - after]), ('+', &found[..found.len() - after])] {
        for line in lines.iter().take(SHOWN) {
            text.push_str(&format!("{mark} {line}\n"));
        }
        if lines.len() > SHOWN {
            text.push_str(&format!("{mark} … and {} more lines\n", lines.len() - SHOWN));
        }
    }
    text
}

#[test]
fn a_difference_shows_what_differs_only() {
    let text = difference("same\nold\nend\n", "same\nnew\nnewer\nend\n");
    assert_eq!(text, "from line 2 on:\n- old\n+ new\n+ newer\n");
}
