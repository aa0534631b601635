//! What a report on states leaves out, and what would help; one sentence each, for stderr.

use super::super::units::{count, counted};
use crate::states::report::{Extent, StatesReport, UnknownHolders};

/// The sentences. `root`: whether this process may look everywhere.
pub fn of(report: &StatesReport, root: bool) -> Vec<String> {
    let mut notes = extent(&report.extent, root);
    if report.ageless > 0 {
        notes.push(format!(
            "{} not counted: the kernel does not tell how long they have been in their state; run `tcpwait stat` to see it",
            sockets(report.ageless)
        ));
    }
    notes.extend(report.holders.iter().flat_map(|holders| owners(holders, root)));
    notes
}

fn extent(extent: &Extent, root: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if extent.unreadable > 0 {
        let why = extent.first_reason.as_deref().unwrap_or("for an unknown reason");
        notes.push(format!("{}; some sockets are not counted: {why}", unreadable(extent.unreadable)));
    }
    if extent.unseen {
        let remedy = if root { "insufficient privileges even as root (user namespace, LSM)" } else { "run as root" };
        notes.push(format!("network namespaces of some processes cannot be seen and may not be counted: {remedy}"));
    }
    if extent.inconsistent > 0 {
        notes.push(format!(
            "{} changed while their sockets were listed: some sockets may be missing, or counted twice",
            namespaces(extent.inconsistent)
        ));
    }
    if extent.odd > 0 {
        notes.push(format!("{} of an unknown family or state, not counted", sockets(extent.odd)));
    }
    notes
}

fn owners(holders: &UnknownHolders, root: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if holders.of_time_wait > 0 {
        notes.push(format!(
            "TIME_WAIT has no process ({}): run `tcpwait stat` to see which process leaves it",
            sockets(holders.of_time_wait)
        ));
    }
    let others = holders.without_file - holders.of_time_wait.min(holders.without_file);
    if others > 0 {
        let have = if others == 1 { "has" } else { "have" };
        notes.push(format!(
            "{} {have} no process: not accepted yet, or closed by the process and not by the peer",
            sockets(others)
        ));
    }
    if holders.shared > 0 {
        let (noun, it) = if holders.shared == 1 { ("listener", "it") } else { ("listeners", "each") };
        notes.push(format!(
            "{} {noun}: several processes have {it} open, unknown which of them accepts (`ss -tlnp` lists them)",
            count(holders.shared)
        ));
    }
    let unknown = holders.unknown.saturating_sub(holders.shared);
    if unknown > 0 {
        let why = match root {
            true => "kernel sockets, sockets in transit (SCM_RIGHTS), or processes that cannot be inspected",
            false => "run as root to see other users' processes",
        };
        notes.push(format!("process unknown for {}: {why}", sockets(unknown)));
    }
    notes
}

/// `2 network namespaces could not be read`.
fn unreadable(number: u32) -> String {
    format!("{} could not be read", namespaces(number))
}

/// `1 network namespace`.
pub(super) fn namespaces(number: u32) -> String {
    format!("{} network namespace{}", count(number.into()), if number == 1 { "" } else { "s" })
}

fn sockets(number: u64) -> String {
    counted(number, "socket", "sockets")
}
