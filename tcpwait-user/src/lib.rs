//! tcpwait: every TCP state transition on a Linux machine, and how long sockets really stay in each state, above all in TIME_WAIT.
//!
//! The order of the modules is the layering: a module imports only from modules above it (a test holds it to that).

pub mod plain;
pub mod fold;
pub mod capabilities;
pub mod signals;
pub mod output;
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
pub mod timeline;
pub mod doctor;
pub mod states;
pub mod thinning;
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
