//! What the screen has done outside of itself: a file with what is on it, and a recording, which a process of its own makes: what the screen has seen before is
//! not in it, and what is lost to the one need not be to the other.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{plain, top::state::TopScreen};

/// How long a recording goes on if nobody ends it.
const AT_MOST: &str = "3600";

/// How long the end of a recording is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Writes the screen to a file of its own. Returns its name.
pub(super) fn save(screen: &TopScreen, text: &str) -> Result<String> {
    let path = format!("tcpwait-top-{}.txt", stamp(screen));
    let mut options = OpenOptions::new();
    // What is there already stays.
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let mut file = file.with_context(|| format!("writing the screen to {path}"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing the screen to {path}"))?;
    Ok(path)
}

/// The time of what is on the screen, for the name of a file.
fn stamp(screen: &TopScreen) -> String {
    let wall = screen.snapshot().and_then(|snapshot| screen.context(snapshot).wall(snapshot.report.end_ns));
    wall.map_or_else(
        || "unknown-time".to_owned(),
        |time| time.to_zoned(screen.scene.zone.clone()).strftime("%Y%m%d-%H%M%S").to_string(),
    )
}

/// `tcpwait record`, in a process of its own.
pub(super) struct RecordingProcess {
    child: Child,
}

impl RecordingProcess {
    /// Starts it. Returns the file's name too.
    pub(super) fn start(screen: &TopScreen, namespaces: &[String]) -> Result<(Self, String)> {
        let path = format!("tcpwait-{}.tcpwait", stamp(screen));
        let program = std::env::current_exe().context("starting a recording")?;
        let mut command = Command::new(program);
        command.args(["record", "-o", &path, "--duration", AT_MOST]);
        command.args(namespaces.iter().flat_map(|netns| ["--netns", netns]));
        // Not of the terminal's foreground: its keys are not for it.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().context("starting a recording")?;
        Ok((Self { child }, path))
    }

    /// Tells it to end.
    pub(super) fn ask_to_end(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended already.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// What it said, once it has ended.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let mut said = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let _ = pipe.read_to_string(&mut said);
        }
        let last = said.lines().filter(|line| !line.starts_with("Tracing ")).collect::<Vec<_>>().join("; ");
        Some(match status.success() {
            true => plain::escaped(&last),
            false => format!("the recording failed: {}", plain::escaped(&last)),
        })
    }

    /// Ends it, and waits for that.
    pub(super) fn end(mut self) {
        self.ask_to_end();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(said) = self.has_ended() {
                return crate::output::sentence(format_args!("{said}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
