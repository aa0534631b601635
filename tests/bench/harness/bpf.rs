//! What the kernel knows of a tracer's BPF programs: how often they ran, and for how long; and tcpwait's own counters, from its map.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, MapInfo, PerCpuArray};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use aya_obj::generated::bpf_prog_type;
use serde::Serialize;
use tcpwait_wire::config::COUNTS_MAP;
use tcpwait_wire::wire::{COUNT_WORDS, COUNTERS, Counter, LOST, TOLD, TRANSITIONS};

/// Has the kernel time every BPF program for as long as this is open. That costs time of its own.
pub fn timed() -> Result<OwnedFd> {
    enable_stats(Stats::RunTime).context("turning on the kernel's BPF run-time statistics (Linux 5.8)")
}

/// What a program did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Its name, of which the kernel keeps 15 letters: where several have the same, they are added up.
    pub name: String,
    /// How often.
    pub runs: u64,
    /// For how long, nanoseconds.
    pub ns: u64,
}

/// What these programs have done, by id.
pub fn ran(programs: &BTreeSet<u32>) -> Result<BTreeMap<u32, Ran>> {
    let mut all = BTreeMap::new();
    // One that is gone before it can be asked is somebody else's.
    for program in loaded_programs().flatten().filter(|program| programs.contains(&program.id())) {
        let ran = Ran {
            name: String::from_utf8_lossy(program.name()).into_owned(),
            runs: program.run_count(),
            ns: u64::try_from(program.run_time().as_nanos()).context("a run time beyond 500 years")?,
        };
        all.insert(program.id(), ran);
    }
    Ok(all)
}

/// The difference, for each program.
pub fn since(after: BTreeMap<u32, Ran>, before: &BTreeMap<u32, Ran>) -> Vec<Ran> {
    let less = |(id, ran): (u32, Ran)| {
        let (runs, ns) = before.get(&id).map_or((0, 0), |ran| (ran.runs, ran.ns));
        Ran { runs: ran.runs.saturating_sub(runs), ns: ran.ns.saturating_sub(ns), ..ran }
    };
    after.into_iter().map(less).collect()
}

/// How many programs of tracing kinds are loaded that are not among these: they cost too, and are not the tracer's.
pub fn others(programs: &BTreeSet<u32>) -> usize {
    let tracing = |kind| {
        matches!(
            kind,
            bpf_prog_type::BPF_PROG_TYPE_TRACING
                | bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT
                | bpf_prog_type::BPF_PROG_TYPE_TRACEPOINT
                | bpf_prog_type::BPF_PROG_TYPE_KPROBE
        )
    };
    let theirs = loaded_programs().flatten().filter(|program| !programs.contains(&program.id()));
    theirs.filter(|program| tracing(program.program_type())).count()
}

/// Records, as tcpwait's kernel side counts them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Records {
    /// Written to the ring buffer.
    pub written: u64,
    /// Not written, as it was full.
    pub lost: u64,
}

impl Records {
    /// What was added since.
    pub fn since(self, before: Self) -> Self {
        Self { written: self.written.saturating_sub(before.written), lost: self.lost.saturating_sub(before.lost) }
    }
}

/// tcpwait's counters.
pub struct Counters(PerCpuArray<MapData, [u64; COUNT_WORDS]>);

impl Counters {
    /// Among these maps; `None` where there are none, as they are somebody else's.
    pub fn among(maps: &BTreeSet<u32>) -> Result<Option<Self>> {
        const OPENING: &str = "opening tcpwait's counters";
        let named = |id: &&u32| MapInfo::from_id(**id).is_ok_and(|map| map.name_as_str() == Some(COUNTS_MAP));
        let Some(id) = maps.iter().find(named) else { return Ok(None) };
        let map = MapData::from_id(*id).context(OPENING)?;
        Ok(Some(Self(PerCpuArray::try_from(Map::PerCpuArray(map)).context(OPENING)?)))
    }

    /// What they stand at. Records written are not counted by themselves: they follow from what was told, less what was
    /// lost or went along in another record.
    pub fn read(&self) -> Result<Records> {
        let cpus = self.0.get(&0, 0).context("reading tcpwait's counters")?;
        // In the order of `wire::CpuCounts`.
        let changes = COUNTERS..COUNTERS + TRANSITIONS;
        let changes = cpus.iter().flat_map(|cpu| cpu.get(changes.clone()).unwrap_or_default()).sum::<u64>();
        let of = |counters: &[Counter]| -> u64 {
            let slots = |cpu: &[u64; COUNT_WORDS]| {
                counters.iter().filter_map(|counter| cpu.get(*counter as usize)).sum::<u64>()
            };
            cpus.iter().map(slots).sum()
        };
        let (told, lost) = (changes + of(&TOLD), of(&LOST));
        Ok(Records { written: told.saturating_sub(lost + of(&[Counter::Folded])), lost })
    }
}
