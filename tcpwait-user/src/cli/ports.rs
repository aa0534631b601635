//! The command line of `tcpwait ports`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use ipnet::IpNet;

use super::{Filter, Tracing, count, list, seconds, up_to};
use crate::select::Pick;

/// What `tcpwait ports --help` ends with.
pub const HELP: &str = "\
Without INTERVAL it lists what sock_diag tells, at once and without tracing: how many ports are in use, and of how many. How fast they
go, who holds those in TIME_WAIT, when they run out and what failed is known by tracing only: tcpwait ports 5 (which needs root).

USED: ports in use towards one destination from one source address; OF: ports connect() may take, ip_local_port_range less
ip_local_reserved_ports and what is listened on or was; %: share of those that connect() cannot take now. REUSE: TIME_WAITs that connect()
could take now under tcp_tw_reuse, tcp_tw_reuse_delay and with timestamps (\"3+2?\": 3, and 2 of which that is not known).
IN/s: connections made, over the last 10 to 30 s or since they began; HELD: how long a port was held, of those that came free.
BOUND TO: source addresses at which bind() gives ports (to port 0, before connect()), each for all destinations: BY bind() and BY connect()
are those in use there (\"3+2?\": 3, and 2 of which that is not known), and their FORECAST is that of the address.
Only connections made here are counted. Where one is older than the trace and nothing tells which side made it, it is in no row.
FORECAST: at these rates. FAILED: connect() that found no port. PROCESS: who has most of the ports, as far as owners are known.
A socket's own range (IP_LOCAL_PORT_RANGE) is not known, nor which free ports bind() gave to sockets that are not connected.
Where a line is too short, columns are left out: HELD, FIN_WAIT2, REUSE, TIME_WAIT, FAILED, IN/s, PROCESS, %, FORECAST.

Examples:
  tcpwait ports                          how many ports are in use, towards whom: at once
  tcpwait ports 5                        every 5 s, with rates and when they run out
  tcpwait ports 10 1 -D 5432             after 10 s, of connections to PostgreSQL
  tcpwait ports --duration 60 --json     after a minute, for a program to read
  tcpwait ports --from FILE              from a recording, which does not hold the range: OF and FORECAST are -";

/// `tcpwait ports`.
#[derive(Debug, Args)]
pub struct PortsArgs {
    /// Seconds between two reports, with tracing; without it, one listing at once
    #[arg(value_parser = seconds)]
    pub interval: Option<Duration>,
    /// Stop after so many reports
    #[arg(value_parser = count, conflicts_with = "duration")]
    pub count: Option<u64>,

    /// Destination port(s); with a ! before the list all others, as of the filters below
    #[arg(short = 'D', long = "rport", value_name = "PORTS", value_parser = list::ports)]
    pub rport: Vec<Pick<std::ops::RangeInclusive<u16>>>,
    /// Source address or network, as 10.0.0.1 or 10.0.0.0/8
    #[arg(long, value_name = "CIDR", value_parser = list::networks)]
    pub laddr: Vec<Pick<IpNet>>,
    /// Destination address or network
    #[arg(long, value_name = "CIDR", value_parser = list::networks)]
    pub raddr: Vec<Pick<IpNet>>,
    /// Network namespace: a PID, a path, a name under /run/netns or an inode
    #[arg(long, value_name = "NETNS", value_parser = list::texts)]
    pub netns: Vec<Pick<String>>,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    pub ipv6: bool,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,

    /// Read a recording instead of the running kernel; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,
    /// The most destinations to list; the rest is one row, "other"
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = up_to::<100_000>)]
    pub top: u32,
    /// Lines as long as they need to be, whatever the terminal's width
    #[arg(short = 'w', long, conflicts_with = "json")]
    pub wide: bool,
    /// One JSON document a report, each on a line
    #[arg(long)]
    pub json: bool,
    /// Exit with 3 if anything was lost, or FILE was cut short or is damaged
    #[arg(long)]
    pub fail_on_loss: bool,
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
