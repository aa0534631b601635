//! Thins the tool itself: looks at each round, tells the kernel side, and says so in the stream.

use anyhow::Result;
use nix::{
    sys::resource::{UsageWho, getrusage},
    unistd::{SysconfVar, sysconf},
};
use tcpwait_wire::wire::{self, Kind, sample};
use zerocopy::IntoBytes;

use super::{Live, Sink, head::head, losses::Losses};
use crate::{
    system::clock::monotonic_ns,
    thinning::{Thinning, ThinningLimits, ThinningLook},
};

/// Connects that may be held back at a time: 3 MiB. A socket is among them no longer than in SYN_SENT.
pub(super) const HELD: u32 = 16_384;

/// How often losses are looked for: each look is a system call.
const LOOK_NS: u64 = 1_000_000_000;

/// What thins, and how much of the ring buffer was full since it last looked.
pub(super) struct Thin {
    policy: Thinning,
    drained: u64,
    /// Records that had not fitted when that was last asked, and when that was.
    lost: (u64, u64),
}

impl Thin {
    pub(super) fn new(limits: ThinningLimits) -> Self {
        let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().and_then(|cpus| u32::try_from(cpus).ok());
        Self { policy: Thinning::new(limits, cpus.unwrap_or(1), sample::MOST), drained: 0, lost: (0, 0) }
    }

    /// So many bytes were taken from the ring buffer in one go: so full it was.
    pub(super) fn drained(&mut self, bytes: u64) {
        self.drained = self.drained.max(bytes);
    }
}

impl Live {
    /// Looks, and thins if it is time to.
    pub(super) fn thin_if_due(&mut self, losses: &mut Losses, sink: &mut impl Sink) -> Result<()> {
        let Self { probes, thin: Some(thin), settings, .. } = self else { return Ok(()) };
        let drained = std::mem::take(&mut thin.drained);
        let time_ns = monotonic_ns();
        if time_ns.saturating_sub(thin.lost.1) >= LOOK_NS {
            thin.lost = (probes.lost_records()?, time_ns);
        }
        let full = drained as f64 / f64::from(settings.ring_bytes);
        let look = ThinningLook { time_ns, full, lost: thin.lost.0, cpu_ns: cpu_ns() };
        let Some(change) = thin.policy.look(look) else { return Ok(()) };
        probes.thin(change.one_in)?;
        // What was written before is of all that were told of until now.
        self.catch_up(sink)?;
        let record = wire::Thinned { head: head::<wire::Thinned>(Kind::Thinned), one_in: change.one_in, reserved: 0 };
        sink.record(record.as_bytes())?;
        if change.one_in < change.before {
            losses.owe_listing();
        }
        sink.thinned(&change);
        Ok(())
    }
}

/// The processor time of this process so far.
fn cpu_ns() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0 };
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    (us(usage.user_time()) + us(usage.system_time())) * 1_000
}
