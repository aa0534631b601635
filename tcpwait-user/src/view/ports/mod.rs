//! Reports on ports: text for a terminal, JSON for programs.

pub mod json;
mod sentences;
pub mod text;
