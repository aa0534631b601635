//! What stood out at some time of a recording, and when: a process that is gone by its end has left nothing that the last report could find.

use maud::{Markup, html};

use super::axis::TimeAxis;
use crate::{
    aggregate::report::StatReport,
    view::{
        ViewContext,
        stat::{findings, sentences},
        units::magnitude,
    },
};

/// So many different findings are kept.
const MAX_FINDINGS: usize = 40;

/// What stood out, in the order in which it first did.
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

/// The findings, and what else is to be said of the whole.
pub fn answer(findings: &FindingsOverTime, report: &StatReport, axis: &TimeAxis<'_>) -> Markup {
    let said = [
        sentences::standing(report),
        sentences::lead(report, axis.context),
        sentences::syn_recv(report),
        sentences::kernel_counters(report),
    ];
    let times = |finding: &TimedFinding| match (axis.time_of_day(finding.first_ns), axis.time_of_day(finding.last_ns)) {
        (first, last) if first == last => first,
        (first, last) => format!("{first} to {last}"),
    };
    html! {
        @if findings.0.is_empty() { p { "Nothing stood out at any time." } } @else {
            ul {
                @for finding in &findings.0 {
                    li { span.quiet { (times(finding)) } " " span.wrong { (finding.text) } }
                }
            }
        }
        @for sentence in said.into_iter().flatten() { p { (sentence) } }
    }
}
