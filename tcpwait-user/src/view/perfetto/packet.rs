//! Packets of a Perfetto trace (`perfetto_trace.proto`): each is written when it is made, and all are of one sequence.

use std::io::{self, Write};

use super::message::ProtoMessage;

/// `Trace.packet`.
const PACKET: u64 = 1;

/// The one sequence that there is.
const SEQUENCE: u64 = 1;

/// `BuiltinClock`.
const REALTIME: u64 = 1;
const MONOTONIC: u64 = 3;

/// `TrackEvent.Type`.
const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// Fields of `TracePacket`.
mod of_packet {
    pub const CLOCK_SNAPSHOT: u64 = 6;
    pub const TIMESTAMP: u64 = 8;
    pub const SEQUENCE_ID: u64 = 10;
    pub const TRACK_EVENT: u64 = 11;
    pub const SEQUENCE_FLAGS: u64 = 13;
    pub const CLOCK_ID: u64 = 58;
    pub const DEFAULTS: u64 = 59;
    pub const TRACK_DESCRIPTOR: u64 = 60;
    pub const FIRST_ON_SEQUENCE: u64 = 87;
}

/// Fields of `TrackEvent`.
mod of_event {
    pub const ANNOTATION: u64 = 4;
    pub const TYPE: u64 = 9;
    pub const TRACK: u64 = 11;
    pub const CATEGORY: u64 = 22;
    pub const NAME: u64 = 23;
    pub const COUNTER_VALUE: u64 = 30;
}

/// Fields of `TrackDescriptor`.
mod of_track {
    pub const UUID: u64 = 1;
    pub const NAME: u64 = 2;
    pub const PROCESS: u64 = 3;
    pub const PARENT: u64 = 5;
    pub const COUNTER: u64 = 8;
    pub const SIBLINGS: u64 = 15;
}

/// A track.
pub(super) struct TrackDescriptor<'a> {
    pub uuid: u64,
    pub parent: Option<u64>,
    pub name: &'a str,
    pub process: Option<ProcessDescriptor<'a>>,
    pub is_counter: bool,
}

/// A process.
pub(super) struct ProcessDescriptor<'a> {
    pub pid: u32,
    pub name: &'a str,
}

impl<'a> TrackDescriptor<'a> {
    /// One on the top.
    pub fn named(uuid: u64, name: &'a str) -> Self {
        Self { uuid, parent: None, name, process: None, is_counter: false }
    }
}

/// What is said of an event.
pub(super) struct Annotation<'a> {
    name: &'static str,
    value: NoteValue<'a>,
}

enum NoteValue<'a> {
    Text(&'a str),
    Number(u64),
}

impl<'a> Annotation<'a> {
    pub fn text(name: &'static str, text: &'a str) -> Self {
        Self { name, value: NoteValue::Text(text) }
    }

    pub fn number(name: &'static str, number: u64) -> Self {
        Self { name, value: NoteValue::Number(number) }
    }

    fn write(&self, to: &mut ProtoMessage) {
        to.message(of_event::ANNOTATION, |note| {
            note.text(10, self.name);
            match self.value {
                NoteValue::Text(text) => note.text(6, text),
                NoteValue::Number(number) => note.number(3, number),
            };
        });
    }
}

/// Writes packets.
#[derive(Debug, Default)]
pub(super) struct Packets {
    message: ProtoMessage,
}

impl Packets {
    fn packet(&mut self, out: &mut dyn Write, write: impl FnOnce(&mut ProtoMessage)) -> io::Result<()> {
        self.message.clear();
        self.message.message(PACKET, |packet| {
            packet.number(of_packet::SEQUENCE_ID, SEQUENCE);
            write(packet);
        });
        out.write_all(self.message.bytes())
    }

