//! The steps of `cargo xtask test`, and how they went: a heading for each, and one line at the end that says it all.
//! What goes on beside the steps is silent until its own step comes, so that a log reads in one order.

use std::env;
use std::io::{self, BufRead as _, BufReader, PipeReader, Write as _};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::root;

/// The steps so far.
pub struct Course {
    start: Instant,
    passed: Vec<String>,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Course {
    pub fn new() -> Self {
        Self { start: Instant::now(), passed: Vec::new(), failed: Vec::new(), skipped: Vec::new() }
    }

    pub fn heading(&self, name: &str) {
        println!("\n== {name} ({} s)", self.start.elapsed().as_secs());
    }

    /// A step that says by itself whether it passed. What it returns may be needed by others.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let done = self.part_of(name, work)?;
        self.passed.push(name.to_owned());
        Some(done)
    }

    /// A step that has passed only when [`Course::pass`] says so.
    pub fn part_of<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        self.heading(name);
        work().map_err(|error| self.fail(name, &error)).ok()
    }

    pub fn pass(&mut self, name: &str, remark: &str) {
        self.passed.push(if remark.is_empty() { name.to_owned() } else { format!("{name} ({remark})") });
    }

    pub fn fail(&mut self, name: &str, why: &anyhow::Error) {
        println!("{name}: {why:#}");
        // Of a long log many see the last line alone.
        self.failed.push(format!("{name} ({})", shortened(&format!("{why:#}"))));
    }

    pub fn skip(&mut self, name: &str, why: &str) {
        self.heading(name);
        println!("not run: {why}");
        self.skipped.push(name.to_owned());
    }

    /// What went on beside the steps: shows what it has said, and the rest as it comes.
    pub fn join(&mut self, name: &str, beside: Result<Beside>) {
        self.heading(name);
        match beside.and_then(Beside::shown_to_its_end) {
            Ok(status) if status.success() => self.passed.push(name.to_owned()),
            Ok(status) if status.code() == Some(NOT_RUN.into()) => self.skipped.push(name.to_owned()),
            Ok(_) => self.failed.push(name.to_owned()),
            Err(error) => self.fail(name, &error),
        }
    }

    /// The line, and nothing after it. In CI a test that was not run has not passed.
    pub fn end(self) -> ExitCode {
        let parts = [("passed", &self.passed), ("FAILED", &self.failed), ("not run", &self.skipped)];
        let line = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect::<Vec<_>>()
            .join("; ");
        let strict = !self.skipped.is_empty() && env::var_os("CI").is_some_and(|value| value == "true");
        let strictly = if strict { ", and with CI=true all has to be run" } else { "" };
        println!("\n{line} ({} s){strictly}", self.start.elapsed().as_secs());
        if self.failed.is_empty() && !strict { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The exit code of what goes on beside, if it could not be run and has said why.
pub const NOT_RUN: u8 = 77;

/// How much the steps come before what goes on beside them: they get three quarters of a core that both want. With much less
/// than a quarter a guest would give no sign of life for so long that it is held to hang.
const NICENESS: &str = "5";

/// A process that goes on beside the steps.
pub struct Beside {
    child: Child,
    lines: Receiver<Vec<u8>>,
}

impl Beside {
    /// Starts this program with other arguments.
    pub fn this_program(arguments: &[String]) -> Result<Self> {
        let (from, to) = io::pipe()?;
        let mut command = Command::new("nice");
        command.args(["-n", NICENESS]).arg(env::current_exe()?).args(arguments);
        command.stdout(to.try_clone()?).stderr(to);
        let child = command.spawn().with_context(|| format!("cannot run `{}`", root::shown(&command)))?;
        // The command has the other end of the pipe, too, and a pipe ends when nobody has.
        drop(command);
        let (send, lines) = mpsc::channel();
        thread::spawn(move || forward(from, |line| send.send(line).is_ok()));
        Ok(Self { child, lines })
    }

    fn shown_to_its_end(mut self) -> Result<ExitStatus> {
        for line in self.lines {
            io::stdout().write_all(&line)?;
        }
        Ok(self.child.wait()?)
    }
}

/// The first line of a reason, and of that as much as has room beside others.
fn shortened(why: &str) -> String {
    const MOST: usize = 300;
    let line = why.lines().next().unwrap_or_default();
    let end = line.char_indices().nth(MOST).map_or(line.len(), |(end, _)| end);
    let cut = if end < why.len() { " …" } else { "" };
    format!("{}{cut}", line.get(..end).unwrap_or(line))
}

fn forward(from: PipeReader, mut take: impl FnMut(Vec<u8>) -> bool) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) && take(std::mem::take(&mut line)) {}
}
