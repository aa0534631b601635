//! Where the fixtures are, how the program is run, and how its records are read without it.

use std::{
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tcpwait::{
    ledger::{Cut, Ledger},
    pipeline::{Pipeline, Shown},
    recording::{Header, Reader, Writer},
    select::{Criteria, Selector},
};

/// Long after the slowest run.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every recording in `tests/fixtures`.
pub const FIXTURES: [&str; 18] = [
    "natural",
    "predates",
    "reasons",
    "handshakes",
    "incident",
    "ends",
    "nginx",
    "keepalive_off",
    "keepalive_on",
    "6.1-fexit",
    "6.1-timer",
    "6.12-fexit",
    "6.12-kfree_skb",
    "6.12-timer",
    "6.1-ends",
    "7.3-ends",
    "7.3-rt-ends",
    "7.3-arm64-ends",
];

/// `tests/` of this repository.
pub fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

pub fn fixture(name: &str) -> PathBuf {
    tests().join(format!("fixtures/{name}.tcpwait"))
}

/// The program, with everything set that its output depends on.
pub fn tcpwait() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpwait"));
    command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// What a run of the program gave.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("the output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("what is said is UTF-8"),
        }
    }
}

pub fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    finish(tcpwait().args(arguments))
}

/// Runs a command to its end. One that was expected to be refused may be at work instead, for ever.
pub fn finish(command: &mut Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |pipe: &mut dyn Read| {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("the output is UTF-8");
        text
    };
    let (done, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let stdout = scope.spawn(move || read(&mut stdout));
        let stderr = scope.spawn(move || read(&mut stderr));
        let waiter = scope.spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                child.kill().unwrap();
            }
            child.wait().unwrap().code()
        });
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        drop(done);
        Ran { code: waiter.join().unwrap(), stdout, stderr }
    })
}

/// `tcpwait trace --from FILE …`.
pub fn trace(file: &Path, arguments: &[&str]) -> Ran {
    let mut command = tcpwait();
    finish(command.args(["trace", "--from"]).arg(file).args(arguments))
}

/// A fixture's header and records.
pub fn records(name: &str) -> (Header, Vec<Vec<u8>>) {
    let mut reader = Reader::open(&fixture(name)).unwrap();
    let header = reader.header().clone();
    let mut records = Vec::new();
    while let Some(record) = reader.next_record() {
        records.push(record.to_vec());
    }
    assert_eq!(reader.cut(), None, "the fixture {name} is whole");
    (header, records)
}

/// Writes a recording; every so many records are a compressed block of their own, as in a recording that took a while.
pub fn write(path: &Path, header: &Header, records: &[Vec<u8>], block: usize) {
    let mut writer = Writer::create(path, header).unwrap();
    for (index, record) in records.iter().enumerate() {
        writer.record(record).unwrap();
        if (index + 1) % block == 0 {
            writer.flush().unwrap();
        }
    }
    writer.finish().unwrap();
}

/// What became of a recording that was read in this process.
#[derive(Debug)]
pub struct Replayed {
    /// Records read.
    pub records: usize,
    /// The raw view, up to the last record.
    pub raw: String,
    /// Why reading stopped before the proper end.
    pub cut: Option<Cut>,
    pub ledger: Ledger,
}

/// Reads a recording whose header is whole, as `trace --from FILE --raw` does.
pub fn replay(path: &Path) -> Replayed {
    let mut reader = Reader::open(path).unwrap();
    let mut out = Vec::new();
    let selector = Selector::new(Criteria::default());
    let header = reader.header().clone();
    let shown = Shown::Raw { json: false };
    let mut pipeline = Pipeline::new(&header, selector, shown, &mut out).unwrap();
    let mut records = 0;
    while let Some(record) = reader.next_record() {
        records += 1;
        pipeline.record(record).unwrap();
    }
    let ledger = pipeline.finish().unwrap();
    drop(pipeline);
    let (raw, cut) = (String::from_utf8(out).unwrap(), reader.cut());
    Replayed { records, raw, cut, ledger }
}
