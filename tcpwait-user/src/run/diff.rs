//! `tcpwait diff`: two recordings are read one after the other, measured, and held against each other.

use std::{convert::Infallible, fs, io::Write, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;

use super::{
    criteria::{check_states, criteria},
    exit,
    notices::{log_to_stderr, say_damage},
    report::{check_not_over, write_page},
    screen::{paint, screen},
    source::open,
};
use crate::{
    aggregate::{by::Value, failures::FailureKind},
    cli::{DiffArgs, WindowPart},
    diff::{
        blocks::Window,
        comparable::SideFacts,
        compare::{DiffReport, Side},
        condition::{Condition, ConditionOutcome},
        measured::Measuring,
        subject::DiffNames,
    },
    event::Fact,
    ledger::Ledger,
    lifecycle::Call,
    names::Names,
    output::{Output, say},
    pipeline::Stream,
    plain,
    select::Selector,
    tcp::NetnsId,
    view::{
        diff::{json, page, text::DiffText, words},
        key,
        units::count,
    },
};

/// Exit code of `--fail-if`.
const FAILED_IF: u8 = 4;

/// Carries it out.
pub fn run(args: &DiffArgs) -> Result<ExitCode> {
    check_states(&args.filter.state)?;
    log_to_stderr(false);
    let is_stdin = |path: &Path| path == Path::new("-");
    if is_stdin(&args.before) && is_stdin(&args.after) {
        bail!("both recordings are to be read from standard input, which can only be one: name a file for the other");
    }
    let windows = match args.window.as_slice() {
        [] => [WindowPart::default(); 2],
        [both] => [*both; 2],
        [before, after] => [*before, *after],
        more => {
            bail!("--window is given {} times: once for both recordings, or twice, of BEFORE and of AFTER", more.len())
        }
    };
    for recording in [&args.before, &args.after] {
        args.output.as_deref().map_or(Ok(()), |page| check_not_over(recording, page))?;
    }
    let before = measure(args, &args.before, windows[0])?;
    let after = measure(args, &args.after, windows[1])?;
    let lossy = [&before, &after].into_iter().any(|side| side.facts.ledger.is_lossy());
    let comparison = DiffReport::new(before, after);
    show(args, &comparison)?;
    if fails(&args.fail_if, &comparison) {
        return Ok(ExitCode::from(FAILED_IF));
    }
    Ok(exit::code(lossy, args.fail_on_loss))
}

/// As text, as JSON, or as a page.
fn show(args: &DiffArgs, comparison: &DiffReport) -> Result<()> {
    let zone = TimeZone::system();
    if let Some(path) = &args.output {
        let mut document = Vec::new();
        json::write(comparison, &mut document).context("making the page")?;
        let html = page::html(comparison, String::from_utf8_lossy(&document).trim_end(), &zone);
        return write_page(path, &html);
    }
    let mut out = Output::patient();
    let written = if args.json {
        json::write(comparison, &mut out)
    } else {
        let text = DiffText { width: screen(false).width, paint: paint(args.color), all: args.all, zone };
        text.write(comparison, &mut out)
    };
    written.and_then(|()| out.flush()).context("writing to stdout")
}

/// Whether any condition holds, or cannot be said, which is told.
fn fails(conditions: &[Condition], comparison: &DiffReport) -> bool {
    let mut fails = false;
    for condition in conditions {
        match condition.judge(comparison) {
            ConditionOutcome::No => {
                if let Some(dropped) = condition.dropped_instead(comparison) {
                    let dropped = count(dropped);
                    say!(
                        "tcpwait: --fail-if '{condition}' does not hold, as nothing was in SYN_RECV: drops.accept-queue counts what the kernel dropped before, {dropped} in AFTER"
                    );
                }
            }
            ConditionOutcome::Holds(judged) => {
                say!("tcpwait: --fail-if '{condition}' holds: {}", words::judged(&judged));
                fails = true;
            }
            ConditionOutcome::Nobody(subject) => {
                let subject = plain::escaped(&subject);
                say!("tcpwait: --fail-if '{condition}' cannot be said: neither recording has anything of [{subject}]");
                fails = true;
            }
            ConditionOutcome::Unknown(why, judged) => {
                let of = judged.map_or_else(String::new, |judged| format!("{}: ", words::judged(&judged)));
                say!("tcpwait: --fail-if '{condition}' cannot be said: {of}{}", words::unknown(why));
                fails = true;
            }
        }
    }
    fails
}

/// Reads one of them.
fn measure(args: &DiffArgs, path: &Path, part: WindowPart) -> Result<Side> {
    let mut reader = open(path)?;
    let header = reader.header().clone();
    let criteria = criteria(&args.filter, false)?;
    let after_start =
        |time: Duration| header.started_ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let window = Window { begin_ns: after_start(part.begin), end_ns: part.end.map_or(u64::MAX, after_start) };
    let mut reading = DiffReading {
        stream: Stream::new(&header),
        selector: Selector::new(criteria),
        measuring: Measuring::new(window, header.started_ns, args.by.clone()),
    };
    while let Some(record) = reader.next_record() {
        reading.record(record);
        reading.stream.recorded(reader.found());
    }
    reading.stream.recorded(reader.found());
    reading.finish();
    say_damage(path, &reader.found(), "compared");
    let DiffReading { stream, selector, measuring } = reading;
    let context = stream.context();
    let measured = measuring.finish(&Known(context.names));
    if measured.window.length_ns() == 0 {
        bail!("{}: nothing was recorded in the time that --window names", path.display());
    }
    let facts = SideFacts {
        file: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        place: fs::canonicalize(path).ok(),
        host: header.host.clone(),
        recorded: header.command.as_deref().map(namespaces_of),
        kernel: header.kernel.clone(),
        machine: header.machine.clone(),
        hz: header.hz,
        tcpwait: header.tcpwait.clone(),
        segments: header.segments,
        tells_refused_calls: header.tells_refused_calls(),
        tells_who_accepts: header.tells_who_accepts(),
        has_settings: header.has_circumstances(),
        kernel_counts: measured.kernel_counts.clone(),
        realtime_ns: i128::from(measured.window.begin_ns) + context.realtime_offset_ns,
        window: measured.window,
        ledger: Ledger { undecided: selector.undecided(), ..stream.ledger() },
    };
    Ok(Side { facts, measured })
}

/// The network namespaces that a command line of `record` names, as it names them.
fn namespaces_of(command: &str) -> String {
    const OPTION: &str = "--netns";
    let mut words = command.split_whitespace();
    let mut named = Vec::new();
    while let Some(word) = words.next() {
        match word.strip_prefix(OPTION) {
            Some("") => named.extend(words.next()),
            Some(value) => named.extend(value.strip_prefix('=')),
            None => {}
        }
    }
    named.join(",")
}

/// From a record to what is measured.
struct DiffReading {
    stream: Stream,
    selector: Selector,
    measuring: Measuring,
}

impl DiffReading {
    fn record(&mut self, bytes: &[u8]) {
        self.stream.record(bytes);
        let Some(event) = self.stream.event() else { return };
        self.measuring.event(event);
        // They are of all connections of a namespace: where only some are wanted, they say nothing of those.
        if let Fact::KernelCounts(counts) = &event.fact
            && self.selector.criteria().is_everything_of_its_namespaces()
            && self.selector.criteria().netns.admits(|inode| *inode == counts.netns)
        {
            self.measuring.kernel_counts(event.time_ns, counts);
        }
        let (time_ns, is_tick) = (event.time_ns, matches!(event.fact, Fact::Tick { .. }));
        self.take_in();
        if is_tick && self.measuring.is_look_due(time_ns) {
            let Self { stream, selector, measuring } = self;
            let names = stream.context().names;
            let wanted = stream.lifecycle().present().filter(|socket| selector.shows(socket, names));
            measuring.look(time_ns, wanted, names);
        }
    }

    fn take_in(&mut self) {
        let Self { stream, selector, measuring } = self;
        let names = stream.context().names;
        for update in stream.updates() {
            let Ok(()) = selector.pass(update, names, |update| {
                measuring.update(update, names);
                Ok::<(), Infallible>(())
            });
        }
    }

    /// Lets go of everything that still waits for a later event: the records are over.
    fn finish(&mut self) {
        self.stream.finish();
        self.take_in();
        let Self { stream, selector, measuring } = self;
        let names = stream.context().names;
        let Ok(()) = selector.finish(names, |update| {
            measuring.update(update, names);
            Ok::<(), Infallible>(())
        });
        let wanted = stream.lifecycle().present().filter(|socket| selector.shows(socket, names));
        measuring.still_there(wanted, names);
    }
}

/// Names of one recording.
struct Known<'a>(&'a Names);

impl DiffNames for Known<'_> {
    fn group(&self, key: &[Value]) -> String {
        let values: Vec<String> = key.iter().map(|value| key::text(*value, self.0)).collect();
        values.join(" ")
    }

    fn failure(&self, kind: &FailureKind) -> String {
        let process = kind.comm.map_or_else(|| "unknown process".to_owned(), key::comm_of);
        let address = self.0.endpoint(kind.address, kind.port, kind.interface);
        let towards = if kind.call == Call::Connect { "to" } else { "on" };
        format!("{process} {towards} {address}")
    }

    fn netns(&self, netns: NetnsId) -> String {
        key::text(Value::Netns(netns), self.0)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_recorded_is_in_the_command() {
        let of = super::namespaces_of;
        assert_eq!(of("tcpwait record -o x --duration 60"), "");
        assert_eq!(of("tcpwait record --netns blue -o x --netns=red,4026"), "blue,red,4026");
        assert_eq!(of("tcpwait record --netns"), "");
    }
}
