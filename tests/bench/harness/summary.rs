//! What the samples come to: each setting against untraced and against the null probe of the same round.

use serde::Serialize;

use crate::bpf::Ran;
use crate::load::Kind;
use crate::numbers::{Spread, ratio};
use crate::process::Cpu;
use crate::rotation::Sample;
use crate::tracer::Setting;

/// A load under a setting: how fast.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// Its name.
    pub load: &'static str,
    /// What is counted.
    pub kind: Kind,
    /// Its name.
    pub setting: String,
    /// Connections, bytes or packets a second.
    pub per_s: Spread,
    /// Of the mean of both untraced in the same round; for `untraced again`, of `untraced`: the noise.
    pub kept: Option<Spread>,
    /// The same of connections, bytes or packets a second of processor time that the load got. What the tracer takes on other
    /// cores, or by displacing the load, is not in it; nor is what others on the machine take.
    pub kept_of_cpu: Option<Spread>,
    /// Of the null probe's rate in the same round.
    pub kept_of_null: Option<Spread>,
    /// What the tracer took for each record it read: nanoseconds. Of connections only: other loads make next to no records.
    pub cpu_ns_per_record: Option<f64>,
    /// In user space alone.
    pub user_ns_per_record: Option<f64>,
    /// What the tracer took for each connection, other processes' among what it traced: nanoseconds.
    pub cpu_ns_per_connection: Option<f64>,
    /// Records written, of all rounds.
    pub written: Option<u64>,
    /// Records lost, of all rounds.
    pub lost: Option<u64>,
    /// Connections that failed, of all rounds.
    pub errors: u64,
}

/// A load under a setting: how long in the tracer's BPF programs.
#[derive(Clone, Debug, Serialize)]
pub struct Kernel {
    /// Its name.
    pub load: &'static str,
    /// Its name.
    pub setting: String,
    /// Nanoseconds for each connection.
    pub ns_per_connection: Spread,
    /// Nanoseconds for each call of a program.
    pub ns_per_call: Option<Spread>,
    /// Calls for each connection.
    pub calls_per_connection: Option<Spread>,
    /// Of the time of the null probe that ran beside it, and so saw the same events, other processes' among them.
    pub times_null: Option<Spread>,
    /// Each program, of all rounds.
    pub programs: Vec<Ran>,
}

/// Loads and settings in the order in which they first came.
fn pairs(samples: &[Sample]) -> Vec<(&'static str, &str)> {
    let mut pairs = Vec::new();
    for sample in samples {
        let pair = (sample.load, sample.setting.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let loads: Vec<_> = samples.iter().map(|sample| sample.load).collect();
    pairs.sort_by_key(|(load, _)| loads.iter().position(|other| other == load));
    pairs
}

fn of<'a>(samples: &'a [Sample], load: &str, setting: &str) -> Vec<&'a Sample> {
    samples.iter().filter(|sample| sample.load == load && sample.setting == setting).collect()
}

/// How fast each load was under each setting.
pub fn rates(samples: &[Sample]) -> Vec<Rate> {
    let [untraced, again, null] =
        [Setting::Untraced(0), Setting::Untraced(1), Setting::Null].map(|setting| setting.name());
    let row = |(load, setting): (&'static str, &str)| {
        let mine = of(samples, load, setting);
        let kept = |rate: fn(&Sample) -> f64| {
            let in_round = |setting: &str, round: u32| {
                of(samples, load, setting).into_iter().find(|sample| sample.round == round).map(rate)
            };
            let of_untraced = |sample: &&Sample| {
                let (first, second) = (in_round(&untraced, sample.round)?, in_round(&again, sample.round));
                let base = match second {
                    Some(second) if setting != again => f64::midpoint(first, second),
                    _ => first,
                };
                ratio(rate(sample), base)
            };
            (setting != untraced).then(|| Spread::of(mine.iter().filter_map(of_untraced))).flatten()
        };
        let of_null = |sample: &&Sample| {
            let null = of(samples, load, &null).into_iter().find(|null| null.round == sample.round)?;
            ratio(sample.rate(), null.rate())
        };
        let written = mine.iter().map(|sample| Some(sample.records?.written)).sum::<Option<u64>>();
        let per_record = |ns: fn(&Cpu) -> u64| {
            mine.first().filter(|sample| sample.kind == Kind::Connections)?;
            let taken = mine.iter().map(|sample| sample.cpu.as_ref().map(ns)).sum::<Option<u64>>()?;
            ratio(taken as f64, written? as f64)
        };
        let per_connection = || {
            mine.first().filter(|sample| sample.kind == Kind::Connections)?;
            let taken = mine.iter().map(|sample| Some(sample.cpu.as_ref()?.total_ns)).sum::<Option<u64>>()?;
            ratio(taken as f64, mine.iter().map(|sample| sample.done.made).sum())
        };
        Some(Rate {
            load,
            kind: mine.first()?.kind,
            setting: setting.to_owned(),
            per_s: Spread::of(mine.iter().map(|sample| sample.rate()))?,
            kept: kept(Sample::rate),
            kept_of_cpu: kept(Sample::rate_of_cpu),
            kept_of_null: (setting != null).then(|| Spread::of(mine.iter().filter_map(of_null))).flatten(),
            cpu_ns_per_record: per_record(|cpu| cpu.total_ns),
            user_ns_per_record: per_record(|cpu| cpu.user_ns),
            cpu_ns_per_connection: per_connection(),
            written,
            lost: mine.iter().map(|sample| Some(sample.records?.lost)).sum(),
            errors: mine.iter().map(|sample| sample.done.errors).sum(),
        })
    };
    pairs(samples).into_iter().filter_map(row).collect()
}

