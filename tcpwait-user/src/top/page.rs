//! What a tab has to show: parts from the top down, of which some are left out where the screen is too low; one of them may be a table to choose from.

use super::{sheet::Sheet, theme::Weight};
use crate::view::paint::Mark;

/// A line of the screen.
#[derive(Clone, Debug)]
pub struct ScreenLine {
    /// What it says.
    pub text: String,
    /// How bad that is.
    pub mark: Mark,
    /// What it is.
    pub weight: Weight,
}

impl ScreenLine {
    /// Text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), mark: Mark::Plain, weight: Weight::Plain }
    }

    /// What stands above a table.
    pub fn title(text: impl Into<String>) -> Self {
        Self { weight: Weight::Title, ..Self::plain(text) }
    }

    /// The same of what is wrong.
    pub fn marked(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }
}

/// A part of a page.
#[derive(Clone, Debug)]
pub struct PagePart {
    /// 0 stays; else the highest is left out first.
    pub drop: u8,
    /// What it is.
    pub content: Content,
}

/// What a part is.
#[derive(Clone, Debug)]
pub enum Content {
    /// Lines.
    Lines(Vec<ScreenLine>),
    /// The table to choose from.
    Table,
}

/// What a tab has to show.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// From the top down.
    pub parts: Vec<PagePart>,
    /// The table to choose from.
    pub sheet: Sheet,
    /// Columns of other tables, by what stands above them.
    pub others: Vec<String>,
}

impl Page {
    /// Lines that are left out in this order.
    pub fn lines(&mut self, drop: u8, lines: Vec<ScreenLine>) {
        if !lines.is_empty() {
            self.parts.push(PagePart { drop, content: Content::Lines(lines) });
        }
    }

    /// A table as it is written, with what stands above it.
    pub fn written(&mut self, drop: u8, lines: Vec<String>) {
        // A table without rows is only what stands above it.
        if lines.len() < 2 {
            return;
        }
        let line =
            |(at, text): (usize, String)| if at == 0 { ScreenLine::title(text) } else { ScreenLine::plain(text) };
        self.lines(drop, lines.into_iter().enumerate().map(line).collect());
    }

    /// Sentences.
    pub fn sentences(&mut self, drop: u8, lines: Vec<String>) {
        self.lines(drop, lines.into_iter().map(ScreenLine::plain).collect());
    }

    /// A line without anything, if there is one before.
    pub fn gap(&mut self, drop: u8) {
        if !self.parts.is_empty() {
            self.lines(drop, vec![ScreenLine::plain("")]);
        }
    }

    /// Here is the table to choose from, after a line without anything that is left out in this order.
    pub fn table(&mut self, gap: u8, sheet: Sheet) {
        if !sheet.keys.is_empty() {
            self.gap(gap);
        }
        self.sheet = sheet;
        self.parts.push(PagePart { drop: 0, content: Content::Table });
    }
}
