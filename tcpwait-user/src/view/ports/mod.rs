//! Reports on ports: text for a terminal, JSON for programs.

pub mod address;
pub mod json;
pub mod remedies;
pub mod sentences;
pub mod text;
