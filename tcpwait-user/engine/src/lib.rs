//! What each record of the kernel passes through: event → lifecycle → aggregate. It is a crate of its own to be compiled for speed, where all that runs
//! once a report is compiled for size (the profiles in the workspace's Cargo.toml).
//!
//! The order of the modules is the layering: a module imports only from modules above it (a test holds it to that).

pub mod tcp;
pub mod origin;
pub mod event;
pub mod symbols;
pub mod compact;
pub mod by_flow;
pub mod connection;
pub mod lifecycle;
pub mod names;
pub mod ledger;
pub mod select;
pub mod aggregate;
