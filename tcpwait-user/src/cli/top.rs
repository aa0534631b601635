//! The command line of `tcpwait top`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    color::Color,
    filter::Filter,
    stat::{SortBy, StatArgs},
    thinning::CostLimit,
    tracing::Tracing,
    values::seconds,
};
use crate::aggregate::by::GroupBy;

/// What `tcpwait top --help` ends with.
pub const HELP: &str = "\
Keys: ? explains the columns and lists all keys, q quits, 1 to 5 are tabs,
Space stops the screen (the counting goes on), [ and ] go through the last 900
reports, Enter shows all of a row, / filters, s sorts, b groups, R makes a
recording, e writes the screen to a file.

The line at the top says what was lost and whether the counts agree with the
kernel's own. Nothing is changed on this machine: top only looks.

Where standard input or output is no terminal, it is `tcpwait stat INTERVAL`.
NO_COLOR in the environment: no colours. A locale that is not UTF-8: --ascii.

Examples:
  tcpwait top                            a report every second
  tcpwait top 10 -L 443                  connections of port 443, every 10 s
  tcpwait top --from FILE                go through a recording
  tcpwait top --from FILE --once         one screen of it as text, for a ticket";

/// `tcpwait top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds between two reports; 1 unless said otherwise, more for a recording of more than a quarter of an hour
    #[arg(value_parser = seconds)]
    pub interval: Option<Duration>,
    /// Group by one or more of: service, process, pid, remote, remote-port, local-port, pair, uid, cgroup, pod, netns, as in stat
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "service,process")]
    pub by: Vec<GroupBy>,
    /// Read a recording instead of the running kernel; - is standard input, with --once
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,
    /// Print one screen as text, and end: of a recording the whole run, or its Nth report. As large as the terminal, or COLUMNS and LINES, or 80 and 24
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub once: Option<u64>,
    /// Only ASCII signs, also where the locale is UTF-8
    #[arg(long)]
    pub ascii: bool,
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

impl TopArgs {
    /// The same for `stat`, where there is no terminal.
    pub fn as_stat(&self) -> StatArgs {
        let live = self.from.is_none().then_some(Duration::from_secs(1));
        StatArgs {
            interval: self.interval.or(live),
            count: None,
            command: Vec::new(),
            by: self.by.clone(),
            top: 10,
            sort: SortBy::default(),
            json: false,
            csv: false,
            wide: false,
            from: self.from.clone(),
            color: Color::Auto,
            output: None,
            fail_on_loss: false,
            filter: self.filter.clone(),
            tracing: self.tracing.clone(),
            thinning: self.thinning,
        }
    }
}
