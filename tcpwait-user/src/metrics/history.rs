//! A recording's metrics at many times, as `promtool tsdb create-blocks-from openmetrics` reads them: OpenMetrics with a timestamp on every sample, each
//! family in one piece. The library writes no timestamps; so it writes each moment, and they are put in here.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use hashbrown::HashMap;

use super::{exposition, snapshot::Snapshot};

/// How far two moments lie apart, in nanoseconds: as scrapes usually do.
const STEP_NS: u64 = 15_000_000_000;

/// Moments that are kept: more of them, and each step counts for two.
const MOST: u32 = 4096;

/// Samples of many moments, by family.
#[derive(Debug)]
pub struct History {
    families: Vec<FamilyText>,
    index: HashMap<String, usize>,
    due_ns: u64,
    step_ns: u64,
    moments: u32,
    last_s: f64,
}

/// What is said of a family, and its samples.
#[derive(Debug, Default)]
struct FamilyText {
    about: String,
    samples: String,
}

impl History {
    /// From this time on, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn new(from_ns: u64) -> Self {
        Self {
            families: Vec::new(),
            index: HashMap::new(),
            due_ns: from_ns,
            step_ns: STEP_NS,
            moments: 0,
            last_s: f64::NEG_INFINITY,
        }
    }

    /// Whether a moment is due.
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.due_ns
    }

    /// The metrics at a time, in nanoseconds of `CLOCK_MONOTONIC` and in seconds since 1970.
    pub fn add(&mut self, now_ns: u64, now_s: f64, snapshot: &Snapshot) {
        // A clock that was set back would give samples that Prometheus refuses.
        if now_s <= self.last_s {
            return;
        }
        self.last_s = now_s;
        self.moments += 1;
        if self.moments.is_multiple_of(MOST) {
            self.step_ns *= 2;
        }
        self.due_ns = now_ns.saturating_add(self.step_ns);
        let Ok(text) = exposition::open_metrics(snapshot.clone()) else { return };
        let mut family = None;
        for line in text.lines().filter(|line| *line != "# EOF") {
            match line.strip_prefix("# ").and_then(|about| about.split(' ').nth(1)) {
                Some(name) => {
                    let at = *self.index.entry(name.to_owned()).or_insert_with(|| {
                        self.families.push(FamilyText::default());
                        self.families.len() - 1
                    });
                    family = Some(at);
                    if let Some(family) = self.families.get_mut(at).filter(|family| family.samples.is_empty()) {
                        family.about.push_str(line);
                        family.about.push('\n');
                    }
                }
                None => {
                    if let Some(family) = family.and_then(|at| self.families.get_mut(at)) {
                        stamp(&mut family.samples, line, now_s);
                    }
                }
            }
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for family in &self.families {
            out.write_all(family.about.as_bytes())?;
            out.write_all(family.samples.as_bytes())?;
        }
        out.write_all(b"# EOF\n")
    }
}

/// A sample with its time; an exemplar, which would need one of its own, is left out. Label values have no line ends, and a `#` in one is within quotes.
fn stamp(samples: &mut String, line: &str, now_s: f64) {
    let exemplar = line.match_indices(" # {").map(|(at, _)| at).find(|at| is_outside_of_quotes(line, *at));
    let value = exemplar.and_then(|at| line.get(..at)).unwrap_or(line);
    let _ = writeln!(samples, "{value} {now_s:.3}");
}

fn is_outside_of_quotes(line: &str, at: usize) -> bool {
    let mut inside = false;
    let mut escaped = false;
    for c in line.get(..at).unwrap_or_default().chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
    }
    !inside
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn a_sample_gets_its_time_and_loses_its_exemplar() {
        let stamped = |line: &str| {
            let mut out = String::new();
            stamp(&mut out, line, 1.5);
            out
        };
        assert_eq!(stamped("a_total 3"), "a_total 3 1.500\n");
        assert_eq!(stamped("a_total{x=\"y\"} 3 # {comm=\"z\"} 1"), "a_total{x=\"y\"} 3 1.500\n");
        assert_eq!(stamped("a_total{x=\"y # {\"} 3"), "a_total{x=\"y # {\"} 3 1.500\n");
    }
}
