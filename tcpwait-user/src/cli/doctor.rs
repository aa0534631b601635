//! `tcpwait doctor`: its options.

use clap::Args;

use super::{color::Color, list, values::seconds};
use crate::select::Pick;

/// What `--help` says at its end.
pub const HELP: &str = "\
Reads settings, sockets, and the kernel's counters twice, of every network
namespace; changes nothing, traces nothing. Without root it reads the current
network namespace only, and cannot name other users' processes.

The first line is the verdict. The findings follow, each with its evidence:
counters with their growth between the two readings and in all (since boot, or
since the namespace was made).
  NOW     measured now: a change is recommended
  BEFORE  happened before, not now
  NOTE    a setting that does not do what it is said to do, or a problem that
          no setting here solves
Then come the settings that are not at the kernel's default or are part of a
finding. The exit code is 0 whatever is found. Ctrl-C ends the wait early.

With --check it is 2 for a finding NOW, 1 for a NOTE on sockets that are there, 3
if nothing could be read, and else 0.

Sockets count as stuck if both readings show them, a second or more apart:
  CLOSE_WAIT, and FIN_WAIT2 that a process has open
          from 10 of one process on (NOW), or one that is 5 minutes old (NOTE)
  FIN_WAIT1, CLOSING, LAST_ACK whose FIN is not acknowledged, or waits for a
  window of 0
          from 10 on
  orphans in FIN_WAIT2
          from 100 on, or from a tenth of tcp_max_tw_buckets on

Examples:
  tcpwait doctor                         the whole machine
  tcpwait doctor --all                   every setting, and its effect here
  tcpwait doctor --netns 4711            the network namespace of a process
  tcpwait doctor --check --seconds 10    as a check of Nagios
  tcpwait doctor --json --seconds 60     counters of a minute, for a program";

/// `tcpwait doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Explain every setting, not only those that are changed or part of a finding
    #[arg(short = 'v', long)]
    pub all: bool,
    /// Only these network namespaces, each a PID, a path, a name under /run/netns or an inode; all others with a ! before the list
    #[arg(long, value_name = "NETNS", value_parser = list::texts)]
    pub netns: Vec<Pick<String>>,
    /// Seconds between the two readings of the counters
    #[arg(long, value_name = "N", default_value = "3", value_parser = seconds)]
    pub seconds: std::time::Duration,
    /// JSON: one document, with every setting
    #[arg(long)]
    pub json: bool,
    /// One line and an exit code for Nagios and its kind: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN
    #[arg(long, conflicts_with_all = ["json", "all"])]
    pub check: bool,
    /// Do not fit lines to the terminal's width
    #[arg(short = 'w', long, conflicts_with_all = ["json", "check"])]
    pub wide: bool,
    /// Colour lines that say what is wrong: auto, always or never; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    pub color: Color,
}
