//! Reports: as text for a terminal, as JSON for programs.

pub mod json;
mod sections;
mod sentences;
pub mod text;
