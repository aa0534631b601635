//! The program under test as a child process: started in the namespace that the tests were started in, its lines read as
//! they come, its end watched. Most tests share one, which traces their namespaces; what they ask of it is bounded.

pub mod told;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt, fs,
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;

use crate::{netns, traffic::until, turns, withheld};

/// How long a program may take to attach on a CPU that is emulated.
pub const START: Duration = Duration::from_secs(200);

/// How long a line may take after the event.
pub const SOON: Duration = Duration::from_secs(20);

/// How long a TIME_WAIT may take to end, and to be shown.
pub const A_MINUTE: Duration = Duration::from_secs(85);

/// A line of `trace --json`. A key that is not here fails the test that reads it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub schema: String,
    pub time: Option<String>,
    pub id: Option<String>,
    pub netns: u32,
    pub interface: Option<String>,
    pub family: u8,
    pub laddr: IpAddr,
    pub lport: Option<u16>,
    pub raddr: IpAddr,
    pub rport: Option<u16>,
    pub from: Option<String>,
    pub to: String,
    pub dwell_ns: Option<u64>,
    #[serde(default)]
    pub dwell_at_least_ns: Option<u64>,
    pub timing: String,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub uid: Option<u32>,
    #[serde(rename = "cgroup")]
    pub _cgroup: Option<String>,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub errno: Option<String>,
    pub soft_errno: Option<String>,
    pub by: Option<By>,
    pub restarts: Option<u32>,
    #[serde(default)]
    pub restart_causes: BTreeMap<String, u32>,
    pub retransmits: Option<u16>,
    #[serde(default)]
    pub predates: bool,
}

/// Who ended a mini-socket.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct By {
    pub pid: u32,
    pub comm: String,
}

impl Line {
    /// `FIN_WAIT2>TIME_WAIT`.
    pub fn step(&self) -> String {
        format!("{}>{}", self.from.as_deref().unwrap_or("?"), self.to)
    }

    /// The time spent in the state left.
    pub fn dwell(&self) -> Duration {
        Duration::from_nanos(self.dwell_ns.unwrap_or_else(|| panic!("the time spent is not known: {self:?}")))
    }

    /// When, since 1970.
    pub fn when(&self) -> Duration {
        let time: jiff::Timestamp = self.time.as_ref().unwrap().parse().unwrap();
        time.as_duration().try_into().unwrap()
    }

    /// Whether it is of the connection with these addresses, seen from the first.
    pub fn is_of(&self, ends: (SocketAddr, SocketAddr)) -> bool {
        let same = |end: SocketAddr, ip: IpAddr, port: Option<u16>| end.ip() == ip && Some(end.port()) == port;
        same(ends.0, self.laddr, self.lport) && same(ends.1, self.raddr, self.rport)
    }
}

/// Lines by connection, in the order in which they came.
pub fn by_id(lines: &[Line]) -> BTreeMap<String, Vec<Line>> {
    let mut connections: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in lines {
        connections.entry(line.id.clone().unwrap_or_default()).or_default().push(line.clone());
    }
    connections
}

/// The steps of lines, as `CLOSE>SYN_SENT SYN_SENT>ESTABLISHED`.
pub fn steps(lines: &[Line]) -> String {
    lines.iter().map(Line::step).collect::<Vec<_>>().join(" ")
}

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

/// What a tcpwait left behind.
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of its stdout.
    pub stdout: Vec<String>,
    /// All of its stderr.
    pub stderr: String,
}

impl Ended {
    /// stdout as transitions.
    pub fn lines(&self) -> Vec<Line> {
        self.stdout.iter().filter(|line| !told::is_failure(line)).map(|line| parse(line)).collect()
    }

    /// The number that precedes a phrase on stderr, 0 where the phrase is missing.
    pub fn number_before(&self, phrase: &str) -> u64 {
        let Some((before, _)) = self.stderr.split_once(phrase) else {
            return 0;
        };
        let number = before.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
        number.parse().unwrap_or_else(|_| panic!("no number before {phrase:?} in {:?}", self.stderr))
    }

    /// What it says is lost, by cause; `None` without its last words. What the kernel withholds because a program was running
    /// already is left out: it is counted for the whole machine, which other tests keep busy.
    fn lost(&self) -> Option<Vec<&str>> {
        let lost = self.stderr.lines().find_map(|line| line.strip_prefix("lost: "))?;
        let causes = lost.split(", ").filter(|cause| *cause != "nothing" && !cause.ends_with("(recursion)"));
        Some(causes.collect())
    }

    /// Whether it ended well and lost nothing.
    pub fn is_clean(&self) -> bool {
        self.code == Some(0) && self.lost().is_some_and(|causes| causes.is_empty())
    }

    /// Whether it ended well and lost nothing but what a kernel may withhold, which shows as steps that do not fit together.
    fn is_clean_but_for_withheld(&self) -> bool {
        let unmatched = |cause: &&str| cause.strip_suffix("(unmatched)")?.split(' ').next()?.parse::<u64>().ok();
        let unmatched: Option<Vec<u64>> = self.lost().and_then(|causes| causes.iter().map(unmatched).collect());
        let withheld = withheld::of(self.number_before(" socket state changes"));
        self.code == Some(0) && unmatched.is_some_and(|counts| counts.iter().sum::<u64>() <= withheld)
    }

    /// Fails unless it ended well and says that nothing was lost.
    pub fn expect_clean(&self) {
        assert!(self.is_clean(), "{self:?}");
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}, {} lines, stderr:\n{}", self.code, self.stdout.len(), self.stderr)
    }
}

fn parse(line: &str) -> Line {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))
}

/// tcpwait, to be run outside the test's namespace, which it must neither need to be in nor keep alive.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpwait"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let home = netns::home();
    // SAFETY: setns is a system call without any state in this process.
    unsafe {
        command.pre_exec(move || {
            if libc::setns(home, libc::CLONE_NEWNET) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
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
            while read < reading.at_most && stdout.read_line(&mut line).is_ok_and(|length| length > 0) {
                read += 1;
                if (reading.keep)(&line) {
                    lines.put(|output| output.lines.push(line.trim_end().to_owned()));
                }
                line.clear();
            }
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

/// What a tracer says about one namespace.
pub struct Seen {
    tracer: Arc<Tracer>,
    netns: u32,
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
