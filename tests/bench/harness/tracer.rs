//! The settings that are compared, as processes: how each is started, when it is ready, and how it ends.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::pty::{Winsize, openpty};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bpf::Counters;
use crate::child::{Group, Lines};
use crate::process::{self, Held};

/// How long a tracer may take to start.
const READY: Duration = Duration::from_secs(20);
/// How long another tracer's BPF programs have to stay the same for it to count as ready.
const SETTLED: Duration = Duration::from_millis(500);

/// What is running beside the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Nothing. Twice in every rotation: the difference between the two is the noise. The number tells them apart.
    Untraced(u8),
    /// Empty programs on the hooks that tcpwait is on.
    Null,
    /// `tcpwait stat --json`.
    Stat,
    /// The same with a filter that leaves out all of the load: what a filter saves.
    Filtered(By),
    /// `tcpwait trace --json` to a file.
    Trace,
    /// `tcpwait record`.
    Record,
    /// `tcpwait top`, on a terminal of its own.
    Top,
    /// `tcpwait export`, which nobody asks for its metrics.
    Export,
    /// Another tracer, by its number and its command line.
    Peer(usize, String),
}

/// What a filter leaves the load out by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A local port that no load uses.
    Port,
    /// The harness's network namespace, which no load is in.
    Namespace,
}

impl Setting {
    /// What it is called in tables and in JSON.
    pub fn name(&self) -> String {
        match self {
            Setting::Untraced(0) => "untraced".to_owned(),
            Setting::Untraced(_) => "untraced again".to_owned(),
            Setting::Null => "null".to_owned(),
            Setting::Stat => "stat".to_owned(),
            Setting::Filtered(By::Port) => "stat -L".to_owned(),
            Setting::Filtered(By::Namespace) => "stat --netns".to_owned(),
            Setting::Trace => "trace".to_owned(),
            Setting::Record => "record".to_owned(),
            Setting::Top => "top".to_owned(),
            Setting::Export => "export".to_owned(),
            Setting::Peer(number, _) => format!("peer {number}"),
        }
    }
}

/// Where the programs are, which hooks the null probe takes, and where output goes.
pub struct Place {
    /// The tool.
    pub tcpwait: PathBuf,
    /// The folder of the load and of the null probe.
    pub programs: PathBuf,
    /// A folder for what tracers write; removed at the end.
    pub scratch: PathBuf,
    /// The hooks that tcpwait is on, here.
    pub hooks: Vec<String>,
}

impl Place {
    /// Asks tcpwait for its hooks.
    pub fn new(tcpwait: PathBuf, programs: PathBuf, scratch: PathBuf) -> Result<Self> {
        let said = Command::new(&tcpwait).args(["probes", "--json"]).output();
        let said = said.with_context(|| format!("cannot run {}", tcpwait.display()))?;
        if !said.status.success() {
            bail!("tcpwait does not run here: {}", String::from_utf8_lossy(&said.stderr).trim());
        }
        let said: Value = serde_json::from_slice(&said.stdout).context("reading what `tcpwait probes --json` says")?;
        let attached = |hook: &&Value| hook.get("attached").and_then(Value::as_bool) == Some(true);
        let hooks = said.get("hooks").and_then(Value::as_array).into_iter().flatten().filter(attached);
        let hooks = hooks.filter_map(|hook| hook.get("hook")?.as_str().map(str::to_owned));
        // Only trace, record and ports take this one unasked (`Choice::Cheap`), and the null is held against stat.
        let hooks = hooks.filter(|hook| hook != "sys_exit").collect::<Vec<_>>();
        if hooks.is_empty() {
            bail!("`tcpwait probes --json` names no attached hook");
        }
        Ok(Self { tcpwait, programs, scratch, hooks })
    }
}

/// A tracer that traces.
pub struct Running {
    group: Group,
    pids: Vec<Pid>,
    /// Its BPF objects.
    pub held: Held,
    /// tcpwait's counters, if it is that.
    pub counters: Option<Counters>,
    stderr: Option<Lines>,
    output: PathBuf,
    /// Reads what it draws, for as long as there is anything.
    _screen: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a setting and waits until it traces. `None`: nothing is to run.
    pub fn start(setting: &Setting, place: &Place) -> Result<Option<Self>> {
        Self::start_on(setting, None, place)
    }

    /// The same on these cores only.
    pub fn start_on(setting: &Setting, cores: Option<CpuSet>, place: &Place) -> Result<Option<Self>> {
        let output = place.scratch.join(format!("output of {}", setting.name()));
        let Some(mut command) = command(setting, place, &output)? else { return Ok(None) };
        if let Some(cores) = cores {
            // SAFETY: between fork and exec only sched_setaffinity(2) is called, which is async-signal-safe.
            unsafe { command.pre_exec(move || Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)) };
        }
        let screen = (*setting == Setting::Top).then(|| screen(&mut command)).transpose()?;
        let mut group = Group::start(command, &setting.name())?;
        let stderr = group.stderr();
        let ready = match setting {
            Setting::Peer(..) | Setting::Top => settled(&mut group),
            _ => told(stderr.as_ref()),
        };
        if let Err(error) = ready {
            drop(group);
            let said = stderr.map(Lines::rest).unwrap_or_default().join("; ");
            return Err(error.context(format!("cannot measure {}, which said {said:?}", setting.name())));
        }
        let pids = process::members(group.id());
        let held = process::held(&pids);
        let counters = Counters::among(&held.maps)?;
        Ok(Some(Self { group, pids, held, counters, stderr, output, _screen: screen }))
    }

    /// The first process.
    pub fn id(&self) -> Pid {
        self.group.id()
    }

    /// All of its processes.
    pub fn pids(&self) -> &[Pid] {
        &self.pids
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Result<process::Cpu> {
        process::cpu(&self.pids)
    }

    /// Waits until it has done what there was to do: until it takes next to no processor time. At most so long.
    pub fn quiet(&self, at_most: Duration) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(60);
        let end = Instant::now() + at_most;
        let mut before = self.cpu()?;
        while Instant::now() < end {
            thread::sleep(LOOK);
            let now = self.cpu()?;
            if u128::from(now.since(before).total_ns) * 50 < LOOK.as_nanos() {
                break;
            }
            before = now;
        }
        Ok(())
    }

    /// Ends it. Returns what it said on stderr meanwhile, and the last line of its output if that is JSON.
    pub fn end(mut self) -> Result<Last> {
        self.group.interrupt()?;
        let stderr = self.stderr.take().map(Lines::rest).unwrap_or_default();
        Ok(Last { stderr, document: last_line(&self.output).and_then(|line| serde_json::from_str(&line).ok()) })
    }
}

