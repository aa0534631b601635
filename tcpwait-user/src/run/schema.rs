//! `tcpwait schema`: prints a JSON Schema, or which there are.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};

use crate::{cli::SchemaArgs, output::Output, view::schema};

/// Carries it out.
pub fn run(args: &SchemaArgs) -> Result<ExitCode> {
    let mut out = Output::patient();
    let written = match args.document {
        Some(document) => schema::write(document, &mut out),
        None => schema::list(&mut out),
    };
    written.and_then(|()| out.flush()).context("writing to stdout")?;
    Ok(ExitCode::SUCCESS)
}
