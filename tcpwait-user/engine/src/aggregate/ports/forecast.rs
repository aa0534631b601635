//! When the ports towards one destination run out: from what holds them now, when each of those in TIME_WAIT comes free, and how
//! fast others follow. Pure arithmetic; times are nanoseconds from now.

use serde::Serialize;

use super::pace::Rates;

const NS: f64 = 1e9;

/// Nobody connects: after so long that can be said.
const IDLE_NS: u64 = 10_000_000_000;

/// What holds the ports, and how fast that changes.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Ports connect() may take.
    pub size: u64,
    /// Ports held by connections that are not in TIME_WAIT.
    pub active: u64,
    /// For each TIME_WAIT, after which time it is no more in connect()'s way.
    pub ends_ns: Vec<u64>,
    /// By how many a second the active become more; less than 0 counts as 0, as nothing says how far they will fall.
    pub growth_per_s: f64,
    /// How many a second come to TIME_WAIT.
    pub waits_per_s: f64,
    /// How long each of those is in connect()'s way.
    pub wait_ns: u64,
}

/// What becomes of the ports at the present rates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Forecast {
    /// None is free.
    Full {
        /// When the next comes free; `None` where that is not known.
        next_free_ns: Option<u64>,
    },
    /// None will be free.
    FullIn {
        /// In so many nanoseconds.
        in_ns: u64,
    },
    /// Some stay free.
    Steady {
        /// How many are held then.
        ports: f64,
        /// Their share of all, 0 to 1.
        share: f64,
    },
    /// Nobody has connected for half a minute.
    Idle,
}

/// Looks ahead. `None` where there is no port to be taken.
///
/// Held at time t: active + growth t + those in TIME_WAIT now that are still in the way + `waits_per_s` min(t, `wait_ns`).
/// Between two times at which that bends it is a straight line, so the first time that it reaches the size is found exactly.
pub fn forecast(mut load: Load) -> Option<Forecast> {
    if load.size == 0 {
        return None;
    }
    let size = load.size as f64;
    let growth = load.growth_per_s.max(0.0);
    load.ends_ns.sort_unstable();
    if load.active + load.ends_ns.len() as u64 >= load.size {
        return Some(Forecast::Full { next_free_ns: load.ends_ns.first().copied() });
    }
    let wait_s = load.wait_ns as f64 / NS;
    let held = |time_s: f64, waiting: usize| {
        load.active as f64 + growth * time_s + waiting as f64 + load.waits_per_s * time_s.min(wait_s)
    };
    let mut from_s = 0.0;
    let bends = load.ends_ns.iter().map(|ns| *ns as f64 / NS);
    let mut gone = 0;
    for bend_s in bends.chain([f64::INFINITY]) {
        let waiting = load.ends_ns.len() - gone;
        // The slope changes once between two ends at most.
        for (until_s, slope) in [(bend_s.min(wait_s), growth + load.waits_per_s), (bend_s, growth)] {
            if until_s <= from_s {
                continue;
            }
            let missing = size - held(from_s, waiting);
            if missing <= 0.0 || (slope > 0.0 && missing / slope < until_s - from_s) {
                let full_s = from_s + if missing > 0.0 { missing / slope } else { 0.0 };
                return Some(Forecast::FullIn { in_ns: (full_s * NS) as u64 });
            }
            from_s = until_s;
        }
        gone += 1;
    }
    let ports = load.active as f64 + load.waits_per_s * wait_s;
    Some(Forecast::Steady { ports, share: ports / size })
}

