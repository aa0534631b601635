//! The program under test as a child process: started in the namespace that the tests were started in, its lines read as
//! they come, its end watched. What tests ask of it is bounded.

mod ended;
mod line;
mod seen;
pub mod told;

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub use self::{
    ended::Ended,
    line::{By, Line, by_id, steps},
    seen::{Seen, end_shared},
};
use crate::{netns, traffic::until, turns};

/// How long a program may take to attach on a CPU that is emulated.
pub const START: Duration = Duration::from_secs(200);

/// How long a line may take after the event.
pub const SOON: Duration = Duration::from_secs(20);

/// How long a TIME_WAIT may take to end, and to be shown.
pub const A_MINUTE: Duration = Duration::from_secs(85);

#[derive(Default)]
struct Output {
    lines: Vec<String>,
    stderr: String,
    stdout_over: bool,
    stderr_over: bool,
}

#[derive(Default)]
struct Shelf {
    output: Mutex<Output>,
    more: Condvar,
}

impl Shelf {
    fn put(&self, change: impl FnOnce(&mut Output)) {
        change(&mut self.output.lock().unwrap());
        self.more.notify_all();
    }

    /// Waits until `found` finds something; gives up at the bound.
    fn wait<T>(
        &self,
        bound: Duration,
        mut found: impl FnMut(&Output) -> Option<T>,
    ) -> Result<T, MutexGuard<'_, Output>> {
        let end = Instant::now() + bound;
        let mut output = self.output.lock().unwrap();
        loop {
            if let Some(thing) = found(&output) {
                return Ok(thing);
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Err(output);
            };
            output = self.more.wait_timeout(output, left).unwrap().0;
        }
    }

    /// The same for what may take a minute because the kernel does.
    fn wait_in_time<T>(
        &self,
        bound: Duration,
        found: impl FnMut(&Output) -> Option<T>,
    ) -> Result<T, MutexGuard<'_, Output>> {
        if bound < A_MINUTE { self.wait(bound, found) } else { turns::rest(|| self.wait(bound, found)) }
    }
}

/// How stdout is read.
pub struct Reading {
    /// Which lines are kept.
    pub keep: fn(&str) -> bool,
    /// After how many lines the pipe is closed.
    pub at_most: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Self { keep: |_| true, at_most: usize::MAX }
    }
}

/// A running tcpwait. Dropping it kills it.
pub struct Tracer {
    child: Child,
    shelf: Arc<Shelf>,
    readers: Vec<JoinHandle<()>>,
}

/// tcpwait, to be run outside the test's namespace, which it must neither need to be in nor keep alive.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    at_home(here(env!("CARGO_BIN_EXE_tcpwait"), arguments))
}

/// The program at this path, to be run where this thread is.
pub fn here<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A command, to be run in the namespace that the tests were started in.
pub fn at_home(mut command: Command) -> Command {
    netns::runs_at_home(&mut command);
    command
}

impl Tracer {
    /// Starts `tcpwait trace --json` on this thread's namespace and waits until it traces.
    pub fn here(more: &[&str]) -> Self {
        let netns = netns::inode().to_string();
        let mut arguments = vec!["trace", "--json", "--netns", &netns];
        arguments.extend(more);
        Self::start(&arguments)
    }

