//! What the doctor says, for a person or as one JSON document. The keys are in docs/output.md.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    paint::{Mark, Paint},
    units::{at_least, count, counted, duration, known},
};
use crate::{
    doctor::{
        DoctorReport, PlacedFinding, SameSettings,
        finding::{Evidence, Severity},
        settings::Explained,
    },
    fold::fold,
    plain,
    view::schema,
};

/// Where the sentences of a finding begin.
const INDENT: usize = 7;

/// A column for what a setting does is at least so wide; else it has lines of its own.
const NARROW: usize = 30;

/// How it is written.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Columns.
    pub width: usize,
    /// Whether settings that are fine are explained as well.
    pub all: bool,
    /// Colour for findings.
    pub paint: Paint,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    verdict: &'static str,
    #[serde(flatten)]
    report: &'a DoctorReport,
}

/// Writes one JSON document.
///
/// # Errors
/// The output cannot be written.
pub fn json(report: &DoctorReport, out: &mut dyn Write) -> io::Result<()> {
    let verdict = if report.now > 0 { "worth-changing" } else { "nothing-to-do" };
    plain::json(&mut *out, &Document { schema: schema::DOCTOR, verdict, report })?;
    writeln!(out)
}

/// Writes text: the verdict, the findings, the settings, what is not known.
///
/// # Errors
/// The output cannot be written.
pub fn text(report: &DoctorReport, shape: Shape, out: &mut dyn Write) -> io::Result<()> {
    let plain = |lines: Vec<String>| lines.into_iter().map(|line| (Mark::Plain, line));
    let mut lines: Vec<(Mark, String)> = plain(fold(&verdict(report), shape.width, 2)).collect();
    lines.extend(plain(fold(&scope(report), shape.width, 2)));
    let several = report.namespaces.len() > 1;
    for found in &report.findings {
        lines.push((Mark::Plain, String::new()));
        let mark = match found.finding.severity {
            Severity::Now => Mark::Failure,
            Severity::Before => Mark::Warning,
            Severity::Note => Mark::Plain,
        };
        let (what, more) = finding(found, shape.width, several);
        lines.extend(what.into_iter().map(|line| (mark, line)));
        lines.extend(plain(more));
    }
    for same in &report.settings {
        lines.push((Mark::Plain, String::new()));
        lines.extend(plain(settings(same, shape, several)));
    }
    if !report.unknown.is_empty() {
        lines.push((Mark::Plain, String::new()));
        for unknown in &report.unknown {
            let sentence = format!("not known: {}: {}", places(&unknown.namespaces), unknown.why);
            lines.extend(fold(&sentence, shape.width, 2).into_iter().map(|line| (Mark::Warning, line)));
        }
    }
    let shown = |(mark, line): &(Mark, String)| shape.paint.line(*mark, plain::column(line).trim_end());
    lines.iter().try_for_each(|line| writeln!(out, "{}", shown(line)))
}

fn verdict(report: &DoctorReport) -> String {
    let DoctorReport { now, before, notes, .. } = report;
    let mut others = Vec::new();
    if *before > 0 {
        others.push(counted(*before as u64, "past problem", "past problems"));
    }
    if *notes > 0 {
        others.push(counted(*notes as u64, "note", "notes"));
    }
    let others = others.join(", ");
    match (now, others.is_empty()) {
        (0, true) => "nothing to do: no finding, now or before".to_owned(),
        (0, false) => format!("nothing to do now; {others}"),
        (_, true) => counted(*now as u64, "recommendation", "recommendations"),
        (_, false) => format!("{}, {others}", counted(*now as u64, "recommendation", "recommendations")),
    }
}

/// What was looked at.
fn scope(report: &DoctorReport) -> String {
    let unread = match report.unread {
        0 => String::new(),
        unread => format!("; {} could not be read", count(unread as u64)),
    };
    let namespaces = report.namespaces.len();
    let s = if namespaces == 1 { "" } else { "s" };
    format!(
        "read: {} network namespace{s}, counters twice within {}{unread}",
        count(namespaces as u64),
        duration(Some(report.window_ns))
    )
}

