//! The same loads under each setting in turn, round after round: what disturbs the machine for a while disturbs all settings alike.
//! It compares nothing.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use crate::bpf::{self, Ran, Records};
use crate::load::{self, Done, Kind, Load, Ready};
use crate::process::Cpu;
use crate::progress::Progress;
use crate::tracer::{Place, Running, Setting};

/// How long a tracer may take to catch up with a load.
const CATCH_UP: Duration = Duration::from_secs(5);
/// The kernel ends the sockets of a namespace a moment after its last process.
const SOCKETS_END: Duration = Duration::from_millis(150);

/// What is run.
pub struct Rotation<'a> {
    /// Settings, of which every other round begins with another.
    pub settings: &'a [Setting],
    /// Loads.
    pub loads: &'a [&'static Load],
    /// How often each.
    pub rounds: u32,
    /// How long each.
    pub length: Duration,
    /// Whether the null probe runs beside each tracer, so that both see the very same events.
    pub beside_null: bool,
}

/// One load under one setting.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Counted from 0.
    pub round: u32,
    /// Its name.
    pub setting: String,
    /// Its name.
    pub load: &'static str,
    /// Of what `done` is.
    pub kind: Kind,
    /// What the load did.
    pub done: Done,
    /// What the tracer took; null where there is none.
    pub cpu: Option<Cpu>,
    /// What tcpwait wrote and lost; null for others.
    pub records: Option<Records>,
    /// What each BPF program of the tracer did while the load ran: all 0 unless the kernel was asked to time them.
    pub ran: Vec<Ran>,
    /// The same of the null probe that ran beside it, if one did.
    pub null_ran: Option<Vec<Ran>>,
}

impl Sample {
    /// Connections, bytes or packets a second.
    pub fn rate(&self) -> f64 {
        self.done.made / self.done.seconds
    }

    /// The same a second of processor time that the load got: others who take the processor away do not show in it.
    pub fn rate_of_cpu(&self) -> f64 {
        self.done.made / self.done.cpu_seconds
    }
}

/// A tracer's own account of one slot of the rotation.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// Its name.
    pub setting: String,
    /// Counted from 0.
    pub round: u32,
    /// What it said is lost, in words.
    pub lost: Option<String>,
    /// `ledger` and `audit` of `stat`'s last document.
    pub ledger: Option<Value>,
    /// See `ledger`.
    pub audit: Option<Value>,
    /// BPF programs of tracing kinds that were loaded meanwhile and belong to somebody else.
    pub others: usize,
}

impl Rotation<'_> {
    /// About how long it takes.
    pub fn expected(&self) -> Duration {
        self.slot() * self.rounds * u32::try_from(self.settings.len()).unwrap_or(u32::MAX)
    }

    fn slot(&self) -> Duration {
        let loads = u32::try_from(self.loads.len()).unwrap_or(u32::MAX);
        Duration::from_millis(1500) + (self.length + Duration::from_millis(400)) * loads
    }

    /// Runs it.
    pub fn run(&self, what: &str, place: &Place, progress: &mut Progress) -> Result<(Vec<Sample>, Vec<Account>)> {
        let (mut samples, mut accounts) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let mut settings: Vec<_> = self.settings.iter().collect();
            let turn = round as usize % settings.len().max(1);
            settings.rotate_left(turn);
            for setting in settings {
                let name = setting.name();
                progress.step(&format!("{what}, round {} of {}: {name}", round + 1, self.rounds), self.slot());
                let running = Running::start(setting, place)?;
                let beside = self.beside_null && *setting != Setting::Null;
                let null = beside.then(|| Running::start(&Setting::Null, place)).transpose()?.flatten();
                let ours = [&running, &null].into_iter().flatten().flat_map(|tracer| &tracer.held.programs);
                let others = bpf::others(&ours.copied().collect());
                for load in self.loads {
                    let sample = measure(load, self.length, running.as_ref(), null.as_ref(), place);
                    let sample = sample.with_context(|| format!("measuring {} with {name}", load.name))?;
                    samples.push(Sample { round, setting: name.clone(), ..sample });
                }
                null.map(Running::end).transpose()?;
                let Some(last) = running.map(Running::end).transpose()? else { continue };
                let part = |key: &str| last.document.as_ref().and_then(|document| document.get(key).cloned());
                accounts.push(Account {
                    setting: name,
                    round,
                    lost: last.stderr.iter().rev().find(|line| line.starts_with("lost:")).cloned(),
                    ledger: part("ledger"),
                    audit: part("audit"),
                    others,
                });
            }
        }
        Ok((samples, accounts))
    }
}

/// One load beside a tracer, and beside a null probe.
pub fn measure(
    load: &'static Load,
    length: Duration,
    tracer: Option<&Running>,
    null: Option<&Running>,
    place: &Place,
) -> Result<Sample> {
    let mut ready = Ready::start(load, length, place)?;
    let ran = |tracer: &Running| bpf::ran(&tracer.held.programs);
    let records = |tracer: &Running| tracer.counters.as_ref().map(|counters| counters.read()).transpose();
    let (cpu_before, records_before) =
        (tracer.map(Running::cpu).transpose()?, tracer.map(records).transpose()?.flatten());
    let ran_before = (tracer.map(ran).transpose()?, null.map(ran).transpose()?);
    let account = ready.run()?;
    let ran_after = (tracer.map(ran).transpose()?, null.map(ran).transpose()?);
    tracer.map(|tracer| tracer.quiet(CATCH_UP)).transpose()?;
    let (cpu, records) = (tracer.map(Running::cpu).transpose()?, tracer.map(records).transpose()?.flatten());
    ready.end()?;
    thread::sleep(SOCKETS_END);
    Ok(Sample {
        round: 0,
        setting: String::new(),
        load: load.name,
        kind: load.kind,
        done: load::done(load.kind, &account)?,
        cpu: cpu.zip(cpu_before).map(|(after, before)| after.since(before)),
        records: records.zip(records_before).map(|(after, before)| after.since(before)),
        ran: ran_after.0.zip(ran_before.0).map(|(after, before)| bpf::since(after, &before)).unwrap_or_default(),
        null_ran: ran_after.1.zip(ran_before.1).map(|(after, before)| bpf::since(after, &before)),
    })
}
