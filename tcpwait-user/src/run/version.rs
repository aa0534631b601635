//! `tcpwait version`: which this is, what it was built from, and what this kernel gives.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};
use tcpwait_wire::wire;

use super::{probes, screen::screen};
use crate::{
    cli::{PortsBy, TimingBy, choices, manual::VersionArgs},
    kernel,
    output::Output,
    view::version::{self, Version},
};

/// Says it. The hooks are tried where that is asked for; that they cannot be is no error.
pub fn run(args: &VersionArgs) -> Result<ExitCode> {
    let uname = nix::sys::utsname::uname().context("asking the kernel for its release")?;
    let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    let recordings = wire::OLDEST_VERSION..=wire::VERSION;
    let mut version = Version::new(kernel::object()?.len(), recordings, text(uname.release()), text(uname.machine()));
    if args.verbose || args.json {
        match probes::report(choices(TimingBy::Auto, PortsBy::Auto, true), false) {
            Ok(report) => version.probes = Some((&report).into()),
            Err(why) => version.untried = Some(format!("{why:#}")),
        }
    }
    let mut out = Output::patient();
    let written = if args.json {
        version::write_json(&version, &mut out)
    } else {
        version::write(&version, args.verbose, screen(false).width, &mut out)
    };
    written.and_then(|()| out.flush()).context("writing to stdout")?;
    Ok(ExitCode::SUCCESS)
}
