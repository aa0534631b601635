//! The harness: what is measured, in which order, and where the results go. `cargo xtask bench` builds everything and runs it as root.

mod binary;
mod bpf;
mod child;
mod findings;
mod followed;
mod growth;
mod load;
mod numbers;
mod process;
mod progress;
mod report;
mod rotation;
mod start;
mod summary;
mod targets;
mod tracer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};

use crate::findings::{Findings, Machine};
use crate::load::{Kind, LOADS, Load, QUICK};
use crate::progress::Progress;
use crate::rotation::Rotation;
use crate::targets::Measured;
use crate::tracer::{Place, Running, Setting};

/// Measure what tcpwait costs on this machine. Needs root; other work on the machine makes the numbers worse.
///
/// Every load runs untraced (twice), with an empty program on each of tcpwait's hooks (`null`), with `tcpwait stat`, `trace --json`
/// to a file and `record`, and with each --peer, in rotation. Results are a table on stdout, and latest.json and growth.svg in OUT.
/// Network namespaces, processes and kernel statistics that it makes or turns on are gone when it ends, also at Ctrl-C.
#[derive(Parser)]
#[command(name = "tcpwait-bench", bin_name = "cargo xtask bench", max_term_width = 100)]
struct Options {
    /// Under three minutes: fewer loads and rounds, and no million of sockets
    #[arg(long)]
    quick: bool,
    /// How often every load runs under every setting; 7 unless --quick
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Another tracer's command line, for sh, to be measured beside; may be given several times
    #[arg(long, value_name = "COMMAND")]
    peer: Vec<String>,
    /// Only these parts
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// The tool
    #[arg(long, value_name = "FILE", hide = true)]
    tcpwait: PathBuf,
    /// Where results go
    #[arg(long, value_name = "OUT", hide = true)]
    out: PathBuf,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// the file's size, and how long it takes to start
    Start,
    /// rates of connections, bytes and dropped packets; CPU and losses
    Rates,
    /// time in BPF programs
    Kernel,
    /// memory of followed sockets, and growth with them
    Followed,
}

/// How much of each.
struct Extent {
    rounds: u32,
    kernel_rounds: u32,
    /// How often each load runs in a round of those.
    kernel_repeats: usize,
    length: Duration,
    kernel_length: Duration,
    loads: Vec<&'static Load>,
    followed: &'static [u32],
    starts: u32,
}

