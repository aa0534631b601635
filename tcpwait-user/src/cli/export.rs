//! The command line of `tcpwait export`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{Tracing, list, thinning::CostLimit, values::up_to};
use crate::{aggregate::by::GroupBy, select::Pick};

/// What `tcpwait export --help` ends with.
pub const HELP: &str = "\
Prometheus scrapes http://127.0.0.1:10060/metrics; docs/metrics.md has every
metric. What this kernel cannot tell is absent, and tcpwait_observed is 0 for it.
Counters are from the start of the exporter. HTTP is answered by a process of
its own that runs as nobody, without capabilities and without files.

--web.config.file FILE has TLS, users with passwords, and client certificates, in
the format of all Prometheus exporters: docs/metrics.md. It is read anew when it,
or a certificate that it names, has changed. An address other than loopback needs
it, or --no-auth: whoever reaches it reads the metrics then.

All connections of the namespaces are counted: there are no filters.

Examples:
  tcpwait export                         serve until SIGTERM
  tcpwait export --once --duration 60    trace for a minute and print, for
                                         node_exporter's textfile collector
  tcpwait export --listen 10.0.0.5:10060 --web.config.file web.yml
                                         to another machine, by TLS
  tcpwait export --check --web.config.file web.yml
                                         say whether the file is right
  tcpwait export --label listener,process --top 20
                                         TIME_WAIT by listener and process too
  tcpwait export --from FILE > incident.om
                                         from a recording, with timestamps: for
                                         promtool tsdb create-blocks-from
                                         openmetrics";

/// `tcpwait export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Address and port to serve on, as often as there are several; without it, port 10060 of 127.0.0.1 and of ::1
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["once", "from"])]
    pub listen: Vec<SocketAddr>,
    /// Serve on addresses other than loopback although nobody has to say who they are
    #[arg(long)]
    pub no_auth: bool,
    /// TLS, users and what else clients are served by, in the format of Prometheus exporters
    #[arg(long = "web.config.file", value_name = "FILE", conflicts_with_all = ["once", "from"])]
    pub web_config_file: Option<PathBuf>,
    /// Say whether that file is right, and end: nothing is traced or served
    #[arg(long, requires = "web_config_file")]
    pub check: bool,
    /// Print the metrics once and end, instead of serving them
    #[arg(long, conflicts_with = "from")]
    pub once: bool,
    /// Print the metrics of a recording, with timestamps; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,
    /// Count TIME_WAIT by these too: process, listener, cgroup, pod (labels namespace, pod, container), netns
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',', hide_possible_values = true)]
    pub label: Vec<LabelBy>,
    /// Groups that --label keeps apart; all others are counted together
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = up_to::<100>, requires = "label")]
    pub top: u32,
    /// Only these network namespaces, each a PID, a path, a name under /run/netns or an inode; all others with a ! before the list
    #[arg(long, value_name = "NETNS", value_parser = list::texts)]
    pub netns: Vec<Pick<String>>,
    /// How the tracing is done.
    #[command(flatten)]
    pub tracing: Tracing,
    /// What it may cost.
    #[command(flatten)]
    pub thinning: CostLimit,
}

/// What TIME_WAITs are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LabelBy {
    /// the process that closed first, or whose connection it was
    Process,
    /// the end that was listened on
    Listener,
    /// the process's cgroup
    Cgroup,
    /// the process's pod and container
    Pod,
    /// the network namespace, by name
    Netns,
}

impl From<LabelBy> for GroupBy {
    fn from(by: LabelBy) -> Self {
        match by {
            LabelBy::Process => GroupBy::Process,
            LabelBy::Listener => GroupBy::Service,
            LabelBy::Cgroup => GroupBy::Cgroup,
            LabelBy::Pod => GroupBy::Pod,
            LabelBy::Netns => GroupBy::Netns,
        }
    }
}
