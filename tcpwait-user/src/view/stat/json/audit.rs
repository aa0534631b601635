//! The counts beside the kernel's own.

use serde::Serialize;

use super::super::super::{ViewContext, json::rfc3339};
use crate::{
    aggregate::audit::{AuditReport, CheckOutcome, Checked},
    lifecycle::Abort,
};

/// What was compared, and what came of it.
#[derive(Serialize)]
pub(super) struct AuditJson<'a> {
    time: Option<String>,
    why_not: Option<&'a str>,
    namespaces: usize,
    unread: usize,
    agrees: Option<bool>,
    checks: Vec<CheckResult>,
}

#[derive(Serialize)]
struct CheckResult {
    what: &'static str,
    counter: &'static str,
    seen_min: u64,
    /// `None`: the kernel counts more than what is followed.
    seen_max: Option<u64>,
    kernel: u64,
    off_by: u64,
    explained: bool,
}

/// The last comparison.
pub(super) fn audit<'a>(audit: &'a AuditReport, context: ViewContext<'_>) -> AuditJson<'a> {
    let checks = audit.checks.iter().map(|(check, outcome)| {
        let (what, counter) = match check.what {
            Checked::Entries => ("entries", "TcpExtTW + TcpExtTWKilled"),
            Checked::Expiries => ("expired", "TcpExtTW + TcpExtTWKilled"),
            Checked::ReusedByConnect => ("reused_by_connect", "TcpExtTWRecycled"),
            Checked::Overflows => ("overflows", "TcpExtTCPTimeWaitOverflow"),
            Checked::PassiveOpens => ("passive_opens", "TcpPassiveOpens"),
            Checked::ActiveOpens => ("active_opens", "TcpActiveOpens"),
            Checked::AttemptFails => ("attempt_fails", "TcpAttemptFails"),
            Checked::EstabResets => ("estab_resets", "TcpEstabResets"),
            Checked::Aborts(Abort::OnData) => ("abort_on_data", "TcpExtTCPAbortOnData"),
            Checked::Aborts(Abort::OnClose) => ("abort_on_close", "TcpExtTCPAbortOnClose"),
            Checked::Aborts(Abort::OnMemory) => ("abort_on_memory", "TcpExtTCPAbortOnMemory"),
            Checked::Aborts(Abort::OnTimeout) => ("abort_on_timeout", "TcpExtTCPAbortOnTimeout"),
            Checked::Aborts(Abort::OnLinger) => ("abort_on_linger", "TcpExtTCPAbortOnLinger"),
            Checked::ResetsSent => ("resets_sent", "TcpOutRsts"),
            Checked::Sockstat => ("now", "sockstat.tw"),
            Checked::SockDiag => ("now", "sock_diag"),
        };
        let (off_by, explained) = match outcome {
            CheckOutcome::Agrees => (0, true),
            CheckOutcome::Lost(off) => (*off, true),
            CheckOutcome::Differs(off) => (*off, false),
        };
        let seen_max = (check.seen_max != u64::MAX).then_some(check.seen_max);
        let (seen_min, kernel) = (check.seen_min, check.kernel);
        CheckResult { what, counter, seen_min, seen_max, kernel, off_by, explained }
    });
    let checks: Vec<CheckResult> = checks.collect();
    AuditJson {
        time: audit.time_ns.and_then(|time_ns| rfc3339(context, time_ns)),
        why_not: audit.why_not.as_deref(),
        namespaces: audit.namespaces,
        unread: audit.unread,
        agrees: (!checks.is_empty()).then(|| checks.iter().all(|check| check.off_by == 0)),
        checks,
    }
}
