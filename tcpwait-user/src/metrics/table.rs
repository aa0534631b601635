//! Every metric there is, one row each. The exposition, docs/metrics.md and what contrib/ asks for are made from it or held against it, so that none can
//! name what does not exist.

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Grows only, from 0 at the start of `tcpwait export`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times, counted by bounds.
    Histogram,
    /// Says something in its labels; always 1.
    Info,
}

impl MetricKind {
    /// Its name in OpenMetrics.
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::Info => "info",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without the unit and without what OpenMetrics appends to counters.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its unit, which the exposed name ends in; empty for a number of things.
    pub unit: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means: one sentence, without its full stop.
    pub help: &'static str,
    /// When a series of it is absent, as a clause; empty: never.
    pub absent: &'static str,
}

impl Metric {
    /// Its name as Prometheus stores it; of a histogram, that of the family.
    pub fn exposed(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!("_{}", self.unit) };
        let suffix = match self.kind {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            MetricKind::Gauge | MetricKind::Histogram => "",
        };
        format!("{}{unit}{suffix}", self.name)
    }
}

const NEVER: &str = "";

const fn metric(
    name: &'static str,
    kind: MetricKind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    absent: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help, absent }
}

/// Sockets by state.
pub const SOCKETS: Metric = metric(
    "tcpwait_sockets",
    MetricKind::Gauge,
    "",
    &["state"],
    "Sockets in the state now, in all network namespaces that are traced",
    "until the sockets that are older than the exporter have been read; state=\"syn_sent\": while not all connections are followed",
);

/// Steps of the state machine.
pub const TRANSITIONS: Metric = metric(
    "tcpwait_state_transitions",
    MetricKind::Counter,
    "",
    &["from", "to"],
    "Steps from one state to another; from=\"unknown\" where what came before was not seen",
    NEVER,
);

/// Times in states other than TIME_WAIT.
pub const STATE_TIMES: Metric = metric(
    "tcpwait_state_duration",
    MetricKind::Histogram,
    "seconds",
    &["state"],
    "Time spent in the state, by sockets that left it and whose time is known",
    NEVER,
);

/// Entries to TIME_WAIT.
pub const TIME_WAIT_ENTRIES: Metric =
    metric("tcpwait_time_wait_entries", MetricKind::Counter, "", &[], "Connections that entered TIME_WAIT", NEVER);

/// Exits from TIME_WAIT.
pub const TIME_WAIT_EXITS: Metric = metric(
    "tcpwait_time_wait_exits",
    MetricKind::Counter,
    "",
    &["reason"],
    "Connections that left TIME_WAIT, by reason",
    NEVER,
);

/// Times in TIME_WAIT.
pub const TIME_WAIT_TIMES: Metric = metric(
    "tcpwait_time_wait_duration",
    MetricKind::Histogram,
    "seconds",
    &["reason"],
    "Time spent in TIME_WAIT, by the reason for which it was left",
    NEVER,
);

/// What is normal.
pub const TIME_WAIT_NORMAL: Metric = metric(
    "tcpwait_time_wait_normal",
    MetricKind::Gauge,
    "seconds",
    &["bound"],
    "The shortest and the longest time that this kernel's timer gives a TIME_WAIT that nothing restarts",
    "until the kernel's tick rate is known",
);

/// What is not.
pub const TIME_WAIT_OFF_TIME: Metric = metric(
    "tcpwait_time_wait_off_time",
    MetricKind::Counter,
    "",
    &["when"],
    "TIME_WAITs whose timer ran out more than 0.25 s outside of what is normal, and that nothing had restarted",
    NEVER,
);

/// Restarts.
pub const TIME_WAIT_RESTARTS: Metric = metric(
    "tcpwait_time_wait_restarts",
    MetricKind::Counter,
    "",
    &["cause"],
    "Late segments that restarted the clock of a TIME_WAIT, counted when it is left",
    NEVER,
);

/// Overflows.
pub const TIME_WAIT_OVERFLOWS: Metric = metric(
    "tcpwait_time_wait_overflows",
    MetricKind::Counter,
    "",
    &[],
    "Connections that did not enter TIME_WAIT because tcp_max_tw_buckets was reached",
    NEVER,
);

/// Who closed first.
pub const CLOSED_FIRST: Metric = metric(
    "tcpwait_connections_closed",
    MetricKind::Counter,
    "",
    &["first"],
    "Connections that were closed, by the side that closed first; neither: the connection ended without a FIN",
    NEVER,
);

/// Ends.
pub const ENDS: Metric = metric(
    "tcpwait_connection_ends",
    MetricKind::Counter,
    "",
    &["reason", "detail"],
    "Full sockets that came to CLOSE, by reason and, where there is more to say, by detail; not those that TIME_WAIT took over",
    NEVER,
);

/// Times before an RST.
pub const RESET_TIMES: Metric = metric(
    "tcpwait_reset_after",
    MetricKind::Histogram,
    "seconds",
    &[],
    "Time in its last state of a connection that was made and that an RST from the peer's side ended; not in TIME_WAIT",
    NEVER,
);

