//! The same loads under each setting in short turns, A B A B, until the differences are known well enough: a measurement is compared
//! with its neighbours only, and what drifts is in both. The load has the last core for itself; tracers have the others.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cost::{self, Cost};
use crate::interval::{Interval, Until};
use crate::load::Load;
use crate::progress::Progress;
use crate::rotation::{Sample, measure};
use crate::tracer::{Place, Running, Setting, all_but_the_last};

/// How long a tracer may take to be done with what its start left.
const SETTLING: Duration = Duration::from_secs(3);

/// What is run.
pub struct Paired<'a> {
    /// Settings, each with its loads. Every round has all of them, each other round from the last to the first.
    pub settings: &'a [(Setting, Vec<&'static Load>)],
    /// How long each.
    pub length: Duration,
    /// When it is enough.
    pub until: Until,
    /// Of which differences.
    pub decides: fn(&Cost) -> Vec<Option<Interval>>,
}

impl Paired<'_> {
    /// Runs it. `None` on a machine whose only core the load would have to share with the tracer.
    pub fn run(&self, what: &str, place: &Place, progress: &mut Progress) -> Result<Option<Vec<Sample>>> {
        let Some(cores) = all_but_the_last()? else {
            eprintln!("{what}: not measured, as it takes two cores");
            return Ok(None);
        };
        let begin = Instant::now();
        let mut samples = Vec::new();
        for round in 0.. {
            let took = begin.elapsed();
            let left = self.until.at_most.saturating_sub(took);
            // The first says how long one takes.
            let expected = took.checked_div(round).unwrap_or(left / 10).min(left);
            progress.step(&format!("{what}, round {} ({} s at most)", round + 1, left.as_secs()), expected);
            let mut settings: Vec<_> = self.settings.iter().collect();
            if round % 2 == 1 {
                settings.reverse();
            }
            for (setting, loads) in settings {
                let name = setting.name();
                let running = Running::start_on(setting, Some(cores), place)?;
                running.as_ref().map(|tracer| tracer.quiet(SETTLING)).transpose()?;
                for load in loads {
                    let sample = measure(load, self.length, running.as_ref(), None, place);
                    let sample = sample.with_context(|| format!("measuring {} with {name}", load.name))?;
                    samples.push(Sample { round, setting: name.clone(), ..sample });
                }
                running.map(Running::end).transpose()?;
            }
            let intervals: Vec<_> = cost::of(&samples).iter().flat_map(self.decides).collect();
            if self.until.reached(&intervals, begin.elapsed()) {
                break;
            }
        }
        Ok(Some(samples))
    }
}
