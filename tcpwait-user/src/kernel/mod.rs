//! Everything that talks to the kernel's BPF side: types, symbols, programs, the ring buffer. The only place that imports aya,
//! and the only one with `unsafe`. It delivers bytes and counts, and knows nothing of what they mean.

mod btf;
mod counters;
mod filter;
mod hooks;
mod load;
mod needs;
pub mod netns;
mod probes;
mod programs;
mod readable;
mod rings;
mod types;

pub use self::{
    btf::{Extracts, extract},
    counters::recursion_misses,
    filter::KernelFilter,
    hooks::{
        AttachKind, Choice, Choices, HOOKS, Hook, HookOutcome, HookState, Need, Preemption, Work, attached, missed,
        segment_source,
    },
    load::{Options, load, object},
    needs::{NEEDS, Needed, OLDEST, Thing},
    probes::Probes,
    readable::readable,
    types::{KernelTypes, asked},
};

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use anyhow::{Context, Result, bail};

use crate::symbols::{self, SymbolPick, Symbols};

/// The handler every TIME_WAIT mini-socket's timer runs (`inet_twsk_alloc`).
const TIMEWAIT_HANDLER: &str = "tw_timer_handler";

/// The handler every request socket's timer runs (`reqsk_queue_hash_req`).
const REQUEST_HANDLER: &str = "reqsk_timer_handler";

/// What is not known where the kernel hides `reqsk_timer_handler`.
pub const WITHOUT_REQUESTS: &str = "this kernel's /proc/kallsyms has no reqsk_timer_handler: connections in SYN_RECV are not seen, and the time in SYN_RECV \
                                    is unknown";

/// Addresses of the functions that mini-sockets' timers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handlers {
    /// `tw_timer_handler`.
    pub timewait: u64,
    /// `reqsk_timer_handler`; `None` where the kernel does not show it.
    pub request: Option<u64>,
}

/// The handlers, and the functions that stacks are read by, from `/proc/kallsyms`. Its 10 MB are never there as a whole.
///
/// # Errors
/// The file cannot be read, or see [`find_symbols`].
fn symbols() -> Result<(Handlers, Symbols)> {
    let reading = "reading /proc/kallsyms for the kernel's function addresses (is /proc mounted?)";
    let mut kallsyms = BufReader::with_capacity(64 << 10, File::open("/proc/kallsyms").context(reading)?);
    let (mut finder, mut line) = (Finder::default(), String::new());
    while kallsyms.read_line(&mut line).context(reading)? > 0 {
        finder.line(line.trim_end_matches('\n'))?;
        line.clear();
    }
    let restricted = std::fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap_or_default();
    finder.found(restricted.trim())
}

/// The same from the text of `/proc/kallsyms` and the value of `kernel.kptr_restrict`, which only a message needs.
///
/// # Errors
/// The text hides its addresses (`kptr_restrict`), or does not have the handler of TIME_WAIT, or is something else.
pub fn find_symbols(kallsyms: &str, kptr_restrict: &str) -> Result<(Handlers, Symbols)> {
    let mut finder = Finder::default();
    kallsyms.lines().try_for_each(|line| finder.line(line))?;
    finder.found(kptr_restrict)
}

/// What is looked for among the lines of `/proc/kallsyms`.
#[derive(Default)]
struct Finder {
    timewait: Option<u64>,
    request: Option<u64>,
    has_lines: bool,
    shows: bool,
    functions: SymbolPick,
}

impl Finder {
    fn line(&mut self, line: &str) -> Result<()> {
        let Some(symbol) = symbols::parse_line(line) else {
            bail!("reading /proc/kallsyms: the line {line:?} is malformed; please report this with `uname -r`");
        };
        self.has_lines = true;
        self.shows |= symbol.address != 0;
        // The kernel's own: a module may have a function of the same name, and lies before it on some machines.
        if symbol.module.is_none() && symbol.address != 0 {
            match symbol.name {
                TIMEWAIT_HANDLER => _ = self.timewait.get_or_insert(symbol.address),
                REQUEST_HANDLER => _ = self.request.get_or_insert(symbol.address),
                _ => {}
            }
        }
        self.functions.add(symbol.address, symbol.name);
        Ok(())
    }

    fn found(self, kptr_restrict: &str) -> Result<(Handlers, Symbols)> {
        let Self { timewait, request, has_lines, shows, functions } = self;
        match timewait {
            Some(timewait) => Ok((Handlers { timewait, request }, functions.found())),
            None if !has_lines => bail!(
                "/proc/kallsyms is empty, so TIME_WAIT timers cannot be recognised: something hides it from this process, as ProtectKernelTunables= of a \
                 systemd unit does"
            ),
            None if !shows && ["", "2"].contains(&kptr_restrict) => bail!(
                "/proc/kallsyms shows no addresses, so TIME_WAIT timers cannot be recognised: \
                 kernel.kptr_restrict is {}; run `sysctl kernel.kptr_restrict=1` and start again",
                if kptr_restrict.is_empty() { "set" } else { kptr_restrict }
            ),
            None if !shows => bail!(
                "/proc/kallsyms shows no addresses, so TIME_WAIT timers cannot be recognised: run as root or with CAP_SYSLOG \
                 (kernel.kptr_restrict is {kptr_restrict})"
            ),
            None => bail!(
                "this kernel's /proc/kallsyms has no {TIMEWAIT_HANDLER}, the function behind every TIME_WAIT timer; \
             it needs CONFIG_KALLSYMS and a TCP/IP stack as in Linux 5.15 to 7.x"
            ),
        }
    }
}
