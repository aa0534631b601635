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
use crate::{fold::fold, view::ViewContext};

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
    let names = page.sheet.columns.iter().map(|column| column.header().len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for (column, value) in page.sheet.columns.iter().zip(page.sheet.row(row)) {
        let meaning = explain::column(column.header()).unwrap_or_default();
        let text = format!("{:<names$}  {value:<16}  {meaning}", column.header());
        lines.extend(fold_row(&text, width, names + 20));
    }
    if screen.tab == Tab::Ports {
        lines.push(ScreenLine::plain(""));
        lines.extend(ports::advice(screen, snapshot, page, width, usize::MAX));
    }
    Some(lines)
}

/// A row whose blanks count, in as many lines as it takes.
fn fold_row(text: &str, width: usize, indent: usize) -> Vec<ScreenLine> {
    crate::fold::row(text, width.max(1), indent.min(width / 2)).into_iter().map(ScreenLine::plain).collect()
}

/// A sentence in lines.
fn folded(sentence: &str, width: usize) -> Vec<String> {
    fold(sentence, width, 2)
}
