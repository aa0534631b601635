//! Text of others reaches no terminal as it is: names of processes, cgroups and interfaces in a recording, what its header says, names of files and arguments,
//! in everything that is written on stdout and on stderr. Programs get it back whole from JSON.

use std::{ffi::OsString, fs, mem::offset_of, net::TcpListener, os::unix::ffi::OsStringExt, path::Path};

use proptest::prelude::*;
use serde_json::Value;
use tcpwait::{plain::is_plain, recording::Header};
use tcpwait_wire::wire::{self, Flow, Head, Kind};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::{Ran, finish, fixture, records, run, tcpwait, write};

/// Names in 15 bytes: a sequence that clears a screen, C1, a line of its own, text that runs the other way, what cannot be seen, what ends JSON's string,
/// what a spreadsheet takes for a formula.
const NAMES: [&str; 8] = [
    "\u{1b}[2J\u{1b}[31mred",
    "\u{9b}2Jx\u{9d}0;t\u{7}",
    "a\nlost: nothin",
    "gp\u{202e}g.exe\u{2066}",
    "r\u{200b}o\u{feff}o\u{2060}t",
    "q\"\\\u{7f}\u{85}\u{2028}\r",
    "=cmd|'x'!A,\"b\"",
    "\t-2+3,@x\r\n;",
];

/// What stands in each process's place.
fn comm(name: &str) -> [u8; 16] {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    comm
}

fn task_at(kind: u8) -> Option<usize> {
    Some(match Kind::from_u8(kind)? {
        Kind::StateTask => offset_of!(wire::SockStateTask, task),
        Kind::Owner => offset_of!(wire::Owner, task),
        Kind::TwCancel => offset_of!(wire::MiniCancel, task),
        Kind::ReqCancel => offset_of!(wire::RequestCancel, task),
        Kind::PortRefused => offset_of!(wire::PortRefused, task),
        Kind::Accepted => offset_of!(wire::Accepted, task),
        Kind::Seed => offset_of!(wire::Seed, task),
        _ => return None,
    })
}

fn flow_at(kind: u8) -> Option<usize> {
    Some(match Kind::from_u8(kind)? {
        Kind::State | Kind::StateTask | Kind::StateStack => offset_of!(wire::SockState, flow),
        Kind::TwArm | Kind::TwExpire | Kind::TwSegment | Kind::TwCancel => offset_of!(wire::Mini, flow),
        Kind::ReqArm | Kind::ReqExpire | Kind::ReqCancel => offset_of!(wire::Request, flow),
        Kind::PortRefused => offset_of!(wire::PortRefused, flow),
        Kind::Seed => offset_of!(wire::Seed, flow),
        _ => return None,
    })
}

/// A recording in which everything that has a name has this one.
pub fn named(name: &str) -> (Header, Vec<Vec<u8>>) {
    let (mut header, all) = records("reasons");
    // Interfaces have names from version 5 on; what is older has no fields for them, and is read alike.
    header.wire = wire::VERSION;
    (header.tcpwait, header.kernel, header.boot_id) = (name.to_owned(), name.to_owned(), name.to_owned());
    let time_ns = header.started_ns;
    let head =
        |len: usize, kind: Kind| Head { time_ns, len: len as u16, kind: kind as u8, flags: 0, cpu: 0, thread: 0 };
    let (mut cgroups, mut places) = (Vec::new(), Vec::new());
    let mut named = Vec::new();
    for mut record in all {
        let kind = Head::read_from_prefix(&record).unwrap().0.kind;
        if kind == Kind::CgroupName as u8 {
            continue;
        }
        if let Some(at) = task_at(kind) {
            let at_comm = at + offset_of!(wire::Task, comm);
            record[at_comm..at_comm + 16].copy_from_slice(&comm(name));
            let at_cgroup = at + offset_of!(wire::Task, cgroup);
            cgroups.push(u64::from_ne_bytes(record[at_cgroup..at_cgroup + 8].try_into().unwrap()));
        }
        if let Some(at) = flow_at(kind) {
            let at = at + offset_of!(Flow, bound_dev_if);
            record[at..at + 4].copy_from_slice(&7u32.to_ne_bytes());
            let flow = Flow::read_from_prefix(&record[flow_at(kind).unwrap()..]).unwrap().0;
            places.push((flow.netns, flow.generation));
        }
        named.push(record);
    }
    cgroups.sort_unstable();
    cgroups.dedup();
    places.sort_unstable();
    places.dedup();
    let mut path = [0; 256];
    path[0] = b'/';
    path[1..=name.len()].copy_from_slice(name.as_bytes());
    let (mut short, mut long) = ([0; 64], [0; 256]);
    short[..name.len()].copy_from_slice(name.as_bytes());
    long[..name.len()].copy_from_slice(name.as_bytes());
    let cgroups = cgroups.into_iter().flat_map(|cgroup| {
        let of_path =
            wire::CgroupName { head: head(size_of::<wire::CgroupName>(), Kind::CgroupName), id: cgroup, path };
        let head = head(size_of::<wire::PodName>(), Kind::PodName);
        let of_pod = wire::PodName { head, cgroup, namespace: short, pod: long, container: short };
        [of_path.as_bytes().to_vec(), of_pod.as_bytes().to_vec()]
    });
    let interfaces = places.into_iter().map(|(netns, generation)| {
        let head = head(size_of::<wire::InterfaceName>(), Kind::InterfaceName);
        wire::InterfaceName { head, netns, index: 7, name: comm(name), generation, reserved: [0; 3] }
            .as_bytes()
            .to_vec()
    });
    (header, cgroups.chain(interfaces).chain(named).collect())
}

