//! Maps a result to an exit code: 0 done, 1 could not, 2 wrong usage, 3 done but lossy (`--fail-on-loss`),
//! 4 done but a condition holds (`diff --fail-if`).

use std::process::ExitCode;

use tcpwait::{cli::complete, export::front, output, system::command};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some((verb, arguments)) = arguments.split_first()
        && verb == command::VERB
    {
        let refused = command::become_command(arguments);
        output::sentence(format_args!("tcpwait: {refused}"));
        output::end();
        return ExitCode::from(refused.code);
    }
    if let Some((verb, arguments)) = arguments.split_first()
        && verb == front::VERB
    {
        let served = front::become_front(arguments);
        let code = if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if let Err(why) = served {
            output::sentence(format_args!("tcpwait: {why:#}"));
            output::end();
        }
        return code;
    }
    match complete::answered() {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(why) => {
            output::sentence(format_args!("tcpwait: completing: {why}"));
            output::end();
            return ExitCode::FAILURE;
        }
    }
    let cli = tcpwait::cli::Cli::from_arguments();
    let code = tcpwait::run::run(cli).unwrap_or_else(|e| {
        output::sentence(format_args!("tcpwait: {e:#}"));
        ExitCode::FAILURE
    });
    // What came of it has been said.
    let _ = output::settle();
    output::end();
    code
}
