//! `tcpwait doctor`: reads twice, with a wait between, has the model judge and shows what it says.

use std::{io::Write, process::ExitCode, sync::mpsc, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    criteria::inodes,
    screen::{paint, screen},
};
use crate::{
    cli::DoctorArgs,
    doctor::{self, DoctorReport},
    output::{Output, say},
    signals,
    system::facts,
    view::{
        check::{self, PluginStatus},
        doctor::{Shape, json, text},
    },
};

/// Carries it out.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    if !args.check {
        return tell(args);
    }
    let mut out = Output::patient();
    let checked = examine(args);
    let (check, written) = match &checked {
        Ok(report) => (PluginStatus::of(report), check::line(report, &mut out)),
        Err(why) => (PluginStatus::Unknown, check::unknown(&format!("{why:#}"), &mut out)),
    };
    written.and_then(|()| out.flush()).context("writing to stdout")?;
    Ok(ExitCode::from(check as u8))
}

fn tell(args: &DoctorArgs) -> Result<ExitCode> {
    let report = examine(args)?;
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

fn examine(args: &DoctorArgs) -> Result<DoctorReport> {
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
    Ok(doctor::examine(&facts))
}

/// Waits; Ctrl-C, SIGTERM and SIGHUP end the wait, not the program.
fn wait(time: Duration) -> Result<()> {
    let (tell, told) = mpsc::channel();
    let tell = move |_| {
        // Whoever is told may have stopped waiting.
        let _ = tell.send(());
    };
    signals::catch(true, tell)?;
    say!("Reading the kernel's counters for {} s. Hit Ctrl-C to end sooner.", time.as_secs_f64());
    let _ = told.recv_timeout(time);
    // After the wait the next one ends it at once, be it the first.
    signals::ask();
    Ok(())
}
