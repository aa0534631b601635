//! What a group of processes takes: processor time, memory, and which BPF objects it holds; all from /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::Serialize;

/// Processor time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cpu {
    /// In user and kernel mode, nanoseconds.
    pub total_ns: u64,
    /// In user mode, nanoseconds, right to a clock tick (10 ms).
    pub user_ns: u64,
}

impl Cpu {
    /// What was taken since.
    pub fn since(self, before: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(before.total_ns),
            user_ns: self.user_ns.saturating_sub(before.user_ns),
        }
    }
}

/// The processes of a group.
pub fn members(group: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter(|pid| stat(*pid, 5).is_some_and(|of| of == i64::from(group.as_raw())))
        .collect()
}

/// A field of /proc/PID/stat, counted from 1 as proc(5) does; only those after the name.
fn stat(pid: Pid, field: usize) -> Option<i64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

/// What these processes have taken so far, all their threads, those that have ended too.
pub fn cpu(pids: &[Pid]) -> Result<Cpu> {
    let tick = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|hz| u64::try_from(hz).ok()).unwrap_or(100);
    let mut cpu = Cpu::default();
    for pid in pids {
        let time = clock_getcpuclockid(*pid)
            .and_then(clock_gettime)
            .with_context(|| format!("reading the processor time of process {pid}"))?;
        cpu.total_ns += u64::try_from(Duration::from(time).as_nanos())?;
        let ticks = stat(*pid, 14).with_context(|| format!("reading /proc/{pid}/stat"))?;
        cpu.user_ns += u64::try_from(ticks)? * 1_000_000_000 / tick;
    }
    Ok(cpu)
}

/// How often each thread of these processes has left a core so far, of itself or for others. Nothing of a thread that is gone.
pub fn switches(pids: &[Pid]) -> BTreeMap<Pid, u64> {
    let threads = pids.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten());
    threads
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("status")).ok()?;
            let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
            let count = of("voluntary_ctxt_switches:")? + of("nonvoluntary_ctxt_switches:")?;
            Some((Pid::from_raw(entry.file_name().to_str()?.parse().ok()?), count))
        })
        .collect()
}

/// Anonymous memory in use, bytes (`RssAnon`): not files, and not the ring buffer, which is shared with the kernel.
pub fn anonymous_memory(pid: Pid) -> Result<u64> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).with_context(|| format!("{file} has no RssAnon"))
}

/// BPF objects by what a process's descriptors say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Ids of programs.
    pub programs: BTreeSet<u32>,
    /// Ids of maps.
    pub maps: BTreeSet<u32>,
    /// Ids of links: programs that are attached.
    pub links: BTreeSet<u32>,
}

/// What these processes hold. Nothing of one that is gone, or has not begun.
pub fn held(pids: &[Pid]) -> Held {
    let mut held = Held::default();
    for pid in pids {
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
                let ids = match key {
                    "prog_id" => &mut held.programs,
                    "map_id" => &mut held.maps,
                    "link_id" => &mut held.links,
                    _ => continue,
                };
                ids.extend(value.trim().parse::<u32>());
            }
        }
    }
    held
}
