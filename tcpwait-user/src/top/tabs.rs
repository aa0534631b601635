//! What each tab shows. The words and the sums are those of `stat` and `ports`.

mod connections;
mod opening;
mod overview;
mod ports;
mod time_wait;
mod worst;

use super::{
    explain,
    look::Look,
    page::{Page, ScreenLine},
    tab::Tab,
};
use crate::{
    fold::{self, fold},
    plain,
};

/// Columns for a value of the row that is shown whole.
const VALUE: usize = 16;

/// What a tab has to show.
pub fn page(tab: Tab, look: Look<'_>) -> Page {
    let mut page = Page::default();
    match tab {
        Tab::Overview => overview::page(look, &mut page),
        Tab::Connections => connections::page(look, &mut page),
        Tab::TimeWait => time_wait::page(look, &mut page),
        Tab::Ports => ports::page(look, &mut page),
        Tab::Opening => opening::page(look, &mut page),
    }
    page
}

/// All that is known of a row.
pub fn details(tab: Tab, look: Look<'_>, page: &Page, row: usize) -> Option<Vec<ScreenLine>> {
    if tab == Tab::Connections {
        return connections::life(look, page.sheet.keys.get(row)?);
    }
    let mut lines = Vec::new();
    if tab == Tab::Ports {
        lines.extend(ports::advice(look, usize::MAX));
        lines.push(ScreenLine::plain(""));
    }
    let names = page.sheet.columns.iter().map(|column| column.header().len()).max().unwrap_or_default();
    for (column, value) in page.sheet.columns.iter().zip(page.sheet.row(row)) {
        let meaning = explain::column(tab, column.header()).unwrap_or_default();
        let name = format!("{:<names$}  ", column.header());
        // A long one has its meaning below.
        if plain::width(&value) > VALUE {
            lines.extend(fold_row(&format!("{name}{value}"), look.width, names + 2));
            lines.extend(fold_row(&format!("{:1$}{meaning}", "", names + VALUE + 4), look.width, names + VALUE + 4));
        } else {
            let blanks = " ".repeat(VALUE + 2 - plain::width(&value));
            lines.extend(fold_row(&format!("{name}{value}{blanks}{meaning}"), look.width, names + VALUE + 4));
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
