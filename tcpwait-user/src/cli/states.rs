//! `tcpwait states`: what can be asked for.

use clap::Args;

use super::{
    color::Color,
    filter::Filter,
    values::{count, seconds, time, up_to},
};
use crate::aggregate::by::GroupBy;

/// What `--help` says at the end.
pub const HELP: &str = "\
Counts the sockets that the kernel lists (sock_diag) in every network namespace,
without tracing. Without root it counts those of the current network namespace
and cannot name other users' processes; stderr says what could not be read. The
list is no snapshot: a socket that changes state meanwhile may be counted in the
old state or the new one, twice, or not at all.

  OLDEST, AGE P50, AGE P90
            how long sockets have been in their state, at least (>): since the
            last ACK (FIN_WAIT2, CLOSE_WAIT, CLOSING), the last ACK or data sent
            (ESTABLISHED), or by the timer (TIME_WAIT). The kernel does not tell
            the age of other states, nor of orphans in FIN_WAIT2; with INTERVAL
            a socket of FIN_WAIT1, LAST_ACK and the like is at least as old as
            the report that showed it first.
  CLOSE     -: the kernel does not list such sockets
  SYN_RECV  request sockets
  PROCESS   the process that has the socket open; of several, the one that
            started first. TIME_WAIT has none (-): `tcpwait stat` shows which
            process left it
  service   the remote end of a connection made from this side, the local port
            of an accepted one, - where nothing shows which it is
  uid       the uid of the socket

IPv4 on an IPv6 socket counts as IPv4; a listener on :: as IPv6. TIME_WAIT's
remaining time is nominal: the timer wheel adds up to 2 s at HZ=250, 4.1 s at
HZ=1000. -p, --comm and --cgroup select sockets whose process is known. On a
narrow terminal groups are shown without some states, long names by their end.

Examples:
  tcpwait states                         like netstat -ant | awk '{n[$6]++} ...'
  tcpwait states 1                       every second
  tcpwait states --by process            how many each process has
  tcpwait states --older-than 5m --state CLOSE_WAIT --by process
                                         which process does not close
  tcpwait states --by peer,port --state TIME_WAIT
  tcpwait states -D 5432 --by netns      connections to PostgreSQL, by network
                                         namespace
  tcpwait states --comm '!nginx'         all but nginx's
  tcpwait states --json 10 6             a minute, for a program to read; the
                                         keys are in docs/output.md";

/// `tcpwait states`.
#[derive(Debug, Args)]
pub struct StatesArgs {
    /// Seconds between two reports; without it, one report
    #[arg(value_parser = seconds)]
    pub interval: Option<std::time::Duration>,
    /// Stop after this many reports
    #[arg(value_parser = count)]
    pub count: Option<u64>,

    /// Group by one or more of: service (the listening end), process, pid, remote (or peer), remote-port, local-port (or port), pair (remote
    /// address and port), uid, cgroup, pod (of Kubernetes, with the container), netns
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub by: Vec<GroupBy>,
    /// Only sockets that have been in their state longer than this, e.g. 90s, 5m or 1h30m; stderr says of how many the kernel does not tell
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub older_than: Option<std::time::Duration>,
    /// List at most N groups; all others are one row, "other"
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = up_to::<{ u32::MAX }>, requires = "by")]
    pub top: u32,
    /// JSON: one document per report, each on a line
    #[arg(long)]
    pub json: bool,
    /// Do not fit lines to the terminal's width
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// Colour lines that say what is wrong: auto, always or never; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    pub color: Color,

    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
}
