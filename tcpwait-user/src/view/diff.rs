//! What differs between two recordings: as text, as JSON and as a page.

pub mod json;
pub mod lines;
pub mod page;
pub mod pictures;
pub mod text;
pub mod words;
