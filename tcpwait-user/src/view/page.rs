//! A recording as one page that opens anywhere: the answer in words, then pictures. Nothing is fetched, and a policy in the page says so; without JavaScript
//! all of it can be read, only sorting and saving are missing.

pub(super) mod axis;
mod course;
mod dwell;
mod lives;
mod machine;
pub(super) mod svg;

use base64::Engine as _;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    ViewContext, audit, key, ledger,
    stat::{findings, sections, sentences},
    table::Column,
    units::{counted, date_time, duration, known, magnitude, time_of_day},
};
use crate::{aggregate::report::StatReport, report::ReportContents, tcp::State};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// So many different findings are kept.
const MAX_FINDINGS: usize = 40;

/// What stood out at some time of a recording, and when: a process that is gone by its end has left nothing that the last report could find.
#[derive(Debug, Default)]
pub struct FindingsOverTime(Vec<TimedFinding>);

#[derive(Debug)]
struct TimedFinding {
    /// The sentence without its numbers: the same finding a second later.
    form: String,
    /// The sentence as it was last.
    text: String,
    first_ns: u64,
    last_ns: u64,
}

impl FindingsOverTime {
    /// Takes in what stands out in a report.
    pub fn take_in(&mut self, report: &StatReport, context: ViewContext<'_>) {
        for (_, text) in findings::lines(report, true, context) {
            let is_number = |word: &&str| magnitude(word.trim_end_matches([',', ':', ';', '.', ')'])).is_some();
            let words: Vec<&str> = text.split_whitespace().filter(|word| !is_number(word)).collect();
            let form = words.join(" ");
            let has_room = self.0.len() < MAX_FINDINGS;
            match self.0.iter_mut().find(|known| known.form == form) {
                Some(known) => (known.text, known.last_ns) = (text, report.end_ns),
                None if has_room => {
                    self.0.push(TimedFinding { form, text, first_ns: report.end_ns, last_ns: report.end_ns });
                }
                None => {}
            }
        }
    }
}

/// What a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct ReportPage<'a> {
    /// The report on the whole recording.
    pub report: &'a StatReport,
    /// What stood out, and when.
    pub findings: &'a FindingsOverTime,
    /// What was collected besides.
    pub collected: &'a ReportContents,
    /// Facts on the recording, by their names, in order.
    pub facts: &'a [(&'static str, String)],
    /// Hooks that were not attached, and why.
    pub missing_hooks: &'a [(String, String)],
    /// What is wrong with the recording itself.
    pub damage: &'a [String],
    /// The numbers, as JSON.
    pub document: &'a str,
}

