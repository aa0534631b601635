//! `tcpwait trace --perfetto`, read by a decoder of protobuf's wire format and nothing of the tool's: every slice that begins ends, none overlap, tracks are there
//! before what is on them, and the counters agree with `stat`.

use std::{collections::HashMap, fmt::Write, fs, path::Path};

use serde_json::Value;
use tcpwait::{
    pipeline::{Pipeline, Shown},
    plain::is_plain,
    recording::Header,
    select::{Criteria, Selector},
    view::perfetto::TracePerfetto,
};

use crate::{
    golden::compare,
    sinks::named,
    support::{FIXTURES, finish, fixture, records, tcpwait},
};

/// A field's number and value.
type Field<'a> = (u64, Wire<'a>);

#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    fn number(self) -> u64 {
        let Wire::Number(number) = self else { panic!("{self:?} is no number") };
        number
    }

    fn bytes(self) -> &'a [u8] {
        let Wire::Bytes(bytes) = self else { panic!("{self:?} is no message") };
        bytes
    }

    fn text(self) -> &'a str {
        str::from_utf8(self.bytes()).expect("text is UTF-8")
    }
}

fn varint(from: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = from.split_first().expect("a number ends");
        *from = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than ten bytes");
}

fn fields(mut message: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = match tag & 7 {
            0 => Wire::Number(varint(&mut message)),
            2 => {
                let len = varint(&mut message) as usize;
                let (bytes, rest) = message.split_at(len);
                message = rest;
                Wire::Bytes(bytes)
            }
            other => panic!("wire type {other} is not used"),
        };
        fields.push((tag >> 3, value));
    }
    fields
}

fn of<'a>(fields: &[Field<'a>], number: u64) -> Option<Wire<'a>> {
    fields.iter().find(|(its, _)| *its == number).map(|(_, value)| *value)
}

#[derive(Debug, Default)]
struct Track {
    parent: Option<u64>,
    name: String,
    pid: Option<u64>,
}

#[derive(Debug)]
struct Event {
    kind: u64,
    track: u64,
    time_ns: u64,
    category: String,
    name: String,
    notes: Vec<(String, String)>,
    value: Option<u64>,
}

/// A trace that was read, and is sound.
#[derive(Debug, Default)]
struct Decoded {
    begin_ns: u64,
    tracks: HashMap<u64, Track>,
    events: Vec<Event>,
    /// One line each, in their order.
    text: String,
}

impl Decoded {
    fn of(trace: &[u8]) -> Self {
        let mut decoded = Self::default();
        let mut ends: HashMap<u64, u64> = HashMap::new();
        let mut open: HashMap<u64, u64> = HashMap::new();
        for (index, (number, packet)) in fields(trace).into_iter().enumerate() {
            assert_eq!(number, 1, "a trace is packets");
            let packet = fields(packet.bytes());
            assert_eq!(of(&packet, 10).unwrap().number(), 1, "one sequence");
            match index {
                0 => {
                    assert_eq!(of(&packet, 13).unwrap().number(), 1, "SEQ_INCREMENTAL_STATE_CLEARED");
                    let defaults = fields(of(&packet, 59).unwrap().bytes());
                    assert_eq!(of(&defaults, 58).unwrap().number(), 3, "BUILTIN_CLOCK_MONOTONIC");
                }
                1 => decoded.begin_ns = of(&packet, 8).unwrap().number(),
                _ => {}
            }
            if let Some(snapshot) = of(&packet, 6) {
                let snapshot = fields(snapshot.bytes());
                assert_eq!(of(&snapshot, 2).unwrap().number(), 3, "the trace's clock is the recording's");
                let clocks: Vec<u64> = snapshot
                    .iter()
                    .filter(|(number, _)| *number == 1)
                    .map(|(_, clock)| of(&fields(clock.bytes()), 1).unwrap().number())
                    .collect();
                assert_eq!(clocks, [3, 1]);
            }
            if let Some(track) = of(&packet, 60) {
                decoded.track(&fields(track.bytes()));
            }
            if let Some(event) = of(&packet, 11) {
                let time_ns = of(&packet, 8).unwrap().number();
                let event = Event::of(time_ns, &fields(event.bytes()));
                assert!(decoded.tracks.contains_key(&event.track), "a track is there before what is on it: {event:?}");
                decoded.check(&event, &mut open, &mut ends);
                decoded.line(&event);
                decoded.events.push(event);
            }
        }
        assert!(open.is_empty(), "every slice ends");
        decoded
    }

