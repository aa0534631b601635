//! `tcpwait top`: connects a source with what counts, that with the screen, and the screen with the terminal. Where there is no terminal it is `tcpwait stat`.

mod errands;
mod screen_thread;

use std::{
    io::{self, IsTerminal, Write as _},
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use tcpwait_wire::wire::Counters;

use self::screen_thread::ScreenThread;
use super::{
    criteria::{check_states, criteria, kernel_filter},
    notices::{banner, log_to_stderr, say_damage, say_missing, say_seeded},
    runtime,
    source::{audit_of, meaning_of_tw, open, settings},
    stat,
};
use crate::{
    aggregate::{
        StatOptions,
        audit::{Audit, Reading},
        by::GroupBy,
        groups::Sort,
        ports::settings::PortSettings,
    },
    cli::TopArgs,
    kernel::KernelFilter,
    live::{self, Audited, LiveOptions, Sink},
    output::{self, say},
    recording::Header,
    select::{Criteria, Selector},
    signals,
    tcp::NetnsId,
    top::{
        draw,
        engine::TopEngine,
        feed::{CountRequest, Feed},
        state::{Scene, TopScreen},
        terminal,
        theme::Theme,
    },
    view::{self, ledger},
};

/// Groups that are shown by themselves.
const GROUPS: usize = 200;

/// How often a recording's side looks for what the screen asks.
const PATIENCE: Duration = Duration::from_millis(50);

/// After how many records of a recording it is asked whether anybody still looks.
const LOOKED_UP_EVERY: u64 = 4096;

/// Reports that the screen keeps of a recording.
const KEPT: u64 = crate::top::feed::KEPT as u64;

/// Carries it out.
pub fn run(args: &TopArgs) -> Result<ExitCode> {
    if args.once.is_none() && !is_terminal() {
        let interval =
            args.as_stat().interval.map_or_else(String::new, |interval| format!(" {}", interval.as_secs_f64()));
        say!("tcpwait: standard input or output is no terminal: this is `tcpwait stat{interval}`");
        return stat::run(&args.as_stat());
    }
    log_to_stderr(args.tracing.verbose);
    check_states(&args.filter.state)?;
    match (&args.from, args.once.is_some()) {
        (Some(path), true) => {
            let feed = Feed::new().context("making what wakes the screen")?;
            let criteria = criteria(&args.filter, false)?;
            let wanted = Wanted { criteria, by: args.by.clone(), interval: args.interval, once: args.once };
            replay(path, &wanted, &feed)?;
            print(args, &feed)
        }
        (Some(path), false) => recording(args, path),
        (None, _) => runtime()?.block_on(trace(args)),
    }
}

/// Whether there is one that can be drawn on and read from.
fn is_terminal() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// What is looked at, and how it looks.
fn scene(args: &TopArgs, place: String) -> Scene {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    Scene {
        place,
        is_recording: args.from.is_some(),
        by: args.by.clone(),
        interval: args.interval.unwrap_or(Duration::from_secs(1)),
        zone: TimeZone::system(),
        theme: Theme { color: !is_set("NO_COLOR"), ascii: args.ascii || !is_utf8() },
    }
}

/// What this machine is called.
fn host() -> String {
    nix::sys::utsname::uname().map(|uname| uname.nodename().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether the locale is UTF-8, as setlocale(3) looks for it.
fn is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let locale = set.unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// What is to be counted.
struct Wanted {
    criteria: Criteria,
    by: Vec<GroupBy>,
    interval: Option<Duration>,
    /// Only the report with this number, or where it is 0 the last, and not what came before it.
    once: Option<u64>,
}

impl Wanted {
    fn engine(&self, header: &Header, audit: Audit, interval: Option<Duration>) -> TopEngine {
        let options = StatOptions::new(&self.by, Sort::default(), GROUPS);
        let interval = interval.unwrap_or(Duration::from_secs(1));
        TopEngine::new(header, Selector::new(self.criteria.clone()), options, audit, interval)
    }
}

/// A recording on the screen: read once, and again whenever the screen wants it counted otherwise.
fn recording(args: &TopArgs, path: &Path) -> Result<ExitCode> {
    let mut wanted =
        Wanted { criteria: criteria(&args.filter, false)?, by: args.by.clone(), interval: args.interval, once: None };
    let feed = Feed::new().context("making what wakes the screen")?;
    let ends = feed.clone();
    signals::catch(true, move |_| ends.screen_goes()).context("catching signals")?;
    replay(path, &wanted, &feed)?;
    let place = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let screen = ScreenThread::start(TopScreen::new(scene(args, place)), feed.clone(), Vec::new())?;
    while !feed.is_screen_gone() {
        let Some(first) = feed.asked() else {
            end_without_terminal(&feed);
            thread::sleep(PATIENCE);
            continue;
        };
        // All of it is read for each: once for all that were asked for meanwhile.
        for request in [first].into_iter().chain(std::iter::from_fn(|| feed.asked())) {
            match request {
                CountRequest::GroupBy(by) => wanted.by = by,
                CountRequest::Interval(interval) => wanted.interval = Some(interval),
            }
        }
        feed.begin_anew();
        replay(path, &wanted, &feed)?;
    }
    screen.end()
}

/// The screen's thread sees that its terminal has gone, unless it went in the very moment in which a key was read.
fn end_without_terminal(feed: &Feed) {
    if !terminal::is_there().unwrap_or_default() {
        feed.screen_goes();
    }
}

/// Counts a recording, as long as somebody looks. Where nobody has said how long an interval is, it is so long that all of it can be kept.
fn replay(path: &Path, wanted: &Wanted, feed: &Feed) -> Result<()> {
    let mut interval = wanted.interval;
    loop {
        let mut reader = open(path)?;
        let header = reader.header().clone();
        let mut engine = wanted.engine(&header, audit_of(&header), interval);
        let (mut reports, mut records) = (0, 0u64);
        while let Some(record) = reader.next_record() {
            let is_due = engine.record(record);
            engine.recorded(reader.found());
            if is_due {
                let (snapshot, stories) = engine.snapshot(false);
                reports += 1;
                // What comes after the one that is wanted would push it out.
                if wanted.once.is_none_or(|once| once == 0 || reports <= once) {
                    feed.put(snapshot, stories, engine.names());
                }
            }
            records += 1;
            if records.is_multiple_of(LOOKED_UP_EVERY) && feed.is_screen_gone() {
                return Ok(());
            }
        }
        engine.recorded(reader.found());
        let longest = engine.stat().now_ns().saturating_sub(header.started_ns);
        if interval.is_none() && reports >= KEPT && wanted.once.is_none() {
            interval = Some(Duration::from_secs((longest / 1_000_000_000 / (KEPT / 2)).max(2)));
            feed.begin_anew();
            continue;
        }
        engine.finish();
        let (snapshot, stories) = engine.snapshot(true);
        feed.put(snapshot, stories, engine.names());
        feed.end();
        say_damage(path, &reader.found(), "counted");
        return Ok(());
    }
}

/// The running kernel on the screen.
async fn trace(args: &TopArgs) -> Result<ExitCode> {
    let mut criteria = criteria(&args.filter, true)?;
    let filter = kernel_filter(&mut criteria);
    let ports = !filter.lports.is_empty() || !filter.rports.is_empty();
    let why_not = ports.then(|| "the kernel's counters are not by port".to_owned());
    let audit = Audit::new(if ports { None } else { meaning_of_tw() }, why_not);
    let wanted = Wanted { criteria, by: args.by.clone(), interval: args.interval, once: args.once };
    let namespaces = namespaces(args, &filter);
    let feed = Feed::new().context("making what wakes the screen")?;
    let mut live = live::attach(LiveOptions {
        audit: if ports { Audited::Never } else { Audited::Throughout },
        wake: Some(feed.wake()),
        thinning: Some(args.thinning.limits()),
        ..settings(&args.tracing, filter)
    })?;
    let mut sink = Watched {
        engine: wanted.engine(live.header(), audit, wanted.interval).live(),
        feed: feed.clone(),
        once: args.once,
    };
    live.read_first_counters(&mut sink).context("counting")?;
    if args.once.is_some() {
        banner(&live, args.tracing.verbose);
        let seeded = live.run(&mut sink).await?;
        say_seeded(seeded.as_ref(), args.tracing.verbose);
        return print(args, &feed);
    }
    say_missing(&live);
    let screen = ScreenThread::start(TopScreen::new(scene(args, host())), feed.clone(), namespaces)?;
    let ran = live.run(&mut sink).await;
    let ended = screen.end();
    say_seeded(ran?.as_ref(), args.tracing.verbose);
    let outcome = sink.engine.stat().outcome();
    if outcome.ledger.is_lossy() {
        let mut text = Vec::new();
        let _ = ledger::losses(&outcome.ledger, &mut text);
        String::from_utf8_lossy(&text).lines().for_each(|line| say!("{line}"));
    }
    if outcome.differs {
        let audit = sink.engine.audit();
        say!("{}", view::audit::sentence(&audit, false));
    }
    ended
}

/// What a recording that is made from the screen is to be limited to.
fn namespaces(args: &TopArgs, filter: &KernelFilter) -> Vec<String> {
    match filter.netns.is_empty() {
        true => Vec::new(),
        false => args
            .filter
            .netns
            .iter()
            .map(|pick| {
                let not = if pick.not { "!" } else { "" };
                format!("{not}{}", pick.values.join(","))
            })
            .collect(),
    }
}

/// One screen as text.
fn print(args: &TopArgs, feed: &Feed) -> Result<ExitCode> {
    let place = match &args.from {
        Some(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        None => host(),
    };
    let mut screen = TopScreen::new(scene(args, place));
    if let Some(delivery) = feed.take() {
        screen.receive(delivery);
    }
    if let Some(number @ 1..) = args.once {
        screen.go_to(number);
    }
    let (width, height) = terminal::size();
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let text = draw::text(&screen, number("COLUMNS").unwrap_or(width), number("LINES").unwrap_or(height));
    let mut out = output::Output::patient();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("writing to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// Records become snapshots.
struct Watched {
    engine: TopEngine,
    feed: Feed,
    once: Option<u64>,
}

impl Sink for Watched {
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.engine.record(bytes) && self.engine.stat().stream().lifecycle().are_seeds_read() {
            let (snapshot, stories) = self.engine.snapshot(false);
            if self.once.is_some_and(|wanted| snapshot.number >= wanted) {
                self.feed.screen_goes();
            }
            self.feed.put(snapshot, stories, self.engine.names());
        }
        Ok(())
    }
    fn round(&mut self) -> io::Result<()> {
        while let Some(request) = self.feed.asked() {
            match request {
                CountRequest::GroupBy(by) => self.engine.group_by(&by),
                CountRequest::Interval(interval) => self.engine.set_interval(interval),
            }
        }
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.once.is_none() {
            end_without_terminal(&self.feed);
        }
        Ok(())
    }
    fn is_due(&mut self, now_ns: u64) -> bool {
        self.engine.is_due(now_ns)
    }
    fn next_due_ns(&self) -> Option<u64> {
        self.engine.next_due_ns()
    }
    fn account(&mut self, counters: &Counters) {
        self.engine.account(counters);
    }
    fn namespaces(&self) -> Vec<NetnsId> {
        self.engine.namespaces()
    }
    fn settings(&mut self, read: Vec<(NetnsId, PortSettings)>) {
        self.engine.set_settings(read);
    }
    fn reading_begins(&mut self) -> Vec<NetnsId> {
        self.engine.reading_begins()
    }
    fn reading_ends(&mut self, reading: &Reading) {
        self.engine.reading_ends(reading);
    }
    fn is_over(&mut self) -> bool {
        self.feed.is_screen_gone()
    }
}
