//! `tcpwait trace`: connects a source with the pipeline that makes lines.

use std::{io, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;

use super::{
    criteria::{check_states, criteria, kernel_filter, one},
    exit::close,
    notices::{banner, log_to_stderr, say_damage, say_seeded},
    runtime,
    screen::{line_width, paint},
    source::{meaning_of_tw, open, settings},
};
use crate::{
    aggregate::audit::{Audit, Reading},
    cli::{OutputFormat, TraceArgs},
    ledger::Ledger,
    live::{self as source, Audited, LiveOptions, Sink},
    output::Output,
    pipeline::{Pipeline, Shown},
    recording::{Believed, Reader},
    select::{Selector, Steps},
    tcp::NetnsId,
    view::{
        csv::TraceCsv,
        json::TraceJson,
        text::{Columns, TraceText},
    },
};

/// Carries it out.
pub fn run(args: &TraceArgs) -> Result<ExitCode> {
    log_to_stderr(args.tracing.verbose);
    check_states(&args.filter.state)?;
    match &args.from {
        Some(path) => replay(args, path),
        None => runtime()?.block_on(live(args)),
    }
}

async fn live(args: &TraceArgs) -> Result<ExitCode> {
    let mut criteria = criteria(&args.filter, true)?;
    let steps = steps(args)?;
    let filter = kernel_filter(&mut criteria);
    let ports = !filter.lports.is_empty() || !filter.rports.is_empty();
    let audited = if ports { Audited::Never } else { Audited::Ends };
    let audit = (!ports).then(|| Audit::new(meaning_of_tw(), None));
    let mut live = source::attach(LiveOptions { audit: audited, ..settings(&args.tracing, filter) })?;
    let mut pipeline = Pipeline::new(live.header(), Selector::new(criteria), shown(args), Output::live())?.only(steps);
    if let Some(audit) = audit {
        pipeline = pipeline.audited(audit);
    }
    let mut sink = Lines(pipeline);
    live.read_first_counters(&mut sink).context("writing to stdout")?;
    banner(&live, args.tracing.verbose);
    let seeded = live.run(&mut sink).await?;
    say_seeded(seeded.as_ref(), args.tracing.verbose);
    let ledger = sink.0.finish().context("writing to stdout")?;
    close(&ledger, sink.0.audit().as_ref(), args.tracing.verbose, args.fail_on_loss)
}

fn replay(args: &TraceArgs, path: &Path) -> Result<ExitCode> {
    let criteria = criteria(&args.filter, false)?;
    let mut reader = open(path)?;
    let ledger =
        replay_records(&mut reader, Selector::new(criteria), steps(args)?, shown(args)).context("writing to stdout")?;
    say_damage(path, &reader.found(), "shown");
    close(&ledger, None, args.tracing.verbose, args.fail_on_loss)
}

fn replay_records(reader: &mut Believed<Reader>, selector: Selector, steps: Steps, shown: Shown) -> io::Result<Ledger> {
    let mut pipeline = Pipeline::new(&reader.header().clone(), selector, shown, Output::patient())?.only(steps);
    while let Some(record) = reader.next_record() {
        pipeline.record(record)?;
    }
    pipeline.recorded(reader.found());
    pipeline.finish()
}

/// Records become lines.
struct Lines(Pipeline<Output>);

impl Sink for Lines {
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.record(bytes)
    }
    fn reading_begins(&mut self) -> Vec<NetnsId> {
        self.0.reading_begins()
    }
    fn reading_ends(&mut self, reading: &Reading) {
        self.0.reading_ends(reading);
    }
    fn round(&mut self) -> io::Result<()> {
        self.0.flush()
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn steps(args: &TraceArgs) -> Result<Steps> {
    let longer_than_ns = args.longer_than.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    Ok(Steps { reasons: one("--reason", &args.reason)?, longer_than_ns })
}

fn shown(args: &TraceArgs) -> Shown {
    let format = args.format();
    if args.raw {
        return Shown::Raw { json: format == OutputFormat::Json };
    }
    Shown::Transitions(match format {
        OutputFormat::Json => Box::new(TraceJson::default()),
        OutputFormat::Csv => Box::new(TraceCsv::default()),
        OutputFormat::Text => Box::new(TraceText::new(Columns {
            relative_time: args.relative_time,
            time_of_day: args.time_of_day.then(TimeZone::system),
            wide: args.wide,
            width: line_width(args.wide),
            paint: paint(args.color),
        })),
    })
}
