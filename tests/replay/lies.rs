//! Recordings that lie about their times, that were cut or damaged, and genuine ones that only look as if they lied: readers that were stopped, machines that
//! were suspended. What lies is left out and counted, and nothing else is; every verb ends, and says what is wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proptest::{prelude::Rng, test_runner::TestRunner};
use serde_json::Value;
use tcpwait::{
    ledger::Recorded,
    recording::{Believed, Header},
};
use tcpwait_wire::wire::{Head, Kind, Tick};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    mutation::entry,
    support::{FIXTURES, Ran, finish, fixture, records, tcpwait, write},
};

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const YEAR: u64 = 365 * 24 * 3600 * S;

/// Every way to read a recording.
const WAYS: [&[&str]; 11] = [
    &["trace"],
    &["trace", "-t"],
    &["trace", "--json"],
    &["trace", "--raw"],
    &["trace", "--raw", "--json"],
    &["stat"],
    &["stat", "1"],
    &["stat", "--json", "1"],
    &["ports"],
    &["ports", "1"],
    &["ports", "--json", "1"],
];

fn head(record: &[u8]) -> Head {
    Head::read_from_prefix(record).unwrap().0
}

fn at(record: &[u8], time_ns: u64) -> Vec<u8> {
    let mut record = record.to_vec();
    record[..8].copy_from_slice(&time_ns.to_ne_bytes());
    record
}

fn tick(time_ns: u64, realtime_ns: u64) -> Vec<u8> {
    let head = Head { time_ns, len: size_of::<Tick>() as u16, kind: Kind::Tick as u8, flags: 0, cpu: 0, thread: 0 };
    Tick { head, realtime_ns }.as_bytes().to_vec()
}

/// What is believed.
fn believed(header: &Header, records: &[Vec<u8>]) -> (Header, Vec<Vec<u8>>, Recorded) {
    let mut believed = Believed::new(header.clone(), records.iter());
    let mut given = Vec::new();
    while let Some(record) = believed.next_record() {
        given.push(record.to_vec());
    }
    (believed.header().clone(), given, believed.found())
}

#[track_caller]
fn all_is_believed(header: &Header, records: &[Vec<u8>]) {
    let (same, given, found) = believed(header, records);
    assert_eq!(found, Recorded::default());
    assert!(same == *header && given == records);
}

#[test]
fn of_genuine_recordings_all_is_believed() {
    for name in FIXTURES {
        let (header, records) = records(name);
        all_is_believed(&header, &records);
        // Wherever they are cut.
        for len in (0..records.len()).step_by(records.len() / 20 + 1) {
            all_is_believed(&header, &records[..len]);
        }
    }
}

