//! What tcpwait is to cost at most, and whether it does. A target that was not measured is neither met nor missed.

use serde::Serialize;

use crate::binary::Binary;
use crate::followed::Row;
use crate::load::{ACROSS, FASTEST, Kind};
use crate::numbers::Spread;
use crate::start::Started;
use crate::summary::{Kernel, Rate};
use crate::tracer::Setting;

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// What is measured.
    pub name: &'static str,
    /// What is to be reached, in words.
    pub target: &'static str,
    /// What was measured; null if it was not.
    pub value: Option<f64>,
    /// Of `value`.
    pub unit: &'static str,
    /// Whether it was reached; null if it was not measured.
    pub met: Option<bool>,
    /// On what it was measured, and what else is to be known of it.
    pub note: Option<String>,
}

/// What was measured: a part that was not is empty.
pub struct Measured<'a> {
    /// See `Findings`.
    pub rates: &'a [Rate],
    /// See `Findings`.
    pub kernel: &'a [Kernel],
    /// See `Findings`.
    pub followed: &'a [Row],
    /// See `Findings`.
    pub starts: &'a [Started],
    /// See `Findings`.
    pub binary: Option<Binary>,
}

const A_MILLION: u32 = 1_000_000;
/// Where untraced differs from itself by more, no other difference says anything.
const TOO_NOISY: f64 = 0.05;
const MIB: f64 = (1 << 20) as f64;

/// Every target.
pub fn evaluate(measured: &Measured<'_>) -> Vec<Target> {
    vec![
        in_kernel(measured, &Setting::Stat, "in-kernel cost per connection, stat", "at most 2 x null", 2.0),
        in_kernel(measured, &Setting::Trace, "in-kernel cost per connection, trace", "at most 3 x null", 3.0),
        rate_kept(measured, &Setting::Stat, "connection rate kept, stat", "at least 95 %", 95.0),
        rate_kept(measured, &Setting::Trace, "connection rate kept, trace", "at least 85 %", 85.0),
        bulk_kept(measured),
        lost(measured),
        cpu_per_record(measured),
        memory(measured),
        start(measured),
        binary(measured),
    ]
}

fn target(name: &'static str, target: &'static str, unit: &'static str, found: Option<(f64, bool, String)>) -> Target {
    let (value, met, note) = match found {
        Some((value, met, note)) => (Some(value), Some(met), Some(note)),
        None => (None, None, None),
    };
    Target { name, target, value, unit, met, note }
}

/// How far untraced differs from itself under a load.
fn noise(measured: &Measured<'_>, load: &str) -> Option<f64> {
    let again = Setting::Untraced(1).name();
    let row = measured.rates.iter().find(|row| row.load == load && row.setting == again)?;
    row.kept.as_ref().map(Spread::noise_around_one)
}

fn and_noise(noise: Option<f64>) -> String {
    noise.map_or_else(String::new, |noise| format!("; noise {:.1} %", noise * 100.0))
}

/// The load for which it is worst: none may hide behind the others.
fn in_kernel(
    measured: &Measured<'_>,
    setting: &Setting,
    name: &'static str,
    words: &'static str,
    at_most: f64,
) -> Target {
    let rows = measured.kernel.iter().filter(|row| row.setting == setting.name());
    let worst = rows
        .filter_map(|row| Some((row.times_null?.median, row.load)))
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    target(name, words, "x null", worst.map(|(times, load)| (times, times <= at_most, format!("worst load: {load}"))))
}

fn rate_kept(
    measured: &Measured<'_>,
    setting: &Setting,
    name: &'static str,
    words: &'static str,
    at_least: f64,
) -> Target {
    let counts = |row: &&Rate| row.kind == Kind::Connections && row.load != ACROSS && row.setting == setting.name();
    let rows = measured.rates.iter().filter(counts);
    let worst = rows
        .filter_map(|row| Some((row.kept?.median * 100.0, row)))
        .min_by(|(one, _), (other, _)| one.total_cmp(other));
    let found = worst.map(|(kept, row)| {
        let of_cpu = row.kept_of_cpu.map(|kept| format!("; of CPU {:.1} %", kept.median * 100.0)).unwrap_or_default();
        let note = format!("worst load: {}{}{of_cpu}", row.load, and_noise(noise(measured, row.load)));
        (kept, kept >= at_least, note)
    });
    target(name, words, "%", found)
}

