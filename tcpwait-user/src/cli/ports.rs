//! The command line of `tcpwait ports`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use ipnet::IpNet;

use super::{
    color::Color,
    filter::Filter,
    list,
    tracing::Tracing,
    values::{count, seconds, up_to},
};
use crate::select::Pick;

/// What `tcpwait ports --help` ends with.
pub const HELP: &str = "\
Without INTERVAL the kernel's list of sockets (sock_diag) is read once: ports in
use, of how many. With INTERVAL or --duration, tracing (which needs root) adds
rates, forecasts, failures, and the processes that left ports in TIME_WAIT.

  USED        ports in use from one source address to one destination
  OF          ports that connect() may take: ip_local_port_range without
              ip_local_reserved_ports and without ports of listeners, now or
              before
  %           share of OF that connect() cannot take now
  REUSE       TIME_WAITs that connect() may take now, by tcp_tw_reuse,
              tcp_tw_reuse_delay and timestamps; 3+2? is 3 known, 2 uncertain
  IN/s        new connections a second, over the last 10 to 30 s or since the
              first of them
  HELD        how long a port was in use, of ports that became free
  FORECAST    at the present rate
  FAILED      connect() calls that found no port
  PROCESS     the process with the most ports, as far as owners are known
  BOUND TO    source addresses whose ports bind() takes (port 0, before
              connect()); such a port is in use for all destinations. BY bind()
              and BY connect() are ports in use; 3+2? as above

Only connections made from this side count. A connection from before tcpwait
started is in no row where nothing shows which side made it. tcpwait does not
know a socket's own range (IP_LOCAL_PORT_RANGE), nor ports that bind() gave to
sockets that are not connected. On a narrow terminal columns are left out in
this order: HELD, FIN_WAIT2, REUSE, TIME_WAIT, FAILED, IN/s, PROCESS, %,
FORECAST.

Examples:
  tcpwait ports                          ports in use by destination, at once
  tcpwait ports 5                        every 5 s, with rates and forecasts
  tcpwait ports 10 1 -D 5432             10 s of connections to PostgreSQL
  tcpwait ports --duration 60 --json     a minute, for a program to read
  tcpwait ports --from FILE              from a recording, with the settings of
                                         then";

/// `tcpwait ports`.
#[derive(Debug, Args)]
pub struct PortsArgs {
    /// Seconds between two reports, with tracing; without it, one report at once, without tracing
    #[arg(value_parser = seconds)]
    pub interval: Option<Duration>,
    /// Stop after this many reports
    #[arg(value_parser = count, conflicts_with = "duration")]
    pub count: Option<u64>,

    /// Destination ports, e.g. 80,443; with a ! before the list, all others (as in every filter)
    #[arg(short = 'D', long = "rport", value_name = "PORTS", value_parser = list::ports)]
    pub rport: Vec<Pick<std::ops::RangeInclusive<u16>>>,
    /// Destination address or network
    #[arg(long, value_name = "CIDR", value_parser = list::networks)]
    pub raddr: Vec<Pick<IpNet>>,
    /// Source address or network, e.g. 10.0.0.1 or 10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_parser = list::networks)]
    pub laddr: Vec<Pick<IpNet>>,
    /// Network namespace: a PID, a path, a name under /run/netns or an inode
    #[arg(long, value_name = "NETNS", value_parser = list::texts)]
    pub netns: Vec<Pick<String>>,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    pub ipv6: bool,

    /// List at most N destinations; all others are one row, "other"
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = up_to::<100_000>)]
    pub top: u32,
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
    /// Exit with code 3 if events were lost, or FILE is cut short or damaged
    #[arg(long)]
    pub fail_on_loss: bool,

    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,
}

impl PortsArgs {
    /// Which destinations are wanted.
    pub fn filter(&self) -> Filter {
        Filter {
            rport: self.rport.clone(),
            laddr: self.laddr.clone(),
            raddr: self.raddr.clone(),
            netns: self.netns.clone(),
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            ..Filter::default()
        }
    }
}
