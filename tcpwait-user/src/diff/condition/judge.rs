//! Whether a condition holds in a comparison: for certain, for certain not, or neither, as the rows say.

use super::{
    Condition, ConditionOutcome, Field, Judged, JudgedSide, Limit, Operator, counted_quantities, is_or_begins,
    sockets_of,
};
use crate::{
    diff::{
        compare::DiffReport,
        durations::Quantile,
        interval::Ratio,
        kernel_count::KernelCount,
        quantity::Quantity,
        row::{CountSide, GaugeSide},
        verdict::{DiffVerdict, NotSaid},
    },
    lifecycle::Reason,
};

impl Operator {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
        }
    }

    fn is_of_more(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }
}

/// The numbers of a row that a condition is of.
struct Numbers {
    judged: Judged,
    ratio: Option<Ratio>,
    verdict: DiffVerdict,
}

impl Condition {
    /// Whether it holds. Of a change: of any row. Else: of all rows together.
    pub fn judge(&self, comparison: &DiffReport) -> ConditionOutcome {
        if let Some(subject) = self.subject.as_ref().filter(|subject| !is_there(comparison, subject)) {
            return ConditionOutcome::Nobody(subject.clone());
        }
        let rows = self.rows(comparison);
        match self.value {
            Limit::Change(limit) => self.change(rows, limit).unwrap_or_else(|| self.nothing_of_it(comparison, true)),
            Limit::After(limit) | Limit::Time(limit) => self.after(&rows, limit, comparison),
        }
    }

    /// Any row of which it holds; else any of which that cannot be said.
    fn change(&self, rows: Vec<Numbers>, limit: f64) -> Option<ConditionOutcome> {
        let weight = |judged: &Judged| judged.after.count.unwrap_or_default();
        let mut unknown: Option<(NotSaid, Judged)> = None;
        for row in rows {
            match row.holds(self.operator, limit) {
                Ok(true) => return Some(ConditionOutcome::Holds(row.judged)),
                Ok(false) => {}
                // Of several the one is told that most came of.
                Err(why) => {
                    if unknown.as_ref().is_none_or(|(_, known)| weight(known) < weight(&row.judged)) {
                        unknown = Some((why, row.judged));
                    }
                }
            }
        }
        unknown.map(|(why, judged)| ConditionOutcome::Unknown(why, Some(judged)))
    }

    /// Of a condition on connections in SYN_RECV that an accept queue ended: how many SYNs the kernel dropped before they were connections at all, where it
    /// did. Whoever asks for the one most often means the other.
    pub fn dropped_instead(&self, comparison: &DiffReport) -> Option<u64> {
        let row = comparison.count(Quantity::Kernel(KernelCount::AcceptQueue), None)?;
        let asks = Quantity::SynRecvEndedBy(Reason::AcceptQueueFull).name() == self.name;
        Some(row.after.count).filter(|count| asks && *count > 0)
    }

    /// What AFTER has, of all rows together.
    fn after(&self, rows: &[Numbers], limit: f64, comparison: &DiffReport) -> ConditionOutcome {
        let is_length = matches!(self.field, Field::Percentile(_));
        // Counts of several rows add up; of lengths it is the longest that counts.
        let both = |one: f64, other: f64| if is_length { one.max(other) } else { one + other };
        let all = |of: &dyn Fn(&Judged) -> JudgedSide| {
            let sides = || rows.iter().map(|row| of(&row.judged));
            let value = sides().filter_map(|side| side.value).reduce(both);
            let is_at_least = sides().any(|side| side.is_at_least && side.value == value);
            let count = sides().filter_map(|side| side.count).reduce(|one, other| one + other);
            // A time that nothing took is no time; of what did not happen there is none.
            let nothing = |number: f64| (!is_length && rows.is_empty()).then_some(number);
            JudgedSide { value: value.or(nothing(0.0)), count, is_at_least }
        };
        let judged = Judged {
            name: named(&self.name, self.subject.as_deref()),
            field: self.field,
            before: all(&|judged| judged.before),
            after: all(&|judged| judged.after),
        };
        let holds = judged.after.value.is_some_and(|value| self.operator.holds(value, limit));
        let is_certain = !rows.iter().any(|row| row.judged.after.is_at_least);
        // More than is known makes more of what is enough already.
        if holds && (is_certain || self.operator.is_of_more()) {
            return ConditionOutcome::Holds(judged);
        }
        let is_alike = |row: &Numbers| row.verdict != DiffVerdict::Unknown(NotSaid::NotRecorded);
        if !rows.iter().all(is_alike) {
            return ConditionOutcome::Unknown(NotSaid::NotRecorded, Some(judged));
        }
        if rows.iter().any(|row| row.judged.after.value.is_none()) {
            return ConditionOutcome::Unknown(NotSaid::TooShort, Some(judged));
        }
        // `< 5s` that does not hold of what is known does not hold of more.
        if !is_certain && holds != self.operator.is_of_more() {
            return ConditionOutcome::Unknown(NotSaid::StillThere, Some(judged));
        }
        self.nothing_of_it(comparison, false)
    }

    /// Where no row makes it hold: whether what has no row is known not to have happened. `both`: in either recording.
    fn nothing_of_it(&self, comparison: &DiffReport, both: bool) -> ConditionOutcome {
        let is_told = |quantity: Quantity| {
            // What the kernel counts has a row only where both have it.
            let both = both || matches!(quantity, Quantity::Kernel(_));
            comparison.after.tells_of(quantity) && (!both || comparison.before.tells_of(quantity))
        };
        let named = counted_quantities().into_iter().filter(|quantity| is_or_begins(&quantity.name(), &self.name));
        match named.into_iter().find(|quantity| !is_told(*quantity)) {
            Some(Quantity::Kernel(_)) => ConditionOutcome::Unknown(NotSaid::NoCounters, None),
            Some(_) => ConditionOutcome::Unknown(NotSaid::NotRecorded, None),
            None => ConditionOutcome::No,
        }
    }

