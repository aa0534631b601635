//! `cargo xtask build`, and cargo as the other verbs use it.
//! The kernel side needs no step of its own: the tool's build script builds it.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::arch::Arch;
use crate::cross::Cross;
use crate::release;
use crate::setup;
use crate::toolchain;

/// The verb.
pub fn run(release: bool, target: Option<Arch>) -> Result<()> {
    let tool = match target.filter(|arch| !arch.is_here()) {
        Some(arch) => tool_for(arch, release)?,
        None => tool(release)?,
    };
    println!("{}", tool.display());
    Ok(())
}

/// Builds the tool for machines of another architecture, linked statically.
pub fn tool_for(arch: Arch, release: bool) -> Result<PathBuf> {
    setup::toolchain()?;
    let mut cargo = cargo(&["build", "--package", "tcpwait", "--bin", "tcpwait"]);
    let cross = Cross::find(arch)?;
    if release {
        release::apply(&mut cargo, arch, Some(&cross), true);
    } else {
        cross.apply_static(&mut cargo);
    }
    executable(cargo, "tcpwait")
}

/// Builds the tool and returns where it is. For use it is linked statically, so that it runs wherever it is copied to.
pub fn tool(release: bool) -> Result<PathBuf> {
    setup::toolchain()?;
    let mut cargo = cargo(&["build", "--package", "tcpwait", "--bin", "tcpwait"]);
    if release {
        let is_static = has_static_libc();
        if !is_static {
            eprintln!("no libc.a here (on Fedora it is in glibc-static): the tool will need the libc of this machine");
        }
        release::apply(&mut cargo, Arch::here()?, None, is_static);
    }
    executable(cargo, "tcpwait")
}

/// Whether the C compiler, which rustc links with, finds a static libc. It prints a path only if it does.
pub fn has_static_libc() -> bool {
    let found = Command::new("cc").arg("-print-file-name=libc.a").output();
    found.is_ok_and(|output| output.stdout.contains(&b'/'))
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    let folder = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    toolchain::workspace().join(folder)
}

/// `cargo arguments…` in the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(toolchain::workspace()).args(arguments);
    cargo
}

/// Builds with `cargo` and returns the executable of the target called `name`. Where it is depends on settings of the
/// user's, and a test's file name has a hash in it, so cargo is asked.
pub fn executable(mut cargo: Command, name: &str) -> Result<PathBuf> {
    let mut running = cargo
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut found = None;
    if let Some(messages) = running.stdout.take() {
        for message in BufReader::new(messages).lines() {
            let message: Value = serde_json::from_str(&message?)?;
            let text = |pointer| message.pointer(pointer).and_then(Value::as_str);
            if text("/target/name") == Some(name)
                && let Some(path) = text("/executable")
            {
                found = Some(PathBuf::from(path));
            }
        }
    }
    if !running.wait()?.success() {
        bail!("{name} does not build");
    }
    found.with_context(|| format!("cargo built no executable called {name}"))
}
