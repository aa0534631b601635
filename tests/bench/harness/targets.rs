//! What tcpwait is to cost at most, and whether it does. A target that was not measured is neither met nor missed, nor is one that lies
//! within the interval of what was.

use serde::Serialize;

use crate::binary::Binary;
use crate::cost::Cost;
use crate::followed::Row;
use crate::idle::Idle;
use crate::interval::Interval;
use crate::load::{CALLS, FASTEST, ONE_CORE, READER, TURNS, TWO_CORES};
use crate::numbers::Spread;
use crate::start::Started;
use crate::summary::Rate;
use crate::tracer::{By, Setting};

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
#[derive(Clone, Copy, Default)]
pub struct Measured<'a> {
    /// See `Findings`.
    pub costs: &'a [Cost],
    /// See `Findings`.
    pub bystanders: &'a [Cost],
    /// See `Findings`.
    pub rates: &'a [Rate],
    /// See `Findings`.
    pub idle: &'a [Idle],
    /// See `Findings`.
    pub followed: &'a [Row],
    /// See `Findings`.
    pub starts: &'a [Started],
    /// See `Findings`.
    pub binary: Option<Binary>,
}

const A_MILLION: u32 = 1_000_000;
const MIB: f64 = (1 << 20) as f64;

/// Every target.
pub fn evaluate(measured: &Measured<'_>) -> Vec<Target> {
    let filtered = [Setting::Filtered(By::Port), Setting::Filtered(By::Namespace)];
    let stat = [Setting::Stat];
    vec![
        beyond_null(measured, "CPU a connection beyond the null, stat", 2.0, "at most 2 us", |cost| {
            cost.beyond_null_ns
        }),
        beyond_null(measured, "the same with the tool's own", 4.0, "at most 4 us", |cost| {
            cost.with_tool_beyond_null_ns
        }),
        kept_of_null(measured),
        kept(measured, "rate kept beside idle stat: futexes, timers", &stat, &[TURNS]),
        kept(measured, "rate kept beside idle stat: system calls", &stat, &[CALLS]),
        kept(measured, "rate kept, stat: small reads", &stat, &[READER]),
        kept(measured, "rate kept where a filter leaves all out", &filtered, &[]),
        idle(measured, "idle tool: CPU", "ms/s", "at most 1 ms/s", 1.0, |idle| idle.cpu_ms_per_s),
        idle(measured, "idle tool: wake-ups", "a second", "at most 2 a second", 2.0, |idle| idle.wakeups_per_s),
        lost(measured),
        memory(measured),
        start(measured, "start to first probe", |start| start.first_probe_ms, |start| start.ready_ms),
        start(measured, "CPU of the start to it", |start| start.first_probe_cpu_ms, |start| start.ready_cpu_ms),
        binary(measured),
    ]
}

type Found = (f64, Option<bool>, String);

fn target(name: &'static str, target: &'static str, unit: &'static str, found: Option<Found>) -> Target {
    let (value, met, note) = match found {
        Some((value, met, note)) => (Some(value), met, Some(note)),
        None => (None, None, None),
    };
    Target { name, target, value, unit, met, note }
}

/// The interval, and that it says nothing if the limit is in it.
fn sure(interval: &Interval, of: f64, unit: &str, met: Option<bool>) -> String {
    let [low, high] = [interval.low, interval.high].map(|end| end * of);
    let unsure = if met.is_none() { ": too wide to tell" } else { "" };
    format!("95 %: {low:.2} to {high:.2} {unit}, {} pairs{unsure}", interval.count)
}

fn beyond_null(
    measured: &Measured<'_>,
    name: &'static str,
    limit_us: f64,
    words: &'static str,
    of: fn(&Cost) -> Option<Interval>,
) -> Target {
    let found = measured.costs.iter().find(|cost| cost.is_of(ONE_CORE, &Setting::Stat)).and_then(of);
    let found = found.map(|ns| {
        let met = ns.at_most(limit_us * 1000.0);
        (ns.mean / 1000.0, met, sure(&ns, 1e-3, "us", met))
    });
    target(name, words, "us", found)
}

/// The one of which the least is kept: none may hide behind the others. Without loads, of all.
fn kept(measured: &Measured<'_>, name: &'static str, settings: &[Setting], loads: &[&str]) -> Target {
    let wanted = |cost: &&Cost| {
        settings.iter().any(|setting| setting.name() == cost.setting)
            && (loads.is_empty() || loads.contains(&cost.load))
    };
    let worst = measured.bystanders.iter().filter(wanted).filter_map(|cost| Some((cost.kept?, cost)));
    let found = worst.min_by(|(one, _), (other, _)| one.mean.total_cmp(&other.mean)).map(|(kept, cost)| {
        let met = kept.at_least(0.99);
        let which = if loads.is_empty() { format!("; {}, {}", cost.setting, cost.load) } else { String::new() };
        (kept.mean * 100.0, met, sure(&kept, 100.0, "%", met) + &which)
    });
    target(name, "at least 99 %", "%", found)
}

