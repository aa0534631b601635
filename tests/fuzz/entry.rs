//! What the fuzzer calls with its bytes, and the mutation test with damaged real ones. Nothing here may panic or take
//! for ever, whatever the bytes are; what comes out of them does not matter.

use std::{collections::BTreeMap, fs, io, path::Path};

use tcpwait::{
    event::decode,
    lifecycle::SegmentSource,
    pipeline::{Pipeline, Shown},
    recording::{Header, Reader},
    select::{Criteria, Selector},
    symbols::Symbols,
    tcp::State,
    view::{
        json::Json,
        text::{Columns, Text},
    },
};
use tcpwait_wire::wire::{self, Head};
use zerocopy::FromBytes;

/// All of it.
pub fn all(bytes: &[u8]) {
    let _ = decode(bytes);
    stream(bytes);
    recording(bytes);
}

/// As what a recording holds once it is unpacked: records, each of which says how long it is.
pub fn stream(bytes: &[u8]) {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let Ok((head, _)) = Head::read_from_prefix(rest) {
        let len = usize::from(head.len).max(size_of::<Head>());
        let Some((record, after)) = rest.split_at_checked(len) else { break };
        records.push(record.to_vec());
        rest = after;
    }
    every_view(&header(), &records);
}

/// As a file.
pub fn recording(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a folder for temporary files");
    fs::write(file.path(), bytes).expect("room for a temporary file");
    read(file.path());
}

fn read(path: &Path) {
    let Ok(mut reader) = Reader::open(path) else { return };
    let header = reader.header().clone();
    let mut records = Vec::new();
    while let Some(record) = reader.next_record() {
        records.push(record.to_vec());
    }
    every_view(&header, &records);
}

fn every_view(header: &Header, records: &[Vec<u8>]) {
    let columns = Columns { relative_time: true, time_of_day: None, wide: true };
    let by_owner = Criteria { comms: vec!["nginx".to_owned()].into(), ..Criteria::default() };
    let by_state = Criteria { states: vec![State::TimeWait], lports: vec![8080..=8080].into(), ..Criteria::default() };
    for (shown, criteria) in [
        (Shown::Transitions(Box::new(Text::new(columns))), Criteria::default()),
        (Shown::Transitions(Box::new(Text::new(Columns::default()))), by_owner),
        (Shown::Transitions(Box::new(Json::default())), by_state),
        (Shown::Raw { json: false }, Criteria::default()),
        (Shown::Raw { json: true }, Criteria::default()),
    ] {
        let mut pipeline =
            Pipeline::new(header, Selector::new(criteria), shown, io::sink()).expect("a sink takes everything");
        for record in records {
            pipeline.record(record).expect("a sink takes everything");
        }
        let ledger = pipeline.finish().expect("a sink takes everything");
        tcpwait::view::ledger::write(&ledger, &mut io::sink()).expect("a sink takes everything");
    }
}

/// A header with a stack's decisive functions at small addresses, where mutations find them.
fn header() -> Header {
    let functions = tcpwait::symbols::DECISIVE.iter().copied().chain(["end"]);
    Header {
        hz: Some(250),
        wire: wire::VERSION,
        tcpwait: String::new(),
        kernel: String::new(),
        machine: String::new(),
        boot_id: String::new(),
        started_ns: 1,
        started_realtime_ns: 1,
        symbols: Symbols::pick((1..).zip(functions).map(|(n, name)| (n * 256, name))),
        offsets: BTreeMap::new(),
        segments: SegmentSource::KfreeSkb,
        missing_hooks: BTreeMap::new(),
    }
}
