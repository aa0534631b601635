//! Creates the maps, has the programs loaded and attached, reads the ring buffer and the counters. Nothing is pinned: when the process ends,
//! however it ends, the kernel detaches everything.

use std::{
    os::fd::{AsFd, OwnedFd},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader, Endianness, VerifierLogLevel, include_bytes_aligned,
    maps::{Array, Map, MapData, PerCpuArray, RingBuf},
    util::nr_cpus,
};
use nix::unistd::{SysconfVar, sysconf};
use tcpwait_wire::{config, wire};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Handlers, KernelFilter, btf,
    counters::recursion_misses,
    filter::{fill, mode, present, room_for},
    hooks::{Choice, Choices, HOOKS, Hook, HookOutcome, HookState, Need, attached},
    needs,
    netns::{self},
    programs, symbols,
    types::{self, KernelTypes},
};
use crate::symbols::Symbols;

static OBJECT: &[u8] = include_bytes_aligned!(env!("TCPWAIT_BPF_OBJECT"));

/// Share of the ring buffer that may fill before the reader is woken at once instead of on its next round.
const WAKE_SHARE: u32 = 4;

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is filtered in the kernel.
    pub filter: KernelFilter,
    /// Size of the ring buffer in bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Kernel-side diagnostics and the verifier's log.
    pub verbose: bool,
    /// Which of the hooks that do the same work is taken.
    pub choices: Choices,
    /// Inode of the PID namespace that numbers processes; 0 for the initial one.
    pub pid_namespace: u32,
}

/// The attached programs.
pub struct Probes {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
    transitions: PerCpuArray<MapData, u64>,
    taken_over: PerCpuArray<MapData, u64>,
    running: Array<MapData, u32>,
    /// Every hook and what became of it.
    pub hooks: Vec<HookState>,
    /// The handlers that tell mini-sockets' timers from others.
    pub handlers: Handlers,
    /// The functions that stacks are read by.
    pub symbols: Symbols,
    /// The field offsets in use, by the name of their global.
    pub offsets: Vec<(&'static str, u32)>,
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    /// Whether tracepoints leave preemption on, so that hooks have all of their programs.
    preemptible: bool,
    /// `recursion_misses` when the hooks began to tell, and when they were detached.
    misses_before: Misses,
    final_misses: Option<Misses>,
}

/// `recursion_misses` by [`wire::Hook`], of each of its programs; `None` when this kernel does not tell.
type Misses = Option<[Vec<u64>; wire::HOOKS]>;

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
    let wake_bytes = u64::from(options.ring_bytes / WAKE_SHARE) / cpus.max(1) as u64;
    let process_arguments = types.arguments_of("tcp_timewait_state_process").unwrap_or_default();
    let accept_arguments = types.arguments_of("inet_csk_accept").unwrap_or_default();

