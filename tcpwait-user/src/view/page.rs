//! A recording as one page that opens anywhere: the answer in words, then pictures. Nothing is fetched, and a policy in the page says so; without JavaScript
//! all of it can be read, only hovering, zooming, sorting and saving are missing.

mod account;
pub(super) mod axis;
mod bars;
pub(super) mod data;
mod findings;
mod frame;
mod glossary;
mod head;
mod lives;
pub(super) mod machine;
pub(super) mod markup;
mod opening;
mod port_section;
mod ports;
mod rates;
mod services;
mod settings;
mod sockets;
pub(super) mod svg;
mod time_wait;
mod times;

use std::io;

use base64::Engine as _;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::axis::TimeAxis;
pub use self::{findings::FindingsOverTime, head::RecordingFacts};
use super::{
    ViewContext,
    stat::{sections, sentences::about_peer},
    table::Column,
    units::{counted, date_time, duration},
};
use crate::{
    aggregate::{ports::report::PortsReport, report::StatReport},
    report::ReportContents,
};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// The sections: their names on the page, their titles, how their numbers were got.
const SECTIONS: [(&str, &str, &str); 13] = [
    ("answer", "What it says", ""),
    (
        "over-time",
        "Over time",
        "How it was got: each step of each connection was told by a hook of the kernel; sockets are those at the end of each part of the time, listeners left out.",
    ),
    (
        "who",
        "Who",
        "How it was got: the service is the end that was listened on; the process is the one that made the last call that only an owner makes. What a part of the time has is the TIME_WAITs that began in it.",
    ),
    (
        "ports",
        "Ports",
        "How it was got: a port is in use from connect() to the end of the connection, of TIME_WAIT too; how many there are, and which of them can be taken again, is by the settings in the recording.",
    ),
    (
        "time-wait-section",
        "TIME_WAIT",
        "How it was got: each time is from the step into TIME_WAIT to the end of its mini-socket; the band is 60 s and what the kernel's timer wheel may add at this HZ.",
    ),
    (
        "opening",
        "Opening",
        "How it was got: from the SYN to the end of the handshake, as the request socket or the connecting socket had it; what was sent again is the kernel's own count for each connection.",
    ),
    (
        "states",
        "States",
        "How it was got: numbers at arrows are steps, and how many that is a second over the whole time; the thicker, the more. Short arrows are ends that the RFC does not draw: by a reset, or for want of an answer. A step whose beginning was not seen has no arrow.",
    ),
    ("ends", "Ends", "How it was got: the reason is by the kernel's function that ended the connection."),
    (
        "lives-section",
        "Single connections",
        "How it was got: by chance is by a sum of the connection's number, so that the same recording shows the same ones.",
    ),
    (
        "failures",
        "Calls that failed",
        "How it was got: from what connect(), bind() and listen() returned, where a hook told it.",
    ),
    (
        "settings",
        "Settings",
        "How it was got: read once a minute from /proc/sys while it was recorded; shown as they were last. Defaults are the kernel's, and remarks are those of `tcpwait doctor` that follow from settings alone.",
    ),
    (
        "account",
        "How far this can be trusted",
        "Counts are of what the kernel's hooks told, one by one. The audit holds them against the kernel's own counters.",
    ),
    ("words", "What the words mean", ""),
];

/// The numbers for programs.
#[derive(Clone, Copy, Debug)]
pub struct PageDocuments<'a> {
    /// As `tcpwait stat --json` has them.
    pub stat: &'a str,
    /// As `tcpwait ports --json` does.
    pub ports: &'a str,
}

/// What a page is made of.
#[derive(Debug)]
pub struct ReportPage<'a> {
    /// The report on the whole recording.
    pub report: &'a StatReport,
    /// How ports stood at its end.
    pub ports: &'a PortsReport,
    /// What stood out, and when.
    pub findings: &'a FindingsOverTime,
    /// What was collected besides.
    pub collected: &'a ReportContents,
    /// What is known of the recording.
    pub recording: RecordingFacts,
    /// Hooks that were not attached, and why.
    pub missing_hooks: &'a [(String, String)],
    /// What is wrong with the recording itself.
    pub damage: &'a [String],
    /// The numbers.
    pub documents: PageDocuments<'a>,
}

