//! Entries for the journal of systemd, in its native protocol: each line of trace with what it is made of as fields. The fields are in docs/output.md; what is
//! not known has none.
//!
//! Fields that bcc's `tcpstates -Y` has, have its names here; the others begin with `TCPWAIT_`.

use std::io::{self, Write};

use super::{
    View, ViewContext,
    clock::TimeWriter,
    failure::{errno, event},
    json, ledger,
    paint::Mark,
    text::{self, Columns, TraceText},
};
use crate::{
    event::Task,
    ledger::{Ledger, Recorded},
    lifecycle::{Failure, Restarts, Timing, Transition},
    origin::Origin,
    tcp::Flow,
};

/// What `MESSAGE_ID` says: a connection took a step.
pub const STEP_ID: &str = "8b51778b0c6743ac8398abc19e551446";
/// A call failed.
pub const FAILURE_ID: &str = "5e965a02dce84838ad0d5d2428837cc3";
/// Events were lost, or connections' ends.
pub const LOSS_ID: &str = "059c972557f24da5a7a4cc22eb168bb7";
/// A recording cannot be read to its end, or not all of it.
pub const DAMAGE_ID: &str = "64d1361cfcda49f69114cb12628695c5";

/// Bytes of a value that others choose.
const LONGEST: usize = 4096;

/// Bytes of a line.
const LONGEST_LINE: usize = 16 << 10;

/// `LOG_INFO` and `LOG_WARNING` of syslog(3).
const INFO: u8 = 6;
const WARNING: u8 = 4;

/// The view for the journal.
#[derive(Debug)]
pub struct TraceJournal {
    lines: TraceText,
    line: Vec<u8>,
    clock: TimeWriter,
    entry: JournalEntry,
    pids: Pids,
}

/// Whose process ids they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pids {
    /// The journal's own: it looks the process up by its number and adds what it finds.
    OfJournal,
    /// Of another machine, time, or PID namespace: the journal would find a stranger.
    Other,
}

impl TraceJournal {
    /// A view whose lines have these columns.
    pub fn new(columns: Columns, pids: Pids) -> Self {
        Self {
            lines: TraceText::new(columns),
            line: Vec::new(),
            clock: TimeWriter::default(),
            entry: JournalEntry::default(),
            pids,
        }
    }

    /// Begins an entry with the line that is there.
    fn begin(&mut self, id: &str, mark: Mark) {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        self.entry.begin(id, if mark == Mark::Plain { INFO } else { WARNING }, line);
    }

    fn who(&mut self, time_ns: u64, id: u64, owner: Option<&Task>, flow: &Flow, context: ViewContext<'_>) {
        let Self { entry, clock, pids, .. } = self;
        entry.put_known("TCPWAIT_TIME", clock.rfc3339(context, time_ns));
        entry.put_known("TCPWAIT_ID", json::id(id));
        if let Some(owner) = owner {
            entry.put(if *pids == Pids::OfJournal { "OBJECT_PID" } else { "TCPWAIT_PID" }, owner.pid.to_string());
            entry.put("OBJECT_COMM", owner.comm_text().as_bytes());
            entry.put("TCPWAIT_UID", owner.uid.to_string());
            entry.put_known("TCPWAIT_CGROUP", context.names.cgroup(owner.cgroup));
        }
        let (netns, name) = (flow.netns.to_string(), context.names.netns(flow.netns));
        entry.put_known("TCPWAIT_NETNS_NAME", (name != netns).then_some(name.as_bytes()));
        entry.put("TCPWAIT_NETNS", netns);
        entry.put_known("TCPWAIT_INTERFACE", flow.interface().map(|it| context.names.interface(it).into_owned()));
        let (source, destination) = match flow.laddr.is_ipv4() {
            true => ("OBJECT_IPV4_SOURCE_ADDRESS", "OBJECT_IPV4_DESTINATION_ADDRESS"),
            false => ("OBJECT_IPV6_SOURCE_ADDRESS", "OBJECT_IPV6_DESTINATION_ADDRESS"),
        };
        entry.put(source, flow.laddr.to_string());
        entry.put_known("OBJECT_TCP_SOURCE_PORT", number(json::known(flow.lport)));
        // A socket without a remote end has 0.0.0.0 there.
        if !flow.raddr.is_unspecified() || flow.rport != 0 {
            entry.put(destination, flow.raddr.to_string());
        }
        entry.put_known("OBJECT_TCP_DESTINATION_PORT", number(json::known(flow.rport)));
    }

    fn errno(&mut self, number: u16, soft: u16) {
        if number != 0 {
            self.entry.put("ERRNO", number.to_string());
        }
        self.entry.put_known("TCPWAIT_ERRNO", errno(number));
        self.entry.put_known("TCPWAIT_SOFT_ERRNO", errno(soft));
    }

    /// An entry that is about no connection.
    fn note(&mut self, id: &str, event: &str, line: String, out: &mut dyn Write) -> io::Result<()> {
        self.line = line.into_bytes();
        self.begin(id, Mark::Warning);
        self.entry.put("TCPWAIT_EVENT", event);
        out.write_all(self.entry.bytes())
    }
}

