//! Whether a condition holds in a comparison.

use super::{Condition, ConditionOutcome, Field, Limit, Operator, is_or_begins, sockets_of};
use crate::diff::{
    compare::DiffReport,
    durations::Quantile,
    interval::Ratio,
    quantity::Quantity,
    row::{CountSide, GaugeSide},
    verdict::{DiffVerdict, NotSaid},
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
}

/// The numbers of a row that a condition is of.
struct Numbers {
    row: String,
    before: Option<f64>,
    after: Option<f64>,
    ratio: Option<Ratio>,
    verdict: DiffVerdict,
}

impl Condition {
    /// Whether it holds. Of a change: of any row, and only where the change is more than chance. Else: of all rows together.
    pub fn judge(&self, comparison: &DiffReport) -> ConditionOutcome {
        if let Some(subject) = self.subject.as_ref().filter(|subject| !is_there(comparison, subject)) {
            return ConditionOutcome::Nobody(subject.clone());
        }
        let rows = self.rows(comparison);
        match self.value {
            Limit::Change(limit) => {
                let mut unknown = None;
                for row in rows {
                    match row.change() {
                        Ok(Some(change)) if self.operator.holds(change, limit) => {
                            return ConditionOutcome::Holds { row: row.row, before: row.before, after: row.after };
                        }
                        Ok(_) => {}
                        Err(why) => unknown = Some(why),
                    }
                }
                unknown.map_or(ConditionOutcome::No, ConditionOutcome::Unknown)
            }
            Limit::After(limit) | Limit::Time(limit) => {
                if let Some(why) = rows.iter().find_map(Numbers::not_recorded) {
                    return ConditionOutcome::Unknown(why);
                }
                // Too few for the percentile are no pass.
                if matches!(self.field, Field::Percentile(_)) && rows.iter().any(|row| row.after.is_none()) {
                    return ConditionOutcome::Unknown(NotSaid::TooShort);
                }
                // Counts of several rows add up; of lengths it is the longest that counts.
                let is_length = matches!(self.field, Field::Percentile(_));
                let both = |one: f64, other: f64| if is_length { one.max(other) } else { one + other };
                let all = |of: fn(&Numbers) -> Option<f64>| rows.iter().filter_map(of).reduce(both);
                let after = all(|row| row.after);
                // A time that nothing took is no time; of what did not happen there is none.
                let value = if is_length { after } else { Some(after.unwrap_or(0.0)) };
                match value {
                    Some(value) if self.operator.holds(value, limit) => {
                        ConditionOutcome::Holds { row: self.name.clone(), before: all(|row| row.before), after }
                    }
                    _ => ConditionOutcome::No,
                }
            }
        }
    }

    /// A number as it is told.
    pub fn shown(&self, value: Option<f64>) -> String {
        match (value, self.field) {
            (None, _) => "-".to_owned(),
            (Some(ns), Field::Percentile(_)) => format!("{:.3} ms", ns / 1e6),
            (Some(value), Field::Count | Field::Most) => format!("{value:.0}"),
            (Some(value), Field::PerSecond) => format!("{value:.3}/s"),
            (Some(value), Field::PerThousand) => format!("{value:.1} per 1,000"),
            (Some(value), Field::Mean) => format!("{value:.1}"),
        }
    }

    fn rows(&self, comparison: &DiffReport) -> Vec<Numbers> {
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
            let of = |side: &CountSide| match self.field {
                Field::PerThousand => side.per_1000,
                Field::Count => Some(side.count as f64),
                _ => side.per_s,
            };
            Numbers {
                row: named(&row.quantity.name(), row.subject.as_deref()),
                before: of(&row.before),
                after: of(&row.after),
                ratio: if self.field == Field::PerThousand { row.share } else { row.rate },
                verdict: row.verdict,
            }
        });
        let gauges =
            comparison.gauges.iter().filter(|row| sockets_of(row.state) == self.name && row.subject == self.subject);
        let sockets = gauges.map(|row| {
            let of = |side: &GaugeSide| match self.field {
                Field::Most => Some(side.most as f64),
                _ => side.mean,
            };
            let (before, after) = (of(&row.before), of(&row.after));
            let name = named(&self.name, row.subject.as_deref());
            Numbers { row: name, before, after, ratio: row.ratio, verdict: row.verdict }
        });
        let timed = comparison
            .durations
            .iter()
            .filter(|row| row.lasting.name() == self.name && (self.subject.is_none() || row.subject == self.subject));
        let lasting = timed.flat_map(|row| {
            let name = named(&self.name, row.subject.as_deref());
            let of_percent = row.quantiles.iter().filter(|row| self.field == Field::Percentile(row.percent));
            of_percent.map(move |row| {
                let ns = |quantile: Option<Quantile>| quantile.map(|quantile| quantile.ns as f64);
                let (before, after) = (ns(row.before), ns(row.after));
                let ratio = before.zip(after).filter(|(before, _)| *before > 0.0);
                let ratio =
                    ratio.map(|(before, after)| after / before).map(|ratio| Ratio { ratio, low: ratio, high: ratio });
                Numbers { row: name.clone(), before, after, ratio, verdict: row.verdict }
            })
        });
        counted.chain(sockets).chain(lasting).collect()
    }
}

impl Numbers {
    /// By how much it changed, as a part of what it was; `None`: by no more than chance.
    fn change(&self) -> Result<Option<f64>, NotSaid> {
        match self.verdict {
            DiffVerdict::Unknown(why) => Err(why),
            DiffVerdict::New => Ok(Some(f64::INFINITY)),
            DiffVerdict::Gone => Ok(Some(-1.0)),
            DiffVerdict::Up | DiffVerdict::Down => {
                let plain = self.before.zip(self.after).filter(|(before, _)| *before > 0.0);
                Ok(plain.map(|(before, after)| after / before - 1.0))
            }
            // Of what went with the load, the rate may have changed all the same, or the share.
            DiffVerdict::WithLoad => Ok(self
                .ratio
                .filter(|ratio| DiffVerdict::of(*ratio) != DiffVerdict::Same)
                .map(|ratio| ratio.ratio - 1.0)),
            DiffVerdict::OneSided | DiffVerdict::Same => Ok(None),
        }
    }

    fn not_recorded(&self) -> Option<NotSaid> {
        match self.verdict {
            DiffVerdict::Unknown(why @ NotSaid::NotRecorded) => Some(why),
            _ => None,
        }
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