/// One record lies, of each kind and at each place that matters: it is left out, and all others are there.
#[test]
fn one_lie_is_left_out() {
    let mut tried = 0;
    for name in ["natural", "predates", "6.12-fexit"] {
        let (header, records) = records(name);
        let start = header.started_ns;
        let last_tick = records.iter().rposition(|record| head(record).kind == Kind::Tick as u8).unwrap();
        let first_tick = records.iter().position(|record| head(record).kind == Kind::Tick as u8).unwrap();
        let of_kernel = records.iter().position(|record| head(record).kind < Kind::Tick as u8).unwrap();
        let spread = (0..records.len()).step_by(records.len() / 12 + 1);
        for place in
            spread.chain([0, of_kernel, first_tick, first_tick + 1, last_tick - 1, last_tick, records.len() - 1])
        {
            let own = head(&records[place]).time_ns;
            let early = [0, 1, start.saturating_sub(120 * S)].into_iter().filter(|ns| ns + 60 * S < start);
            let late = [own + 3600 * S, own + YEAR, 29 * YEAR, 31 * YEAR, u64::MAX / 2, u64::MAX - 1, u64::MAX];
            for time_ns in early.chain(late) {
                let mut lying = records.clone();
                lying[place] = at(&lying[place], time_ns);
                let (same, given, found) = believed(&header, &lying);
                let of = format!("{name}: record {place} of {} at {time_ns}", records.len());
                assert_eq!((found.impossible_times, found.impossible_start), (1, false), "{of}");
                assert_eq!(
                    found.impossible_of_kernel,
                    u64::from(head(&records[place]).kind < Kind::Tick as u8),
                    "{of}"
                );
                lying.remove(place);
                assert!(same == header && given == lying, "{of}: {} records are left", given.len());
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

/// The header lies: the first tick tells when it began. All records are there.
#[test]
fn the_ticks_are_believed_and_not_the_header() {
    for name in FIXTURES {
        let (header, records) = records(name);
        let first = records.iter().find_map(|record| Tick::read_from_bytes(record).ok()).unwrap();
        for started_ns in [header.started_ns + 3600 * S, header.started_ns + YEAR, 29 * YEAR, 31 * YEAR, u64::MAX]
            .into_iter()
            .chain(header.started_ns.checked_sub(120 * S))
        {
            let (header, given, found) = believed(&Header { started_ns, ..header.clone() }, &records);
            assert!(found.impossible_start && found.impossible_times == 1, "{name} {started_ns}: {found:?}");
            assert_eq!((header.started_ns, header.started_realtime_ns), (first.head.time_ns, first.realtime_ns));
            assert!(given == records, "{name} {started_ns}");
        }
    }
}

/// Without a tick the header is all that there is; with a time that no clock can have it is none.
#[test]
fn a_header_alone_is_believed_if_it_can_be() {
    let (header, records) = records("natural");
    let first = records.iter().find(|record| head(record).kind != Kind::Tick as u8).unwrap().clone();
    all_is_believed(&header, std::slice::from_ref(&first));
    let lying = Header { started_ns: u64::MAX, ..header.clone() };
    let (corrected, given, found) = believed(&lying, std::slice::from_ref(&first));
    assert_eq!((corrected.started_ns, given.len(), found.impossible_times), (head(&first).time_ns, 1, 1));
    assert_eq!(believed(&lying, &[]).0.started_ns, 0);
}

/// A tracer that was stopped: no ticks, while the kernel side goes on to write.
struct Stalled {
    header: Header,
    records: Vec<Vec<u8>>,
    now_ns: u64,
    realtime_ns: u64,
    record: Vec<u8>,
}

impl Stalled {
    fn new() -> Self {
        let (header, all) = records("natural");
        let record = all.iter().find(|record| head(record).kind < Kind::Tick as u8).unwrap().clone();
        let (now_ns, realtime_ns) = (header.started_ns, header.started_realtime_ns);
        Self { header, records: Vec::new(), now_ns, realtime_ns, record }
    }

    fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.realtime_ns += ns;
    }

    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.pass(50 * MS);
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.records.push(tick(self.now_ns, self.realtime_ns));
    }

    /// A record that was made so long ago.
    fn writes(&mut self, ago_ns: u64) {
        self.records.push(at(&self.record, self.now_ns - ago_ns));
    }
}

#[test]
fn a_reader_that_was_stopped_is_believed() {
    for pause_ns in [2 * S, 59 * S, 61 * S, 300 * S, 4 * 3600 * S, 3 * 24 * 3600 * S] {
        for ticks_before in [0, 1, 40] {
            let mut stalled = Stalled::new();
            stalled.ticks(ticks_before);
            stalled.pass(pause_ns);
            // What waited in the ring buffer, the oldest first, with ticks of the batches between.
            for part in (0..=20).rev() {
                stalled.writes(pause_ns / 20 * part);
                if part % 7 == 0 {
                    stalled.pass(MS);
                    stalled.tick();
                }
            }
            stalled.ticks(40);
            all_is_believed(&stalled.header, &stalled.records);
            // Cut wherever: but the last tick and the last record, where they leap and none behind them agrees.
            for len in 0..stalled.records.len() {
                let (_, given, found) = believed(&stalled.header, &stalled.records[..len]);
                assert!(found.impossible_times <= 2, "{pause_ns} {ticks_before} {len}: {found:?}");
                assert_eq!(given.len() as u64 + found.impossible_times, len as u64);
            }
        }
    }
}

#[test]
fn records_of_several_cpus_are_nearly_in_order() {
    let mut stalled = Stalled::new();
    for round in 0..200u64 {
        stalled.pass(49 * MS);
        for late_ns in [0, 3 * MS, MS, 40 * MS, 900 * MS * (round % 3)] {
            stalled.writes(late_ns.min(stalled.now_ns - stalled.header.started_ns));
        }
        stalled.ticks(1);
    }
    all_is_believed(&stalled.header, &stalled.records);
}

/// `CLOCK_MONOTONIC` stands still meanwhile; and somebody may set the other clock to anything.
#[test]
fn a_suspended_machine_is_believed() {
    for leap in [8 * 3600 * S as i64, -(50 * YEAR as i64), 100 * YEAR as i64] {
        for ticks_before in [0, 2] {
            let mut stalled = Stalled::new();
            stalled.ticks(ticks_before);
            stalled.realtime_ns = stalled.realtime_ns.saturating_add_signed(leap);
            stalled.writes(0);
            stalled.ticks(50);
            all_is_believed(&stalled.header, &stalled.records);
        }
    }
}

/// A lie in the middle of a genuine leap, and a tick that lies in the middle of nothing.
#[test]
fn lies_are_told_from_leaps() {
    let mut stalled = Stalled::new();
    stalled.ticks(20);
    stalled.pass(3600 * S);
    for part in (0..=20).rev() {
        stalled.writes(180 * S * part);
    }
    let lie = stalled.records.len();
    stalled.records.push(at(&stalled.record, stalled.now_ns + YEAR));
    stalled.ticks(1);
    let lying_tick = stalled.records.len();
    stalled.records.push(tick(stalled.now_ns + 2 * YEAR, stalled.realtime_ns));
    stalled.writes(0);
    stalled.ticks(30);
    let (_, given, found) = believed(&stalled.header, &stalled.records);
    let mut rest = stalled.records.clone();
    rest.remove(lying_tick);
    rest.remove(lie);
    assert_eq!((found.impossible_times, given.len()), (2, rest.len()));
    assert!(given == rest);
}

/// A lie too small to be told does not make lies of others.
#[test]
fn a_small_lie_is_no_others() {
    let mut stalled = Stalled::new();
    stalled.ticks(100);
    stalled.records.push(at(&stalled.record, stalled.now_ns + 59 * S));
    for _ in 0..100 {
        stalled.pass(49 * MS);
        stalled.writes(900 * MS);
        stalled.ticks(1);
    }
    all_is_believed(&stalled.header, &stalled.records);
}

/// Ticks that leap, each less than the one before: none of them is asked about more than once.
#[test]
fn many_lies_take_little_time() {
    let mut stalled = Stalled::new();
    stalled.ticks(2);
    stalled.pass(YEAR);
    (0..200_000).for_each(|_| stalled.writes(0));
    let leaps = 200_000;
    for leap in 0..leaps {
        stalled.records.push(tick(stalled.now_ns + (leaps - leap) * S, stalled.realtime_ns));
    }
    let started = Instant::now();
    let (_, given, found) = believed(&stalled.header, &stalled.records);
    assert_eq!((given.len() as u64 + found.impossible_times) as usize, stalled.records.len());
    assert_eq!(found.impossible_times, leaps, "all of them lie, or are alone");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Neither a tick nor an end in all of a recording: what waits for them is bounded.
#[test]
fn what_waits_for_a_tick_is_bounded() {
    let mut stalled = Stalled::new();
    let step = stalled.record.len() as u64;
    stalled.pass(YEAR);
    let leaping = at(&stalled.record, stalled.now_ns);
    let mut left = (80u64 << 20) / step;
    struct Many<'a>(&'a [u8], &'a mut u64);
    impl tcpwait::recording::Records for Many<'_> {
        fn next_record(&mut self) -> Option<&[u8]> {
            *self.1 = self.1.checked_sub(1)?;
            Some(self.0)
        }
    }
    let all = left;
    let mut believed = Believed::new(stalled.header.clone(), Many(&leaping, &mut left));
    let mut given = 0;
    while believed.next_record().is_some() {
        given += 1;
    }
    assert_eq!((given, believed.found().impossible_times), (all, 0), "they agree with each other");
}

fn read(way: &[&str], file: &Path, more: &[&str]) -> Ran {
    let mut command = tcpwait();
    finish(command.args(&way[..1]).arg("--from").arg(file).args(&way[1..]).args(more))
}

/// Exit 3 where it was asked for, and 0 where not; the sentence on stderr; the same in JSON.
#[track_caller]
fn is_said(file: &Path, sentence: &str, json: &dyn Fn(&Value) -> bool) {
    for way in WAYS {
        let started = Instant::now();
        let ran = read(way, file, &["--fail-on-loss"]);
        assert_eq!(ran.code, Some(3), "{way:?} after {:?}: {}", started.elapsed(), ran.stderr);
        let said = format!("tcpwait: {}: {sentence}", file.display());
        assert!(ran.stderr.contains(&said), "{way:?} does not say {said}: {}", ran.stderr);
        let without = read(way, file, &[]);
        assert_eq!((without.code, &without.stdout), (Some(0), &ran.stdout), "{way:?}");
        if way.contains(&"--json") {
            let last = ran.stdout.lines().last().unwrap_or_else(|| panic!("{way:?} writes nothing"));
            let last: Value = serde_json::from_str(last).unwrap();
            let account = if way[0] == "trace" { &last } else { &last["ledger"] };
            assert_eq!(account["lossy"], true, "{way:?}: {last}");
            assert!(json(account), "{way:?}: {account}");
        }
    }
}

fn impossible_times(account: &Value) -> &Value {
    match &account["lost"]["impossible_times"] {
        Value::Null => &account["impossible_times"],
        count => count,
    }
}

fn file(folder: &tempfile::TempDir, header: &Header, records: &[Vec<u8>]) -> PathBuf {
    let path = folder.path().join("a.tcpwait");
    write(&path, header, records, 50);
    path
}

#[test]
fn absurd_times_end_nothing_and_are_said_by_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let (header, whole) = records("handshakes");
    let middle = whole.iter().rposition(|record| head(record).kind < Kind::Tick as u8).unwrap();
    for time_ns in [u64::MAX, u64::MAX / 2, header.started_ns + YEAR] {
        let mut lying = whole.clone();
        lying[middle] = at(&lying[middle], time_ns);
        let path = file(&folder, &header, &lying);
        is_said(&path, "left out: 1 records with impossible times", &|account| *impossible_times(account) == 1);
    }
    for started_ns in [u64::MAX, 0] {
        let path = file(&folder, &Header { started_ns, ..header.clone() }, &whole);
        is_said(&path, "its header has an impossible start time", &|account| *impossible_times(account) == 1);
    }
}

#[test]
fn where_it_is_cut_or_damaged_is_said_by_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let (header, whole) = records("handshakes");
    let path = file(&folder, &header, &whole);
    let bytes = fs::read(&path).unwrap();
    let body = 16 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let cut = folder.path().join("cut");
    let is = |account: &Value, why: &str, at_byte: usize| {
        account["cut"]["why"] == why && account["cut"]["at_byte"].as_u64() == Some(at_byte as u64)
    };
    for len in [body, (body + bytes.len()) / 2, bytes.len() - 8] {
        fs::write(&cut, &bytes[..len]).unwrap();
        let said = format!("it was cut short at byte {len}; everything before that is ");
        is_said(&cut, &said, &|account| is(account, "ends-early", len));
    }
    // The block begins where the one before ends: a flipped byte in it is found there.
    let damaged_at = (body + bytes.len()) / 2;
    let mut damaged = bytes.clone();
    damaged[damaged_at] ^= 0x10;
    fs::write(&cut, &damaged).unwrap();
    let begins = blocks(&bytes, body).into_iter().rfind(|begins| *begins <= damaged_at).unwrap();
    let said = format!("it is damaged at byte {begins}; everything before that is ");
    is_said(&cut, &said, &|account| is(account, "damaged", begins));
}

