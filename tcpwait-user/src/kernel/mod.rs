//! Everything that talks to the kernel's BPF side: types, symbols, programs, the ring buffer. The only place that imports aya,
//! and the only one with `unsafe`. It delivers bytes and counts, and knows nothing of what they mean.

mod counters;
mod hooks;
mod load;
mod types;

pub use self::{
    counters::recursion_misses,
    hooks::{HOOKS, Hook, HookState, Kind, Need, Outcome, Timing, missed, segment_source},
    load::{KernelFilter, Options, Probes, load},
    types::KernelTypes,
};

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::symbols::Symbols;

/// The handler every TIME_WAIT mini-socket's timer runs (`inet_twsk_alloc`).
const TIMER_HANDLER: &str = "tw_timer_handler";

/// Reads `/proc/kallsyms`: the handler's address and the functions that stacks are read by.
///
/// # Errors
/// The file cannot be read, or hides its addresses (`kptr_restrict`), or does not have the handler.
pub fn symbols() -> Result<(u64, Symbols)> {
    let all: BTreeMap<u64, String> =
        aya::util::kernel_symbols().context("reading /proc/kallsyms for the kernel's function addresses")?;
    let found = Symbols::pick(all.iter().map(|(address, name)| (*address, name.as_str())));
    let handler = all
        .iter()
        .find(|(address, name)| **address != 0 && name.as_str() == TIMER_HANDLER)
        .map(|(address, _)| *address);
    match handler {
        Some(handler) => Ok((handler, found)),
        None if all.keys().all(|address| *address == 0) => bail!(
            "/proc/kallsyms shows no addresses, so TIME_WAIT timers cannot be told from others: \
             kernel.kptr_restrict is {}; run `sysctl kernel.kptr_restrict=1` and start again",
            std::fs::read_to_string("/proc/sys/kernel/kptr_restrict")
                .map_or_else(|_| "set".to_owned(), |v| v.trim().to_owned())
        ),
        None => bail!(
            "this kernel's /proc/kallsyms has no {TIMER_HANDLER}, the function behind every TIME_WAIT timer; \
             it needs CONFIG_KALLSYMS and a TCP/IP stack as in Linux 5.15 to 7.x"
        ),
    }
}