impl View for TraceJournal {
    fn header(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn transition(&mut self, step: &Transition, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.line.clear();
        self.lines.transition(step, context, &mut self.line)?;
        self.begin(STEP_ID, text::mark(step.reason));
        self.who(step.time_ns, step.id, step.owner.as_deref().or(step.listener.as_deref()), &step.flow, context);
        let entry = &mut self.entry;
        entry.put_known("OBJECT_TCP_OLD_STATE", step.from.map(|state| state.name()));
        entry.put("OBJECT_TCP_NEW_STATE", step.to.name());
        entry.put_known("OBJECT_TCP_SPAN_TIME", number(step.dwell_ns.map(|ns| ns / 1000)));
        entry.put_known("TCPWAIT_AT_LEAST_NS", number(step.dwell_at_least_ns));
        entry.put_known("TCPWAIT_DWELL_NS", number(step.dwell_ns));
        let timing = match step.timing {
            Timing::Exact => Some("exact"),
            Timing::Jiffy => Some("jiffy"),
            Timing::Unknown => None,
        };
        entry.put_known("TCPWAIT_TIMING", timing);
        let origin = match step.origin {
            Origin::Here => Some("here"),
            Origin::There => Some("there"),
            Origin::Unknown(_) => None,
        };
        entry.put_known("TCPWAIT_ORIGIN", origin);
        entry.put_known("TCPWAIT_REASON", step.reason.map(|reason| reason.name()));
        entry.put_known("TCPWAIT_DETAIL", step.detail.map(|detail| detail.name()));
        if let Some(by) = &step.by {
            entry.put("TCPWAIT_BY_PID", by.pid.to_string());
            entry.put("TCPWAIT_BY_COMM", by.comm_text().as_bytes());
        }
        entry.put_known("TCPWAIT_RESTARTS", number(step.restarts.as_ref().map(Restarts::total)));
        entry.put_known("TCPWAIT_RETRANSMITS", number(step.retransmits));
        entry.put_known("TCPWAIT_PREDATES", step.predates.then_some("1"));
        self.errno(step.errno, step.soft_errno);
        out.write_all(self.entry.bytes())
    }

    fn failure(&mut self, failure: &Failure, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.line.clear();
        self.lines.failure(failure, context, &mut self.line)?;
        self.begin(FAILURE_ID, Mark::Failure);
        self.who(failure.time_ns, failure.id, failure.owner.as_deref(), &failure.flow, context);
        self.entry.put("TCPWAIT_EVENT", event(failure.call));
        self.entry.put("TCPWAIT_REASON", failure.why.name());
        self.entry.put_known("TCPWAIT_RETRANSMITS", number(failure.retransmits));
        self.errno(failure.errno, failure.soft_errno);
        out.write_all(self.entry.bytes())
    }

    fn loss(&mut self, _time_ns: u64, lost: u64, _: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let line = format!("lost so far: {lost} events (ring buffer full); a larger --ring-buffer helps");
        self.note(LOSS_ID, "lost", line, out)
    }

    fn damage(&mut self, found: &Recorded, out: &mut dyn Write) -> io::Result<()> {
        let line = ledger::damage(found, "sent").join("; ");
        self.note(DAMAGE_ID, "recording-damaged", line, out)
    }

    fn account(&mut self, ledger: &Ledger, _: u64, _: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        match ledger::lost(ledger) {
            Some(line) => self.note(LOSS_ID, "lost", line, out),
            None => Ok(()),
        }
    }
}

fn number(number: Option<impl ToString>) -> Option<String> {
    number.map(|number| number.to_string())
}

/// An entry that is being made. Its names are constants; a value may have any bytes, and none of them begins a field of its own.
#[derive(Debug, Default)]
pub struct JournalEntry(Vec<u8>);

impl JournalEntry {
    /// Begins anew.
    fn begin(&mut self, id: &str, priority: u8, line: &[u8]) {
        self.0.clear();
        self.put_bounded("MESSAGE", line, LONGEST_LINE);
        self.put("PRIORITY", priority.to_string());
        self.put("SYSLOG_IDENTIFIER", "tcpwait");
        self.put("MESSAGE_ID", id);
    }

    /// A field; of a very long value the beginning.
    pub fn put(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        self.put_bounded(name, value.as_ref(), LONGEST);
    }

    /// A field where there is something to say.
    fn put_known(&mut self, name: &'static str, value: Option<impl AsRef<[u8]>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn put_bounded(&mut self, name: &'static str, value: &[u8], most: usize) {
        let value = beginning(value, most);
        self.0.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            // Its length says where it ends.
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// As it is sent.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// So many bytes at most, and no part of a character.
fn beginning(value: &[u8], most: usize) -> &[u8] {
    if value.len() <= most {
        return value;
    }
    let is_continued = |at: usize| value.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    // A character has at most 4 bytes; what is none may be cut anywhere.
    let end = (most.saturating_sub(3)..=most).rev().find(|at| !is_continued(*at)).unwrap_or(most);
    value.get(..end).unwrap_or_default()
}
