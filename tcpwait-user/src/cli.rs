//! The command line: what can be asked for. The doc comments are the manual that `--help` prints.

mod color;
mod doctor;
pub mod list;
mod ports;
pub mod states;
mod tracing;
mod values;

use std::{ffi::OsString, ops::RangeInclusive, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::{
    aggregate::{by::GroupBy, groups::Sort},
    output::{self, say},
    plain,
    select::{Pick, steps::Word},
    tcp::State,
};

use self::values::{count, seconds, time, up_to};
pub use self::{
    color::Color,
    doctor::DoctorArgs,
    ports::PortsArgs,
    tracing::{PortsBy, TimingBy, Tracing, choices},
};

/// Trace TCP connection states, above all TIME_WAIT: which process owns each TIME_WAIT, how long it lasts, and what ends it.
#[derive(Debug, Parser)]
#[command(name = "tcpwait", version, max_term_width = 80)]
pub struct Cli {
    /// What to do; without it, `tcpwait` is `tcpwait stat 1`, `tcpwait 5` is `tcpwait stat 5`, `tcpwait -L 80` is `tcpwait stat 1 -L 80`.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the program's arguments, and ends it where they are wrong.
    pub fn from_arguments() -> Self {
        let (arguments, implied) = with_verb(std::env::args_os().collect());
        let mut cli = Self::try_parse_from(&arguments).unwrap_or_else(|error| Self::refuse(&arguments, &error));
        if let (Command::Stat(stat), true) = (&mut cli.command, implied) {
            stat.report_again_and_again();
        }
        cli
    }

    /// What is wrong is quoted; so it is said of arguments that can be shown.
    fn refuse(arguments: &[OsString], error: &clap::Error) -> ! {
        let shown = arguments.iter().map(|argument| plain::escaped(&argument.to_string_lossy()));
        match Self::try_parse_from(shown) {
            Err(shown) if shown.kind() == error.kind() => shown.exit(),
            _ if error.use_stderr() => {
                error.to_string().lines().for_each(|line| say!("{line}"));
                output::end();
                std::process::exit(error.exit_code())
            }
            _ => error.exit(),
        }
    }
}

/// Without a verb it is `tcpwait stat`: of nothing at all, of a number, of an option that is not the program's own. Whether it was without.
fn with_verb(mut arguments: Vec<OsString>) -> (Vec<OsString>, bool) {
    const OWN: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let implied = match arguments.get(1).map(|first| first.to_string_lossy()) {
        None => true,
        Some(first) => {
            (first.starts_with('-') && !OWN.contains(&&*first)) || first.starts_with(|c: char| c.is_ascii_digit())
        }
    };
    if implied {
        arguments.resize(arguments.len().max(1), OsString::from("tcpwait"));
        arguments.insert(1, OsString::from("stat"));
    }
    (arguments, implied)
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Report what is wrong, then sockets by state: how many, for how long, whose TIME_WAITs they are and what ends them.
    #[command(after_help = STAT_HELP)]
    Stat(StatArgs),
    /// Print every TCP state transition as it happens, until Ctrl-C.
    #[command(after_help = TRACE_HELP)]
    Trace(TraceArgs),
    /// Count sockets by state now, without tracing; root is only needed for other network namespaces.
    #[command(after_help = states::HELP, mut_arg("state", |state| state.help("Sockets in this state now, e.g. TIME_WAIT")))]
    States(states::StatesArgs),
    /// Show local ports in use for each destination, when they run out, and what helps.
    #[command(after_help = ports::HELP)]
    Ports(PortsArgs),
    /// Explain the kernel's TCP settings and counters: what to change here, and at what risk.
    #[command(after_help = doctor::HELP)]
    Doctor(DoctorArgs),
    /// Write all kernel events to a file, for `--from FILE` later.
    Record(RecordArgs),
    /// Show which hooks this kernel has, and what is unknown without those it does not have.
    Probes(ProbesArgs),
}

const STAT_HELP: &str = "\
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

>= is at least: events were lost, and no count of the BPF programs replaces
them. ENTERED and LEFT of states without >= are exact, after a loss too. Times,
reasons and owners leave lost events out, and NOW may be more or less than shown
until the sockets have been listed again: the report says so. At most 1,000
groups are counted one by one; the smallest beyond that are in the row \"other\".

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
  tcpwait stat --from FILE 10            from a recording, every 10 s of it";

const TRACE_HELP: &str = "\
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

Examples:
  tcpwait trace                          everything
  tcpwait trace --state TIME_WAIT -T     TIME_WAIT only, with the time of day
  tcpwait trace -D 5432,6379             connections to PostgreSQL and Redis
  tcpwait trace --reason reset,timed-out what was reset or timed out
  tcpwait trace --state SYN_SENT --longer-than 500ms
                                         connects that took longer
  tcpwait trace --state SYN_RECV         connections in SYN_RECV
  tcpwait trace --comm '!nginx' -L '!22' all but nginx's and ssh's
  tcpwait trace --comm nginx --json      nginx's, for a program to read
  tcpwait trace --from FILE              from a recording";

/// `tcpwait trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Time column: time of day
    #[arg(short = 'T', conflicts_with = "json")]
    pub time_of_day: bool,
    /// Time column: seconds since the start
    #[arg(short = 't', conflicts_with = "json")]
    pub relative_time: bool,
    /// Full addresses and names, and the columns NETNS, UID, RETRANS (segments retransmitted so far) and CGROUP
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// JSON: one object per line
    #[arg(long)]
    pub json: bool,
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
    #[arg(long, conflicts_with_all = ["relative_time", "time_of_day", "wide", "pid", "comm", "cgroup", "state", "reason", "longer_than"])]
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
    /// cgroup, netns
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
}

