//! The tables of what a connection costs, and what it costs others.

use tcpwait::view::{table::lines, units};

use super::{column, known, text_column};
use crate::cost::Cost;
use crate::interval::Interval;

/// What the words in them mean.
pub const NOTE: &str = "CPU: processor time of the core that the load has for itself, softirqs in it; of an end alone, of its core only. BEYOND: the mean \
    of the differences to the same round; +-: within so much of it the true mean is, 95 times in 100. TOOL: of the tracer's own \
    processes. BOTH: what CPU and TOOL are beyond the null together. The end of TIME_WAIT, a minute later, is in none of them. LOST: \
    of the rate that a core untraced has.";

/// Microseconds a connection.
pub fn connections(rows: &[Cost], width: usize) -> Vec<String> {
    let pairs = |row: &Cost| row.beyond_untraced_ns.or(row.ns).map(|interval| interval.count as u64);
    let table = vec![
        text_column("CPU A CONNECTION, us", 0, rows, |row| row.load.to_owned()),
        text_column("SETTING", 0, rows, |row| row.setting.clone()),
        column("CPU", 1, rows, |row| known(row.ns.map(|ns| ns.mean), microseconds)),
        column("BEYOND UNTRACED", 0, rows, |row| with_interval(row.beyond_untraced_ns, 1e-3)),
        column("BEYOND NULL", 0, rows, |row| with_interval(row.beyond_null_ns, 1e-3)),
        column("TOOL", 1, rows, |row| known(row.tool_ns.map(|ns| ns.mean), microseconds)),
        column("BOTH BEYOND NULL", 0, rows, |row| with_interval(row.with_tool_beyond_null_ns, 1e-3)),
        column("PAIRS", 1, rows, |row| units::known(pairs(row))),
    ];
    lines(table, width)
}

/// Nanoseconds, and percent of the rate.
pub fn bystanders(rows: &[Cost], width: usize) -> Vec<String> {
    let lost = |kept: Interval| Interval { mean: 1.0 - kept.mean, low: 1.0 - kept.high, high: 1.0 - kept.low, ..kept };
    let pairs = |row: &Cost| row.kept.or(row.ns).map(|interval| interval.count as u64);
    let table = vec![
        text_column("BYSTANDERS", 0, rows, |row| row.load.to_owned()),
        text_column("SETTING", 0, rows, |row| row.setting.clone()),
        column("CPU EACH", 1, rows, |row| known(row.ns.map(|ns| ns.mean), super::nanoseconds)),
        column("BEYOND UNTRACED, ns", 1, rows, |row| with_interval(row.beyond_untraced_ns, 1.0)),
        column("LOST %", 0, rows, |row| with_interval(row.kept.map(lost), 100.0)),
        column("PAIRS", 1, rows, |row| units::known(pairs(row))),
    ];
    lines(table, width)
}

fn microseconds(ns: f64) -> String {
    format!("{:.2}", ns / 1000.0)
}

fn with_interval(interval: Option<Interval>, of: f64) -> String {
    let shown = |interval: Interval| format!("{:.2} +-{:.2}", interval.mean * of, interval.width() / 2.0 * of);
    interval.map_or_else(|| "-".to_owned(), shown)
}
