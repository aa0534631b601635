//! `tcpwait trace --journal`: what arrives at a socket in the journal's place, read by a parser of its own. Names that others choose forge nothing, and a
//! journal that is slow, away or started anew costs only what is counted.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{IoSliceMut, Read, Write},
    net::IpAddr,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};
use serde_json::Value;
use tcpwait::{
    output::journal::Journal,
    pipeline::{Pipeline, Shown},
    recording::Header,
    select::{Criteria, Selector},
    view::{
        journal::{DAMAGE_ID, FAILURE_ID, JournalEntry, LOSS_ID, Pids, STEP_ID, TraceJournal},
        text::Columns,
    },
};
use tempfile::TempDir;

use crate::{
    sinks::named,
    support::{FIXTURES, fixture, records, trace},
};

/// Long after the slowest run.
const PATIENCE: Duration = Duration::from_secs(20);

/// A field's name and its values: a name may come more than once.
type Fields = BTreeMap<String, Vec<Vec<u8>>>;

/// Reads the native protocol as its documentation has it.
fn parse(mut entry: &[u8]) -> Fields {
    let mut fields = Fields::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|&byte| byte == b'\n').expect("a line");
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        let (name, value);
        match line.iter().position(|&byte| byte == b'=') {
            Some(at) => (name, value, entry) = (&line[..at], &line[at + 1..], rest),
            None => {
                let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                (name, value) = (line, &rest[8..8 + len]);
                assert_eq!(rest[8 + len], b'\n', "a value ends where it says");
                entry = &rest[9 + len..];
            }
        }
        let name = String::from_utf8(name.to_vec()).unwrap();
        let is_valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(is_valid), "{name:?}");
        fields.entry(name).or_default().push(value.to_vec());
    }
    fields
}

/// The one value of a field.
fn one<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let values = fields.get(name)?;
    assert_eq!(values.len(), 1, "{name}");
    Some(str::from_utf8(&values[0]).unwrap())
}

/// A socket in the journal's place.
struct InItsPlace {
    folder: TempDir,
    socket: UnixDatagram,
}

impl InItsPlace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, socket }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The next entry, which came in a datagram; `None` once nothing comes.
    fn next(&self) -> Option<Vec<u8>> {
        let mut entry = vec![0; 1 << 20];
        let len = self.socket.recv(&mut entry).ok()?;
        entry.truncate(len);
        Some(entry)
    }
}

/// All entries that a pipeline sends of these records.
fn entries(header: &Header, records: &[Vec<u8>], pids: Pids) -> Vec<Fields> {
    let place = InItsPlace::new();
    let journal = Journal::connect(&place.path()).unwrap();
    let view = Box::new(TraceJournal::new(Columns::default(), pids));
    let selector = Selector::new(Criteria::default());
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut entries = Vec::new();
            while let Some(entry) = place.next().filter(|entry| entry != b"OVER=1\n") {
                entries.push(parse(&entry));
            }
            entries
        });
        let mut pipeline = Pipeline::new(header, selector, Shown::Transitions(view), journal.patient()).unwrap();
        records.iter().for_each(|record| pipeline.record(record).unwrap());
        pipeline.finish().unwrap();
        journal.patient().write_all(b"OVER=1\n").unwrap();
        assert_eq!(journal.settle().total(), 0);
        reader.join().unwrap()
    })
}

#[test]
fn fields_are_those_of_the_lines() {
    for name in FIXTURES.into_iter().filter(|name| *name != "nginx") {
        let (header, records) = records(name);
        let entries = entries(&header, &records, Pids::OfJournal);
        let lines = trace(&fixture(name), &[]).stdout;
        let documents = trace(&fixture(name), &["--json"]).stdout;
        assert_eq!(entries.len(), documents.lines().count(), "{name}");
        for ((entry, line), document) in entries.iter().zip(lines.lines().skip(1)).zip(documents.lines()) {
            let document: Value = serde_json::from_str(document).unwrap();
            assert_eq!(one(entry, "MESSAGE"), Some(line), "{name}");
            is_the_same(entry, &document);
        }
    }
}

