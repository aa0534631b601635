//! Everything that was measured, and where: what target/bench/latest.json holds.

use std::fs;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::Serialize;

use crate::binary::Binary;
use crate::cost::Cost;
use crate::followed::Row;
use crate::idle::Idle;
use crate::rotation::{Account, Sample};
use crate::start::Started;
use crate::summary::{Kernel, Rate};
use crate::targets::Target;
use crate::turnover::Turnover;

/// All of it. What was not measured in this run is empty or null.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// Where.
    pub machine: Machine,
    /// When, RFC 3339, UTC.
    pub time: String,
    /// How the harness was called.
    pub arguments: Vec<String>,
    /// Rounds of the rotation for rates.
    pub rounds: u32,
    /// How long each load ran.
    pub length: Duration,
    /// The same where pairs are compared: `costs` and `bystanders`.
    pub paired_length: Duration,
    /// The hooks that tcpwait was on, and the null probe.
    pub hooks: Vec<String>,
    /// Other tracers' command lines: `peer 1` and so on.
    pub peers: Vec<String>,
    /// What was to be reached, and was.
    pub targets: Vec<Target>,
    /// What a connection costs under each setting.
    pub costs: Vec<Cost>,
    /// What it costs those who are not looked at.
    pub bystanders: Vec<Cost>,
    /// What the tool takes when there is nothing to do.
    pub idle: Vec<Idle>,
    /// What it takes while many sockets come and go.
    pub turnover: Vec<Turnover>,
    /// How fast each load was under each setting.
    pub rates: Vec<Rate>,
    /// How long each load was in BPF programs.
    pub kernel: Vec<Kernel>,
    /// What followed sockets cost.
    pub followed: Vec<Row>,
    /// Starts.
    pub starts: Vec<Started>,
    /// The tool's file.
    pub binary: Option<Binary>,
    /// The tracers' own accounts.
    pub accounts: Vec<Account>,
    /// What `costs` is from.
    pub cost_samples: Vec<Sample>,
    /// What `bystanders` is from.
    pub bystander_samples: Vec<Sample>,
    /// What the rates are from.
    pub rate_samples: Vec<Sample>,
    /// What `kernel` is from: with the kernel timing programs, which slows everything a little.
    pub kernel_samples: Vec<Sample>,
}

/// The machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Its kernel's release.
    pub kernel: String,
    /// What its processor says of itself; null where it does not.
    pub processor: Option<String>,
    /// Cores that may be used.
    pub cores: usize,
    /// Tasks that wanted to run in the last minute, on average, before the benchmark began.
    pub load_before: Option<f64>,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: model.map(|(_, name)| name.trim().to_owned()),
            cores: available_parallelism().map_or(0, usize::from),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }
}
