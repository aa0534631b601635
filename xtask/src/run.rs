//! `cargo xtask run`: builds the tool for use and becomes it, as root.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::compile;
use crate::root;

/// The verb. Replaces this process, so that Ctrl-C and the exit code are between the tool and the terminal.
pub fn run(arguments: &[OsString]) -> Result<()> {
    let tool = compile::tool(true)?;
    let mut command = root::command(&tool, arguments)?;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", root::shown(&command)))
}