/// A tracer's last words.
pub struct Last {
    /// Lines on stderr since it was ready.
    pub stderr: Vec<String>,
    /// The last line on stdout: `stat`'s report on the whole time.
    pub document: Option<Value>,
}

fn command(setting: &Setting, place: &Place, output: &Path) -> Result<Option<Command>> {
    let here = std::process::id().to_string();
    let arguments: &[&str] = match setting {
        Setting::Stat => &["stat", "--json"],
        Setting::Filtered(By::Port) => &["stat", "--json", "-L", "1"],
        Setting::Filtered(By::Namespace) => &["stat", "--json", "--netns", &here],
        Setting::Trace => &["trace", "--json"],
        Setting::Top => &["top"],
        Setting::Export => &["export", "--listen", "127.0.0.1:0"],
        Setting::Record | Setting::Untraced(_) | Setting::Null | Setting::Peer(..) => &["record", "--output"],
    };
    let mut command = match setting {
        Setting::Untraced(_) => return Ok(None),
        Setting::Null => {
            let mut command = Command::new(place.programs.join("tcpwait-null"));
            command.args(&place.hooks).stdin(Stdio::piped());
            command
        }
        Setting::Stat | Setting::Filtered(_) | Setting::Trace | Setting::Record | Setting::Top | Setting::Export => {
            let mut command = Command::new(&place.tcpwait);
            command.args(arguments).stdin(Stdio::null());
            if matches!(setting, Setting::Record) {
                command.arg(place.scratch.join("recording"));
            }
            command
        }
        Setting::Peer(_, line) => {
            let mut command = Command::new("sh");
            command.args(["-c", line]).stdin(Stdio::null());
            command
        }
    };
    let file = File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    command.stdout(file).stderr(Stdio::piped());
    Ok(Some(command))
}

/// Has it draw on a terminal of 80 by 24 that somebody reads.
fn screen(command: &mut Command) -> Result<JoinHandle<()>> {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).context("making a terminal")?;
    let (mut drawn, slave) = (File::from(terminal.master), File::from(terminal.slave));
    let stdin = slave.try_clone().context("copying a terminal's descriptor")?;
    command.stdin(stdin).stdout(slave).env("TERM", "xterm");
    Ok(thread::spawn(move || {
        // Ends with the last who has the terminal open, which is an error to a reader of its other end.
        let _ = std::io::copy(&mut drawn, &mut std::io::sink());
    }))
}

/// The cores that a tracer may have where the load is to have the last one for itself; `None` on a machine with one.
pub fn all_but_the_last() -> Result<Option<CpuSet>> {
    let mut cores = sched_getaffinity(Pid::from_raw(0)).context("asking which cores there are")?;
    let given: Vec<_> = (0..CpuSet::count()).filter(|core| cores.is_set(*core).unwrap_or_default()).collect();
    let [_, .., last] = given.as_slice() else { return Ok(None) };
    cores.unset(*last).with_context(|| format!("naming core {last}"))?;
    Ok(Some(cores))
}

/// Waits for the line that says that all hooks are attached.
fn told(stderr: Option<&Lines>) -> Result<()> {
    let stderr = stderr.context("stderr is no pipe")?;
    let end = Instant::now() + READY;
    while !stderr.next(end.saturating_duration_since(Instant::now()), "\"Tracing\"")?.starts_with("Tracing") {}
    Ok(())
}

/// Waits until a tracer of whatever kind holds BPF programs, and always the same.
fn settled(group: &mut Group) -> Result<()> {
    let end = Instant::now() + READY;
    let (mut before, mut since) = (Held::default(), Instant::now());
    while Instant::now() < end {
        if let Some(status) = group.has_ended()? {
            bail!("it ended before it traced ({status})");
        }
        let now = process::held(&process::members(group.id()));
        if now != before {
            (before, since) = (now, Instant::now());
        } else if !before.programs.is_empty() && since.elapsed() >= SETTLED {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("it held no BPF program within {} s", READY.as_secs())
}

fn last_line(file: &Path) -> Option<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = File::open(file).ok()?;
    let length = file.metadata().ok()?.len();
    // A report is some kilobytes; what trace wrote may be gigabytes.
    file.seek(SeekFrom::Start(length.saturating_sub(1 << 20))).ok()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    String::from_utf8_lossy(&text).lines().last().map(str::to_owned)
}
