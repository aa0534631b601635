//! Creates the maps, and has the programs loaded and attached. Nothing is pinned: when the process ends, however it ends, the kernel detaches
//! everything.

use std::{io::Read as _, thread};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader, Endianness, VerifierLogLevel,
    maps::{Array, Map},
    util::nr_cpus,
};
use flate2::read::ZlibDecoder;
use landlock::{AccessFs, Ruleset, RulesetAttr as _};
use nix::unistd::{SysconfVar, sysconf};
use tcpwait_wire::config;

use super::{
    KernelFilter, btf,
    filter::{fill, mode, present, room_for},
    hooks::{Choice, Choices, HOOKS, Hook, HookOutcome, HookState, Need, Preemption, attached},
    needs, netns,
    probes::{Probes, misses},
    programs,
    rings::{Grouping, Rings},
    symbols,
    types::{self, KernelTypes},
};

/// The kernel side's object file, compressed (zlib).
static PACKED: &[u8] = include_bytes!(env!("TCPWAIT_BPF_PACKED"));

/// The kernel side's object file.
///
/// # Errors
/// This program's file is damaged.
pub fn object() -> Result<Vec<u8>> {
    let mut object = Vec::new();
    ZlibDecoder::new(PACKED)
        .read_to_end(&mut object)
        .context("unpacking the BPF programs out of this program's file")?;
    Ok(object)
}

/// Share of the ring buffer that may fill before the reader is woken at once instead of on its next round.
const WAKE_SHARE: u32 = 4;

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is filtered in the kernel.
    pub filter: KernelFilter,
    /// Size of the ring buffer in bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// How many CPUs share a ring buffer; `None`: the usual number.
    pub cpus_of_a_ring: Option<u32>,
    /// How many connects may be held back at a time, for whoever may thin itself.
    pub held: u32,
    /// Kernel-side diagnostics and the verifier's log.
    pub verbose: bool,
    /// Which of the hooks that do the same work is taken.
    pub choices: Choices,
    /// Inode of the PID namespace that numbers processes; 0 for the initial one.
    pub pid_namespace: u32,
}

/// Loads and attaches every hook.
///
/// # Errors
/// The kernel does not say what has to be known of it, or refuses the maps or a hook without which there is nothing to show.
pub fn load(options: &Options) -> Result<Probes> {
    raise_memlock();
    let probes = probes(options)?;
    give_back();
    Ok(probes)
}

