//! What a tab is drawn from: a snapshot, what was before it, and what is chosen.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{past::Past, sheet::RowKey, snapshot::TopSnapshot, stories::StoryRing, theme::Theme};
use crate::{names::Names, view::ViewContext};

/// What a tab is drawn from, and how large.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// What is shown.
    pub snapshot: &'a Arc<TopSnapshot>,
    /// The snapshots there are.
    pub past: &'a Past,
    /// What became of connections.
    pub stories: &'a StoryRing,
    /// Names for numbers.
    pub names: &'a Names,
    /// Signs and colours.
    pub theme: Theme,
    /// The zone of times.
    pub zone: &'a TimeZone,
    /// The row that is chosen.
    pub chosen: Option<&'a RowKey>,
    /// Whether every row is looked at, as it is to be sorted or looked for.
    pub all_rows: bool,
    /// Columns of the screen.
    pub width: usize,
    /// Rows for the tab.
    pub height: usize,
}

impl<'a> Look<'a> {
    /// What a view needs to show a snapshot.
    pub fn context_of(&self, snapshot: &TopSnapshot) -> ViewContext<'a> {
        ViewContext {
            names: self.names,
            realtime_offset_ns: snapshot.realtime_offset_ns,
            started_ns: snapshot.started_ns,
        }
    }

    /// The same for the one that is shown.
    pub fn context(&self) -> ViewContext<'a> {
        self.context_of(self.snapshot)
    }
}