    fn track(&mut self, track: &[Field<'_>]) {
        let uuid = of(track, 1).unwrap().number();
        assert_ne!(uuid, 0, "0 is the default track");
        let parent = of(track, 5).map(Wire::number);
        assert!(parent.is_none_or(|parent| self.tracks.contains_key(&parent)), "parents come first");
        let process = of(track, 3).map(|process| fields(process.bytes()));
        let pid = process.as_ref().map(|process| of(process, 1).unwrap().number());
        let name = process.as_ref().map_or_else(|| of(track, 2), |process| of(process, 6)).unwrap().text();
        let replaced = self.tracks.insert(uuid, Track { parent, name: name.to_owned(), pid });
        assert!(replaced.is_none(), "{replaced:?}");
        let kind = if pid.is_some() { "process" } else { "track" };
        writeln!(self.text, "{kind} {}", self.path(uuid)).unwrap();
    }

    fn check(&self, event: &Event, open: &mut HashMap<u64, u64>, ends: &mut HashMap<u64, u64>) {
        let end_ns = ends.entry(event.track).or_default();
        match event.kind {
            1 => {
                assert!(*end_ns <= event.time_ns, "slices of a track do not overlap: {event:?}");
                assert!(open.insert(event.track, event.time_ns).is_none(), "nor nest: {event:?}");
            }
            2 => {
                assert!(open.remove(&event.track).is_some_and(|begin| begin <= event.time_ns), "{event:?}");
                *end_ns = event.time_ns;
            }
            3 => assert!(!event.name.is_empty()),
            4 => {
                assert!(*end_ns <= event.time_ns, "a counter's times grow: {event:?}");
                *end_ns = event.time_ns;
            }
            other => panic!("an event of kind {other}"),
        }
    }

    fn path(&self, uuid: u64) -> String {
        let Track { parent, name, pid } = &self.tracks[&uuid];
        let name = pid.map_or_else(|| name.clone(), |pid| format!("{name}({pid})"));
        parent.map_or(name.clone(), |parent| format!("{} > {name}", self.path(parent)))
    }

    fn line(&mut self, event: &Event) {
        let Event { kind, track, time_ns, category, name, notes, value } = event;
        let ns = i128::from(*time_ns) - i128::from(self.begin_ns);
        let path = self.path(*track);
        let what = match kind {
            1 => format!("begin {name}"),
            2 => "end".to_owned(),
            3 => format!("mark {category}: {name}"),
            _ => format!("= {}", value.unwrap()),
        };
        let notes: String = notes.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        writeln!(self.text, "{ns:>12} {path}: {what}{notes}").unwrap();
    }

    /// How many sockets are in each state at the end, where any are.
    fn counts(&self) -> HashMap<String, u64> {
        let mut counts = HashMap::new();
        for Event { track, value, .. } in self.events.iter().filter(|event| event.kind == 4) {
            counts.insert(self.tracks[track].name.clone(), value.unwrap());
        }
        counts.retain(|_, count| *count > 0);
        counts
    }

    fn marks(&self, category: &str) -> Vec<&str> {
        let marks = self.events.iter().filter(|event| event.kind == 3 && event.category == category);
        marks.map(|event| event.name.as_str()).collect()
    }

    fn slices(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.kind == 1)
    }
}

impl Event {
    fn of(time_ns: u64, event: &[Field<'_>]) -> Self {
        let text = |number| of(event, number).map(|text| text.text().to_owned()).unwrap_or_default();
        let notes = event.iter().filter(|(number, _)| *number == 4).map(|(_, note)| {
            let note = fields(note.bytes());
            let value =
                of(&note, 6).map_or_else(|| of(&note, 3).unwrap().number().to_string(), |it| it.text().to_owned());
            (of(&note, 10).unwrap().text().to_owned(), value)
        });
        Self {
            kind: of(event, 9).unwrap().number(),
            track: of(event, 11).unwrap().number(),
            time_ns,
            category: text(22),
            name: text(23),
            notes: notes.collect(),
            value: of(event, 30).map(Wire::number),
        }
    }

    fn note(&self, key: &str) -> Option<&str> {
        self.notes.iter().find(|(its, _)| its == key).map(|(_, value)| value.as_str())
    }
}

/// What the view makes of records.
fn drawn(header: &Header, records: &[Vec<u8>]) -> Decoded {
    let mut out = Vec::new();
    let view = Box::new(TracePerfetto::default());
    let selector = Selector::new(Criteria::default());
    let mut pipeline = Pipeline::new(header, selector, Shown::Transitions(view), &mut out).unwrap();
    records.iter().for_each(|record| pipeline.record(record).unwrap());
    pipeline.finish().unwrap();
    drop(pipeline);
    Decoded::of(&out)
}

/// What the program writes, and what it says.
fn written(file: &Path, arguments: &[&str]) -> (Decoded, String) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = tcpwait();
    command.args(["trace", "--from"]).arg(file).arg("--perfetto").arg(&out).args(arguments);
    let ran = finish(&mut command);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
    (Decoded::of(&fs::read(out).unwrap()), ran.stderr)
}

/// What `stat` says is there at the end.
fn standing(file: &Path, arguments: &[&str]) -> HashMap<String, u64> {
    let mut command = tcpwait();
    command.args(["stat", "--json", "--from"]).arg(file).args(arguments);
    let report: Value = serde_json::from_str(finish(&mut command).stdout.lines().last().unwrap()).unwrap();
    let states = report["states"].as_object().unwrap();
    let now = states.iter().map(|(state, of)| (state.clone(), of["now"].as_u64().unwrap_or_default()));
    now.filter(|(_, now)| *now > 0).collect()
}