/// What was found, and what to do.
fn finding(found: &PlacedFinding, width: usize, several: bool) -> (Vec<String>, Vec<String>) {
    let finding = &found.finding;
    let label = finding.severity.name();
    let evidence: Vec<String> = finding.evidence.iter().map(known_by).collect();
    let what = fold(&format!("{label:<6} {} [{}]", finding.what, evidence.join("; ")), width, INDENT);
    let mut lines = Vec::new();
    let blank = format!("{:INDENT$}", "");
    let mut say = |what: String| {
        lines.extend(fold(&what, width.saturating_sub(INDENT), 2).into_iter().map(|line| format!("{blank}{line}")))
    };
    if several && !found.namespaces.is_empty() {
        say(format!("in {}", places(&found.namespaces)));
    }
    let change = if finding.severity == Severity::Before { "should it happen again" } else { "change" };
    for advice in &finding.advice {
        say(format!("{change}: {}. Risk: {}", advice.change, advice.risk));
    }
    for vain in &finding.in_vain {
        say(format!("will not help: {vain}"));
    }
    (what, lines)
}

/// The first, and how many more.
fn places(namespaces: &[String]) -> String {
    match namespaces {
        [] => String::new(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{first} and {}", counted(others.len() as u64, "other", "others")),
    }
}

fn known_by(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Counter { counter, grown, window_ns, total } => {
            let window = duration(Some(*window_ns));
            let plus = if grown.is_some() { "+" } else { "" };
            format!("{counter} {plus}{} in {window}, {} in all", known(*grown), count(*total))
        }
        Evidence::Setting { setting, value } => format!("{setting} = {}", shown(value)),
        Evidence::Gauge { gauge, now } => format!("{gauge}: {} now", count(*now)),
        Evidence::Age { age, at_least_ns } => format!("{age}: {}", at_least(Some(*at_least_ns))),
        Evidence::Line { file, line, setting, value } => format!("{file}:{line}: {setting} = {value}"),
    }
}

/// An empty setting can be seen.
fn shown(value: &str) -> &str {
    if value.is_empty() { "\"\"" } else { value }
}

fn settings(same: &SameSettings, shape: Shape, several: bool) -> Vec<String> {
    let rows: Vec<&Explained> = same.settings.iter().filter(|row| shape.all || !row.fine).collect();
    let place = if several { format!(" of {}", places(&same.namespaces)) } else { String::new() };
    if rows.is_empty() {
        let fine =
            format!("settings{place}: all {} at the kernel's defaults; --all explains them", same.settings.len());
        return fold(&fine, shape.width, 2);
    }
    // What is counted is the first one's.
    let whose = if same.namespaces.len() > 1 { " (numbers are the first one's)" } else { "" };
    let mut lines = if several { fold(&format!("settings{place}{whose}:"), shape.width, 2) } else { Vec::new() };
    let longest = |of: &dyn Fn(&Explained) -> usize, least: &str| {
        rows.iter().map(|row| of(row)).max().unwrap_or(0).max(least.len())
    };
    let name = longest(&|row| row.name.len(), "SETTING");
    let value = longest(&|row| shown(&row.value).chars().count(), "VALUE").min(NARROW);
    let default = longest(&|row| row.default.as_deref().map_or(1, |text| shown(text).len()), "DEFAULT");
    let left = name + value + default + 3;
    let beside = shape.width >= left + NARROW;
    let row = |cells: [&str; 3], here: &str| {
        let [first, second, third] = cells;
        let cells = format!("{first:<name$} {second:<value$} {third:<default$} ");
        if beside {
            return fold_from(&cells, here, shape.width, left);
        }
        let mut lines = vec![cells.trim_end().chars().take(shape.width).collect::<String>()];
        lines.extend(fold_from("    ", here, shape.width, 4));
        lines
    };
    lines.extend(row(["SETTING", "VALUE", "DEFAULT"], "WHAT IT DOES HERE"));
    for setting in rows {
        let default = setting.default.as_deref().map_or("-", shown);
        lines.extend(row([setting.name, shown(&setting.value), default], &setting.here));
    }
    lines
}