fn kept_of_null(measured: &Measured<'_>) -> Target {
    let stat = Setting::Stat.name();
    let rows = measured.rates.iter().filter(|row| row.setting == stat && TWO_CORES.contains(&row.load));
    let worst = rows
        .filter_map(|row| Some((row.kept_of_null?, row)))
        .min_by(|(one, _), (other, _)| one.median.total_cmp(&other.median));
    let found = worst.map(|(kept, row)| {
        let again = Setting::Untraced(1).name();
        let noise = measured.rates.iter().find(|other| other.load == row.load && other.setting == again);
        let noise = noise.and_then(|noise| noise.kept.as_ref().map(Spread::noise_around_one));
        let noise = noise.map_or_else(String::new, |noise| format!("; noise {:.1} %", noise * 100.0));
        let half = format!("half of the rounds: {:.1} to {:.1} %", kept.q1 * 100.0, kept.q3 * 100.0);
        (kept.median * 100.0, Some(kept.median >= 0.95), format!("worst load: {}; {half}{noise}", row.load))
    });
    target("rate kept by stat, of the null's, 2 cores", "at least 95 %", "%", found)
}

/// Of whichever of them it is worst.
fn idle(
    measured: &Measured<'_>,
    name: &'static str,
    unit: &'static str,
    words: &'static str,
    limit: f64,
    of: fn(&Idle) -> f64,
) -> Target {
    let worst = measured.idle.iter().map(|idle| (of(idle), idle)).max_by(|(one, _), (other, _)| one.total_cmp(other));
    let found = worst.map(|(value, idle)| (value, Some(value <= limit), format!("worst: {}", idle.setting)));
    target(name, words, unit, found)
}

/// Of all loads, the fastest among them.
fn lost(measured: &Measured<'_>) -> Target {
    let fastest = measured.rates.iter().any(|row| row.load == FASTEST && row.lost.is_some());
    let sum = |of: fn(&Rate) -> Option<u64>| measured.rates.iter().filter_map(of).sum::<u64>();
    let (lost, written) = (sum(|row| row.lost), sum(|row| row.written));
    let found = fastest.then(|| (lost as f64, Some(lost == 0), format!("{written} written, all loads")));
    target("records lost at the highest rate", "0", "records", found)
}

/// Growth less what the start-up's memory hides is the least it can be, all of the memory the most: between the two nothing can be
/// told.
fn memory(measured: &Measured<'_>) -> Target {
    const AT_MOST: f64 = 120.0;
    let row = measured.followed.iter().find(|row| row.asked >= A_MILLION);
    let found = row.and_then(|row| {
        let (bytes, in_all, there) = (row.bytes_per_socket?, row.bytes_per_socket_in_all?, row.there?);
        let met = if in_all <= AT_MOST { Some(true) } else { (bytes > AT_MOST).then_some(false) };
        Some((bytes, met, format!("{there} in TIME_WAIT; all memory: {in_all:.0} bytes each")))
    });
    target("memory of a TIME_WAIT at 1,000,000", "at most 120 bytes", "bytes", found)
}

fn start(measured: &Measured<'_>, name: &'static str, of: fn(&Started) -> f64, ready: fn(&Started) -> f64) -> Target {
    let spread = |of: fn(&Started) -> f64| Spread::of(measured.starts.iter().map(of));
    let found = spread(of).zip(spread(ready)).map(|(first, ready)| {
        (first.median, Some(first.median <= 150.0), format!("until all probes are ready: {:.0} ms", ready.median))
    });
    target(name, "at most 150 ms", "ms", found)
}

fn binary(measured: &Measured<'_>) -> Target {
    let found = measured.binary.map(|binary| {
        let mib = binary.bytes as f64 / MIB;
        let linked = if binary.is_static { "static" } else { "NOT static" };
        let stripped = if binary.is_stripped { "stripped" } else { "NOT stripped" };
        (mib, Some(mib <= 6.0 && binary.is_static && binary.is_stripped), format!("{linked}, {stripped}"))
    });
    target("release binary, static and stripped", "at most 6 MiB", "MiB", found)
}

#[cfg(test)]
mod tests;
