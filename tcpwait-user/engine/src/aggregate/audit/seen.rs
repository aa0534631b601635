//! What is countable, and how often it was seen.

use crate::lifecycle::{Abort, Reason};

/// What is countable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Accepted,
    Began,
    Ended(Reason),
    Overflowed,
    /// connect() that sends a SYN at once, or perhaps: it may wait for data.
    Connects(Certain),
    /// Such a one came to an end, and no SYN was sent.
    Unsent(Certain),
    /// One that was not certain sent its SYN.
    Sent,
    /// A connect() or a connection in SYN_RECV came to nothing as AttemptFails counts it, or at most so.
    Failed(Certain),
    Reset,
    /// A connection was given up as this counter of TcpExt counts it.
    Aborted(Abort),
    /// A connection ended, and why is not known: any of those may have counted it.
    Unexplained,
    /// An RST was sent when a connection ended.
    ResetSent,
}

/// Whether the kernel counts it for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certain {
    Yes,
    Perhaps,
}

/// What was seen of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenCounts {
    pub(super) accepted: u64,
    pub(super) began: u64,
    pub(super) expired: u64,
    pub(super) reused_by_connect: u64,
    pub(super) overflowed: u64,
    /// At least and at most.
    pub(super) active: (i64, i64),
    pub(super) failed: (i64, i64),
    pub(super) resets: u64,
    aborted: [u64; Abort::ALL.len()],
    pub(super) unexplained: u64,
    pub(super) resets_sent: u64,
}

impl SeenCounts {
    pub(super) fn count(&mut self, what: What) {
        match what {
            What::Accepted => self.accepted += 1,
            What::Began => self.began += 1,
            What::Ended(Reason::Expired) => self.expired += 1,
            What::Ended(Reason::ReusedByConnect) => self.reused_by_connect += 1,
            What::Ended(_) => {}
            What::Overflowed => self.overflowed += 1,
            What::Connects(Certain::Yes) => {
                self.active.0 += 1;
                self.active.1 += 1;
            }
            What::Connects(Certain::Perhaps) => self.active.1 += 1,
            What::Unsent(Certain::Yes) => {
                self.active.0 -= 1;
                self.active.1 -= 1;
            }
            What::Unsent(Certain::Perhaps) => self.active.1 -= 1,
            What::Sent => self.active.0 += 1,
            What::Failed(certain) => {
                self.failed.0 += i64::from(certain == Certain::Yes);
                self.failed.1 += 1;
            }
            What::Reset => self.resets += 1,
            What::Aborted(abort) => {
                if let Some(count) = self.aborted.get_mut(abort as usize) {
                    *count += 1;
                }
            }
            What::Unexplained => self.unexplained += 1,
            What::ResetSent => self.resets_sent += 1,
        }
    }

    /// At least and at most.
    pub(super) fn aborted(&self, abort: Abort) -> (i64, i64) {
        let certain = self.aborted.get(abort as usize).copied().unwrap_or_default();
        (certain as i64, (certain + self.unexplained) as i64)
    }
}
