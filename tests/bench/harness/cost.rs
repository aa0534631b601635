//! What a connection, a read, a turn or a call costs the core that it is made on, under each setting, and how that differs from
//! untraced and from the null probe in the same round.

use serde::Serialize;

use crate::interval::Interval;
use crate::load::Kind;
use crate::numbers::ratio;
use crate::rotation::Sample;
use crate::tracer::Setting;

/// A load under a setting. Times are nanoseconds for each connection, read, turn or call.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Its name.
    pub load: &'static str,
    /// What is made.
    pub kind: Kind,
    /// Its name.
    pub setting: String,
    /// Of the load's core, softirqs in it.
    pub ns: Option<Interval>,
    /// What that is more than untraced, by pairs.
    pub beyond_untraced_ns: Option<Interval>,
    /// What it is more than with the null probe, by pairs.
    pub beyond_null_ns: Option<Interval>,
    /// Of the tracer's own processes; null where there is none.
    pub tool_ns: Option<Interval>,
    /// What both are more than with the null probe, by pairs: processes of that are counted too.
    pub with_tool_beyond_null_ns: Option<Interval>,
    /// The same beyond untraced.
    pub with_tool_beyond_untraced_ns: Option<Interval>,
    /// How much of the rate is kept that a core untraced has, by pairs: 1 is all of it.
    pub kept: Option<Interval>,
}

impl Cost {
    /// Whether it is of this load and this setting.
    pub fn is_of(&self, load: &str, setting: &Setting) -> bool {
        self.load == load && self.setting == setting.name()
    }
}

/// All runs of a load under a setting in one round: nanoseconds for each.
#[derive(Clone, Copy, Default)]
struct Round {
    number: u32,
    made: f64,
    own_ns: f64,
    tool_ns: f64,
}

impl Round {
    /// Of the load's core.
    fn own(&self) -> Option<f64> {
        ratio(self.own_ns, self.made)
    }

    /// Of the tracer's processes; where there are none, 0.
    fn tool(&self) -> Option<f64> {
        ratio(self.tool_ns, self.made)
    }

    fn both(&self) -> Option<f64> {
        Some(self.own()? + self.tool()?)
    }
}

fn rounds(samples: &[Sample], load: &str, setting: &str) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    for sample in samples.iter().filter(|sample| sample.load == load && sample.setting == setting) {
        if rounds.last().is_none_or(|last| last.number != sample.round) {
            rounds.push(Round { number: sample.round, ..Round::default() });
        }
        if let Some(round) = rounds.last_mut() {
            round.made += sample.done.made;
            round.own_ns += sample.done.cpu_seconds * 1e9;
            round.tool_ns += sample.cpu.map_or(0.0, |cpu| cpu.total_ns as f64);
        }
    }
    rounds
}

/// Every load under every setting, in the order in which they first came.
pub fn of(samples: &[Sample]) -> Vec<Cost> {
    let mut rows: Vec<Cost> = Vec::new();
    for sample in samples {
        if !rows.iter().any(|row| row.load == sample.load && row.setting == sample.setting) {
            rows.push(row(samples, sample));
        }
    }
    let loads: Vec<_> = samples.iter().map(|sample| sample.load).collect();
    rows.sort_by_key(|row| loads.iter().position(|load| *load == row.load));
    rows
}

