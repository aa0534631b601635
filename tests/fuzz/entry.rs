//! What the fuzzer calls with its bytes, and the mutation test with damaged real ones: every verb that reads a recording, with all of its views.
//! Whatever the bytes are, nothing here may panic, overflow, take for ever or grow without bound; and whatever is written is plain lines, or a JSON
//! document a line.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use jiff::tz::TimeZone;
use tcpwait::{
    aggregate::{
        StatOptions,
        audit::{Audit, TwCounts},
        by::GroupBy,
    },
    event::decode,
    lifecycle::SegmentSource,
    pipeline::{Pipeline, Shown},
    plain::is_plain,
    ports::PortsReports,
    recording::{Believed, Header, Reader},
    schedule::Schedule,
    select::{Criteria, Selector},
    stat::Statistics,
    symbols::Symbols,
    tcp::State,
    view::{
        PortsView, ReportView,
        journal::{Pids, TraceJournal},
        json::TraceJson,
        perfetto::TracePerfetto,
        ports, stat,
        text::{Columns, TraceText},
    },
};
use tcpwait_wire::wire::{self, Head};
use zerocopy::FromBytes;

/// As a recording where it looks like one, else as what is in one.
pub fn all(bytes: &[u8]) {
    let _ = decode(bytes);
    if bytes.starts_with(b"tcpwait\n") {
        recording(bytes);
    } else {
        stream(bytes);
    }
}

/// As what a recording holds once it is unpacked: the two clocks of its header, then records, each of which says how long it is.
pub fn stream(bytes: &[u8]) {
    let Some((clocks, mut rest)) = bytes.split_first_chunk::<16>() else { return };
    let [started_ns, started_realtime_ns] = zerocopy::transmute!(*clocks);
    let mut records = Vec::new();
    while let Ok((head, _)) = Head::read_from_prefix(rest) {
        let len = usize::from(head.len).max(size_of::<Head>());
        let Some((record, after)) = rest.split_at_checked(len) else { break };
        records.push(record.to_vec());
        rest = after;
    }
    every_view(&Header { started_ns, started_realtime_ns, ..header() }, &records);
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
    let found = reader.cut().map(|cut| tcpwait::ledger::Recorded { cut: Some(cut), ..Default::default() });
    for sentence in tcpwait::view::ledger::damage(&found.unwrap_or_default(), "shown") {
        writeln!(Lines::text(), "{sentence}").expect("it takes everything");
    }
    every_view(&header, &records);
}

/// Takes lines, and looks at each.
struct Lines {
    json: bool,
    /// They are none.
    binary: bool,
    line: Vec<u8>,
}

impl Lines {
    fn text() -> Self {
        Self { json: false, binary: false, line: Vec::new() }
    }

    fn binary() -> Self {
        Self { binary: true, ..Self::text() }
    }

    fn json() -> Self {
        Self { json: true, ..Self::text() }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.binary {
            return Ok(bytes.len());
        }
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = str::from_utf8(&self.line).expect("lines are UTF-8");
            assert!(line.chars().all(is_plain), "not plain: {line:?}");
            if self.json {
                drop(serde_json::from_str::<serde_json::Value>(line).expect("a JSON document a line"));
            }
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn every_view(header: &Header, records: &[Vec<u8>]) {
    let second = Schedule { interval: Some(Duration::from_secs(1)), count: None };
    traces(header, records);
    for (schedule, json) in [(Schedule::default(), false), (second, false), (second, true)] {
        reports(header, records, schedule, json);
        ports(header, records, schedule, json);
    }
}

fn traces(header: &Header, records: &[Vec<u8>]) {
    let columns = Columns {
        relative_time: true,
        time_of_day: Some(TimeZone::fixed(jiff::tz::offset(-11))),
        wide: true,
        width: Some(80),
        ..Columns::default()
    };
    let by_owner = Criteria { comms: vec!["nginx".to_owned()].into(), ..Criteria::default() };
    let by_state = Criteria { states: vec![State::TimeWait], lports: vec![8080..=8080].into(), ..Criteria::default() };
    for (shown, criteria, out) in [
        (Shown::Transitions(Box::new(TraceText::new(columns))), Criteria::default(), Lines::text()),
        (Shown::Transitions(Box::new(TraceText::new(Columns::default()))), by_owner, Lines::text()),
        (Shown::Transitions(Box::new(TraceJson::default())), by_state, Lines::json()),
        (Shown::Transitions(Box::new(TraceJson::default())), Criteria::default(), Lines::json()),
        (
            Shown::Transitions(Box::new(TraceJournal::new(Columns::default(), Pids::Other))),
            Criteria::default(),
            Lines::binary(),
        ),
        (Shown::Transitions(Box::new(TracePerfetto::default())), Criteria::default(), Lines::binary()),
        (Shown::Raw { json: false }, Criteria::default(), Lines::text()),
        (Shown::Raw { json: true }, Criteria::default(), Lines::json()),
    ] {
        let mut believed = Believed::new(header.clone(), records.iter());
        let mut pipeline = Pipeline::new(&believed.header().clone(), Selector::new(criteria), shown, out)
            .expect("it takes everything");
        while let Some(record) = believed.next_record() {
            pipeline.record(record).expect("it takes everything");
        }
        pipeline.recorded(believed.found());
        let ledger = pipeline.finish().expect("it takes everything");
        tcpwait::view::ledger::write(&ledger, &mut Lines::text()).expect("it takes everything");
    }
}

fn reports(header: &Header, records: &[Vec<u8>], schedule: Schedule, json: bool) {
    let by = vec![GroupBy::Service, GroupBy::Process, GroupBy::Remote, GroupBy::Cgroup, GroupBy::Netns];
    let wanted = StatOptions { by, netns_implied: false, sort: Default::default(), top: 10 };
    let view: Box<dyn ReportView> = match json {
        true => Box::new(stat::json::StatJson),
        false => {
            Box::new(stat::text::StatText::new(stat::text::Screen { width: 80, height: None }, TimeZone::UTC, false))
        }
    };
    let out = if json { Lines::json() } else { Lines::text() };
    let (selector, audit) = (Selector::new(Criteria::default()), Audit::new(header.tw_counts, None));
    let mut believed = Believed::new(header.clone(), records.iter());
    let header = believed.header().clone();
    let mut statistics = Statistics::new(&header, selector, wanted, schedule, audit, view, out);
    while let Some(record) = believed.next_record() {
        statistics.record(record).expect("it takes everything");
    }
    statistics.engine_mut().recorded(believed.found());
    statistics.finish().expect("it takes everything");
}

fn ports(header: &Header, records: &[Vec<u8>], schedule: Schedule, json: bool) {
    let view: Box<dyn PortsView> = match json {
        true => Box::new(ports::json::PortsJson),
        false => Box::new(ports::text::PortsText::new(80, TimeZone::UTC)),
    };
    let out = if json { Lines::json() } else { Lines::text() };
    let mut believed = Believed::new(header.clone(), records.iter());
    let header = believed.header().clone();
    let selector = Selector::new(Criteria::default());
    let mut reports = PortsReports::new(&header, true, selector, 10, schedule, view, out);
    while let Some(record) = believed.next_record() {
        reports.record(record).expect("it takes everything");
    }
    reports.recorded(believed.found());
    reports.finish().expect("it takes everything");
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
        tw_counts: Some(TwCounts::Beginnings),
        host: None,
        command: None,
    }
}
