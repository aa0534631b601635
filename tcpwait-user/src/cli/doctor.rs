//! `tcpwait doctor`: its options.

use clap::Args;

use super::{list, seconds};
use crate::select::Pick;

/// What `--help` says at its end.
pub const HELP: &str = "\
Reads settings, the kernel's counters twice, and sockets, of every network namespace; changes nothing, traces nothing.
Without root it reads the own namespace only, and cannot name other users' processes.
The first line is the verdict. Then findings, each with what it is known by: counters as they grew between the two readings,
and in all (since boot, or since the namespace was made). NOW: measured now, and worth changing. BEFORE: happened, not now.
NOTE: a setting that does not do what it is said to do, or what no setting here cures. Then the settings that are not at the
kernel's default or are named by a finding. The exit code is 0 whatever is found. Ctrl-C ends the wait early.
Sockets that are stuck are those that both readings show, a second or more apart: CLOSE_WAIT, and FIN_WAIT2 that a process holds, from
10 of one process on (NOW), or where one is 5 minutes old (NOTE); a FIN in FIN_WAIT1, CLOSING or LAST_ACK that is not acknowledged, or that
a window of 0 keeps back, from 10 on; FIN_WAIT2 that nobody holds from 100 on, or from a tenth of tcp_max_tw_buckets on.

Examples:
  tcpwait doctor                         the whole machine
  tcpwait doctor --all                   every setting, and what it does here
  tcpwait doctor --netns 4711            the network namespace of a process
  tcpwait doctor --json --seconds 60     counters over a minute, for a program";

/// `tcpwait doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Seconds between the two readings of the counters
    #[arg(long, value_name = "N", default_value = "3", value_parser = seconds)]
    pub seconds: std::time::Duration,
    /// Only these network namespaces, or with a ! before the list all others: a PID, a path, a name under /run/netns or an inode
    #[arg(long, value_name = "NETNS", value_parser = list::texts)]
    pub netns: Vec<Pick<String>>,
    /// Explain every setting, those that are fine, too
    #[arg(short = 'v', long)]
    pub all: bool,
    /// Lines as long as they need to be, whatever the terminal's width
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// One JSON document instead of text; it has every setting
    #[arg(long)]
    pub json: bool,
}
