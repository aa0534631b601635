//! `tcpwait states` as anybody runs it: what is refused, what is said, and that it needs no root for what is its own.

use std::{io::Read, net::TcpListener, process::Stdio};

use crate::support::{Ran, run, tcpwait};

#[test]
fn wrong_usage_is_refused() {
    for (arguments, code, said) in [
        (&["0"][..], 2, "above 0"),
        (&["1", "0"], 2, "1 or more"),
        (&["1", "2", "3"], 2, "3"),
        (&["-4", "-6"], 2, "cannot be used with"),
        (&["--json", "-w"], 2, "cannot be used with"),
        (&["--by", "colour"], 2, "only by service, process, pid, remote,"),
        (&["--top", "3"], 2, "--by"),
        (&["--by", "netns", "--top", "0"], 2, "0"),
        (&["--state", "TIME_WEIGHT"], 2, "no TCP state is called"),
        (&["--duration", "1"], 2, "--duration"),
        (&["--state", "CLOSE"], 1, "the kernel does not list sockets in CLOSE"),
        (&["--netns", "no-such-namespace"], 1, "no-such-namespace"),
        (&["-p", "4194305"], 1, "no process 4194305"),
    ] {
        let ran = run([&["states"], arguments].concat());
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{arguments:?} does not say {said:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn help_says_what_there_is() {
    let help = run(["states", "--help"]).stdout;
    for flag in ["--by", "--top", "--json", "--wide", "--netns", "--lport", "--rport", "--state", "INTERVAL", "COUNT"] {
        assert!(help.contains(flag), "no {flag} in {help}");
    }
    for by in tcpwait::aggregate::by::GroupBy::ALL {
        assert!(help.contains(by.name()), "no {by} in {help}");
    }
}

/// Whoever runs this test may list the sockets of the namespace it is in.
#[test]
fn own_sockets_are_counted() {
    let listeners = ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).ok());
    let port = |listener: &Option<TcpListener>| listener.as_ref().map(|listener| listener.local_addr().unwrap().port());
    let ports: Vec<u16> = listeners.iter().filter_map(port).collect();
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let netns = std::process::id().to_string();
    let ran = run(["states", "--json", "--by", "port,process", "--state", "LISTEN", "--netns", &netns, "-L", &list]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["states"]["LISTEN"]["sockets"], ports.len(), "{report}");
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.len(), ports.len(), "{report}");
    for group in groups {
        assert!(ports.iter().any(|port| group["key"]["local-port"] == *port), "{report}");
        assert!(group["key"]["process"].is_string(), "{report}");
    }
    assert_eq!(report["owners"]["unknown"], 0, "{report}");
}

#[test]
fn every_state_has_its_row_in_any_width() {
    for width in ["20", "40", "80", "200"] {
        let mut command = tcpwait();
        let ran: Ran =
            command.args(["states", "--by", "cgroup,process"]).env("COLUMNS", width).output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let width: usize = width.parse().unwrap();
        assert!(ran.stdout.lines().all(|line| line.chars().count() <= width), "{}", ran.stdout);
        for state in tcpwait::tcp::State::ALL {
            let row = ran.stdout.lines().find(|line| line.split_whitespace().next() == Some(state.name()));
            let row = row.unwrap_or_else(|| panic!("no {state} in {}", ran.stdout));
            let sockets = row.split_whitespace().nth(1).unwrap();
            assert_eq!(sockets == "-", state == tcpwait::tcp::State::Close, "{row}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = tcpwait().args(["states", "0.01"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut [0]).unwrap();
    drop(pipe);
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("stdout"), "{}", ran.stderr);
}
