//! What is wrong, in the words of `stat`: of this report, and of those before it that went out of sight a moment ago.

use std::sync::Arc;

use super::folded;
use crate::{
    aggregate::{
        census::PlaceRow,
        findings::{MORE, StatFinding},
        report::StatReport,
    },
    plain,
    tcp::State,
    top::{engine::PLACES, look::Look, page::ScreenLine, snapshot::TopSnapshot},
    view::{
        paint::Mark,
        stat::{findings, sentences},
        units::counted,
    },
};

/// How long what was wrong stays in sight after it was last seen.
const REMEMBERED_NS: u64 = 60_000_000_000;

/// Findings that come and go with each report, of the reports before.
const REMEMBERED: usize = 3;

/// The first of what is to be said, in two lines.
pub fn first(look: Look<'_>) -> Vec<ScreenLine> {
    let Some((mark, sentence)) = said(look).into_iter().next() else { return Vec::new() };
    cut(folded(&sentence, look.width), 2).into_iter().map(|line| ScreenLine::plain(line).marked(mark)).collect()
}

/// What is to be said first, at most so many lines of it.
pub fn lines(look: Look<'_>, most: usize) -> Vec<ScreenLine> {
    let sentences = said(look);
    let mut lines = Vec::new();
    let all = sentences.len();
    for (at, (mark, sentence)) in sentences.into_iter().enumerate() {
        let folded = folded(&sentence, look.width);
        // One line is for saying that there is more.
        let room = most.saturating_sub(lines.len() + usize::from(at + 1 < all));
        if folded.len() > room && at > 0 {
            let more = counted((all - at) as u64, "sentence more", "sentences more");
            lines.push(ScreenLine::plain(format!("{more} on a higher terminal, or in `tcpwait stat`")));
            break;
        }
        lines.extend(cut(folded, room.max(1)).into_iter().map(|line| ScreenLine::plain(line).marked(mark)));
    }
    lines
}

/// At most so many lines, with a sign where there are more.
fn cut(mut lines: Vec<String>, most: usize) -> Vec<String> {
    let is_cut = lines.len() > most;
    lines.truncate(most);
    if let Some(last) = lines.last_mut().filter(|_| is_cut) {
        let room = plain::width(last).saturating_sub(4);
        *last = format!("{} ...", plain::fitting(last, room).trim_end());
    }
    lines
}

/// All that is to be said, the worst first.
fn said(look: Look<'_>) -> Vec<(Mark, String)> {
    let report = &look.snapshot.report;
    let mut sentences = findings::lines(report, true, look.context());
    sentences.extend(growing(look));
    sentences.extend(before(look));
    if let Some(standing) = sentences::standing(report) {
        sentences.push((Mark::Plain, standing));
    }
    sentences.extend(sentences::lead(report, look.context()).map(|lead| (Mark::Plain, lead)));
    sentences
}

/// Connections that wait for somebody, and became more over the last minute, however few in each report.
fn growing(look: Look<'_>) -> Vec<(Mark, String)> {
    let report = &look.snapshot.report;
    let is_near = |earlier: &&&Arc<TopSnapshot>| {
        report.end_ns.saturating_sub(earlier.report.begin_ns) <= REMEMBERED_NS && !report.is_final
    };
    let Some(first) = look.past.until(look.snapshot.number).take_while(|earlier| is_near(&earlier)).last() else {
        return Vec::new();
    };
    let known: Vec<String> = report.findings.iter().map(subject).collect();
    let then = |row: &PlaceRow| {
        let then = first.report.places.iter().find(|then| then.place == row.place);
        // Of more places than are kept nobody knows.
        let none = (first.report.places.len() < PLACES).then_some(0);
        then.map(|then| i64::try_from(then.now).unwrap_or(i64::MAX) - then.growth.unwrap_or_default()).or(none)
    };
    let grown = |row: &PlaceRow| {
        let growth = i64::try_from(row.now).unwrap_or(i64::MAX) - then(row)?;
        let finding = StatFinding::Waiting(PlaceRow { growth: Some(growth), ..*row });
        let is_new = growth >= MORE && row.place.state != State::SynSent && !known.contains(&subject(&finding));
        is_new.then_some(finding)
    };
    let mut found: Vec<StatFinding> = report.places.iter().filter_map(grown).collect();
    if found.is_empty() {
        return Vec::new();
    }
    found.sort_by_key(StatFinding::rank);
    // The words are those of a report on all of that time.
    let over = StatReport { begin_ns: first.report.begin_ns, findings: found, ..report.clone() };
    over.findings.iter().map(|finding| (Mark::Warning, findings::line(finding, &over, look.context()))).collect()
}

/// What was wrong a moment ago, and is not in this report.
fn before(look: Look<'_>) -> Vec<(Mark, String)> {
    let report = &look.snapshot.report;
    if report.is_final {
        return Vec::new();
    }
    let mut seen: Vec<String> = report.findings.iter().map(subject).collect();
    let mut lines = Vec::new();
    for earlier in look.past.until(look.snapshot.number.saturating_sub(1)) {
        let ago_ns = report.end_ns.saturating_sub(earlier.report.end_ns);
        if ago_ns > REMEMBERED_NS || lines.len() >= REMEMBERED {
            break;
        }
        // What only waits is there, or it is not.
        let fails = |finding: &&StatFinding| {
            matches!(finding, StatFinding::Failed(_) | StatFinding::Dropped { .. } | StatFinding::Overflow { .. })
        };
        for finding in earlier.report.findings.iter().filter(fails) {
            let subject = subject(finding);
            if !seen.contains(&subject) && lines.len() < REMEMBERED {
                let line = findings::line(finding, &earlier.report, look.context_of(earlier));
                let ago_s = (ago_ns + 500_000_000) / 1_000_000_000;
                lines.push((Mark::Warning, format!("{ago_s}s ago: {line}")));
                seen.push(subject);
            }
        }
    }
    lines
}

/// What a finding is about, however much of it there is.
fn subject(finding: &StatFinding) -> String {
    match finding {
        StatFinding::Failed(row) => format!("{:?}", row.kind),
        StatFinding::Ports { row, .. } => format!("{:?}", row.destination),
        StatFinding::Unanswered(row) | StatFinding::Waiting(row) => format!("{:?}", row.place),
        StatFinding::Dropped { .. }
        | StatFinding::Cookies { .. }
        | StatFinding::Overflow { .. }
        | StatFinding::Ended(_) => finding.name().to_owned(),
    }
}
