//! What came of holding the counts against the kernel's own, in one sentence.

use super::units::{count, counted};
use crate::{
    aggregate::audit::{AuditReport, Check, CheckOutcome, Checked},
    lifecycle::Abort,
};

/// What came of the audit: every comparison (`all`), or those that do not agree.
pub fn sentence(audit: &AuditReport, all: bool) -> String {
    if let Some(why_not) = &audit.why_not {
        return format!("audit: not made, {why_not}");
    }
    let agrees = |(_, outcome): &&(Check, CheckOutcome)| *outcome == CheckOutcome::Agrees;
    let is_zero =
        |checked: &&(Check, CheckOutcome)| agrees(checked) && (checked.0.kernel, checked.0.seen_min) == (0, 0);
    let told = audit.checks.iter().filter(|checked| if all { !is_zero(checked) } else { !agrees(checked) });
    let mut parts: Vec<String> = told.map(|(check, outcome)| compared(check, *outcome)).collect();
    let zeros = audit.checks.iter().filter(is_zero).count();
    if all && zeros > 0 {
        parts.push(format!("{} 0 on both sides", counted(zeros as u64, "other counter is", "other counters are")));
    }
    let verdict = verdict(audit);
    let list = if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) };
    let unread = match audit.unread {
        0 => String::new(),
        1 => "; 1 network namespace could not be read and is left out".to_owned(),
        unread => format!("; {} network namespaces could not be read and are left out", count(unread as u64)),
    };
    let thinned =
        if audit.thinned { "; timewait sockets entered only, as not all connections are followed" } else { "" };
    format!("audit: {verdict}{list}{unread}{thinned}")
}

/// What came of the audit, in a word.
pub fn verdict(audit: &AuditReport) -> &'static str {
    let agrees = audit.checks.iter().all(|(_, outcome)| *outcome == CheckOutcome::Agrees);
    match audit.why_not {
        Some(_) => "not made",
        None if agrees => "agrees",
        None if audit.differs() => "DIFFERS",
        // No more than is known to be lost.
        None => "agrees but for losses",
    }
}

/// The reasons that a counter counts.
fn aborted(abort: Abort) -> &'static str {
    match abort {
        Abort::OnData => "reset-sent by linger-0 and data-after-close",
        Abort::OnClose => "reset-sent by unread-data",
        Abort::OnMemory => "reset-sent by out-of-memory and too-many-orphans",
        Abort::OnTimeout => "timed-out",
        Abort::OnLinger => "linger",
    }
}

fn compared(check: &Check, outcome: CheckOutcome) -> String {
    let (what, counter) = match check.what {
        Checked::Entries => ("entries", "TW + TWKilled"),
        Checked::Expiries => ("expired", "TW + TWKilled"),
        Checked::ReusedByConnect => ("reused by connect", "TWRecycled"),
        Checked::Overflows => ("overflows", "TCPTimeWaitOverflow"),
        Checked::PassiveOpens => ("passive opens", "PassiveOpens"),
        Checked::ActiveOpens => ("active opens", "ActiveOpens"),
        Checked::AttemptFails => ("failed attempts", "AttemptFails"),
        Checked::EstabResets => ("ESTABLISHED or CLOSE_WAIT to CLOSE", "EstabResets"),
        Checked::Aborts(abort) => (aborted(abort), abort.name()),
        Checked::ResetsSent => ("RSTs sent by connections", "OutRsts"),
        Checked::Sockstat => ("timewait sockets now", "sockstat tw"),
        Checked::SockDiag => ("timewait sockets now", "sock_diag"),
    };
    let seen = match check.seen_min == check.seen_max {
        true => count(check.seen_min),
        false if check.seen_max == u64::MAX => format!("at least {}", count(check.seen_min)),
        false => format!("{} to {}", count(check.seen_min), count(check.seen_max)),
    };
    let text = format!("{what}: {seen} seen, {} in {counter}", count(check.kernel));
    match outcome {
        CheckOutcome::Agrees => text,
        CheckOutcome::Lost(off) => format!("{text} (off by {}, explained by lost events)", count(off)),
        CheckOutcome::Differs(off) => format!("{text} (off by {}, unexplained)", count(off)),
    }
}
