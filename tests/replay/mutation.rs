//! What the fuzz target (`tests/fuzz`) does for hours, for a second: its entry functions on damaged real records, and on
//! damaged real recordings. The damage is the same every time.

use std::fs;

use proptest::{
    prelude::{Rng, Strategy},
    strategy::ValueTree,
    test_runner::TestRunner,
};

use crate::support::{fixture, records};

#[path = "../fuzz/entry.rs"]
pub mod entry;

/// Values that limits are made of.
const ODD: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// Overwrites, swaps, cuts and repeats a few bytes.
fn damage(bytes: &mut Vec<u8>, random: &mut impl Rng) {
    for _ in 0..1 + random.next_u32() % 4 {
        if bytes.is_empty() {
            return;
        }
        let (at, other) = (random.next_u64() as usize % bytes.len(), random.next_u64() as usize % bytes.len());
        match random.next_u32() % 6 {
            0 => bytes[at] ^= 1 << (random.next_u32() % 8),
            1 => bytes[at] = ODD[random.next_u32() as usize % ODD.len()],
            2 => bytes[at] = random.next_u32() as u8,
            3 => bytes.swap(at, other),
            4 => bytes.truncate(at),
            _ => bytes.extend_from_within(at.min(other)..at.max(other)),
        }
    }
}

#[test]
fn damaged_records() {
    let mut runner = TestRunner::deterministic();
    for name in ["natural", "reasons", "predates"] {
        let (header, records) = records(name);
        let clocks = [header.started_ns.to_ne_bytes(), header.started_realtime_ns.to_ne_bytes()].concat();
        for chunk in records.chunks(40).cycle().take(300) {
            let mut damaged = chunk.to_vec();
            for record in &mut damaged {
                if runner.rng().next_u32().is_multiple_of(3) {
                    damage(record, runner.rng());
                    // What is damaged is mostly not its length.
                    let len = u16::try_from(record.len()).unwrap();
                    if let Some(at) = record.get_mut(8..10).filter(|_| !runner.rng().next_u32().is_multiple_of(8)) {
                        at.copy_from_slice(&len.to_ne_bytes());
                    }
                }
            }
            entry::stream(&[clocks.clone(), damaged.concat()].concat());
            damaged.iter().for_each(|record| drop(tcpwait::event::decode(record)));
        }
    }
}

#[test]
fn damaged_recordings() {
    let whole = fs::read(fixture("natural")).unwrap();
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        let mut damaged = whole.clone();
        damage(&mut damaged, runner.rng());
        entry::recording(&damaged);
    }
}

/// What the fuzzer has found worth keeping: all that its inputs reach.
#[test]
fn what_the_fuzzer_found() {
    let corpus = crate::support::tests().join("fuzz/corpus");
    let mut tried = 0;
    for input in fs::read_dir(&corpus).unwrap() {
        let bytes = fs::read(input.unwrap().path()).unwrap();
        entry::all(&bytes);
        tried += 1;
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn random_bytes() {
    let mut runner = TestRunner::deterministic();
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..400);
    for _ in 0..1000 {
        entry::all(&bytes.new_tree(&mut runner).unwrap().current());
    }
}
