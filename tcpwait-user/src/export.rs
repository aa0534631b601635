//! `tcpwait export`: records become metrics that can be asked for at any time, and are served to Prometheus by a process of its own that has no right but that.

pub mod confinement;
pub mod engine;
pub mod front;
mod http;
pub mod questions;
mod seats;
pub mod web;
