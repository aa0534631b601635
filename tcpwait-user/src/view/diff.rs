//! What differs between two recordings: as text, as JSON and as a page.

pub mod json;
pub mod text;
pub mod words;
