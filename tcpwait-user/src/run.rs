//! Carries out a command: connects a source, a pipeline and an output, and says on stderr what a person needs to know.

mod doctor;
mod ports;
mod probes;
mod stat;
mod states;

use std::{
    io::{self, BufWriter, Stdout, Write},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use tcpwait_wire::wire::Kind;

use crate::{
    aggregate::audit::{Audit, AuditReport, Reading, TwCounts},
    cli::{Cli, Command, Filter, Record, Trace, Tracing, choices, list},
    event::{counters, is_from_kernel},
    kernel::KernelFilter,
    ledger::Ledger,
    live::{self, Audited, Live, Settings, Sink},
    pipeline::{Pipeline, Shown},
    recording::{Reader, Writer},
    select::{Criteria, Family, Pick, Selector, Steps},
    system::{behaviour, cgroup::Cgroups, netns, processes, seed::Seeded},
    tcp::State,
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
    let mut criteria = criteria(&args.filter, true)?;
    let steps = steps(args)?;
    let filter = kernel_filter(&mut criteria);
    let ports = !filter.lports.is_empty() || !filter.rports.is_empty();
    let audited = if ports { Audited::Never } else { Audited::Ends };
    let audit = (!ports).then(|| Audit::new(meaning_of_tw(), None));
    let mut live = live::attach(Settings { audit: audited, ..settings(&args.tracing, filter) })?;
    let mut pipeline = Pipeline::new(live.header(), Selector::new(criteria), shown(args), stdout())?.only(steps);
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
    let mut reader = Reader::open(path)?;
    match replay_records(&mut reader, Selector::new(criteria), steps(args)?, shown(args)) {
        Ok(ledger) => {
            if let Some(why) = reader.cut() {
                eprintln!("tcpwait: {} was cut short ({why}); everything up to there is shown", path.display());
            }
            Ok(close(&ledger, None, args.fail_on_loss))
        }
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(e) => Err(e).context("writing to stdout"),
    }
}

fn replay_records(reader: &mut Reader, selector: Selector, steps: Steps, shown: Shown) -> io::Result<Ledger> {
    let mut pipeline = Pipeline::new(&reader.header().clone(), selector, shown, stdout())?.only(steps);
    while let Some(record) = reader.next_record() {
        pipeline.record(record)?;
    }
    pipeline.finish()
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

fn steps(args: &Trace) -> Result<Steps> {
    let longer_than_ns = args.longer_than.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    Ok(Steps { reasons: one("--reason", &args.reason)?, longer_than_ns })
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
    let criteria = Criteria {
        lports: one("--lport", &filter.lport)?,
        rports: one("--rport", &filter.rport)?,
        laddrs: one("--laddr", &filter.laddr)?,
        raddrs: one("--raddr", &filter.raddr)?,
        pids: one("--pid", &filter.pid)?,
        comms: one("--comm", &filter.comm)?,
        cgroups: one("--cgroup", &filter.cgroup)?,
        netns: if live { inodes(&filter.netns)? } else { recorded_inodes(&filter.netns)? },
        family: match (filter.ipv4, filter.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        },
        states: states(&one("--state", &filter.state)?),
    };
    check_families(&criteria)?;
    if let Some(name) = criteria.comms.values.iter().find(|name| name.len() > MAX_COMM) {
        bail!("no connection can match: the kernel keeps {MAX_COMM} bytes of a process's name, and {name} is longer");
    }
    if live {
        check_owners(&criteria)?;
    }
    Ok(criteria)
}

/// One list of those that were given for an option.
fn one<T: Clone>(option: &str, lists: &[Pick<T>]) -> Result<Pick<T>> {
    list::joined(option, lists).map_err(anyhow::Error::msg)
}

/// Turned round, every state but these that a connection can be in.
fn states(pick: &Pick<State>) -> Vec<State> {
    let others = || State::ALL.into_iter().filter(|state| *state != State::Close && !pick.values.contains(state));
    if pick.not { others().collect() } else { pick.values.clone() }
}

fn check_families(criteria: &Criteria) -> Result<()> {
    let (laddrs, raddrs) = (&criteria.laddrs, &criteria.raddrs);
    let asked_for = [laddrs, raddrs].into_iter().filter(|nets| !nets.not);
    if let Some(family) = criteria.family {
        let is_other = |net: &&IpNet| net.addr().is_ipv4() != (family == Family::V4);
        if let Some(net) = asked_for.flat_map(|nets| &nets.values).find(is_other) {
            bail!("no connection can match {net}: it is not of the family that -4 or -6 asks for");
        }
    }
    let has = |nets: &Pick<IpNet>, v4: bool| nets.not || nets.admits(|net| net.addr().is_ipv4() == v4);
    if ![true, false].into_iter().any(|v4| has(laddrs, v4) && has(raddrs, v4)) {
        bail!("no connection can match: --laddr and --raddr name addresses of different families");
    }
    Ok(())
}

/// What is to be left out need not be there.
fn check_owners(criteria: &Criteria) -> Result<()> {
    for pid in criteria.pids.values.iter().filter(|_| !criteria.pids.not) {
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            bail!("no connection can match: there is no process {pid}");
        }
    }
    for name in &criteria.comms.values {
        if let Some(sentence) = processes::only_an_executable(name) {
            eprintln!("tcpwait: {sentence}");
        }
    }
    let cgroups = Cgroups::new();
    for path in criteria.cgroups.values.iter().filter(|_| !criteria.cgroups.not) {
        if cgroups.id_of(path).is_none() {
            bail!(
                "no connection can match: there is no cgroup {path} below the cgroup-v2 mount (`systemd-cgls` lists them)"
            );
        }
    }
    Ok(())
}

/// What the kernel side can leave out. Namespaces that it leaves out are not looked for again: it knows them from others that have got their
/// inode numbers.
fn kernel_filter(criteria: &mut Criteria) -> KernelFilter {
    let filter = KernelFilter {
        netns: netns::identify(&criteria.netns),
        lports: criteria.lports.clone(),
        rports: criteria.rports.clone(),
    };
    if criteria.netns.not {
        criteria.netns = Pick::default();
    }
    filter
}

fn inodes(specs: &[Pick<String>]) -> Result<Pick<u32>> {
    let specs = one("--netns", specs)?;
    if specs.is_empty() {
        return Ok(Pick::default());
    }
    let there = netns::all();
    let inode = |spec: &String| {
        let inode = netns::resolve(spec)?;
        if !specs.not && !there.iter().any(|ns| ns.inode == inode) {
            bail!(
                "no connection can match: no process, thread, mount or open file keeps a network namespace {inode} (`lsns -t net` lists them)"
            );
        }
        Ok(inode)
    };
    Ok(Pick { values: specs.values.iter().map(inode).collect::<Result<_>>()?, not: specs.not })
}

/// A recording knows namespaces by inode only.
fn recorded_inodes(specs: &[Pick<String>]) -> Result<Pick<u32>> {
    let specs = one("--netns", specs)?;
    let inode = |spec: &String| {
        let number = spec.trim_start_matches("net:[").trim_end_matches(']');
        number.parse().ok().with_context(|| {
            format!("a recording knows network namespaces by inode, so --netns {spec} means nothing in it")
        })
    };
    Ok(Pick { values: specs.values.iter().map(inode).collect::<Result<_>>()?, not: specs.not })
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
            eprintln!("{}: {}", record.level().as_str().to_lowercase(), record.args());
        }
        fn flush(&self) {}
    }
    static LOGGER: Stderr = Stderr;
    if verbose && log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