/// Ends of orphans.
pub const ORPHAN_EXITS: Metric = metric(
    "tcpwait_orphan_exits",
    MetricKind::Counter,
    "",
    &["reason"],
    "Connections without a process that left FIN_WAIT2 without entering TIME_WAIT, by reason",
    NEVER,
);

/// Outcomes of SYN_RECV.
pub const SYN_RECV_EXITS: Metric = metric(
    "tcpwait_syn_recv_exits",
    MetricKind::Counter,
    "",
    &["outcome"],
    "Connections that left SYN_RECV, by what became of them",
    NEVER,
);

/// SYN-ACKs sent again.
pub const SYN_ACK_RETRANSMITS: Metric = metric(
    "tcpwait_syn_ack_retransmits",
    MetricKind::Counter,
    "",
    &[],
    "SYN-ACKs that were sent again, of connections that left SYN_RECV",
    NEVER,
);

/// Drops of listeners.
pub const LISTEN_EVENTS: Metric = metric(
    "tcpwait_listen_events",
    MetricKind::Counter,
    "",
    &["counter"],
    "Growth since the start of the kernel's TcpExt counters of SYNs and ACKs that listeners dropped or answered with cookies",
    "where the kernel has no such counter, and until it was read twice",
);

/// Connects.
pub const CONNECTS: Metric =
    metric("tcpwait_connects", MetricKind::Counter, "", &[], "Connects that left SYN_SENT, connected or not", NEVER);

/// Connects whose SYN was sent again.
pub const CONNECTS_RETRANSMITTED: Metric = metric(
    "tcpwait_connects_retransmitted",
    MetricKind::Counter,
    "",
    &[],
    "Of those, the connects whose SYN was sent again, once or more",
    NEVER,
);

/// Calls that failed.
pub const FAILED_CALLS: Metric = metric(
    "tcpwait_failed_calls",
    MetricKind::Counter,
    "",
    &["call", "why"],
    "Calls that failed, by the call and why; in OpenMetrics the last one's process and address are in the exemplar",
    "where no hook of this kernel tells of such a call",
);

/// Destinations by how full.
pub const PORT_DESTINATIONS: Metric = metric(
    "tcpwait_port_destinations",
    MetricKind::Gauge,
    "",
    &["taken"],
    "Destinations of outgoing connections, by the share of the local ports that connect() cannot take for them now",
    "until the sockets that are older than the exporter have been read, and while not all connections are followed",
);

/// The fullest destination.
pub const PORTS_FULLEST_USED: Metric = metric(
    "tcpwait_ports_fullest_used",
    MetricKind::Gauge,
    "",
    &[],
    "Local ports that connect() cannot take now for the destination that has the fewest left",
    "where nothing connects, where the port range could not be read, and while not all connections are followed",
);

/// Its limit.
pub const PORTS_FULLEST_LIMIT: Metric = metric(
    "tcpwait_ports_fullest_limit",
    MetricKind::Gauge,
    "",
    &[],
    "Local ports that connect() may take for that destination",
    "where nothing connects, where the port range could not be read, and while not all connections are followed",
);

/// The forecast.
pub const PORTS_SOONEST_FULL: Metric = metric(
    "tcpwait_ports_soonest_full",
    MetricKind::Gauge,
    "seconds",
    &[],
    "Time until the ports for the first destination run out, at the present rate; 0: they have",
    "where none will, and while not all connections are followed",
);

/// Losses.
pub const EVENTS_LOST: Metric = metric(
    "tcpwait_events_lost",
    MetricKind::Counter,
    "",
    &["cause"],
    "Events that were lost, by cause: what is counted from them is at least",
    "cause=\"withheld\": where the kernel does not tell",
);

/// Of how many connections one is told of.
pub const SAMPLE: Metric = metric(
    "tcpwait_sample_one_in",
    MetricKind::Gauge,
    "",
    &[],
    "1 connection in so many is followed now; 1: all. While it is more, what is counted of connections is multiplied by it, and an estimate",
    NEVER,
);

/// What was left out for that.
pub const LEFT_OUT: Metric = metric(
    "tcpwait_records_left_out",
    MetricKind::Counter,
    "",
    &[],
    "Records of connections that were not among those followed, as tcpwait fell behind or took more than --max-cpu",
    NEVER,
);

/// What does not fit.
pub const UNMATCHED: Metric = metric(
    "tcpwait_unmatched_events",
    MetricKind::Counter,
    "",
    &["what"],
    "Events that do not continue what was seen before, which is a sign of losses",
    NEVER,
);

/// Agreement with the kernel.
pub const AUDIT_DIFFERENCE: Metric = metric(
    "tcpwait_audit_difference",
    MetricKind::Gauge,
    "",
    &["counter"],
    "By how much what was seen differs from the kernel's own counter, beyond what is known to be lost; 0: they agree",
    "where it was not compared",
);

/// What this kernel lets be seen.
pub const OBSERVED: Metric = metric(
    "tcpwait_observed",
    MetricKind::Gauge,
    "",
    &["what"],
    "Whether this kernel gives the hook that tells of it; where it is 0, tcpwait probes says why and what is unknown",
    NEVER,
);

