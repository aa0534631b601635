//! Loads and attaches the programs of the hooks, detaches them, and says why one cannot be had. Does not know which hooks are
//! wanted, nor what becomes of a tool without them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail};
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FExit, Program, ProgramError},
};

use super::hooks::{AttachKind, Hook, HookOutcome, Need, Preemption};

/// What came of the hooks that were tried, by their names.
pub type Tried = HashMap<&'static str, Result<()>>;

/// A hook, and the programs on each of its functions, in their order.
type Try<'a> = (&'static Hook, Vec<(&'static str, Vec<Found<'a>>)>);

/// A program's name, and the program, if the object has it.
type Found<'a> = (&'static str, Option<&'a mut Program>);

/// Loads and attaches programs, hooks beside each other, as the kernel waits tens of milliseconds for each. Of hooks that do the same work the
/// first that can be had is taken, and the rest is not tried.
pub fn attach(ebpf: &mut Ebpf, hooks: impl Iterator<Item = &'static Hook>, preemption: Preemption, btf: &Btf) -> Tried {
    let mut programs: HashMap<&str, &mut Program> = ebpf.programs_mut().collect();
    let mut lots: Vec<Vec<Try<'_>>> = Vec::new();
    for hook in hooks {
        let mut find = |name| (name, programs.remove(name));
        let its =
            hook.programs(preemption).map(|on| (on.function, on.names.into_iter().map(&mut find).collect())).collect();
        let same_work = |lot: &&mut Vec<Try<'_>>| {
            matches!(hook.need, Need::OneOf(_)) && lot.iter().any(|(other, _)| other.need == hook.need)
        };
        match lots.iter_mut().find(same_work) {
            Some(lot) => lot.push((hook, its)),
            None => lots.push(vec![(hook, its)]),
        }
    }
    thread::scope(|scope| {
        let start = |lot| thread::Builder::new().spawn_scoped(scope, move || attach_one_of(lot, btf)).ok();
        let threads: Vec<_> = lots.into_iter().filter_map(start).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    })
}

/// The first hook of which every program can be had; of the others nothing stays attached.
fn attach_one_of(lot: Vec<Try<'_>>, btf: &Btf) -> Vec<(&'static str, Result<()>)> {
    let mut tried = Vec::new();
    for (hook, mut functions) in lot {
        let result = attach_all(hook.kind, &mut functions, btf);
        let done = result.is_ok();
        tried.push((hook.name, result));
        if done {
            break;
        }
    }
    tried
}

/// All programs of a hook or none. Those on one function are alike, but the first has to run first, so they are attached
/// one after the other. A tracepoint runs them in that order (`func_add`), a trampoline the other way round (`bpf_trampoline_link_prog` adds at the head).
fn attach_all(kind: AttachKind, functions: &mut [(&'static str, Vec<Found<'_>>)], btf: &Btf) -> Result<()> {
    for (function, programs) in &mut *functions {
        for (name, program) in programs {
            let program = program.as_mut().with_context(|| format!("the eBPF object has no program {name}"))?;
            load_one(program, kind, function, btf)?;
        }
    }
    let attached = functions.iter_mut().try_for_each(|(function, programs)| {
        let in_order = programs.iter_mut().filter_map(|(_, program)| program.as_mut());
        let attach = |program: &mut &mut Program| attach_one(program, function);
        match kind {
            AttachKind::Tracepoint => in_order.into_iter().try_for_each(attach),
            AttachKind::Fexit => in_order.rev().try_for_each(attach),
        }
    });
    if attached.is_err() {
        // Those that are attached would tell of what the others leave to them.
        let programs =
            functions.iter_mut().flat_map(|(_, programs)| programs).filter_map(|(_, program)| program.as_mut());
        programs.into_iter().try_for_each(|program| unload(program))?;
    }
    attached
}

