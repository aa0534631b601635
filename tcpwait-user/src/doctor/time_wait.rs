//! TIME_WAIT: whether it is entered at all, how long it takes, and what is believed of that.

use super::{
    facts::{Facts, Namespace},
    finding::{
        Evidence, Finding,
        Severity::{Note, Now},
    },
    settings,
};

const MAX: &str = "net.ipv4.tcp_max_tw_buckets";
const FIN_TIMEOUT: &str = "net.ipv4.tcp_fin_timeout";
const RECYCLE: &str = "net.ipv4.tcp_tw_recycle";
const VENDOR: &str = "net.ipv4.tcp_tw_timeout";

const OVERFLOW: &str = "TcpExtTCPTimeWaitOverflow";

/// A share of the limit that is near it, in percent.
const NEAR: u64 = 90;

/// Connections reset in so short a time are no accident.
const MANY_RESETS: u64 = 10;

/// What is lost with a TIME_WAIT that is not entered.
const WHY_TIME_WAIT: &str = "a lower tcp_max_tw_buckets: without TIME_WAIT, late segments or a lost last ACK can break the next \
    connection on the same ports (RFC 1337)";

/// `tcp_time_wait` finds no room: as many mini-sockets as allowed, or no memory.
pub fn overflow(ns: &Namespace) -> Option<Finding> {
    let max = ns.settings.number(MAX).and_then(|max| u64::try_from(max).ok());
    let minis = ns.minis();
    let near = max.zip(minis).is_some_and(|(max, minis)| minis > 0 && minis * 100 >= max * NEAR);
    let severity = if near { Now } else { ns.when(&[OVERFLOW])? };
    let what = match ns.grown(OVERFLOW) {
        Some(1..) => "connections are closed without TIME_WAIT: tcp_max_tw_buckets is reached",
        _ if near => "TIME_WAIT is near the limit of tcp_max_tw_buckets; beyond, TIME_WAIT is skipped",
        _ => "connections were closed without TIME_WAIT: tcp_max_tw_buckets was reached",
    };
    let lowered = settings::default(ns, MAX).zip(max).is_some_and(|(default, max)| max < default.parse().unwrap_or(0));
    let default = settings::default(ns, MAX).unwrap_or_default();
    let finding = Finding::new("time-wait-overflow", severity, what)
        .known_by(ns.counted(&[OVERFLOW]))
        .known_by(minis.map(|minis| Evidence::gauge(super::MINIS, minis)))
        .known_by(ns.set(&[MAX]))
        .change_if(
            lowered,
            format!("set {MAX} back to this machine's default, {default}"),
            "256 bytes for each TIME_WAIT",
        )
        .change_if(!lowered, format!("raise {MAX}"), "256 bytes for each TIME_WAIT")
        .change(
            "open fewer connections and keep them open longer, or let the peer close first (`tcpwait stat` shows who does)",
            "TIME_WAIT moves to the side that closes first",
        );
    Some(finding.in_vain(WHY_TIME_WAIT).in_vain("tcp_fin_timeout: it does not shorten TIME_WAIT"))
}

/// Somebody wanted fewer TIME_WAITs, and it has not come to that.
pub fn lowered(ns: &Namespace) -> Option<Finding> {
    let (max, default) = (ns.settings.number(MAX)?, settings::default(ns, MAX)?.parse::<i64>().ok()?);
    if max >= default || overflow(ns).is_some() {
        return None;
    }
    let what = format!(
        "tcp_max_tw_buckets is lower than this machine's default of {default}: it does not shorten TIME_WAIT, but skips it beyond the limit, \
         and its protection (RFC 1337)"
    );
    Some(Finding::new("tw-buckets-lowered", Note, what).known_by(ns.set(&[MAX])))
}

