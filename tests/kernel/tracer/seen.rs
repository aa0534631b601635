//! What a tracer says about one namespace. Most tests share one tracer, which traces their namespaces.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use super::{
    Output, Tracer, command,
    line::{Line, parse},
    told,
};
use crate::netns;

/// What a tracer says about one namespace.
pub struct Seen {
    pub(super) tracer: Arc<Tracer>,
    pub(super) netns: u32,
}

/// What became of its start, which is tried once: the namespaces of tests that have failed since are gone.
static SHARED: OnceLock<Result<Mutex<Option<Arc<Tracer>>>, String>> = OnceLock::new();

/// Stops the tracer that the tests shared; whether all was well with it.
pub fn end_shared() -> bool {
    let Some(tracer) = SHARED.get().and_then(|shared| shared.as_ref().ok()?.lock().unwrap().take()) else {
        return true;
    };
    let Some(tracer) = Arc::into_inner(tracer) else {
        eprintln!("a test still holds the shared tracer");
        return false;
    };
    let ended = tracer.stop();
    let sound = ended.is_clean_but_for_withheld();
    if !sound || !ended.is_clean() {
        eprintln!("the tracer shared by the tests: {ended:?}");
    }
    sound
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
        Self { tracer, netns: netns::inode() }
    }

    /// A tracer of one's own, from this thread's namespace.
    pub fn through(tracer: Tracer) -> Self {
        Self { tracer: Arc::new(tracer), netns: netns::inode() }
    }

    /// The same tracer on another namespace.
    pub fn of(&self, netns: u32) -> Self {
        Self { tracer: self.tracer.clone(), netns }
    }

    /// The tracer, when nobody else holds it.
    pub fn into_tracer(self) -> Tracer {
        Arc::into_inner(self.tracer).expect("one owner")
    }

    fn pick(&self, output: &Output) -> Vec<Line> {
        let wanted = format!("\"netns\":{},", self.netns);
        let steps = output.lines.iter().filter(|line| line.contains(&wanted) && !told::is_failure(line));
        steps.map(|line| parse(line)).collect()
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.pick(&self.tracer.shelf.output.lock().unwrap())
    }

    /// Waits for a line.
    pub fn wait_for(&self, what: &str, bound: Duration, wanted: impl Fn(&Line) -> bool) -> Line {
        let found = self.tracer.shelf.wait_in_time(bound, |output| self.pick(output).into_iter().find(&wanted));
        found.unwrap_or_else(|output| {
            let lines = self.pick(&output);
            let (over, stderr) = (output.stdout_over, output.stderr.clone());
            drop(output);
            let lines: Vec<String> = lines.iter().map(|line| format!("{line:?}")).collect();
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
