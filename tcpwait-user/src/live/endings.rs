//! The signals that ask for the end, as the event loop waits for them.

use std::{future::poll_fn, task::Poll};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::signals;

/// Those of [`signals::ENDING`] that are heeded.
pub(super) struct Endings(Vec<(Signal, unix::Signal)>);

impl Endings {
    /// Catches them from now on. The second that asks for the end gets it at once.
    pub(super) fn catch(first_asks: bool) -> Result<Self> {
        signals::second_ends(first_asks).context("catching signals")?;
        let caught = signals::heeded().map(|which| {
            let stream = signal(SignalKind::from_raw(which as i32)).with_context(|| format!("catching {which}"))?;
            Ok((which, stream))
        });
        Ok(Self(caught.collect::<Result<_>>()?))
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let come =
                self.0.iter_mut().find_map(|(which, stream)| stream.poll_recv(context).is_ready().then_some(*which));
            come.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
