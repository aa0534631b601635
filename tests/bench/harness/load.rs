//! The loads that are run, and the load generator as a process: it waits for the word, says what it did, and keeps its sockets
//! until it is let go.

use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::child::{Group, Lines};
use crate::tracer::Place;

/// How long a load may take beyond what it was asked to.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// TCP connections.
    Connections,
    /// Bytes of large transfers.
    Bulk,
    /// Packets that are dropped.
    Drops,
    /// Reads of few bytes.
    Reads,
    /// Turns of two threads that wake each other: no TCP.
    Turns,
    /// System calls: no TCP.
    Calls,
}

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// What it is called in tables and in JSON.
    pub name: &'static str,
    /// What is made.
    pub kind: Kind,
    arguments: &'static [&'static str],
}

const fn load(name: &'static str, kind: Kind, arguments: &'static [&'static str]) -> Load {
    Load { name, kind, arguments }
}

/// The load that measures as the hardest: the highest rate.
pub const FASTEST: &str = "client closes, 2 cores";

/// Those on two cores whose rate counts: where both ends close on two, each connection waits for the other core, and the rate is that
/// of two cores waiting for each other, which any other work on them changes.
pub const TWO_CORES: &[&str] = &[FASTEST, "server closes, 2 cores"];

/// All of them.
pub const LOADS: &[Load] = &[
    load("client closes, 1 core", Kind::Connections, &["connections", "--close", "client", "--cores", "1"]),
    load(FASTEST, Kind::Connections, &["connections", "--close", "client", "--cores", "2"]),
    load("server closes, 1 core", Kind::Connections, &["connections", "--close", "server", "--cores", "1"]),
    load("server closes, 2 cores", Kind::Connections, &["connections", "--close", "server", "--cores", "2"]),
    load("both close, 1 core", Kind::Connections, &["connections", "--close", "both", "--cores", "1"]),
    load("both close, 2 cores", Kind::Connections, &["connections", "--close", "both", "--cores", "2"]),
    load("IPv6, client closes, 1 core", Kind::Connections, &["connections", "--ipv6", "--cores", "1"]),
    load("bulk, 2 streams", Kind::Bulk, &["bulk", "--streams", "2"]),
    load("dropped packets, 1 core", Kind::Drops, &["drops", "--cores", "1"]),
];

/// The load whose connections' CPU is the measure: all of it on one core.
pub const ONE_CORE: &str = "both ends, 1 core";

/// Of which the CPU a connection is measured.
pub const COSTLY: &[Load] = &[
    load(ONE_CORE, Kind::Connections, &["connections", "--close", "client", "--cores", "1"]),
    load("client's end alone", Kind::Connections, &["one-sided", "--counted", "client"]),
    load("server's end alone", Kind::Connections, &["one-sided", "--counted", "server"]),
];

/// Of futexes and timers.
pub const TURNS: &str = "futexes and timers";
/// Of system calls.
pub const CALLS: &str = "system calls";
/// Of a few connections.
pub const READER: &str = "small reads";

/// Of those who are not traced, or hardly.
pub const BYSTANDERS: &[Load] = &[
    load(TURNS, Kind::Turns, &["turns"]),
    load(CALLS, Kind::Calls, &["calls"]),
    load(READER, Kind::Reads, &["reader"]),
    load("connections", Kind::Connections, &["connections", "--close", "client", "--cores", "1"]),
];

/// Those that a quick run leaves in.
pub const QUICK: &[&str] =
    &["client closes, 1 core", FASTEST, "server closes, 2 cores", "bulk, 2 streams", "dropped packets, 1 core"];

/// What a load did.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Connections, bytes, packets, reads, turns or calls.
    pub made: f64,
    /// For how long.
    pub seconds: f64,
    /// Processor time that the load itself took, in the kernel on its behalf too; softirqs of the cores that it is kept to are in it.
    pub cpu_seconds: f64,
    /// Connections that failed.
    pub errors: u64,
}

/// A load generator that waits for the word.
pub struct Ready {
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    patience: Duration,
}

impl Ready {
    /// Starts a load of this length.
    pub fn start(load: &Load, length: Duration, place: &Place) -> Result<Self> {
        let seconds = length.as_secs_f64().to_string();
        Self::with(&[load.arguments, &["--seconds", &seconds]].concat(), length, place)
    }

    /// Starts one that holds so many sockets, and takes at most so long to make them.
    pub fn hold(count: u32, at_most: Duration, place: &Place) -> Result<Self> {
        let (count, seconds) = (count.to_string(), at_most.as_secs_f64().to_string());
        Self::with(&["hold", &count, "--seconds", &seconds], at_most, place)
    }

    /// Starts one of so many connections a second.
    pub fn paced(per_s: u32, length: Duration, place: &Place) -> Result<Self> {
        let (per_s, seconds) = (per_s.to_string(), length.as_secs_f64().to_string());
        Self::with(&["paced", &per_s, "--seconds", &seconds], length, place)
    }

    fn with(arguments: &[&str], length: Duration, place: &Place) -> Result<Self> {
        let mut command = Command::new(place.programs.join("tcpwait-load"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut group = Group::start(command, "the load")?;
        let stdin = group.stdin();
        let stdout = group.stdout().context("the load's stdout is no pipe")?;
        let word = stdout.next(PATIENCE, "word that the load is ready")?;
        if word != "ready" {
            bail!("the load said {word:?} instead of ready");
        }
        Ok(Self { group, stdin, stdout, patience: length + PATIENCE })
    }

    /// Gives the word, and waits for what it did.
    pub fn run(&mut self) -> Result<Value> {
        self.begin()?;
        self.account()
    }

    /// Gives the word.
    pub fn begin(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the load has been let go")?;
        stdin.write_all(b"\n").context("giving the load the word")
    }

    /// Waits for what it did.
    pub fn account(&mut self) -> Result<Value> {
        let line = self.stdout.next(self.patience, "account of the load")?;
        serde_json::from_str(&line).with_context(|| format!("reading the load's account {line:?}"))
    }

    /// Lets its sockets go.
    pub fn end(mut self) -> Result<()> {
        drop(self.stdin.take());
        self.group.wait().map(drop)
    }
}

/// What an account says.
pub fn done(kind: Kind, account: &Value) -> Result<Done> {
    let number = |key: &str| account.get(key).and_then(Value::as_f64);
    let made = number(match kind {
        Kind::Connections => "connections",
        Kind::Bulk => "bytes",
        Kind::Drops => "packets",
        Kind::Reads => "reads",
        Kind::Turns => "turns",
        Kind::Calls => "calls",
    });
    let ((made, seconds), cpu_seconds) = made
        .zip(number("seconds"))
        .zip(number("cpu_seconds"))
        .with_context(|| format!("the load's account says too little: {account}"))?;
    let errors = account.get("errors").and_then(Value::as_u64).unwrap_or_default();
    if account.get("overflows").and_then(Value::as_u64).is_some_and(|overflows| overflows > 0) {
        bail!("connections skipped TIME_WAIT, as there were too many: {account}");
    }
    Ok(Done { made, seconds, cpu_seconds, errors })
}
