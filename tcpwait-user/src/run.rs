//! From the command line's arguments to the command, and from what came of it to the exit code.

mod criteria;
mod diff;
mod doctor;
mod export;
mod exit;
mod journal;
mod manual;
mod notices;
mod perfetto;
mod ports;
mod probes;
mod record;
mod report;
mod schema;
mod screen;
mod source;
mod stat;
mod states;
mod top;
mod trace;
mod version;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};

use crate::{
    cli::{Cli, Command},
    output,
};

/// Carries out the command.
///
/// # Errors
/// One clear sentence, with the remedy.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let written_to = match &cli.command {
        Command::Stat(args) => args.output.clone(),
        Command::Trace(args) => args.perfetto.clone().filter(|path| path != Path::new("-")),
        _ => None,
    };
    let done = match cli.command {
        Command::Stat(args) => stat::run(&args),
        Command::Top(args) => top::run(&args),
        Command::States(args) => states::run(&args),
        Command::Ports(args) => ports::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Manual(args) => manual::run(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Version(args) => runtime()?.block_on(async { version::run(&args) }),
        Command::Schema(args) => schema::run(&args),
        Command::Probes(args) => runtime()?.block_on(async { probes::run(&args) }),
    };
    // Whoever closes the pipe, as head(1) does, has what was wanted.
    match output::error() {
        _ if output::reader_is_gone() => done.or(Ok(ExitCode::SUCCESS)),
        Some(error) => Err(error).context(match &written_to {
            Some(file) => format!("writing to {}", file.display()),
            None => "writing to stdout".to_owned(),
        }),
        None => done,
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")
}
