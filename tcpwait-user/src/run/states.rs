//! `tcpwait states`: reads, counts and shows, once or again and again. No event loop: it has nothing to wait for but the time.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    criteria::criteria,
    exit::all_is_written,
    screen::{paint, screen},
};
use crate::{
    aggregate::by::GroupBy,
    cli::states::StatesArgs,
    event::Task,
    names::{Names, pod::PodPath},
    output::{self, Output, say},
    signals,
    states::{ListedSocket, SeenSince, StatesOptions, StatesTally, report::StatesReport},
    system::{
        cgroup::Cgroups,
        listing,
        owners::{Accepted, Owners},
        pods::{KnownPod, Pods},
    },
    tcp::{Flow, State},
    view::states::{Moment, json, notes, text},
};

/// How long a report that is being made may still take once a signal asked for the end.
const AT_MOST: Duration = Duration::from_millis(500);

/// Carries it out.
pub fn run(args: &StatesArgs) -> Result<ExitCode> {
    let wanted = wanted(args)?;
    // Signals end one report, and are caught beside many.
    let out = if args.interval.is_none() { Output::patient() } else { Output::live() };
    let mut reports = Reports {
        wanted,
        cgroups: None,
        pods: Pods::default(),
        names: Names::default(),
        out,
        said: Vec::new(),
        shown: false,
        seen: args.interval.map(|_| SeenSince::default()),
        begun: Instant::now(),
    };
    let Some(interval) = args.interval else {
        reports.report(args)?;
        return Ok(ExitCode::SUCCESS);
    };
    let under_way = Arc::new(AtomicBool::new(false));
    let stop = on_signal(Arc::clone(&under_way))?;
    let (mut left, mut next) = (args.count, Instant::now());
    loop {
        under_way.store(true, Ordering::Relaxed);
        reports.report(args)?;
        under_way.store(false, Ordering::Relaxed);
        left = left.map(|left| left - 1);
        if left == Some(0) {
            break;
        }
        // One that took too long delays the next; those after are on time again.
        next = later(next, interval);
        match stop.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    all_is_written()?;
    Ok(ExitCode::SUCCESS)
}

fn wanted(args: &StatesArgs) -> Result<StatesOptions> {
    if args.filter.state.iter().any(|states| !states.not && states.values.contains(&State::Close)) {
        bail!("no socket can match: the kernel does not list sockets in CLOSE");
    }
    let mut by = Vec::new();
    for what in &args.by {
        if !by.contains(what) {
            by.push(*what);
        }
    }
    let older_than_ms = args.older_than.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    Ok(StatesOptions { criteria: criteria(&args.filter, true)?, by, top: args.top as usize, older_than_ms })
}

/// What stays from one report to the next.
struct Reports {
    wanted: StatesOptions,
    cgroups: Option<Cgroups>,
    pods: Pods,
    names: Names,
    out: Output,
    /// What was said on stderr last.
    said: Vec<String>,
    shown: bool,
    /// What was there at the reports before, where there are several.
    seen: Option<SeenSince>,
    begun: Instant,
}

impl Reports {
    fn report(&mut self, args: &StatesArgs) -> Result<()> {
        let time = Timestamp::now();
        let mut tally = StatesTally::new(self.wanted.clone());
        let now_ms = |begun: Instant| u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(mut seen) = self.seen.take() {
            seen.begins(now_ms(self.begun));
            tally = tally.knowing(seen);
        }
        let extent = listing::read(&mut tally, &mut self.names);
        self.seen = tally.take_seen();
        if let Some(seen) = &mut self.seen {
            // Milliseconds that have begun: a moment after the last was read.
            seen.ends(now_ms(self.begun) + 1);
        }
        if extent.namespaces == 0 {
            let why = extent.first_reason.unwrap_or_else(|| "no network namespace was found".to_owned());
            bail!("no sockets could be listed: {why}");
        }
        if self.wanted.needs_owners() {
            self.find_owners(&mut tally);
        }
        let report = tally.report(extent);
        self.show(&report, args, time).context("writing to stdout")?;
        let notes = notes::of(&report, nix::unistd::geteuid().is_root());
        for note in notes.iter().filter(|note| !self.said.contains(note)) {
            say!("tcpwait: {note}");
        }
        self.said = notes;
        Ok(())
    }

    fn find_owners(&mut self, tally: &mut StatesTally) {
        let files = tally.files();
        let owners = Owners::find(&files);
        let accepted = Accepted::of(tally.waiting().iter().map(|socket| {
            let Flow { netns, lport, .. } = socket.flow;
            (netns, lport, socket.inode.unwrap_or_default(), socket.state == State::Listen)
        }));
        let owner = |socket: &ListedSocket| match socket.state {
            State::Listen => owners.of_listener(socket.inode?, accepted.at(socket.flow.netns, socket.flow.lport)),
            _ => owners.get(socket.inode?),
        };
        let by_pod = self.wanted.by.contains(&GroupBy::Pod) || !self.wanted.criteria.pods.is_empty();
        if by_pod || self.wanted.by.contains(&GroupBy::Cgroup) || !self.wanted.criteria.cgroups.is_empty() {
            let cgroups = self.cgroups.get_or_insert_default();
            let owners: BTreeMap<u64, u32> =
                tally.waiting().iter().filter_map(owner).map(|task| (task.cgroup, task.pid)).collect();
            for (id, pid) in owners {
                if self.names.cgroup(id).is_none()
                    && let Some(path) = cgroups.path_of(id, pid)
                {
                    self.names.learn_cgroup(id, &path);
                }
                // A container that has just started is named a moment later.
                if by_pod
                    && let Some(path) = self.names.cgroup(id)
                    && let Some(KnownPod { namespace, name, container }) =
                        PodPath::of(path).and_then(|path| self.pods.find(&path))
                {
                    self.names.learn_pod(id, &namespace, &name, container.as_deref());
                }
            }
        }
        // Somebody has it, and it has no owner.
        let is_shared = |socket: &ListedSocket| socket.inode.is_some_and(|inode| owners.get(inode).is_some());
        tally.owners(|socket| owner(socket).and_then(Task::from_wire), is_shared, &self.names);
    }

    fn show(&mut self, report: &StatesReport, args: &StatesArgs, time: Timestamp) -> io::Result<()> {
        let moment = Moment { time, names: &self.names };
        if std::mem::replace(&mut self.shown, true) && !args.json {
            writeln!(self.out)?;
        }
        match args.json {
            true => json::write(report, moment, &mut self.out)?,
            false => {
                let shape = text::Layout { width: screen(args.wide).width, paint: paint(args.color) };
                text::write(report, moment, &TimeZone::system(), shape, &mut self.out)?;
            }
        }
        self.out.flush()
    }
}

/// The next time a report is due.
fn later(last: Instant, interval: Duration) -> Instant {
    let (now, step_ns) = (Instant::now(), interval.as_nanos().max(1));
    // However short the interval is, and however long the machine was busy.
    let steps = now.saturating_duration_since(last).as_nanos() / step_ns + 1;
    let ns = u64::try_from(steps.saturating_mul(step_ns)).unwrap_or(u64::MAX);
    last.checked_add(Duration::from_nanos(ns)).unwrap_or(now)
}

/// Says when a signal asks for the end, which then does not end the process in the middle of a report that is nearly done. The second one does.
fn on_signal(under_way: Arc<AtomicBool>) -> Result<Receiver<()>> {
    let (tell, told) = mpsc::channel();
    let end = move |_| {
        // Whoever is told may be gone already.
        let _ = tell.send(());
        // A report of a machine with a thousand network namespaces takes longer; nobody waits for its end, but is told that it is missing.
        thread::sleep(AT_MOST);
        if under_way.load(Ordering::Relaxed) {
            say!("tcpwait: the last report is missing: it was not ready {AT_MOST:?} after the signal");
        }
        // An error was said by whoever wrote, or nobody reads any more.
        let _ = all_is_written();
        output::end();
        std::process::exit(0);
    };
    signals::catch(true, end).context("catching signals")?;
    Ok(told)
}
