//! The command line: what can be asked for. The doc comments are the manual that `--help` prints.

mod doctor;
pub mod states;
mod ports;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::{
    aggregate::{by::By, groups::Sort},
    kernel::{Choice, Choices},
    tcp::State,
};

pub use self::{doctor::Doctor, ports::Ports};

/// See what TCP connections really do, above all in TIME_WAIT: who put them there, how long they stay, what ends them.
#[derive(Debug, Parser)]
#[command(name = "tcpwait", version, max_term_width = 100)]
pub struct Cli {
    /// What to do; `tcpwait` alone is `tcpwait stat 1`.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the program's arguments, and ends it where they are wrong. `tcpwait` alone is `tcpwait stat 1`.
    pub fn from_arguments() -> Self {
        let mut arguments: Vec<_> = std::env::args_os().collect();
        if arguments.len() < 2 {
            arguments = ["tcpwait", "stat", "1"].map(Into::into).to_vec();
        }
        Self::parse_from(arguments)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Report how many sockets are in which state, how long they stay, who put them into TIME_WAIT and what ends them.
    #[command(after_help = STAT_HELP)]
    Stat(Stat),
    /// Print every TCP state transition as it happens, until Ctrl-C.
    #[command(after_help = TRACE_HELP)]
    Trace(Trace),
    /// Count sockets by state, here and now: no tracing, and no root for the own network namespace.
    #[command(after_help = states::HELP, mut_arg("state", |state| state.help("Sockets in this state now, as TIME_WAIT")))]
    States(states::States),
    /// Show how many local ports are in use towards each destination, when they run out, and what would help.
    #[command(after_help = ports::HELP)]
    Ports(Ports),
    /// Write everything the kernel says to a file, for `--from FILE` later.
    Record(Record),
    /// Say what the kernel's settings and counters mean here, what is worth changing, and at what risk.
    #[command(after_help = doctor::HELP)]
    Doctor(Doctor),
    /// Show which hooks this kernel gives, and what is not known without those it does not.
    Probes(Probes),
}

const STAT_HELP: &str = "\
Without INTERVAL there is one report, at Ctrl-C, after --duration, or when COMMAND ends; with it one more, on the whole time, at the end.
ENTERED and LEFT are counts of the interval, NOW is at its end; P50 P90 P99 MAX MEAN are times spent in a state by sockets that left it.
CLOSED FIRST: who closed first keeps TIME_WAIT. ENDED BY: the most frequent reason, as in `tcpwait trace --help`.
A group that is not shown by itself is counted under \"other\". At most 1,000 groups are kept; the least go to \"other\" then.
Where a line is too short, columns are left out: of groups LEFT, MAX, P50, IN/s, ENDED BY, CLOSED FIRST, %, NOW, ENTERED;
of states /s, MEAN, P90, P99, MAX, LEFT, ENTERED, P50. Where the terminal is too low, reports on intervals leave out the histogram,
what is said of it, the account, the states and FAILED; the last report leaves out nothing.
FAILED: calls that came to nothing, as in `tcpwait trace`. Below SYN_RECV: what became of half-open connections.

Examples:
  tcpwait                                a report every second: tcpwait stat 1
  tcpwait stat 10 6                      a minute in six reports
  tcpwait stat --duration 60 --json      a minute for a program to read
  tcpwait stat --by remote,process       who talks to whom
  tcpwait stat -- curl -s http://x/      what a command and its children did; exits as the command does
  tcpwait stat --from FILE 10            from a recording, every 10 s of it";

const TRACE_HELP: &str = "\
A filter selects connections, not single lines: a line that comes before the port or the owner is known waits until it is.
MS is the time spent in OLDSTATE; ~ marks a time right to a jiffy, - one that is not known.
REASON says why a connection ended, on its step to CLOSE: closed (the last ACK came), reset (the peer's RST), reset-sent (this side's, and why in
brackets), timed-out (and by which timer), listener-closed (before anybody accepted it), destroyed (ss -K), unreachable (ICMP), netns, repair
(TCP_REPAIR), failed (connect or listen took it back), unknown.
TIME_WAIT, and an orphan's FIN_WAIT2: expired, reused (by a connect), recycled (by a SYN), reset, reset-sent, destroyed, netns, unknown;
or overflow: it never began, tcp_max_tw_buckets was reached.
For a half-open connection (SYN_RECV) that came to nothing: timeout, accept-queue-full, no-data (TCP_DEFER_ACCEPT waited for some), reset,
listener-closed, unreachable (ICMP), destroyed, netns, unknown. A connection that is not accepted yet shows its listener's process.
connect-failed, bind-failed and listen-failed are lines of their own, with the errno and why, and who holds the port. A socket that tries
one port after the other (bindresvport) has one line.

Examples:
  tcpwait trace                          everything
  tcpwait trace --state TIME_WAIT -T     TIME_WAIT only, with the time of day
  tcpwait trace -D 5432,6379             connections to PostgreSQL and Redis
  tcpwait trace --state SYN_RECV         half-open connections: how long, and what became of them
  tcpwait trace --comm nginx --json      what nginx owns, for a program
  tcpwait trace --from FILE              the same from a recording";

/// `tcpwait trace`.
#[derive(Debug, Args)]
pub struct Trace {
    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,

