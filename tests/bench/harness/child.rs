//! The processes that the harness starts: each in a group of its own, none of which outlives it, however it ends.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

/// The groups that are there now, for Ctrl-C.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Whether a signal is ending everything.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long a process may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same when somebody waits at the terminal.
const LITTLE_PATIENCE: Duration = Duration::from_secs(2);

/// Has SIGINT, SIGTERM and SIGHUP end every group, remove the harness's own files and then the harness.
pub fn end_on_signals(scratch: PathBuf) -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("blocking signals")?;
    thread::spawn(move || {
        let signal = signals.wait();
        INTERRUPTED.store(true, Ordering::Release);
        for (signal, patience) in [(Signal::SIGTERM, LITTLE_PATIENCE), (Signal::SIGKILL, LITTLE_PATIENCE)] {
            let groups = GROUPS.lock().map(|groups| groups.clone()).unwrap_or_default();
            let there = |group: &Pid| killpg(*group, None).is_ok();
            for group in &groups {
                // One that has ended meanwhile need not be told.
                let _ = killpg(*group, signal);
            }
            let end = Instant::now() + patience;
            // The main thread waits for them.
            while Instant::now() < end && groups.iter().any(there) {
                thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = std::fs::remove_dir_all(&scratch);
        eprintln!("interrupted: everything is as before");
        std::process::exit(128 + signal.map_or(0, |signal| signal as i32));
    });
    Ok(())
}

/// Where a signal ends everything, never returns: what fails then fails because of it, and is no news.
pub fn leave_to_the_signal() {
    while INTERRUPTED.load(Ordering::Acquire) {
        thread::park();
    }
}

/// A process and what it started.
pub struct Group {
    child: Child,
    name: String,
    gone: bool,
}

impl Group {
    /// Starts it.
    pub fn start(mut command: Command, name: &str) -> Result<Self> {
        // SAFETY: between fork and exec only prctl(2) and sigprocmask(2) are called, which are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                set_pdeathsig(Signal::SIGKILL)?;
                // This process blocks the signals that it waits for.
                Ok(SigSet::empty().thread_set_mask()?)
            })
        };
        let child = command.process_group(0).spawn().with_context(|| format!("cannot run {name}"))?;
        let group = Self { child, name: name.to_owned(), gone: false };
        if let Ok(mut groups) = GROUPS.lock() {
            groups.push(group.id());
        }
        Ok(group)
    }

    /// The first process's id, and the group's.
    pub fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Its stdin, once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What it writes to stdout, where that is a pipe.
    pub fn stdout(&mut self) -> Option<Lines> {
        self.child.stdout.take().map(Lines::of)
    }

    /// The same of stderr.
    pub fn stderr(&mut self) -> Option<Lines> {
        self.child.stderr.take().map(Lines::of)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Waits for it to end by itself, and ends it where it takes too long.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.has_ended()? {
                self.forget();
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(2));
        }
        bail!("{} did not end within {} s", self.name, PATIENCE.as_secs())
    }

    /// Asks it to end, as Ctrl-C does, and waits.
    pub fn interrupt(&mut self) -> Result<ExitStatus> {
        // Who is gone already need not be told.
        let _ = killpg(self.id(), Signal::SIGINT);
        self.wait()
    }

    fn forget(&mut self) {
        self.gone = true;
        let id = self.id();
        // What a shell left behind.
        let _ = killpg(id, Signal::SIGKILL);
        if let Ok(mut groups) = GROUPS.lock() {
            groups.retain(|group| *group != id);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.gone {
            let _ = killpg(self.id(), Signal::SIGKILL);
            let _ = self.child.wait();
            self.forget();
        }
    }
}

/// Lines that a process writes, as they come.
pub struct Lines(Receiver<String>);

impl Lines {
    fn of(from: impl Read + Send + 'static) -> Self {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receive)
    }

    /// The next line; an error says what was waited for.
    pub fn next(&self, within: Duration, what: &str) -> Result<String> {
        self.0.recv_timeout(within).map_err(|error| match error {
            RecvTimeoutError::Timeout => anyhow::anyhow!("no {what} within {} s", within.as_secs()),
            RecvTimeoutError::Disconnected => anyhow::anyhow!("it ended before {what} came"),
        })
    }

    /// What is left once the process has ended.
    pub fn rest(self) -> Vec<String> {
        self.0.iter().collect()
    }
}
