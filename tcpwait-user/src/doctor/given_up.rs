//! Connections that the kernel gives up: for want of memory, or as the peer answers no more; and orphans, before there are too many.

use super::{
    facts::Namespace,
    finding::{
        Evidence, Finding,
        Severity::{Note, Now},
    },
};

const MAX_ORPHANS: &str = "net.ipv4.tcp_max_orphans";

const OUT_OF_MEMORY: &str = "TcpExtTCPAbortOnMemory";

/// `tcp_too_many_orphans`.
pub fn orphans(ns: &Namespace) -> Option<Finding> {
    let (orphans, max) = (ns.later.get(super::ORPHANS)?, u64::try_from(ns.settings.number(MAX_ORPHANS)?).ok()?);
    // A socket that retransmits counts twice or fourfold (tcp_out_of_resources).
    if orphans == 0 || orphans * 4 < max {
        return None;
    }
    let what = format!(
        "{orphans} orphans (connections that no process has open any more and that have not ended); tcp_max_orphans is {max}. Beyond it the \
         kernel resets orphans that retransmit; those that get no answer, or an ICMP error, already from a half or a quarter of it on"
    );
    let finding = Finding::new("orphans-near-limit", Now, what)
        .known_by([Evidence::gauge(super::ORPHANS, orphans)])
        .known_by(ns.set(&[MAX_ORPHANS]))
        .known_by(ns.counted(&[OUT_OF_MEMORY]));
    Some(finding.change(
        format!("raise {MAX_ORPHANS}, or lower net.ipv4.tcp_orphan_retries, if the peers are gone"),
        "each orphan holds up to 64 KiB of memory; with fewer retries a peer that is slow to answer loses the end",
    ))
}

/// `tcp_check_oom`.
pub fn out_of_memory(ns: &Namespace) -> Option<Finding> {
    let severity = ns.when(&[OUT_OF_MEMORY])?;
    let verb = if severity == Now { "are" } else { "were" };
    let what = format!(
        "connections {verb} reset: more orphans than tcp_max_orphans, or more memory for TCP than tcp_mem allows (dmesg says which: \"too \
         many orphaned sockets\", \"out of memory\")"
    );
    let finding = Finding::new("reset-for-memory", severity, what)
        .known_by(ns.counted(&[OUT_OF_MEMORY]))
        .known_by(ns.later.get(super::ORPHANS).map(|orphans| Evidence::gauge(super::ORPHANS, orphans)))
        .known_by(ns.set(&[MAX_ORPHANS, "net.ipv4.tcp_mem"]));
    Some(finding.change(
        "raise the one that dmesg names",
        "memory: up to 64 KiB for each orphan; tcp_mem is in pages and of all sockets",
    ))
}

/// `tcp_write_err`, which gives up connect() as well as what was connected: AttemptFails counts the former too, together with those refused.
pub fn timeouts(ns: &Namespace) -> Option<Finding> {
    const COUNTER: &str = "TcpExtTCPAbortOnTimeout";
    let given_up = ns.grown(COUNTER)?.saturating_sub(super::listen::failed_attempts(ns).unwrap_or(0));
    if given_up == 0 {
        return None;
    }
    let what = "connections time out because the peer does not answer any more: the peer is gone, or a firewall or NAT in between has \
        dropped the connection after an idle time";
    Some(Finding::new("given-up", Note, what).known_by(ns.counted(&[COUNTER, "TcpAttemptFails", "TcpEstabResets"])))
}
