//! Maps a result to an exit code: 0 done, 1 could not, 2 wrong usage, 3 done but lossy (`--fail-on-loss`).

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = tcpwait::cli::Cli::from_arguments();
    tcpwait::run::run(cli).unwrap_or_else(|e| {
        tcpwait::plain::say(format_args!("tcpwait: {e:#}"));
        ExitCode::FAILURE
    })
}
