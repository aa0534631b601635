//! Which connections: the options that `stat`, `trace` and others share.

use std::ops::RangeInclusive;

use clap::Args;
use ipnet::IpNet;

use super::list;
use crate::{select::Pick, tcp::State};

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
    /// Pod of the owner: NAME or NAMESPACE/NAME; its UID where its name is not known
    #[arg(long, value_name = "POD", value_parser = list::texts)]
    pub pod: Vec<Pick<String>>,
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

impl Filter {
    /// The options that were given, as one would give them.
    pub fn given(&self) -> Vec<String> {
        let range = |ports: &RangeInclusive<u16>| match (ports.start(), ports.end()) {
            (from, to) if from == to => from.to_string(),
            (from, to) => format!("{from}-{to}"),
        };
        let mut given = [
            lists("-L", &self.lport, range),
            lists("-D", &self.rport, range),
            lists("--laddr", &self.laddr, IpNet::to_string),
            lists("--raddr", &self.raddr, IpNet::to_string),
            lists("--pid", &self.pid, u32::to_string),
            lists("--comm", &self.comm, String::clone),
            lists("--cgroup", &self.cgroup, String::clone),
            lists("--pod", &self.pod, String::clone),
            lists("--netns", &self.netns, String::clone),
            lists("--state", &self.state, State::to_string),
        ]
        .concat();
        given.extend(
            [(self.ipv4, "-4"), (self.ipv6, "-6")].iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned()),
        );
        given
    }
}

fn lists<T>(option: &str, lists: &[Pick<T>], text: impl Fn(&T) -> String) -> Vec<String> {
    let given = |list: &Pick<T>| {
        let values: Vec<String> = list.values.iter().map(&text).collect();
        format!("{option} {}{}", if list.not { "!" } else { "" }, values.join(","))
    };
    lists.iter().map(given).collect()
}
