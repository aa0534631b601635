//! `tcpwait stat`: connects a source with the statistics, a command to its own connections, and gives the exit code.

use std::{fs::File, io, os::unix::process::ExitStatusExt, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use nix::sys::signal::Signal;
use tcpwait_wire::wire::Counters;

use super::{
    criteria::{check_states, criteria, kernel_filter},
    exit::{self, all_is_written},
    notices::{banner, log_to_stderr, say_damage, say_seeded, say_thinned},
    runtime,
    screen::{paint, screen},
    source::{audit_of, meaning_of_tw, open, settings},
};
use crate::{
    aggregate::{
        StatOptions,
        audit::{Audit, Reading},
        ports::settings::PortSettings,
    },
    cli::{Color, OutputFormat, StatArgs},
    live::{self, Audited, LiveOptions, Sink},
    output::{self, Output, say},
    recording::Header,
    schedule::Schedule,
    select::{Criteria, Selector},
    signals,
    stat::{Account, Statistics},
    system::{
        command::{self, Refused, Started},
        port_range,
    },
    tcp::NetnsId,
    thinning::Thinner,
    view::{
        ReportView,
        stat::{csv::StatCsv, json::StatJson, text::StatText},
    },
};

/// How long a command may take to end once it was told to.
const A_MOMENT: Duration = Duration::from_millis(500);

/// Carries it out.
pub fn run(args: &StatArgs) -> Result<ExitCode> {
    let done = report(args);
    let Some(refused) = done.as_ref().err().and_then(|e| e.downcast_ref::<Refused>()) else { return done };
    say!("tcpwait: {refused}");
    Ok(ExitCode::from(refused.code))
}

fn report(args: &StatArgs) -> Result<ExitCode> {
    log_to_stderr(args.tracing.verbose);
    check_states(&args.filter.state)?;
    if let Some(program) = args.command.first() {
        command::check(program)?;
    }
    if let Some(path) = &args.output {
        let file = File::create(path).with_context(|| format!("writing reports to {}", path.display()))?;
        output::redirect(file);
    }
    match &args.from {
        Some(path) => replay(args, path),
        None => runtime()?.block_on(live(args)),
    }
}

fn replay(args: &StatArgs, path: &std::path::Path) -> Result<ExitCode> {
    let criteria = criteria(&args.filter, false)?;
    let mut reader = open(path)?;
    let header = reader.header().clone();
    let mut statistics = statistics(args, &header, criteria, audit_of(&header), Output::patient());
    while let Some(record) = reader.next_record() {
        statistics.record(record).context("writing to stdout")?;
        if statistics.is_over() {
            break;
        }
        statistics.engine_mut().recorded(reader.found());
    }
    statistics.engine_mut().recorded(reader.found());
    let account = statistics.finish().context("writing to stdout")?;
    say_damage(path, &reader.found(), "counted");
    Ok(code(args, &account))
}

async fn live(args: &StatArgs) -> Result<ExitCode> {
    let mut criteria = criteria(&args.filter, true)?;
    let place = if args.command.is_empty() { None } else { Some(command::place()?) };
    if let Some(place) = &place {
        criteria.cgroups = vec![place.path.clone()].into();
    }
    let filter = kernel_filter(&mut criteria);
    let ports = !filter.lports.is_empty() || !filter.rports.is_empty();
    let why_not = ports.then(|| "the kernel's counters are not by port".to_owned());
    let audit = Audit::new(if ports { None } else { meaning_of_tw() }, why_not);
    let mut live = live::attach(LiveOptions {
        audit: if ports { Audited::Never } else { Audited::Throughout },
        first_signal_ends: place.is_none(),
        thinning: Some(args.thinning.limits()),
        ..settings(&args.tracing, filter)
    })?;
    let statistics = statistics(args, live.header(), criteria, audit, Output::live());
    let mut sink = Reports { statistics, command: None, signalled: false };
    live.read_first_counters(&mut sink).context("writing to stdout")?;
    banner(&live, args.tracing.verbose);
    if let Some(place) = place {
        sink.statistics.engine_mut().stream_mut().names_mut().learn_cgroup(place.id, &place.path);
        sink.command = Some(place.start(&args.command)?);
    }
    let run = live.run(&mut sink).await;
    // Whoever closes the pipe does not end the command.
    let account = match output::reader_is_gone() {
        true => None,
        false => {
            say_seeded(run?.as_ref(), args.tracing.verbose);
            let settings = port_range::read(&sink.statistics.engine().namespaces());
            sink.statistics.engine_mut().set_settings(settings);
            Some(sink.statistics.finish().context("writing to stdout")?)
        }
    };
    let written = all_is_written();
    let code = if output::reader_is_gone() || written? {
        account.map_or(ExitCode::SUCCESS, |account| code(args, &account))
    } else {
        // A report that nobody took is a loss, too.
        exit::code(true, args.fail_on_loss)
    };
    match sink.command {
        Some(mut command) if code == ExitCode::SUCCESS => Ok(exit_of(&mut command)?),
        _ => Ok(code),
    }
}

/// The command's own exit code, or as a shell has it for a signal.
fn exit_of(command: &mut Started) -> Result<ExitCode> {
    let status = match signals::asked() {
        false => command.wait(),
        true => command.wait_for(A_MOMENT),
    };
    // It ignores the signal that it was sent; another is sent to it when tcpwait ends.
    let Some(status) = status.context("waiting for the command")? else {
        return Ok(ExitCode::from(signals::TERMINATED));
    };
    let signalled = u8::try_from(signals::SIGNALLED).unwrap_or(u8::MAX);
    let signal = status.signal().and_then(|signal| u8::try_from(signal).ok());
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.or(signal.map(|signal| signalled.saturating_add(signal))).unwrap_or(1)))
}

