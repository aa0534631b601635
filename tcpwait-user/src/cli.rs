//! The command line: what can be asked for. The doc comments are the manual that `--help` prints.

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
    doctor::DoctorArgs,
    ports::PortsArgs,
    tracing::{PortsBy, TimingBy, Tracing, choices},
};

/// See what TCP connections really do, above all in TIME_WAIT: who put them there, how long they stay, what ends them.
#[derive(Debug, Parser)]
#[command(name = "tcpwait", version, max_term_width = 100)]
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
    /// Report how many sockets are in which state, how long they stay, who put them into TIME_WAIT and what ends them.
    #[command(after_help = STAT_HELP)]
    Stat(StatArgs),
    /// Print every TCP state transition as it happens, until Ctrl-C.
    #[command(after_help = TRACE_HELP)]
    Trace(TraceArgs),
    /// Count sockets by state, here and now: no tracing, and no root for the own network namespace.
    #[command(after_help = states::HELP, mut_arg("state", |state| state.help("Sockets in this state now, as TIME_WAIT")))]
    States(states::StatesArgs),
    /// Show how many local ports are in use towards each destination, when they run out, and what would help.
    #[command(after_help = ports::HELP)]
    Ports(PortsArgs),
    /// Write everything the kernel says to a file, for `--from FILE` later.
    Record(RecordArgs),
    /// Say what the kernel's settings and counters mean here, what is worth changing, and at what risk.
    #[command(after_help = doctor::HELP)]
    Doctor(DoctorArgs),
    /// Show which hooks this kernel gives, and what is not known without those it does not.
    Probes(ProbesArgs),
}

const STAT_HELP: &str = "\
Without INTERVAL there is one report, at Ctrl-C, after --duration, or when COMMAND ends; with it one more, on the whole time, at the end.
ENTERED and LEFT are counts of the interval, NOW is at its end; P50 P90 P99 MAX MEAN are times spent in a state by sockets that left it.
OLDEST and AGE P50: how long those that are there NOW have been in it; > is at least, where any is older than the trace.
CLOSED FIRST: whoever closes first enters TIME_WAIT. ENDED BY: the most frequent reason, as in `tcpwait trace --help`.
>= marks a count of what was seen while some events were lost and the kernel side has no count of its own; the others are exact all the same.
A group that is not shown by itself is counted under \"other\". At most 1,000 groups are kept; the least go to \"other\" then.
Where a line is too short, columns are left out: of groups LEFT, MAX, P50, IN/s, ENDED BY, CLOSED FIRST, %, NOW, ENTERED;
of states AGE P50, /s, MEAN, P90, P99, MAX, LEFT, ENTERED, OLDEST, P50. If the terminal has too few lines, reports on intervals leave out the histogram,
what is said of it, the account, the states and FAILED; the last report leaves out nothing.
FAILED: calls that came to nothing, as in `tcpwait trace`. SYN SENT AGAIN TO: connects whose SYN was lost, and how long those that were
made all the same took. Below SYN_RECV: what became of connections in SYN_RECV.

Examples:
  tcpwait                                a report every second: tcpwait stat 1
  tcpwait stat 10 6                      a minute in six reports
  tcpwait stat --duration 60 --json      a minute for a program to read
  tcpwait stat --by remote,process       who talks to whom
  tcpwait stat -- curl -s http://x/      what a command and its children did; exits as the command does
  tcpwait stat --from FILE 10            from a recording, every 10 s of it";

const TRACE_HELP: &str = "\
A filter selects connections, not single lines: a line that comes before the port or the owner is known waits until it is.
With a ! before its list it selects all others; whose owner is never known is among them, and is shown when it ends.
--reason and --longer-than select lines of those connections.
MS is the time spent in OLDSTATE; ~ marks a time right to a jiffy, > one that was longer (older than the trace), - one that is not known.
REASON says why a connection ended, on its step to CLOSE: closed (the last ACK came), reset (the peer's RST), reset-sent (this side's, and why in
brackets), timed-out (and by which timer), listener-closed (before anybody accepted it), destroyed (ss -K), unreachable (ICMP), netns, repair
(TCP_REPAIR), failed (connect or listen took it back), unknown.
TIME_WAIT, and an orphan's FIN_WAIT2: expired, reused-by-connect, reused-by-syn, reset, reset-sent, destroyed, netns, unknown;
or overflow: it never began, tcp_max_tw_buckets was reached.
For a connection in SYN_RECV that came to nothing: timeout, accept-queue-full, no-data (TCP_DEFER_ACCEPT waited for some), reset,
listener-closed, unreachable (ICMP), destroyed, netns, unknown. A connection that is not accepted yet shows its listener's process.
connect-failed, bind-failed and listen-failed are lines of their own, with the errno and why, and who holds the port. A socket that tries
one port after the other (bindresvport) has one line.

Examples:
  tcpwait trace                          everything
  tcpwait trace --state TIME_WAIT -T     TIME_WAIT only, with the time of day
  tcpwait trace -D 5432,6379             connections to PostgreSQL and Redis
  tcpwait trace --state SYN_RECV         connections in SYN_RECV: how long, and what became of them
  tcpwait trace --comm nginx --json      what nginx owns, for a program
  tcpwait trace --comm '!nginx' -L '!22' what others own, but ssh's connections
  tcpwait trace --reason reset,timed-out what was reset or timed out
  tcpwait trace --state SYN_SENT --longer-than 500ms
                                         connects that took so long
  tcpwait trace --from FILE              the same from a recording";

