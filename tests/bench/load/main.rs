//! The load: connections, bulk transfers, dropped packets, small reads, many sockets held, or nothing of TCP at all, each in a network
//! namespace of its own.
//!
//! It says on stdout that it is ready, begins when it is told to on stdin (a line), says as JSON what it did, and keeps its sockets
//! until stdin ends. It knows nothing of tracers, nor what its numbers are for.

mod bulk;
mod bystander;
mod connections;
mod drops;
mod hold;
mod meter;
mod one_end;
mod one_sided;
mod paced;
mod place;
mod reader;
mod veth;

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use crate::meter::Meter;
use crate::one_end::End;

/// Makes TCP connections, bulk transfers, dropped packets or work without TCP, in a network namespace of its own. Needs root.
///
/// Prints `ready`, waits for a line on stdin, prints one JSON object on what it did, and ends with stdin.
#[derive(Parser)]
#[command(bin_name = "tcpwait-load", max_term_width = 100)]
enum Load {
    /// Connections, each with a small request and its answer, one after the other on each core.
    Connections {
        /// Who closes first
        #[arg(long, value_enum, default_value_t = Close::Client)]
        close: Close,
        /// How many cores make connections, each its own
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        cores: u16,
        /// For how long
        #[arg(long, default_value = "2", value_parser = seconds)]
        seconds: Duration,
        /// IPv6 instead of IPv4
        #[arg(long)]
        ipv6: bool,
    },
    /// Connections over a pair of devices to another namespace, whose end is on another core: what one end takes.
    OneSided {
        /// Which end is counted
        #[arg(long, value_enum, default_value_t = End::Server)]
        counted: End,
        /// For how long
        #[arg(long, default_value = "2", value_parser = seconds)]
        seconds: Duration,
    },
    /// Connections at a steady rate, on one core.
    Paced {
        /// How many a second
        per_s: u32,
        /// For how long
        #[arg(long, default_value = "2", value_parser = seconds)]
        seconds: Duration,
    },
    /// A few connections that are read in small pieces, on one core.
    Reader {
        /// For how long
        #[arg(long, default_value = "2", value_parser = seconds)]
        seconds: Duration,
    },
    /// No TCP: two threads that wake each other, on one core, and some whose timers run out.
    Turns {
        /// For how long
        #[arg(long, default_value = "2", value_parser = seconds)]
        seconds: Duration,
    },
    /// No TCP: system calls, on one core.
    Calls {
        /// For how long
        #[arg(long, default_value = "2", value_parser = seconds)]
        seconds: Duration,
    },
    /// A few connections that carry as much as they can.
    Bulk {
        /// How many at once
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
        streams: u16,
        /// For how long
        #[arg(long, default_value = "2", value_parser = seconds)]
        seconds: Duration,
    },
    /// UDP datagrams to a socket whose buffer is full: each is dropped.
    Drops {
        /// How many cores send
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        cores: u16,
        /// For how long
        #[arg(long, default_value = "2", value_parser = seconds)]
        seconds: Duration,
    },
    /// As many sockets in TIME_WAIT, which stay until stdin ends, or for their 60 s.
    Hold {
        /// How many
        count: u32,
        /// How many cores make them
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
        cores: u16,
        /// How long making them may take
        #[arg(long, default_value = "45", value_parser = seconds)]
        seconds: Duration,
    },
}

/// Who sends the first FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Close {
    /// The client; the server waits for it.
    Client,
    /// The server; the client waits for it.
    Server,
    /// Neither waits. With two cores the ends are closed on a core each, at the same time.
    Both,
}

fn main() -> Result<()> {
    let load = Load::parse();
    place::enter()?;
    let mut meter = Meter::of_process(&load.cores())?;
    say("ready")?;
    io::stdin().lock().read_line(&mut String::new()).context("waiting for the word to begin")?;
    meter.restart()?;
    let done = match load {
        Load::Connections { close, cores, seconds, ipv6 } => {
            serde_json::to_value(connections::run(close, cores, seconds, ipv6)?)
        }
        Load::OneSided { counted, seconds } => serde_json::to_value(one_sided::run(counted, seconds)?),
        Load::Paced { per_s, seconds } => serde_json::to_value(paced::run(per_s, seconds)?),
        Load::Reader { seconds } => serde_json::to_value(reader::run(seconds)?),
        Load::Turns { seconds } => serde_json::to_value(bystander::turns(seconds)?),
        Load::Calls { seconds } => serde_json::to_value(bystander::calls(seconds)?),
        Load::Bulk { streams, seconds } => serde_json::to_value(bulk::run(streams, seconds)?),
        Load::Drops { cores, seconds } => serde_json::to_value(drops::run(cores, seconds)?),
        Load::Hold { count, cores, seconds } => serde_json::to_value(hold::run(count, cores, seconds)?),
    };
    let mut done = done.context("writing what was done as JSON")?;
    let taken = meter.taken()?;
    if let Some(done) = done.as_object_mut() {
        // Where only some of it counts, the load has said so.
        done.entry("cpu_seconds").or_insert_with(|| taken.as_secs_f64().into());
    }
    say(&done.to_string())?;
    io::stdin().lock().read_to_end(&mut Vec::new()).context("waiting for the end of stdin")?;
    Ok(())
}

impl Load {
    /// The cores that it keeps to; none where the scheduler decides.
    fn cores(&self) -> Vec<usize> {
        let cores = match self {
            Load::Bulk { .. } => 0,
            Load::Connections { cores, .. } | Load::Drops { cores, .. } | Load::Hold { cores, .. } => *cores,
            Load::OneSided { .. }
            | Load::Paced { .. }
            | Load::Reader { .. }
            | Load::Turns { .. }
            | Load::Calls { .. } => 1,
        };
        (0..cores).map(place::core).collect()
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("writing to stdout")
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "want a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