/// Where the blocks of an LZ4 frame begin: 7 bytes of frame header; each has its length, and a checksum behind it.
fn blocks(bytes: &[u8], body: usize) -> Vec<usize> {
    let mut begin = body + 7;
    let mut blocks = Vec::new();
    loop {
        let len = u32::from_le_bytes(bytes[begin..begin + 4].try_into().unwrap()) & 0x7fff_ffff;
        if len == 0 {
            return blocks;
        }
        blocks.push(begin);
        begin += 4 + len as usize + 4;
    }
}

/// The whole header, byte by byte, and random places of the body: whatever is damaged, every verb comes to its end, soon.
#[test]
fn no_damaged_byte_is_the_end_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut header, whole) = records("handshakes");
    header.symbols = tcpwait::symbols::Symbols::default();
    header.offsets.clear();
    let is_tick = |record: &&Vec<u8>| head(record).kind == Kind::Tick as u8;
    let events = whole.iter().filter(|record| head(record).kind < Kind::Tick as u8).take(8);
    let few: Vec<Vec<u8>> =
        whole.iter().filter(is_tick).take(2).chain(events).chain(&whole[whole.len() - 2..]).cloned().collect();
    let bytes = fs::read(file(&folder, &header, &few)).unwrap();
    let body = 16 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let mut runner = TestRunner::deterministic();
    let mut random = || runner.rng().next_u64() as usize;
    let places: Vec<usize> = (0..body).chain((0..200).map(|_| body + random() % (bytes.len() - body))).collect();
    for place in places {
        // Another digit makes another number of it.
        let other = if bytes[place].is_ascii_digit() {
            b'9' - (bytes[place] - b'0')
        } else {
            bytes[place] ^ (1 << (random() % 8))
        };
        let mut damaged = bytes.clone();
        damaged[place] = other;
        let started = Instant::now();
        entry::recording(&damaged);
        assert!(started.elapsed() < Duration::from_secs(10), "byte {place} takes {:?}", started.elapsed());
    }
}

