//! The harness: what is measured, in which order, and where the results go. `cargo xtask bench` builds everything and runs it as root.

mod binary;
mod bpf;
mod child;
mod cost;
mod extent;
mod findings;
mod followed;
mod growth;
mod idle;
mod interval;
mod load;
mod numbers;
mod options;
mod paired;
mod process;
mod progress;
mod report;
mod rotation;
mod start;
mod summary;
mod targets;
mod tracer;
mod turnover;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;

use crate::extent::Extent;
use crate::findings::{Findings, Machine};
use crate::load::{BYSTANDERS, COSTLY, Kind, Load, READER};
use crate::options::{Options, Part};
use crate::paired::Paired;
use crate::progress::Progress;
use crate::rotation::Rotation;
use crate::targets::Measured;
use crate::tracer::{By, Place, Running, Setting};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // These errors are about the machine: where in this program they come from, which anyhow would print, is noise.
        Err(error) => {
            child::leave_to_the_signal();
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
        Setting::Filtered(By::Port),
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
    let timed_settings: Vec<_> =
        [Setting::Null, Setting::Stat, Setting::Trace, Setting::Record, Setting::Filtered(By::Port)]
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
    let costs = Paired {
        settings: &costly(peers()),
        length: extent.paired_length,
        until: extent.cost_until,
        decides: |cost| match cost.setting == Setting::Stat.name() {
            true => vec![cost.beyond_untraced_ns, cost.beyond_null_ns],
            false => Vec::new(),
        },
    };
    let bystanders = Paired {
        settings: &bystanders(peers()),
        length: extent.paired_length,
        until: extent.bystanders_until,
        // With the null probe it is no target.
        decides: |cost| match cost.setting.starts_with(&Setting::Stat.name()) {
            true => vec![cost.kept],
            false => Vec::new(),
        },
    };
    let a_start = Duration::from_millis(1200);

    let mut planned = Duration::ZERO;
    for (part, expected) in [
        (Part::Start, a_start * extent.starts),
        (Part::Cost, costs.until.at_most),
        (Part::Bystanders, bystanders.until.at_most),
        (Part::Idle, idle::expected()),
        (Part::Turnover, turnover::expected()),
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
    let (mut cost_samples, mut bystander_samples) = (Vec::new(), Vec::new());
    if wanted(Part::Cost) {
        cost_samples = costs.run("CPU a connection", &place, &mut progress)?.unwrap_or_default();
    }
    if wanted(Part::Bystanders) {
        bystander_samples = bystanders.run("bystanders", &place, &mut progress)?.unwrap_or_default();
    }
    let (mut idle, mut turnover) = (Vec::new(), Vec::new());
    if wanted(Part::Idle) {
        for setting in &idle::SETTINGS {
            idle.push(idle::watch(setting, &place, &mut progress)?);
        }
    }
    if wanted(Part::Turnover) {
        turnover = turnover::watch(&place, &mut progress)?;
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
    let (costs, bystanders) = (cost::of(&cost_samples), cost::of(&bystander_samples));
    let targets = targets::evaluate(&Measured {
        costs: &costs,
        bystanders: &bystanders,
        rates: &rates,
        idle: &idle,
        followed: &rows,
        starts: &starts,
        binary: file,
    });
    Ok(Findings {
        machine,
        time,
        arguments: std::env::args().skip(1).collect(),
        rounds: extent.rounds,
        length: extent.length,
        paired_length: extent.paired_length,
        hooks: place.hooks,
        peers: options.peer.clone(),
        targets,
        costs,
        bystanders,
        idle,
        turnover,
        rates,
        kernel,
        followed: rows,
        starts,
        binary: file,
        accounts,
        cost_samples,
        bystander_samples,
        rate_samples,
        kernel_samples,
    })
}

/// Whose CPU a connection is compared.
fn costly(peers: impl Iterator<Item = Setting>) -> Vec<(Setting, Vec<&'static Load>)> {
    let settings = [Setting::Untraced(0), Setting::Null, Setting::Stat];
    // A run differs from the next more than from itself: several short ones say more than a long one. The first load is the measure.
    let loads: Vec<_> = COSTLY.iter().chain(COSTLY).chain(COSTLY.first()).chain(COSTLY.first()).collect();
    settings.into_iter().chain(peers).map(|setting| (setting, loads.clone())).collect()
}

/// Beside whom others are looked at. What a filter leaves out is TCP.
fn bystanders(peers: impl Iterator<Item = Setting>) -> Vec<(Setting, Vec<&'static Load>)> {
    let filters = [By::Port, By::Namespace].map(Setting::Filtered);
    let settings = [Setting::Untraced(0), Setting::Null, Setting::Stat];
    let looked_at = |setting: &Setting, load: &Load| match setting {
        Setting::Untraced(_) | Setting::Null => true,
        Setting::Filtered(_) => load.name == READER || load.kind == Kind::Connections,
        _ => load.kind != Kind::Connections,
    };
    let with_loads = |setting: Setting| {
        let loads = BYSTANDERS.iter().chain(BYSTANDERS).filter(|load| looked_at(&setting, load)).collect();
        (setting, loads)
    };
    settings.into_iter().chain(filters).chain(peers).map(with_loads).collect()
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