#[track_caller]
fn is_plain_text(ran: &Ran, of: &str) {
    for (stream, text) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
        for line in text.split('\n') {
            assert!(line.chars().all(is_plain), "{of}: not plain on {stream}: {line:?}");
        }
        assert!(
            !text.lines().any(|line| line.starts_with("lost: nothin") && line != "lost: nothing"),
            "{of}: a name is a line: {text}"
        );
    }
}

fn read(arguments: &[&str], file: &Path) -> Ran {
    finish(tcpwait().args(&arguments[..1]).arg("--from").arg(file).args(&arguments[1..]))
}

#[test]
fn names_in_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let (header, records) = named(name);
        let path = folder.path().join(format!("{}.tcpwait", name.replace('/', "")));
        write(&path, &header, &records, 50);
        let by = ["--by", "process,cgroup,pod,remote,pair,netns"];
        for arguments in [
            &["trace"][..],
            &["trace", "-w", "-T"],
            &["trace", "-v"],
            &["trace", "--raw"],
            &["stat"],
            &["stat", "-w"],
            &[&["stat", "1"], &by[..]].concat(),
            &[&["stat", "-w"], &by[..]].concat(),
            &["ports"],
            &["ports", "-w", "1"],
            &["export", "--label", "process,cgroup,pod,listener,netns"],
        ] {
            let ran = read(arguments, &path);
            assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
            is_plain_text(&ran, &format!("{name:?} {arguments:?}"));
        }
        for arguments in [
            &["trace", "--json"][..],
            &["trace", "--raw", "--json"],
            &[&["stat", "--json", "1"], &by[..]].concat(),
            &["ports", "--json"],
        ] {
            let ran = read(arguments, &path);
            assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
            is_plain_text(&ran, &format!("{name:?} {arguments:?}"));
            let documents: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(
                documents.iter().any(|document| has(document, name)),
                "{arguments:?}: {name:?} is not in {}",
                ran.stdout
            );
        }
        for arguments in [&["trace", "--csv"][..], &[&["stat", "--csv", "1"], &by[..]].concat()] {
            let ran = read(arguments, &path);
            assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
            is_safe_csv(ran, &format!("{name:?} {arguments:?}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any name at all, on a terminal, in JSON, and in labels.
    #[test]
    fn any_name(name in "\\PC{0,3}.{0,3}[\\x01-\\x7f\u{80}-\u{9f}\u{2028}-\u{202e}]{0,3}") {
        let mut name = name.replace('\0', "");
        while name.len() > 15 {
            name.pop();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("named.tcpwait");
        let (header, records) = named(&name);
        write(&path, &header, &records, 50);
        for arguments in [
            &["trace"][..],
            &["stat", "-w", "--by", "process,cgroup"],
            &["ports", "-w"],
            &["trace", "--json"],
            &["stat", "--json", "--by", "process,cgroup"],
            &["trace", "--csv"],
            &["stat", "--csv", "--by", "process,cgroup"],
            &["export", "--label", "process,cgroup"],
        ] {
            let ran = read(arguments, &path);
            prop_assert_eq!(ran.code, Some(0), "{:?}: {}", arguments, ran.stderr);
            if arguments.contains(&"--csv") {
                is_safe_csv(ran, &format!("{name:?} {arguments:?}"));
                continue;
            }
            is_plain_text(&ran, &format!("{name:?} {arguments:?}"));
            match (arguments[0], arguments.contains(&"--json")) {
                ("export", _) => ran.stdout.lines().for_each(is_metrics),
                (_, true) => ran.stdout.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap())),
                _ => {}
            }
        }
    }
}

/// Each row is a line, every row has all columns, nothing acts on a terminal, and only a number begins as a formula does.
#[track_caller]
fn is_safe_csv(mut ran: Ran, of: &str) {
    let table = ::csv::Reader::from_reader(ran.stdout.as_bytes());
    let rows: Vec<::csv::StringRecord> = table.into_records().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len() + 1, ran.stdout.matches('\n').count(), "{of}: {}", ran.stdout);
    for cell in rows.iter().flatten() {
        let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']);
        assert!(!begins || cell.parse::<f64>().is_ok(), "{of}: {cell:?}");
    }
    ran.stdout = ran.stdout.replace("\r\n", "\n");
    is_plain_text(&ran, of);
}