impl ReportPage<'_> {
    /// The page.
    ///
    /// # Errors
    /// One of the documents is not JSON.
    pub fn html(&self, context: ViewContext<'_>, zone: &TimeZone) -> io::Result<String> {
        let (begin_ns, end_ns) = self.collected.course.span_ns();
        let axis = TimeAxis { begin_ns, end_ns, context, zone };
        let title = format!("TCP connections, {}", date_time(context.wall(begin_ns), zone));
        let data = self.data(&axis)?;
        let body = html! {
            (head::head(&self.recording, self.report, self.damage, &axis))
            nav aria-label="Sections" { ul { @for (id, title, _) in SECTIONS { li { a href={ "#" (id) } { (title) } } } } }
            @for (id, title, got) in SECTIONS { (markup::section(id, title, self.section(id, &axis), got)) }
            div id="bar" hidden {
                output id="at" {}
                button id="all" type="button" hidden { "Show all of the time" }
            }
        };
        Ok(shell(&title, &body, &data))
    }

    fn section(&self, id: &str, axis: &TimeAxis<'_>) -> Markup {
        let Self { report, collected, .. } = self;
        let context = axis.context;
        match id {
            "answer" => findings::answer(self.findings, report, axis),
            "over-time" => self.over_time(axis),
            "who" => self.who(axis),
            "ports" => port_section::content(self.ports, collected, axis),
            "time-wait-section" => time_wait::content(report, &collected.time_wait),
            "opening" => opening::content(report, collected, context),
            "states" => html! {
                (markup::picture("The state machine", "", machine::picture(report)))
                (markup::table("Times in states", sections::state_columns(report).1, "No socket was seen."))
            },
            "ends" => html! {
                (markup::table("How connections ended", sections::end_columns(report),
                    "No connection ended otherwise than by FINs on both sides."))
                (markup::table("Whose connections ended otherwise", sections::abnormal_columns(report, context), ""))
            },
            "lives-section" => self.lives(axis),
            "failures" => html! {
                @if report.failures.partial { p { "Calls that failed before anything was sent are not known: no hook told of them." } }
                (markup::table("Calls that failed", sections::failure_columns(report, context), "No call failed."))
            },
            "settings" => settings::content(collected, context),
            "account" => account::content(report, self.missing_hooks),
            _ => glossary::glossary(),
        }
    }

    fn over_time(&self, axis: &TimeAxis<'_>) -> Markup {
        let course = &self.collected.course;
        let (parts, width) =
            (counted(course.moments().len() as u64, "part", "parts"), duration(Some(course.width_ns())));
        let pictures =
            [("stacked", sockets::stacked(course, axis)), ("logarithmic", sockets::logarithmic(course, axis))];
        html! {
            p id="how" hidden { "Drag across a picture to see that time in all of them; double click to see all again. Keys: + and -, arrows, Escape." }
            (markup::switch("scale", "Sockets by state", "sockets", pictures))
            (markup::states_key())
            (markup::picture("TIME_WAITs a second, and calls that failed", "rates", rates::picture(course, axis)))
            p.quiet { (parts) " of " (width) " each." }
        }
    }

    fn who(&self, axis: &TimeAxis<'_>) -> Markup {
        let rows = sections::group_rows(self.report);
        let mut columns = sections::group_columns(self.report, &rows, axis.context);
        columns.push(Column::text("PEER", 0, rows.iter().map(|row| about_peer(row)).collect()));
        html! {
            (markup::picture("TIME_WAITs entered, by service and time", "services", services::picture(&self.collected.services, &self.collected.course, axis)))
            (markup::table("Whose TIME_WAITs they were", columns, ""))
        }
    }

    fn lives(&self, axis: &TimeAxis<'_>) -> Markup {
        let lives = &self.collected.lives;
        let drawn = lives::picture(lives, axis);
        html! {
            @if drawn.is_ok() { p { (lives::sentence(lives, lives.shown().len())) } }
            (markup::picture("Single connections", "lives", drawn))
            (markup::states_key())
        }
    }

    fn data(&self, axis: &TimeAxis<'_>) -> io::Result<String> {
        let Self { report, collected, documents, .. } = self;
        let mut pictures = vec![
            sockets::data(&collected.course, axis),
            rates::data(&collected.course, axis),
            services::data(&collected.services, axis),
            ports::data(&collected.ports, axis),
        ];
        pictures.extend(time_wait::data(report, &collected.time_wait));
        pictures.extend(opening::data(report, collected));
        pictures.extend(lives::data(&collected.lives, axis));
        data::document(axis, documents.stat, documents.ports, pictures)
    }
}

/// What every page has around it; `data`: its numbers as JSON in which nothing is markup.
pub(super) fn shell(title: &str, body: &Markup, data: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { h1 { (title) } (body) }
                script type="application/json" id="data" { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The page may do nothing but show itself, in the one style and with the one script that it has.
fn policy() -> String {
    let sum = |text: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(digest)
    };
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        sum(STYLE),
        sum(SCRIPT)
    )
}