    fn rows(&self, comparison: &DiffReport) -> Vec<Numbers> {
        let numbers = |name: &str, subject: Option<&str>, sides: [JudgedSide; 2], ratio, verdict| {
            let [before, after] = sides;
            Numbers { judged: Judged { name: named(name, subject), field: self.field, before, after }, ratio, verdict }
        };
        let counted = comparison.counts.iter().filter(|row| {
            // Failures are all somebody's; of all else there is a row of the whole.
            let whole = matches!(row.quantity, Quantity::Failed(..)) || row.subject.is_none();
            let subject = match &self.subject {
                None => whole,
                Some(subject) => row.subject.as_ref() == Some(subject),
            };
            subject && is_or_begins(&row.quantity.name(), &self.name)
        });
        let counted = counted.map(|row| {
            let of = |side: &CountSide| {
                let value = match self.field {
                    Field::PerThousand => side.per_1000,
                    Field::Count => Some(side.count as f64),
                    _ => side.per_s,
                };
                JudgedSide { value, count: Some(side.count), is_at_least: false }
            };
            let ratio = if self.field == Field::PerThousand { row.share } else { row.rate };
            let sides = [of(&row.before), of(&row.after)];
            numbers(&row.quantity.name(), row.subject.as_deref(), sides, ratio, row.verdict)
        });
        let gauges =
            comparison.gauges.iter().filter(|row| sockets_of(row.state) == self.name && row.subject == self.subject);
        let sockets = gauges.map(|row| {
            let of = |side: &GaugeSide| {
                let value = if self.field == Field::Most { side.mean.map(|_| side.most as f64) } else { side.mean };
                JudgedSide { value, ..JudgedSide::default() }
            };
            let sides = [of(&row.before), of(&row.after)];
            numbers(&self.name, row.subject.as_deref(), sides, row.ratio, row.verdict)
        });
        let timed = comparison
            .durations
            .iter()
            .filter(|row| row.lasting.name() == self.name && (self.subject.is_none() || row.subject == self.subject));
        let lasting = timed.flat_map(|row| {
            let of_percent = row.quantiles.iter().filter(|row| self.field == Field::Percentile(row.percent));
            of_percent.map(move |quantile| {
                let of = |quantile: Option<Quantile>| JudgedSide {
                    value: quantile.map(|quantile| quantile.ns as f64),
                    count: None,
                    is_at_least: quantile.is_some_and(|quantile| quantile.is_at_least),
                };
                let sides = [of(quantile.before), of(quantile.after)];
                numbers(&self.name, row.subject.as_deref(), sides, None, quantile.verdict)
            })
        });
        counted.chain(sockets).chain(lasting).collect()
    }
}

impl Numbers {
    /// Whether its change is such, as a part of what it was.
    fn holds(&self, operator: Operator, limit: f64) -> Result<bool, NotSaid> {
        let sides = (self.judged.before.value, self.judged.after.value);
        let of_ratio = |ratio: f64| operator.holds(ratio - 1.0, limit);
        let shown = || match sides {
            (Some(before), Some(after)) if before > 0.0 => Ok(of_ratio(after / before)),
            _ => Err(NotSaid::TooShort),
        };
        match (self.verdict, sides) {
            (DiffVerdict::Unknown(why @ (NotSaid::Lost | NotSaid::NotRecorded | NotSaid::NoCounters)), _) => Err(why),
            (DiffVerdict::New, _) => Ok(operator.holds(f64::INFINITY, limit)),
            (DiffVerdict::Gone, _) => Ok(operator.holds(-1.0, limit)),
            // Of what is not there after there is not more, and what was not there before cannot have become less.
            (DiffVerdict::OneSided, (_, Some(0.0))) if operator.is_of_more() && limit >= 0.0 => Ok(false),
            (DiffVerdict::OneSided, (Some(0.0), _)) if !operator.is_of_more() && limit < 0.0 => Ok(false),
            (DiffVerdict::OneSided, _) => Err(NotSaid::TooShort),
            (DiffVerdict::Same, _) => Ok(false),
            // Of what went with the load, the rate may have changed for certain all the same, or the share.
            (verdict, _) => match (self.ratio.map(DiffVerdict::of), verdict) {
                (Some(DiffVerdict::Same), _) => Ok(false),
                (Some(DiffVerdict::Unknown(why)), _) => self.excluded(operator, limit).ok_or(why),
                (None, DiffVerdict::Unknown(why)) => Err(why),
                _ => shown(),
            },
        }
    }

    /// `Some(false)` where all of an interval, wide as it is, lies where the condition does not hold.
    fn excluded(&self, operator: Operator, limit: f64) -> Option<bool> {
        let ratio = self.ratio?;
        let nearest = if operator.is_of_more() { ratio.high } else { ratio.low };
        (!operator.holds(nearest - 1.0, limit)).then_some(false)
    }
}

/// Whether anything is known of a group, or a failure, of this name.
fn is_there(comparison: &DiffReport, subject: &str) -> bool {
    let of = |known: &Option<String>| known.as_deref() == Some(subject);
    comparison.counts.iter().any(|row| of(&row.subject))
        || comparison.gauges.iter().any(|row| of(&row.subject))
        || comparison.durations.iter().any(|row| of(&row.subject))
}

/// A row by its name and whose it is.
pub fn named(name: &str, subject: Option<&str>) -> String {
    subject.map_or_else(|| name.to_owned(), |subject| format!("{name}[{subject}]"))
}