/// How long each load was in the programs of each setting.
pub fn kernel(samples: &[Sample]) -> Vec<Kernel> {
    let all_ns = |ran: &[Ran]| ran.iter().map(|ran| ran.ns).sum::<u64>() as f64;
    let ns = |sample: &Sample| all_ns(&sample.ran);
    let runs = |sample: &Sample| sample.ran.iter().map(|ran| ran.runs).sum::<u64>() as f64;
    let against = |sample: &&Sample| ratio(ns(sample), all_ns(sample.null_ran.as_ref()?));
    let row = |(load, setting): (&'static str, &str)| {
        let mine = of(samples, load, setting);
        let mut programs: Vec<Ran> = Vec::new();
        for ran in mine.iter().flat_map(|sample| &sample.ran) {
            match programs.iter_mut().find(|program| program.name == ran.name) {
                Some(program) => (program.runs, program.ns) = (program.runs + ran.runs, program.ns + ran.ns),
                None => programs.push(ran.clone()),
            }
        }
        Some(Kernel {
            load,
            setting: setting.to_owned(),
            ns_per_connection: Spread::of(mine.iter().map(|sample| ns(sample) / sample.done.made))?,
            ns_per_call: Spread::of(mine.iter().filter_map(|sample| ratio(ns(sample), runs(sample)))),
            calls_per_connection: Spread::of(mine.iter().map(|sample| runs(sample) / sample.done.made)),
            times_null: Spread::of(mine.iter().filter_map(against)),
            programs,
        })
    };
    pairs(samples).into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{kernel, rates};
    use crate::bpf::Ran;
    use crate::load::{Done, Kind};
    use crate::rotation::Sample;

    fn sample(round: u32, setting: &str, made: f64, ns: u64) -> Sample {
        let ran = |ns| vec![Ran { name: "hook".to_owned(), runs: 10, ns }];
        Sample {
            round,
            setting: setting.to_owned(),
            load: "load",
            kind: Kind::Connections,
            done: Done { made, seconds: 2.0, cpu_seconds: 1.0, errors: 0 },
            cpu: None,
            records: None,
            ran: ran(ns),
            null_ran: (setting != "null").then(|| ran(ns / 3)),
        }
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        // The machine is half as fast in the second round.
        let samples = [
            sample(0, "untraced", 90.0, 0),
            sample(0, "untraced again", 110.0, 0),
            sample(0, "null", 100.0, 0),
            sample(0, "stat", 80.0, 0),
            sample(1, "untraced", 50.0, 0),
            sample(1, "untraced again", 50.0, 0),
            sample(1, "stat", 40.0, 0),
        ];
        let rates = rates(&samples);
        let stat = rates.iter().find(|rate| rate.setting == "stat").unwrap();
        let kept = stat.kept.unwrap();
        assert_eq!((kept.count, kept.min, kept.max, stat.per_s.median), (2, 0.8, 0.8, 30.0));
        assert_eq!(
            stat.kept_of_null.map(|kept| (kept.count, kept.min)),
            Some((1, 0.8)),
            "of the round that has a null probe"
        );
        assert!(stat.cpu_ns_per_record.is_none() && stat.written.is_none(), "not known is not 0");
        assert!(rates.iter().any(|rate| rate.setting == "untraced" && rate.kept.is_none()));
        let again = rates.iter().find(|rate| rate.setting == "untraced again").and_then(|rate| rate.kept).unwrap();
        assert!(again.max > 1.2, "the noise is one untraced against the other");
    }

    #[test]
    fn the_null_probe_beside_it_is_the_measure() {
        let samples = [sample(0, "null", 10.0, 5), sample(0, "stat", 20.0, 600), sample(1, "stat", 10.0, 150)];
        let kernel = kernel(&samples);
        let stat = kernel.iter().find(|row| row.setting == "stat").unwrap();
        assert_eq!(stat.times_null.map(|times| (times.min, times.max)), Some((3.0, 3.0)));
        assert_eq!((stat.ns_per_connection.min, stat.ns_per_connection.max), (15.0, 30.0));
        assert_eq!(stat.programs, [Ran { name: "hook".to_owned(), runs: 20, ns: 750 }]);
        assert!(kernel.iter().any(|row| row.setting == "null" && row.times_null.is_none()));
    }
}