/// A line of OpenMetrics: a comment, or a series with its labels in quotes, a value and a time.
fn is_metrics(line: &str) {
    if line.starts_with("# ") {
        return;
    }
    let (series, rest) = match line.split_once('{') {
        None => line.split_once(' ').unwrap(),
        Some((name, labels)) => {
            let (mut quoted, mut escaped, mut end) = (false, false, None);
            for (at, c) in labels.char_indices() {
                match c {
                    _ if escaped => {
                        assert!(matches!(c, '\\' | '"' | 'n'), "{line:?}");
                        escaped = false;
                    }
                    '\\' if quoted => escaped = true,
                    '"' => quoted = !quoted,
                    '}' if !quoted => {
                        end = Some(at);
                        break;
                    }
                    _ => {}
                }
            }
            (name, labels[end.unwrap_or_else(|| panic!("labels do not end: {line:?}")) + 1..].trim_start())
        }
    };
    assert!(series.starts_with("tcpwait_"), "{line:?}");
    let numbers: Vec<Result<f64, _>> = rest.split(' ').map(str::parse::<f64>).collect();
    assert!(numbers.len() == 2 && numbers.iter().all(Result::is_ok), "{line:?}");
}

/// Whether a text is, or ends with, this one: a cgroup's path and an address begin with something else.
fn has(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text.ends_with(name),
        Value::Array(values) => values.iter().any(|value| has(value, name)),
        Value::Object(fields) => fields.values().any(|value| has(value, name)),
        _ => false,
    }
}

/// What a header says is quoted where it cannot be read; and never much of it.
#[test]
fn what_a_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tcpwait");
    let long = "\u{1b}[31m".repeat(100_000);
    for name in NAMES.into_iter().chain([long.as_str()]) {
        let text = serde_json::to_string(name).unwrap();
        for header in [
            format!("{{\"wire\":99,\"tcpwait\":{text}}}"),
            format!("{{\"wire\":{text},\"tcpwait\":{text}}}"),
            format!(
                "{{\"wire\":5,\"tcpwait\":\"\",\"kernel\":\"\",\"machine\":\"\",\"boot_id\":\"\",\"started_ns\":{text}}}"
            ),
            format!("{{{text}:"),
        ] {
            let mut bytes = b"tcpwait\n\x01\0\0\0".to_vec();
            bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
            bytes.extend(header.bytes());
            fs::write(&path, bytes).unwrap();
            for verb in ["trace", "stat", "ports"] {
                let ran = read(&[verb], &path);
                assert_eq!(
                    (ran.code, ran.stdout.as_str(), ran.stderr.lines().count()),
                    (Some(1), "", 1),
                    "{}",
                    ran.stderr
                );
                is_plain_text(&ran, verb);
                assert!(ran.stderr.len() < 3000, "{} bytes of it", ran.stderr.len());
            }
        }
    }
}

#[test]
fn names_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(fixture("handshakes")).unwrap();
    for name in NAMES {
        for (bytes, code, lines) in
            [(&whole[..], 0, 1), (&whole[..whole.len() - 9], 3, 1), (b"nothing", 1, 1), (&whole[..20], 1, 1)]
        {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            for verb in ["trace", "stat", "ports"] {
                let ran = read(&[verb, "--fail-on-loss"], &path);
                assert_eq!(ran.code, Some(code), "{}", ran.stderr);
                is_plain_text(&ran, &format!("{name:?} {verb}"));
                let said = ran.stderr.lines().filter(|line| line.starts_with("tcpwait: ")).count();
                assert_eq!(said, if code == 0 { 0 } else { lines }, "{}", ran.stderr);
            }
        }
        let nowhere = folder.path().join("nowhere").join(name);
        is_plain_text(&read(&["stat"], &nowhere), "no such file");
        is_plain_text(&finish(tcpwait().args(["record", "-o"]).arg(&nowhere)), "record");
    }
}