/// Indistinguishable: the median is no further from 1 than the middle half of untraced against itself. Where that is far, nothing
/// can be told.
fn bulk_kept(measured: &Measured<'_>) -> Target {
    let ours = [Setting::Stat, Setting::Trace, Setting::Record].map(|setting| setting.name());
    let furthest = measured
        .rates
        .iter()
        .filter(|row| row.kind == Kind::Bulk && ours.contains(&row.setting))
        .filter_map(|row| Some((row.kept?.median, row)))
        .max_by(|(one, _), (other, _)| (one - 1.0).abs().total_cmp(&(other - 1.0).abs()));
    let found = furthest.and_then(|(kept, row)| {
        let noise = noise(measured, row.load)?;
        let note = format!("{}{}", row.setting, and_noise(Some(noise)));
        Some((kept * 100.0, (kept - 1.0).abs() <= noise, noise, note))
    });
    let known = found.clone().map(|(kept, met, _, note)| (kept, met, note));
    let target = target("bulk throughput kept", "as untraced again", "%", known);
    match found {
        Some((.., noise, note)) if noise > TOO_NOISY => {
            Target { met: None, note: Some(format!("{note}: too much to tell")), ..target }
        }
        _ => target,
    }
}

/// Of all loads, the fastest among them.
fn lost(measured: &Measured<'_>) -> Target {
    let fastest = measured.rates.iter().any(|row| row.load == FASTEST && row.lost.is_some());
    let sum = |of: fn(&Rate) -> Option<u64>| measured.rates.iter().filter_map(of).sum::<u64>();
    let (lost, written) = (sum(|row| row.lost), sum(|row| row.written));
    let found = fastest.then(|| (lost as f64, lost == 0, format!("{written} written, all loads")));
    target("records lost at the highest rate", "0", "records", found)
}

fn cpu_per_record(measured: &Measured<'_>) -> Target {
    let stat = Setting::Stat.name();
    let row = measured.rates.iter().find(|row| row.load == FASTEST && row.setting == stat);
    let found = row.and_then(|row| {
        let (cpu, user) = (row.cpu_ns_per_record?, row.user_ns_per_record?);
        Some((cpu, cpu <= 200.0, format!("user mode alone: {user:.0} ns; {FASTEST}")))
    });
    target("user CPU per record, stat", "at most 200 ns", "ns", found)
}

/// Growth less what the start-up's memory hides is the least it can be, all of the memory the most: between the two nothing can be
/// told.
fn memory(measured: &Measured<'_>) -> Target {
    const AT_MOST: f64 = 150.0;
    let row = measured.followed.iter().find(|row| row.asked >= A_MILLION);
    let found = row.and_then(|row| {
        let (bytes, in_all, there) = (row.bytes_per_socket?, row.bytes_per_socket_in_all?, row.there?);
        let met = if in_all <= AT_MOST { Some(true) } else { (bytes > AT_MOST).then_some(false) };
        Some((bytes, met, format!("{there} in TIME_WAIT; all memory: {in_all:.0} bytes each")))
    });
    let met = found.as_ref().and_then(|(_, met, _)| *met);
    let found = found.map(|(bytes, met, note)| (bytes, met.is_some_and(|met| met), note));
    Target { met, ..target("memory per followed socket at 1,000,000", "at most 150 bytes", "bytes", found) }
}

fn start(measured: &Measured<'_>) -> Target {
    let first = Spread::of(measured.starts.iter().map(|start| start.first_probe_ms));
    let ready = Spread::of(measured.starts.iter().map(|start| start.ready_ms));
    let found = first.zip(ready).map(|(first, ready)| {
        (first.median, first.median <= 300.0, format!("all probes ready: {:.0} ms", ready.median))
    });
    target("start to first probe attached", "at most 300 ms", "ms", found)
}

