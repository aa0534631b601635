//! The attached programs: reads the ring buffer and the counters, and detaches.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray},
};
use tcpwait_wire::{
    config,
    wire::{self, COUNT_WORDS},
};
use tokio::io::unix::AsyncFd;

use super::{
    Handlers,
    counters::recursion_misses,
    hooks::{HookOutcome, HookState, Preemption},
    programs,
    rings::Rings,
};
use crate::symbols::Symbols;

/// The attached programs.
pub struct Probes {
    pub(super) ebpf: Ebpf,
    pub(super) rings: Rings,
    pub(super) counts: PerCpuArray<MapData, [u64; COUNT_WORDS]>,
    pub(super) running: Array<MapData, u32>,
    pub(super) asleep: Array<MapData, u32>,
    /// Every hook and what became of it.
    pub hooks: Vec<HookState>,
    /// The handlers that tell mini-sockets' timers from others.
    pub handlers: Handlers,
    /// The functions that stacks are read by.
    pub symbols: Symbols,
    /// The field offsets in use, by the name of their global.
    pub offsets: Vec<(&'static str, u32)>,
    pub(super) log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    /// Where others may come in the middle of a program, so that hooks have all of theirs.
    pub(super) preemption: Preemption,
    /// `recursion_misses` when the hooks began to tell, and when they were detached.
    pub(super) misses_before: Misses,
    pub(super) final_misses: Option<Misses>,
}

/// `recursion_misses` by [`wire::Hook`], of each of its programs; `None` when this kernel does not tell.
pub(super) type Misses = Option<[Vec<u64>; wire::HOOKS]>;

impl Probes {
    /// Hands every record that waits to `each` and returns how many there were. Stops after `limit` records, so that a
    /// flood cannot keep the caller from its other work. `now_ns` reads `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// What `each` returns.
    pub fn drain<E>(
        &mut self,
        limit: usize,
        now_ns: impl Fn() -> u64,
        each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        self.rings.drain(limit, now_ns, each)
    }

    /// Becomes readable when the kernel side wants to be read at once.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn waiter(&self) -> Result<AsyncFd<OwnedFd>> {
        self.rings.waiter()
    }

    /// Says whether the next record is to wake the reader, who does not look by itself meanwhile. A record that is being written while this is said may
    /// still come without waking anybody.
    ///
    /// # Errors
    /// The kernel refuses, which it has no reason to.
    pub fn set_asleep(&mut self, asleep: bool) -> Result<()> {
        self.asleep.set(0, u32::from(asleep), 0).context("telling the kernel side whether to wake the reader")
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
        self.final_misses = Some(misses(&self.ebpf, &self.hooks, self.preemption));
        // One is detached after the other, and what only some of them tell is of no use.
        self.running.set(0, 0, 0).context("telling the kernel side that the hooks are being detached")?;
        for state in self.hooks.iter().filter(|state| state.outcome == HookOutcome::Attached) {
            programs::detach(&mut self.ebpf, state.hook, self.preemption)
                .with_context(|| format!("detaching from {}", state.hook.name))?;
        }
        Ok(())
    }

    /// By hook, what none of its programs was run for; [`u64::MAX`] when this kernel does not tell. An event that the first missed and another took is not
    /// lost; nor is one that any of them was run for, be it of no interest: so it is at most what the one that missed least did.
    fn withheld(&self, now: Misses, taken_over: &[u64; wire::HOOKS]) -> [u64; wire::HOOKS] {
        let Some((now, before)) = now.zip(self.misses_before.as_ref()) else { return [u64::MAX; wire::HOOKS] };
        let mut withheld = [0; wire::HOOKS];
        for (((withheld, now), before), taken_over) in withheld.iter_mut().zip(&now).zip(before).zip(taken_over) {
            let mut missed = now.iter().zip(before).map(|(now, before)| now.saturating_sub(*before));
            let first = missed.next().unwrap_or_default().saturating_sub(*taken_over);
            *withheld = missed.fold(first, u64::min);
        }
        withheld
    }

    /// How many mini-sockets have begun so far, of all connections that are wanted.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn minis_entered(&self) -> Result<u64> {
        Ok(sum_of(&Sums::read(&self.counts)?.values, &[wire::Counter::TwEntered]))
    }

    /// How many records have not fitted so far.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn lost_records(&self) -> Result<u64> {
        Ok(sum_of(&Sums::read(&self.counts)?.values, &wire::LOST))
    }

    /// How many events are known to be lost so far: records that did not fit, and what the kernel withheld.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn lost(&self) -> Result<u64> {
        let counters = self.counters(0)?;
        let told = wire::Hook::ALL.into_iter().filter(|hook| hook.tells_always());
        let withheld = told.filter_map(|hook| counters.withheld.get(hook as usize)).filter(|count| **count != u64::MAX);
        Ok(sum_of(&counters.values, &wire::LOST) + withheld.sum::<u64>())
    }

    /// The kernel side's counts so far, summed over CPUs, as a record.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self, time_ns: u64) -> Result<wire::Counters> {
        let misses = self.final_misses.clone().unwrap_or_else(|| misses(&self.ebpf, &self.hooks, self.preemption));
        // After the misses: what comes in between is then taken over and not missed, rather than the other way round.
        let Sums { mut values, transitions, taken_over } = Sums::read(&self.counts)?;
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
            withheld: self.withheld(misses, &taken_over),
        })
    }
}

/// What none of the attached hooks' programs has been run for so far.
pub(super) fn misses(ebpf: &Ebpf, hooks: &[HookState], preemption: Preemption) -> Misses {
    let mut missed = std::array::from_fn(|_| Vec::new());
    for state in hooks.iter().filter(|state| state.outcome == HookOutcome::Attached) {
        for on in state.hook.programs(preemption) {
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
    let states: u64 = transitions.iter().sum();
    let told = states + sum_of(values, &wire::TOLD) + sum_of(values, &[wire::Counter::Released]);
    let left_out = [wire::Counter::Folded, wire::Counter::Thinned];
    let written = told.saturating_sub(sum_of(values, &wire::LOST) + sum_of(values, &left_out));
    for (counter, value) in [(wire::Counter::StateSeen, states), (wire::Counter::Written, written)] {
        if let Some(slot) = values.get_mut(counter as usize) {
            *slot = value;
        }
    }
}

fn sum_of(values: &[u64; wire::COUNTERS], counters: &[wire::Counter]) -> u64 {
    counters.iter().filter_map(|&counter| values.get(counter as usize)).sum()
}

/// What all CPUs have counted.
struct Sums {
    values: [u64; wire::COUNTERS],
    transitions: [u64; wire::TRANSITIONS],
    taken_over: [u64; wire::HOOKS],
}

impl Sums {
    fn read(counts: &PerCpuArray<MapData, [u64; COUNT_WORDS]>) -> Result<Self> {
        let mut sums =
            Self { values: [0; wire::COUNTERS], transitions: [0; wire::TRANSITIONS], taken_over: [0; wire::HOOKS] };
        for cpu in counts.get(&0, 0).context("reading the kernel side's counters")?.iter() {
            // In the order of `wire::CpuCounts`.
            let slots = sums.values.iter_mut().chain(&mut sums.transitions).chain(&mut sums.taken_over);
            slots.zip(cpu).for_each(|(sum, count)| *sum += count);
        }
        Ok(sums)
    }
}
