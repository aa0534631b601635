//! The command line of `tcpwait report`.

use std::path::PathBuf;

use clap::Args;

use super::{filter::Filter, tracing::Tracing};
use crate::aggregate::by::GroupBy;

pub(super) const HELP: &str = "\
The page is one file that opens anywhere, without a network: what stands out,
in words; sockets by state over time; whose TIME_WAITs they were and how long
they took; ports and their forecast; handshakes; the state machine with what
was counted; single connections; calls that failed; settings; what was lost,
and how far the counts agree with the kernel's. It can be read without
JavaScript, which only zooms, sorts, and saves the numbers as JSON and CSV.

Without --from the running kernel is recorded first, until Ctrl-C or for
--duration: the recording is left beside the page, as OUT with .tcpwait in
place of .html.

The name of the machine, the command line of `tcpwait record`, addresses, names
of processes and settings are on the page: look at it before you send it.

Examples:
  tcpwait report --from incident.tcpwait -o incident.html
  tcpwait report --duration 60           a minute, to report.html
  tcpwait report --from FILE -D 5432     connections to PostgreSQL alone";

/// `tcpwait report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Make the page of this recording; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["duration", "ring_buffer"])]
    pub from: Option<PathBuf>,
    /// Write the page to this file; - is standard output
    #[arg(short = 'o', long, value_name = "OUT", default_value = "report.html")]
    pub output: PathBuf,
    /// Group by one or more of these, as in `tcpwait stat`
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "service,process")]
    pub by: Vec<GroupBy>,
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
