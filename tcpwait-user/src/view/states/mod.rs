//! Sockets by state: as text for a terminal, as JSON for programs; and what else is to be known of a report, in sentences.

pub mod json;
pub mod notes;
pub mod text;

use jiff::Timestamp;

use crate::names::Names;

/// What a view needs besides the report itself.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When the reading began.
    pub time: Timestamp,
    /// Names for numbers.
    pub names: &'a Names,
}