/// The version.
pub const BUILD: Metric = metric(
    "tcpwait_build",
    MetricKind::Info,
    "",
    &["version", "kernel"],
    "The exporter and the kernel it runs on",
    NEVER,
);

/// Entries by group.
pub const GROUP_ENTRIES: Metric = metric(
    "tcpwait_time_wait_entries_by_group",
    MetricKind::Counter,
    "",
    &["process", "listener", "cgroup", "namespace", "pod", "container", "netns", "other"],
    "Connections that entered TIME_WAIT, by the groups asked for with --label; other=\"true\": all further groups",
    "unless --label asks for groups; labels that were not asked for are absent",
);

/// Whether there are more groups than slots.
pub const GROUP_SLOTS_FULL: Metric = metric(
    "tcpwait_group_slots_full",
    MetricKind::Gauge,
    "",
    &[],
    "Whether --top groups have a series of their own, so that any further group counts as other",
    "unless --label asks for groups",
);

/// CPU time of the exporter.
pub const PROCESS_CPU: Metric = metric(
    "process_cpu",
    MetricKind::Counter,
    "seconds",
    &[],
    "CPU time of the exporter's tracing process, in user and kernel mode",
    "where /proc/self cannot be read",
);

/// Memory of the exporter.
pub const PROCESS_RESIDENT: Metric = metric(
    "process_resident_memory",
    MetricKind::Gauge,
    "bytes",
    &[],
    "Resident memory of that process",
    "where /proc/self cannot be read",
);

/// Its address space.
pub const PROCESS_VIRTUAL: Metric = metric(
    "process_virtual_memory",
    MetricKind::Gauge,
    "bytes",
    &[],
    "Virtual memory of that process",
    "where /proc/self cannot be read",
);

/// Its descriptors.
pub const PROCESS_FDS: Metric = metric(
    "process_open_fds",
    MetricKind::Gauge,
    "",
    &[],
    "Open file descriptors of that process",
    "where /proc/self cannot be read",
);

/// Their limit.
pub const PROCESS_MAX_FDS: Metric = metric(
    "process_max_fds",
    MetricKind::Gauge,
    "",
    &[],
    "File descriptors that it may open",
    "where /proc/self cannot be read",
);

/// Its start.
pub const PROCESS_START: Metric = metric(
    "process_start_time",
    MetricKind::Gauge,
    "seconds",
    &[],
    "When that process began, in seconds since 1970",
    "where /proc/self cannot be read",
);

/// Every metric, in the order in which they are exposed.
pub const ALL: [&Metric; 39] = [
    &SOCKETS,
    &TRANSITIONS,
    &STATE_TIMES,
    &TIME_WAIT_ENTRIES,
    &TIME_WAIT_EXITS,
    &TIME_WAIT_TIMES,
    &TIME_WAIT_NORMAL,
    &TIME_WAIT_OFF_TIME,
    &TIME_WAIT_RESTARTS,
    &TIME_WAIT_OVERFLOWS,
    &CLOSED_FIRST,
    &ENDS,
    &RESET_TIMES,
    &ORPHAN_EXITS,
    &SYN_RECV_EXITS,
    &SYN_ACK_RETRANSMITS,
    &LISTEN_EVENTS,
    &CONNECTS,
    &CONNECTS_RETRANSMITTED,
    &FAILED_CALLS,
    &PORT_DESTINATIONS,
    &PORTS_FULLEST_USED,
    &PORTS_FULLEST_LIMIT,
    &PORTS_SOONEST_FULL,
    &EVENTS_LOST,
    &SAMPLE,
    &LEFT_OUT,
    &UNMATCHED,
    &AUDIT_DIFFERENCE,
    &OBSERVED,
    &BUILD,
    &GROUP_ENTRIES,
    &GROUP_SLOTS_FULL,
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_START,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ALL, GROUP_ENTRIES, MetricKind};

    /// What a target has by itself: a label of ours of the same name would come out as `exported_…`.
    const OF_TARGETS: [&str; 9] =
        ["instance", "job", "service", "owner", "namespace", "pod", "container", "endpoint", "node"];

    /// Those of them that are what --label pod counts by, as everybody calls them: contrib/kubernetes/podmonitor.yaml takes the target's own away.
    const OF_PODS: [&str; 3] = ["namespace", "pod", "container"];

    #[test]
    fn names_are_those_of_the_rules() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.exposed();
            assert!(name.starts_with("tcpwait_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(
                !metric.name.ends_with("_total") && !metric.name.ends_with("_info"),
                "{name}: appended by its kind"
            );
            assert!(metric.kind != MetricKind::Histogram || metric.unit == "seconds", "{name}: times are in seconds");
            assert!(!metric.help.ends_with('.') && metric.help.is_ascii(), "{name}: {}", metric.help);
            let may_have =
                |label: &&str| !OF_TARGETS.contains(label) || (metric == &GROUP_ENTRIES && OF_PODS.contains(label));
            assert!(metric.labels.iter().all(may_have), "{name}: {:?}", metric.labels);
            assert!(names.insert(name.clone()), "{name} is there twice");
        }
    }
}
