//! What each tab shows. The words and the sums are those of `stat` and `ports`.

mod connections;
mod opening;
mod overview;
mod ports;
mod time_wait;
mod worst;

use super::{
    explain,
    page::{Page, ScreenLine},
    snapshot::TopSnapshot,
    state::{Tab, TopScreen},
};
use crate::{
    fold::{self, fold},
    plain,
    view::ViewContext,
};

/// Columns for a value of the row that is shown whole.
const VALUE: usize = 16;

/// What a tab is shown on.
#[derive(Clone, Copy)]
struct Frame<'a> {
    screen: &'a TopScreen,
    snapshot: &'a TopSnapshot,
    context: ViewContext<'a>,
    width: usize,
    height: usize,
}

/// What the tab that is looked at has to show.
pub fn page(screen: &TopScreen, snapshot: &TopSnapshot, width: usize, height: usize) -> Page {
    let frame = Frame { screen, snapshot, context: screen.context(snapshot), width, height };
    let mut page = Page::default();
    match screen.tab {
        Tab::Overview => overview::page(frame, &mut page),
        Tab::Connections => connections::page(frame, &mut page),
        Tab::TimeWait => time_wait::page(frame, &mut page),
        Tab::Ports => ports::page(frame, &mut page),
        Tab::Opening => opening::page(frame, &mut page),
    }
    page
}

/// All that is known of the chosen row.
pub fn details(screen: &TopScreen, snapshot: &TopSnapshot, page: &Page, width: usize) -> Option<Vec<ScreenLine>> {
    let row = screen.chosen(&page.sheet)?;
    if screen.tab == Tab::Connections {
        let key = page.sheet.keys.get(row)?;
        return connections::life(screen, snapshot, key, width);
    }
    let mut lines = Vec::new();
    if screen.tab == Tab::Ports {
        lines.extend(ports::advice(screen, snapshot, page, width, usize::MAX));
        lines.push(ScreenLine::plain(""));
    }
    let names = page.sheet.columns.iter().map(|column| column.header().len()).max().unwrap_or_default();
    for (column, value) in page.sheet.columns.iter().zip(page.sheet.row(row)) {
        let meaning = explain::column(screen.tab, column.header()).unwrap_or_default();
        let name = format!("{:<names$}  ", column.header());
        // A long one has its meaning below.
        if plain::width(&value) > VALUE {
            lines.extend(fold_row(&format!("{name}{value}"), width, names + 2));
            lines.extend(fold_row(&format!("{:1$}{meaning}", "", names + VALUE + 4), width, names + VALUE + 4));
        } else {
            let blanks = " ".repeat(VALUE + 2 - plain::width(&value));
            lines.extend(fold_row(&format!("{name}{value}{blanks}{meaning}"), width, names + VALUE + 4));
        }
    }
    Some(lines)
}

/// A row whose blanks count, in as many lines as it takes.
fn fold_row(text: &str, width: usize, indent: usize) -> Vec<ScreenLine> {
    fold::row(text, width.max(1), indent.min(width / 2)).into_iter().map(ScreenLine::plain).collect()
}

/// A sentence in lines.
fn folded(sentence: &str, width: usize) -> Vec<String> {
    fold(sentence, width, 2)
}
