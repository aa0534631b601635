//! What the doctor says, as a plugin of Nagios and its kind has it: one line, then how many findings there are as performance data, and an exit code.

use std::io::{self, Write};

use crate::{
    doctor::{
        DoctorReport, PlacedFinding,
        finding::{Evidence, Severity},
    },
    plain,
};

/// Nagios cuts what is longer.
const LONGEST: usize = 1000;

/// What a check comes to; the discriminants are the exit codes of the Monitoring Plugins' guidelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PluginStatus {
    /// Nothing is wrong now.
    Ok = 0,
    /// Something is there that no setting here solves, as connections that a process does not close.
    Warning = 1,
    /// Something goes wrong now, and a change is recommended.
    Critical = 2,
    /// It could not be looked.
    Unknown = 3,
}

impl PluginStatus {
    /// What a report comes to. What happened before is no reason to wake anybody, and neither is a setting that merely does nothing.
    pub fn of(report: &DoctorReport) -> Self {
        report.findings.iter().map(Self::of_finding).max().unwrap_or(Self::Ok)
    }

    fn of_finding(placed: &PlacedFinding) -> Self {
        let is_measured =
            placed.finding.evidence.iter().any(|known| matches!(known, Evidence::Gauge { .. } | Evidence::Age { .. }));
        match placed.finding.severity {
            Severity::Now => Self::Critical,
            Severity::Note if is_measured => Self::Warning,
            Severity::Note | Severity::Before => Self::Ok,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            PluginStatus::Ok => "OK",
            PluginStatus::Warning => "WARNING",
            PluginStatus::Critical => "CRITICAL",
            PluginStatus::Unknown => "UNKNOWN",
        }
    }
}

/// Writes the line of a report.
///
/// # Errors
/// The output cannot be written.
pub fn line(report: &DoctorReport, out: &mut dyn Write) -> io::Result<()> {
    let check = PluginStatus::of(report);
    let worst = report.findings.iter().filter(|placed| PluginStatus::of_finding(placed) > PluginStatus::Ok);
    let said: Vec<&str> = worst.map(|placed| placed.finding.what.as_str()).collect();
    let said = match said.as_slice() {
        [] => "nothing is wrong now".to_owned(),
        said => said.join("; "),
    };
    write_line(check, &said, out)?;
    let DoctorReport { now, before, notes, .. } = report;
    writeln!(out, " | now={now} before={before} notes={notes}")
}

/// Writes the line of a check that could not be made.
///
/// # Errors
/// The output cannot be written.
pub fn unknown(why: &str, out: &mut dyn Write) -> io::Result<()> {
    write_line(PluginStatus::Unknown, why, out)?;
    writeln!(out)
}

/// A `|` begins the performance data, so there is none in the text.
fn write_line(check: PluginStatus, said: &str, out: &mut dyn Write) -> io::Result<()> {
    let said = plain::beginning(&plain::escaped(&said.replace(['|', '\n'], " ")), LONGEST);
    write!(out, "TCPWAIT {}: {said}", check.name())
}

#[cfg(test)]
mod tests {
    use super::{PluginStatus, line, unknown};
    use crate::doctor::{
        DoctorReport, PlacedFinding,
        finding::{Evidence, Finding, Severity},
    };

    fn report(findings: &[(Severity, bool)]) -> DoctorReport {
        let finding = |(severity, is_measured): &(Severity, bool)| {
            let evidence = is_measured.then(|| Evidence::gauge("sockets", 5)).into_iter().collect();
            let finding = Finding {
                id: "some",
                severity: *severity,
                what: "a | in\n\u{1b}[31m it".to_owned(),
                evidence,
                advice: Vec::new(),
                in_vain: Vec::new(),
            };
            PlacedFinding { finding, namespaces: Vec::new() }
        };
        DoctorReport { now: 1, findings: findings.iter().map(finding).collect(), ..DoctorReport::default() }
    }

    #[test]
    fn the_worst_decides() {
        use Severity::{Before, Note, Now};
        let check = |findings: &[(Severity, bool)]| PluginStatus::of(&report(findings));
        assert_eq!(check(&[]), PluginStatus::Ok);
        assert_eq!(check(&[(Before, true), (Note, false)]), PluginStatus::Ok);
        assert_eq!(check(&[(Before, true), (Note, true)]), PluginStatus::Warning);
        assert_eq!(check(&[(Note, true), (Now, false)]), PluginStatus::Critical);
    }

    #[test]
    fn it_is_one_line_with_one_bar() -> std::io::Result<()> {
        let mut out = Vec::new();
        line(&report(&[(Severity::Now, false)]), &mut out)?;
        unknown("no | luck", &mut out)?;
        let text = String::from_utf8_lossy(&out);
        let expected = "TCPWAIT CRITICAL: a   in \\u{1b}[31m it | now=1 before=0 notes=0\nTCPWAIT UNKNOWN: no   luck\n";
        assert_eq!(text, expected);
        Ok(())
    }
}