#[track_caller]
fn is_the_same(entry: &Fields, document: &Value) {
    let text = |key: &str| match &document[key] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let address: IpAddr = document["laddr"].as_str().unwrap().parse().unwrap();
    let version = if address.is_ipv4() { "IPV4" } else { "IPV6" };
    let source = format!("OBJECT_{version}_SOURCE_ADDRESS");
    for (field, key) in [
        ("TCPWAIT_TIME", "time"),
        ("TCPWAIT_ID", "id"),
        ("TCPWAIT_NETNS", "netns"),
        ("TCPWAIT_INTERFACE", "interface"),
        ("OBJECT_PID", "pid"),
        ("OBJECT_COMM", "comm"),
        ("TCPWAIT_UID", "uid"),
        ("TCPWAIT_CGROUP", "cgroup"),
        (&source, "laddr"),
        ("OBJECT_TCP_SOURCE_PORT", "lport"),
        ("OBJECT_TCP_DESTINATION_PORT", "rport"),
        ("OBJECT_TCP_OLD_STATE", "from"),
        ("OBJECT_TCP_NEW_STATE", "to"),
        ("TCPWAIT_DWELL_NS", "dwell_ns"),
        ("TCPWAIT_AT_LEAST_NS", "dwell_at_least_ns"),
        ("TCPWAIT_DETAIL", "detail"),
        ("TCPWAIT_ERRNO", "errno"),
        ("TCPWAIT_SOFT_ERRNO", "soft_errno"),
        ("TCPWAIT_RESTARTS", "restarts"),
        ("TCPWAIT_RETRANSMITS", "retransmits"),
        ("TCPWAIT_EVENT", "event"),
    ] {
        assert_eq!(one(entry, field).map(str::to_owned), text(key), "{field}: {document}");
    }
    let failed = document["event"].is_string();
    let reason = text(if failed { "why" } else { "reason" });
    assert_eq!(one(entry, "TCPWAIT_REASON").map(str::to_owned), reason);
    let span = document["dwell_ns"].as_u64().map(|ns| (ns / 1000).to_string());
    assert_eq!(one(entry, "OBJECT_TCP_SPAN_TIME").map(str::to_owned), span, "microseconds, as tcpstates has it");
    assert_eq!(one(entry, "MESSAGE_ID"), Some(if failed { FAILURE_ID } else { STEP_ID }));
    assert_eq!(one(entry, "SYSLOG_IDENTIFIER"), Some("tcpwait"));
    let bad = ["reset", "reset-sent", "timed-out", "timeout", "accept-queue-full", "listener-closed", "unreachable"];
    let is_bad = failed || reason.is_some_and(|it| bad.contains(&it.as_str()) || it == "destroyed" || it == "overflow");
    assert_eq!(one(entry, "PRIORITY"), Some(if is_bad { "4" } else { "6" }), "{document}");
}

/// A journal adds what it finds under the number that `OBJECT_PID` says.
#[test]
fn processes_of_elsewhere_are_not_looked_up() {
    let (header, records) = records("natural");
    let entries = entries(&header, &records, Pids::Other);
    assert!(entries.iter().any(|entry| entry.contains_key("TCPWAIT_PID")));
    assert!(entries.iter().all(|entry| !entry.contains_key("OBJECT_PID")));
}

#[test]
fn names_forge_no_field() {
    for name in ["a\nPRIORITY=0", "=\n\n=", "\nMESSAGE\n\u{1}\0\0", "r\u{202e}\u{1b}[2J"] {
        let shown = name.split('\0').next().unwrap();
        let (header, records) = named(name);
        let entries = entries(&header, &records, Pids::OfJournal);
        assert!(!entries.is_empty());
        let owned: Vec<&Fields> = entries.iter().filter(|entry| entry.contains_key("OBJECT_COMM")).collect();
        assert!(owned.iter().filter(|entry| one(entry, "OBJECT_COMM") == Some(shown)).count() > 100);
        for entry in owned {
            // Those of records that have no place for it here have kept their names.
            let comm = one(entry, "OBJECT_COMM").unwrap();
            assert!(comm == shown || comm.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{comm:?}");
            assert_ne!(one(entry, "PRIORITY"), Some("0"));
            assert!(one(entry, "MESSAGE").unwrap().chars().all(tcpwait::plain::is_plain));
        }
    }
}

#[test]
fn values_are_bounded_and_may_have_any_bytes() {
    let mut entry = JournalEntry::default();
    let long = [b"\xff\n=".as_slice(), &"ä".repeat(1 << 20).into_bytes()].concat();
    entry.put("LONG", &long);
    entry.put("BYTES", b"\xff\xfe=\0\n\nX=1\n");
    entry.put("EMPTY", b"");
    let fields = parse(entry.bytes());
    assert_eq!(fields["BYTES"], [b"\xff\xfe=\0\n\nX=1\n"]);
    assert_eq!(fields["EMPTY"], [b""]);
    let [value] = fields["LONG"].as_slice() else { panic!("{:?}", fields.keys()) };
    assert!(value.len() <= 4096 && value.len() > 4000 && long.starts_with(value));
    assert!(str::from_utf8(&value[3..]).is_ok(), "no half of a character");
    assert_eq!(fields.len(), 3);
}

#[test]
fn an_entry_too_large_for_a_datagram_is_a_sealed_file() {
    let place = InItsPlace::new();
    let journal = Journal::connect(&place.path()).unwrap();
    // Larger than any buffer that is asked for.
    let large = [b"X=".as_slice(), &vec![b'x'; 20 << 20], b"\n"].concat();
    journal.patient().write_all(&large).unwrap();
    journal.patient().write_all(b"Y=2\n").unwrap();
    let mut payload = [0; 16];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut parts = [IoSliceMut::new(&mut payload)];
    let message =
        recvmsg::<()>(place.socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    assert_eq!(message.bytes, 0, "the file instead of a payload");
    let Some(ControlMessageOwned::ScmRights(files)) = message.cmsgs().unwrap().next() else { panic!("no file") };
    assert_eq!(files.len(), 1);
    // SAFETY: the kernel has just made it for this process, and nobody else here knows of it.
    let file = unsafe { OwnedFd::from_raw_fd(files[0]) };
    let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS).unwrap());
    let all = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    assert!(seals.contains(all), "{seals:?}");
    let mut found = Vec::new();
    // Where it is read from is where it was written to: journald maps it, or reads it by offset.
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap().read_to_end(&mut found).unwrap();
    assert!(found == large, "{} bytes", found.len());
    assert_eq!(place.next().as_deref(), Some(b"Y=2\n".as_slice()));
    assert_eq!(journal.settle().total(), 0);
}

