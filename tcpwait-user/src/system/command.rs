//! Runs a command in a cgroup of its own, by which it and all its children are known, however short they live.
//! What is made of that is decided elsewhere; the cgroup goes when the command does.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, id},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{AccessFlags, Pid, access, getppid},
};

/// The first argument of a process that is to become the command. Nobody else would begin with it.
pub const VERB: &str = "--become-command";

/// How often it is looked whether a command that was told to end has.
const LOOK: Duration = Duration::from_millis(10);

/// Before the process id in the name of a cgroup.
const PREFIX: &str = "tcpwait-";

/// A command that was started. Dropping it leaves the command alone and takes its cgroup away.
#[derive(Debug)]
pub struct Started {
    child: Child,
    /// What is left of it goes back here.
    home: PathBuf,
    place: PathBuf,
}

/// A cgroup for a command that does not run yet.
#[derive(Debug)]
pub struct CommandCgroup {
    home: PathBuf,
    place: PathBuf,
    /// Its path below the cgroup-v2 mount.
    pub path: String,
    /// Its id.
    pub id: u64,
}

/// Why a command cannot be run, with the exit code that a shell has for it.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    why: String,
    /// 127 where there is no such command, 126 where it may not be run.
    pub code: u8,
}

impl Refused {
    fn missing(why: String) -> Self {
        Self { why, code: 127 }
    }

    fn forbidden(why: String) -> Self {
        Self { why, code: 126 }
    }
}

/// Sees to it that there is such a program, before anything else is done for it.
///
/// # Errors
/// No file of that name is in a directory of `PATH`, or at the path given, or it may not be run.
pub fn check(program: &OsStr) -> Result<(), Refused> {
    let shown = program.display();
    let runs = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if program.as_encoded_bytes().contains(&b'/') {
        let path = Path::new(program);
        return match (path.exists(), runs(path)) {
            (false, _) => Err(Refused::missing(format!("the command {shown} does not exist"))),
            (_, false) => {
                Err(Refused::forbidden(format!("the command {shown} cannot be run: it is not an executable file")))
            }
            _ => Ok(()),
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let there: Vec<PathBuf> =
        env::split_paths(&path).map(|directory| directory.join(program)).filter(|file| file.is_file()).collect();
    match there.first() {
        None => Err(Refused::missing(format!("the command {shown} is in no directory of PATH"))),
        Some(first) if !there.iter().any(|file| runs(file)) => Err(Refused::forbidden(format!(
            "the command {} cannot be run: it is not an executable file",
            first.display()
        ))),
        Some(_) => Ok(()),
    }
}

/// Makes a cgroup below the one that this process is in.
///
/// # Errors
/// There is no cgroup-v2 mount, or it may not be written to.
pub fn place() -> Result<CommandCgroup> {
    let doing = "making a cgroup for the command";
    let mount = super::mounts()
        .into_iter()
        .filter(|mount| mount.fstype == "cgroup2")
        .min_by_key(|mount| mount.root.components().count())
        .with_context(|| format!("{doing}: no cgroup-v2 hierarchy is mounted; filter by --comm or -p instead"))?;
    let text = fs::read_to_string("/proc/self/cgroup").context(doing)?;
    let own = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .with_context(|| format!("{doing}: this process is in no cgroup"))?;
    let below = Path::new(own)
        .strip_prefix(&mount.root)
        .with_context(|| format!("{doing}: the cgroup of this process is outside of the mount"))?;
    let home = mount.point.join(below);
    remove_left(&home);
    let name = format!("{PREFIX}{}", id());
    let place = home.join(&name);
    fs::create_dir(&place)
        .with_context(|| format!("{doing}: creating {}; filter by --comm or -p instead", place.display()))?;
    let id = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&place).context(doing)?);
    Ok(CommandCgroup { home, place, path: format!("/{}", below.join(name).display()), id })
}

/// Removes the cgroups of runs that were killed, once nothing is in them.
fn remove_left(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            // The kernel refuses while there is a process in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

impl CommandCgroup {
    /// Starts the command there, by way of this program's own [`become_command`].
    ///
    /// # Errors
    /// There can be no more processes.
    pub fn start(self, command: &[OsString]) -> Result<Started> {
        let started = self.try_start(command);
        if started.is_err() {
            let _ = fs::remove_dir(&self.place);
        }
        started
    }

    fn try_start(&self, command: &[OsString]) -> Result<Started> {
        let own = env::current_exe().context("finding this program, to start the command")?;
        let child = Command::new(own).arg(VERB).arg(&self.place).arg(id().to_string()).args(command).spawn();
        let child = child.context("starting a process for the command")?;
        Ok(Started { child, home: self.home.clone(), place: self.place.clone() })
    }
}

/// What a process that is to become the command does: goes to the cgroup, sees to it that it ends when tcpwait is killed, and becomes it.
/// `arguments`: the cgroup, tcpwait's process id, the command.
///
/// Gives the exit code where that fails, and why.
pub fn become_command(arguments: &[OsString]) -> Refused {
    let [place, tcpwait, program, arguments @ ..] = arguments else {
        return Refused::forbidden("no command was given".to_owned());
    };
    let doing = || format!("the command {} cannot be run", program.display());
    let entered = fs::write(Path::new(place).join("cgroup.procs"), "0");
    if let Err(e) = entered {
        return Refused::forbidden(format!("{}: entering the cgroup {}: {e}", doing(), place.display()));
    }
    // Nobody else would know of the cgroup that it is in.
    let tied = prctl::set_pdeathsig(Signal::SIGTERM);
    let is_there = tcpwait.to_str().and_then(|pid| pid.parse().ok()) == Some(getppid().as_raw());
    if tied.is_err() || !is_there {
        return Refused::forbidden(format!("{}: tcpwait has gone", doing()));
    }
    let e = Command::new(program).args(arguments).exec();
    let why = format!("{}: {e}", doing());
    if e.kind() == io::ErrorKind::NotFound { Refused::missing(why) } else { Refused::forbidden(why) }
}

impl Started {
    /// Whether it is over.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Passes a signal on.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.wait().map(Some)
    }

    /// Waits for its end for so long at most. `None`: it goes on.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait_for(&mut self, most: Duration) -> io::Result<Option<ExitStatus>> {
        let end = Instant::now() + most;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() >= end {
                return Ok(status);
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // What it left running goes on where tcpwait is.
        for pid in fs::read_to_string(self.place.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(self.home.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.place);
    }
}
