//! What is wrong, sockets by state, and who has TIME_WAIT.

use super::worst;
use crate::{
    tcp::State,
    top::{
        look::Look,
        page::Page,
        sheet::{RowKey, Sheet},
    },
    view::{
        paint::Mark,
        stat::sections,
        table::{self, Column},
    },
};

/// A minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// On a screen that is lower only states in which there is anything have a row.
const LOW: usize = 18;

/// The width from which curves are longer.
const WIDE: usize = 110;

pub(super) fn page(look: Look<'_>, page: &mut Page) {
    let report = &look.snapshot.report;
    page.lines(0, worst::lines(look, (look.height / 3).max(3)));
    page.gap(5);
    let states = states(look);
    page.others.extend(states.iter().map(|column| column.header().to_owned()));
    page.written(1, table::lines(states, look.width));
    page.table(4, groups(look));
    if !sections::failures(report, look.context(), look.width).is_empty() {
        page.gap(6);
        page.written(3, sections::failures(report, look.context(), look.width));
    }
    if look.snapshot.ports.rows.iter().any(|row| row.advice.is_some()) {
        page.gap(6);
        page.written(2, super::ports::bars(look, 2));
    }
    let ends = sections::ends(report, look.width);
    if !ends.is_empty() {
        page.gap(8);
        page.written(8, ends);
    }
    let histogram = sections::histogram(report, look.width);
    if !histogram.is_empty() {
        page.gap(9);
        page.written(9, histogram);
    }
}

/// Sockets by state, with how many there were.
fn states(look: Look<'_>) -> Vec<Column> {
    let (mut rows, mut columns) = sections::state_columns(&look.snapshot.report);
    if look.height < LOW {
        let has_any = |state: &State| {
            let now = look.snapshot.report.states.iter().find(|row| row.state == *state).and_then(|row| row.now);
            now.is_some_and(|now| now > 0)
        };
        let kept: Vec<usize> = (0..rows.len())
            .filter(|row| rows.get(*row).is_some_and(|state| state.as_ref().is_some_and(has_any)))
            .collect();
        rows = kept.iter().filter_map(|row| rows.get(*row).copied()).collect();
        columns = columns.iter().map(|column| column.with_rows(&kept)).filter(Column::has_values).collect();
    }
    let points = if look.width >= WIDE { 30 } else { 15 };
    let (name, length_ns) = match look.snapshot.report.is_final {
        true => ("WHOLE RUN", look.snapshot.report.end_ns.saturating_sub(look.snapshot.report.begin_ns)),
        false => ("LAST 60s", MINUTE_NS),
    };
    let curve = |state: &Option<State>| state.map_or_else(String::new, |state| curve(look, state, points, length_ns));
    let at = columns.len().min(2);
    columns.insert(at, Column::text(name, 6, rows.iter().map(curve).collect()));
    columns
}

/// How many were in a state, over so long a time.
fn curve(look: Look<'_>, state: State, points: usize, length_ns: u64) -> String {
    let end_ns = look.snapshot.report.end_ns;
    let mut most: Vec<Option<u64>> = vec![None; points];
    let step_ns = (length_ns / points as u64).max(1);
    for earlier in look.past.until(look.snapshot.number) {
        let ago = end_ns.saturating_sub(earlier.report.end_ns) / step_ns;
        let Some(point) = usize::try_from(ago).ok().and_then(|ago| points.checked_sub(ago + 1)) else { break };
        let row = earlier.report.states.iter().find(|row| row.state == state);
        if let Some((slot, now)) = most.get_mut(point).zip(row.and_then(|row| row.now)) {
            *slot = Some(slot.unwrap_or_default().max(now));
        }
    }
    // An interval that is longer than a point stands in all of them.
    let mut last = None;
    for slot in &mut most {
        *slot = slot.or(last);
        last = *slot;
    }
    look.theme.curve(&most)
}

/// Who has TIME_WAIT.
fn groups(look: Look<'_>) -> Sheet {
    let report = &look.snapshot.report;
    let rows = sections::group_rows(report);
    if rows.is_empty() {
        return Sheet::default();
    }
    Sheet {
        keys: rows.iter().map(|row| RowKey(format!("{:?}", row.key))).collect(),
        marks: vec![Mark::Plain; rows.len()],
        columns: sections::group_columns(report, &rows, look.context()),
        has_others: rows.last().is_some_and(|last| last.key.is_empty()),
    }
}