    /// Read a recording instead of the running kernel
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,

    /// Time column: seconds since the start
    #[arg(short = 't', conflicts_with = "json")]
    pub relative_time: bool,
    /// Time column: time of day
    #[arg(short = 'T', conflicts_with = "json")]
    pub time_of_day: bool,
    /// Wide: whole addresses and names, and the columns NETNS, UID and CGROUP
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    /// The kernel's own events instead of transitions, with nothing folded
    #[arg(long, conflicts_with_all = ["relative_time", "time_of_day", "wide", "pid", "comm", "cgroup", "state"])]
    pub raw: bool,

    /// Exit with 3 if anything was lost
    #[arg(long)]
    pub fail_on_loss: bool,
}

/// `tcpwait stat`.
#[derive(Debug, Args)]
pub struct Stat {
    /// Seconds between two reports; without it, one report at the end
    #[arg(value_parser = seconds)]
    pub interval: Option<std::time::Duration>,
    /// Stop after so many reports
    #[arg(value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "duration")]
    pub count: Option<u64>,
    /// Run this, report on the connections of it and its children, and exit as it does
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["from", "duration", "cgroup"])]
    pub command: Vec<std::ffi::OsString>,

    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,

    /// Read a recording instead of the running kernel
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,

    /// What to group by, one or several of: service (the end that was listened on), process, pid, remote, remote-port,
    /// local-port, pair (remote address and port), uid, cgroup, netns
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "service,process")]
    pub by: Vec<By>,
    /// What the groups are sorted by, greatest first
    #[arg(long, value_enum, default_value_t)]
    pub sort: SortBy,
    /// How many groups are shown by themselves
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub top: u32,

    /// Lines as long as they need to be, whatever the terminal's width
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// One JSON document a report, each on a line
    #[arg(long)]
    pub json: bool,
    /// Exit with 3 if anything was lost, or the kernel's own counters differ and nothing says why
    #[arg(long)]
    pub fail_on_loss: bool,
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
pub struct Record {
    /// The file to write
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: PathBuf,
    /// Only these network namespaces: a PID, a path, a name under /run/netns or an inode
    #[arg(long, value_name = "NETNS", value_delimiter = ',')]
    pub netns: Vec<String>,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,
    /// Exit with 3 if anything was lost
    #[arg(long)]
    pub fail_on_loss: bool,
}

