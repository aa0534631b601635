//! What the tool takes while 100,000 sockets are in TIME_WAIT and as many leave it as enter: the even course of a busy machine.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::load::Ready;
use crate::numbers::ratio;
use crate::process::anonymous_memory;
use crate::progress::Progress;
use crate::tracer::{Place, Running, Setting};

/// How many there are.
const SOCKETS: u32 = 100_000;
/// `TCP_TIMEWAIT_LEN`, include/net/tcp.h: no setting changes it.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// By then the first that were made are gone, timers being late by an eighth at most (kernel/time/timer.c), and then some.
const FILLING: Duration = Duration::from_secs(70);
/// How long the tools are watched.
const WATCHED: Duration = Duration::from_secs(15);
/// The load goes on until they have been.
const MARGIN: Duration = Duration::from_secs(2);

/// Watched at once: a tool's processor time is its own.
const SETTINGS: [Setting; 2] = [Setting::Stat, Setting::Export];

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Turnover {
    /// Its name.
    pub setting: String,
    /// Connections a second, both ends here.
    pub connections_per_s: f64,
    /// Sockets in TIME_WAIT at the end, as the kernel counts them; null where it does not tell.
    pub there: Option<u64>,
    /// Processor time: milliseconds a second.
    pub cpu_ms_per_s: f64,
    /// Records a second.
    pub records_per_s: Option<f64>,
    /// Processor time for each record: nanoseconds.
    pub cpu_ns_per_record: Option<f64>,
    /// Anonymous memory at the end, bytes.
    pub memory: u64,
    /// Records lost, from the start on.
    pub lost: Option<u64>,
}

/// About how long it takes.
pub fn expected() -> Duration {
    FILLING + WATCHED + MARGIN * 2
}

/// Watches them.
pub fn watch(place: &Place, progress: &mut Progress) -> Result<Vec<Turnover>> {
    progress.step(&format!("{SOCKETS} sockets in TIME_WAIT that come and go"), expected());
    let start = |setting: &Setting| {
        Running::start(setting, place)?.with_context(|| format!("{} is no process", setting.name()))
    };
    let tracers = SETTINGS.iter().map(start).collect::<Result<Vec<_>>>()?;
    let per_s = SOCKETS / u32::try_from(TIME_WAIT.as_secs())?;
    let mut load = Ready::paced(per_s, FILLING + WATCHED + MARGIN, place)?;
    load.begin()?;
    thread::sleep(FILLING);
    let look = |tracer: &Running| {
        let records = tracer.counters.as_ref().map(|counters| counters.read()).transpose()?;
        anyhow::Ok((tracer.cpu()?, records))
    };
    let before = tracers.iter().map(look).collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    thread::sleep(WATCHED);
    let after = tracers.iter().map(look).collect::<Result<Vec<_>>>()?;
    let seconds = begin.elapsed().as_secs_f64();
    let account = load.account()?;
    let number = |key: &str| account.get(key).and_then(serde_json::Value::as_f64);
    let made = number("connections").zip(number("seconds")).and_then(|(made, seconds)| ratio(made, seconds));
    let connections_per_s = made.with_context(|| format!("the load's account says too little: {account}"))?;
    let mut rows = Vec::new();
    for (setting, (tracer, (before, after))) in SETTINGS.iter().zip(tracers.iter().zip(before.into_iter().zip(after))) {
        let cpu = after.0.since(before.0);
        let written = after.1.zip(before.1).map(|(after, before)| after.since(before).written as f64);
        rows.push(Turnover {
            setting: setting.name(),
            connections_per_s,
            there: account.get("there").and_then(serde_json::Value::as_u64),
            cpu_ms_per_s: cpu.total_ns as f64 / 1e6 / seconds,
            records_per_s: written.map(|written| written / seconds),
            cpu_ns_per_record: written.and_then(|written| ratio(cpu.total_ns as f64, written)),
            memory: anonymous_memory(tracer.id())?,
            lost: after.1.map(|records| records.lost),
        });
    }
    load.end()?;
    for tracer in tracers {
        tracer.end()?;
    }
    Ok(rows)
}