fn probes(options: &Options) -> Result<Probes> {
    // The kernel takes longer to write its symbols than all takes that is done before they are needed.
    let symbols = thread::Builder::new().spawn(symbols).context("starting a thread to read /proc/kallsyms")?;
    let (types, btf) = &types_twice(types::of_running_kernel()?)?;
    let mut offsets = types.offsets().context("finding the kernel's structure fields")?;
    if netns::cookie().is_none() {
        // What is found by other means could not be told to be of the same namespace (SO_NETNS_COOKIE is of 5.14).
        offsets.iter_mut().filter(|(name, _)| *name == "OFF_NET_COOKIE").for_each(|(_, at)| *at = config::ABSENT);
    }
    let filter = &options.filter;
    let (by_netns, by_lport, by_rport) = (mode(&filter.netns), mode(&filter.lports), mode(&filter.rports));
    let log_level: u8 = if options.verbose { aya_log::Level::Debug as u8 } else { 0 };
    let cpus = nr_cpus().map_err(|(path, e)| anyhow!("counting CPUs in {path}: {e}"))?;
    let grouping = Grouping::of(u32::try_from(cpus).unwrap_or(u32::MAX), options.cpus_of_a_ring);
    let wake_bytes = u64::from(options.ring_bytes / WAKE_SHARE) / cpus.max(1) as u64;
    let process_arguments = types.arguments_of("tcp_timewait_state_process").unwrap_or_default();
    let accept_arguments = types.arguments_of("inet_csk_accept").unwrap_or_default();

    let tracepoints = types.has_preemptible_tracepoints();
    let preemption = Preemption { tracepoints, functions: tracepoints || types.has_threaded_softirqs() };
    let preemptible_flag = u8::from(preemption.tracepoints);
    let threads_flag = u8::from(preemption.functions);
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u32::try_from(bytes).ok());
    let stack_bytes = types.stack_bytes(page_bytes.unwrap_or_default().into());
    let page_bytes = page_bytes.unwrap_or(4096);
    let ring_bytes = grouping.bytes_each(options.ring_bytes, page_bytes);

    let [call_bind, call_listen, call_connect] =
        [nix::libc::SYS_bind, nix::libc::SYS_listen, nix::libc::SYS_connect].map(|number| number as u32);

    let by_inode: Vec<(u32, u64)> = filter.netns.values.iter().map(|wanted| (wanted.inode, wanted.cookie)).collect();
    let (lports, rports) = (present(&filter.lports.values), present(&filter.rports.values));

    let mut loader = loader();
    // What aya asks of the kernel at the first look.
    aya::features();
    let object = object()?;

    let (handlers, symbols) = symbols.join().map_err(|_| anyhow!("reading /proc/kallsyms: the thread died"))??;
    let request_handler = handlers.request.unwrap_or_default();
    loader
        .btf(Some(btf))
        .verifier_log_level(if options.verbose { VerifierLogLevel::DEBUG } else { VerifierLogLevel::default() })
        .override_global(config::RINGS, &grouping.rings, true)
        .override_global(config::RING_SHIFT, &grouping.shift, true)
        .map_max_entries(config::HELD_MAP, options.held.max(1))
        .map_max_entries(config::NETNS_FILTER_MAP, room_for(&by_inode))
        .map_max_entries(config::LPORT_FILTER_MAP, room_for(&lports))
        .map_max_entries(config::RPORT_FILTER_MAP, room_for(&rports))
        .override_global(config::TW_TIMER_HANDLER, &handlers.timewait, true)
        .override_global(config::REQSK_TIMER_HANDLER, &request_handler, true)
        .override_global(config::CALL_BIND, &call_bind, true)
        .override_global(config::CALL_LISTEN, &call_listen, true)
        .override_global(config::PID_NAMESPACE, &options.pid_namespace, true)
        .override_global(config::CALL_CONNECT, &call_connect, true)
        .override_global(config::ACCEPT_ARGUMENTS, &accept_arguments, true)
        .override_global(config::FILTER_NETNS, &by_netns, true)
        .override_global(config::FILTER_LPORT, &by_lport, true)
        .override_global(config::FILTER_RPORT, &by_rport, true)
        .override_global(config::WAKE_BYTES, &wake_bytes, true)
        .override_global(config::PREEMPTIBLE, &preemptible_flag, true)
        .override_global(config::THREADS, &threads_flag, true)
        .override_global(config::STACK_BYTES, &stack_bytes, true)
        .override_global(config::PROCESS_ARGUMENTS, &process_arguments, true)
        .override_global(aya_log::LEVEL, &log_level, false);
    let unprocessed =
        config::UNPROCESSED.map(|(global, reason)| (global, types.drop_reason(reason).unwrap_or(config::ABSENT)));
    for (global, offset) in offsets.iter().chain(&unprocessed) {
        loader.override_global(global, offset, true);
    }
    for (name, used) in config::RING_MAPS.iter().zip((0..).map(|number| number < grouping.rings)) {
        loader.map_max_entries(name, if used { ring_bytes } else { page_bytes });
    }
    let mut ebpf = loader.load(&object).map_err(|e| {
        let too_old = needs::too_old(&release(), &needs::lacking_maps());
        too_old.map_or_else(|| refused(&e, "creating the eBPF maps"), |why| anyhow!(why))
    })?;
    fill(&mut ebpf, config::NETNS_FILTER_MAP, &by_inode)?;
    fill(&mut ebpf, config::LPORT_FILTER_MAP, &lports)?;
    fill(&mut ebpf, config::RPORT_FILTER_MAP, &rports)?;

    let spared = |hook: &Hook| {
        hook.is_dear() && matches!(hook.need, Need::OneOf(work) if options.choices.of(work) == Choice::Cheap)
    };
    let wanted = |hook: &&Hook| {
        not_needed(hook, options.choices, &[]).or_else(|| unsupported(types, hook)).is_none() && !spared(hook)
    };
    let mut tried = programs::attach(&mut ebpf, HOOKS.iter().filter(wanted), preemption, btf);
    let logs: Vec<String> =
        tried.values().filter_map(|tried| Some(programs::verifier_log(tried.as_ref().err()?))).collect();
    let mut hooks: Vec<HookState> = Vec::new();
    for hook in HOOKS {
        let outcome = match (not_needed(hook, options.choices, &hooks), unsupported(types, hook)) {
            (Some(why), _) => HookOutcome::NotNeeded(why),
            (None, Some(why)) => HookOutcome::Missing(why),
            (None, None) if spared(hook) => HookOutcome::Spared,
            (None, None) => match tried.remove(hook.name) {
                Some(Ok(())) => HookOutcome::Attached,
                Some(Err(e)) => programs::failure(&e, hook.kind, options.verbose),
                None => HookOutcome::Missing("no thread could be started to load it".to_owned()),
            },
        };
        if let (HookOutcome::Missing(why) | HookOutcome::Refused(why), Need::Required) = (&outcome, hook.need) {
            let lacking = needs::lacking_helpers(logs.iter().map(String::as_str));
            if let Some(why) = needs::too_old(&release(), &lacking).filter(|_| !options.verbose) {
                bail!(why);
            }
            bail!("the kernel refused the hook on {}: {why}; without it {}", hook.name, hook.without);
        }
        let by_force = matches!(hook.need, Need::OneOf(work) if matches!(options.choices.of(work), Choice::Hook(_)));
        if let (HookOutcome::Missing(why) | HookOutcome::Refused(why), true) = (&outcome, by_force) {
            bail!("the hook on {} that was asked for is unavailable: {why}", hook.name);
        }
        hooks.push(HookState { hook, outcome });
    }

    let mut running: Array<_, u32> = take(&mut ebpf, config::RUNNING_MAP)?;
    let misses_before = misses(&ebpf, &hooks, preemption);
    running.set(0, 1, 0).context("telling the kernel side that every hook is attached")?;

    let in_use = config::RING_MAPS.iter().take(grouping.rings as usize);
    let rings = in_use.map(|name| take(&mut ebpf, name)).collect::<Result<_>>()?;
    let log = if options.verbose {
        Some(aya_log::EbpfLogger::init(&mut ebpf).context("reading the kernel side's log")?)
    } else {
        None
    };
    Ok(Probes {
        rings: Rings::new(rings),
        counts: take(&mut ebpf, config::COUNTS_MAP)?,
        running,
        asleep: take(&mut ebpf, config::ASLEEP_MAP)?,
        ebpf,
        hooks,
        handlers,
        symbols,
        offsets,
        log,
        preemption,
        misses_before,
        final_misses: None,
    })
}

