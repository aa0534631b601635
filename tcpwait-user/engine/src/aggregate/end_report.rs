//! What a report says of ends: of all of them, and of the groups in which one kind stands out.

use super::{
    dwell::DwellSummary,
    ends::{EndDwells, EndRow, Ends},
    group_row::GroupRow,
};
use crate::lifecycle::Reason;

/// What a report says of ends.
#[derive(Clone, Debug, Default)]
pub struct EndReport {
    /// By reason, in the order in which they are listed to people; those that did not occur are left out.
    pub reasons: Vec<EndOf>,
    /// By reason, detail and state, the most frequent first.
    pub rows: Vec<EndRow>,
    /// Groups in which one stands out.
    pub leads: Vec<EndLead>,
}

/// Ends of one reason.
#[derive(Clone, Copy, Debug)]
pub struct EndOf {
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: u64,
    /// How many a second; `None` for an interval without length.
    pub per_s: Option<f64>,
    /// How long they had been in the state that they left.
    pub dwell: DwellSummary,
}

impl EndReport {
    /// A report on these.
    pub fn new(ends: &Ends, dwells: &EndDwells, per_s: impl Fn(u64) -> Option<f64>, leads: Vec<EndLead>) -> Self {
        let rows = ends.rows();
        let of = |reason: Reason| {
            let count = rows.iter().filter(|row| row.reason == reason).map(|row| row.count).sum();
            EndOf { reason, count, per_s: per_s(count), dwell: dwells.summary(reason) }
        };
        let reasons = Reason::ALL.into_iter().map(of).filter(|of| of.count > 0).collect();
        Self { reasons, rows, leads }
    }
}

/// A group in which many connections end in one way that is not FINs on both sides.
#[derive(Clone, Debug)]
pub struct EndLead {
    /// The group.
    pub group: GroupRow,
    /// How they end.
    pub row: EndRow,
    /// How many connections were over in all: in TIME_WAIT, or ended otherwise after they had been made.
    pub over: u64,
}
