//! What JSON documents there are, and the JSON Schema of each.
//!
//! Their first key says which keys a document has, and what they mean. Its number grows when one goes away or changes its meaning, not when one is added.

mod diff;
mod doctor;
mod handshakes;
mod keys;
mod ports;
mod probes;
mod shared;
mod stat;
mod states;
mod trace;
mod value;
mod version;

use std::io::{self, Write};

pub use self::keys::KeyMeaning;
use self::value::DocumentSchema;

/// A line of `tcpwait trace --json`.
pub const TRACE: &str = "trace/1";
/// A line of `tcpwait trace --raw --json`.
pub const RAW: &str = "raw/1";
/// A report of `tcpwait stat --json`.
pub const STAT: &str = "stat/1";
/// A report of `tcpwait ports --json`.
pub const PORTS: &str = "ports/1";
/// A report of `tcpwait states --json`.
pub const STATES: &str = "states/1";
/// What `tcpwait doctor --json` says.
pub const DOCTOR: &str = "doctor/1";
/// What `tcpwait diff --json` says.
pub const DIFF: &str = "diff/1";
/// What `tcpwait probes --json` says.
pub const PROBES: &str = "probes/1";
/// What `tcpwait version --json` says.
pub const VERSION: &str = "version/1";

/// A kind of JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonDocument {
    /// A line of `tcpwait trace --json`.
    Trace,
    /// A line of `tcpwait trace --raw --json`.
    Raw,
    /// A report of `tcpwait stat --json`.
    Stat,
    /// A report of `tcpwait ports --json`.
    Ports,
    /// A report of `tcpwait states --json`.
    States,
    /// What `tcpwait doctor --json` says.
    Doctor,
    /// What `tcpwait diff --json` says.
    Diff,
    /// What `tcpwait probes --json` says.
    Probes,
    /// What `tcpwait version --json` says.
    Version,
}

impl JsonDocument {
    /// Every one, in the order in which they are listed to people.
    pub const ALL: [JsonDocument; 9] = [
        JsonDocument::Trace,
        JsonDocument::Raw,
        JsonDocument::Stat,
        JsonDocument::Ports,
        JsonDocument::States,
        JsonDocument::Doctor,
        JsonDocument::Diff,
        JsonDocument::Probes,
        JsonDocument::Version,
    ];

    /// What its first key says.
    pub const fn schema(self) -> &'static str {
        match self {
            JsonDocument::Trace => TRACE,
            JsonDocument::Raw => RAW,
            JsonDocument::Stat => STAT,
            JsonDocument::Ports => PORTS,
            JsonDocument::States => STATES,
            JsonDocument::Doctor => DOCTOR,
            JsonDocument::Diff => DIFF,
            JsonDocument::Probes => PROBES,
            JsonDocument::Version => VERSION,
        }
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            JsonDocument::Trace => "trace",
            JsonDocument::Raw => "raw",
            JsonDocument::Stat => "stat",
            JsonDocument::Ports => "ports",
            JsonDocument::States => "states",
            JsonDocument::Doctor => "doctor",
            JsonDocument::Diff => "diff",
            JsonDocument::Probes => "probes",
            JsonDocument::Version => "version",
        }
    }

    /// What prints it.
    pub const fn command(self) -> &'static str {
        match self {
            JsonDocument::Trace => "tcpwait trace --json",
            JsonDocument::Raw => "tcpwait trace --raw --json",
            JsonDocument::Stat => "tcpwait stat --json",
            JsonDocument::Ports => "tcpwait ports --json",
            JsonDocument::States => "tcpwait states --json",
            JsonDocument::Doctor => "tcpwait doctor --json",
            JsonDocument::Diff => "tcpwait diff --json",
            JsonDocument::Probes => "tcpwait probes --json",
            JsonDocument::Version => "tcpwait version --json",
        }
    }
}

impl JsonDocument {
    fn of(self) -> value::Schema {
        match self {
            JsonDocument::Trace => trace::trace(),
            JsonDocument::Raw => trace::raw(),
            JsonDocument::Stat => stat::stat(),
            JsonDocument::Ports => ports::ports(),
            JsonDocument::States => states::states(),
            JsonDocument::Doctor => doctor::doctor(),
            JsonDocument::Diff => diff::diff(),
            JsonDocument::Probes => probes::probes(),
            JsonDocument::Version => version::version(),
        }
    }

    /// Its keys, each with what it may be and what it means.
    pub fn keys(self) -> Vec<KeyMeaning> {
        self.of().keys()
    }
}

/// Writes the JSON Schema of a document.
///
/// # Errors
/// The output cannot be written.
pub fn write(document: JsonDocument, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &DocumentSchema { name: document.schema(), of: document.of() })?;
    writeln!(out)
}

/// Writes which documents there are, a line each.
///
/// # Errors
/// The output cannot be written.
pub fn list(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:<8} {:<9} PRINTED BY", "COMMAND", "SCHEMA")?;
    for document in JsonDocument::ALL {
        writeln!(out, "{:<8} {:<9} {}", document.name(), document.schema(), document.command())?;
    }
    Ok(())
}
