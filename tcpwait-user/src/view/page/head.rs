//! The head of the page: of which recording it is, made where, how and by what, and what is missing in it.

use maud::{Markup, html};

use super::axis::TimeAxis;
use crate::{
    aggregate::report::StatReport,
    plain,
    view::{
        audit, ledger,
        units::{date_time, duration, known},
    },
};

/// So much of what a recording says of itself is shown: it may say anything.
const MOST: usize = 300;

/// What is known of the recording itself.
#[derive(Clone, Debug)]
pub struct RecordingFacts {
    /// The name of its file.
    pub file: String,
    /// The SHA-256 of the file in hexadecimal digits; `None` where it could be read but once.
    pub sha256: Option<String>,
    /// The machine that it was made on; `None` where it does not say.
    pub host: Option<String>,
    /// The command that made it; `None` where it does not say.
    pub command: Option<String>,
    /// The kernel and its architecture.
    pub kernel: String,
    /// The kernel's ticks a second.
    pub hz: Option<u64>,
    /// The version of the tool that made it.
    pub made_by: String,
    /// The version of its records.
    pub wire: u32,
    /// The options that say which of its connections are on the page.
    pub filter: Vec<String>,
}

/// The facts, and what was lost, always: that nothing was, too.
pub fn head(facts: &RecordingFacts, report: &StatReport, damage: &[String], axis: &TimeAxis<'_>) -> Markup {
    let RecordingFacts { file, sha256, host, command, kernel, hz, made_by, wire, filter } = facts;
    let shown = |text: &str| plain::beginning(&plain::escaped(text), MOST);
    let or_unknown = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), shown);
    let time = |ns: u64| date_time(axis.context.wall(ns), axis.zone);
    let length = duration(Some(axis.end_ns.saturating_sub(axis.begin_ns)));
    let all = "all that it has".to_owned();
    let rows = [
        ("host", or_unknown(host)),
        ("time", format!("{} to {} ({length})", time(axis.begin_ns), time(axis.end_ns))),
        ("recorded with", or_unknown(command)),
        ("shown", if filter.is_empty() { all } else { shown(&filter.join(" ")) }),
        ("kernel", format!("{}, HZ {}", shown(kernel), known(*hz))),
        ("recording", shown(file)),
        ("its SHA-256", sha256.clone().unwrap_or_else(|| "- (it was not read from a file)".to_owned())),
        ("made by", format!("tcpwait {}, records of version {wire}", shown(made_by))),
        ("shown by", format!("tcpwait {}", env!("CARGO_PKG_VERSION"))),
    ];
    html! {
        dl { @for (name, value) in rows { dt { (name) } dd { (value) } } }
        @if let Some(lost) = ledger::lost(&report.ledger) {
            p.loss { (lost) ". Numbers of what was lost are at least; where it was lost, pictures over time are hatched." }
        } @else { p { "Nothing was lost." } }
        @if report.audit.differs() {
            p.loss { "The kernel has counted otherwise, and nothing explains it. " (audit::sentence(&report.audit, false)) }
        }
        @for line in damage { p.loss { (line) } }
        p { button id="save" type="button" hidden { "Save all numbers as JSON" } }
    }
}
