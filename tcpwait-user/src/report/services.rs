//! How many TIME_WAITs began when, for each service.

use hashbrown::HashMap;

use super::equal_parts::{EqualParts, Stretch};
use crate::aggregate::by::Value;

/// So many parts of time at most.
const MOST: usize = 120;

/// How long a part is at first.
const SECOND_NS: u64 = 1_000_000_000;

/// So many services are told apart; the TIME_WAITs of more are counted together.
const MAX_SERVICES: usize = 1_000;

/// Entries of a part of time, by service; `None`: of those that are not told apart.
#[derive(Debug, Default)]
struct ServicesStretch(HashMap<Option<Value>, u64>);

impl Stretch for ServicesStretch {
    fn append(&mut self, later: Self) {
        for (service, entered) in later.0 {
            *self.0.entry(service).or_default() += entered;
        }
    }
}

/// A service and its TIME_WAITs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOverTime {
    /// The service; `None`: all others.
    pub service: Option<Value>,
    /// How many began.
    pub entered: u64,
    /// The same in each part of the time.
    pub parts: Vec<u64>,
}

/// Services over time.
#[derive(Debug)]
pub struct Services {
    parts: EqualParts<ServicesStretch>,
    entered: HashMap<Value, u64>,
}

impl Services {
    /// From this time on, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn new(begin_ns: u64) -> Self {
        Self { parts: EqualParts::new(begin_ns, SECOND_NS, MOST), entered: HashMap::new() }
    }

    /// So many TIME_WAITs of a service began at this time.
    pub fn entered(&mut self, time_ns: u64, service: Value, n: u64) {
        let is_told_apart = self.entered.len() < MAX_SERVICES || self.entered.contains_key(&service);
        if is_told_apart {
            *self.entered.entry(service).or_default() += n;
        }
        self.parts.at(time_ns, |part| *part.0.entry(is_told_apart.then_some(service)).or_default() += n);
    }

    /// It ends at this time.
    pub fn finish(&mut self, end_ns: u64) {
        self.parts.at(end_ns, |_| ());
    }

    /// How long each part is, in nanoseconds.
    pub fn width_ns(&self) -> u64 {
        self.parts.width_ns()
    }

    /// The services with the most first, in at most so many rows, of which the last may be all others.
    pub fn rows(&self, most: usize) -> Vec<ServiceOverTime> {
        let mut services: Vec<(Value, u64)> =
            self.entered.iter().map(|(service, entered)| (*service, *entered)).collect();
        services.sort_unstable_by(|(a, one), (b, other)| other.cmp(one).then(a.cmp(b)));
        let all_fit = services.len() <= most && self.parts.parts().iter().all(|part| !part.0.contains_key(&None));
        services.truncate(if all_fit { most } else { most.saturating_sub(1) });
        let mut rows: Vec<ServiceOverTime> = services
            .into_iter()
            .map(|(service, _)| {
                let of = |part: &ServicesStretch| part.0.get(&Some(service)).copied().unwrap_or_default();
                row(Some(service), self.parts.parts().iter().map(of).collect())
            })
            .collect();
        if !all_fit {
            let shown = |index: usize| rows.iter().filter_map(|row| row.parts.get(index)).sum::<u64>();
            let rest = |(index, part): (usize, &ServicesStretch)| part.0.values().sum::<u64>() - shown(index);
            let rest = self.parts.parts().iter().enumerate().map(rest).collect();
            rows.push(row(None, rest));
        }
        rows
    }
}

fn row(service: Option<Value>, parts: Vec<u64>) -> ServiceOverTime {
    ServiceOverTime { service, entered: parts.iter().sum(), parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_however_many_services_there_are() {
        let second = |second: u64| second * SECOND_NS;
        for several in [3, 50, 3_000u16] {
            let mut services = Services::new(second(10));
            for service in 0..several {
                services.entered(second(10 + u64::from(service) % 500), Value::Local(service), 2);
            }
            services.finish(second(600));
            let rows = services.rows(40);
            assert!(rows.len() <= 40);
            assert_eq!(rows.iter().map(|row| row.entered).sum::<u64>(), 2 * u64::from(several));
            assert!(rows.iter().all(|row| row.parts.len() <= MOST && row.parts.iter().sum::<u64>() == row.entered));
            assert_eq!(rows.iter().any(|row| row.service.is_none()), several > 40);
        }
    }
}
