//! The command line of `tcpwait stat`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{
    color::Color,
    filter::Filter,
    format::OutputFormat,
    thinning::CostLimit,
    tracing::Tracing,
    values::{count, seconds, up_to},
};
use crate::aggregate::{by::GroupBy, groups::Sort};

pub(super) const HELP: &str = "\
Without INTERVAL there is one report: at Ctrl-C, after --duration, or when
COMMAND ends. With INTERVAL, the last report covers the whole time.

A report begins with what is wrong, worst first, one finding a line.
  ENTERED, LEFT    sockets that entered or left the state in the interval
  NOW              sockets in the state at the end of the interval
  P50 to MEAN      time spent in the state, by sockets that left it
  OLDEST, AGE P50  how long the sockets of NOW have been in the state;
                   > is at least: one of them was in it before tcpwait started
  CLOSED FIRST     which side sent the first FIN; that side gets TIME_WAIT
  ENDED BY         the most frequent reason, as in `tcpwait trace --help`
  FAILED           calls that failed, as in `tcpwait trace`
  SYN RETRANSMITTED TO
                   RETRANS of CONNECTS needed more than one SYN; MADE AFTER:
                   time from the first SYN to ESTABLISHED
The rows below SYN_RECV are the outcomes of connections in SYN_RECV.

~ is an estimate: tcpwait fell behind, or took more than --max-cpu, and follows
1 connection in so many, chosen by addresses and ports and each for its whole
life. What is counted of them is multiplied; a number without ~ is of all of
them. Calls that fail and listeners are never left out.

>= is at least: events were lost, and no count of the BPF programs replaces
them. ENTERED and LEFT of states without >= are exact, after a loss too. Times,
reasons and owners leave lost events out, and NOW may be more or less than shown
until the sockets have been listed again: the report says so. At most 1,000
groups are counted one by one; the smallest beyond that are in the row \"other\".

--csv has several rows for each report. The column row says what a row is:
report, finding, waiting, group, others, transition, failure, state, exit (of
TIME_WAIT), syn_recv (an outcome), end or loss. The other columns are the keys
of --json, those of an object in it with a dot, as dwell.p50_ns; an empty cell
is unknown, or not of this kind of row.

On a narrow terminal columns are left out in this order: LEFT, MAX, P50, IN/s,
ENDED BY, CLOSED FIRST, %, NOW, ENTERED of groups; AGE P50, /s, MEAN, P90, P99,
MAX, LEFT, ENTERED, OLDEST, P50 of states. On a low terminal interval reports
leave out the histogram, its sentences, losses, states and FAILED; the last
report leaves out nothing.

Examples:
  tcpwait                                a report every second: tcpwait stat 1
  tcpwait stat 10 6                      a minute in six reports
  tcpwait stat --by remote,process       which process talks to whom
  tcpwait stat -- curl -s http://x/      connections of a command
  tcpwait stat --duration 60 --json      a minute, for a program to read
  tcpwait stat 10 --csv -o stat.csv      for a spreadsheet
  tcpwait stat --from FILE 10            from a recording, every 10 s of it";

/// `tcpwait stat`.
#[derive(Debug, Args)]
pub struct StatArgs {
    /// Seconds between two reports; without it, one report at the end
    #[arg(value_parser = seconds)]
    pub interval: Option<std::time::Duration>,
    /// Stop after this many reports
    #[arg(value_parser = count, conflicts_with = "duration")]
    pub count: Option<u64>,
    /// Run this command, report on the connections of it and its children, and exit with its code
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["from", "duration", "cgroup"])]
    pub command: Vec<OsString>,

    /// Group by one or more of: service (the listening end), process, pid, remote, remote-port, local-port, pair (remote address and port), uid,
    /// cgroup, pod (of Kubernetes, with the container), netns
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "service,process")]
    pub by: Vec<GroupBy>,
    /// List at most N groups; all others are one row, "other"
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = up_to::<1000>)]
    pub top: u32,
    /// Sort groups by this, largest first
    #[arg(long, value_enum, default_value_t)]
    pub sort: SortBy,
    /// JSON: one document per report, each on a line
    #[arg(long)]
    pub json: bool,
    /// Comma-separated values: a header, then rows for the report, findings, groups, states and ends; the columns are in docs/output.md
    #[arg(long, conflicts_with_all = ["json", "wide"])]
    pub csv: bool,
    /// Do not fit lines to the terminal's width
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// Read a recording instead of the running kernel; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,
    /// Colour lines that say what is wrong: auto, always or never; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    pub color: Color,
    /// Write the reports to this file; standard output is left to COMMAND
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Exit with code 3 if events were lost, FILE is cut short or damaged, or the kernel's own counters differ without explanation
    #[arg(long)]
    pub fail_on_loss: bool,

    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,
    /// What it may cost.
    #[command(flatten)]
    pub thinning: CostLimit,
}

impl StatArgs {
    /// What reports are written as.
    pub fn format(&self) -> OutputFormat {
        OutputFormat::of(self.json, self.csv)
    }

    /// A report a second, unless something else says when there is one.
    pub(super) fn report_again_and_again(&mut self) {
        let Self { interval, tracing, command, from, .. } = self;
        if interval.is_none() && tracing.duration.is_none() && command.is_empty() && from.is_none() {
            *interval = Some(std::time::Duration::from_secs(1));
        }
    }
}

/// What groups are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    /// entries to TIME_WAIT
    #[default]
    Entered,
    /// sockets in TIME_WAIT at the end
    Now,
    /// sockets that left TIME_WAIT
    Left,
    /// median time spent in TIME_WAIT
    Dwell,
}

impl From<SortBy> for Sort {
    fn from(by: SortBy) -> Self {
        match by {
            SortBy::Entered => Sort::Entered,
            SortBy::Now => Sort::Now,
            SortBy::Left => Sort::Left,
            SortBy::Dwell => Sort::Dwell,
        }
    }
}
