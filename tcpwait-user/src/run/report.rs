//! `tcpwait report`: a recording becomes a page. Without one, the running kernel is recorded first.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail};
use jiff::tz::TimeZone;

use super::{
    criteria::{check_states, criteria},
    exit,
    notices::{log_to_stderr, say_damage},
    record,
    source::{audit_of, open},
};
use crate::{
    aggregate::{
        StatOptions,
        ports::{PortModel, report::PortsReport},
    },
    cli::{RecordArgs, ReportArgs},
    event::Event,
    lifecycle::Update,
    output::{self, say},
    recording::Header,
    report::{ReportContents, ports::LOOKED_AT},
    select::Selector,
    stat::{Beside, StatEngine},
    view::{
        self, PortsView, ReportView,
        page::{FindingsOverTime, PageDocuments, RecordingFacts, ReportPage},
        ports::json::PortsJson,
        stat::json::StatJson,
    },
};

/// So many groups are in it.
const GROUPS: usize = 50;

/// So much of a file is read at once.
const READ: usize = 64 << 10;

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
    let whole = criteria.is_everything_of_its_namespaces();
    let options = StatOptions::new(&args.by, Default::default(), GROUPS);
    let mut engine = StatEngine::new(&header, Selector::new(criteria), options, audit_of(&header));
    let mut collecting = Collecting {
        contents: ReportContents::new(header.started_ns),
        ports: PortModel::new(header.started_ns, true, whole),
    };
    let mut findings = FindingsOverTime::default();
    let mut last_ns = header.started_ns;
    while let Some(record) = reader.next_record() {
        let is_tick = engine.record(record, &mut collecting);
        engine.recorded(reader.found());
        if let Some((netns, settings)) = engine.stream().told_settings() {
            collecting.ports.set_settings(netns, settings.clone());
        }
        if is_tick && engine.now_ns().saturating_sub(last_ns) >= collecting.contents.course.width_ns() {
            last_ns = engine.now_ns();
            findings.take_in(&engine.report(false), engine.stream().context());
            collecting.look_at_ports(&engine, false);
        }
    }
    engine.recorded(reader.found());
    engine.finish(&mut collecting);
    let ports = collecting.look_at_ports(&engine, true);
    let mut collected = collecting.contents;
    collected.finish();
    findings.take_in(&engine.report(false), engine.stream().context());
    let report = engine.report(true);
    let context = engine.stream().context();
    findings.take_in_whole(&report, context);
    let (mut of_stat, mut of_ports) = (Vec::new(), Vec::new());
    StatJson.report(&report, context, &mut of_stat).context("making the page")?;
    PortsJson.report(&ports, context, &mut of_ports).context("making the page")?;
    let missing: Vec<(String, String)> = header.missing_hooks.clone().into_iter().collect();
    let page = ReportPage {
        report: &report,
        ports: &ports,
        findings: &findings,
        collected: &collected,
        recording: facts(args, from, header),
        missing_hooks: &missing,
        damage: &view::ledger::damage(&reader.found(), "shown"),
        documents: PageDocuments {
            stat: &String::from_utf8_lossy(&of_stat),
            ports: &String::from_utf8_lossy(&of_ports),
        },
    };
    let html = page.html(context, &TimeZone::system()).context("making the page")?;
    write_page(&args.output, &html)?;
    say_damage(from, &reader.found(), "shown");
    let outcome = engine.outcome();
    Ok(exit::code(outcome.ledger.is_lossy() || outcome.differs, args.fail_on_loss))
}

/// What is known of the recording itself.
fn facts(args: &ReportArgs, from: &Path, header: Header) -> RecordingFacts {
    let name = from.file_name().unwrap_or(from.as_os_str()).to_string_lossy().into_owned();
    RecordingFacts {
        file: name,
        sha256: sha256(from).ok().flatten(),
        host: header.host,
        command: header.command,
        kernel: format!("{} {}", header.kernel, header.machine),
        hz: header.hz,
        made_by: header.tcpwait,
        wire: header.wire,
        filter: args.filter.given(),
    }
}

/// The SHA-256 of a file; `None` of what can be read but once.
fn sha256(path: &Path) -> io::Result<Option<String>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let mut sum = ring::digest::Context::new(&ring::digest::SHA256);
    let mut bytes = vec![0; READ];
    loop {
        match file.read(&mut bytes)? {
            0 => break,
            read => sum.update(bytes.get(..read).unwrap_or_default()),
        }
    }
    let digits = sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(digits))
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
    if to_stdout(path) {
        let mut out = output::Output::patient();
        return out
            .write_all(html.as_bytes())
            .and_then(|()| out.flush())
            .context("writing the page to standard output");
    }
    let written = File::create(path).and_then(|mut file| file.write_all(html.as_bytes()));
    written.map_err(|why| anyhow!("writing the page to {}: {why}; name another place with -o", path.display()))?;
    say!("{}: {} bytes; open it in a browser", path.display(), html.len());
    Ok(())
}

/// Collects beside the report.
struct Collecting {
    contents: ReportContents,
    ports: PortModel,
}

impl Collecting {
    fn look_at_ports(&mut self, engine: &StatEngine, is_final: bool) -> PortsReport {
        self.ports.set_slack(engine.stream().lifecycle().timewait_slack_ns());
        let report = self.ports.report(engine.now_ns(), is_final, LOOKED_AT, engine.ledger());
        self.contents.ports.look(&report);
        report
    }
}

impl Beside for Collecting {
    fn event(&mut self, event: &Event) {
        self.contents.event(event);
        self.ports.event(event);
    }
    fn every(&mut self, update: &Update) {
        self.ports.observe(update);
    }
    fn wanted(&mut self, update: &Update) {
        self.contents.update(update);
        self.ports.update(update);
    }
}