/// Words after `begin`, further lines below its end.
fn fold_from(begin: &str, words: &str, width: usize, indent: usize) -> Vec<String> {
    let folded = fold(words, width.saturating_sub(indent), 0);
    let line =
        |(at, line): (usize, String)| if at == 0 { format!("{begin}{line}") } else { format!("{:indent$}{line}", "") };
    folded.into_iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::doctor::{Unknown, finding::Finding};

    fn report() -> DoctorReport {
        let finding = Finding::new("an-id", Severity::Now, "something is full, and something else is not")
            .known_by([Evidence::Counter {
                counter: "TcpExtSomething".to_owned(),
                grown: None,
                window_ns: 3_000_000_000,
                total: 1234,
            }])
            .known_by([Evidence::Setting { setting: "net.ipv4.some\u{1b}thing".to_owned(), value: String::new() }])
            .change("raise it", "memory")
            .in_vain("lower it");
        let names = |n: usize| (0..n).map(|n| format!("net:[{n}]")).collect::<Vec<_>>();
        let setting = |name, fine| Explained {
            name,
            value: "1".to_owned(),
            default: None,
            here: "does nothing of what is said of it".to_owned(),
            fine,
        };
        let settings = vec![setting("net.ipv4.one", false), setting("net.ipv4.other", true)];
        DoctorReport {
            now: 1,
            before: 0,
            notes: 2,
            window_ns: 3_000_000_000,
            namespaces: names(3),
            findings: vec![PlacedFinding { finding, namespaces: names(3) }],
            settings: vec![SameSettings { namespaces: names(3), settings }],
            unread: 1,
            unknown: vec![Unknown { why: "may not be entered".to_owned(), namespaces: names(1) }],
        }
    }

    fn written(width: usize, all: bool) -> String {
        let mut out = Vec::new();
        text(&report(), Shape { width, all, paint: Paint::default() }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_verdict_comes_first_and_unknown_is_a_dash() {
        let text = written(200, false);
        assert!(text.starts_with("1 recommendation, 2 notes\nread: 3 network namespaces"), "{text}");
        assert!(text.contains("TcpExtSomething - in 3.000s, 1,234 in all; net.ipv4.some?thing = \"\""), "{text}");
        assert!(text.contains("in net:[0] and 2 others") && text.contains("change: raise it. Risk: memory"), "{text}");
        assert!(text.contains("net.ipv4.one 1     -") && !text.contains("net.ipv4.other"), "{text}");
        assert!(written(200, true).contains("net.ipv4.other") && text.ends_with("may not be entered\n"), "{text}");
    }

    #[test]
    fn no_line_is_too_long() {
        for width in [30, 40, 60, 80] {
            let text = written(width, true);
            assert!(text.lines().all(|line| line.chars().count() <= width && line.trim_end() == line), "{text}");
        }
    }

    #[test]
    fn json_has_everything() {
        let mut out = Vec::new();
        json(&report(), &mut out).unwrap();
        assert!(str::from_utf8(&out).unwrap().contains(r"net.ipv4.some\u001bthing"));
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let evidence = value.pointer("/findings/0/evidence/0").unwrap();
        assert!(evidence.pointer("/grown").unwrap().is_null() && evidence.pointer("/total").unwrap() == 1234);
        assert_eq!(
            (value.pointer("/verdict").unwrap(), value.pointer("/unread").unwrap()),
            (&"worth-changing".into(), &1.into())
        );
        assert!(value.pointer("/settings/0/settings/1/default").unwrap().is_null());
    }
}
