//! The command line: what is refused as wrong usage (exit 2), what cannot match or cannot be done (exit 1, one
//! sentence that says why), what `--help` says, and how the output ends when nobody reads it any more.

use std::{
    fs,
    io::Read,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Ran, finish, fixture, records, run, tcpwait, trace, write};

#[test]
fn wrong_usage_is_refused_with_2() {
    for (arguments, said) in [
        (&["trace", "-4", "-6"][..], "cannot be used with"),
        (&["trace", "--laddr", "10.0.0.0/33"], "expected an address or a network"),
        (&["trace", "--raddr", "example.com"], "expected an address or a network"),
        (&["trace", "-L", "65536"], "65536"),
        (&["trace", "-L", "0"], "0"),
        (&["trace", "-D", "http"], "http"),
        (&["trace", "-p", "0"], "0"),
        (&["trace", "-p", "nginx"], "nginx"),
        (&["trace", "--state", "TIME_WEIGHT"], "no TCP state is called \"TIME_WEIGHT\""),
        (&["trace", "--raw", "-p", "1"], "cannot be used with"),
        (&["trace", "--raw", "--comm", "a"], "cannot be used with"),
        (&["trace", "--raw", "--cgroup", "/"], "cannot be used with"),
        (&["trace", "--raw", "--state", "CLOSE"], "cannot be used with"),
        (&["trace", "--raw", "-t"], "cannot be used with"),
        (&["trace", "-t", "--json"], "cannot be used with"),
        (&["trace", "--csv", "--json"], "cannot be used with"),
        (&["trace", "--csv", "--raw"], "cannot be used with"),
        (&["trace", "--csv", "-T"], "cannot be used with"),
        (&["stat", "--csv", "--json"], "cannot be used with"),
        (&["stat", "--csv", "-w"], "cannot be used with"),
        (&["trace", "-T", "--json"], "cannot be used with"),
        (&["trace", "-w", "--json"], "cannot be used with"),
        (&["trace", "--journal", "--json"], "cannot be used with"),
        (&["trace", "--journal", "--raw"], "cannot be used with"),
        (&["trace", "--perfetto", "x"], "--from"),
        (&["trace", "--from", "x", "--perfetto", "y", "--json"], "cannot be used with"),
        (&["trace", "--from", "x", "--perfetto", "y", "--journal"], "cannot be used with"),
        (&["trace", "--from", "x", "--perfetto", "y", "--reason", "reset"], "cannot be used with"),
        (&["trace", "--from", "x", "--duration", "1"], "cannot be used with"),
        (&["trace", "--from", "x", "--ring-buffer", "1"], "cannot be used with"),
        (&["trace", "--ring-buffer", "3"], "power of two"),
        (&["trace", "--ring-buffer", "0"], "power of two"),
        (&["trace", "--ring-buffer", "2048"], "power of two"),
        (&["trace", "--ring-buffer", "big"], "number of MiB"),
        (&["trace", "--duration", "0"], "above 0"),
        (&["trace", "--duration", "-1"], ""),
        (&["trace", "--duration", "NaN"], "above 0"),
        (&["trace", "--duration", "soon"], "number of seconds"),
        (&["trace", "--no-such-flag"], "--no-such-flag"),
        (&["record"], "--output"),
        (&["record", "-o", "x", "-L", "80"], "-L"),
        (&["watch"], "watch"),
        (&["stat", "0"], "above 0"),
        (&["stat", "-1"], ""),
        (&["stat", "soon"], "number of seconds"),
        (&["stat", "1", "0"], "1 or more"),
        (&["stat", "1", "many"], "many"),
        (&["stat", "1", "2", "3"], "3"),
        (&["stat", "1", "2", "--duration", "3"], "cannot be used with"),
        (&["stat", "--by", "colour"], "cannot be grouped by \"colour\", only by service, process, pid, remote,"),
        (&["stat", "--sort", "colour"], "entered, now, left, dwell"),
        (&["stat", "--top", "0"], "0"),
        (&["stat", "--json", "-w"], "cannot be used with"),
        (&["stat", "--from", "x", "--duration", "1"], "cannot be used with"),
        (&["stat", "--from", "x", "--", "true"], "cannot be used with"),
        (&["stat", "--duration", "1", "--", "true"], "cannot be used with"),
        (&["stat", "--cgroup", "/", "--", "true"], "cannot be used with"),
        (&["stat", "-4", "-6"], "cannot be used with"),
        (&["doctor", "--seconds", "0"], "above 0"),
        (&["doctor", "--seconds", "soon"], "number of seconds"),
        (&["doctor", "--json", "-w"], "cannot be used with"),
        (&["doctor", "now"], "now"),
        (&["ports", "0"], "above 0"),
        (&["ports", "1", "0"], "1 or more"),
        (&["ports", "1", "2", "--duration", "3"], "cannot be used with"),
        (&["ports", "--top", "0"], "0"),
        (&["ports", "--json", "-w"], "cannot be used with"),
        (&["ports", "--from", "x", "--duration", "1"], "cannot be used with"),
        (&["ports", "-4", "-6"], "cannot be used with"),
        (&["ports", "-p", "1"], "-p"),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{arguments:?} does not say {said:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_command_that_does_not_exist_is_refused_before_anything_is_traced() {
    one_sentence_with(&run(["stat", "--", "/no/such/program"]), 127, "/no/such/program does not exist");
    one_sentence_with(&run(["stat", "1", "--", "no-such-program"]), 127, "no-such-program is in no directory of PATH");
    for no_program in ["/etc/passwd", "/tmp"] {
        one_sentence_with(&run(["stat", "--", no_program]), 126, no_program);
    }
}

#[test]
fn a_wrong_state_lists_the_states() {
    let said = run(["trace", "--state", "nothing"]).stderr;
    for state in tcpwait::tcp::State::ALL {
        assert!(said.contains(state.name()), "no {state} in {said}");
    }
}

#[test]
fn what_cannot_match_is_refused_with_1() {
    for (arguments, said) in [
        (&["-4", "--raddr", "fd00::/8"][..], "fd00::/8"),
        (&["-6", "--laddr", "10.0.0.0/8"], "10.0.0.0/8"),
        (&["-4", "--raddr", "10.0.0.1,fd00::/8"], "fd00::/8"),
        (&["--laddr", "10.0.0.1", "--raddr", "fd00::1"], "different families"),
        (&["--laddr", "10.0.0.1,10.0.0.2", "--raddr", "fd00::1,fd00::2"], "different families"),
        (&["--netns", "no-such-namespace"], "no-such-namespace"),
    ] {
        let natural = fixture("natural");
        let from = ["--from", natural.to_str().unwrap()];
        for mut command in
            [vec!["trace"], vec!["stat"], [&["trace"], &from[..]].concat(), [&["stat"], &from[..]].concat()]
        {
            command.extend(arguments);
            one_sentence(&run(&command), said);
        }
    }
    // A process or a cgroup of a recording need not exist here and now.
    one_sentence(&run(["trace", "-p", "4194305"]), "no process 4194305");
    one_sentence(&run(["trace", "--cgroup", "/no/such.slice"]), "no cgroup /no/such.slice");
    one_sentence(&run(["trace", "--netns", "4194305"]), "4194305");
    for harmless in [["-p", "4194305"], ["--cgroup", "/no/such.slice"], ["--comm", "nobody"], ["--pod", "no/such"]] {
        assert_eq!(trace(&fixture("natural"), &harmless).code, Some(0));
    }
}

/// The kernel keeps 15 bytes of a name.
#[test]
fn a_name_that_no_process_can_have_is_refused() {
    one_sentence(&run(["trace", "--comm", "a-name-of-16-byt"]), "a-name-of-16-byt");
    let ran = trace(&fixture("natural"), &["--comm", "a-name-of-15-by"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// Both families on one side can match.
#[test]
fn what_can_match_is_not_refused() {
    let ran = trace(&fixture("natural"), &["--laddr", "127.0.0.1,::1", "--raddr", "::1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.lines().count() > 1);
}

#[test]
fn without_root_it_says_that_root_is_needed() {
    // The build folder may be closed to other users.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("tcpwait");
    // Not by this process: a test beside this one may fork while the copy is open for writing, and what is cannot be run.
    let copied = Command::new("cp").args([Path::new(env!("CARGO_BIN_EXE_tcpwait")), &program]).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    // And `tcpwait` alone is `tcpwait stat 1`.
    for arguments in [&["trace"][..], &["record", "-o", "/dev/null"], &["stat"], &["ports", "1"], &[]] {
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::null());
        if root {
            command.uid(65534).gid(65534);
        }
        one_sentence(&finish(&mut command), "root");
    }
}

fn one_sentence(ran: &Ran, about: &str) {
    one_sentence_with(ran, 1, about);
}

fn one_sentence_with(ran: &Ran, code: i32, about: &str) {
    assert_eq!(ran.code, Some(code), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.starts_with("tcpwait: "), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "more than a sentence: {}", ran.stderr);
    assert!(ran.stderr.contains(about), "not about {about:?}: {}", ran.stderr);
}

#[test]
fn help_mentions_every_flag() {
    let trace = run(["trace", "--help"]);
    assert_eq!(trace.code, Some(0));
    let shared = ["--duration", "--ring-buffer", "--verbose", "-v", "--netns", "--fail-on-loss"];
    let own = [
        "-L", "--lport", "-D", "--rport", "--laddr", "--raddr", "-p", "--pid", "--comm", "--cgroup", "--pod", "-4",
        "-6", "--state", "-t", "-T", "-w", "--wide", "--json", "--csv", "--raw", "--from",
    ];
    for flag in shared.iter().chain(&own) {
        assert!(mentions(&trace.stdout, flag), "trace --help: no {flag}");
    }
    let stat = run(["stat", "--help"]).stdout;
    let reports =
        ["--by", "--sort", "--top", "--from", "--json", "--csv", "-w", "--wide", "-L", "--cgroup", "--pod", "--state"];
    for flag in shared.iter().chain(&reports) {
        assert!(mentions(&stat, flag), "stat --help: no {flag}");
    }
    let ports = run(["ports", "--help"]).stdout;
    let own = ["-D", "--rport", "--laddr", "--raddr", "-4", "-6", "--top", "--from", "--json", "-w", "--wide"];
    for flag in shared.iter().chain(&own) {
        assert!(mentions(&ports, flag), "ports --help: no {flag}");
    }
    for by in tcpwait::aggregate::by::GroupBy::ALL {
        assert!(stat.contains(by.name()), "stat --help: no {by}");
    }
    let record = run(["record", "--help"]).stdout;
    for flag in shared.iter().chain(&["-o", "--output"]) {
        assert!(mentions(&record, flag), "record --help: no {flag}");
    }
    let doctor = run(["doctor", "--help"]).stdout;
    for flag in ["--seconds", "--netns", "-v", "--all", "-w", "--wide", "--json"] {
        assert!(mentions(&doctor, flag), "doctor --help: no {flag}");
    }
    for reason in tcpwait::lifecycle::Reason::ALL {
        assert!(trace.stdout.contains(reason.name()), "trace --help: no {}", reason.name());
    }
    let all = run(["--help"]).stdout;
    assert!(all.contains("trace") && all.contains("stat") && all.contains("record"), "{all}");
    assert!(run(["--version"]).stdout.starts_with("tcpwait "));
}

fn mentions(help: &str, flag: &str) -> bool {
    help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == flag)
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for arguments in [&[][..], &["--json"], &["--raw"], &["--raw", "--json"], &["--fail-on-loss"]] {
        let mut command = tcpwait();
        command.args(["trace", "--from"]).arg(fixture("nginx")).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0u8; 1];
        let mut pipe = child.stdout.take().unwrap();
        pipe.read_exact(&mut first).unwrap();
        drop(pipe);
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let mut command = tcpwait();
    command.args(["trace", "--from"]).arg(fixture("natural"));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran: Ran = command.stdout(full).output().unwrap().into();
    one_sentence(&ran, "stdout");
}

/// Unknown is `null` in JSON and `-` in text: no port, owner, id or duration is ever shown as 0.
#[test]
fn what_is_not_known_is_never_0() {
    let mut nulls = std::collections::BTreeSet::new();
    for name in ["natural", "predates", "reasons", "handshakes"] {
        for line in trace(&fixture(name), &["--json"]).stdout.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            // A call that failed is no step.
            let is_step = line["event"].is_null();
            let of_steps = ["from", "dwell_ns"].iter().filter(|_| is_step);
            for key in ["id", "lport", "rport", "pid", "comm", "uid", "cgroup", "pod", "container"]
                .iter()
                .chain(of_steps)
                .copied()
            {
                let value = &line[key];
                if value.is_null() {
                    assert!(line.as_object().unwrap().contains_key(key), "{key} is left out: {line}");
                    nulls.insert(key);
                }
                // uid 0 is root.
                assert!(key == "uid" || *value != 0, "{key} is 0: {line}");
                assert!(*value != "0" && *value != "", "{key} is 0: {line}");
            }
            assert_eq!(line["pid"].is_null(), line["uid"].is_null(), "{line}");
            assert_eq!(line["dwell_ns"].is_null(), !is_step || line["timing"] == "unknown", "{line}");
        }
        for line in trace(&fixture(name), &["-w"]).stdout.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            for column in [0, 1, 6, 8, 12] {
                assert_ne!(columns[column], "0", "column {column}: {line}");
            }
        }
    }
    for key in ["rport", "dwell_ns", "pid", "comm", "uid", "cgroup", "pod", "container", "lport"] {
        assert!(nulls.contains(key), "no fixture has an unknown {key}");
    }
}

#[test]
fn a_loss_is_an_error_only_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (lossy, whole) = (folder.path().join("lossy"), fixture("natural"));
    let (header, mut records) = records("natural");
    // A record of no kind, and no other loss.
    records.insert(0, crate::damage::record(200, 24));
    write(&lossy, &header, &records, 100);
    for (file, arguments, code) in [
        (&whole, &["--fail-on-loss"][..], 0),
        (&lossy, &[], 0),
        (&lossy, &["--fail-on-loss"], 3),
        (&lossy, &["--raw", "--fail-on-loss"], 3),
    ] {
        let ran = trace(file, arguments);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        let loss = if *file == lossy { "lost: 1 malformed records" } else { "lost: nothing" };
        assert!(ran.stderr.contains(loss), "{}", ran.stderr);
    }
}

/// Tokyo knows no summer time.
#[test]
fn the_time_of_day_is_that_of_the_zone() {
    if !std::path::Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists() {
        return;
    }
    let hour = |zone: &str| -> u32 {
        let mut command = tcpwait();
        let ran = finish(command.env("TZ", zone).args(["trace", "-T", "--from"]).arg(fixture("natural")));
        ran.stdout.lines().nth(1).unwrap()[11..13].parse().unwrap()
    };
    let utc = hour("UTC");
    for zone in ["XXX-9", "Asia/Tokyo", ":/usr/share/zoneinfo/Asia/Tokyo"] {
        assert_eq!(hour(zone), (utc + 9) % 24, "TZ={zone}");
    }
}
