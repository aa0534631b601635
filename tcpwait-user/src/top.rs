//! The live screen, `tcpwait top`: what is looked at during an incident. One side counts (`engine`, `stories`) and hands over snapshots (`feed`); the
//! other side keeps them (`past`), is moved by keys (`keys`, `state`), and draws (`draw`, `tabs`) where it finds a terminal (`terminal`).
//!
//! State and drawing read no clock and know no terminal: a snapshot carries its time. So a recording is the same screen as the running kernel.

pub mod bell;
pub mod draw;
pub mod engine;
mod explain;
pub mod feed;
pub mod keys;
mod look;
mod page;
mod past;
mod sheet;
pub mod snapshot;
pub mod state;
pub mod stories;
pub mod tab;
mod tabs;
pub mod terminal;
pub mod theme;
