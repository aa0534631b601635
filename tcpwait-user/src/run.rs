//! Carries out a command: connects a source, a pipeline and an output, and says on stderr what a person needs to know.

mod doctor;
mod ports;
mod probes;
mod record;
mod screen;
mod stat;
mod states;
mod trace;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

use crate::{
    aggregate::audit::{AuditReport, TwCounts},
    cli::{Cli, Command, Filter, Tracing, choices, list},
    kernel::KernelFilter,
    ledger::{Ledger, Recorded},
    live::{Audited, Live, LiveOptions},
    output::{self, say},
    recording::{Believed, Reader},
    select::{Criteria, Family, Pick},
    system::{behaviour, cgroup::Cgroups, netns, processes, seed::Seeded},
    tcp::State,
    view::{self, ledger, units::count},
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
    let written_to = match &cli.command {
        Command::Stat(args) => args.output.clone(),
        _ => None,
    };
    let done = match cli.command {
        Command::Stat(args) => stat::run(&args),
        Command::States(args) => states::run(&args),
        Command::Ports(args) => ports::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Probes(args) => runtime()?.block_on(async { probes::run(&args) }),
    };
    // Whoever closes the pipe, as head(1) does, has what was wanted.
    match output::error() {
        _ if output::reader_is_gone() => done.or(Ok(ExitCode::SUCCESS)),
        Some(error) => Err(error).context(match &written_to {
            Some(file) => format!("writing to {}", file.display()),
            None => "writing to stdout".to_owned(),
        }),
        None => done,
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")
}

/// Opens a recording, of whose times those that cannot be are left out.
fn open(path: &Path) -> Result<Believed<Reader>> {
    let reader = Reader::open(path)?;
    Ok(Believed::new(reader.header().clone(), reader))
}

/// What is wrong with a recording; `done`: what became of the rest.
fn say_damage(path: &Path, found: &Recorded, done: &str) {
    for sentence in ledger::damage(found, done) {
        say!("tcpwait: {}: {sentence}", path.display());
    }
}

/// What the kernel's counter of TIME_WAIT counts, as tried on a connection; `None` where that cannot be tried. To be asked before anything is
/// attached: that connection is not to be seen.
fn meaning_of_tw() -> Option<TwCounts> {
    let began = behaviour::of_running_kernel().tw_counts_beginnings.ok()?;
    Some(if began { TwCounts::Beginnings } else { TwCounts::Expiries })
}

fn settings(args: &Tracing, filter: KernelFilter) -> LiveOptions {
    LiveOptions {
        filter,
        ring_bytes: args.ring_buffer,
        duration: args.duration,
        choices: choices(args.timing, args.refused_ports),
        audit: Audited::Never,
        first_signal_ends: true,
        verbose: args.verbose,
    }
}

/// A connection goes through many states, so that all but one say nothing; of a socket as it is now they do (`tcpwait states`).
fn check_states(states: &[Pick<State>]) -> Result<()> {
    match states.iter().any(|list| list.not) {
        true => bail!(
            "--state '!...' would exclude nothing: every connection enters other states too; name the states to show"
        ),
        false => Ok(()),
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
            bail!("no connection can match {net}: -4 or -6 asks for the other address family");
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
            say!("tcpwait: {sentence}");
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
                "no connection can match: no process, thread, mount or open file has network namespace {inode} (`lsns -t net` lists them); one that only a socket has cannot be entered"
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
        number
            .parse()
            .ok()
            .with_context(|| format!("a recording has network namespaces by inode only: --netns {spec} cannot match"))
    };
    Ok(Pick { values: specs.values.iter().map(inode).collect::<Result<_>>()?, not: specs.not })
}

fn banner(live: &Live, verbose: bool) {
    for sentence in live.missing() {
        say!("tcpwait: {sentence}");
    }
    if processes::numbering().is_some() {
        say!(
            "tcpwait: this is a PID namespace: PIDs are those that `ps` shows here; processes outside of it are shown as unknown"
        );
    }
    if verbose {
        say!("kernel {}, {} kernel symbols resolved", live.header().kernel, live.header().symbols.len());
    }
    say!("Tracing TCP state transitions. Hit Ctrl-C to end.");
}

fn say_seeded(seeded: Option<&Seeded>, verbose: bool) {
    let Some(seeded) = seeded else { return };
    if seeded.unreadable > 0 {
        let why = seeded.first_reason.as_deref().unwrap_or("for an unknown reason");
        say!(
            "tcpwait: {} network namespaces could not be read, sockets from before tcpwait started are unknown there: {why}",
            seeded.unreadable
        );
    }
    if verbose {
        say!("read {} sockets in {} network namespaces", seeded.sockets, seeded.namespaces);
    }
}

fn close(account: &Ledger, audit: Option<&AuditReport>, verbose: bool, fail_on_loss: bool) -> Result<ExitCode> {
    let written = all_is_written()?;
    let mut text = Vec::new();
    let _ = ledger::write(account, &mut text);
    String::from_utf8_lossy(&text).lines().for_each(|line| say!("{line}"));
    if let Some(audit) = audit {
        say!("{}", view::audit::sentence(audit, verbose));
    }
    let lossy = !written || account.is_lossy() || audit.is_some_and(AuditReport::differs);
    Ok(if fail_on_loss && lossy { ExitCode::from(LOSSY) } else { ExitCode::SUCCESS })
}

/// Waits until standard output is written, for as long as somebody takes it, and says what was not. Whether all was.
fn all_is_written() -> Result<bool> {
    let lines = output::settle().context("writing to stdout")?;
    if lines > 0 {
        say!("tcpwait: up to {} lines were not written: the reader of standard output was too slow", count(lines));
    }
    Ok(lines == 0)
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
            record.args().to_string().lines().for_each(|line| say!("{level}: {line}"));
        }
        fn flush(&self) {}
    }
    static LOGGER: Stderr = Stderr;
    if verbose && log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}
