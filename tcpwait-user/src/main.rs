//! Maps a result to an exit code: 0 done, 1 could not, 2 wrong usage, 3 done but lossy (`--fail-on-loss`).

use std::process::ExitCode;

use tcpwait::{output, say};

fn main() -> ExitCode {
    let cli = tcpwait::cli::Cli::from_arguments();
    let code = tcpwait::run::run(cli).unwrap_or_else(|e| {
        say!("tcpwait: {e:#}");
        ExitCode::FAILURE
    });
    output::settle();
    output::end();
    code
}
