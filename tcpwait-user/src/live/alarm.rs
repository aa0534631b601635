//! One timer of the kernel's own (timerfd). tokio's sleeps wake twice: its wheel of timers has a coarse level, from which a timer falls to a finer one.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::io::unix::AsyncFd;

use crate::kernel;

/// Rings once, at the time that it was set to.
pub(super) struct Alarm {
    timer: TimerFd,
    ringing: AsyncFd<OwnedFd>,
    rings_at: Option<Instant>,
}

impl Alarm {
    /// # Errors
    /// The process has no descriptor left.
    pub(super) fn new() -> Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).context("making a timer")?;
        let ringing = kernel::readable(&timer, "a timer")?;
        Ok(Self { timer, ringing, rings_at: None })
    }

    /// Rings at this time, and at no other that it was set to before.
    ///
    /// # Errors
    /// The kernel refuses, which it has no reason to.
    pub(super) fn set(&mut self, at: Instant) -> io::Result<()> {
        if self.rings_at == Some(at) {
            return Ok(());
        }
        self.rings_at = Some(at);
        // Zero would stop it.
        let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
        Ok(())
    }

    /// Waits until it rings.
    ///
    /// # Errors
    /// The kernel refuses, which it has no reason to.
    pub(super) async fn rings(&mut self) -> io::Result<()> {
        self.ringing.readable().await?.clear_ready();
        // It has rung; it was set anew meanwhile, or rings no more.
        self.rings_at = None;
        Ok(())
    }
}