fn load_one(program: &mut Program, kind: AttachKind, function: &str, btf: &Btf) -> Result<()> {
    /// The verifier takes megabytes for a program while it is at it, from the memory of the cgroup (`GFP_KERNEL_ACCOUNT`, 7.3): two dozen
    /// programs beside each other took 40 MB, one after the other they take 8. What is waited for, the kernel's grace periods, comes with attaching.
    static VERIFIER: Mutex<()> = Mutex::new(());

    let loading = || format!("loading the program for {function}");
    let _turn = VERIFIER.lock().unwrap_or_else(PoisonError::into_inner);
    match kind {
        AttachKind::Tracepoint => {
            let program: &mut BtfTracePoint = program.try_into().with_context(loading)?;
            program.load(function, btf).with_context(loading)
        }
        AttachKind::Fexit => {
            let program: &mut FExit = program.try_into().with_context(loading)?;
            program.load(function, btf).with_context(loading)
        }
    }
}

fn attach_one(program: &mut Program, function: &str) -> Result<()> {
    let attaching = || format!("attaching to {function}");
    match program {
        Program::BtfTracePoint(program) => program.attach().map(drop).with_context(attaching),
        Program::FExit(program) => program.attach().map(drop).with_context(attaching),
        _ => bail!("{}: its program is of another type", attaching()),
    }
}

/// Detaches the programs of a hook, the last first: while others are there, the first is.
///
/// # Errors
/// The kernel refuses, which it has no reason to.
pub fn detach(ebpf: &mut Ebpf, hook: &Hook, preemption: Preemption) -> Result<(), ProgramError> {
    let names: Vec<_> = hook.programs(preemption).flat_map(|on| on.names).collect();
    names.into_iter().rev().try_for_each(|name| ebpf.program_mut(name).map_or(Ok(()), unload))
}

fn unload(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::BtfTracePoint(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        _ => Ok(()),
    }
}

/// What became of a hook whose program could not be loaded or attached.
pub fn failure(error: &anyhow::Error, kind: AttachKind, verbose: bool) -> HookOutcome {
    let log = if verbose { verifier_log(error) } else { String::new() };
    log.lines().for_each(|line| crate::output::say!("{line}"));
    let why = if verbose && log.is_empty() { format!("{error:#}") } else { short(error, kind, verbose) };
    if by_the_verifier(error) { HookOutcome::Refused(why) } else { HookOutcome::Missing(why) }
}

/// The sentence for an operator; the verifier's log is for `-v`.
fn short(error: &anyhow::Error, kind: AttachKind, verbose: bool) -> String {
    for cause in error.chain() {
        if let Some(ProgramError::LoadError { io_error, .. }) = cause.downcast_ref::<ProgramError>() {
            return match io_error.raw_os_error() {
                Some(nix::libc::EPERM) if kind == AttachKind::Fexit => {
                    format!("{io_error}: this kernel allows no BPF trampolines")
                }
                Some(nix::libc::EPERM) => {
                    format!("{io_error} (needs CAP_BPF and CAP_PERFMON, or root; lockdown=confidentiality forbids it)")
                }
                _ if verbose => format!("{io_error} (the verifier's log is above)"),
                _ => format!("{io_error} (run with -v for the verifier's log)"),
            };
        }
    }
    format!("{error:#}")
}

/// Whether the verifier did not accept the program: that is `EACCES`, or `EINVAL`; `EPERM` is somebody's policy.
fn by_the_verifier(error: &anyhow::Error) -> bool {
    let errno = error.chain().find_map(|cause| match cause.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    });
    matches!(errno, Some(nix::libc::EACCES | nix::libc::EINVAL))
}

/// What the verifier said of a program that it refused; empty if it was not the verifier.
pub fn verifier_log(error: &anyhow::Error) -> String {
    error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<ProgramError>() {
            Some(ProgramError::LoadError { verifier_log, .. }) => Some(verifier_log.to_string()),
            _ => None,
        })
        .unwrap_or_default()
}
