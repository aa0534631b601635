//! Boots a guest and follows it to its end, which comes within a bound.
//! Each line of the guest's second serial port begins with one byte: `1` stdout, `2` stderr, `=` the guest's first process,
//! which says so that it lives, too: how much time has passed in there is known only by that.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often a guest's first process says that it lives, by its own clock (tests/kernel/guest.rs).
const HEARTBEAT: Duration = Duration::from_secs(5);
/// QEMU's exit code for 0x10 written to its exit port; 0 is a reboot, so a crash.
const ENDED: i32 = 33;
/// How much of a guest's output an error shows.
const TAIL: usize = 40;

/// What a guest said.
pub enum Line<'a> {
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
}

/// When a guest is held to hang.
#[derive(Clone, Copy)]
pub struct Patience {
    /// What it runs has said nothing for so long, in the guest's time, which a busy machine does not stretch.
    pub quiet: Duration,
    /// Not even its first process has said anything for so long.
    pub dead: Duration,
    /// It has not ended by then.
    pub life: Duration,
}

impl Patience {
    /// Generous where it is this machine's time, as the machine may be busy.
    pub const fn with(quiet: Duration) -> Self {
        Self { quiet, dead: Duration::from_secs(5 * 60), life: Duration::from_secs(2 * 60 * 60) }
    }
}

/// Runs a guest and hands on its lines. `Ok` has the exit code of what it was to run: it booted, did that, and went down as it
/// should.
pub fn run(mut qemu: Command, log: &Path, patience: Patience, mut hears: impl FnMut(Line)) -> Result<i32> {
    let Patience { quiet, dead, life } = patience;
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = qemu.spawn().context("cannot run QEMU")?;
    let output = running.stdout.take().context("QEMU has no stdout")?;
    let complaints = running.stderr.take().context("QEMU has no stderr")?;
    let (send, lines) = mpsc::channel();
    let to_stderr = send.clone();
    let reader = thread::spawn(move || forward(output, |line| send.send(line)));
    let other = thread::spawn(move || {
        forward(complaints, |line| to_stderr.send([b"q".as_slice(), &line].concat()));
    });

    let mut log_file = fs::OpenOptions::new().append(true).open(log).context("cannot write to the log")?;
    let end = Instant::now() + life;
    let (mut code, mut complaint, mut quiet_for) = (None, String::new(), Duration::ZERO);
    let hung = loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Some(format!("is not done after {} s", life.as_secs()));
        }
        let line = match lines.recv_timeout(left.min(dead)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) if left > dead => {
                break Some(format!("gives no sign of life for {} s", dead.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => continue,
        };
        if line == b"=alive" {
            quiet_for += HEARTBEAT;
            if quiet_for > quiet {
                break Some(format!("says nothing for {} s of its own time", quiet.as_secs()));
            }
            continue;
        }
        quiet_for = Duration::ZERO;
        let Some((kind, text)) = line.split_first() else {
            continue;
        };
        log_file.write_all(&[text, b"\n"].concat())?;
        match kind {
            b'1' => hears(Line::Stdout(text)),
            b'2' => hears(Line::Stderr(text)),
            b'=' => code = String::from_utf8_lossy(text).strip_prefix("end ").and_then(|code| code.parse().ok()),
            _ => complaint = String::from_utf8_lossy(text).into_owned(),
        }
    };
    if hung.is_some() {
        running.kill().context("cannot end QEMU")?;
    }
    let status = running.wait()?;
    // They end with the process.
    let _ = (reader.join(), other.join());
    let failure = match (hung, code) {
        (Some(how), _) => format!("the guest hangs: it {how}"),
        (None, Some(code)) if status.code() == Some(ENDED) => return Ok(code),
        _ => ending(status, &complaint),
    };
    bail!("{failure}. {}", last_of(log))
}

fn forward<E>(from: impl std::io::Read, mut send: impl FnMut(Vec<u8>) -> Result<(), E>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        while line.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            line.pop();
        }
        if send(std::mem::take(&mut line)).is_err() {
            break;
        }
    }
}

fn ending(status: ExitStatus, complaint: &str) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "the guest crashed".to_owned(),
        (Some(ENDED), _) => "the guest ended without saying how".to_owned(),
        (_, Some(signal)) => format!("QEMU was ended by signal {signal}"),
        _ if complaint.is_empty() => format!("QEMU failed ({status})"),
        _ => format!("QEMU failed: {complaint}"),
    }
}

/// The end of a log, and where all of it is.
pub fn last_of(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let mut start = lines.len().saturating_sub(TAIL);
    // What went before a crash says more than the many lines after it.
    if let Some(crash) = lines.iter().position(|line| line.contains("Kernel panic")) {
        start = start.min(crash.saturating_sub(TAIL / 2));
    }
    format!("The last of {}:\n{}", log.display(), lines.get(start..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process, process::Command, time::Duration};

    use super::{Line, Patience, run};

    /// Runs a shell script for QEMU. Returns how it went, and what was heard.
    fn played(script: &str) -> (Result<i32, String>, String) {
        let log = env::temp_dir().join(format!("tcpwait-boot-{}-{}", process::id(), script.len()));
        fs::write(&log, "").unwrap_or_default();
        let mut qemu = Command::new("sh");
        qemu.args(["-c", script]);
        let mut heard = String::new();
        let [quiet, dead, life] = [15, 2, 4].map(Duration::from_secs);
        let code = run(qemu, &log, Patience { quiet, dead, life }, |line| {
            let (Line::Stdout(text) | Line::Stderr(text)) = line;
            heard.push_str(&String::from_utf8_lossy(text));
        });
        fs::remove_file(&log).unwrap_or_default();
        (code.map_err(|error| error.to_string()), heard)
    }

    #[test]
    fn only_a_guest_that_says_how_it_ended_has_ended() {
        assert_eq!(played("printf '1hello\\r\\n2there\\n=end 3\\n'; exit 33"), (Ok(3), "hellothere".to_owned()));
        for (script, why) in [
            ("echo 1hello; exit 33", "ended without saying how"),
            ("echo =end 0; exit 0", "crashed"),
            ("echo bad option >&2; exit 1", "QEMU failed: bad option"),
            ("exec sleep 60", "gives no sign of life for 2 s"),
            ("for n in 1 2 3 4; do echo =alive; done; exec sleep 60", "says nothing for 15 s of its own time"),
            ("while sleep 0.5; do echo =alive; echo 1hello; done", "is not done after 4 s"),
            ("echo 1hello; kill -9 $$", "QEMU was ended by signal 9"),
            ("echo =end; exit 33", "ended without saying how"),
        ] {
            let (code, _) = played(script);
            assert!(code.as_ref().is_err_and(|error| error.contains(why)), "{script}: {code:?}");
        }
    }
}