/// A block of zeros unpacks to 255 times its size, and says nothing.
#[test]
fn what_unpacks_to_much_is_read_in_little() {
    let folder = tempfile::tempdir().unwrap();
    let (header, whole) = records("handshakes");
    let unknown = {
        let mut record = vec![0; 65_528];
        record[..16].copy_from_slice(
            Head { time_ns: header.started_ns, len: 65_528, kind: 200, flags: 0, cpu: 0, thread: 0 }.as_bytes(),
        );
        record
    };
    let many: Vec<Vec<u8>> = std::iter::repeat_n(unknown, 2000).chain(whole).collect();
    let path = folder.path().join("a.tcpwait");
    write(&path, &header, &many, usize::MAX);
    let packed = fs::metadata(&path).unwrap().len();
    assert!(packed < 2 << 20, "{packed}");
    let ran = read(&["stat", "1"], &path, &["--fail-on-loss"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stdout.contains("2000 malformed records"), "{}", ran.stdout);
}

/// What is no regular file is read like one.
#[test]
fn a_pipe_is_read_too() {
    let mut command = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_tcpwait");
    command.args(["-c", "cat \"$1\" | \"$0\" stat --from /dev/stdin --fail-on-loss", program]);
    let ran = finish(command.arg(fixture("natural")));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("lost: nothing"), "{}", ran.stdout);
}
