//! Carries out a command: connects a source, a pipeline and an output, and says on stderr what a person needs to know.

mod doctor;
mod ports;
mod probes;
mod stat;
mod states;

use std::{
    io::{self, BufWriter, Stdout, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use tcpwait_wire::wire::Kind;

use crate::{
    aggregate::audit::{Audit, AuditReport, Reading, TwCounts},
    cli::{Cli, Command, Filter, Record, Trace, Tracing, choices},
    event::{counters, is_from_kernel},
    kernel::KernelFilter,
    ledger::{Ledger, Recorded},
    live::{self, Audited, Live, Settings, Sink},
    pipeline::{Pipeline, Shown},
    recording::{Believed, Reader, Writer},
    select::{Criteria, Family, Selector},
    system::{behaviour, cgroup::Cgroups, netns, processes, seed::Seeded},
    view::{
        self,
        json::Json,
        ledger,
        text::{Columns, Text},
    },
};

/// Exit code of `--fail-on-loss`.
const LOSSY: u8 = 3;

/// `TASK_COMM_LEN` less the final NUL.
const MAX_COMM: usize = 15;

/// Carries out the command.
///
/// # Errors
/// One clear sentence, with the remedy.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Stat(stat) => stat::run(&stat),
        Command::States(states) => states::run(&states),
        Command::Ports(ports) => ports::run(&ports),
        Command::Trace(trace) => match &trace.from {
            Some(_) => replay(&trace),
            None => runtime()?.block_on(trace_live(&trace)),
        },
        Command::Record(record) => runtime()?.block_on(record_live(&record)),
        Command::Doctor(args) => doctor::run(&args),
        Command::Probes(args) => runtime()?.block_on(async { probes::run(&args) }),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")
}

async fn trace_live(args: &Trace) -> Result<ExitCode> {
    log_to_stderr(args.tracing.verbose);
    let criteria = criteria(&args.filter, true)?;
    let filter = KernelFilter {
        netns: netns::identify(&criteria.netns),
        lports: criteria.lports.clone(),
        rports: criteria.rports.clone(),
    };
    let ports = !filter.lports.is_empty() || !filter.rports.is_empty();
    let audited = if ports { Audited::Never } else { Audited::Ends };
    let audit = (!ports).then(|| Audit::new(meaning_of_tw(), None));
    let mut live = live::attach(Settings { audit: audited, ..settings(&args.tracing, filter) })?;
    let mut pipeline = Pipeline::new(live.header(), Selector::new(criteria), shown(args), stdout())?;
    if let Some(audit) = audit {
        pipeline = pipeline.audited(audit);
    }
    let mut sink = Lines(pipeline);
    live.read_first_counters(&mut sink).context("writing to stdout")?;
    banner(&live, args.tracing.verbose);
    let result = live.run(&mut sink).await;
    if is_broken_pipe(&result) {
        return Ok(ExitCode::SUCCESS);
    }
    say_seeded(result?.as_ref(), args.tracing.verbose);
    match sink.0.finish() {
        Ok(ledger) => Ok(close(&ledger, sink.0.audit().as_ref(), args.fail_on_loss)),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(e) => Err(e).context("writing to stdout"),
    }
}

fn replay(args: &Trace) -> Result<ExitCode> {
    log_to_stderr(args.tracing.verbose);
    let path = args.from.as_deref().context("no recording named")?;
    let criteria = criteria(&args.filter, false)?;
    let mut reader = open(path)?;
    match replay_records(&mut reader, Selector::new(criteria), shown(args)) {
        Ok(ledger) => {
            say_damage(path, &reader.found(), "shown");
            Ok(close(&ledger, None, args.fail_on_loss))
        }
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(e) => Err(e).context("writing to stdout"),
    }
}

fn replay_records(reader: &mut Believed<Reader>, selector: Selector, shown: Shown) -> io::Result<Ledger> {
    let mut pipeline = Pipeline::new(&reader.header().clone(), selector, shown, stdout())?;
    while let Some(record) = reader.next_record() {
        pipeline.record(record)?;
    }
    pipeline.recorded(reader.found());
    pipeline.finish()
}

/// Opens a recording, of whose times those that cannot be are left out.
fn open(path: &Path) -> Result<Believed<Reader>> {
    let reader = Reader::open(path)?;
    Ok(Believed::new(reader.header().clone(), reader))
}

/// What is wrong with a recording; `done`: what became of the rest.
fn say_damage(path: &Path, found: &Recorded, done: &str) {
    for sentence in ledger::damage(found, done) {
        eprintln!("tcpwait: {}: {sentence}", path.display());
    }
}

async fn record_live(args: &Record) -> Result<ExitCode> {
    log_to_stderr(args.tracing.verbose);
    let filter = KernelFilter { netns: netns::identify(&inodes(&args.netns)?), ..KernelFilter::default() };
    let mut live = live::attach(settings(&args.tracing, filter))?;
    let mut sink =
        Recording { writer: Writer::create(&args.output, live.header())?, ledger: Ledger::default(), records: 0 };
    banner(&live, args.tracing.verbose);
    let seeded = live.run(&mut sink).await.with_context(|| format!("writing to {}", args.output.display()))?;
    say_seeded(seeded.as_ref(), args.tracing.verbose);
    sink.writer.finish()?;
    let size = std::fs::metadata(&args.output).map_or(0, |file| file.len());
    eprintln!(
        "{}: {} records, {size} bytes; read it with: tcpwait trace --from {0}",
        args.output.display(),
        sink.records
    );
    let lossy = sink.ledger.is_lossy();
    if lossy {
        eprintln!("some events were lost; `tcpwait trace --from` says which");
    }
    Ok(if lossy && args.fail_on_loss { ExitCode::from(LOSSY) } else { ExitCode::SUCCESS })
}

/// What the kernel's counter of TIME_WAIT counts, as tried on a connection; `None` where that cannot be tried. To be asked before anything is
/// attached: that connection is not to be seen.
fn meaning_of_tw() -> Option<TwCounts> {
    let began = behaviour::of_running_kernel().tw_counts_beginnings.ok()?;
    Some(if began { TwCounts::Beginnings } else { TwCounts::Expiries })
}

/// Records become lines.
struct Lines(Pipeline<BufWriter<Stdout>>);

impl Sink for Lines {
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.record(bytes)
    }
    fn reading_begins(&mut self) {
        self.0.reading_begins();
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

/// Records become a file.
struct Recording {
    writer: Writer,
    ledger: Ledger,
    records: u64,
}

impl Sink for Recording {
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.records += 1;
        self.ledger.read += u64::from(is_from_kernel(bytes));
        if let Some(counters) = counters(bytes).filter(|counters| counters.head.kind == Kind::Counters as u8) {
            self.ledger.count_kernel(&counters);
        }
        self.writer.record(bytes)
    }
    fn round(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn stdout() -> BufWriter<Stdout> {
    BufWriter::with_capacity(64 << 10, io::stdout())
}

fn shown(args: &Trace) -> Shown {
    if args.raw {
        return Shown::Raw { json: args.json };
    }
    if args.json {
        return Shown::Transitions(Box::new(Json::default()));
    }
    Shown::Transitions(Box::new(Text::new(Columns {
        relative_time: args.relative_time,
        time_of_day: args.time_of_day.then(TimeZone::system),
        wide: args.wide,
    })))
}

fn settings(args: &Tracing, filter: KernelFilter) -> Settings {
    Settings {
        filter,
        ring_bytes: args.ring_buffer,
        duration: args.duration,
        choices: choices(args.timing, args.refused_ports),
        audit: Audited::Never,
        verbose: args.verbose,
    }
}

/// Checks a filter. `live`: against this machine too, on which a process or a cgroup must exist to be ever seen.
fn criteria(filter: &Filter, live: bool) -> Result<Criteria> {
    let family = match (filter.ipv4, filter.ipv6) {
        (true, _) => Some(Family::V4),
        (_, true) => Some(Family::V6),
        _ => None,
    };
    if let Some(family) = family {
        let other = filter.laddr.iter().chain(&filter.raddr).find(|net| net.addr().is_ipv4() != (family == Family::V4));
        if let Some(net) = other {
            bail!("no connection can match {net}: it is not of the family that -4 or -6 asks for");
        }
    }
    let has = |nets: &[IpNet], v4: bool| nets.is_empty() || nets.iter().any(|net| net.addr().is_ipv4() == v4);
    if ![true, false].into_iter().any(|v4| has(&filter.laddr, v4) && has(&filter.raddr, v4)) {
        bail!("no connection can match: --laddr and --raddr name addresses of different families");
    }
    if let Some(name) = filter.comm.iter().find(|name| name.len() > MAX_COMM) {
        bail!("no connection can match: the kernel keeps {MAX_COMM} bytes of a process's name, and {name} is longer");
    }
    if live {
        for pid in &filter.pid {
            if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
                bail!("no connection can match: there is no process {pid}");
            }
        }
        for name in &filter.comm {
            if let Some(sentence) = processes::only_an_executable(name) {
                eprintln!("tcpwait: {sentence}");
            }
        }
        let cgroups = Cgroups::new();
        for path in &filter.cgroup {
            if cgroups.id_of(path).is_none() {
                bail!(
                    "no connection can match: there is no cgroup {path} below the cgroup-v2 mount (`systemd-cgls` lists them)"
                );
            }
        }
    }
    Ok(Criteria {
        lports: filter.lport.clone(),
        rports: filter.rport.clone(),
        laddrs: filter.laddr.clone(),
        raddrs: filter.raddr.clone(),
        pids: filter.pid.clone(),
        comms: filter.comm.clone(),
        cgroups: filter.cgroup.clone(),
        netns: if live { inodes(&filter.netns)? } else { recorded_inodes(&filter.netns)? },
        family,
        states: filter.state.clone(),
    })
}

fn inodes(specs: &[String]) -> Result<Vec<u32>> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    let there = netns::all();
    specs
        .iter()
        .map(|spec| {
            let inode = netns::resolve(spec)?;
            if !there.iter().any(|ns| ns.inode == inode) {
                bail!(
                    "no connection can match: no process, thread, mount or open file keeps a network namespace {inode} (`lsns -t net` lists them)"
                );
            }
            Ok(inode)
        })
        .collect()
}

/// A recording knows namespaces by inode only.
fn recorded_inodes(specs: &[String]) -> Result<Vec<u32>> {
    specs
        .iter()
        .map(|spec| {
            let number = spec.trim_start_matches("net:[").trim_end_matches(']');
            number.parse().ok().with_context(|| {
                format!("a recording knows network namespaces by inode, so --netns {spec} means nothing in it")
            })
        })
        .collect()
}

fn banner(live: &Live, verbose: bool) {
    for sentence in live.missing() {
        eprintln!("tcpwait: {sentence}");
    }
    if processes::numbering().is_some() {
        eprintln!(
            "tcpwait: this is a PID namespace: processes are numbered as `ps` here does; those outside of it have no number here, and are shown as \
             unknown"
        );
    }
    if verbose {
        eprintln!("kernel {}, {} decisive functions known", live.header().kernel, live.header().symbols.len());
    }
    eprintln!("Tracing TCP state transitions. Hit Ctrl-C to end.");
}

fn say_seeded(seeded: Option<&Seeded>, verbose: bool) {
    let Some(seeded) = seeded else { return };
    if seeded.unreadable > 0 {
        let why = seeded.first_reason.as_deref().unwrap_or("for an unknown reason");
        eprintln!(
            "tcpwait: {} network namespaces could not be read, their older sockets are not known: {why}",
            seeded.unreadable
        );
    }
    if verbose {
        eprintln!("read {} sockets in {} network namespaces", seeded.sockets, seeded.namespaces);
    }
}

fn close(account: &Ledger, audit: Option<&AuditReport>, fail_on_loss: bool) -> ExitCode {
    let say = |out: &mut dyn Write| {
        ledger::write(account, out)?;
        match audit {
            Some(audit) => writeln!(out, "{}", view::audit::sentence(audit)),
            None => Ok(()),
        }
    };
    // Nobody is there to be told when stderr is gone.
    let _ = say(&mut io::stderr().lock()).and_then(|()| io::stderr().flush());
    let lossy = account.is_lossy() || audit.is_some_and(AuditReport::differs);
    if fail_on_loss && lossy { ExitCode::from(LOSSY) } else { ExitCode::SUCCESS }
}

fn is_broken_pipe<T>(result: &Result<T>) -> bool {
    result.as_ref().is_err_and(|e| {
        e.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
    })
}

/// Diagnostics go to stderr, and only when asked for.
fn log_to_stderr(verbose: bool) {
    struct Stderr;
    impl log::Log for Stderr {
        /// What the kernel side and this tool say; how aya relocates a program is of no use in an incident.
        fn enabled(&self, message: &log::Metadata<'_>) -> bool {
            message.target().starts_with("tcpwait")
        }
        fn log(&self, record: &log::Record<'_>) {
            if !self.enabled(record.metadata()) {
                return;
            }
            let level = record.level().as_str().to_lowercase();
            record.args().to_string().lines().for_each(|line| eprintln!("{level}: {line}"));
        }
        fn flush(&self) {}
    }
    static LOGGER: Stderr = Stderr;
    if verbose && log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
