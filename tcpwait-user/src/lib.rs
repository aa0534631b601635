//! tcpwait: every TCP state transition on a Linux machine, and how long sockets really stay in each state, above all in TIME_WAIT.
//!
//! The order of the modules is the layering: a module imports only from modules above it (a test holds it to that).
//! Those of the engine, what each record passes through, stand above all of these.

pub use tcpwait_engine::{
    aggregate, by_flow, compact, connection, event, ledger, lifecycle, names, origin, select, symbols, tcp,
};

pub mod plain;
pub mod fold;
pub mod capabilities;
pub mod signals;
pub mod output;
pub mod timeline;
pub mod doctor;
pub mod states;
pub mod thinning;
pub mod report;
pub mod diff;
pub mod view;
pub mod schedule;
pub mod recording;
pub mod pipeline;
pub mod stat;
pub mod ports;
pub mod metrics;
pub mod top;
pub mod kernel;
pub mod system;
pub mod live;
pub mod export;
pub mod cli;
pub mod manual;
pub mod run;