fn binary(measured: &Measured<'_>) -> Target {
    let found = measured.binary.map(|binary| {
        let mib = binary.bytes as f64 / MIB;
        let linked = if binary.is_static { "static" } else { "NOT static" };
        let stripped = if binary.is_stripped { "stripped" } else { "NOT stripped" };
        (mib, mib <= 8.0 && binary.is_static && binary.is_stripped, format!("{linked}, {stripped}"))
    });
    target("release binary, static and stripped", "at most 8 MiB", "MiB", found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::{Measured, Target, evaluate};
    use crate::binary::Binary;
    use crate::followed::Row;
    use crate::load::{FASTEST, Kind};
    use crate::numbers::Spread;
    use crate::summary::Rate;

    fn rate(load: &'static str, kind: Kind, setting: &str, kept: &[f64]) -> Rate {
        Rate {
            load,
            kind,
            setting: setting.to_owned(),
            per_s: Spread::of([1.0]).unwrap(),
            kept: Spread::of(kept.iter().copied()),
            kept_of_cpu: None,
            cpu_ns_per_record: Some(100.0),
            user_ns_per_record: Some(50.0),
            cpu_ns_per_connection: None,
            written: Some(10),
            lost: Some(1),
            errors: 0,
        }
    }

    fn of<'a>(targets: &'a [Target], name: &str) -> &'a Target {
        targets.iter().find(|target| target.name.starts_with(name)).unwrap()
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let nothing = Measured { rates: &[], kernel: &[], followed: &[], starts: &[], binary: None };
        assert!(evaluate(&nothing).iter().all(|target| target.value.is_none() && target.met.is_none()));
    }

    #[test]
    fn the_worst_load_counts() {
        let rates = [
            rate(FASTEST, Kind::Connections, "stat", &[0.97]),
            rate("other", Kind::Connections, "stat", &[0.94]),
            rate("bulk", Kind::Bulk, "untraced again", &[0.98, 1.0, 1.02]),
            rate("bulk", Kind::Bulk, "stat", &[0.995]),
            rate("bulk", Kind::Bulk, "trace", &[1.005]),
        ];
        let binary = Some(Binary { bytes: 1 << 20, is_static: true, is_stripped: false });
        let targets = evaluate(&Measured { rates: &rates, kernel: &[], followed: &[], starts: &[], binary });
        let kept = of(&targets, "connection rate kept, stat");
        assert_eq!((kept.value, kept.met, kept.note.as_deref()), (Some(94.0), Some(false), Some("worst load: other")));
        assert_eq!(of(&targets, "bulk").met, Some(true));
        let wild = [&rates[..2], &[rate("bulk", Kind::Bulk, "untraced again", &[0.5, 1.5]), rates[3].clone()]].concat();
        let targets_of_wild =
            evaluate(&Measured { rates: &wild, kernel: &[], followed: &[], starts: &[], binary: None });
        let bulk = of(&targets_of_wild, "bulk");
        assert_eq!((bulk.value, bulk.met), (Some(99.5), None), "too noisy to tell");
        assert_eq!(of(&targets, "records lost").met, Some(false));
        assert_eq!(of(&targets, "user CPU").met, Some(true));
        assert_eq!(of(&targets, "release binary").met, Some(false), "small is not stripped");
        assert_eq!(of(&targets, "memory").met, None);
    }

    #[test]
    fn memory_that_the_start_hides_is_not_met() {
        let met = |bytes, in_all| {
            let row = Row {
                asked: 1_000_000,
                there: Some(1_000_000),
                bytes_per_socket: Some(bytes),
                bytes_per_socket_in_all: Some(in_all),
                ..Row::default()
            };
            let followed = [row];
            let measured = Measured { rates: &[], kernel: &[], followed: &followed, starts: &[], binary: None };
            of(&evaluate(&measured), "memory").met
        };
        assert_eq!((met(60.0, 140.0), met(60.0, 160.0), met(151.0, 220.0)), (Some(true), None, Some(false)));
    }
}
