//! `tcpwait doctor`: from what was read of a machine to what is worth changing, at what risk, and by what that is known.
//!
//! A finding is a small function from facts to at most one finding, in the file of its theme. None of them reads anything,
//! and none recommends what was not measured.

pub mod facts;
pub mod finding;
mod given_up;
pub mod settings;
pub mod socket;
pub mod sockets;
pub mod survey;
pub mod stuck;
pub mod unclosed;

mod closing;
mod conntrack;
mod listen;
mod paws;
mod ports;
mod time_wait;

use serde::Serialize;

pub use ports::choice as ephemeral;

use facts::{Facts, Namespace};
use finding::{Finding, Severity};
use settings::Explained;

/// Mini-sockets of a namespace, as a counter's name: `tw` of sockstat.
pub const MINIS: &str = "sockstat tw";
/// Sockets of the machine that nobody holds any more and that are still full ones: `orphan` of sockstat.
pub const ORPHANS: &str = "sockstat orphan";

/// The findings on a namespace.
const FINDINGS: [fn(&Namespace) -> Option<Finding>; 30] = [
    ports::reuse_without_timestamps,
    time_wait::overflow,
    time_wait::lowered,
    time_wait::fin_timeout,
    time_wait::vendor_timeout,
    time_wait::recycle,
    time_wait::aborted_by_linger,
    time_wait::aborted_unread,
    listen::accept_queue,
    listen::syn_queue,
    listen::syn_backlog,
    listen::cookies_always,
    listen::syn_backlog_without_say,
    listen::embryonic,
    listen::attempts,
    paws::rejected,
    paws::late_segments,
    closing::close_wait,
    closing::fin_wait2,
    closing::fin_wait2_held,
    closing::zero_window,
    closing::unacknowledged,
    closing::last_ack,
    given_up::orphans,
    given_up::out_of_memory,
    given_up::timeouts,
    conntrack::full,
    conntrack::drops,
    conntrack::insert_failed,
    conntrack::time_wait_clock,
];

/// The names of all findings, for programs.
pub const FINDING_IDS: [&str; 33] = [
    "ports-exhausted",
    "reuse-without-timestamps",
    "time-wait-overflow",
    "tw-buckets-lowered",
    "fin-timeout-changed",
    "tw-timeout-of-vendor",
    "tw-recycle-on",
    "tw-recycle-configured",
    "reset-by-linger",
    "reset-unread",
    "accept-queue-full",
    "syn-queue-full",
    "syn-backlog-short",
    "syncookies-always",
    "syn-backlog-without-say",
    "syn-recv-resets",
    "attempts-fail",
    "paws-rejects",
    "late-segments",
    "close-wait-pile",
    "close-wait-old",
    "fin-wait2-orphans",
    "fin-wait2-held",
    "fin-behind-zero-window",
    "fin-unacknowledged",
    "last-ack-unanswered",
    "orphans-near-limit",
    "reset-for-memory",
    "given-up",
    "conntrack-full",
    "conntrack-drops",
    "conntrack-clash",
    "conntrack-time-wait",
];

/// What the doctor says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DoctorReport {
    /// Findings worth changing now.
    pub now: usize,
    /// Findings of what happened before.
    pub before: usize,
    /// Things worth knowing.
    pub notes: usize,
    /// Nanoseconds between the two readings.
    pub window_ns: u64,
    /// The namespaces that were read.
    pub namespaces: Vec<String>,
    /// The findings, those that matter most first.
    pub findings: Vec<PlacedFinding>,
    /// The settings, each set of them once.
    pub settings: Vec<SameSettings>,
    /// How many namespaces could not be read.
    pub unread: usize,
    /// What could not be read, and why.
    pub unknown: Vec<Unknown>,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// What, and why.
    pub why: String,
    /// Where.
    pub namespaces: Vec<String>,
}

/// A finding and where it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacedFinding {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// The namespaces; none for what holds of the machine.
    pub namespaces: Vec<String>,
}

/// Namespaces with the same settings.
#[derive(Clone, Debug, Serialize)]
pub struct SameSettings {
    /// The namespaces.
    pub namespaces: Vec<String>,
    /// The settings, explained for the first of them.
    pub settings: Vec<Explained>,
}

/// What is worth changing and knowing.
pub fn examine(facts: &Facts) -> DoctorReport {
    let mut found: Vec<PlacedFinding> = Vec::new();
    found.extend(time_wait::configured_recycle(facts).map(|finding| PlacedFinding { finding, namespaces: Vec::new() }));
    for ns in &facts.namespaces {
        let one_each = FINDINGS.iter().filter_map(|find| find(ns));
        for finding in ports::exhausted(ns).into_iter().chain(one_each).map(Finding::consistent) {
            // What is the same in many namespaces is said once.
            match found.iter_mut().find(|other| other.finding == finding) {
                Some(same) => same.namespaces.push(ns.name.clone()),
                None => found.push(PlacedFinding { finding, namespaces: vec![ns.name.clone()] }),
            }
        }
    }
    found.sort_by_key(|found| found.finding.severity);
    let count = |severity| found.iter().filter(|found| found.finding.severity == severity).count();
    let mut unknown: Vec<Unknown> = Vec::new();
    let reasons = facts.namespaces.iter().flat_map(|ns| ns.not_known.iter().map(|why| (&ns.name, why)));
    for (name, why) in facts.unreadable.iter().map(|(name, why)| (name, why)).chain(reasons) {
        match unknown.iter_mut().find(|unknown| unknown.why == *why) {
            Some(same) => same.namespaces.push(name.clone()),
            None => unknown.push(Unknown { why: why.clone(), namespaces: vec![name.clone()] }),
        }
    }
    DoctorReport {
        now: count(Severity::Now),
        before: count(Severity::Before),
        notes: count(Severity::Note),
        window_ns: facts.namespaces.iter().map(|ns| ns.window_ns).min().unwrap_or_default(),
        namespaces: facts.namespaces.iter().map(|ns| ns.name.clone()).collect(),
        settings: folded(&facts.namespaces, &found),
        findings: found,
        unread: facts.unreadable.len(),
        unknown,
    }
}

/// Each set of settings once. What is explained by numbers is explained by the first namespace that has the set.
fn folded(namespaces: &[Namespace], found: &[PlacedFinding]) -> Vec<SameSettings> {
    let mut sets: Vec<(&Namespace, Vec<String>)> = Vec::new();
    for ns in namespaces {
        match sets.iter_mut().find(|(first, _)| settings::same(first, ns)) {
            Some((_, names)) => names.push(ns.name.clone()),
            None => sets.push((ns, vec![ns.name.clone()])),
        }
    }
    let explained = |(first, names): (&Namespace, Vec<String>)| SameSettings {
        settings: settings::explain(first, |setting| cited(setting, &names, found)),
        namespaces: names,
    };
    sets.into_iter().map(explained).collect()
}

/// Whether a finding in one of these namespaces is known by the setting.
fn cited(name: &str, namespaces: &[String], found: &[PlacedFinding]) -> bool {
    let here = |found: &&PlacedFinding| found.namespaces.iter().any(|name| namespaces.contains(name));
    let names = |evidence: &finding::Evidence| matches!(evidence, finding::Evidence::Setting { setting, .. } if setting == name);
    found.iter().filter(here).any(|found| found.finding.evidence.iter().any(names))
}

#[cfg(test)]
mod tests;
