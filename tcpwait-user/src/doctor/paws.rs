//! Segments that come too late or with a clock of their own: what PAWS rejects, and what reaches a TIME_WAIT.

use super::{
    facts::Namespace,
    finding::{Finding, Severity::Note},
};

/// `tcp_validate_incoming`, `tcp_rcv_synsent_state_process`, `tcp_timewait_state_process`, `tcp_check_req`; the latter two only
/// where the kernel counts them (6.15 on).
const REJECTED: [&str; 4] = ["TcpExtPAWSEstab", "TcpExtPAWSActive", "TcpExtPAWSTimewait", "TcpExtTSEcrRejected"];

/// Timestamps that go backwards.
pub fn rejected(ns: &Namespace) -> Option<Finding> {
    if ns.grown_any(&REJECTED) == 0 {
        return None;
    }
    let what = "segments are rejected because their timestamp is older than the last one (PAWS): old duplicates, or a NAT or load balancer \
        that puts several machines with different clocks behind one address and port";
    let finding = Finding::new("paws-rejects", Note, what)
        .known_by(known_first(ns, &REJECTED))
        .known_by(ns.set(&["net.ipv4.tcp_timestamps"]));
    Some(finding.in_vain("tcp_timestamps = 0: it hides the cause, and turns off PAWS and tcp_tw_reuse"))
}

/// `tcp_timewait_state_process` answers, if not too often (`tcp_timewait_check_oow_rate_limit`).
pub fn late_segments(ns: &Namespace) -> Option<Finding> {
    const SKIPPED: [&str; 2] = ["TcpExtTCPACKSkippedTimeWait", "TcpExtTCPACKSkippedFinWait2"];
    if ns.grown_any(&SKIPPED) == 0 {
        return None;
    }
    let what = "segments arrive for connections in TIME_WAIT, so many that not all are answered: a peer or NAT did not see the end, or \
        reuses the ports too early. Each such segment restarts the 60 s; `tcpwait trace --state TIME_WAIT` shows which";
    Some(Finding::new("late-segments", Note, what).known_by(known_first(ns, &SKIPPED)))
}

/// The counters that grew before those that did not.
fn known_first(ns: &Namespace, counters: &[&str]) -> Vec<super::finding::Evidence> {
    let mut counters = counters.to_vec();
    counters.sort_by_key(|counter| std::cmp::Reverse(ns.grown(counter)));
    ns.counted(&counters)
}
