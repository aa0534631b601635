//! What many followed sockets cost `tcpwait stat`: memory for each, and whether a new connection's cost grows with them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::bpf;
use crate::load::{FASTEST, LOADS, Ready};
use crate::numbers::ratio;
use crate::process::anonymous_memory;
use crate::progress::Progress;
use crate::rotation::measure;
use crate::tracer::{Place, Running, Setting};

/// Sockets stay 60 s in TIME_WAIT: by then they are made, and the load beside them has run.
const MAKING: Duration = Duration::from_secs(45);
const CATCH_UP: Duration = Duration::from_secs(8);

/// One number of sockets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// How many were asked for.
    pub asked: u32,
    /// How many were there, as the kernel counts; null where it does not tell.
    pub there: Option<u64>,
    /// What they are.
    pub kind: Option<String>,
    /// Anonymous memory before they were made, bytes.
    pub memory_before: u64,
    /// The same with all of them.
    pub memory: u64,
    /// The difference for each. Memory that the start-up used and gave back to the allocator does not show in it.
    pub bytes_per_socket: Option<f64>,
    /// All of the memory for each, the start-up's share included: what `bytes_per_socket` lies below.
    pub bytes_per_socket_in_all: Option<f64>,
    /// In the kernel, of a connection made beside them: nanoseconds.
    pub kernel_ns_per_connection: Option<f64>,
    /// In user space and in the kernel, of each record of those: nanoseconds.
    pub cpu_ns_per_record: Option<f64>,
    /// In user space alone.
    pub user_ns_per_record: Option<f64>,
    /// Connections a second of the load beside them, with the kernel timing the programs.
    pub connections_per_s: f64,
    /// Records lost while the sockets were made, and by the load beside them.
    pub lost: Option<u64>,
}

/// About how long one takes.
pub fn expected(count: u32, length: Duration) -> Duration {
    Duration::from_secs_f64(4.0 + f64::from(count) / 25_000.0) + length
}

/// Has `stat` follow so many sockets.
pub fn with(count: u32, length: Duration, place: &Place, progress: &mut Progress) -> Result<Row> {
    progress.step(&format!("followed sockets: {count}"), expected(count, length));
    let stat = Running::start(&Setting::Stat, place)?.context("stat is no process")?;
    stat.quiet(CATCH_UP)?;
    let memory_before = anonymous_memory(stat.id())?;
    let mut sockets = Ready::hold(count, MAKING, place)?;
    let account = sockets.run()?;
    stat.quiet(CATCH_UP)?;
    let memory = anonymous_memory(stat.id())?;
    let there = account.get("there").and_then(serde_json::Value::as_u64);
    let load = LOADS.iter().find(|load| load.name == FASTEST).context("the load is not in the table")?;
    let timed = bpf::timed()?;
    let sample = measure(load, length, Some(&stat), None, place)?;
    drop(timed);
    let lost = stat.counters.as_ref().map(|counters| counters.read()).transpose()?.map(|records| records.lost);
    sockets.end()?;
    stat.end()?;
    let kernel_ns: u64 = sample.ran.iter().map(|ran| ran.ns).sum();
    let of_records = |ns: fn(&crate::process::Cpu) -> u64| {
        ratio(sample.cpu.as_ref().map(ns)? as f64, sample.records?.written as f64)
    };
    Ok(Row {
        asked: count,
        there,
        kind: account.get("kind").and_then(|kind| kind.as_str().map(str::to_owned)),
        memory_before,
        memory,
        bytes_per_socket: there.and_then(|there| ratio(memory.saturating_sub(memory_before) as f64, there as f64)),
        bytes_per_socket_in_all: there.and_then(|there| ratio(memory as f64, there as f64)),
        kernel_ns_per_connection: ratio(kernel_ns as f64, sample.done.made),
        cpu_ns_per_record: of_records(|cpu| cpu.total_ns),
        user_ns_per_record: of_records(|cpu| cpu.user_ns),
        connections_per_s: sample.rate(),
        lost,
    })
}