/// A loader that knows no types yet. aya reads and parses all of the kernel's when it makes one, whether others are given to it or not, which takes 20 ms
/// and 30 MB. So it is made in a thread that can open no file; where the kernel has no Landlock (before 5.13, or not enabled) it takes the 20 ms.
fn loader<'a>() -> EbpfLoader<'a> {
    let blind = || {
        let rules = Ruleset::default().handle_access(AccessFs::ReadFile).and_then(Ruleset::create);
        // As it may be that it is not possible, it does not matter why.
        let _ = rules.and_then(|rules| rules.restrict_self());
        EbpfLoader::new()
    };
    let made = thread::scope(|scope| thread::Builder::new().spawn_scoped(scope, blind).ok()?.join().ok());
    made.unwrap_or_else(EbpfLoader::new)
}

/// The kernel's types for who looks up fields, and for aya, whose parser does not tell them.
fn types_twice(bytes: Vec<u8>) -> Result<(KernelTypes, Btf)> {
    let parsing = || "parsing /sys/kernel/btf/vmlinux";
    let (alone, in_place) = match btf::extract(&bytes, &types::asked()) {
        Some(extracts) => {
            drop(bytes);
            (extracts.alone, extracts.in_place)
        }
        None => (bytes.clone(), bytes),
    };
    let types = KernelTypes::parse(&alone).with_context(parsing)?;
    Ok((types, Btf::parse(&in_place, Endianness::default()).with_context(parsing)?))
}

/// Why this kernel cannot have a hook, asked of its types rather than of its version.
fn unsupported(types: &KernelTypes, hook: &Hook) -> Option<String> {
    if hook.name == "sys_exit" && !types.has_all(&["OFF_REGS_CALL", "OFF_REGS_FD", "OFF_REGS_ADDRESS"]) {
        return Some("this kernel's BTF does not show where a system call's arguments are".to_owned());
    }
    (hook.name == "kfree_skb" && !types.tracepoint_arg_is("kfree_skb", 3, "sock"))
        .then(|| "this kernel's skb:kfree_skb does not carry rx_sk (Linux 6.11 and later)".to_owned())
}

/// Of the hooks that do the same work, one is enough.
fn not_needed(hook: &Hook, choices: Choices, before: &[HookState]) -> Option<String> {
    let Need::OneOf(work) = hook.need else { return None };
    match (choices.of(work), attached(before, work)) {
        (_, Some(better)) => Some(format!("not needed: {} is used", better.hook.name)),
        (Choice::None, _) => Some("not asked for".to_owned()),
        (Choice::Hook(name), _) if name != hook.name => Some("not asked for".to_owned()),
        _ => None,
    }
}

fn take<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &str) -> Result<T>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf.take_map(name).with_context(|| format!("the eBPF object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("map {name} is of another type"))
}

fn refused(error: &aya::EbpfError, doing: &str) -> anyhow::Error {
    let text = format!("{error:?}");
    if text.contains("PermissionDenied") || text.contains("code: 1,") {
        anyhow!("{doing}: not permitted; tcpwait needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_SYSLOG")
    } else {
        anyhow!("{doing}: {error}")
    }
}

/// As `uname -r` prints it.
fn release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into_owned())
}

/// Gives back the memory that the kernel's types and symbols took: 70 MB, which the allocator would keep for as long as the tool runs.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function has no preconditions.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Kernels before 5.11 account BPF memory against RLIMIT_MEMLOCK. Where it may not be raised, newer ones do not need it.
fn raise_memlock() {
    use nix::sys::resource::{Resource, setrlimit};
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, nix::libc::RLIM_INFINITY, nix::libc::RLIM_INFINITY);
}
