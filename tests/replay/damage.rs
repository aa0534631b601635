//! Damaged recordings of every kind: what is not one at all, what is of another version, what was cut short at any
//! byte, what has a flipped bit, and malformed records. None may panic, and each is told apart.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use tcpwait::recording::Header;
use tcpwait_wire::wire::{self, Head, Kind};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::{Ran, fixture, records, replay, trace, write};

/// Magic, format and header length.
const START: usize = 16;

/// A record of this kind and length, with nothing in it.
pub fn record(kind: u8, len: u16) -> Vec<u8> {
    let head = Head { time_ns: 1, len, kind, flags: 0, cpu: 0, thread: 0 };
    let mut record = head.as_bytes().to_vec();
    record.resize(usize::from(len).max(record.len()), 0);
    record
}

/// A folder, and in it a real recording small enough to try every byte of it, in several compressed blocks.
fn small() -> (tempfile::TempDir, PathBuf, Vec<Vec<u8>>) {
    let (mut header, all) = records("natural");
    // What stacks are read by is most of a header and has no part in this.
    header.symbols = tcpwait::symbols::Symbols::default();
    let interesting = all.iter().filter(|record| kind(record) != Some(Kind::Tick as u8));
    let mut kept: Vec<Vec<u8>> = interesting.take(20).cloned().collect();
    // The last ticks, too: they say that the end is as late as it is.
    let ticks: Vec<&Vec<u8>> = all.iter().filter(|record| kind(record) == Some(Kind::Tick as u8)).collect();
    kept.extend(ticks[ticks.len() - 2..].iter().copied().chain(all.last()).cloned());
    assert_eq!(kept.last().and_then(|record| kind(record)), Some(Kind::Counters as u8));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.tcpwait");
    write(&path, &header, &kept, 6);
    (folder, path, kept)
}

fn kind(record: &[u8]) -> Option<u8> {
    Head::read_from_prefix(record).ok().map(|(head, _)| head.kind)
}

/// Where the compressed body begins.
fn body(bytes: &[u8]) -> usize {
    START + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize
}