/// `tcpwait trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
    /// Only lines with one of these reasons, as reset,timed-out: of the column REASON, or why a call failed; a wrong one names them all. With a !
    /// before the list, all other lines
    #[arg(long, value_name = "REASONS", value_parser = list::reasons, help_heading = "Which lines of them")]
    pub reason: Vec<Pick<Word>>,
    /// Only lines whose OLDSTATE lasted longer, as 500ms, 90s or 5m, for certain: of what is older than the trace, as far as that is told
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Which lines of them")]
    pub longer_than: Option<std::time::Duration>,

    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,

    /// Read a recording instead of the running kernel; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,

    /// Time column: seconds since the start
    #[arg(short = 't', conflicts_with = "json")]
    pub relative_time: bool,
    /// Time column: time of day
    #[arg(short = 'T', conflicts_with = "json")]
    pub time_of_day: bool,
    /// Wide: whole addresses and names, and the columns NETNS, UID, RETRANS (segments sent again so far) and CGROUP
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    /// The kernel's own events instead of transitions, with nothing folded
    #[arg(long, conflicts_with_all = ["relative_time", "time_of_day", "wide", "pid", "comm", "cgroup", "state", "reason", "longer_than"])]
    pub raw: bool,

    /// Exit with 3 if anything was lost, or FILE was cut short or is damaged
    #[arg(long)]
    pub fail_on_loss: bool,
}

/// `tcpwait stat`.
#[derive(Debug, Args)]
pub struct StatArgs {
    /// Seconds between two reports; without it, one report at the end
    #[arg(value_parser = seconds)]
    pub interval: Option<std::time::Duration>,
    /// Stop after so many reports
    #[arg(value_parser = count, conflicts_with = "duration")]
    pub count: Option<u64>,
    /// Run this, report on the connections of it and its children, and exit as it does
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["from", "duration", "cgroup"])]
    pub command: Vec<OsString>,

    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,

    /// Read a recording instead of the running kernel; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,

    /// What to group by, one or several of: service (the end that was listened on), process, pid, remote, remote-port,
    /// local-port, pair (remote address and port), uid, cgroup, netns
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "service,process")]
    pub by: Vec<GroupBy>,
    /// What the groups are sorted by, greatest first
    #[arg(long, value_enum, default_value_t)]
    pub sort: SortBy,
    /// The most groups to list; the rest is one row, "other"
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = up_to::<1000>)]
    pub top: u32,

    /// Do not fit lines to the terminal's width
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// One JSON document a report, each on a line
    #[arg(long)]
    pub json: bool,
    /// Write the reports to this file; standard output is COMMAND's own then
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Exit with 3 if anything was lost, FILE was cut short or is damaged, or the kernel's own counters differ without explanation
    #[arg(long)]
    pub fail_on_loss: bool,
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
    /// The file to write, for root alone to read; - is standard output
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: PathBuf,
    /// Only these network namespaces, or with a ! before the list all others: a PID, a path, a name under /run/netns or an inode
    #[arg(long, value_name = "NETNS", value_parser = list::texts)]
    pub netns: Vec<Pick<String>>,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,
    /// Exit with 3 if anything was lost
    #[arg(long)]
    pub fail_on_loss: bool,
}

/// `tcpwait probes`.
#[derive(Debug, Args)]
pub struct ProbesArgs {
    /// One JSON object instead of text: "kernel", "hooks" (an array), "behaviour"
    #[arg(long)]
    pub json: bool,
    /// Hook that timestamps late segments, as for trace
    #[arg(long, value_enum, default_value_t)]
    pub timing: TimingBy,
    /// Hook that reports calls that fail, as for trace
    #[arg(long, value_enum, default_value_t)]
    pub refused_ports: PortsBy,
    /// Say more on stderr: the verifier's log of a hook that it refused
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// Which connections.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which connections (a ! before a list: all others)")]
pub struct Filter {
    /// Local ports, as 80,443 or 1024-2048
    #[arg(short = 'L', long = "lport", value_name = "PORTS", value_parser = list::ports)]
    pub lport: Vec<Pick<RangeInclusive<u16>>>,
    /// Remote ports
    #[arg(short = 'D', long = "rport", value_name = "PORTS", value_parser = list::ports)]
    pub rport: Vec<Pick<RangeInclusive<u16>>>,
    /// Local address or network, as 10.0.0.1 or 10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_parser = list::networks)]
    pub laddr: Vec<Pick<IpNet>>,
    /// Remote address or network
    #[arg(long, value_name = "CIDR", value_parser = list::networks)]
    pub raddr: Vec<Pick<IpNet>>,
    /// Owner's process id
    #[arg(short = 'p', long, value_name = "PID", value_parser = list::pids)]
    pub pid: Vec<Pick<u32>>,
    /// Owner's name, whole: its main thread's, as `ps -o comm` prints it, not the executable's
    #[arg(long, value_name = "NAME", value_parser = list::texts)]
    pub comm: Vec<Pick<String>>,
    /// Owner's cgroup, and those below it: its path below the cgroup-v2 mount
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
    /// Connections from the moment they enter a state, as TIME_WAIT, time-wait or FIN-WAIT-2
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