    /// Starts a tcpwait and waits until it traces.
    pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        let tracer = Self::spawn(command(arguments));
        tracer.wait_until_tracing();
        tracer
    }

    /// Starts a tcpwait and reads what it says.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_reading(command, Reading::default())
    }

    /// Starts a tcpwait and reads some of what it says.
    pub fn spawn_reading(mut command: Command, reading: Reading) -> Self {
        let mut child = command.spawn().unwrap();
        let shelf = Arc::new(Shelf::default());
        let mut stdout = BufReader::with_capacity(1 << 20, child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, text) = (shelf.clone(), shelf.clone());
        let out = thread::spawn(move || {
            let mut read = 0;
            let mut line = String::new();
            let mut kept = Vec::new();
            while read < reading.at_most && stdout.read_line(&mut line).is_ok_and(|length| length > 0) {
                read += 1;
                if (reading.keep)(&line) {
                    kept.push(line.trim_end().to_owned());
                }
                line.clear();
                // What came at once is put there at once: each time, all that wait have a look.
                if !kept.is_empty() && !stdout.buffer().contains(&b'\n') {
                    lines.put(|output| output.lines.append(&mut kept));
                }
            }
            lines.put(|output| output.lines.append(&mut kept));
            lines.put(|output| output.stdout_over = true);
        });
        let err = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                text.put(|output| output.stderr.extend([line.as_str(), "\n"]));
            }
            text.put(|output| output.stderr_over = true);
        });
        Self { child, shelf, readers: vec![out, err] }
    }

    /// Whether the process is over.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it says that it traces.
    pub fn wait_until_tracing(&self) {
        self.starts().unwrap_or_else(|why| panic!("{why}"));
    }

    /// Waits until it says that it traces, or why it does not.
    pub fn starts(&self) -> Result<(), String> {
        let traces = self.shelf.wait(START, |output| {
            let traces = output.stderr.lines().any(|line| line.starts_with("Tracing"));
            (traces || output.stderr_over).then_some(traces)
        });
        match traces {
            Ok(true) => Ok(()),
            // The lock is let go first: the readers still need it.
            Ok(false) => {
                let stderr = self.shelf.output.lock().unwrap().stderr.clone();
                Err(format!("tcpwait ended at its start: {stderr}"))
            }
            Err(output) => {
                let stderr = output.stderr.clone();
                drop(output);
                Err(format!("tcpwait did not start within {START:?}: {stderr}"))
            }
        }
    }

    /// Waits for a line on stderr that begins so.
    pub fn wait_until_it_says(&self, begin: &str) {
        let said = self.shelf.wait(START, |output| {
            let said = output.stderr.lines().any(|line| line.starts_with(begin));
            (said || output.stderr_over).then_some(said)
        });
        assert!(said.is_ok_and(|said| said), "it did not say {begin:?}");
    }

    /// What it has said on stderr so far.
    pub fn said(&self) -> String {
        self.shelf.output.lock().unwrap().stderr.clone()
    }

    /// Waits until it has written something.
    pub fn wait_for_output(&self) {
        let wrote = self.shelf.wait(SOON, |output| (!output.lines.is_empty()).then_some(()));
        assert!(wrote.is_ok(), "no line within {SOON:?}");
    }

    /// Waits until the lines that are kept are enough.
    pub fn wait_for_lines(&self, bound: Duration, enough: impl Fn(&[String]) -> bool) {
        let wrote = self.shelf.wait_in_time(bound, |output| enough(&output.lines).then_some(()));
        if let Err(output) = wrote {
            let (lines, stderr) = (output.lines.join("\n"), output.stderr.clone());
            drop(output);
            panic!("not enough within {bound:?}: {lines}\n{stderr}");
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it where it is, until SIGCONT: the kernel side goes on.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        until("it is stopped", SOON, || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        });
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Ends it with Ctrl-C.
    pub fn stop(self) -> Ended {
        self.stop_within(SOON)
    }

    /// Ends it with Ctrl-C, when it may have much to say still.
    pub fn stop_within(self, bound: Duration) -> Ended {
        self.signal(Signal::SIGINT);
        self.end(bound)
    }

    /// Waits for its end.
    pub fn end(mut self, bound: Duration) -> Ended {
        // A child that was inherited could keep the pipes open; the process itself is what counts.
        let over = self.shelf.wait(bound, |output| (output.stdout_over && output.stderr_over).then_some(()));
        if let Err(output) = over {
            let stderr = output.stderr.clone();
            drop(output);
            panic!("tcpwait did not end within {bound:?}: {stderr}");
        }
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let output = std::mem::take(&mut *self.shelf.output.lock().unwrap());
        Ended { code: status.code(), stdout: output.lines, stderr: output.stderr }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