impl ReportPage<'_> {
    /// The page.
    pub fn html(&self, context: ViewContext<'_>, zone: &TimeZone) -> String {
        let report = self.report;
        let title = format!("TCP connections, {}", date_time(context.wall(report.begin_ns), zone));
        let body = html! {
            (self.head())
            (self.losses())
            section { h2 { "What it says" } (self.answer(context, zone)) }
            section { h2 { "Over time" } (picture(course::picture(&self.collected.course, context, zone))) (states_key()) (resolution(self.collected)) }
            section { h2 { "Who" } (table(sections::group_columns(report, &sections::group_rows(report), context), "No connection came to TIME_WAIT.")) }
            section { h2 { "TIME_WAIT" } (self.time_wait()) }
            section { h2 { "States" } (table(sections::state_columns(report).1, "No socket was seen.")) (picture(machine::picture(report)))
                p.quiet { "Numbers on edges are steps; the wider, the more. A step whose beginning was not seen has no edge." } }
            section { h2 { "Ends" } (lines(&sections::ends(report, usize::MAX), "No connection ended.")) (lines(&sections::abnormal(report, context, usize::MAX), "")) }
            section { h2 { "Single connections" } (self.lives(context, zone)) }
            section { h2 { "Calls that failed" } (table(sections::failure_columns(report, context), "No call failed.")) }
            section { h2 { "Settings" } (self.settings(context)) }
            section { h2 { "How far this can be trusted" } (self.account()) }
        };
        shell(&title, &body, self.document)
    }

    fn head(&self) -> Markup {
        html! {
            dl { @for (name, value) in self.facts { dt { (name) } dd { (value) } } }
            p { button id="save" type="button" hidden { "Save the numbers as JSON" } }
        }
    }

    /// What was lost, always: that nothing was, too.
    fn losses(&self) -> Markup {
        let report = self.report;
        let lost = ledger::lost(&report.ledger);
        html! {
            @if let Some(lost) = &lost { p.loss { (lost) ". Numbers of what was lost are at least." } } @else { p { "Nothing was lost." } }
            @for line in self.damage { p.loss { (line) } }
        }
    }

    fn answer(&self, context: ViewContext<'_>, zone: &TimeZone) -> Markup {
        let report = self.report;
        let said = [
            sentences::standing(report),
            sentences::lead(report, context),
            sentences::syn_recv(report),
            sentences::kernel_counters(report),
        ];
        let time = |ns: u64| time_of_day(context.wall(ns), zone);
        let times = |finding: &TimedFinding| match (time(finding.first_ns), time(finding.last_ns)) {
            (first, last) if first == last => first,
            (first, last) => format!("{first} to {last}"),
        };
        html! {
            @if self.findings.0.is_empty() { p { "Nothing stood out at any time." } }
            ul {
                @for finding in &self.findings.0 {
                    li { span.quiet { (times(finding)) } " " span.wrong { (finding.text) } }
                }
            }
            @for sentence in said.into_iter().flatten() { p { (sentence) } }
        }
    }

    fn time_wait(&self) -> Markup {
        let report = self.report;
        let exits = &report.time_wait.exits;
        let column =
            |cell: &dyn Fn(&crate::aggregate::report::Exit) -> String| exits.iter().map(cell).collect::<Vec<_>>();
        let columns = vec![
            Column::text("ended by", 0, column(&|exit| exit.reason.name().to_owned())),
            Column::number("count", 0, column(&|exit| known(Some(exit.count)))),
            Column::number("P50", 0, column(&|exit| duration(exit.dwell.p50_ns))),
            Column::number("P99", 0, column(&|exit| duration(exit.dwell.p99_ns))),
            Column::number("MAX", 0, column(&|exit| duration(exit.dwell.max_ns))),
        ];
        html! {
            @if let Some(length) = sentences::length(&report.time_wait) { p { (length) } }
            (picture(dwell::picture(&report.time_wait.histogram.buckets)))
            (table(columns, "None ended."))
        }
    }

    fn lives(&self, context: ViewContext<'_>, zone: &TimeZone) -> Markup {
        let lives = &self.collected.lives;
        let drawn = lives::picture(lives, self.collected.course.span_ns(), context, zone);
        html! {
            @if drawn.is_ok() { p { (lives::sentence(lives, lives.shown().len())) } }
            (picture(drawn))
            (states_key())
        }
    }

    fn settings(&self, context: ViewContext<'_>) -> Markup {
        let all = &self.collected.settings;
        html! {
            @if all.is_empty() { p { "The recording has no settings: it was made by a version that did not keep them." } }
            @for (netns, settings) in all {
                h3 { "Network namespace " (key::text(crate::aggregate::by::Value::Netns(*netns), context.names)) }
                (table(vec![
                    Column::text("setting", 0, settings.keys().cloned().collect()),
                    Column::text("value", 0, settings.values().cloned().collect()),
                ], "None could be read."))
            }
        }
    }

    fn account(&self) -> Markup {
        let report = self.report;
        let mut text = Vec::new();
        let _ = ledger::write(&report.ledger, &mut text);
        let text = String::from_utf8_lossy(&text);
        html! {
            @for line in text.lines() { p { (line) } }
            p { (audit::sentence(&report.audit, true)) }
            @if !self.missing_hooks.is_empty() {
                p { "Hooks that were not there:" }
                ul { @for (hook, why) in self.missing_hooks { li { (hook) ": " (why) } } }
            }
            p.quiet { "Counts are of what the kernel's hooks told, one by one. Times with ~ are right to a tick of the kernel's clock or two; > is at least; - is not known. The audit holds the counts against the kernel's own." }
        }
    }
}

/// What every page has around it; `document`: its numbers as JSON.
pub(super) fn shell(title: &str, body: &Markup, document: &str) -> String {
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
                script type="application/json" id="data" { (PreEscaped(document.replace('<', "\\u003c"))) }
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

pub(super) fn picture(drawn: Result<String, &'static str>) -> Markup {
    match drawn {
        Ok(svg) => html! { div.picture tabindex="0" { (PreEscaped(svg)) } },
        Err(why) => html! { p.quiet { (why) } },
    }
}

fn lines(lines: &[String], none: &str) -> Markup {
    html! {
        @if lines.is_empty() { @if !none.is_empty() { p.quiet { (none) } } } @else { div.table tabindex="0" { pre { (lines.join("\n")) } } }
    }
}

/// A table that can be sorted; `none`: what is said instead of one without rows.
pub(super) fn table(columns: Vec<Column>, none: &str) -> Markup {
    let columns: Vec<Column> = columns.into_iter().filter(Column::has_values).collect();
    let rows = columns.iter().map(|column| column.cells().len()).max().unwrap_or_default();
    if rows == 0 {
        return html! { p.quiet { (none) } };
    }
    let class = |column: &Column| if column.is_number() { "number" } else { "" };
    html! {
        div.table tabindex="0" {
            table {
                thead { tr { @for column in &columns { th scope="col" class=(class(column)) { (column.header()) } } } }
                tbody {
                    @for row in 0..rows {
                        tr { @for column in &columns {
                            @let cell = column.cells().get(row).map_or("", String::as_str);
                            td class=(class(column)) data-value=(magnitude(cell).unwrap_or(-1.0)) { (cell) }
                        } }
                    }
                }
            }
        }
    }
}

fn states_key() -> Markup {
    html! {
        ul.key {
            @for state in course::STACK {
                li { svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(course::class(state)) width="10" height="10" {} } " " (state.name()) }
            }
        }
    }
}

fn resolution(collected: &ReportContents) -> Markup {
    let width = duration(Some(collected.course.width_ns()));
    let parts = counted(collected.course.moments().len() as u64, "part", "parts");
    html! { p.quiet { (parts) " of " (width) ". Sockets are those at the end of each part; listeners are left out. " (State::TimeWait.name()) " a second: bars are entries, the line is exits." } }
}
