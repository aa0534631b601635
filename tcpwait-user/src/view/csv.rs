//! `tcpwait trace --csv`: a row for each line of `--json`. The columns are those of docs/output.md.

use std::io::{self, Write};

use serde_json::Value;

use super::{View, ViewContext, cells::CellRow, json::TraceJson};
use crate::{
    ledger::Recorded,
    lifecycle::{Failure, RestartCause, Transition},
};

/// Before those of restarts by cause.
const BEGIN: [&str; 28] = [
    "event",
    "time",
    "id",
    "netns",
    "interface",
    "family",
    "laddr",
    "lport",
    "raddr",
    "rport",
    "from",
    "to",
    "dwell_ns",
    "dwell_at_least_ns",
    "timing",
    "pid",
    "comm",
    "uid",
    "cgroup",
    "pod",
    "container",
    "reason",
    "detail",
    "errno",
    "soft_errno",
    "by.pid",
    "by.comm",
    "restarts",
];

/// Behind them.
const END: [&str; 13] = [
    "retransmits",
    "predates",
    "why",
    "words",
    "search.lowest",
    "search.highest",
    "search.refused",
    "reuseaddr.set",
    "reuseaddr.would_do",
    "lossy",
    "cut.at_byte",
    "cut.why",
    "impossible_times",
];

/// What a row without a key `event` is.
const TRANSITION: &str = "transition";

/// The CSV view.
#[derive(Debug)]
pub struct TraceCsv {
    json: TraceJson,
    /// The line that is being made a row of.
    line: Vec<u8>,
    row: CellRow,
}

impl Default for TraceCsv {
    fn default() -> Self {
        let causes = RestartCause::ALL.map(|cause| format!("restart_causes.{}", cause.name()));
        let columns = BEGIN.map(str::to_owned).into_iter().chain(causes).chain(END.map(str::to_owned));
        Self { json: TraceJson::default(), line: Vec::new(), row: CellRow::new(columns.collect()) }
    }
}

impl TraceCsv {
    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let line: Value = serde_json::from_slice(&self.line)?;
        self.line.clear();
        self.row.set("event", &TRANSITION.into());
        self.row.lay(&line);
        self.row.write(out)
    }
}

impl View for TraceCsv {
    fn header(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.row.write_header(out)
    }

    fn transition(&mut self, step: &Transition, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.json.transition(step, context, &mut self.line)?;
        self.write(out)
    }

    fn failure(&mut self, failure: &Failure, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.json.failure(failure, context, &mut self.line)?;
        self.write(out)
    }

    fn damage(&mut self, found: &Recorded, out: &mut dyn Write) -> io::Result<()> {
        self.json.damage(found, &mut self.line)?;
        self.write(out)
    }
}