/// `unsure`: what is there now is not certain. Of rates that are at least nothing follows.
pub(super) fn foresee(load: Load, rates: Option<Rates>, fails: bool, unsure: bool) -> Option<Forecast> {
    let next_free_ns = load.ends_ns.iter().min().copied();
    let ahead = forecast(load)?;
    match (ahead, rates.filter(|rates| !rates.at_least)) {
        _ if unsure => fails.then_some(Forecast::Full { next_free_ns: None }),
        (Forecast::Full { .. }, _) => Some(ahead),
        _ if fails => Some(Forecast::Full { next_free_ns }),
        (_, None) => None,
        (_, Some(rates)) if rates.taken_per_s == 0.0 && rates.failed_per_s == 0.0 => {
            (rates.window_ns >= IDLE_NS).then_some(Forecast::Idle)
        }
        _ => Some(ahead),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{Forecast, Load, NS, forecast};

    const S: u64 = 1_000_000_000;

    fn full_in(load: Load) -> f64 {
        match forecast(load) {
            Some(Forecast::FullIn { in_ns }) => (in_ns as f64 / NS * 1e3).round() / 1e3,
            other => panic!("{other:?}"),
        }
    }

    fn steady_at(load: Load) -> f64 {
        match forecast(load) {
            Some(Forecast::Steady { share, .. }) => share,
            other => panic!("{other:?}"),
        }
    }

    fn load(size: u64, active: u64, waits_per_s: f64) -> Load {
        Load { size, active, waits_per_s, wait_ns: 60 * S, ..Load::default() }
    }

    #[test]
    fn an_empty_range_fills_at_the_rate() {
        assert_eq!(full_in(load(20, 0, 1.0)), 20.0);
        assert_eq!(full_in(load(20, 4, 2.0)), 8.0);
        // 60 s at 0.2 a second hold 12.
        assert_eq!(steady_at(load(20, 0, 0.2)), 0.6);
        assert_eq!(steady_at(load(20, 5, 0.0)), 0.25);
    }

    #[test]
    fn those_in_time_wait_come_free_at_their_own_time() {
        // Ten that all end in 5 s: until then 5 more, then room for 15.
        let with = |ends_ns: Vec<u64>| Load { ends_ns, ..load(20, 0, 1.0) };
        assert_eq!(full_in(with(vec![5 * S; 10])), 20.0);
        assert_eq!(full_in(with(vec![15 * S; 10])), 10.0);
        assert_eq!(full_in(with((1..=10).map(|s| s * S).collect())), 20.0);
        // Each that ends makes room for one that follows: it is full when they are over.
        assert_eq!(full_in(with((1..=19).map(|s| s * S).collect())), 20.0);
        assert_eq!(steady_at(Load { waits_per_s: 0.3, ..with(vec![10 * S; 15]) }), 0.9);
    }

    #[test]
    fn a_leak_fills_whatever_time_wait_does() {
        let leak = Load { growth_per_s: 0.5, ..load(20, 10, 0.0) };
        assert_eq!(full_in(leak.clone()), 20.0);
        assert_eq!(full_in(Load { growth_per_s: 0.01, ..leak.clone() }), 1000.0);
        // With half of the range in TIME_WAIT from the second minute on.
        let both = Load { growth_per_s: 0.01, waits_per_s: 0.1, ..leak.clone() };
        assert_eq!(full_in(both), 400.0);
        // Nobody knows how far they will fall.
        assert_eq!(steady_at(Load { growth_per_s: -0.5, ..leak }), 0.5);
    }

    #[test]
    fn full_is_full() {
        let full = |active, ends_ns| forecast(Load { ends_ns, ..load(20, active, 1.0) });
        assert_eq!(full(20, vec![]), Some(Forecast::Full { next_free_ns: None }));
        assert_eq!(full(10, vec![9 * S; 10]), Some(Forecast::Full { next_free_ns: Some(9 * S) }));
        assert_eq!(full(0, (7..27).map(|s| s * S).collect()), Some(Forecast::Full { next_free_ns: Some(7 * S) }));
        assert_eq!(forecast(load(0, 0, 1.0)), None);
    }

    #[test]
    fn it_agrees_with_a_simulation() {
        for (rate, active) in [(0.5, 3), (1.0, 0), (3.0, 7), (0.33, 12)] {
            let ends_ns: Vec<u64> = (0..8u64).map(|n| (3 + n * n) * S).collect();
            let load = Load { active, ends_ns: ends_ns.clone(), ..load(30, 0, rate) };
            let held = |time_s: f64| {
                let waiting = ends_ns.iter().filter(|ns| **ns as f64 / NS > time_s).count();
                active as f64 + waiting as f64 + rate * time_s.min(60.0)
            };
            let simulated = (0..100_000).map(|ms| f64::from(ms) / 100.0).find(|time_s| held(*time_s) >= 30.0);
            match (forecast(load), simulated) {
                (Some(Forecast::FullIn { in_ns }), Some(time_s)) => {
                    assert!((in_ns as f64 / NS - time_s).abs() < 0.05, "{in_ns} {time_s}");
                }
                (Some(Forecast::Steady { .. }), None) => {}
                other => panic!("{rate} {active}: {other:?}"),
            }
        }
    }
}
