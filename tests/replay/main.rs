//! Everything that can be tested without root: recordings made on a real kernel and what every view makes of them,
//! handmade events and the transitions that must follow, damaged recordings, the command line, and the layering.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test that fails says so by panicking, and its names say what it checks"
)]

mod ages;
mod aggregates;
mod audit;
mod circles;
mod color;
mod connects;
mod csv;
mod damage;
mod diff;
mod documents;
mod form;
mod golden;
mod invariants;
mod journal;
mod kernel_ends;
mod kernels;
mod kubernetes;
mod late_segments;
mod layers;
mod lies;
mod lives;
mod manual;
mod memory;
mod metrics;
mod mutation;
mod object;
mod names;
mod origins;
mod perfetto;
mod pods;
mod ports;
mod properties;
mod report;
mod schema;
mod selection;
mod service;
mod sinks;
mod stackless;
mod states;
mod stories;
mod support;
mod tally;
mod thinned;
mod ticks;
mod top;
mod usage;
mod web_config;
mod words;