    /// The first: what holds for all. Times are of `CLOCK_MONOTONIC`.
    pub fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.packet(out, |packet| {
            // SEQ_INCREMENTAL_STATE_CLEARED.
            packet.number(of_packet::SEQUENCE_FLAGS, 1).number(of_packet::FIRST_ON_SEQUENCE, 1);
            packet.message(of_packet::DEFAULTS, |defaults| {
                defaults.number(of_packet::CLOCK_ID, MONOTONIC);
            });
        })
    }

    /// Two clocks at one time. The trace's own is the recording's: how long the machine was suspended, a recording does not say.
    pub fn clocks(&mut self, monotonic_ns: u64, realtime_offset_ns: i128, out: &mut dyn Write) -> io::Result<()> {
        let realtime = u64::try_from(i128::from(monotonic_ns).saturating_add(realtime_offset_ns));
        self.packet(out, |packet| {
            packet.number(of_packet::TIMESTAMP, monotonic_ns).message(of_packet::CLOCK_SNAPSHOT, |snapshot| {
                for (id, time_ns) in [(MONOTONIC, Some(monotonic_ns)), (REALTIME, realtime.ok())] {
                    let Some(time_ns) = time_ns else { continue };
                    snapshot.message(1, |clock| {
                        clock.number(1, id).number(2, time_ns);
                    });
                }
                // primary_trace_clock.
                snapshot.number(2, MONOTONIC);
            });
        })
    }

    /// A track begins.
    pub fn track(&mut self, track: &TrackDescriptor<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.packet(out, |packet| {
            packet.message(of_packet::TRACK_DESCRIPTOR, |descriptor| {
                descriptor.number(of_track::UUID, track.uuid);
                if let Some(parent) = track.parent {
                    descriptor.number(of_track::PARENT, parent);
                }
                match &track.process {
                    Some(ProcessDescriptor { pid, name }) => descriptor.message(of_track::PROCESS, |process| {
                        process.signed(1, i64::from(pid.cast_signed())).text(6, name);
                    }),
                    None => descriptor.text(of_track::NAME, track.name),
                };
                if track.is_counter {
                    descriptor.message(of_track::COUNTER, |counter| {
                        // UNIT_COUNT.
                        counter.number(3, 2);
                    });
                } else if track.process.is_none() {
                    // SIBLING_MERGE_BEHAVIOR_NONE: the same addresses again are another connection.
                    descriptor.number(of_track::SIBLINGS, 2);
                }
            });
        })
    }

    /// From when to when something lasted.
    pub fn slice(
        &mut self,
        track: u64,
        (begin_ns, end_ns): (u64, u64),
        category: &str,
        name: &str,
        notes: &[Option<Annotation<'_>>],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.event(track, begin_ns, SLICE_BEGIN, out, |event| describe(event, category, name, notes))?;
        self.event(track, end_ns, SLICE_END, out, |_| {})
    }

    /// What happened at one time.
    pub fn instant(
        &mut self,
        track: u64,
        time_ns: u64,
        category: &str,
        name: &str,
        notes: &[Option<Annotation<'_>>],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.event(track, time_ns, INSTANT, out, |event| describe(event, category, name, notes))
    }

    /// What a counter is from now on.
    pub fn count(&mut self, track: u64, time_ns: u64, value: u64, out: &mut dyn Write) -> io::Result<()> {
        self.event(track, time_ns, COUNTER, out, |event| {
            event.number(of_event::COUNTER_VALUE, value);
        })
    }

    fn event(
        &mut self,
        track: u64,
        time_ns: u64,
        kind: u64,
        out: &mut dyn Write,
        write: impl FnOnce(&mut ProtoMessage),
    ) -> io::Result<()> {
        self.packet(out, |packet| {
            packet.number(of_packet::TIMESTAMP, time_ns).message(of_packet::TRACK_EVENT, |event| {
                event.number(of_event::TYPE, kind).number(of_event::TRACK, track);
                write(event);
            });
        })
    }
}

fn describe(event: &mut ProtoMessage, category: &str, name: &str, notes: &[Option<Annotation<'_>>]) {
    event.text(of_event::CATEGORY, category).text(of_event::NAME, name);
    notes.iter().flatten().for_each(|note| note.write(event));
}