impl Extent {
    fn of(options: &Options) -> Self {
        let milliseconds = Duration::from_millis;
        let loads = LOADS.iter().filter(|load| !options.quick || QUICK.contains(&load.name)).collect();
        let rounds = |usual| options.rounds.unwrap_or(usual);
        match options.quick {
            true => Self {
                rounds: rounds(3),
                kernel_rounds: 2,
                kernel_repeats: 2,
                length: milliseconds(400),
                kernel_length: milliseconds(250),
                loads,
                followed: &[1_000, 10_000, 100_000],
                starts: 3,
            },
            false => Self {
                rounds: rounds(7),
                kernel_rounds: 4,
                kernel_repeats: 2,
                length: milliseconds(700),
                kernel_length: milliseconds(400),
                loads,
                followed: &[1_000, 10_000, 100_000, 1_000_000],
                starts: 7,
            },
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // These errors are about the machine: where in this program they come from, which anyhow would print, is noise.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("measuring needs root, for BPF and network namespaces: run `cargo xtask bench`");
    }
    let scratch = options.out.join("scratch");
    remove(&scratch)?;
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    child::end_on_signals(scratch.clone())?;
    let measured = measure(options, &scratch);
    remove(&scratch)?;
    let findings = measured?;
    write(&options.out.join("latest.json"), &(serde_json::to_string_pretty(&findings)? + "\n"))?;
    if !findings.followed.is_empty() {
        write(&options.out.join("growth.svg"), &growth::svg(&findings.followed))?;
    }
    let width = terminal_size::terminal_size().map_or(report::WIDTH, |(width, _)| width.0.into());
    report::text(&findings, width).iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn measure(options: &Options, scratch: &Path) -> Result<Findings> {
    let programs = std::env::current_exe().context("asking where this program is")?;
    let programs = programs.parent().context("this program is in no folder")?.to_owned();
    let machine = Machine::here();
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let place = Place::new(options.tcpwait.clone(), programs, scratch.to_owned())?;
    let extent = Extent::of(options);
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);

    let peers = || (1..).zip(&options.peer).map(|(number, command)| Setting::Peer(number, command.clone()));
    for peer in peers() {
        eprintln!("trying {}", peer.name());
        // What does not run here is better known now than after the first round.
        Running::start(&peer, &place)?.map(Running::end).transpose()?;
    }
    // The two untraced are apart, like any other two settings.
    let settings: Vec<_> = [
        Setting::Untraced(0),
        Setting::Null,
        Setting::Stat,
        Setting::Untraced(1),
        Setting::Trace,
        Setting::Record,
        Setting::Filtered,
    ]
    .into_iter()
    .chain(peers())
    .collect();
    let rates = Rotation {
        settings: &settings,
        loads: &extent.loads,
        rounds: extent.rounds,
        length: extent.length,
        beside_null: false,
    };
    let timed_settings: Vec<_> = [Setting::Null, Setting::Stat, Setting::Trace, Setting::Record, Setting::Filtered]
        .into_iter()
        .chain(peers())
        .collect();
    let connections = extent.loads.iter().copied().filter(|load| load.kind == Kind::Connections).collect::<Vec<_>>();
    // A program that is preempted is timed on: it takes several short looks to tell that from what it costs.
    let connections = connections.repeat(extent.kernel_repeats);
    let kernel = Rotation {
        settings: &timed_settings,
        loads: &connections,
        rounds: extent.kernel_rounds,
        length: extent.kernel_length,
        beside_null: true,
    };
    let a_start = Duration::from_millis(1200);

    let mut planned = Duration::ZERO;
    for (part, expected) in [
        (Part::Start, a_start * extent.starts),
        (Part::Rates, rates.expected()),
        (Part::Kernel, kernel.expected()),
        (Part::Followed, extent.followed.iter().map(|count| followed::expected(*count, extent.length)).sum()),
    ] {
        if wanted(part) {
            planned += expected;
        }
    }
    let mut progress = Progress::new(planned);

    let (mut starts, mut file) = (Vec::new(), None);
    if wanted(Part::Start) {
        file = Some(binary::read(&place.tcpwait)?);
        for number in 1..=extent.starts {
            progress.step(&format!("start {number} of {}", extent.starts), a_start);
            starts.push(start::once(&place)?);
        }
    }
    let (mut rate_samples, mut kernel_samples, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
    if wanted(Part::Rates) {
        (rate_samples, accounts) = rates.run("rates", &place, &mut progress)?;
    }
    if wanted(Part::Kernel) {
        let timed = bpf::timed()?;
        (kernel_samples, _) = kernel.run("time in the kernel", &place, &mut progress)?;
        drop(timed);
    }
    let mut rows = Vec::new();
    if wanted(Part::Followed) {
        for count in extent.followed {
            rows.push(followed::with(*count, extent.length, &place, &mut progress)?);
        }
    }

    let (rates, kernel) = (summary::rates(&rate_samples), summary::kernel(&kernel_samples));
    let targets =
        targets::evaluate(&Measured { rates: &rates, kernel: &kernel, followed: &rows, starts: &starts, binary: file });
    Ok(Findings {
        machine,
        time,
        arguments: std::env::args().skip(1).collect(),
        rounds: extent.rounds,
        length: extent.length,
        hooks: place.hooks,
        peers: options.peer.clone(),
        targets,
        rates,
        kernel,
        followed: rows,
        starts,
        binary: file,
        accounts,
        rate_samples,
        kernel_samples,
    })
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn write(file: &Path, content: &str) -> Result<()> {
    fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
}