    let preemptible = types.has_preemptible_tracepoints();
    let preemptible_flag = u8::from(preemptible);
    let threads_flag = u8::from(preemptible || types.has_threaded_softirqs());
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u64::try_from(bytes).ok());
    let stack_bytes = types.stack_bytes(page_bytes.unwrap_or_default());

    let [call_bind, call_listen, call_connect] =
        [nix::libc::SYS_bind, nix::libc::SYS_listen, nix::libc::SYS_connect].map(|number| number as u32);

    let by_inode: Vec<(u32, u64)> = filter.netns.values.iter().map(|wanted| (wanted.inode, wanted.cookie)).collect();
    let (lports, rports) = (present(&filter.lports.values), present(&filter.rports.values));

    let mut loader = EbpfLoader::new();
    // What aya asks of the kernel at the first look.
    aya::features();

    let (handlers, symbols) = symbols.join().map_err(|_| anyhow!("reading /proc/kallsyms: the thread died"))??;
    let request_handler = handlers.request.unwrap_or_default();
    loader
        .btf(Some(btf))
        .verifier_log_level(if options.verbose { VerifierLogLevel::DEBUG } else { VerifierLogLevel::default() })
        .map_max_entries(config::RING_MAP, options.ring_bytes)
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
    let mut ebpf = loader.load(OBJECT).map_err(|e| {
        let too_old = needs::too_old(&release(), &needs::lacking_maps());
        too_old.map_or_else(|| refused(&e, "creating the eBPF maps"), |why| anyhow!(why))
    })?;
    fill(&mut ebpf, config::NETNS_FILTER_MAP, &by_inode)?;
    fill(&mut ebpf, config::LPORT_FILTER_MAP, &lports)?;
    fill(&mut ebpf, config::RPORT_FILTER_MAP, &rports)?;

    let wanted = |hook: &&Hook| not_needed(hook, options.choices, &[]).or_else(|| unsupported(types, hook)).is_none();
    let mut tried = programs::attach(&mut ebpf, HOOKS.iter().filter(wanted), preemptible, btf);
    let logs: Vec<String> =
        tried.values().filter_map(|tried| Some(programs::verifier_log(tried.as_ref().err()?))).collect();
    let mut hooks: Vec<HookState> = Vec::new();
    for hook in HOOKS {
        let outcome = match (not_needed(hook, options.choices, &hooks), unsupported(types, hook)) {
            (Some(why), _) => HookOutcome::NotNeeded(why),
            (None, Some(why)) => HookOutcome::Missing(why),
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
    let misses_before = misses(&ebpf, &hooks, preemptible);
    running.set(0, 1, 0).context("telling the kernel side that every hook is attached")?;

    let log = if options.verbose {
        Some(aya_log::EbpfLogger::init(&mut ebpf).context("reading the kernel side's log")?)
    } else {
        None
    };
    Ok(Probes {
        ring: take(&mut ebpf, config::RING_MAP)?,
        counters: take(&mut ebpf, config::COUNTERS_MAP)?,
        transitions: take(&mut ebpf, config::TRANSITIONS_MAP)?,
        taken_over: take(&mut ebpf, config::TAKEN_OVER_MAP)?,
        running,
        ebpf,
        hooks,
        handlers,
        symbols,
        offsets,
        log,
        preemptible,
        misses_before,
        final_misses: None,
    })
}

impl Probes {
    /// Hands every record that waits to `each` and returns how many there were. Stops after `limit` records, so that a
    /// flood cannot keep the caller from its other work.
    ///
    /// # Errors
    /// What `each` returns.
    pub fn drain<E>(&mut self, limit: usize, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<usize, E> {
        let mut drained = 0;
        while drained < limit {
            let Some(record) = self.ring.next() else { break };
            each(&record)?;
            drained += 1;
        }
        Ok(drained)
    }

    /// Becomes readable when the kernel side wants to be read at once.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn waiter(&self) -> Result<AsyncFd<OwnedFd>> {
        let fd = self.ring.as_fd().try_clone_to_owned().context("duplicating the ring buffer's descriptor")?;
        // SAFETY: the AsyncFd owns the descriptor, so it stays open, and the same, as long as it is registered.
        unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.context("waiting for the ring buffer")
    }

    /// Passes the kernel side's own diagnostics on to `log`.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Detaches every hook; what is in the ring buffer and the counts stay.
    ///
    /// # Errors
    /// The kernel refuses, which it has no reason to.
    pub fn detach(&mut self) -> Result<()> {
        // What is missed from here on is of no use, and no other program takes it over.
        self.final_misses = Some(misses(&self.ebpf, &self.hooks, self.preemptible));
        // One is detached after the other, and what only some of them tell is of no use.
        self.running.set(0, 0, 0).context("telling the kernel side that the hooks are being detached")?;
        for state in self.hooks.iter().filter(|state| state.outcome == HookOutcome::Attached) {
            programs::detach(&mut self.ebpf, state.hook, self.preemptible)
                .with_context(|| format!("detaching from {}", state.hook.name))?;
        }
        Ok(())
    }

    /// By hook, what none of its programs was run for; [`u64::MAX`] when this kernel does not tell. An event that the first missed and another took is not
    /// lost; nor is one that any of them was run for, be it of no interest: so it is at most what the one that missed least did.
    fn withheld(&self) -> Result<[u64; wire::HOOKS]> {
        let now = self.final_misses.clone().unwrap_or_else(|| misses(&self.ebpf, &self.hooks, self.preemptible));
        let Some((now, before)) = now.zip(self.misses_before.as_ref()) else { return Ok([u64::MAX; wire::HOOKS]) };
        // Read after the misses: what comes in between is then taken over and not missed, rather than the other way round.
        let mut taken_over = [0; wire::HOOKS];
        read_sums(&self.taken_over, &mut taken_over)?;
        let mut withheld = [0; wire::HOOKS];
        for (((withheld, now), before), taken_over) in withheld.iter_mut().zip(&now).zip(before).zip(taken_over) {
            let mut missed = now.iter().zip(before).map(|(now, before)| now.saturating_sub(*before));
            let first = missed.next().unwrap_or_default().saturating_sub(taken_over);
            *withheld = missed.fold(first, u64::min);
        }
        Ok(withheld)
    }

    /// How many events are known to be lost so far: records that did not fit, and what the kernel withheld.
    pub fn lost(&self) -> u64 {
        let of = |counter: &wire::Counter| self.counters.get(&(*counter as u32), 0).map_or(0, |cpus| cpus.iter().sum());
        wire::LOST.iter().map(of).sum::<u64>()
            + self.withheld().map_or(0, |withheld| {
                let told = wire::Hook::ALL.into_iter().filter(|hook| hook.tells_always());
                told.filter_map(|hook| withheld.get(hook as usize)).filter(|count| **count != u64::MAX).sum()
            })
    }

    /// The kernel side's counts so far, summed over CPUs, as a record.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self, time_ns: u64) -> Result<wire::Counters> {
        let mut values = [0u64; wire::COUNTERS];
        read_sums(&self.counters, &mut values)?;
        let mut transitions = [0u64; wire::TRANSITIONS];
        read_sums(&self.transitions, &mut transitions)?;
        total(&mut values, &transitions);
        Ok(wire::Counters {
            head: wire::Head {
                time_ns,
                len: size_of::<wire::Counters>() as u16,
                kind: wire::Kind::Counters as u8,
                flags: 0,
                cpu: 0,
                thread: 0,
            },
            values,
            transitions,
            withheld: self.withheld()?,
        })
    }
}

