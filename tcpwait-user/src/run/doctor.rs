//! `tcpwait doctor`: reads twice, with a wait between, has the model judge and shows what it says.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::{
    signal::SigSet,
    signalfd::{SfdFlags, SignalFd},
};

use super::{
    inodes,
    screen::{paint, screen},
};
use crate::{
    cli::DoctorArgs,
    doctor,
    output::{Output, say},
    signals as caught,
    system::facts,
    view::doctor::{Shape, json, text},
};

/// Between two looks whether somebody wants it to end.
const PAUSE: Duration = Duration::from_millis(50);

/// Carries it out.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let only = inodes(&args.netns)?;
    let first = facts::first(&only);
    wait(args.seconds).context("waiting between the two readings")?;
    let facts = facts::second(first);
    if facts.namespaces.is_empty() {
        match facts.unreadable.first() {
            Some((name, why)) => bail!("no network namespace could be read: {name} {why}"),
            None => bail!("no network namespace could be read; is /proc mounted?"),
        }
    }
    let report = doctor::examine(&facts);
    let mut out = Output::patient();
    let written = match args.json {
        true => json(&report, &mut out),
        false => {
            text(&report, Shape { width: screen(args.wide).width, all: args.all, paint: paint(args.color) }, &mut out)
        }
    };
    written.and_then(|()| out.flush()).context("writing to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// Waits; Ctrl-C, SIGTERM and SIGHUP end the wait, not the program.
fn wait(time: Duration) -> Result<()> {
    let end = Instant::now().checked_add(time);
    let mut signals = SigSet::empty();
    caught::heeded().for_each(|signal| signals.add(signal));
    signals.thread_block()?;
    say!("Reading the kernel's counters for {} s. Hit Ctrl-C to end sooner.", time.as_secs_f64());
    let waiting = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) || waiting.read_signal()?.is_some() {
            break;
        }
        std::thread::sleep(left.unwrap_or(PAUSE).min(PAUSE));
    }
    drop(waiting);
    // A second Ctrl-C ends it at once.
    Ok(signals.thread_unblock()?)
}
