//! Reports: as text for a terminal, as JSON for programs.

pub mod findings;
pub mod csv;
pub mod json;
pub mod sections;
pub mod sentences;
pub mod text;
