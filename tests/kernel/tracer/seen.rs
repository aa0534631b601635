//! What a tracer says about one namespace. Most tests share one tracer, which traces their namespaces.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use super::{
    Output, Tracer, command,
    line::{Line, parse},
    told::{self, Failed},
};
use crate::netns;

/// What a tracer says about one namespace.
pub struct Seen {
    pub(super) tracer: Arc<Tracer>,
    netns: u32,
    read: Mutex<Read>,
}

/// What has been read of the tracer's lines so far. Each is looked at once: many tests wait for lines of the same tracer, which must
/// not have to wait for them.
#[derive(Default)]
pub(super) struct Read {
    /// How many lines of all namespaces.
    at: usize,
    lines: Vec<Line>,
    pub(super) failures: Vec<Failed>,
}

/// What became of its start, which is tried once: the namespaces of tests that have failed since are gone.
static SHARED: OnceLock<Result<Mutex<Option<Arc<Tracer>>>, String>> = OnceLock::new();

/// Stops the tracer that the tests shared. What was not well with it.
pub fn end_shared() -> Result<(), String> {
    let Some(tracer) = SHARED.get().and_then(|shared| shared.as_ref().ok()?.lock().unwrap().take()) else {
        return Ok(());
    };
    let tracer = Arc::into_inner(tracer).ok_or("a test still holds it")?;
    let ended = tracer.stop();
    if !ended.is_clean() {
        eprintln!("the tracer shared by the tests: {ended:?}");
    }
    if ended.is_clean_but_for_withheld() {
        return Ok(());
    }
    let last_words: Vec<&str> = ended.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = last_words.len().saturating_sub(5);
    Err(format!("exit code {:?}, {}", ended.code, last_words[from..].join("; ")))
}

impl Seen {
    /// The tracer that the tests share, from this thread's namespace.
    pub fn shared() -> Self {
        let shared = SHARED.get_or_init(|| {
            let namespaces: Vec<String> = netns::watched_ones().iter().map(u32::to_string).collect();
            let tracer = Tracer::spawn(command(["trace", "--json", "--netns", &namespaces.join(",")]));
            tracer.starts().map(|()| Mutex::new(Some(Arc::new(tracer))))
        });
        let shared = shared.as_ref().unwrap_or_else(|why| panic!("the tracer that the tests share: {why}"));
        let tracer = shared.lock().unwrap().clone().expect("the tests are not over");
        Self { tracer, netns: netns::inode(), read: Mutex::default() }
    }

    /// A tracer of one's own, from this thread's namespace.
    pub fn through(tracer: Tracer) -> Self {
        Self { tracer: Arc::new(tracer), netns: netns::inode(), read: Mutex::default() }
    }

    /// The same tracer on another namespace.
    pub fn of(&self, netns: u32) -> Self {
        Self { tracer: self.tracer.clone(), netns, read: Mutex::default() }
    }

    /// The tracer, when nobody else holds it.
    pub fn into_tracer(self) -> Tracer {
        Arc::into_inner(self.tracer).expect("one owner")
    }

    /// Reads on.
    pub(super) fn read(&self, output: &Output) -> MutexGuard<'_, Read> {
        let wanted = format!("\"netns\":{},", self.netns);
        let mut read = self.read.lock().unwrap();
        for line in output.lines[read.at..].iter().filter(|line| line.contains(&wanted)) {
            if told::is_failure(line) {
                read.failures.push(told::parse(line));
            } else {
                read.lines.push(parse(line));
            }
        }
        read.at = output.lines.len();
        read
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.read(&self.tracer.shelf.output.lock().unwrap()).lines.clone()
    }

    /// Waits for a line.
    pub fn wait_for(&self, what: &str, bound: Duration, wanted: impl Fn(&Line) -> bool) -> Line {
        let mut looked_at = 0;
        let found = self.tracer.shelf.wait_in_time(bound, |output| {
            let read = self.read(output);
            let found = read.lines[looked_at..].iter().find(|line| wanted(line)).cloned();
            looked_at = read.lines.len();
            found
        });
        found.unwrap_or_else(|output| {
            let (over, stderr) = (output.stdout_over, output.stderr.clone());
            drop(output);
            let lines: Vec<String> = self.lines().iter().map(|line| format!("{line:?}")).collect();
            let tracer = if over { "has ended" } else { "goes on" };
            panic!("{what}: not within {bound:?}; there was\n{}\nThe tracer {tracer}: {stderr}", lines.join("\n"))
        })
    }

    /// Waits for a step of the connection with these addresses, seen from the first.
    pub fn wait_for_step(&self, ends: (SocketAddr, SocketAddr), step: &str, bound: Duration) -> Line {
        self.wait_for(&format!("{step} of {ends:?}"), bound, |line| line.is_of(ends) && line.step() == step)
    }

    /// The lines of one connection so far.
    pub fn connection(&self, id: Option<&String>) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.id.as_ref() == id).collect()
    }
}