impl StatArgs {
    /// A report a second, unless something else says when there is one.
    fn report_again_and_again(&mut self) {
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

/// `tcpwait record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// File to write, readable by root only; - is standard output
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: PathBuf,
    /// Only these network namespaces, each a PID, a path, a name under /run/netns or an inode; all others with a ! before the list
    #[arg(long, value_name = "NETNS", value_parser = list::texts)]
    pub netns: Vec<Pick<String>>,
    /// Exit with code 3 if events were lost
    #[arg(long)]
    pub fail_on_loss: bool,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,
}

/// `tcpwait probes`.
#[derive(Debug, Args)]
pub struct ProbesArgs {
    /// JSON: one object with "kernel", "hooks" (an array), "behaviour"
    #[arg(long)]
    pub json: bool,
    /// Hook that timestamps late segments, as in trace
    #[arg(long, value_enum, default_value_t)]
    pub timing: TimingBy,
    /// Hook that reports failed calls, as in trace
    #[arg(long, value_enum, default_value_t)]
    pub refused_ports: PortsBy,
    /// Verbose diagnostics on stderr: the verifier's log of a hook that it refused
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// Which connections.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which connections (a ! before a list: all others)")]
pub struct Filter {
    /// Local ports, e.g. 80,443 or 1024-2048
    #[arg(short = 'L', long = "lport", value_name = "PORTS", value_parser = list::ports)]
    pub lport: Vec<Pick<RangeInclusive<u16>>>,
    /// Remote ports
    #[arg(short = 'D', long = "rport", value_name = "PORTS", value_parser = list::ports)]
    pub rport: Vec<Pick<RangeInclusive<u16>>>,
    /// Local address or network, e.g. 10.0.0.1 or 10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_parser = list::networks)]
    pub laddr: Vec<Pick<IpNet>>,
    /// Remote address or network
    #[arg(long, value_name = "CIDR", value_parser = list::networks)]
    pub raddr: Vec<Pick<IpNet>>,
    /// PID of the owner
    #[arg(short = 'p', long, value_name = "PID", value_parser = list::pids)]
    pub pid: Vec<Pick<u32>>,
    /// Process name of the owner, exactly as `ps -o comm` prints it (that of the main thread, not of the executable)
    #[arg(long, value_name = "NAME", value_parser = list::texts)]
    pub comm: Vec<Pick<String>>,
    /// Cgroup of the owner, or one above it: its path below the cgroup-v2 mount
    #[arg(long, value_name = "PATH", value_parser = list::texts)]
    pub cgroup: Vec<Pick<String>>,
    /// Network namespace: a PID, a path, a name under /run/netns or an inode
    #[arg(long, value_name = "NETNS", value_parser = list::texts)]
    pub netns: Vec<Pick<String>>,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    pub ipv6: bool,
    /// Connections from the moment they enter this state, e.g. TIME_WAIT, time-wait or FIN-WAIT-2
    #[arg(long, value_name = "STATE", value_parser = list::states)]
    pub state: Vec<Pick<State>>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn without_a_verb_it_is_stat() {
        let verb = |arguments: &[&str]| {
            let (arguments, implied) = super::with_verb(arguments.iter().map(Into::into).collect());
            let text: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
            assert_eq!(implied, text.get(1).is_some_and(|verb| verb == "stat"), "{text:?}");
            text.join(" ")
        };
        assert_eq!(verb(&["t"]), "t stat");
        assert_eq!(verb(&[]), "tcpwait stat");
        assert_eq!(verb(&["t", "5", "3"]), "t stat 5 3");
        assert_eq!(verb(&["t", "-L", "80"]), "t stat -L 80");
        assert_eq!(verb(&["t", "--", "true"]), "t stat -- true");
        for own in ["--help", "-V", "trace", "stats", "help"] {
            assert_eq!(verb(&["t", own]), format!("t {own}"));
        }
    }
}
