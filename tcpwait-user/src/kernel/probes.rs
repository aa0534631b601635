//! The attached programs: reads the ring buffer and the counters, and detaches.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, RingBuf},
};
use tcpwait_wire::{config, wire};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Handlers,
    counters::recursion_misses,
    hooks::{HookOutcome, HookState},
    programs,
};
use crate::symbols::Symbols;

/// The attached programs.
pub struct Probes {
    pub(super) ebpf: Ebpf,
    pub(super) ring: RingBuf<MapData>,
    pub(super) counters: PerCpuArray<MapData, u64>,
    pub(super) transitions: PerCpuArray<MapData, u64>,
    pub(super) taken_over: PerCpuArray<MapData, u64>,
    pub(super) running: Array<MapData, u32>,
    /// Every hook and what became of it.
    pub hooks: Vec<HookState>,
    /// The handlers that tell mini-sockets' timers from others.
    pub handlers: Handlers,
    /// The functions that stacks are read by.
    pub symbols: Symbols,
    /// The field offsets in use, by the name of their global.
    pub offsets: Vec<(&'static str, u32)>,
    pub(super) log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    /// Whether tracepoints leave preemption on, so that hooks have all of their programs.
    pub(super) preemptible: bool,
    /// `recursion_misses` when the hooks began to tell, and when they were detached.
    pub(super) misses_before: Misses,
    pub(super) final_misses: Option<Misses>,
}

/// `recursion_misses` by [`wire::Hook`], of each of its programs; `None` when this kernel does not tell.
pub(super) type Misses = Option<[Vec<u64>; wire::HOOKS]>;

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

    /// From now on one connection in so many (a power of two) is told of.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn thin(&mut self, one_in: u32) -> Result<()> {
        let running = one_in & config::RUNNING_ONE_IN | config::RUNNING_HOLDS;
        self.running.set(0, running, 0).context("telling the kernel side of how many connections one is wanted")
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

    /// How many mini-sockets have begun so far, of all connections that are wanted.
    pub fn minis_entered(&self) -> u64 {
        self.count(wire::Counter::TwEntered)
    }

    /// How many records have not fitted so far.
    pub fn lost_records(&self) -> u64 {
        wire::LOST.into_iter().map(|counter| self.count(counter)).sum()
    }

    fn count(&self, counter: wire::Counter) -> u64 {
        self.counters.get(&(counter as u32), 0).map_or(0, |cpus| cpus.iter().sum())
    }

    /// How many events are known to be lost so far: records that did not fit, and what the kernel withheld.
    pub fn lost(&self) -> u64 {
        self.lost_records()
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

/// What none of the attached hooks' programs has been run for so far.
pub(super) fn misses(ebpf: &Ebpf, hooks: &[HookState], preemptible: bool) -> Misses {
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

/// Fills in what follows from other counts, and is not counted where each nanosecond is paid for a million times.
fn total(values: &mut [u64; wire::COUNTERS], transitions: &[u64; wire::TRANSITIONS]) {
    let sum =
        |counters: &[wire::Counter]| counters.iter().filter_map(|&counter| values.get(counter as usize)).sum::<u64>();
    let states: u64 = transitions.iter().sum();
    let told = states + sum(&wire::TOLD);
    let told = told + sum(&[wire::Counter::Released]);
    let written = told.saturating_sub(sum(&wire::LOST) + sum(&[wire::Counter::Folded, wire::Counter::Thinned]));
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