fn row(samples: &[Sample], first: &Sample) -> Cost {
    let mine = rounds(samples, first.load, &first.setting);
    let pairs = |base: &Setting, value: &dyn Fn(&Round, &Round) -> Option<f64>| {
        let others = rounds(samples, first.load, &base.name());
        let pair = |round: &Round| value(round, others.iter().find(|other| other.number == round.number)?);
        (first.setting != base.name()).then(|| Interval::of(mine.iter().filter_map(pair))).flatten()
    };
    let beyond = |base: &Setting, cost: fn(&Round) -> Option<f64>| {
        pairs(base, &|round, other| Some(cost(round)? - cost(other)?))
    };
    let (untraced, null) = (Setting::Untraced(0), Setting::Null);
    Cost {
        load: first.load,
        kind: first.kind,
        setting: first.setting.clone(),
        ns: Interval::of(mine.iter().filter_map(Round::own)),
        beyond_untraced_ns: beyond(&untraced, Round::own),
        beyond_null_ns: beyond(&null, Round::own),
        tool_ns: first.cpu.and_then(|_| Interval::of(mine.iter().filter_map(Round::tool))),
        with_tool_beyond_null_ns: beyond(&null, Round::both),
        with_tool_beyond_untraced_ns: beyond(&untraced, Round::both),
        kept: pairs(&untraced, &|round, other| ratio(other.own()?, round.own()?)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::of;
    use crate::load::{Done, Kind};
    use crate::process::Cpu;
    use crate::rotation::Sample;
    use crate::tracer::Setting;

    /// Microseconds of the load's core and of the tracer for each of a thousand.
    fn sample(round: u32, setting: &str, own: f64, tool: Option<u64>) -> Sample {
        Sample {
            round,
            setting: setting.to_owned(),
            load: "load",
            kind: Kind::Connections,
            done: Done { made: 1000.0, seconds: 1.0, cpu_seconds: own / 1000.0, errors: 0 },
            cpu: tool.map(|tool| Cpu { total_ns: tool * 1_000_000, user_ns: 0 }),
            records: None,
            ran: Vec::new(),
            null_ran: None,
        }
    }

    #[test]
    fn what_drifts_is_in_both_of_a_pair() {
        let samples = [
            sample(0, "untraced", 50.0, None),
            sample(0, "null", 51.0, Some(0)),
            sample(0, "stat", 54.0, Some(3)),
            sample(1, "stat", 84.0, Some(5)),
            sample(1, "null", 81.0, Some(0)),
            sample(1, "untraced", 80.0, None),
        ];
        let rows = of(&samples);
        let row = |setting: Setting| rows.iter().find(|row| row.is_of("load", &setting)).unwrap();
        let stat = row(Setting::Stat);
        let mean = |interval: Option<crate::interval::Interval>| interval.map(|interval| interval.mean.round());
        assert_eq!((mean(stat.ns), mean(stat.tool_ns)), (Some(69_000.0), Some(4000.0)));
        assert_eq!((mean(stat.beyond_untraced_ns), mean(stat.beyond_null_ns)), (Some(4000.0), Some(3000.0)));
        assert!(stat.beyond_null_ns.unwrap().width() < 1e-3, "the machine's drift is not in the difference");
        assert_eq!(
            (mean(stat.with_tool_beyond_null_ns), mean(stat.with_tool_beyond_untraced_ns)),
            (Some(7000.0), Some(8000.0))
        );
        assert!((stat.kept.unwrap().mean - (50.0 / 54.0 + 80.0 / 84.0) / 2.0).abs() < 1e-9);
        let untraced = row(Setting::Untraced(0));
        assert!(untraced.beyond_untraced_ns.is_none() && untraced.kept.is_none() && untraced.tool_ns.is_none());
    }

    #[test]
    fn a_round_without_its_other_half_is_no_pair() {
        let samples = [
            sample(0, "untraced", 50.0, None),
            sample(0, "stat", 54.0, Some(3)),
            sample(1, "stat", 60.0, Some(3)),
            sample(2, "stat", 55.0, Some(3)),
            sample(2, "untraced", 50.0, None),
        ];
        let stat = of(&samples).into_iter().find(|row| row.setting == "stat").unwrap();
        assert_eq!(stat.ns.map(|ns| ns.count), Some(3));
        assert_eq!(stat.beyond_untraced_ns.map(|interval| (interval.count, interval.mean.round())), Some((2, 4500.0)));
        assert_eq!(stat.beyond_null_ns, None);
    }

    #[test]
    fn several_runs_in_a_round_are_one() {
        let round = |number, stat: [f64; 2]| {
            let runs = stat.map(|own| sample(number, "stat", own, Some(1)));
            [&runs[..], &[sample(number, "untraced", 50.0, None)]].concat()
        };
        let samples = [round(0, [50.0, 60.0]), round(1, [58.0, 54.0])].concat();
        let stat = of(&samples).into_iter().find(|row| row.setting == "stat").unwrap();
        let beyond = stat.beyond_untraced_ns.unwrap();
        assert_eq!((beyond.count, beyond.mean.round()), (2, 5500.0));
        assert_eq!(stat.tool_ns.map(|ns| ns.mean.round()), Some(1000.0));
    }
}