fn code(args: &StatArgs, account: &Account) -> ExitCode {
    let lossy = account.ledger.is_lossy() || account.differs;
    exit::code(lossy, args.fail_on_loss)
}

fn statistics(args: &StatArgs, header: &Header, criteria: Criteria, audit: Audit, out: Output) -> Statistics<Output> {
    let wanted = StatOptions::new(&args.by, args.sort.into(), args.top as usize);
    let schedule = Schedule { interval: args.interval, count: args.count };
    // A file is no terminal, although standard output may have been one.
    let color = if args.output.is_some() && args.color == Color::Auto { Color::Never } else { args.color };
    let view: Box<dyn ReportView> = match args.format() {
        OutputFormat::Json => Box::new(StatJson),
        OutputFormat::Csv => Box::new(StatCsv::default()),
        OutputFormat::Text => {
            Box::new(StatText::new(screen(args.wide), TimeZone::system(), args.tracing.verbose).painted(paint(color)))
        }
    };
    Statistics::new(header, Selector::new(criteria), wanted, schedule, audit, view, out)
}

/// Records become reports.
struct Reports {
    statistics: Statistics<Output>,
    command: Option<Started>,
    signalled: bool,
}

impl Sink for Reports {
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.statistics.record(bytes)
    }
    fn round(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn is_due(&mut self, now_ns: u64) -> bool {
        self.statistics.is_due(now_ns)
    }
    fn next_due_ns(&self) -> Option<u64> {
        self.statistics.next_due_ns()
    }
    fn is_watching(&self) -> bool {
        self.command.is_some()
    }
    fn account(&mut self, counters: &Counters) {
        self.statistics.engine_mut().account(counters);
    }
    fn namespaces(&self) -> Vec<NetnsId> {
        self.statistics.engine().namespaces()
    }
    fn settings(&mut self, read: Vec<(NetnsId, PortSettings)>) {
        self.statistics.engine_mut().set_settings(read);
    }
    fn reading_begins(&mut self) -> Vec<NetnsId> {
        self.statistics.engine_mut().reading_begins()
    }
    fn reading_ends(&mut self, reading: &Reading) {
        self.statistics.engine_mut().reading_ends(reading);
    }
    fn thinned(&mut self, change: &Thinner) {
        say_thinned(change);
    }
    fn is_over(&mut self) -> bool {
        self.statistics.is_over() || self.command.as_mut().is_some_and(Started::is_over)
    }
    /// The command gets the terminal's Ctrl-C itself, and decides when it ends; nothing else, and no second one, waits for it.
    fn ends_at(&mut self, signal: Signal) -> bool {
        let Some(command) = &self.command else { return true };
        if signal == Signal::SIGINT && !std::mem::replace(&mut self.signalled, true) {
            return false;
        }
        command.signal(Signal::SIGTERM);
        true
    }
}