/// The best known myth. `tcp_time_wait` sets the timer of a TIME_WAIT to TCP_TIMEWAIT_LEN whatever the setting (5.15 to 7.3).
pub fn fin_timeout(ns: &Namespace) -> Option<Finding> {
    if ns.settings.number(FIN_TIMEOUT)? == 60 {
        return None;
    }
    let what = format!(
        "tcp_fin_timeout was changed: it does not shorten TIME_WAIT, which takes {}; it limits how long an orphan's FIN_WAIT2 waits for \
         the peer's FIN",
        ns.time_wait_length()
    );
    Some(Finding::new("fin-timeout-changed", Note, what).known_by(ns.set(&[FIN_TIMEOUT])))
}

/// Alibaba Cloud Linux and its kin.
pub fn vendor_timeout(ns: &Namespace) -> Option<Finding> {
    let seconds = ns.settings.get(VENDOR).filter(|seconds| *seconds != "60")?;
    let what = format!(
        "TIME_WAIT takes {seconds} s, not 60: this vendor's kernel has {VENDOR} instead of a constant; late segments are \
         rejected for that long only"
    );
    Some(Finding::new("tw-timeout-of-vendor", Note, what).known_by(ns.set(&[VENDOR])))
}

/// A kernel that still has it.
pub fn recycle(ns: &Namespace) -> Option<Finding> {
    if ns.settings.number(RECYCLE)? == 0 {
        return None;
    }
    let what = "tcp_tw_recycle is on: it drops the SYNs of clients that share an address behind NAT";
    let finding = Finding::new("tw-recycle-on", Note, what).known_by(ns.set(&[RECYCLE]));
    Some(
        finding.change(
            format!("set {RECYCLE} to 0; kernels from 4.12 on do not have it"),
            "TIME_WAIT takes its 60 s again",
        ),
    )
}

/// A file sets what no kernel from 4.12 on has (4396e46187ca "tcp: remove tcp_tw_recycle").
pub fn configured_recycle(facts: &Facts) -> Option<Finding> {
    let known = facts.namespaces.iter().any(|ns| ns.settings.get(RECYCLE).is_some());
    let lines = facts.configured.iter().filter(|line| line.name == RECYCLE);
    let lines: Vec<Evidence> = lines
        .map(|line| Evidence::Line {
            file: line.file.clone(),
            line: line.line,
            setting: line.name.clone(),
            value: line.value.clone(),
        })
        .collect();
    if lines.is_empty() || known {
        return None;
    }
    let what = "a file sets tcp_tw_recycle, which does not exist since Linux 4.12: the line does nothing. It was removed because it \
        dropped the SYNs of clients that share an address behind NAT";
    let finding = Finding::new("tw-recycle-configured", Note, what).known_by(lines);
    Some(finding.change("remove the line", "none: this kernel has no such setting"))
}

/// `tcp_close` with SO_LINGER of 0 s, or data that came after close() (`tcp_rcv_state_process`).
pub fn aborted_by_linger(ns: &Namespace) -> Option<Finding> {
    const COUNTER: &str = "TcpExtTCPAbortOnData";
    if ns.grown(COUNTER)? < MANY_RESETS {
        return None;
    }
    let what = "connections end by RST, not FIN: closed with SO_LINGER of 0 s, or data came after the close. There is no TIME_WAIT \
        then, and data in flight is lost on both ends";
    let finding =
        Finding::new("reset-by-linger", Note, what).known_by(ns.counted(&[COUNTER, "TcpExtTCPAbortOnLinger"]));
    Some(finding.in_vain("SO_LINGER to avoid TIME_WAIT: it loses data"))
}

/// `tcp_close` with something left to read.
pub fn aborted_unread(ns: &Namespace) -> Option<Finding> {
    const COUNTER: &str = "TcpExtTCPAbortOnClose";
    if ns.grown(COUNTER)? < MANY_RESETS {
        return None;
    }
    let what = "connections end by RST, not FIN: a process closed them with unread data; the peer may lose \
        the end of the answer";
    Some(Finding::new("reset-unread", Note, what).known_by(ns.counted(&[COUNTER])))
}
