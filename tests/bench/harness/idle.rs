//! What the tool takes when there is nothing to do: processor time, and how often it wakes up.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use serde::Serialize;

use crate::process;
use crate::progress::Progress;
use crate::tracer::{Place, Running, Setting};

/// How long it is watched.
const LENGTH: Duration = Duration::from_secs(12);
/// How often its threads are looked at: what one that ended did since the last look is not known.
const LOOK: Duration = Duration::from_millis(500);
/// What the start left to do is done by then, a first full second of reports too.
const SETTLING: Duration = Duration::from_secs(2);

/// What is watched.
pub const SETTINGS: [Setting; 3] = [Setting::Stat, Setting::Top, Setting::Export];

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Idle {
    /// Its name.
    pub setting: String,
    /// For how long it was watched.
    pub seconds: f64,
    /// Processor time, threads that have ended in it: milliseconds a second.
    pub cpu_ms_per_s: f64,
    /// How often its threads left a core, to wait or as others wanted it: what a wake-up ends with. Of all threads, a second.
    pub wakeups_per_s: f64,
    /// Threads there at the end.
    pub threads: usize,
    /// Threads that came or went meanwhile, as far as they were seen: of these, wake-ups may be missing.
    pub threads_changed: usize,
    /// Records that were written meanwhile: there was not quite nothing to do.
    pub records: Option<u64>,
}

/// About how long all take.
pub fn expected() -> Duration {
    (LENGTH + SETTLING * 2) * u32::try_from(SETTINGS.len()).unwrap_or(u32::MAX)
}

/// Watches it.
pub fn watch(setting: &Setting, place: &Place, progress: &mut Progress) -> Result<Idle> {
    progress.step(&format!("idle: {}", setting.name()), LENGTH + SETTLING * 2);
    let tracer = Running::start(setting, place)?.with_context(|| format!("{} is no process", setting.name()))?;
    thread::sleep(SETTLING);
    tracer.quiet(SETTLING)?;
    let written =
        || anyhow::Ok(tracer.counters.as_ref().map(|counters| counters.read()).transpose()?.map(|read| read.written));
    let (begin, cpu_before, records_before) = (Instant::now(), tracer.cpu()?, written()?);
    let mut switches = Switches::from(process::switches(tracer.pids()));
    while begin.elapsed() < LENGTH {
        thread::sleep(LOOK);
        switches.look(process::switches(tracer.pids()));
    }
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), tracer.cpu()?.since(cpu_before));
    let records = written()?.zip(records_before).map(|(after, before)| after.saturating_sub(before));
    tracer.end()?;
    Ok(Idle {
        setting: setting.name(),
        seconds,
        cpu_ms_per_s: cpu.total_ns as f64 / 1e6 / seconds,
        wakeups_per_s: switches.counted as f64 / seconds,
        threads: switches.last.len(),
        threads_changed: switches.changed,
        records,
    })
}

/// Context switches of threads that come and go.
struct Switches {
    last: BTreeMap<Pid, u64>,
    counted: u64,
    changed: usize,
}

impl Switches {
    fn from(first: BTreeMap<Pid, u64>) -> Self {
        Self { last: first, counted: 0, changed: 0 }
    }

    /// A thread that is new began with 0; one that is gone adds no more.
    fn look(&mut self, now: BTreeMap<Pid, u64>) {
        for (thread, count) in &now {
            let before = self.last.get(thread);
            self.changed += usize::from(before.is_none());
            self.counted += count.saturating_sub(before.copied().unwrap_or_default());
        }
        self.changed += self.last.keys().filter(|thread| !now.contains_key(thread)).count();
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::Switches;

    #[test]
    fn threads_come_and_go() {
        let look = |threads: &[(i32, u64)]| threads.iter().map(|(id, count)| (Pid::from_raw(*id), *count)).collect();
        let mut switches = Switches::from(look(&[(1, 100), (2, 50)]));
        switches.look(look(&[(1, 104), (3, 2)]));
        switches.look(look(&[(1, 105), (3, 5)]));
        assert_eq!((switches.counted, switches.changed, switches.last.len()), (4 + 2 + 1 + 3, 2, 2));
    }
}
