//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measure what tcpwait costs on this machine. Needs root; other work on the machine makes the numbers worse.
///
/// Loads run untraced, with an empty program on each of tcpwait's hooks (`null`), with `tcpwait stat` and other commands, and with
/// each --peer, in rotation. Results are a table on stdout, and latest.json and growth.svg in OUT.
/// Network namespaces, processes and kernel statistics that it makes or turns on are gone when it ends, also at Ctrl-C.
#[derive(Parser)]
#[command(name = "tcpwait-bench", bin_name = "cargo xtask bench", max_term_width = 100)]
pub struct Options {
    /// Some nine minutes instead of half an hour: fewer loads and rounds, wider intervals, no million of sockets
    #[arg(long)]
    pub quick: bool,
    /// How often every load runs under every setting; 7 unless --quick
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Another tracer's command line, for sh, to be measured beside; may be given several times
    #[arg(long, value_name = "COMMAND")]
    pub peer: Vec<String>,
    /// Only these parts
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<Part>,
    /// The tool
    #[arg(long, value_name = "FILE", hide = true)]
    pub tcpwait: PathBuf,
    /// Where results go
    #[arg(long, value_name = "OUT", hide = true)]
    pub out: PathBuf,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// the file's size, and how long it takes to start
    Start,
    /// CPU time a connection, of both ends and of each alone, beyond untraced and null
    Cost,
    /// what those pay who are not looked at: futexes and timers, system calls, small reads, what a filter leaves out
    Bystanders,
    /// CPU and wake-ups where there is nothing to do
    Idle,
    /// CPU with 100,000 sockets in TIME_WAIT that come and go
    Turnover,
    /// rates of connections, bytes and dropped packets; CPU and losses
    Rates,
    /// time in BPF programs
    Kernel,
    /// memory of followed sockets, and growth with them
    Followed,
}
