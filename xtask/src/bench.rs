//! `cargo xtask bench`: builds the tool and the benchmark for use, and becomes the benchmark, as root.
//! What is measured, and how, is in tests/bench; here its arguments are only passed on.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::compile::{self, cargo, executable};
use crate::root;

/// The verb. Replaces this process, so that Ctrl-C is between the benchmark and the terminal.
pub fn run(arguments: &[OsString]) -> Result<()> {
    let tool = compile::tool(true)?;
    // All of its programs: the harness finds the others beside itself.
    let harness = executable(cargo(&["build", "--package", "tcpwait-bench", "--release"]), "tcpwait-bench")?;
    let out = compile::target_dir().join("bench");
    // Made by the user, so that the user may remove what root writes there.
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut passed = vec!["--tcpwait".into(), tool.into_os_string(), "--out".into(), out.into_os_string()];
    passed.extend_from_slice(arguments);
    let mut command = root::command(harness, &passed)?;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", root::shown(&command)))
}
