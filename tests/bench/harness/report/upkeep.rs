//! The tables of what the tool takes for being there: with nothing to do, and with much that comes and goes.

use tcpwait::view::{table::lines, units};

use super::{column, known, nanoseconds, short, text_column, whole};
use crate::idle::Idle;
use crate::turnover::Turnover;

/// What the words in them mean.
pub const NOTE: &str = "WAKE-UPS: context switches of all threads, voluntary or not. CHANGED: threads that came or went meanwhile; what one did \
    since it was last looked at is not in WAKE-UPS.";

/// Nothing to do.
pub fn idle(rows: &[Idle], width: usize) -> Vec<String> {
    let table = vec![
        text_column("IDLE", 0, rows, |row| row.setting.clone()),
        column("CPU ms/s", 0, rows, |row| short(row.cpu_ms_per_s)),
        column("WAKE-UPS/s", 0, rows, |row| short(row.wakeups_per_s)),
        column("THREADS", 1, rows, |row| units::count(row.threads as u64)),
        column("CHANGED", 1, rows, |row| units::count(row.threads_changed as u64)),
        column("RECORDS", 1, rows, |row| units::known(row.records)),
        column("SECONDS", 2, rows, |row| short(row.seconds)),
    ];
    lines(table, width)
}

/// Much that comes and goes.
pub fn turnover(rows: &[Turnover], width: usize) -> Vec<String> {
    let table = vec![
        text_column("COME AND GO", 0, rows, |row| row.setting.clone()),
        column("IN TIME_WAIT", 0, rows, |row| units::known(row.there)),
        column("CONNECTIONS/s", 1, rows, |row| whole(row.connections_per_s)),
        column("CPU ms/s", 0, rows, |row| short(row.cpu_ms_per_s)),
        column("RECORDS/s", 1, rows, |row| known(row.records_per_s, whole)),
        column("CPU/record", 1, rows, |row| known(row.cpu_ns_per_record, nanoseconds)),
        column("MEMORY", 1, rows, |row| format!("{:.1} MiB", row.memory as f64 / f64::from(1 << 20))),
        column("LOST", 0, rows, |row| units::known(row.lost)),
    ];
    lines(table, width)
}