#[test]
fn what_a_small_recording_becomes() {
    compare("natural.perfetto", &written(&fixture("natural"), &[]).0.text);
    compare("handshakes.perfetto", &written(&fixture("handshakes"), &[]).0.text);
}

#[test]
fn counters_agree_with_stat() {
    for name in FIXTURES {
        let (decoded, _) = written(&fixture(name), &[]);
        assert_eq!(decoded.counts(), standing(&fixture(name), &[]), "{name}");
    }
    for arguments in [&["-D", "8080"][..], &["--comm", "nginx"], &["-6"]] {
        let (decoded, _) = written(&fixture("nginx"), arguments);
        assert_eq!(decoded.counts(), standing(&fixture("nginx"), arguments), "{arguments:?}");
    }
}

/// Each state that a line of trace leaves is a slice of the same length, and each call that failed a mark.
#[test]
fn slices_are_the_lines() {
    for name in FIXTURES {
        let lines = finish(tcpwait().args(["trace", "--json", "--from"]).arg(fixture(name))).stdout;
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (decoded, _) = written(&fixture(name), &[]);
        let is_birth = |line: &Value| line["from"] == "CLOSE" || (line["from"] == "LISTEN" && line["to"] == "SYN_RECV");
        let left = lines.iter().filter(|line| line["from"].is_string() && !is_birth(line)).count();
        let over = decoded.slices().filter(|slice| slice.note("end").is_none()).count();
        assert_eq!(over, left, "{name}");
        let open: u64 = decoded.counts().values().sum();
        assert_eq!((decoded.slices().count() - over) as u64, open, "{name}: what is there at the end is drawn to it");
        let failed = lines.iter().filter(|line| line["event"].is_string()).count();
        assert_eq!(decoded.marks("failed call").len(), failed, "{name}");
        for line in lines.iter().filter(|line| line["dwell_ns"].is_u64() && line["id"].is_string() && !is_birth(line)) {
            let state = line["from"].as_str().unwrap();
            let found =
                decoded.slices().any(|slice| slice.name == state && slice.note("cookie") == line["id"].as_str());
            assert!(found, "{name}: {line}");
        }
    }
}

#[test]
fn what_is_not_known_says_so() {
    let (decoded, _) = written(&fixture("predates"), &[]);
    assert!(decoded.slices().any(|slice| slice.name.ends_with(" (began earlier)")), "{}", decoded.text);
    for slice in decoded.slices() {
        assert_eq!(slice.name.contains('('), matches!(slice.note("start"), Some("earlier than shown" | "unknown")));
    }
    let (decoded, _) = written(&fixture("ends"), &[]);
    assert!(decoded.marks("early end").contains(&"reset"), "{:?}", decoded.marks("early end"));
}

/// Records that are missing leave connections half known.
#[test]
fn sound_whatever_is_missing() {
    for name in ["reasons", "handshakes", "ends", "nginx", "6.1-timer"] {
        let (header, records) = records(name);
        for every in 2..9 {
            let some = records.iter().enumerate().filter(|(index, _)| index % every != 0);
            let some: Vec<Vec<u8>> = some.map(|(_, record)| record.clone()).collect();
            let decoded = drawn(&header, &some);
            assert!(decoded.slices().count() > 0, "{name} {every}");
        }
    }
}

#[test]
fn names_stay_text() {
    for name in ["a\nb\u{1b}[2J", "r\u{202e}gp\u{200b}", "q\"\\\u{7f}</b>"] {
        let (header, records) = named(name);
        let decoded = drawn(&header, &records);
        let all = decoded.text.replace('\n', "");
        assert!(all.chars().all(is_plain), "{name:?}");
        assert!(decoded.tracks.values().any(|track| track.pid.is_some()));
    }
}

#[test]
fn a_recording_that_is_cut_or_lost_events() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(fixture("nginx")).unwrap();
    let file = folder.path().join("cut.tcpwait");
    fs::write(&file, &whole[..whole.len() * 2 / 3]).unwrap();
    let (decoded, said) = written(&file, &[]);
    assert!(decoded.slices().count() > 100);
    assert!(said.contains("cut short at byte") && said.contains("everything before that is shown"), "{said}");
    let marks = decoded.marks("loss");
    assert!(marks.iter().any(|mark| mark.starts_with("it was cut short at byte")), "{marks:?}");
    assert_eq!(decoded.counts(), standing(&file, &[]));
    let (header, mut all) = records("natural");
    all.push(vec![0xff; 48]);
    let decoded = drawn(&header, &all);
    assert!(decoded.marks("loss")[0].contains("1 malformed record"), "{:?}", decoded.marks("loss"));
}

#[test]
fn to_standard_output() {
    let mut command = tcpwait();
    command.args(["trace", "--from"]).arg(fixture("natural")).args(["--perfetto", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_eq!(Decoded::of(&output.stdout).text, written(&fixture("natural"), &[]).0.text);
}