/// Whatever is wrong with arguments: clap quotes them, and so do the sentences of the tool itself.
#[test]
fn arguments() {
    let natural = fixture("natural");
    let from = natural.to_str().unwrap();
    let bytes = OsString::from_vec(b"\xff\x1b[2J\xfe".to_vec());
    for name in NAMES.map(OsString::from).into_iter().chain([bytes]) {
        for before in [
            &[][..],
            &["stat"],
            &["stat", "--by"],
            &["stat", "--sort"],
            &["stat", "--top"],
            &["stat", "--"],
            &["stat", "--from", from, "--netns"],
            &["stat", "1"],
            &["trace", "--from", from, "--netns"],
            &["trace", "--netns"],
            &["trace", "--state"],
            &["trace", "--laddr"],
            &["trace", "-L"],
            &["trace", "-p"],
            &["trace", "--comm"],
            &["trace", "--cgroup"],
            &["trace", "--timing"],
            &["trace", "--duration"],
            &["trace", "--ring-buffer"],
            &["trace", "--from", from, "--state=TIME_WAIT", "--json", "-t"],
            &["record"],
            &["record", "-o", "/nowhere/x", "--netns"],
            &["ports", "--netns"],
            &["ports", "--raddr"],
            &["states", "--netns"],
            &["states", "--by"],
            &["states", "--cgroup"],
            &["doctor", "--netns"],
            &["doctor", "--seconds"],
            &["probes", "--timing"],
            &["help"],
        ] {
            // What may be traced for ever ends by a second thing that is wrong.
            let ends = matches!(before, ["trace", "--comm"]);
            let ran = finish(tcpwait().args(before).arg(&name).args(if ends { &["--state", "NONE"][..] } else { &[] }));
            assert!(matches!(ran.code, Some(1 | 2 | 127)), "{before:?} {name:?}: {:?} {}", ran.code, ran.stderr);
            is_plain_text(&ran, &format!("{before:?} {name:?}"));
        }
        let mut flag = OsString::from("--");
        flag.push(&name);
        for verb in ["trace", "stat", "ports", "states", "doctor", "probes", "record"] {
            let ran = finish(tcpwait().arg(verb).arg(&flag));
            assert_eq!(ran.code, Some(2), "{}", ran.stderr);
            is_plain_text(&ran, &format!("{verb} {flag:?}"));
        }
    }
}

/// This process, with such a name, in what `states` counts.
#[test]
fn names_of_running_processes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, pid) = (listener.local_addr().unwrap().port().to_string(), std::process::id().to_string());
    let comm = format!("/proc/{pid}/comm");
    let own = fs::read_to_string(&comm).unwrap();
    for name in NAMES {
        fs::write(&comm, name).unwrap();
        let states = ["states", "--by", "process,cgroup", "--state", "LISTEN", "--netns", &pid, "-L", &port];
        // A process that another test has just forked holds the listener too, and has the name of before: then whose it is is unknown.
        let mut tries = 0;
        let (text, json) = loop {
            let (text, json) = (run(states), run(states.into_iter().chain(["--json"])));
            tries += 1;
            if tries == 10 || !json.stdout.contains("{\"process\":null") {
                break (text, json);
            }
        };
        fs::write(&comm, own.trim_end()).unwrap();
        assert_eq!((text.code, json.code), (Some(0), Some(0)), "{} {}", text.stderr, json.stderr);
        is_plain_text(&text, name);
        is_plain_text(&json, name);
        assert!(has(&serde_json::from_str(&json.stdout).unwrap(), name), "{name:?} is not in {}", json.stdout);
    }
}

/// The only ways out of the product are those that were looked at: JSON by `plain::json`, and stderr by the macro that stands for the standard one.
#[test]
fn there_is_no_other_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.clone()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let name = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
            let code = fs::read_to_string(&path).unwrap();
            let code = code.split("#[cfg(test)]").next().unwrap_or_default();
            // A recording's header goes to a file, and a schema has no text of others.
            let may_write = ["recording.rs", "view/schema.rs"].contains(&name.as_str());
            let writes = code.replace("serde_json::to_value", "").contains("serde_json::to_");
            assert!(!writes || may_write, "{name} writes JSON by itself");
            assert!(name != "main.rs" || !code.contains("eprintln!("), "the macro in main.rs is the standard one");
            let others = code.replace("eprintln!(", "");
            assert!(!others.contains("println!(") && !others.contains("print!("), "{name} writes past plain.rs");
        }
    }
    assert!(files > 100, "{files}");
}