fn misses(ebpf: &Ebpf, hooks: &[HookState], preemptible: bool) -> Misses {
    let mut missed = std::array::from_fn(|_| Vec::new());
    for state in hooks.iter().filter(|state| state.outcome == HookOutcome::Attached) {
        for on in state.hook.programs(preemptible) {
            let of_hook = missed.get_mut(on.number as usize)?;
            for name in on.names {
                of_hook.push(recursion_misses(ebpf.program(name)?.fd().ok()?.as_fd())?);
            }
        }
    }
    Some(missed)
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

/// Fills in what follows from other counts, and is not counted where each nanosecond is paid for a million times.
fn total(values: &mut [u64; wire::COUNTERS], transitions: &[u64; wire::TRANSITIONS]) {
    let sum =
        |counters: &[wire::Counter]| counters.iter().filter_map(|&counter| values.get(counter as usize)).sum::<u64>();
    let states: u64 = transitions.iter().sum();
    let told = states + sum(&wire::TOLD);
    let written = told.saturating_sub(sum(&wire::LOST) + sum(&[wire::Counter::Folded]));
    for (counter, value) in [(wire::Counter::StateSeen, states), (wire::Counter::Written, written)] {
        if let Some(slot) = values.get_mut(counter as usize) {
            *slot = value;
        }
    }
}

/// Reads every slot, summed over CPUs.
fn read_sums(counters: &PerCpuArray<MapData, u64>, sums: &mut [u64]) -> Result<()> {
    for (index, sum) in (0u32..).zip(sums) {
        *sum = counters.get(&index, 0).context("reading the kernel side's counters")?.iter().sum();
    }
    Ok(())
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
