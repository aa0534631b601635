//! A report for a terminal: the answer first, then who, then how long, then how far it can be trusted.
//!
//! Nothing wraps: columns that do not fit are left out, sentences are folded. A report on an interval that is higher than the
//! terminal leaves out whole parts, the last report none.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::{
    super::{
        ReportView, ViewContext, audit, ledger,
        paint::{Mark, Paint},
        thinned,
        units::{counted, date_time, duration},
    },
    findings, sections, sentences,
};
use crate::{aggregate::report::StatReport, fold::fold};

/// The place that text goes to.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Rows; `None` where there is no end to them.
    pub height: Option<usize>,
}

/// The text view.
#[derive(Debug)]
pub struct StatText {
    screen: Screen,
    zone: TimeZone,
    verbose: bool,
    paint: Paint,
    reports: u64,
}

/// A part of a report.
struct Part {
    /// 0 stays; else the highest is left out first where a screen is too low.
    drop: u8,
    lines: Vec<String>,
}

impl StatText {
    /// Text for such a screen, with times in this zone; `verbose`: with what the counts rest on.
    pub fn new(screen: Screen, zone: TimeZone, verbose: bool) -> Self {
        Self { screen, zone, verbose, paint: Paint::default(), reports: 0 }
    }

    /// The same with colour for what is wrong.
    pub fn painted(self, paint: Paint) -> Self {
        Self { paint, ..self }
    }

    /// Whether nothing has to fit.
    fn is_wide(&self) -> bool {
        self.screen.width == usize::MAX
    }

    fn heading(&self, report: &StatReport, context: ViewContext<'_>) -> Vec<String> {
        let time = date_time(context.wall(report.end_ns), &self.zone);
        let span = duration(Some(report.end_ns.saturating_sub(report.begin_ns)));
        let what = if report.is_final { "whole run:" } else { "in the last" };
        let mut lines = fold(&format!("{time}, {what} {span}"), self.screen.width, 2);
        if let Some(sample) = thinned::head(report.sample) {
            lines.extend(self.paint.lines(Mark::Warning, fold(&sample, self.screen.width, 2)));
        }
        for (mark, finding) in findings::lines(report, self.is_wide(), context) {
            lines.extend(self.paint.lines(mark, fold(&finding, self.screen.width, 2)));
        }
        if let Some(standing) = sentences::standing(report) {
            lines.extend(fold(&standing, self.screen.width, 2));
        }
        if let Some(lead) = sentences::lead(report, context) {
            lines.extend(fold(&lead, self.screen.width, 2));
        }
        lines
    }

    fn parts(&self, report: &StatReport, context: ViewContext<'_>) -> io::Result<Vec<Part>> {
        let width = self.screen.width;
        let folded = |sentence: Option<String>| sentence.map(|sentence| fold(&sentence, width, 2)).unwrap_or_default();
        let mut parts = vec![
            Part { drop: 0, lines: self.heading(report, context) },
            Part { drop: 1, lines: spaced(sections::groups(report, context, width)) },
            Part { drop: 3, lines: spaced(sections::abnormal(report, context, width)) },
            Part {
                drop: 2,
                lines: if findings::tell_all_failures(report, self.is_wide()) {
                    Vec::new()
                } else {
                    spaced(sections::failures(report, context, width))
                },
            },
            Part { drop: 2, lines: spaced(sections::connects(report, context, width)) },
            Part { drop: 3, lines: spaced(sections::ends(report, width)) },
            Part { drop: 4, lines: spaced(sections::states(report, width)) },
            Part { drop: 7, lines: spaced(sections::histogram(report, width)) },
        ];
        let mut trust = folded(sentences::syn_recv(report));
        trust.extend(folded(sentences::kernel_counters(report)));
        let natural = &report.time_wait.histogram;
        let odd = if (natural.early, natural.late) == (0, 0) { Mark::Plain } else { Mark::Warning };
        trust.extend(self.paint.lines(odd, folded(sentences::length(&report.time_wait))));
        trust.extend(folded(sentences::steady(&report.time_wait, self.verbose)));
        let differs = if report.audit.differs() { Mark::Failure } else { Mark::Plain };
        let mut account = self.paint.lines(differs, fold(&audit::sentence(&report.audit, self.verbose), width, 2));
        for line in ledger_lines(report)? {
            let mark = ledger::mark(&report.ledger, &line);
            account.extend(self.paint.lines(mark, fold(&line, width, 2)));
        }
        account.extend(folded(sentences::rests_on(report).filter(|_| self.verbose || report.ledger.is_lossy())));
        let account = if trust.is_empty() { spaced(account) } else { account };
        parts.extend([Part { drop: 6, lines: spaced(trust) }, Part { drop: 5, lines: account }]);
        Ok(parts)
    }
}

fn spaced(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { lines } else { std::iter::once(String::new()).chain(lines).collect() }
}

/// The account of what was lost, and what else limits the report.
fn ledger_lines(report: &StatReport) -> io::Result<Vec<String>> {
    let mut text = Vec::new();
    ledger::losses(&report.ledger, &mut text)?;
    let mut lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    if report.groups.folded > 0 {
        lines.push(format!(
            "{}: too many, counted together under \"other\"",
            counted(report.groups.folded, "small group", "small groups")
        ));
    }
    Ok(lines)
}

impl ReportView for StatText {
    fn report(&mut self, report: &StatReport, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let mut parts = self.parts(report, context)?;
        if let Some(height) = self.screen.height.filter(|_| !report.is_final) {
            // One line stays for the blank one between two reports, one for the cursor.
            while parts.iter().map(|part| part.lines.len()).sum::<usize>() + 2 > height {
                let Some(last) = parts.iter().map(|part| part.drop).max().filter(|drop| *drop > 0) else { break };
                parts.retain(|part| part.drop != last);
            }
        }
        if self.reports > 0 {
            writeln!(out)?;
        }
        self.reports += 1;
        parts.iter().flat_map(|part| &part.lines).try_for_each(|line| writeln!(out, "{line}"))
    }
}
