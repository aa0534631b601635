//! `tcpwait ports`: a listing by sock_diag alone, or with tracing; reads the settings whenever a report is due.

use std::{io, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use tcpwait_wire::wire::Counters;

use super::{
    criteria::{criteria, kernel_filter},
    exit::{self, all_is_written},
    notices::{banner, log_to_stderr, say_damage, say_seeded},
    runtime,
    screen::{paint, screen},
    source::{open, settings_of_each_call},
};
use crate::{
    aggregate::ports::settings::PortSettings,
    cli::PortsArgs,
    ledger::Ledger,
    live::{self, Sink},
    output::Output,
    ports::PortsReports,
    recording::Header,
    schedule::Schedule,
    select::{Criteria, Selector},
    system::{
        clock::{monotonic_ns, realtime_ns},
        netns, port_range, seed,
    },
    tcp::NetnsId,
    view::{
        PortsView,
        ports::{json::PortsJson, text::PortsText},
    },
};

type Reports = PortsReports<Output>;

/// Carries it out.
pub fn run(args: &PortsArgs) -> Result<ExitCode> {
    log_to_stderr(args.tracing.verbose);
    match &args.from {
        Some(path) => replay(args, path),
        None if args.interval.is_none() && args.tracing.duration.is_none() => list(args),
        None => runtime()?.block_on(trace(args)),
    }
}

/// What is there now, which needs no tracing.
fn list(args: &PortsArgs) -> Result<ExitCode> {
    let criteria = criteria(&args.filter(), true)?;
    let netns = netns::identify(&criteria.netns);
    let header = Header { started_ns: monotonic_ns(), started_realtime_ns: realtime_ns(), ..Header::default() };
    let mut reports = reports(args, &header, false, criteria, Output::patient());
    let mut records = Vec::new();
    let seeded = seed::collect(&netns, monotonic_ns, |record| records.push(record.to_vec()));
    let done = records.iter().try_for_each(|record| reports.record(record)).and_then(|()| finish(&mut reports));
    say_seeded(Some(&seeded), args.tracing.verbose);
    code(args, &done.context("writing to stdout")?)
}

fn replay(args: &PortsArgs, path: &Path) -> Result<ExitCode> {
    let criteria = criteria(&args.filter(), false)?;
    let mut reader = open(path)?;
    let mut reports = reports(args, &reader.header().clone(), true, criteria, Output::patient());
    while let Some(record) = reader.next_record() {
        reports.record(record).context("writing to stdout")?;
        if reports.is_over() {
            break;
        }
        reports.recorded(reader.found());
    }
    reports.recorded(reader.found());
    let ledger = reports.finish().context("writing to stdout")?;
    say_damage(path, &reader.found(), "counted");
    code(args, &ledger)
}

async fn trace(args: &PortsArgs) -> Result<ExitCode> {
    let mut criteria = criteria(&args.filter(), true)?;
    let filter = kernel_filter(&mut criteria);
    let mut live = live::attach(settings_of_each_call(&args.tracing, filter))?;
    let mut sink = Traced(reports(args, live.header(), true, criteria, Output::live()));
    banner(&live, args.tracing.verbose);
    let seeded = live.run(&mut sink).await?;
    say_seeded(seeded.as_ref(), args.tracing.verbose);
    let ledger = finish(&mut sink.0).context("writing to stdout")?;
    code(args, &ledger)
}

/// The last report, with the settings of now.
fn finish(reports: &mut Reports) -> io::Result<Ledger> {
    reports.set_settings(port_range::read(&reports.namespaces()));
    reports.finish()
}

fn code(args: &PortsArgs, ledger: &Ledger) -> Result<ExitCode> {
    let lossy = !all_is_written()? || ledger.is_lossy();
    Ok(exit::code(lossy, args.fail_on_loss))
}

fn reports(args: &PortsArgs, header: &Header, traced: bool, criteria: Criteria, out: Output) -> Reports {
    let schedule = Schedule { interval: args.interval, count: args.count };
    let view: Box<dyn PortsView> = match args.json {
        true => Box::new(PortsJson),
        false => Box::new(PortsText::new(screen(args.wide).width, TimeZone::system()).painted(paint(args.color))),
    };
    PortsReports::new(header, traced, Selector::new(criteria), args.top as usize, schedule, view, out)
}

/// Records become reports.
struct Traced(Reports);

impl Sink for Traced {
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.record(bytes)
    }
    fn round(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn is_due(&mut self, now_ns: u64) -> bool {
        self.0.is_due(now_ns)
    }
    fn next_due_ns(&self) -> Option<u64> {
        self.0.next_due_ns()
    }
    fn account(&mut self, counters: &Counters) {
        self.0.account(counters);
    }
    fn namespaces(&self) -> Vec<NetnsId> {
        self.0.namespaces()
    }
    fn settings(&mut self, read: Vec<(NetnsId, PortSettings)>) {
        self.0.set_settings(read);
    }
    fn is_over(&mut self) -> bool {
        self.0.is_over()
    }
}
