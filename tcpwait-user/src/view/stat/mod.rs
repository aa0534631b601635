//! Reports: as text for a terminal, as JSON for programs.

mod findings;
pub mod json;
mod sections;
mod sentences;
pub mod text;
