//! Loads and attaches the programs of the hooks, detaches them, and says why one cannot be had. Does not know which hooks are
//! wanted, nor what becomes of a tool without them.

use std::{collections::HashMap, thread};

use anyhow::{Context, Result};
use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FExit, Program, ProgramError},
};

use super::hooks::{Hook, Kind, Need, Outcome};

/// What came of the programs that were tried, by their names.
pub type Tried = HashMap<&'static str, Result<()>>;

/// A hook, one of its programs, and where that goes.
type Try<'a> = (&'static Hook, [&'static str; 2], &'a mut Program);

/// Loads and attaches programs, beside each other, as the verifier takes milliseconds for each. Of hooks that do the same work the
/// first that can be had is taken, and the rest is not tried.
pub fn attach(ebpf: &mut Ebpf, hooks: impl Iterator<Item = &'static Hook>, btf: &Btf) -> Tried {
    let mut programs: HashMap<&str, &mut Program> = ebpf.programs_mut().collect();
    let mut lots: Vec<Vec<Try<'_>>> = Vec::new();
    for hook in hooks {
        for name in names(hook) {
            let Some(program) = programs.remove(name[0]) else { continue };
            let same_work = |lot: &&mut Vec<Try<'_>>| {
                matches!(hook.need, Need::OneOf(_)) && lot.iter().any(|(other, ..)| other.need == hook.need)
            };
            match lots.iter_mut().find(same_work) {
                Some(lot) => lot.push((hook, name, program)),
                None => lots.push(vec![(hook, name, program)]),
            }
        }
    }
    thread::scope(|scope| {
        let start = |lot| thread::Builder::new().spawn_scoped(scope, move || attach_one_of(lot, btf)).ok();
        let threads: Vec<_> = lots.into_iter().filter_map(start).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    })
}

/// The first hook of which every program can be had; of the others nothing stays attached.
fn attach_one_of(mut lot: Vec<Try<'_>>, btf: &Btf) -> Vec<(&'static str, Result<()>)> {
    let mut tried = Vec::new();
    for programs in lot.chunk_by_mut(|(one, ..), (other, ..)| one.name == other.name) {
        let mut done = true;
        for (hook, [name, function], program) in &mut *programs {
            let result = attach_one(program, hook.kind, function, btf);
            done &= result.is_ok();
            tried.push((*name, result));
            if !done {
                break;
            }
        }
        if done {
            break;
        }
        for (.., program) in programs {
            // What was not loaded cannot be unloaded, and need not be.
            let _ = unload(program);
        }
    }
    tried
}

fn attach_one(program: &mut Program, kind: Kind, function: &str, btf: &Btf) -> Result<()> {
    let loading = || format!("loading the program for {function}");
    let attaching = || format!("attaching to {function}");
    match kind {
        Kind::Tracepoint => {
            let program: &mut BtfTracePoint = program.try_into().with_context(loading)?;
            program.load(function, btf).with_context(loading)?;
            program.attach().with_context(attaching)?;
        }
        Kind::Fexit => {
            let program: &mut FExit = program.try_into().with_context(loading)?;
            program.load(function, btf).with_context(loading)?;
            program.attach().with_context(attaching)?;
        }
    }
    Ok(())
}

/// Whether all programs of a hook are attached.
///
/// # Errors
/// The kernel refused one, or it was not tried.
pub fn result(tried: &mut Tried, hook: &Hook) -> Result<()> {
    for [name, _] in names(hook) {
        let missing = || format!("the eBPF object has no program {name}, or there was no thread to load it on");
        tried.remove(name).with_context(missing)??;
    }
    Ok(())
}

/// Detaches the programs of a hook.
///
/// # Errors
/// The kernel refuses, which it has no reason to.
pub fn detach(ebpf: &mut Ebpf, hook: &Hook) -> Result<(), ProgramError> {
    names(hook).filter_map(|[name, _]| ebpf.program_mut(name).map(unload)).collect()
}

fn unload(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::BtfTracePoint(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        _ => Ok(()),
    }
}

/// The programs of a hook, each with what it is attached to.
fn names(hook: &Hook) -> impl Iterator<Item = [&'static str; 2]> + use<> {
    std::iter::once([hook.name; 2]).chain(hook.more.iter().map(|(program, function)| [*program, *function]))
}

/// What became of a hook whose program could not be loaded or attached.
pub fn failure(error: &anyhow::Error, kind: Kind, verbose: bool) -> Outcome {
    let why = if verbose { format!("{error:#}\n{}", verifier_log(error)) } else { short(error, kind) };
    if by_the_verifier(error) { Outcome::Refused(why) } else { Outcome::Missing(why) }
}

/// The sentence for an operator; the verifier's log is for `-v`.
fn short(error: &anyhow::Error, kind: Kind) -> String {
    for cause in error.chain() {
        if let Some(ProgramError::LoadError { io_error, .. }) = cause.downcast_ref::<ProgramError>() {
            return match io_error.raw_os_error() {
                Some(nix::libc::EPERM) if kind == Kind::Fexit => {
                    format!("{io_error}: this kernel allows no BPF trampolines")
                }
                Some(nix::libc::EPERM) => {
                    format!("{io_error} (needs CAP_BPF and CAP_PERFMON, or root; lockdown=confidentiality forbids it)")
                }
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

fn verifier_log(error: &anyhow::Error) -> String {
    error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<ProgramError>() {
            Some(ProgramError::LoadError { verifier_log, .. }) => Some(verifier_log.to_string()),
            _ => None,
        })
        .unwrap_or_default()
}
