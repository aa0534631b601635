//! Local ports: a bar for each destination, when they run out, and what helps for the row that is chosen.

use super::{folded, worst};
use crate::{
    aggregate::ports::report::PortRow,
    top::{
        look::Look,
        page::{Page, ScreenLine},
        sheet::{RowKey, Sheet},
    },
    view::{
        paint::Mark,
        ports::{
            remedies,
            sentences::{self, of},
            text::destination_columns,
        },
        table::{self, Column},
        units::date_time,
    },
};

/// Lines of advice below the table.
const ADVICE: usize = 8;

pub(super) fn page(look: Look<'_>, page: &mut Page) {
    let ports = &look.snapshot.ports;
    page.lines(4, worst::first(look));
    if ports.rows.is_empty() {
        return page.sentences(0, folded("no connection made on this machine holds a local port now", look.width));
    }
    page.table(5, sheet(look));
    page.gap(3);
    let most = ADVICE.min(look.height / 2);
    page.lines(2, advice(look, most));
    let several = ports.namespaces.len() > 1;
    for namespace in ports.namespaces.iter().take(2) {
        page.sentences(6, folded(&sentences::settings(namespace, several, look.context()), look.width));
    }
    let notes = [sentences::outside(ports), sentences::unknown(ports), sentences::selected(ports)];
    for note in notes.into_iter().flatten() {
        page.sentences(7, folded(&note, look.width));
    }
}

fn sheet(look: Look<'_>) -> Sheet {
    let ports = &look.snapshot.ports;
    let others = ports.others.destinations > 0;
    let keys = ports.rows.iter().map(|row| RowKey(format!("{:?}", row.destination)));
    let other = others.then(|| RowKey("other".to_owned()));
    let marks = ports.rows.iter().map(|row| if row.advice.is_some() { Mark::Warning } else { Mark::Plain });
    Sheet {
        keys: keys.chain(other).collect(),
        marks: marks.chain(others.then_some(Mark::Plain)).collect(),
        columns: columns(look),
        has_others: others,
    }
}

/// The columns of `ports`, and a bar.
fn columns(look: Look<'_>) -> Vec<Column> {
    let ports = &look.snapshot.ports;
    let length = if look.width >= 100 { 20 } else { 10 };
    let bar = |row: &PortRow| match row.share {
        Some(share) => look.theme.bar(share, length),
        None => "-".to_owned(),
    };
    let others = (ports.others.destinations > 0).then(String::new);
    let mut columns = destination_columns(ports, look.context());
    let at = columns.iter().position(|column| column.header() == "USED").unwrap_or_default();
    columns.insert(at, Column::text("HOW FULL", 2, ports.rows.iter().map(bar).chain(others).collect()));
    columns
}

/// The first so many destinations of which something is to be said, as lines.
pub(super) fn bars(look: Look<'_>, most: usize) -> Vec<String> {
    let rows: Vec<usize> = (0..look.snapshot.ports.rows.len())
        .filter(|row| look.snapshot.ports.rows.get(*row).is_some_and(|row| row.advice.is_some()))
        .take(most)
        .collect();
    table::lines(columns(look).iter().map(|column| column.with_rows(&rows)).collect(), look.width)
}

/// What is to be said of the destination that is chosen, else of the first.
pub(super) fn advice(look: Look<'_>, most: usize) -> Vec<ScreenLine> {
    let Look { snapshot, width, zone, chosen, .. } = look;
    let is_it = |row: &&PortRow| chosen.is_none_or(|key| key.0 == format!("{:?}", row.destination));
    let Some(row) = snapshot.ports.rows.iter().find(is_it) else { return Vec::new() };
    let context = look.context();
    let clock = |time_ns| date_time(context.wall(time_ns), zone);
    let (verdict, sentences) = of(row, &snapshot.ports, context, &clock);
    let help = row.advice.as_ref().map(|advice| remedies::advice(advice, row)).unwrap_or_default();
    let mark = if row.advice.is_some() { Mark::Warning } else { Mark::Plain };
    let verdict = folded(&verdict, width).into_iter().map(|line| ScreenLine::plain(line).marked(mark));
    let others = sentences.iter().chain(&help).flat_map(|sentence| folded(sentence, width)).map(ScreenLine::plain);
    let mut lines: Vec<ScreenLine> = verdict.chain(others).collect();
    if lines.len() > most {
        lines.truncate(most.saturating_sub(1));
        lines.push(ScreenLine::plain("Enter shows all of it"));
    }
    lines
}