#[test]
fn what_is_no_recording_is_refused_with_what_it_is() {
    for (bytes, said) in [
        (&b""[..], "it is empty"),
        (b"t", "not a tcpwait recording"),
        (b"tcpwait", "not a tcpwait recording"),
        (b"tcpwait\r\n0123456789", "not a tcpwait recording"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abcdef", "gzip"),
        (b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00\x99\xe9\xd8\x51", "zstd"),
        (b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46", "xz"),
        (b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", "executable"),
        (b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00", "packet capture"),
        (b"{\"time\":\"2026-01-01T00:00:00.000000000Z\",\"id\":\"1\"}\n", "JSON"),
        (b"SK       PID     COMM       LADDR", "SK"),
        (b"\x93\x1c\xf0\x00\xff\x80\x01\x02\x99\xaa\xbb\xcc\xdd\xee\x11\x22\x33", "not a tcpwait recording"),
    ] {
        refused(bytes, said);
    }
    // A real one.
    let program = fs::read(env!("CARGO_BIN_EXE_tcpwait")).unwrap();
    refused(&program[..4096], "executable");
}

#[test]
fn what_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("nothing"), folder.path().to_owned()] {
        one_sentence(&trace(&path, &[]), &path, "");
    }
}

#[test]
fn other_versions_are_refused_with_both_versions() {
    let (_folder, path, _) = small();
    let whole = fs::read(&path).unwrap();
    let mut newer = whole.clone();
    newer[8] = 2;
    refused(&newer, "format 2");
    newer[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&newer, "format 4294967295");

    let (header, _) = records("natural");
    let other = Header { wire: wire::VERSION + 1, tcpwait: "99.1.2".to_owned(), ..header };
    write(&path, &other, &[], 1);
    let said = refused(&fs::read(&path).unwrap(), "99.1.2");
    assert!(said.contains(&format!("version {};", wire::VERSION + 1)), "{said}");
    assert!(said.contains(&format!("to {}", wire::VERSION)), "{said}");
    // A header of which only the versions are understood.
    refused(&with_header(br#"{"wire":8,"tcpwait":"8.0","all else":"is new"}"#), "8.0");
}

#[test]
fn damaged_headers_are_refused() {
    let (_folder, path, _) = small();
    let whole = fs::read(&path).unwrap();
    for len in (8..START).chain((START..body(&whole)).step_by(97)) {
        let said = refused(&whole[..len], "cut off");
        assert!(said.contains("recording"), "{said}");
    }
    let mut longer = whole.clone();
    longer[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&longer, "damaged");
    for header in [
        &b""[..],
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe\x00garbage",
        br#"{"wire":1}"#,
        br#"{"wire":"1","tcpwait":1}"#,
        br#"{"wire":1,"tcpwait":"x","kernel":5}"#,
    ] {
        refused(&with_header(header), "record");
    }
}

fn with_header(header: &[u8]) -> Vec<u8> {
    let mut bytes = b"tcpwait\n\x01\0\0\0".to_vec();
    bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header);
    bytes
}

/// Exit 1, nothing on stdout, one sentence with the file's name. Returns the sentence.
fn refused(bytes: &[u8], said: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged file");
    fs::write(&path, bytes).unwrap();
    one_sentence(&trace(&path, &[]), &path, said);
    let ran = trace(&path, &["--raw", "--json"]);
    one_sentence(&ran, &path, said);
    ran.stderr
}

fn one_sentence(ran: &Ran, path: &Path, said: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("tcpwait: ") && ran.stderr.lines().count() == 1, "no sentence: {}", ran.stderr);
    for part in [path.to_str().unwrap(), said] {
        assert!(ran.stderr.contains(part), "nothing of {part:?}: {}", ran.stderr);
    }
}

/// Cut at every byte of its body, a recording is read up to the cut, and what is shown is a beginning of the whole.
#[test]
fn cut_short_anywhere_it_is_read_up_to_there() {
    let (folder, path, kept) = small();
    let (bytes, whole) = (fs::read(&path).unwrap(), replay(&path));
    assert_eq!((whole.records, whole.cut), (kept.len(), None));
    let cut = folder.path().join("cut");
    let mut seen = BTreeMap::new();
    for len in body(&bytes)..bytes.len() {
        fs::write(&cut, &bytes[..len]).unwrap();
        let part = replay(&cut);
        assert!(whole.raw.starts_with(&part.raw), "cut at {len}: another beginning");
        assert_eq!(part.cut.is_none(), part.records == whole.records, "cut at {len}: {:?}", part.cut);
        assert_eq!(part.ledger.states_seen.is_none(), part.records != whole.records, "cut at {len}");
        *seen.entry(part.records).or_insert(0) += 1;
    }
    assert!(seen.len() >= 4, "every block is shown as soon as it is whole: {seen:?}");
    // The same through the program, at some places.
    for len in (body(&bytes)..bytes.len() - 64).step_by(71) {
        fs::write(&cut, &bytes[..len]).unwrap();
        let ran = trace(&cut, &["--raw"]);
        assert_eq!(ran.code, Some(0), "cut at {len}: {}", ran.stderr);
        assert!(whole.raw.starts_with(&ran.stdout), "cut at {len}");
        let said = format!("{}: it was cut short at byte {len};", cut.display());
        assert!(ran.stderr.contains(&said), "cut at {len}: {}", ran.stderr);
        let lost = format!("lost: what the recording had from byte {len} on; unknown whether more was lost");
        assert!(ran.stderr.contains(&lost), "cut at {len}: {}", ran.stderr);
    }
}

/// A flipped bit in the body is noticed, or changes nothing.
#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let (folder, path, _) = small();
    let (bytes, whole) = (fs::read(&path).unwrap(), replay(&path));
    let flipped = folder.path().join("flipped");
    for at in body(&bytes)..bytes.len() {
        for bit in [at % 8, (at + 3) % 8] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&flipped, &bytes).unwrap();
            let part = replay(&flipped);
            let noticed = part.cut.is_some() || part.ledger.undecodable > 0;
            assert!(
                noticed || part.raw == whole.raw,
                "bit {bit} of byte {at} changes what is shown and nobody says so"
            );
            assert!(!noticed || whole.raw.starts_with(&part.raw), "bit {bit} of byte {at}: another beginning");
        }
    }
}

