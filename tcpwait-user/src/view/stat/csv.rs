//! `tcpwait stat --csv`: rows of several kinds, each made of an object of the JSON document. The columns are those of docs/output.md.

use std::io::{self, Write};

use serde_json::Value;

use super::{
    super::{ReportView, ViewContext, cells::CellRow},
    json::document,
};
use crate::{
    aggregate::{by::GroupBy, report::StatReport},
    lifecycle::Reason,
};

/// What every row has: what it is, and of which report.
const OF_ALL: [&str; 5] = ["row", "time", "begin", "interval_ns", "final"];

/// ReportRows of states, groups, exits and ends.
const COUNTS: [&str; 32] = [
    "groups",
    "state",
    "reason",
    "now",
    "entered",
    "left",
    "at_least",
    "estimate",
    "count",
    "per_s",
    "share",
    "dwell.count",
    "dwell.inferred",
    "dwell.sum_ns",
    "dwell.mean_ns",
    "dwell.min_ns",
    "dwell.p50_ns",
    "dwell.p90_ns",
    "dwell.p99_ns",
    "dwell.max_ns",
    "age.oldest_ns",
    "age.p50_ns",
    "age.p90_ns",
    "age.known",
    "age.at_least",
    "closed_first.this_side",
    "closed_first.peer",
    "closed_first.both",
    "closed_first.neither",
    "top_peer.addr",
    "top_peer.entered",
    "top_peer.only",
];

/// ReportRows of transitions, sockets that wait, findings, and calls that failed.
const SINGLE: [&str; 22] = [
    "from",
    "to",
    "kernel",
    "finding",
    "service",
    "netns",
    "growth",
    "unanswered",
    "oldest_ns",
    "oldest_exact",
    "available",
    "in_ns",
    "process",
    "process_has_all",
    "call",
    "why",
    "errno",
    "comm",
    "interface",
    "addr",
    "port",
    "text",
];

/// ReportRows of whole reports.
const REPORT: [&str; 26] = [
    "sample.one_in",
    "sample.most",
    "time_wait.entered_per_s",
    "time_wait.left_per_s",
    "time_wait.restarts",
    "time_wait.overflows",
    "time_wait.made.here",
    "time_wait.made.accepted",
    "time_wait.made.unknown",
    "syn_recv.retransmits",
    "syn_recv.retransmitted",
    "syn_recv.without_request",
    "failures.total",
    "connects.left",
    "connects.established",
    "connects.syn_retransmits",
    "connects.retransmitted",
    "connects.soft_errors",
    "groups_folded",
    "audit.agrees",
    "ledger.left_out",
    "ledger.followed_in_part",
    "ledger.now_unsure",
    "ledger.lossy",
    "ledger.cut.at_byte",
    "ledger.cut.why",
];

/// What a loss is of.
const CAUSE: &str = "cause";

/// Arrays of which each object is a row: what the row is, and where in the document they are.
const LISTS: [(&str, &str); 5] = [
    ("finding", "/findings"),
    ("waiting", "/waiting"),
    ("group", "/groups"),
    ("transition", "/transitions"),
    ("failure", "/failures/rows"),
];

/// Objects of which each value is a row, and the column that has its name.
const MAPS: [(&str, &str, &str); 4] = [
    ("state", "/states", "state"),
    ("exit", "/exits", "reason"),
    ("syn_recv", "/syn_recv/outcomes", "reason"),
    ("end", "/ends", "reason"),
];

/// The CSV view.
#[derive(Debug)]
pub struct StatCsv {
    row: CellRow,
    begun: bool,
}

impl Default for StatCsv {
    fn default() -> Self {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let keys = GroupBy::ALL.into_iter().flat_map(|by| {
            let of_pod = (by == GroupBy::Pod).then(|| "key.container".to_owned());
            [format!("key.{}", by.name())].into_iter().chain(of_pod)
        });
        let keys: Vec<String> = keys.collect();
        let exits = Reason::OF_TIME_WAIT.map(|reason| format!("exits.{}", reason.name()));
        let columns = [&own(&OF_ALL), &keys[..], &own(&COUNTS), &exits, &own(&SINGLE), &own(&[CAUSE]), &own(&REPORT)];
        Self { row: CellRow::new(columns.concat()), begun: false }
    }
}

impl ReportView for StatCsv {
    fn report(&mut self, report: &StatReport, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let document = serde_json::to_value(document(report, context))?;
        if !std::mem::replace(&mut self.begun, true) {
            self.row.write_header(out)?;
        }
        let mut rows = ReportRows { row: &mut self.row, document: &document, out };
        rows.report()?;
        for (kind, place) in LISTS {
            for object in document.pointer(place).and_then(Value::as_array).into_iter().flatten() {
                let others = kind == "group" && object.get("key").is_some_and(Value::is_null);
                rows.one(if others { "others" } else { kind }, None, object)?;
            }
        }
        for (kind, place, column) in MAPS {
            for (name, object) in document.pointer(place).and_then(Value::as_object).into_iter().flatten() {
                rows.one(kind, Some((column, name)), object)?;
            }
        }
        rows.losses()
    }
}

/// The rows of one report.
struct ReportRows<'a> {
    row: &'a mut CellRow,
    document: &'a Value,
    out: &'a mut dyn Write,
}

impl ReportRows<'_> {
    fn begin(&mut self, kind: &str) {
        for key in OF_ALL {
            self.row.set(key, self.document.get(key).unwrap_or(&Value::Null));
        }
        self.row.set("row", &kind.into());
    }

    fn report(&mut self) -> io::Result<()> {
        self.begin("report");
        for key in ["sample", "time_wait", "syn_recv", "failures", "connects", "groups_folded", "audit", "ledger"] {
            self.row.set(key, self.document.get(key).unwrap_or(&Value::Null));
        }
        self.row.write(self.out)
    }

    /// One object, under its name.
    fn one(&mut self, kind: &str, name: Option<(&str, &String)>, object: &Value) -> io::Result<()> {
        self.begin(kind);
        self.row.lay(object);
        if let Some((column, name)) = name {
            self.row.set(column, &name.as_str().into());
        }
        self.row.write(self.out)
    }

    /// What was lost, since the start: a row for each cause.
    fn losses(&mut self) -> io::Result<()> {
        let lost = self.document.pointer("/ledger/lost").and_then(Value::as_object);
        for (cause, count) in lost.into_iter().flatten() {
            match count.as_object() {
                None => self.loss(cause, count)?,
                Some(counts) => {
                    counts.iter().try_for_each(|(part, count)| self.loss(&format!("{cause}.{part}"), count))?;
                }
            }
        }
        Ok(())
    }

    fn loss(&mut self, cause: &str, count: &Value) -> io::Result<()> {
        if count.as_u64().is_none_or(|count| count == 0) {
            return Ok(());
        }
        self.begin("loss");
        self.row.set(CAUSE, &cause.into());
        self.row.set("count", count);
        self.row.write(self.out)
    }
}
