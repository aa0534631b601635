//! Running a command as root: directly, or through sudo.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

use crate::packages;

/// Whether [`command`] has a way to become root.
pub fn available() -> bool {
    geteuid().is_root() || packages::program("sudo").is_some()
}

/// `program arguments…`, as root.
pub fn command<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[A]) -> Result<Command> {
    let mut command = Command::new(program.as_ref());
    command.args(arguments);
    if geteuid().is_root() {
        return Ok(command);
    }
    if !available() {
        bail!("this needs root, and there is no sudo here. As root, run: {}", shown(&command));
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("--").arg(program).args(arguments);
    Ok(sudo)
}

/// Says what is about to be run, for a command that changes the machine, and runs it.
pub fn announced(mut command: Command) -> Result<()> {
    let line = shown(&command);
    println!("about to run: {line}");
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        let _ = match argument.contains([' ', '\'', '"', '$', '*']) {
            true => write!(line, " {argument:?}"),
            false => write!(line, " {argument}"),
        };
    }
    line
}
