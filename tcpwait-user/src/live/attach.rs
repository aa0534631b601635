//! The start: what is to be traced, and how; attaches, and catches signals before anybody is told to hit Ctrl-C.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getres};
use tcpwait_wire::wire;
use tokio::sync::{Notify, mpsc};

use super::{
    Live,
    heirs::Heirs,
    naming::Naming,
    place,
    thin::{HELD, Thin},
};
use crate::{
    kernel::{self, Choices, KernelFilter, Probes},
    recording::Header,
    signals,
    system::{
        clock::{monotonic_ns, realtime_ns},
        own_process, processes,
    },
    thinning::ThinningLimits,
};

/// When the kernel's own counters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audited {
    /// Never.
    Never,
    /// At the start and at the end.
    Ends,
    /// From time to time too, with a listing of all mini-sockets at the end.
    Throughout,
    /// The same, a minute apart, and the settings of each namespace with them.
    Recorded,
}

/// What to trace, and how.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// What the kernel side leaves out.
    pub filter: KernelFilter,
    /// Size of the ring buffer in bytes.
    pub ring_bytes: u32,
    /// How many CPUs share a ring buffer; `None`: the usual number.
    pub cpus_of_a_ring: Option<u32>,
    /// When to stop by itself.
    pub duration: Option<Duration>,
    /// Which of the hooks that do the same work is taken.
    pub choices: Choices,
    /// When the kernel's own counters are read beside the tracing.
    pub audit: Audited,
    /// Whether the first signal asks for the end; else [`Sink::ends_at`](super::Sink::ends_at) says when one does.
    pub first_signal_ends: bool,
    /// How it is to thin itself; `None`: never.
    pub thinning: Option<ThinningLimits>,
    /// Told whenever somebody waits for what the sink has to say: the ring buffer is read at once then.
    pub wake: Option<Arc<Notify>>,
    /// Diagnostics.
    pub verbose: bool,
}

/// Attaches. Needs a tokio runtime around it.
///
/// # Errors
/// The place is not one where this can run; the message says why and what to do.
pub fn attach(settings: LiveOptions) -> Result<Live> {
    let unseen = place::check()?;
    // Before anybody is told to hit Ctrl-C.
    let (tell, signals) = mpsc::unbounded_channel();
    let tell = move |signal| {
        // Whoever is told may be gone already.
        let _ = tell.send(signal);
    };
    signals::catch(settings.first_signal_ends, tell).context("catching signals")?;
    let options = kernel::Options {
        filter: settings.filter.clone(),
        ring_bytes: settings.ring_bytes,
        cpus_of_a_ring: settings.cpus_of_a_ring,
        held: if settings.thinning.is_some() { HELD } else { 0 },
        verbose: settings.verbose,
        choices: settings.choices,
        pid_namespace: processes::numbering().unwrap_or_default(),
    };
    let mut probes = kernel::load(&options)?;
    let header = header(&mut probes)?;
    let thin = settings.thinning.map(Thin::new);
    Ok(Live {
        probes,
        thin,
        settings,
        header,
        has_passed: false,
        naming: Naming::new(),
        heirs: Heirs::new(),
        signals,
        namespaces: Arc::default(),
        first_reading: Duration::ZERO,
        unseen,
    })
}

/// What a recording of this would say of itself.
fn header(probes: &mut Probes) -> Result<Header> {
    let uname = nix::sys::utsname::uname().context("asking the kernel for its name")?;
    Ok(Header {
        wire: wire::VERSION,
        tcpwait: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
        started_ns: monotonic_ns(),
        started_realtime_ns: realtime_ns(),
        symbols: std::mem::take(&mut probes.symbols),
        offsets: probes.offsets.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect(),
        hz: ticks_per_second(),
        segments: kernel::segment_source(&probes.hooks),
        missing_hooks: missing(probes),
        tw_counts: None,
        host: Some(uname.nodename().to_string_lossy().into_owned()),
        command: Some(own_process::command_line()),
    })
}

/// The kernel's HZ: the resolution of its coarse clocks is its tick, `TICK_NSEC` (`posix_get_coarse_res` since 2.6.32; `LOW_RES_NSEC` in the vDSO).
fn ticks_per_second() -> Option<u64> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok()?;
    let tick_ns = u64::try_from(tick.tv_nsec()).ok().filter(|ns| tick.tv_sec() == 0 && *ns > 0)?;
    // TICK_NSEC is rounded to the nearest, and so is this.
    Some((1_000_000_000 + tick_ns / 2) / tick_ns)
}

fn missing(probes: &Probes) -> BTreeMap<String, String> {
    probes.hooks.iter().filter_map(|state| Some((state.hook.name.to_owned(), state.why()?.to_owned()))).collect()
}
