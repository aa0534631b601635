//! `tcpwait report`: a recording becomes a page. Without one, the running kernel is recorded first.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;

use super::{
    criteria::{check_states, criteria},
    exit,
    notices::{log_to_stderr, say_damage},
    record,
    source::{audit_of, open},
};
use crate::{
    aggregate::StatOptions,
    cli::{RecordArgs, ReportArgs},
    event::Event,
    lifecycle::Update,
    output::{self, say},
    recording::Header,
    report::ReportContents,
    select::Selector,
    stat::{Beside, StatEngine},
    view::{
        self, ReportView,
        page::{FindingsOverTime, ReportPage},
        stat::json::StatJson,
        units::duration,
    },
};

/// So many groups are in it.
const GROUPS: usize = 50;

/// Carries it out.
pub fn run(args: &ReportArgs) -> Result<ExitCode> {
    check_states(&args.filter.state)?;
    // Before anybody waits for a recording.
    criteria(&args.filter, args.from.is_none())?;
    match &args.from {
        Some(from) => {
            check_not_over(from, &args.output)?;
            log_to_stderr(args.tracing.verbose);
            make(args, from)
        }
        None => {
            if to_stdout(&args.output) {
                bail!("the recording is left beside the page: name a file with -o");
            }
            let recorded = args.output.with_extension("tcpwait");
            check_not_over(&recorded, &args.output)?;
            record::run(&RecordArgs {
                output: recorded.clone(),
                netns: args.filter.netns.clone(),
                fail_on_loss: false,
                tracing: args.tracing.clone(),
            })?;
            make(args, &recorded)
        }
    }
}

/// Makes the page of a recording.
fn make(args: &ReportArgs, from: &Path) -> Result<ExitCode> {
    let criteria = criteria(&args.filter, false)?;
    let mut reader = open(from)?;
    let header = reader.header().clone();
    let options = StatOptions::new(&args.by, Default::default(), GROUPS);
    let mut engine = StatEngine::new(&header, Selector::new(criteria), options, audit_of(&header));
    let mut collecting = Collecting(ReportContents::new(header.started_ns));
    let mut findings = FindingsOverTime::default();
    let mut last_ns = header.started_ns;
    while let Some(record) = reader.next_record() {
        let is_tick = engine.record(record, &mut collecting);
        engine.recorded(reader.found());
        if is_tick && engine.now_ns().saturating_sub(last_ns) >= collecting.0.course.width_ns() {
            last_ns = engine.now_ns();
            findings.take_in(&engine.report(false), engine.stream().context());
        }
    }
    engine.recorded(reader.found());
    engine.finish(&mut collecting);
    let mut collected = collecting.0;
    collected.finish();
    findings.take_in(&engine.report(false), engine.stream().context());
    let report = engine.report(true);
    let context = engine.stream().context();
    findings.take_in(&report, context);
    let zone = TimeZone::system();
    let mut document = Vec::new();
    StatJson.report(&report, context, &mut document).context("making the page")?;
    let missing: Vec<(String, String)> = header.missing_hooks.clone().into_iter().collect();
    let page = ReportPage {
        report: &report,
        findings: &findings,
        collected: &collected,
        facts: &facts(from, &header, report.begin_ns, report.end_ns),
        missing_hooks: &missing,
        damage: &view::ledger::damage(&reader.found(), "shown"),
        document: &String::from_utf8_lossy(&document),
    };
    let html = page.html(context, &zone);
    write_page(&args.output, &html)?;
    say_damage(from, &reader.found(), "shown");
    let outcome = engine.outcome();
    Ok(exit::code(outcome.ledger.is_lossy() || outcome.differs, args.fail_on_loss))
}

/// What is said of the recording.
fn facts(from: &Path, header: &Header, begin_ns: u64, end_ns: u64) -> Vec<(&'static str, String)> {
    let of = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    vec![
        ("recording", crate::plain::escaped(&of(from))),
        ("kernel", format!("{} {}", header.kernel, header.machine)),
        ("length", duration(Some(end_ns.saturating_sub(begin_ns)))),
        ("HZ", header.hz.map_or_else(|| "-".to_owned(), |hz| hz.to_string())),
        ("made by", format!("tcpwait {}, records of version {}", header.tcpwait, header.wire)),
        ("shown by", format!("tcpwait {}", env!("CARGO_PKG_VERSION"))),
    ]
}

fn to_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// A page is not written over the recording that it is made of.
pub(super) fn check_not_over(recording: &Path, page: &Path) -> Result<()> {
    let same = match (fs::canonicalize(recording), fs::canonicalize(page)) {
        (Ok(recording), Ok(page)) => recording == page,
        _ => recording == page && !to_stdout(page),
    };
    if same {
        bail!("the page would be written over the recording {}: name another file with -o", recording.display());
    }
    Ok(())
}

/// Writes a page, and says what to do with it.
pub(super) fn write_page(path: &Path, html: &str) -> Result<()> {
    let doing = || format!("writing the page to {}", path.display());
    if to_stdout(path) {
        let mut out = output::Output::patient();
        return out.write_all(html.as_bytes()).and_then(|()| out.flush()).with_context(doing);
    }
    let mut file = File::create(path).with_context(doing)?;
    file.write_all(html.as_bytes()).with_context(doing)?;
    say!("{}: {} bytes; open it in a browser", path.display(), html.len());
    Ok(())
}

/// Collects beside the report.
struct Collecting(ReportContents);

impl Beside for Collecting {
    fn event(&mut self, event: &Event) {
        self.0.event(event);
    }
    fn wanted(&mut self, update: &Update) {
        self.0.update(update);
    }
}
