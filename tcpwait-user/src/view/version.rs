//! Which version this is, what it was built from, and what this kernel gives.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    probes::ProbesReport,
    schema::{self, JsonDocument},
};
use crate::{fold::fold, plain};

/// The width of the names in front of the lines.
const NAMES: usize = 12;

/// All of it; what is not known is `None`.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    schema: &'static str,
    /// Of the package.
    pub version: &'static str,
    /// Of the source, as git names it; known where `cargo xtask` built it.
    pub commit: Option<&'static str>,
    /// The day of that commit, `YYYY-MM-DD`.
    pub date: Option<&'static str>,
    /// The machines it is for, as rustc calls them.
    pub target: &'static str,
    /// Whether it needs no library of the machine.
    pub is_static: bool,
    /// The compiler of the user side.
    pub compiler: &'static str,
    /// The compiler and the linker of the kernel side.
    pub bpf_compiler: &'static str,
    /// Size of the kernel side's object.
    pub bpf_bytes: usize,
    /// The version of recordings that it writes.
    pub recording_written: u32,
    /// The oldest version of recordings that it reads.
    pub recording_oldest: u32,
    /// What its JSON documents call themselves.
    pub schemas: [&'static str; JsonDocument::ALL.len()],
    /// The running kernel, as `uname -r` prints it.
    pub kernel: String,
    /// Its machine, as `uname -m` prints it.
    pub machine: String,
    /// What its hooks tell; `None` where they were not tried.
    pub probes: Option<Probed>,
    /// Why they were not.
    pub untried: Option<String>,
}

/// The hooks of the running kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Probed {
    /// So many are attached, of those that are wanted.
    pub attached: usize,
    /// What is unknown for want of others, a sentence each.
    pub unknown: Vec<String>,
}

impl From<&ProbesReport> for Probed {
    fn from(report: &ProbesReport) -> Self {
        let missed = report.hooks.iter().filter(|row| row.missed);
        let stacks = report.ends_untold.iter();
        Self {
            attached: report.hooks.iter().filter(|row| row.attached).count(),
            unknown: missed
                .map(|row| row.without.to_owned())
                .chain(stacks.map(|untold| format!("why some connections end is unknown: {}", untold.unknown)))
                .collect(),
        }
    }
}

impl Version {
    /// Of this program, and of a machine whose hooks have not been tried.
    pub fn new(bpf_bytes: usize, recordings: std::ops::RangeInclusive<u32>, kernel: String, machine: String) -> Self {
        let known = |value: Option<&'static str>| value.filter(|value| !value.is_empty());
        Self {
            schema: schema::VERSION,
            version: env!("CARGO_PKG_VERSION"),
            commit: known(option_env!("TCPWAIT_COMMIT")),
            date: known(option_env!("TCPWAIT_DATE")),
            target: env!("TCPWAIT_BUILT_FOR"),
            is_static: cfg!(target_feature = "crt-static"),
            compiler: env!("TCPWAIT_BUILT_BY"),
            bpf_compiler: env!("TCPWAIT_BUILT_BPF_BY"),
            bpf_bytes,
            recording_written: *recordings.end(),
            recording_oldest: *recordings.start(),
            schemas: JsonDocument::ALL.map(JsonDocument::schema),
            kernel,
            machine,
            probes: None,
            untried: None,
        }
    }
}

/// Writes one line; with `all`, what it was built from and what this kernel gives.
///
/// # Errors
/// The output cannot be written.
pub fn write(version: &Version, all: bool, width: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "tcpwait {}", version.version)?;
    if !all {
        return Ok(());
    }
    let commit = match (version.commit, version.date) {
        (Some(commit), Some(date)) => format!("{commit}, {date}"),
        (Some(commit), None) => commit.to_owned(),
        (None, _) => "unknown: it was not built by cargo xtask".to_owned(),
    };
    let linked = if version.is_static { "static" } else { "needs this machine's libc" };
    let mut rows = vec![
        ("commit", commit),
        ("built for", format!("{}, {linked}", version.target)),
        ("built by", version.compiler.to_owned()),
        ("BPF side", format!("{} bytes, by {}", version.bpf_bytes, version.bpf_compiler)),
        ("recordings", format!("version {}; reads {} and later", version.recording_written, version.recording_oldest)),
        ("JSON", version.schemas.join(" ")),
        ("kernel", format!("{} {}", plain::column(&version.kernel), plain::column(&version.machine))),
    ];
    match (&version.probes, &version.untried) {
        (Some(probed), _) => {
            rows.push(("hooks", format!("{} attached; tcpwait probes shows each", probed.attached)));
            let unknown = if probed.unknown.is_empty() { "nothing".to_owned() } else { probed.unknown.join("; ") };
            rows.push(("unknown", unknown));
        }
        (None, Some(why)) => rows.push(("hooks", format!("not tried: {}", plain::column(why)))),
        (None, None) => {}
    }
    for (name, value) in rows {
        let lines = fold(&value, width.saturating_sub(NAMES).max(20), 0);
        for (at, line) in lines.iter().enumerate() {
            writeln!(out, "{:<NAMES$}{line}", if at == 0 { name } else { "" })?;
        }
    }
    Ok(())
}

/// Writes a JSON object.
///
/// # Errors
/// The output cannot be written.
pub fn write_json(version: &Version, out: &mut dyn Write) -> io::Result<()> {
    plain::json(&mut *out, version)?;
    writeln!(out)
}
