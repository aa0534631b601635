//! Recordings of kernels that could unwind, told as one would that could not: the same transitions and the same reasons come out.

use serde_json::json;
use tcpwait::{
    lifecycle::SegmentSource,
    pipeline::{Pipeline, Shown},
    recording::Header,
    select::{Criteria, Selector},
    view::json::TraceJson,
};
use tcpwait_wire::wire::{Kind, MiniCancel, RequestCancel, SockStateEnd, SockStateStack, Stack};
use zerocopy::{FromBytes, IntoBytes};

use crate::support::{FIXTURES, records};

type Line = serde_json::Map<String, serde_json::Value>;

#[test]
fn the_reasons_are_the_same() {
    let mut early = 0;
    for name in FIXTURES {
        let (header, records) = records(name);
        let stripped: Vec<Vec<u8>> = records.iter().map(|record| without_stack(record)).collect();
        early += records.iter().zip(&stripped).filter(|(with, without)| with != without).count();
        let (mut with, without) = (told(&header, &records), told(&header, &stripped));
        if header.segments == SegmentSource::Timer {
            with.iter_mut().for_each(forget_the_reason);
        }
        with.iter_mut().filter(|line| line["from"] == "SYN_RECV").for_each(forget_the_reason);
        for (with, without) in with.iter_mut().zip(&without) {
            if is_end_of_a_full_socket(with) && without["reason"] == "unknown" {
                // The error alone says little of such an end. It is not guessed.
                for key in ["by", "detail", "pid", "comm", "uid", "cgroup"] {
                    match without.get(key) {
                        Some(value) => with.insert(key.to_owned(), value.clone()),
                        None => with.remove(key),
                    };
                }
                with.insert("reason".to_owned(), json!("unknown"));
            }
            with.remove("detail");
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
    if let Ok(mut cancel) = RequestCancel::read_from_bytes(record)
        && cancel.reqsk.head.kind == Kind::ReqCancel as u8
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
    if let Ok(mut end) = SockStateEnd::read_from_bytes(record)
        && end.state.head.kind == Kind::StateEnd as u8
    {
        end.stack = NONE;
        return end.as_bytes().to_vec();
    }
    record.to_vec()
}

/// `trace --json` in any order, since what was held is told later, and without the time of day, which each tick ties anew.
fn told(header: &Header, records: &[Vec<u8>]) -> Vec<Line> {
    let mut out = Vec::new();
    let shown = Shown::Transitions(Box::new(TraceJson::default()));
    let mut pipeline = Pipeline::new(header, Selector::new(Criteria::default()), shown, &mut out).unwrap();
    for record in records {
        pipeline.record(record).unwrap();
    }
    pipeline.finish().unwrap();
    drop(pipeline);
    let lines = String::from_utf8(out).unwrap();
    let mut lines: Vec<Line> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.retain(|line| !line.contains_key("event"));
    for line in &mut lines {
        line.remove("time");
    }
    lines.sort_by_key(|line| ["id", "from", "lport", "rport"].map(|key| line[key].to_string()));
    lines
}

fn is_end_of_a_full_socket(line: &Line) -> bool {
    let of_a_mini = line["from"] == "TIME_WAIT" || line["from"] == "FIN_WAIT2" && !line.contains_key("detail");
    line["to"] == "CLOSE" && !of_a_mini && line["from"] != "SYN_RECV"
}

/// Where neither a stack nor a segment tells it, it is not guessed.
fn forget_the_reason(line: &mut Line) {
    if ["reused-by-syn", "reset", "reset-sent", "destroyed"].iter().any(|told| line.get("reason") == Some(&json!(told)))
    {
        line.insert("reason".to_owned(), json!("unknown"));
        line.remove("by");
    }
}
