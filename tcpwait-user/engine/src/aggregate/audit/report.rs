//! What came of holding counts against the kernel's: they agree, differ by what is known to be lost, or differ.

use crate::{aggregate::unfollowed::FullQueue, ledger::Ledger, lifecycle::Abort};

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Mini-sockets that began, and `TcpExtTW` with `TcpExtTWKilled`: one or the other counts each.
    Entries,
    /// Mini-sockets that expired, and `TcpExtTW` with `TcpExtTWKilled`.
    Expiries,
    /// Mini-sockets reused by `connect()`, and `TcpExtTWRecycled`.
    ReusedByConnect,
    /// Overflows, and `TcpExtTCPTimeWaitOverflow`.
    Overflows,
    /// Sockets made of a listener's, and `TcpPassiveOpens`.
    PassiveOpens,
    /// connect() that sent a SYN, and `TcpActiveOpens`.
    ActiveOpens,
    /// Connections that failed in SYN_SENT or SYN_RECV, and `TcpAttemptFails`.
    AttemptFails,
    /// Connections that came from ESTABLISHED or CLOSE_WAIT to CLOSE, and `TcpEstabResets`.
    EstabResets,
    /// Connections that were given up, and this counter of TcpExt.
    Aborts(Abort),
    /// RSTs that were sent when a connection ended, and `TcpOutRsts`, which counts those too that answer a segment of no connection: no less.
    ResetsSent,
    /// Mini-sockets there, and sockstat's `tw`.
    Sockstat,
    /// Mini-sockets there, and those that sock_diag lists.
    SockDiag,
}

/// One comparison. What was seen by the time the kernel was read lies between two numbers where something happened just then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was compared.
    pub what: Checked,
    /// Seen, at least.
    pub seen_min: u64,
    /// Seen, at most; [`u64::MAX`] where the kernel counts more than what is followed.
    pub seen_max: u64,
    /// The kernel's number.
    pub kernel: u64,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// They agree.
    Agrees,
    /// They differ by no more than is known to be lost: this many of the kind compared.
    Lost(u64),
    /// They differ by so many, and the ledger does not say why.
    Differs(u64),
}

impl Check {
    pub(super) fn outcome(&self, ledger: &Ledger) -> CheckOutcome {
        if (self.seen_min..=self.seen_max).contains(&self.kernel) {
            return CheckOutcome::Agrees;
        }
        let off = self.kernel.abs_diff(if self.kernel > self.seen_max { self.seen_max } else { self.seen_min });
        let ring = ledger.lost_ring.unwrap_or_default();
        let anything =
            ledger.recursion().unwrap_or_default() + ledger.unread() + ledger.unreadable + ledger.undecodable;
        let lost = anything
            + match self.what {
                Checked::Entries => ring.beginnings,
                Checked::Expiries | Checked::ReusedByConnect => ring.ends,
                Checked::Overflows
                | Checked::PassiveOpens
                | Checked::ActiveOpens
                | Checked::EstabResets
                | Checked::Aborts(_) => ring.states,
                Checked::ResetsSent => ring.states + ring.ends,
                Checked::AttemptFails => ring.states + ring.requests,
                Checked::Sockstat | Checked::SockDiag => ring.beginnings + ring.ends + ledger.tally.unmatched.total(),
            };
        if off <= lost { CheckOutcome::Lost(off) } else { CheckOutcome::Differs(off) }
    }
}

/// What a report says of the audit.
#[derive(Clone, Debug, Default)]
pub struct AuditReport {
    /// When the kernel was read last, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: Option<u64>,
    /// Namespaces read.
    pub namespaces: usize,
    /// Namespaces that have sockets, or are known, and could not be read: what is in them is not compared.
    pub unread: usize,
    /// Each comparison and what came of it.
    pub checks: Vec<(Check, CheckOutcome)>,
    /// What the kernel counted since the start of connections that cannot be followed, by the counter's name.
    pub unfollowed: Vec<(&'static str, u64)>,
    /// The fullest accept queue, if one was full when the kernel was read last.
    pub full: Option<FullQueue>,
    /// Whether only some connections have been told of at some time, so that no more is compared than what the kernel side counts of all.
    pub thinned: bool,
    /// Why nothing was compared.
    pub why_not: Option<String>,
}

impl AuditReport {
    /// Whether a difference remains that nothing explains.
    pub fn differs(&self) -> bool {
        self.checks.iter().any(|(_, outcome)| matches!(outcome, CheckOutcome::Differs(_)))
    }
}
