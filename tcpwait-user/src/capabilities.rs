//! Capabilities that this thread gives up for good. They are a thread's own, and a new thread has those of the one that started it.

use anyhow::{Context, Result};
use caps::{CapSet, CapsHashSet};

/// Gives up all of them. The bounding set bounds what execve() gives, which is nothing by then, and dropping from it needs a right that is gone.
///
/// # Errors
/// The kernel refuses, or some are left; the message says which.
pub fn give_up_all() -> Result<()> {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).with_context(|| format!("giving up capabilities ({set:?})"))?;
    }
    let left: CapsHashSet = caps::read(None, CapSet::Permitted).context("reading capabilities back")?;
    anyhow::ensure!(left.is_empty(), "capabilities are left although they were given up: {left:?}");
    Ok(())
}