/// `tcpwait probes`.
#[derive(Debug, Args)]
pub struct Probes {
    /// One JSON object instead of text: "kernel", "hooks" (an array), "behaviour"
    #[arg(long)]
    pub json: bool,
    /// What times late segments, as for trace
    #[arg(long, value_enum, default_value_t)]
    pub timing: TimingBy,
    /// What tells of calls that fail, as for trace
    #[arg(long, value_enum, default_value_t)]
    pub refused_ports: PortsBy,
    /// Say more on stderr: the verifier's log of a hook that it refused
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// Which connections.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which connections")]
pub struct Filter {
    /// Local port(s)
    #[arg(short = 'L', long = "lport", value_name = "PORTS", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub lport: Vec<u16>,
    /// Remote port(s)
    #[arg(short = 'D', long = "rport", value_name = "PORTS", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub rport: Vec<u16>,
    /// Local address or network, as 10.0.0.1 or 10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub laddr: Vec<IpNet>,
    /// Remote address or network
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub raddr: Vec<IpNet>,
    /// Owner's process id
    #[arg(short = 'p', long, value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,
    /// Owner's name, whole: its main thread's, as `ps -o comm` prints it, not the executable's
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub comm: Vec<String>,
    /// Owner's cgroup, and those below it: its path below the cgroup-v2 mount
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub cgroup: Vec<String>,
    /// Network namespace: a PID, a path, a name under /run/netns or an inode
    #[arg(long, value_name = "NETNS", value_delimiter = ',')]
    pub netns: Vec<String>,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    pub ipv6: bool,
    /// Connections from the moment they enter a state, as TIME_WAIT, time-wait or FIN-WAIT-2
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<State>,
}

/// How the tracing is done.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub struct Tracing {
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<std::time::Duration>,
    /// Size of the ring buffer in MiB, a power of two
    #[arg(long, value_name = "MIB", default_value = "16", value_parser = mebibytes)]
    pub ring_buffer: u32,
    /// What times the FIN that ends an orphan's FIN_WAIT2 and the segments that restart TIME_WAIT's clock
    #[arg(long, value_enum, default_value_t)]
    pub timing: TimingBy,
    /// What tells of bind(), listen() and connect() that fail before anything is sent
    #[arg(long, value_enum, default_value_t)]
    pub refused_ports: PortsBy,
    /// Say more on stderr: kernel-side diagnostics, the verifier's log
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// What times late segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TimingBy {
    /// the best that this kernel gives
    #[default]
    Auto,
    /// fexit on tcp_timewait_state_process
    Fexit,
    /// the tracepoint skb:kfree_skb, where it carries rx_sk
    #[value(name = "kfree_skb")]
    KfreeSkb,
    /// the timer alone: right to a jiffy, and known late
    Timer,
}

/// What tells of refused ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PortsBy {
    /// the best that this kernel gives
    #[default]
    Auto,
    /// fexit on inet_csk_get_port, which costs nothing else
    Fexit,
    /// the tracepoint raw_syscalls:sys_exit, which costs a little at every system call of the machine
    #[value(name = "sys_exit")]
    SysExit,
    /// nothing
    Off,
}

/// The hooks that are to be taken of those that do the same work.
pub fn choices(timing: TimingBy, ports: PortsBy) -> Choices {
    Choices {
        segments: match timing {
            TimingBy::Auto => Choice::Best,
            TimingBy::Fexit => Choice::Hook("tcp_timewait_state_process"),
            TimingBy::KfreeSkb => Choice::Hook("kfree_skb"),
            TimingBy::Timer => Choice::None,
        },
        ports: match ports {
            PortsBy::Auto => Choice::Best,
            PortsBy::Fexit => Choice::Hook("inet_csk_get_port"),
            PortsBy::SysExit => Choice::Hook("sys_exit"),
            PortsBy::Off => Choice::None,
        },
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "want an address or a network, as 10.0.0.1, 10.0.0.0/8 or fd00::/8".to_owned())
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "want a number of seconds".to_owned())?;
    match std::time::Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("want a number of seconds above 0".to_owned()),
    }
}

/// Gives bytes.
fn mebibytes(text: &str) -> Result<u32, String> {
    let mib: u32 = text.parse().map_err(|_| "want a number of MiB".to_owned())?;
    if mib.is_power_of_two() && mib <= 1024 {
        Ok(mib << 20)
    } else {
        Err("want a power of two from 1 to 1024".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