#[test]
fn a_journal_that_takes_nothing_holds_up_nobody() {
    const ENTRIES: usize = 12_000;
    let place = InItsPlace::new();
    let journal = Journal::connect(&place.path()).unwrap();
    let mut writer = journal.live();
    let entry = [b"X=".as_slice(), &[b'x'; 1000], b"\n"].concat();
    let begun = Instant::now();
    for _ in 0..ENTRIES {
        writer.write_all(&entry).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let unsent = journal.settle();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(unsent.slow > 0 && unsent.refused.is_empty(), "{unsent:?}");
    place.socket.set_nonblocking(true).unwrap();
    let mut received = 0;
    while place.next().is_some() {
        received += 1;
    }
    let missing = ENTRIES - received;
    // The one that was under way when it was given up may have arrived.
    assert!((missing..=missing + 1).contains(&(unsent.slow as usize)), "{missing} {unsent:?}");
}

#[test]
fn a_journal_that_goes_and_comes_back() {
    let InItsPlace { folder, socket } = InItsPlace::new();
    let path = folder.path().join("socket");
    let journal = Journal::connect(&path).unwrap();
    drop(socket);
    journal.live().write_all(b"WHILE=away\n").unwrap();
    std::fs::remove_file(&path).unwrap();
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let place = InItsPlace { folder, socket };
    assert_eq!(place.next().as_deref(), Some(b"WHILE=away\n".as_slice()), "it was kept");
    assert_eq!(journal.settle().total(), 0);
}

#[test]
fn a_journal_that_goes_for_good() {
    let InItsPlace { folder, socket } = InItsPlace::new();
    let journal = Journal::connect(&folder.path().join("socket")).unwrap();
    drop(socket);
    for _ in 0..3 {
        journal.live().write_all(b"X=1\n").unwrap();
    }
    let unsent = journal.settle();
    let refused: Vec<(i32, u64)> = unsent.refused.into_iter().collect();
    assert_eq!((unsent.slow, refused), (0, vec![(Errno::ECONNREFUSED as i32, 3)]));
    assert!(Journal::connect(Path::new("/nonexistent/socket")).is_err());
}

#[test]
fn losses_and_damage_are_entries() {
    let (header, mut all) = records("natural");
    // The kernel's counts at the end are missing, and a record makes no sense.
    all.push(vec![0xff; 48]);
    let entries = entries(&header, &all, Pids::Other);
    let last = entries.last().unwrap();
    assert_eq!((one(last, "MESSAGE_ID"), one(last, "PRIORITY")), (Some(LOSS_ID), Some("4")));
    assert_eq!(one(last, "TCPWAIT_EVENT"), Some("lost"));
    assert!(one(last, "MESSAGE").unwrap().contains("1 malformed record"), "{last:?}");
    assert_ne!(LOSS_ID, DAMAGE_ID);
}
