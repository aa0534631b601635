//! Everything that talks to the kernel's BPF side: types, symbols, programs, the ring buffer. The only place that imports aya,
//! and the only one with `unsafe`. It delivers bytes and counts, and knows nothing of what they mean.

mod counters;
mod hooks;
mod load;
mod needs;
pub mod netns;
mod programs;
mod types;

pub use self::{
    counters::recursion_misses,
    hooks::{Choice, Choices, HOOKS, Hook, HookState, Kind, Need, Outcome, Work, missed, segment_source},
    load::{KernelFilter, Options, Probes, load},
    needs::{NEEDS, Needed, OLDEST, Thing},
    types::KernelTypes,
};

use anyhow::{Context, Result, bail};

use crate::symbols::{self, Symbols};

/// The handler every TIME_WAIT mini-socket's timer runs (`inet_twsk_alloc`).
const TIMEWAIT_HANDLER: &str = "tw_timer_handler";

/// The handler every request socket's timer runs (`reqsk_queue_hash_req`).
const REQUEST_HANDLER: &str = "reqsk_timer_handler";

/// What is not known where the kernel hides `reqsk_timer_handler`.
pub const WITHOUT_REQUESTS: &str = "this kernel's /proc/kallsyms has no reqsk_timer_handler; so half-open connections are not seen, and nothing says how long \
                                    SYN_RECV lasts";

/// Addresses of the functions that mini-sockets' timers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handlers {
    /// `tw_timer_handler`.
    pub timewait: u64,
    /// `reqsk_timer_handler`; `None` where the kernel does not show it.
    pub request: Option<u64>,
}

/// The handlers, and the functions that stacks are read by, from `/proc/kallsyms`.
///
/// # Errors
/// The file cannot be read, or see [`find_symbols`].
fn symbols() -> Result<(Handlers, Symbols)> {
    let kallsyms = std::fs::read_to_string("/proc/kallsyms")
        .context("reading /proc/kallsyms for the kernel's function addresses (is /proc mounted?)")?;
    let restricted = std::fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap_or_default();
    find_symbols(&kallsyms, restricted.trim())
}

/// The same from the text of `/proc/kallsyms` and the value of `kernel.kptr_restrict`, which only a message needs.
///
/// # Errors
/// The text hides its addresses (`kptr_restrict`), or does not have the handler of TIME_WAIT, or is something else.
pub fn find_symbols(kallsyms: &str, kptr_restrict: &str) -> Result<(Handlers, Symbols)> {
    let (mut timewait, mut request, mut shows, mut unknown) = (None, None, false, None);
    let lines = symbols::parse(kallsyms).map_while(|line| line.map_err(|line| unknown = Some(line)).ok());
    let found = Symbols::pick(lines.map(|symbol| {
        shows |= symbol.address != 0;
        // The kernel's own: a module may have a function of the same name, and lies before it on some machines.
        if symbol.module.is_none() && symbol.address != 0 {
            match symbol.name {
                TIMEWAIT_HANDLER => _ = timewait.get_or_insert(symbol.address),
                REQUEST_HANDLER => _ = request.get_or_insert(symbol.address),
                _ => {}
            }
        }
        (symbol.address, symbol.name)
    }));
    if let Some(line) = unknown {
        bail!("reading /proc/kallsyms: {line:?} is no line of it; please report this with `uname -r`");
    }
    match timewait {
        Some(timewait) => Ok((Handlers { timewait, request }, found)),
        None if !shows => bail!(
            "/proc/kallsyms shows no addresses, so TIME_WAIT timers cannot be told from others: \
             kernel.kptr_restrict is {}; run `sysctl kernel.kptr_restrict=1` and start again",
            if kptr_restrict.is_empty() { "set" } else { kptr_restrict }
        ),
        None => bail!(
            "this kernel's /proc/kallsyms has no {TIMEWAIT_HANDLER}, the function behind every TIME_WAIT timer; \
             it needs CONFIG_KALLSYMS and a TCP/IP stack as in Linux 5.15 to 7.x"
        ),
    }
}
