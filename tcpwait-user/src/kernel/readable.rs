//! Descriptors that the kernel makes readable, for who waits for that.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use tokio::io::{Interest, unix::AsyncFd};

/// Becomes readable when this descriptor does. `what` it is, for a message.
///
/// # Errors
/// The process has no descriptor left.
pub fn readable(fd: impl AsFd, what: &str) -> Result<AsyncFd<OwnedFd>> {
    let fd = fd.as_fd().try_clone_to_owned().with_context(|| format!("duplicating the descriptor of {what}"))?;
    // SAFETY: the AsyncFd owns the descriptor, so it stays open, and the same, as long as it is registered.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.with_context(|| format!("waiting for {what}"))
}
