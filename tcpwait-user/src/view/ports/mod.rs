//! Reports on ports: text for a terminal, JSON for programs.

mod address;
pub mod json;
mod remedies;
mod sentences;
pub mod text;
