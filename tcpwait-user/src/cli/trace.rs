//! The command line of `tcpwait trace`.

use std::path::PathBuf;

use clap::Args;

use super::{color::Color, filter::Filter, format::OutputFormat, list, tracing::Tracing, values::time};
use crate::select::{Pick, steps::Word};

pub(super) const HELP: &str = "\
A filter selects whole connections: their earlier lines wait until the port or
the owner is known. ! inverts the list. Connections whose owner stays unknown
are included, and printed at their end. --reason and --longer-than select lines
of those connections.

MS is the time spent in OLDSTATE:
  ~  precise to a jiffy
  >  at least: the connection was in it before tcpwait started
  -  unknown

REASON on the step to CLOSE says why the connection ended:
  closed           the last ACK arrived
  reset            the peer sent an RST
  reset-sent       this side sent an RST, and why
  timed-out        a timer gave up, and which one
  listener-closed  the listener was closed before the connection was accepted
  destroyed        ss -K
  unreachable      an ICMP error
  netns            its network namespace ended
  repair           TCP_REPAIR
  failed           connect() or listen() failed, and the socket went back to
                   CLOSE
  unknown          the reason could not be determined
REASON on the end of TIME_WAIT, and of an orphan's FIN_WAIT2:
  expired, reused-by-connect, reused-by-syn, reset, reset-sent,
  destroyed, netns, unknown, and overflow: TIME_WAIT was not entered, because
  tcp_max_tw_buckets was reached
REASON on the end of a connection in SYN_RECV:
  timeout, accept-queue-full, no-data (TCP_DEFER_ACCEPT waited for data),
  reset, listener-closed, unreachable, destroyed, netns, unknown
A connection that is not accepted yet shows the process of its listener.

connect-failed, bind-failed and listen-failed are lines of their own, with the
errno, the cause, and which process has the port. A socket that tries one port
after the other (bindresvport) has one line.

--csv has the keys of --json as columns, those of an object in it with a dot, as
by.comm. The column event says what a row is: transition, connect-failed,
bind-failed, listen-failed, or recording-damaged. Columns that end in _ns are
nanoseconds, an empty cell is unknown.

Examples:
  tcpwait trace                          everything
  tcpwait trace --state TIME_WAIT -T     TIME_WAIT only, with the time of day
  tcpwait trace -D 5432,6379             connections to PostgreSQL and Redis
  tcpwait trace --reason reset,timed-out
                                         what was reset or timed out
  tcpwait trace --state SYN_SENT --longer-than 500ms
                                         connects that took longer
  tcpwait trace --state SYN_RECV         connections in SYN_RECV
  tcpwait trace --comm '!nginx' -L '!22'
                                         all but nginx's and ssh's
  tcpwait trace --comm nginx --json      nginx's, for a program to read
  tcpwait trace --csv > trace.csv        for a spreadsheet
  tcpwait trace --reason reset,timed-out --journal
                                         the same to the journal, where it is:
                                         journalctl -f SYSLOG_IDENTIFIER=tcpwait
  tcpwait trace --from FILE              from a recording
  tcpwait trace --from FILE --perfetto OUT
                                         a recording on a time axis: open OUT
                                         in https://ui.perfetto.dev

--journal: journald drops what comes faster than RateLimitBurst allows (10,000
lines in 30 s, several times that on a large disk), and tells in the journal:
journalctl MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e. Filters make fewer
lines; systemd-run -p LogRateLimitIntervalSec=0 lifts the limit for tcpwait.";

/// `tcpwait trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Time column: time of day
    #[arg(short = 'T', conflicts_with = "json")]
    pub time_of_day: bool,
    /// Time column: seconds since the start
    #[arg(short = 't', conflicts_with = "json")]
    pub relative_time: bool,
    /// Full addresses and names, and the columns NETNS, UID, RETRANS (segments retransmitted so far), CGROUP and POD
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// JSON: one object per line
    #[arg(long)]
    pub json: bool,
    /// Comma-separated values: a header, then a row per line; the columns are in docs/output.md
    #[arg(long, conflicts_with_all = ["json", "raw", "relative_time", "time_of_day", "wide"])]
    pub csv: bool,
    /// To the journal of systemd instead of stdout: each line is an entry, with fields (docs/output.md)
    #[arg(long, conflicts_with_all = ["json", "csv", "raw", "color"])]
    pub journal: bool,
    /// Write a recording as a trace for ui.perfetto.dev to this file (- is standard output): processes, their connections, states as slices
    #[arg(long, value_name = "OUT", requires = "from", conflicts_with_all = ["json", "csv", "raw", "journal", "color", "wide", "relative_time", "time_of_day", "reason", "longer_than"])]
    pub perfetto: Option<PathBuf>,
    /// Read a recording instead of the running kernel; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,
    /// Colour lines that say what is wrong: auto, always or never; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    pub color: Color,
    /// Exit with code 3 if events were lost, or FILE is cut short or damaged
    #[arg(long)]
    pub fail_on_loss: bool,
    /// The kernel's events as they are, instead of state transitions
    #[arg(long, conflicts_with_all = ["relative_time", "time_of_day", "wide", "pid", "comm", "cgroup", "pod", "state", "reason", "longer_than"])]
    pub raw: bool,

    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
    /// Only lines with these reasons, e.g. reset,timed-out: of the column REASON, or why a call failed; all other lines with a ! before the list.
    /// A wrong reason lists them all
    #[arg(long, value_name = "REASONS", value_parser = list::reasons, help_heading = "Which lines of these connections")]
    pub reason: Vec<Pick<Word>>,
    /// Only lines with more time in OLDSTATE than this, e.g. 500ms, 90s or 5m; of connections from before tcpwait started, those known to be longer
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Which lines of these connections")]
    pub longer_than: Option<std::time::Duration>,

    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,
}

impl TraceArgs {
    /// What lines are written as.
    pub fn format(&self) -> OutputFormat {
        OutputFormat::of(self.json, self.csv)
    }
}
