//! Recordings of kernels that could unwind, told as one would that could not: the same transitions and the same reasons come out.

use tcpwait::{
    lifecycle::SegmentSource,
    pipeline::{Pipeline, Shown},
    recording::Header,
    select::{Criteria, Selector},
    view::json::Json,
};
use tcpwait_wire::wire::{Kind, MiniCancel, SockStateStack, Stack};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::{FIXTURES, records};

#[test]
fn the_reasons_are_the_same() {
    let mut early = 0;
    for name in FIXTURES {
        let (header, records) = records(name);
        assert_ne!(header.segments, SegmentSource::Timer, "{name} has a hook on segments");
        let stripped: Vec<Vec<u8>> = records.iter().map(|record| without_stack(record)).collect();
        early += records.iter().zip(&stripped).filter(|(with, without)| with != without).count();
        let (with, without) = (told(&header, &records), told(&header, &stripped));
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(with, without, "{name}");
        }
        assert_eq!(with.len(), without.len(), "{name}");
    }
    assert!(early > 10, "{early} stacks taken away");
}

fn without_stack(record: &[u8]) -> Vec<u8> {
    const NONE: Stack = Stack { depth: 0, frames: [0; tcpwait_wire::wire::STACK_FRAMES] };
    if let Ok(mut cancel) = MiniCancel::read_from_bytes(record)
        && cancel.mini.head.kind == Kind::TwCancel as u8
    {
        cancel.stack = NONE;
        return cancel.as_bytes().to_vec();
    }
    if let Ok(mut state) = SockStateStack::read_from_bytes(record)
        && state.state.head.kind == Kind::StateStack as u8
    {
        state.stack = NONE;
        return state.as_bytes().to_vec();
    }
    record.to_vec()
}

/// `trace --json` in any order, since what was held is told later, and without the time of day, which each tick ties anew.
fn told(header: &Header, records: &[Vec<u8>]) -> Vec<String> {
    let mut out = Vec::new();
    let shown = Shown::Transitions(Box::new(Json));
    let mut pipeline = Pipeline::new(header, Selector::new(Criteria::default()), shown, &mut out).unwrap();
    for record in records {
        pipeline.record(record).unwrap();
    }
    pipeline.finish().unwrap();
    drop(pipeline);
    let lines = String::from_utf8(out).unwrap();
    let mut lines: Vec<String> = lines
        .lines()
        .map(|line| {
            let mut line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            line.remove("time");
            serde_json::to_string(&line).unwrap()
        })
        .collect();
    lines.sort_unstable();
    lines
}
