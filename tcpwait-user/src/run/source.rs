//! Where records come from: how the running kernel is traced, and a recording.

use std::path::Path;

use anyhow::{Result, anyhow};

use crate::{
    aggregate::audit::{Audit, TwCounts},
    cli::{Tracing, choices},
    kernel::KernelFilter,
    live::{Audited, LiveOptions},
    recording::{Believed, Header, Reader},
    system::behaviour,
};

/// Opens a recording, of whose times those that cannot be are left out.
pub(super) fn open(path: &Path) -> Result<Believed<Reader>> {
    let reader = Reader::open(path).map_err(|why| anyhow!("{why:#}; `tcpwait record -o FILE` makes a recording"))?;
    Ok(Believed::new(reader.header().clone(), reader))
}

/// An audit of what a recording has of the kernel's own counters.
pub(super) fn audit_of(header: &Header) -> Audit {
    let why_not = (!header.has_circumstances())
        .then(|| "the recording was made by a version that did not keep the kernel's counters".to_owned());
    Audit::new(header.tw_counts, why_not)
}

/// What the kernel's counter of TIME_WAIT counts, as tried on a connection; `None` where that cannot be tried. To be asked before anything is
/// attached: that connection is not to be seen.
pub(super) fn meaning_of_tw() -> Option<TwCounts> {
    let began = behaviour::of_running_kernel().tw_counts_beginnings.ok()?;
    Some(if began { TwCounts::Beginnings } else { TwCounts::Expiries })
}

/// How the running kernel is traced, unless a command wants it otherwise. It may run day and night.
pub(super) fn settings(args: &Tracing, filter: KernelFilter) -> LiveOptions {
    LiveOptions {
        filter,
        ring_bytes: args.ring_buffer,
        cpus_of_a_ring: args.cpus_of_a_ring,
        duration: args.duration,
        choices: choices(args.timing, args.refused_ports, false),
        audit: Audited::Never,
        first_signal_ends: true,
        thinning: None,
        wake: None,
        verbose: args.verbose,
    }
}

/// The same for a command that shows each call: somebody waits for one.
pub(super) fn settings_of_each_call(args: &Tracing, filter: KernelFilter) -> LiveOptions {
    LiveOptions { choices: choices(args.timing, args.refused_ports, true), ..settings(args, filter) }
}