/// What comes after the last record is not looked at.
#[test]
fn what_follows_the_end_is_left_alone() {
    let (_folder, path, _) = small();
    let mut bytes = fs::read(&path).unwrap();
    let whole = trace(&path, &["--raw"]);
    bytes.extend(b"something else");
    fs::write(&path, bytes).unwrap();
    let ran = trace(&path, &["--raw"]);
    assert_eq!((ran.code, ran.stdout, ran.stderr), (whole.code, whole.stdout, whole.stderr));
}

/// Records that make no sense are counted and skipped; those around them are shown.
#[test]
fn records_without_sense_are_counted() {
    let (_folder, path, kept) = small();
    let whole = trace(&path, &["--json"]);
    let header = records("natural").0;
    let state = kept.iter().find(|record| kind(record) == Some(Kind::StateTask as u8)).unwrap();
    let change = |at: usize, value: u8| {
        let mut record = state.clone();
        record[at] = value;
        record
    };
    let (old, new) = (std::mem::offset_of!(wire::SockState, old), std::mem::offset_of!(wire::SockState, new));
    let family = std::mem::offset_of!(wire::SockState, flow) + std::mem::offset_of!(wire::Flow, family);
    let mut nonsense = vec![
        record(0, 24),
        record(9, 24),
        record(200, 24),
        record(Kind::State as u8, 16),
        record(Kind::State as u8, 88),
        record(Kind::StateTask as u8, 88),
        record(Kind::TwArm as u8, 112),
        record(Kind::TwCancel as u8, 65535),
        record(Kind::Tick as u8, 16),
        record(Kind::Counters as u8, 32),
        change(old, 0),
        change(old, 12),
        change(new, 255),
        change(family, 1),
    ];
    let count = nonsense.len();
    // The one of kind Counters ends a recording, so it comes last.
    let last = nonsense.remove(9);
    let mut all = Vec::new();
    for (index, good) in kept[..kept.len() - 1].iter().enumerate() {
        all.push(good.clone());
        all.extend(nonsense.get(index).cloned());
    }
    assert!(kept.len() > nonsense.len());
    all.push(last);
    write(&path, &header, &all, 6);
    let ran = trace(&path, &["--json"]);
    assert_eq!((ran.code, &ran.stdout), (Some(0), &whole.stdout));
    assert!(ran.stderr.contains(&format!("{count} malformed records")), "{}", ran.stderr);
}

/// After a record whose length cannot be, nothing tells where the next one begins.
#[test]
fn a_length_that_cannot_be_ends_it() {
    let (_folder, path, mut kept) = small();
    kept.retain(|record| kind(record) == Some(Kind::StateTask as u8));
    let header = records("natural").0;
    for len in [0u16, 1, 15] {
        let mut bad = record(Kind::State as u8, 88);
        bad[8..10].copy_from_slice(&len.to_le_bytes());
        write(&path, &header, &[kept[0].clone(), bad, kept[1].clone()], 1);
        let ran = trace(&path, &["--raw"]);
        assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 1), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("has a length of {len} bytes")), "{}", ran.stderr);
    }
}

/// What a recorder that is killed has flushed is there: the recorder flushes every second.
#[test]
fn what_was_flushed_is_in_the_file() {
    let (_folder, path, kept) = small();
    let header = records("natural").0;
    let mut writer = tcpwait::recording::Writer::create(&path, &header).unwrap();
    writer.record(&kept[0]).unwrap();
    writer.flush().unwrap();
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    assert!(fs::metadata(&copy).unwrap().len() > 0, "nothing is in the file after a flush");
    assert_eq!(replay(&copy).records, 1);
}

#[test]
fn the_fixtures_are_whole_and_of_this_version() {
    for name in crate::support::FIXTURES {
        let ran = trace(&fixture(name), &["--fail-on-loss"]);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        assert!(!ran.stderr.contains("cut short"), "{name}: {}", ran.stderr);
    }
}
