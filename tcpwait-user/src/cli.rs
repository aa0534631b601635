//! The command line: what can be asked for. The doc comments are the manual that `--help` prints.

mod color;
pub mod complete;
mod diff;
mod doctor;
mod export;
mod filter;
mod format;
pub mod list;
pub mod manual;
mod ports;
mod report;
mod schema;
mod stat;
pub mod states;
pub mod thinning;
mod top;
mod trace;
mod tracing;
mod values;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{
    output::{self, say},
    plain,
    select::Pick,
};

pub use self::{
    color::Color,
    diff::{DiffArgs, WindowPart},
    doctor::DoctorArgs,
    export::{ExportArgs, LabelBy},
    filter::Filter,
    format::OutputFormat,
    ports::PortsArgs,
    report::ReportArgs,
    schema::SchemaArgs,
    stat::{SortBy, StatArgs},
    top::TopArgs,
    trace::TraceArgs,
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
    #[command(after_help = stat::HELP)]
    Stat(StatArgs),
    /// Show the same live on one screen, with keys: what is wrong, states, connections, TIME_WAIT, ports.
    #[command(after_help = top::HELP)]
    Top(TopArgs),
    /// Print every TCP state transition as it happens, until Ctrl-C.
    #[command(after_help = trace::HELP)]
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
    /// Make one page of a recording, to be sent: what stands out, pictures, single connections.
    #[command(after_help = report::HELP)]
    Report(ReportArgs),
    /// Compare two recordings: what got worse or better, what is new or gone, and what is only chance.
    #[command(after_help = diff::HELP)]
    Diff(DiffArgs),
    /// Serve metrics to Prometheus: TIME_WAIT, ports, ends of connections, failed calls.
    #[command(after_help = export::HELP)]
    Export(ExportArgs),
    /// Show which hooks this kernel has, and what is unknown without those it does not have.
    Probes(ProbesArgs),
    /// Show the manual of a command, of the keys of JSON or of the metrics.
    #[command(after_help = manual::HELP)]
    Manual(manual::ManualArgs),
    /// Print the script by which a shell completes commands.
    #[command(after_help = manual::COMPLETIONS_HELP)]
    Completions(manual::CompletionsArgs),
    /// Show which version this is, what it was built from and what this kernel gives.
    Version(manual::VersionArgs),
    /// Print the JSON Schema of what a command prints with --json.
    #[command(after_help = schema::HELP)]
    Schema(SchemaArgs),
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
