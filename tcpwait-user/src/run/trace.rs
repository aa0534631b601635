//! `tcpwait trace`: connects a source with the pipeline that makes lines.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;

use super::{
    criteria::{check_states, criteria, kernel_filter, one},
    exit::{close, code},
    journal::{self, all_is_sent, pids},
    notices::{banner, log_to_stderr, say_damage, say_seeded},
    perfetto, runtime,
    screen::{line_width, paint},
    source::{audit_of, meaning_of_tw, open, settings_of_each_call},
};
use crate::{
    aggregate::audit::{Audit, AuditReport, Reading},
    cli::{OutputFormat, TraceArgs},
    ledger::Ledger,
    live::{self as source, Audited, LiveOptions, Sink},
    output::{Output, journal::Journal},
    pipeline::{Pipeline, Shown},
    recording::{Believed, Reader},
    select::{Selector, Steps},
    tcp::NetnsId,
    view::{
        csv::TraceCsv,
        journal::TraceJournal,
        json::TraceJson,
        perfetto::TracePerfetto,
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
    let journal = args.journal.then(journal::connect).transpose()?;
    let filter = kernel_filter(&mut criteria);
    let ports = !filter.lports.is_empty() || !filter.rports.is_empty();
    let audited = if ports { Audited::Never } else { Audited::Ends };
    let audit = (!ports).then(|| Audit::new(meaning_of_tw(), None));
    let mut live = source::attach(LiveOptions { audit: audited, ..settings_of_each_call(&args.tracing, filter) })?;
    let out: Box<dyn Write> = match &journal {
        Some(journal) => Box::new(journal.live()),
        None => Box::new(Output::live()),
    };
    let mut pipeline = Pipeline::new(live.header(), Selector::new(criteria), shown(args), out)?.only(steps);
    if let Some(audit) = audit {
        pipeline = pipeline.audited(audit);
    }
    let mut sink = Lines(pipeline);
    live.read_first_counters(&mut sink).context("writing to stdout")?;
    banner(&live, args.tracing.verbose);
    let seeded = live.run(&mut sink).await?;
    say_seeded(seeded.as_ref(), args.tracing.verbose);
    let ledger = sink.0.finish().context("writing to stdout")?;
    end(args, &ledger, sink.0.audit().as_ref(), journal.as_ref())
}

/// Says the account, and what the journal did not get.
fn end(args: &TraceArgs, ledger: &Ledger, audit: Option<&AuditReport>, journal: Option<&Journal>) -> Result<ExitCode> {
    let sent = journal.is_none_or(all_is_sent);
    let closed = close(ledger, audit, args.tracing.verbose, args.fail_on_loss)?;
    Ok(if sent { closed } else { code(true, args.fail_on_loss) })
}

fn replay(args: &TraceArgs, path: &Path) -> Result<ExitCode> {
    let criteria = criteria(&args.filter, false)?;
    let mut reader = open(path)?;
    args.perfetto.as_deref().map_or(Ok(()), perfetto::write_to)?;
    let journal = args.journal.then(journal::connect).transpose()?;
    let out: Box<dyn Write> = match &journal {
        Some(journal) => Box::new(journal.patient()),
        None => Box::new(Output::patient()),
    };
    let selector = Selector::new(criteria);
    let (ledger, audit) =
        replay_records(&mut reader, selector, steps(args)?, shown(args), out).context("writing to stdout")?;
    say_damage(path, &reader.found(), "shown");
    end(args, &ledger, audit.as_ref(), journal.as_ref())
}

fn replay_records(
    reader: &mut Believed<Reader>,
    selector: Selector,
    steps: Steps,
    shown: Shown,
    out: Box<dyn Write>,
) -> io::Result<(Ledger, Option<AuditReport>)> {
    let header = reader.header().clone();
    let mut pipeline = Pipeline::new(&header, selector, shown, out)?.only(steps);
    if header.has_circumstances() {
        pipeline = pipeline.audited(audit_of(&header));
    }
    while let Some(record) = reader.next_record() {
        pipeline.record(record)?;
    }
    pipeline.recorded(reader.found());
    let ledger = pipeline.finish()?;
    Ok((ledger, pipeline.audit()))
}

/// Records become lines.
struct Lines(Pipeline<Box<dyn Write>>);

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
    if args.perfetto.is_some() {
        return Shown::Transitions(Box::new(TracePerfetto::default()));
    }
    let columns = Columns {
        relative_time: args.relative_time,
        time_of_day: args.time_of_day.then(TimeZone::system),
        wide: args.wide,
        ..Columns::default()
    };
    if args.journal {
        return Shown::Transitions(Box::new(TraceJournal::new(columns, pids(args.from.is_some()))));
    }
    Shown::Transitions(match format {
        OutputFormat::Json => Box::new(TraceJson::default()),
        OutputFormat::Csv => Box::new(TraceCsv::default()),
        OutputFormat::Text => {
            Box::new(TraceText::new(Columns { width: line_width(args.wide), paint: paint(args.color), ..columns }))
        }
    })
}
