//! How long tcpwait takes to start, and how much processor time: from exec to its first attached probe, and until it says that it traces.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::child::Group;
use crate::process;
use crate::tracer::Place;

/// How often it is looked. That is part of the error; the rest is the look's own duration.
const LOOK: Duration = Duration::from_micros(300);
const AT_MOST: Duration = Duration::from_secs(20);

/// One start.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Started {
    /// Until the process held the first BPF link, milliseconds.
    pub first_probe_ms: f64,
    /// Processor time that it had taken by then, of all its threads: milliseconds.
    pub first_probe_cpu_ms: f64,
    /// Until it said that it traces, milliseconds.
    pub ready_ms: f64,
    /// Processor time that it had taken by then, milliseconds.
    pub ready_cpu_ms: f64,
}

/// Starts `tcpwait stat` once.
pub fn once(place: &Place) -> Result<Started> {
    let mut command = Command::new(&place.tcpwait);
    command.args(["stat", "--json"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begin = Instant::now();
    let mut group = Group::start(command, "tcpwait stat")?;
    let pid = group.id();
    let since = || begin.elapsed().as_secs_f64() * 1000.0;
    while process::held(&[pid]).links.is_empty() {
        if let Some(status) = group.has_ended()? {
            bail!("tcpwait ended before it attached anything ({status})");
        }
        if begin.elapsed() > AT_MOST {
            bail!("tcpwait attached nothing within {} s", AT_MOST.as_secs());
        }
        thread::sleep(LOOK);
    }
    let cpu = || process::cpu(&[pid]).map(|cpu| cpu.total_ns as f64 / 1e6);
    let (first_probe_ms, first_probe_cpu_ms) = (since(), cpu()?);
    if let Some(stderr) = group.stderr() {
        while !stderr.next(AT_MOST, "\"Tracing\" from tcpwait")?.starts_with("Tracing") {}
    }
    let (ready_ms, ready_cpu_ms) = (since(), cpu()?);
    group.interrupt()?;
    Ok(Started { first_probe_ms, first_probe_cpu_ms, ready_ms, ready_cpu_ms })
}
