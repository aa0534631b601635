//! What stood out at some time of a recording, and when: a process that is gone by its end has left nothing that the last report could find.

use maud::{Markup, html};

use super::axis::TimeAxis;
use crate::{
    aggregate::{
        census::CensusKey, failures::FailureKind, findings::StatFinding, ports::report::PortDestination,
        report::StatReport,
    },
    tcp::State,
    view::{
        ViewContext,
        stat::{findings, sentences},
        units::magnitude,
    },
};

/// So many different findings are kept.
const MAX_FINDINGS: usize = 40;

/// Fewer than so many are no finding, however long they wait.
const FEW: u64 = 10;

/// How often a recording has the kernel's counters (docs/recording.md).
const READ_EACH_NS: u64 = 60_000_000_000;

/// What stood out.
#[derive(Debug, Default)]
pub struct FindingsOverTime {
    all: Vec<TimedFinding>,
    /// When the first report began.
    begin_ns: Option<u64>,
}

/// What makes two findings one, some time later.
#[derive(Clone, Debug, PartialEq)]
enum FindingKey {
    /// Sockets that wait, there.
    Place(CensusKey),
    /// Calls that fail, alike.
    Call(FailureKind),
    /// Ports that are taken, there.
    Ports(PortDestination),
    /// Anything else: the sentence without its numbers.
    Form(String),
}

#[derive(Debug)]
struct TimedFinding {
    key: FindingKey,
    /// The sentence, as it was when it was about most.
    text: String,
    most: u64,
    /// What fails comes first ([`StatFinding::rank`]).
    rank: u8,
    first_ns: u64,
    last_ns: u64,
}

impl FindingKey {
    fn of(finding: &StatFinding, text: &str) -> Self {
        match finding {
            StatFinding::Waiting(row) | StatFinding::Unanswered(row) => Self::Place(row.place),
            StatFinding::Failed(row) => Self::Call(row.kind),
            StatFinding::Ports { row, .. } => Self::Ports(row.destination),
            _ => {
                let is_number = |word: &&str| magnitude(word.trim_end_matches([',', ':', ';', '.', ')'])).is_some();
                let words: Vec<&str> = text.split_whitespace().filter(|word| !is_number(word)).collect();
                Self::Form(words.join(" "))
            }
        }
    }
}

impl FindingsOverTime {
    /// Takes in what stands out in a report on a part of the time.
    pub fn take_in(&mut self, report: &StatReport, context: ViewContext<'_>) {
        self.begin_ns.get_or_insert(report.begin_ns);
        for finding in &report.findings {
            self.note(finding, report, context, true);
        }
        // What waits stands out when it comes, and again when it has been there for a minute: in between it is there all the same.
        for row in report.places.iter().filter(|row| row.now >= FEW) {
            let is_known = self.all.iter().any(|known| known.key == FindingKey::Place(row.place));
            if is_known && row.place.state != State::SynSent {
                self.note(&StatFinding::Waiting(*row), report, context, true);
            }
        }
    }

    /// Takes in what stands out in the report on the whole time: when it did is known already.
    pub fn take_in_whole(&mut self, report: &StatReport, context: ViewContext<'_>) {
        for finding in &report.findings {
            self.note(finding, report, context, false);
        }
    }

    fn note(&mut self, finding: &StatFinding, report: &StatReport, context: ViewContext<'_>, is_now: bool) {
        let text = findings::line(finding, report, context);
        let (key, weight) = (FindingKey::of(finding, &text), finding.weight());
        let since_ns = match finding {
            // That it waits is known from when the oldest began to.
            StatFinding::Waiting(row) | StatFinding::Unanswered(row) => {
                report.end_ns.saturating_sub(row.oldest_ns.unwrap_or_default())
            }
            // The kernel's counters are read once a minute; it was at some time since they were.
            StatFinding::Dropped { .. } | StatFinding::Cookies { .. } => report.end_ns.saturating_sub(READ_EACH_NS),
            // At some time of the part that the report is on.
            _ => report.begin_ns,
        };
        let begin_ns = *self.begin_ns.get_or_insert(report.begin_ns);
        let since_ns = since_ns.max(begin_ns).min(report.end_ns);
        let has_room = self.all.len() < MAX_FINDINGS;
        match self.all.iter_mut().find(|known| known.key == key) {
            Some(known) => {
                // Of what waits, how many are new is said of a part of the time.
                if weight >= known.most && (is_now || !matches!(known.key, FindingKey::Place(_))) {
                    (known.text, known.most) = (text, weight);
                }
                // When it was is known from the parts of the time.
                if is_now {
                    known.first_ns = known.first_ns.min(since_ns);
                    known.last_ns = report.end_ns;
                }
            }
            None if has_room => {
                let (first_ns, last_ns) = (since_ns, report.end_ns);
                self.all.push(TimedFinding { key, text, most: weight, rank: finding.rank(), first_ns, last_ns });
            }
            None => {}
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
    let mut worst_first: Vec<&TimedFinding> = findings.all.iter().collect();
    worst_first.sort_by_key(|finding| (finding.rank, finding.first_ns));
    html! {
        @if findings.all.is_empty() { p { "Nothing stood out at any time." } } @else {
            ul {
                @for finding in worst_first {
                    li { span.quiet { (times(finding)) } " " span.wrong { (finding.text) } }
                }
            }
        }
        @for sentence in said.into_iter().flatten() { p { (sentence) } }
    }
}
