//! `tcpwait states`: what can be asked for.

use clap::Args;

use super::{Filter, count, seconds, time, up_to};
use crate::aggregate::by::GroupBy;

/// What `--help` says at the end.
pub const HELP: &str = "\
Counts what the kernel lists (sock_diag) in every network namespace; nothing is traced. Root is only
needed for other network namespaces and for processes of others; what could not be seen is said.
It is no snapshot: a socket that changes while they are listed may be missed, or counted twice.
CLOSE is -, since the kernel lists no socket that is in it. FIN_WAIT2's mini-sockets are those of
connections that no process holds any more. A request socket is SYN_RECV. IPv4 carried by an IPv6
socket is IPv4; a listener on :: is IPv6.
OLDEST, AGE P50, AGE P90: how long they have been in their state, at least (>), by the last
acknowledgement (FIN_WAIT2, CLOSE_WAIT, CLOSING), that or the last data sent (ESTABLISHED), the timer
(TIME_WAIT). Of the other states, and of FIN_WAIT2's mini-sockets, the kernel tells nothing; with
INTERVAL, what the report before showed of FIN_WAIT1, LAST_ACK and the like is at least as old as that.
TIME_WAIT's time to go is nominal: the timer wheel adds up to 2 s at HZ=250, 4.1 s at HZ=1000.
A process is the one that holds the socket's file, of several the one that started first. TIME_WAIT
has none (-): only tracing (`tcpwait stat`) tells who left it. `uid` is the socket's own.
`service` is the remote end of a connection that was made here, the local port of one that was
accepted; - where nothing tells which it was.
-p, --comm and --cgroup select sockets whose process is known. Where a line is too short, groups are
shown without some of the states, and long names by their end.

Examples:
  tcpwait states                         what netstat -ant | awk '{n[$6]++} ...' was for
  tcpwait states 1                       every second
  tcpwait states --by process            who holds how many
  tcpwait states --by peer,port --state TIME_WAIT
  tcpwait states -D 5432 --by netns      connections to PostgreSQL, by network namespace
  tcpwait states --older-than 5m --state CLOSE_WAIT --by process
                                         who does not close
  tcpwait states --comm '!nginx'         all but nginx's
  tcpwait states --json 10 6             a minute for a program; the keys are in docs/output.md";

/// `tcpwait states`.
#[derive(Debug, Args)]
pub struct StatesArgs {
    /// Seconds between two reports; without it, one report
    #[arg(value_parser = seconds)]
    pub interval: Option<std::time::Duration>,
    /// Stop after so many reports
    #[arg(value_parser = count)]
    pub count: Option<u64>,

    /// Groups too, by one or several of: service (the end that is listened on), process, pid, remote (or peer), remote-port,
    /// local-port (or port), pair (remote address and port), uid, cgroup, netns
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub by: Vec<GroupBy>,
    /// Only sockets that have been in their state longer, as 90s, 5m or 1h30m, as far as that is told: of which it is not is said on
    /// stderr
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub older_than: Option<std::time::Duration>,
    /// The most groups to list; the rest is one row, "other"
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = up_to::<{ u32::MAX }>, requires = "by")]
    pub top: u32,

    /// Lines as long as they need to be, whatever the terminal's width
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// One JSON document a report, each on a line
    #[arg(long)]
    pub json: bool,

    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
}
