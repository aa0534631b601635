//! `tcpwait probes`: what this kernel gives, and what it does when it is tried.

use std::{io::Write, process::ExitCode};

use anyhow::{Context, Result};

use super::notices::log_to_stderr;
use crate::{
    cli::{ProbesArgs, choices},
    kernel::{self, Choices, HookOutcome, KernelFilter, Need},
    lifecycle::TELLING,
    live::{self, Audited, LiveOptions},
    output::Output,
    system::behaviour::{self, Behaviour},
    view::probes::{self, ProbeRow, ProbesReport, Untold},
};

/// Says what this kernel gives.
pub fn run(args: &ProbesArgs) -> Result<ExitCode> {
    log_to_stderr(args.verbose);
    let report = report(choices(args.timing, args.refused_ports, true), args.verbose)?;
    let mut out = Output::patient();
    probes::write(&report, args.json, &mut out).and_then(|()| out.flush()).context("writing to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// Attaches as tracing would, looks, lets go, and tries what cannot be seen that way. Needs a tokio runtime around it.
///
/// # Errors
/// Nothing can be traced here; the message says why.
pub(super) fn report(choices: Choices, verbose: bool) -> Result<ProbesReport> {
    let settings = LiveOptions {
        filter: KernelFilter::default(),
        ring_bytes: 1 << 20,
        cpus_of_a_ring: None,
        duration: None,
        choices,
        audit: Audited::Never,
        first_signal_ends: true,
        thinning: None,
        wake: None,
        verbose,
    };
    let live = live::attach(settings)?;
    let missed: Vec<&str> = kernel::missed(live.hooks()).map(|state| state.hook.name).collect();
    let hooks = live
        .hooks()
        .iter()
        .map(|state| ProbeRow {
            missed: missed.contains(&state.hook.name),
            hook: state.hook.name,
            attached: state.outcome == HookOutcome::Attached,
            required: state.hook.need == Need::Required,
            why: state.why().map(str::to_owned),
            without: state.hook.without,
        })
        .collect();
    let symbols = &live.header().symbols;
    let untold = TELLING.into_iter().filter(|(function, _)| !symbols.has(function));
    let ends_untold = untold.map(|(function, unknown)| Untold { function, unknown }).collect();
    let (kernel, hz) = (live.header().kernel.clone(), live.header().hz);
    drop(live);
    let behaviour = behaviour_shown(&behaviour::of_running_kernel());
    Ok(ProbesReport { kernel, hooks, ends_untold, behaviour, hz })
}

fn behaviour_shown(found: &Behaviour) -> probes::BehaviourRow {
    let Behaviour { destroy_ends_time_wait, tw_counts_beginnings } = found;
    let mut reasons: Vec<&str> = [destroy_ends_time_wait, tw_counts_beginnings]
        .into_iter()
        .filter_map(|a| a.as_ref().err())
        .map(String::as_str)
        .collect();
    reasons.dedup();
    probes::BehaviourRow {
        destroy_ends_time_wait: destroy_ends_time_wait.as_ref().ok().copied(),
        tw_counts_beginnings: tw_counts_beginnings.as_ref().ok().copied(),
        untried: (!reasons.is_empty()).then(|| reasons.join("; ")),
    }
}
