//! What came of holding the counts against the kernel's own, in one sentence.

use super::units::count;
use crate::{
    aggregate::audit::{AuditReport, Check, Checked, Outcome},
    lifecycle::Abort,
};

/// What came of the audit.
pub fn sentence(audit: &AuditReport) -> String {
    if let Some(why_not) = &audit.why_not {
        return format!("the kernel's own counters: not compared, {why_not}");
    }
    let differs = audit.checks.iter().any(|(_, outcome)| *outcome != Outcome::Agrees);
    let is_nothing =
        |(check, outcome): &&(Check, Outcome)| *outcome == Outcome::Agrees && (check.kernel, check.seen_min) == (0, 0);
    let told = audit.checks.iter().filter(|check| !is_nothing(check));
    let mut checks: Vec<String> = told.map(|(check, outcome)| compared(check, *outcome)).collect();
    let nothing = audit.checks.iter().filter(is_nothing).count();
    if nothing > 0 {
        checks.push(format!(
            "{nothing} {} 0 on both sides",
            if checks.is_empty() { "that are" } else { "more, which are" }
        ));
    }
    let left_out = match audit.unread {
        0 => String::new(),
        1 => "; 1 network namespace could not be read, and is left out".to_owned(),
        unread => format!("; {} network namespaces could not be read, and are left out", count(unread as u64)),
    };
    format!(
        "{}: {}{left_out}",
        if differs { "the kernel's own counters DIFFER" } else { "the kernel's own counters agree" },
        checks.join("; ")
    )
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

fn compared(check: &Check, outcome: Outcome) -> String {
    let (what, counter) = match check.what {
        Checked::Entries => ("entries", "TcpExtTW and TWKilled"),
        Checked::Expiries => ("expired", "TcpExtTW and TWKilled"),
        Checked::Reused => ("reused", "TWRecycled"),
        Checked::Overflows => ("overflows", "TCPTimeWaitOverflow"),
        Checked::PassiveOpens => ("passive opens", "PassiveOpens"),
        Checked::ActiveOpens => ("active opens", "ActiveOpens"),
        Checked::AttemptFails => ("failed attempts", "AttemptFails"),
        Checked::EstabResets => ("lost in ESTABLISHED or CLOSE_WAIT", "EstabResets"),
        Checked::Aborts(abort) => (aborted(abort), abort.name()),
        Checked::ResetsSent => ("RSTs of connections", "OutRsts"),
        Checked::Sockstat => ("now", "sockstat"),
        Checked::SockDiag => ("now", "sock_diag"),
    };
    let seen = match check.seen_min == check.seen_max {
        true => count(check.seen_min),
        false if check.seen_max == u64::MAX => format!("at least {}", count(check.seen_min)),
        false => format!("{} to {}", count(check.seen_min), count(check.seen_max)),
    };
    let text = format!("{what} {seen} seen, {} in {counter}", count(check.kernel));
    match outcome {
        Outcome::Agrees => text,
        Outcome::Lost(off) => format!("{text} (off by {}, no more than was lost)", count(off)),
        Outcome::Differs(off) => format!("{text} (OFF BY {}, and nothing says why)", count(off)),
    }
}
