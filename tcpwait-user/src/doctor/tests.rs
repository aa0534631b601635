//! Findings on constructed facts: each where it belongs, none where nothing is known, and what holds of all of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr};

use super::{
    DoctorReport, examine,
    facts::{Configured, Facts, Namespace},
    finding::{Evidence, Severity},
    socket::{Owner, SurveyedSocket},
    sockets::{DestinationUse, Sockets, Unacknowledged},
    stuck::{Blocked, HalfClosed},
    survey::{Before, Bounds, Survey},
    unclosed::{Keeper, Unclosed},
};
use crate::{aggregate::ports::settings::PortSettings, tcp::State};

const TIME_WAIT_OVERFLOW: &str = "TcpExtTCPTimeWaitOverflow";

/// As the kernel makes one on a machine with 262,144 hash buckets, after some traffic.
fn healthy() -> Namespace {
    let mut ns = Namespace { name: "net:[1]".to_owned(), window_ns: 3_000_000_000, ..Namespace::default() };
    ns.settings.0.insert("net.ipv4.tcp_ehash_entries".to_owned(), "262144".to_owned());
    for name in super::settings::names() {
        if let Some(default) = super::settings::default(&ns, name).filter(|_| !name.ends_with("tcp_tw_timeout")) {
            ns.settings.0.insert(name.to_owned(), default);
        }
    }
    set(&mut ns, "net.netfilter.nf_conntrack_max", "262144");
    set(&mut ns, "net.netfilter.nf_conntrack_count", "12");
    for (counter, earlier, later) in
        [("TcpActiveOpens", 100, 200), ("TcpPassiveOpens", 100, 200), ("TcpAttemptFails", 3, 5), ("TcpExtTW", 90, 190)]
    {
        count(&mut ns, counter, earlier, later);
    }
    for counter in [super::MINIS, super::ORPHANS, TIME_WAIT_OVERFLOW, "TcpExtListenOverflows", "nf_conntrack drop"] {
        count(&mut ns, counter, 0, 0);
    }
    ns.sockets = Some(Sockets::default());
    ns
}

fn set(ns: &mut Namespace, name: &str, value: &str) {
    ns.settings.0.insert(name.to_owned(), value.to_owned());
}

fn count(ns: &mut Namespace, counter: &str, earlier: u64, later: u64) {
    ns.earlier.0.insert(counter.to_owned(), earlier);
    ns.later.0.insert(counter.to_owned(), later);
}

fn report(ns: Namespace) -> DoctorReport {
    examine(&Facts { namespaces: vec![ns], ..Facts::default() })
}

fn ids(ns: Namespace) -> Vec<(&'static str, Severity)> {
    let report = report(ns);
    for found in &report.findings {
        let finding = &found.finding;
        assert!(!finding.evidence.is_empty(), "nothing is said without evidence: {finding:?}");
        assert!(finding.severity != Severity::Now || !finding.advice.is_empty(), "worth changing what? {finding:?}");
        assert!(finding.advice.iter().all(|advice| !advice.risk.is_empty()), "{finding:?}");
    }
    report.findings.iter().map(|found| (found.finding.id, found.finding.severity)).collect()
}

fn changed(change: impl FnOnce(&mut Namespace)) -> Vec<(&'static str, Severity)> {
    let mut ns = healthy();
    change(&mut ns);
    ids(ns)
}

#[test]
fn a_healthy_machine_has_nothing_to_do() {
    assert_eq!(ids(healthy()), []);
    let settings = &report(healthy()).settings[0].settings;
    assert!(settings.len() == 21 && settings.iter().all(|setting| setting.fine), "{settings:?}");
}

#[test]
fn nothing_is_found_where_nothing_is_known() {
    assert_eq!(ids(Namespace::default()), []);
    let mut odd = healthy();
    for (name, value) in &mut odd.settings.0 {
        *value = if name.len() % 2 == 0 { "odd".to_owned() } else { "-1".to_owned() };
    }
    assert!(ids(odd).iter().all(|(_, severity)| *severity == Severity::Note));
    let mut backwards = healthy();
    count(&mut backwards, "TcpExtTCPAbortOnTimeout", 9, 3);
    assert_eq!(ids(backwards), []);
}

/// By counters: what happened between the readings, or before only.
#[test]
fn now_is_not_before() {
    use Severity::{Before, Note, Now};
    for (counter, id, now, before) in [
        (TIME_WAIT_OVERFLOW, "time-wait-overflow", Now, Some(Before)),
        ("TcpExtListenOverflows", "accept-queue-full", Now, Some(Before)),
        ("TcpExtTCPReqQFullDrop", "syn-queue-full", Now, Some(Before)),
        ("TcpExtTCPReqQFullDoCookies", "syn-queue-full", Now, Some(Before)),
        ("TcpExtTCPAbortOnMemory", "reset-for-memory", Now, Some(Before)),
        ("nf_conntrack drop", "conntrack-drops", Note, None),
        ("nf_conntrack early_drop", "conntrack-full", Now, Some(Before)),
        ("nf_conntrack insert_failed", "conntrack-clash", Note, None),
        ("TcpExtPAWSEstab", "paws-rejects", Note, None),
        ("TcpExtPAWSActive", "paws-rejects", Note, None),
        ("TcpExtPAWSTimewait", "paws-rejects", Note, None),
        ("TcpExtTSEcrRejected", "paws-rejects", Note, None),
        ("TcpExtTCPACKSkippedTimeWait", "late-segments", Note, None),
        ("TcpExtTCPAbortOnTimeout", "given-up", Note, None),
        ("TcpExtTCPAbortOnData", "reset-by-linger", Note, None),
        ("TcpExtTCPAbortOnClose", "reset-unread", Note, None),
        ("TcpExtEmbryonicRsts", "syn-recv-resets", Note, None),
    ] {
        assert_eq!(changed(|ns| count(ns, counter, 5, 25)), [(id, now)], "{counter}");
        let expected: Vec<_> = before.map(|severity| (id, severity)).into_iter().collect();
        assert_eq!(changed(|ns| count(ns, counter, 25, 25)), expected, "{counter}");
    }
    // Refused connections are everyday, unless they are many.
    assert_eq!(changed(|ns| count(ns, "TcpAttemptFails", 0, 9)), []);
    assert_eq!(changed(|ns| count(ns, "TcpAttemptFails", 0, 10)), [("attempts-fail", Note)]);
}

/// By settings alone: known, not recommended.
#[test]
fn settings_that_do_not_do_what_is_said() {
    use Severity::Note;
    for (setting, value, id, severity) in [
        ("net.ipv4.tcp_fin_timeout", "15", "fin-timeout-changed", Note),
        ("net.ipv4.tcp_fin_timeout", "120", "fin-timeout-changed", Note),
        ("net.ipv4.tcp_max_tw_buckets", "5000", "tw-buckets-lowered", Note),
        ("net.ipv4.tcp_tw_timeout", "5", "tw-timeout-of-vendor", Note),
        ("net.ipv4.tcp_tw_recycle", "1", "tw-recycle-on", Note),
        ("net.ipv4.tcp_timestamps", "0", "reuse-without-timestamps", Note),
        ("net.ipv4.tcp_syncookies", "2", "syncookies-always", Note),
        ("net.ipv4.tcp_max_syn_backlog", "65535", "syn-backlog-without-say", Note),
        ("net.netfilter.nf_conntrack_tcp_timeout_time_wait", "30", "conntrack-time-wait", Note),
    ] {
        assert_eq!(changed(|ns| set(ns, setting, value)), [(id, severity)], "{setting} = {value}");
    }
    for (setting, value) in
        [("net.ipv4.tcp_max_tw_buckets", "500000"), ("net.ipv4.tcp_tw_reuse", "1"), ("net.ipv4.tcp_rfc1337", "1")]
    {
        assert_eq!(changed(|ns| set(ns, setting, value)), [], "{setting} = {value}");
    }
    let vendor = changed(|ns| {
        set(ns, "net.ipv4.tcp_tw_timeout", "5");
        set(ns, "net.ipv4.tcp_fin_timeout", "15");
    });
    assert_eq!(vendor.len(), 2);
}

#[test]
fn the_length_of_time_wait_is_no_constant_on_a_vendors_kernel() {
    let mut ns = healthy();
    set(&mut ns, "net.ipv4.tcp_fin_timeout", "15");
    assert!(report(ns.clone()).findings[0].finding.what.contains("60 s by a constant"));
    set(&mut ns, "net.ipv4.tcp_tw_timeout", "5");
    let all: String = report(ns).findings.iter().map(|found| found.finding.what.clone()).collect();
    assert!(all.contains("5 s by net.ipv4.tcp_tw_timeout") && !all.contains("60 s by a constant"), "{all}");
}

#[test]
fn a_file_that_sets_tcp_tw_recycle() {
    let line = Configured {
        file: "/etc/sysctl.d/99-tune.conf".to_owned(),
        line: 7,
        name: "net.ipv4.tcp_tw_recycle".to_owned(),
        value: "1".to_owned(),
    };
    let mut facts = Facts { namespaces: vec![healthy()], configured: vec![line], ..Facts::default() };
    let report = examine(&facts);
    assert_eq!((report.now, report.notes, report.findings[0].finding.id), (0, 1, "tw-recycle-configured"));
    facts.configured[0].name = "net.ipv4.tcp_sack".to_owned();
    assert_eq!(examine(&facts).findings, []);
}

fn destination(laddr: [u8; 4], used: u64, time_wait: u64, young: u64) -> Sockets {
    let destination = DestinationUse {
        interface: None,
        laddr: IpAddr::V4(Ipv4Addr::from(laddr)),
        remote: (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 443),
        used,
        established: 0,
        time_wait,
        young,
    };
    Sockets { destinations: vec![destination], ..Sockets::default() }
}

/// 28,232 ports are there by default, and TIME_WAIT is in the way where connect() may not take it over.
#[test]
fn ports_that_run_out() {
    let exhausted = [("ports-exhausted", Severity::Now)];
    let with = |sockets: Sockets, settings: &[(&str, &str)]| {
        changed(|ns| {
            ns.sockets = Some(sockets);
            settings.iter().for_each(|(name, value)| set(ns, name, value));
        })
    };
    let remote = [10, 0, 0, 1];
    assert_eq!(with(destination(remote, 22_585, 0, 0), &[]), []);
    assert_eq!(with(destination(remote, 22_586, 0, 0), &[]), exhausted);
    assert_eq!(with(destination(remote, 22_586, 22_000, 10), &[]), exhausted);
    let reuse = [("net.ipv4.tcp_tw_reuse", "1")];
    assert_eq!(with(destination(remote, 22_586, 22_000, 10), &reuse), []);
    assert_eq!(with(destination(remote, 28_000, 28_000, 23_000), &reuse), exhausted, "none is old enough");
    assert_eq!(with(destination([127, 0, 0, 1], 28_000, 28_000, 10), &[]), [], "loopback may by default");
    let reserved = [("net.ipv4.ip_local_reserved_ports", "32768-60000,70,8080-9000")];
    assert_eq!(with(destination(remote, 800, 0, 0), &reserved), exhausted);
    assert_eq!(with(destination(remote, 700, 0, 0), &reserved), []);
}

/// Each destination that runs out has its finding, with what has its ports: a pool does not help where connections are kept.
#[test]
fn ports_of_several_destinations() {
    let mut ns = healthy();
    let mut sockets = destination([10, 0, 0, 1], 28_000, 28_000, 0);
    let kept = DestinationUse { used: 28_232, established: 28_000, time_wait: 0, ..sockets.destinations[0].clone() };
    sockets.destinations.push(DestinationUse { remote: (kept.remote.0, 444), ..kept });
    ns.sockets = Some(sockets);
    let found = report(ns).findings;
    let advice: Vec<&str> = found.iter().map(|found| found.finding.advice[0].change.as_str()).collect();
    assert!(
        advice[0].starts_with("open fewer connections at a time") && advice[1].starts_with("keep connections open"),
        "{advice:?}"
    );
    assert_eq!(found.len(), 2);
    assert!(found[0].finding.in_vain.is_empty() && !found[1].finding.in_vain.is_empty(), "{found:?}");
}

#[test]
fn piles_and_orphans() {
    let old_pile = |stuck, window_ns, oldest_ms| {
        changed(|ns| {
            ns.window_ns = window_ns;
            let keeper = Keeper::Process(Some(Owner { pid: 7, comm: "leaky".to_owned(), others: 0 }));
            let unclosed = vec![Unclosed { keeper, listener: None, stuck, unread: 0, oldest_ms }];
            ns.sockets = Some(Sockets { unclosed, close_wait: stuck, ..Sockets::default() });
        })
    };
    let pile = |stuck, window_ns| old_pile(stuck, window_ns, 3_000);
    assert_eq!(old_pile(1, 3_000_000_000, 300_000), [("close-wait-old", Severity::Note)]);
    assert_eq!(old_pile(1, 3_000_000_000, 299_999), []);
    assert_eq!(pile(10, 3_000_000_000), [("close-wait-pile", Severity::Now)]);
    assert_eq!((pile(9, 3_000_000_000), pile(10, 10_000_000)), (vec![], vec![]));
    let orphaned = |stale| {
        let sockets = Sockets { orphaned_fin_wait2: 3000, stale_fin_wait2: stale, ..Sockets::default() };
        changed(|ns| ns.sockets = Some(sockets))
    };
    assert_eq!((orphaned(99), orphaned(100)), (vec![], vec![("fin-wait2-orphans", Severity::Now)]));
    let orphans = |number| changed(|ns| count(ns, super::ORPHANS, 0, number));
    assert_eq!((orphans(32_767), orphans(32_768)), (vec![], vec![("orphans-near-limit", Severity::Now)]));
    let tracked = |number: &str| changed(|ns| set(ns, "net.netfilter.nf_conntrack_count", number));
    assert_eq!((tracked("209715"), tracked("209716")), (vec![], vec![("conntrack-full", Severity::Now)]));
}

/// Many of one process, or any for long; and what was closed behind a window of 0.
#[test]
fn half_closed_and_blocked() {
    let half_closed = |stuck, oldest_ms, window_ns| {
        let owner = Some(Owner { pid: 7, comm: "half".to_owned(), others: 0 });
        let half_closed = vec![HalfClosed { owner, stuck, unread: 0, keepalive: 0, oldest_ms }];
        changed(|ns| {
            ns.window_ns = window_ns;
            ns.sockets = Some(Sockets { half_closed, ..Sockets::default() });
        })
    };
    let found = |severity| [("fin-wait2-held", severity)];
    assert_eq!(half_closed(10, 3_000, 3_000_000_000), found(Severity::Now));
    assert_eq!(half_closed(1, 300_000, 3_000_000_000), found(Severity::Note));
    assert_eq!((half_closed(9, 299_999, 3_000_000_000), half_closed(10, 300_000, 10_000_000)), (vec![], vec![]));
    let blocked = |fin_wait1, last_ack, answered| {
        let mut ns = healthy();
        let blocked = Blocked { fin_wait1, last_ack, answered, held: 0, bytes: 9, towards: None };
        ns.sockets = Some(Sockets { blocked, ..Sockets::default() });
        report(ns).findings.first().map(|found| (found.finding.id, found.finding.what.clone()))
    };
    assert_eq!(blocked(5, 4, 9), None);
    for (answered, says) in [(10, "do not read"), (0, "may be gone"), (5, "kernels of some")] {
        let (id, what) = blocked(6, 4, answered).unwrap();
        assert!(id == "fin-behind-zero-window" && what.contains(says), "{what}");
    }
}

#[test]
fn fins_that_nobody_acknowledges() {
    let with = |fin_wait1, last_ack, again: u64, window_ns| {
        changed(|ns| {
            ns.window_ns = window_ns;
            let unacknowledged = Unacknowledged { fin_wait1, last_ack, fin_only: 1, unsent: 0 };
            ns.sockets = Some(Sockets { unacknowledged, ..Sockets::default() });
            count(ns, "TcpRetransSegs", 5, 5 + again);
        })
    };
    let (fins, last) = (("fin-unacknowledged", Severity::Now), ("last-ack-unanswered", Severity::Now));
    assert_eq!(with(300, 200, 40, 3_000_000_000), [fins, last]);
    assert_eq!((with(5, 5, 1, 3_000_000_000), with(9, 10, 1, 3_000_000_000)), (vec![fins], vec![last]));
    assert_eq!((with(5, 4, 1, 3_000_000_000), with(9, 9, 9, 1_000)), (vec![], vec![]));
}

/// A firewall on this machine: nothing is sent, so nothing is sent again.
#[test]
fn fins_that_do_not_leave() {
    let said = |unsent| {
        let mut ns = healthy();
        let unacknowledged = Unacknowledged { unsent, ..Unacknowledged::default() };
        ns.sockets = Some(Sockets { unacknowledged, ..Sockets::default() });
        report(ns).findings.first().map(|found| found.finding.what.clone())
    };
    assert_eq!(said(9), None);
    assert!(said(10).is_some_and(|what| what.contains("does not leave")));
}

/// `tcp_write_err` ends what was connected and what was not.
#[test]
fn connects_that_time_out_are_no_lost_connections() {
    let with = |timeouts, attempts| {
        changed(|ns| {
            count(ns, "TcpExtTCPAbortOnTimeout", 0, timeouts);
            count(ns, "TcpAttemptFails", 0, attempts);
        })
    };
    let (given_up, attempts) = (("given-up", Severity::Note), ("attempts-fail", Severity::Note));
    assert_eq!((with(20, 20), with(5, 9)), (vec![attempts], vec![]));
    assert_eq!((with(3, 2), with(30, 20)), (vec![given_up], vec![attempts, given_up]));
}

/// A clash counts as a drop, too; and a table that is full now says so.
#[test]
fn a_clash_is_no_full_table() {
    let with = |drop, failed, full: &str| {
        changed(|ns| {
            count(ns, "nf_conntrack drop", 0, drop);
            count(ns, "nf_conntrack insert_failed", 0, failed);
            set(ns, "net.netfilter.nf_conntrack_count", full);
        })
    };
    assert_eq!(with(7, 7, "12"), [("conntrack-clash", Severity::Note)]);
    assert_eq!(with(7, 0, "262144"), [("conntrack-full", Severity::Now)]);
}

#[test]
fn what_happened_before_is_not_known_by_what_grows_now() {
    let mut ns = healthy();
    count(&mut ns, "TcpExtListenOverflows", 9, 9);
    count(&mut ns, "TcpExtListenDrops", 9, 90);
    let report = report(ns);
    let finding = &report.findings[0].finding;
    assert_eq!((finding.id, finding.severity), ("accept-queue-full", Severity::Before));
    let cited = |counter: &str| {
        finding
            .evidence
            .iter()
            .any(|evidence| matches!(evidence, Evidence::Counter { counter: name, .. } if name == counter))
    };
    assert!(cited("TcpExtListenOverflows") && !cited("TcpExtListenDrops"), "{finding:?}");
}

#[test]
fn none_left_is_not_about_to_run_out() {
    let said = |used| {
        let mut ns = healthy();
        set(&mut ns, "net.ipv4.ip_local_port_range", "10000 12999");
        ns.sockets = Some(destination([10, 0, 0, 1], used, 0, 0));
        report(ns).findings[0].finding.what.clone()
    };
    assert!(said(3000).contains("has run out") && said(2999).contains("is about to run out"), "{}", said(3000));
    // A port that somebody listens on is not there for connect().
    let mut ns = healthy();
    set(&mut ns, "net.ipv4.ip_local_port_range", "10000 12999");
    ns.sockets = Some(Sockets { served: 1, ..destination([10, 0, 0, 1], 2999, 0, 0) });
    assert!(report(ns).findings[0].finding.what.contains("2999 of 2999"));
}

/// With sockets of its own.
fn named(number: u64, like: &Namespace) -> Namespace {
    let sockets = Some(Sockets { time_wait: number, ..Sockets::default() });
    Namespace { name: format!("net:[{number}]"), sockets, ..like.clone() }
}

#[test]
fn what_is_the_same_is_said_once() {
    let mut changed = healthy();
    set(&mut changed, "net.ipv4.tcp_fin_timeout", "15");
    let namespaces: Vec<Namespace> = (0..5).map(|n| named(n, &changed)).collect();
    let facts = Facts { namespaces, unreadable: vec![("net:[9]".to_owned(), "no".to_owned())], ..Facts::default() };
    let report = examine(&facts);
    assert_eq!((report.findings.len(), report.settings.len(), report.notes, report.unread), (1, 1, 1, 1));
    assert_eq!(report.findings[0].namespaces.len(), 5);
    let fin_timeout = report.settings[0].settings.iter().find(|setting| setting.name.ends_with("fin_timeout")).unwrap();
    assert!(!fin_timeout.fine);
}

#[test]
fn sockets_are_told_one_by_one() {
    let at = |port| (IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let socket = |state, local, remote, cookie| SurveyedSocket {
        bound_dev_if: 0,
        state,
        mini: state == State::TimeWait,
        local: at(local),
        remote: at(remote),
        left_ms: 30_000,
        receive_queue: 0,
        send_queue: 0,
        retransmits: 0,
        probes: 0,
        probing: false,
        keepalive: false,
        received_ms: Some(5_000),
        window: Some(65_535),
        at_least_ms: None,
        cookie,
        inode: u32::try_from(cookie).unwrap(),
    };
    let full = SurveyedSocket { receive_queue: 3, send_queue: 2, ..socket(State::Listen, 40_000, 0, 1) };
    let mut before = Before::default();
    let stuck = socket(State::CloseWait, 80, 5000, 2);
    let fins =
        [(State::FinWait1, 8), (State::LastAck, 9), (State::FinWait1, 10)].map(|(state, id)| socket(state, 80, 1, id));
    [full, stuck].iter().chain(&fins).for_each(|socket| before.add(socket));
    let ports = PortSettings { range: Some(32_768..=60_999), ..PortSettings::default() };
    let mut survey = Survey::new(before, Bounds { ports, young_ms: 59_000, stale_ms: 55_000, window_ms: 3_000 });
    survey.add(&full);
    survey.add(&stuck);
    survey.add(&socket(State::CloseWait, 80, 5001, 3));
    // FINs that nobody acknowledges: one that was there before, and is sent again.
    survey.add(&SurveyedSocket { retransmits: 2, send_queue: 1, ..socket(State::FinWait1, 80, 5002, 8) });
    survey.add(&SurveyedSocket { retransmits: 2, send_queue: 9, ..socket(State::LastAck, 80, 5003, 9) });
    survey.add(&SurveyedSocket { retransmits: 0, send_queue: 9, ..socket(State::FinWait1, 80, 5004, 10) });
    survey.add(&SurveyedSocket { retransmits: 2, send_queue: 1, ..socket(State::FinWait1, 80, 5005, 11) });
    // Orphans, the younger of which may still be closed by its peer.
    survey.add(&SurveyedSocket { mini: true, left_ms: 58_000, ..socket(State::FinWait2, 80, 5006, 12) });
    survey.add(&SurveyedSocket { mini: true, left_ms: 20_000, ..socket(State::FinWait2, 80, 5007, 13) });
    // A server's, whose port is in the range; and a client's.
    survey.add(&socket(State::Established, 40_000, 6000, 4));
    survey.add(&socket(State::TimeWait, 50_000, 443, 5));
    survey.add(&SurveyedSocket { left_ms: 59_500, ..socket(State::TimeWait, 50_001, 443, 6) });
    survey.add(&socket(State::Established, 50_002, 443, 7));
    assert_eq!(survey.inodes(), [1, 2, 4].into(), "of the listener, who does not close, and who has accepted");
    let sockets = survey.finish(|inode, _| Some(Owner { pid: inode, comm: "p".to_owned(), others: 0 }));
    let [destination] = &sockets.destinations[..] else { panic!("{sockets:?}") };
    assert_eq!((destination.used, destination.time_wait, destination.young), (3, 2, 1));
    assert_eq!((sockets.time_wait, sockets.close_wait, sockets.unclosed[0].stuck), (2, 2, 1));
    assert_eq!(sockets.unacknowledged, Unacknowledged { fin_wait1: 1, last_ack: 1, fin_only: 1, unsent: 0 });
    assert_eq!((sockets.orphaned_fin_wait2, sockets.stale_fin_wait2, sockets.served), (2, 1, 1));
    assert_eq!(sockets.full_listeners[0].owner.as_ref().unwrap().pid, 1);
}

/// A connection that nobody has accepted has no file; whoever should is the process to blame, and of several the one that accepts.
#[test]
fn what_waits_in_a_queue_is_its_listeners() {
    let at = |last: u8, port| (IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), port);
    let socket = |state, local, inode: u32, cookie| SurveyedSocket {
        state,
        mini: false,
        bound_dev_if: 0,
        local,
        remote: at(9, 5000),
        left_ms: 0,
        receive_queue: 1,
        send_queue: 0,
        retransmits: 0,
        probes: 0,
        probing: false,
        keepalive: false,
        received_ms: Some(5_000),
        window: Some(65_535),
        at_least_ms: None,
        cookie,
        inode,
    };
    let listener = SurveyedSocket { receive_queue: 12, send_queue: 64, ..socket(State::Listen, at(1, 7002), 1, 1) };
    let other = SurveyedSocket { receive_queue: 0, send_queue: 4, ..socket(State::Listen, at(1, 7003), 2, 2) };
    let mut before = Before::default();
    let queued: Vec<SurveyedSocket> = (10..22).map(|n| socket(State::CloseWait, at(1, 7002), 0, n)).collect();
    // Below a Multipath TCP connection: no listener's queue has it.
    let nobodys = socket(State::CloseWait, at(1, 9999), 0, 30);
    queued.iter().chain([&nobodys]).for_each(|socket| before.add(socket));
    let mut survey = Survey::new(before, Bounds::default());
    [&listener, &other].into_iter().chain(&queued).chain([&nobodys]).for_each(|socket| survey.add(socket));
    survey.add(&socket(State::Established, at(1, 7002), 40, 40));
    (50..54).for_each(|n| survey.add(&socket(State::SynRecv, at(1, 7003), 0, n)));
    assert_eq!(survey.inodes(), [1, 2, 40].into());
    let sockets = survey.finish(|inode, accepted| {
        let comm = format!("{inode}{accepted:?}");
        Some(Owner { pid: inode, comm, others: 1 })
    });
    let [queue, nobody] = &sockets.unclosed[..] else { panic!("{sockets:?}") };
    assert_eq!((&queue.keeper, queue.stuck), (&Keeper::Queue(at(1, 7002)), 12));
    assert_eq!(queue.listener.as_ref().unwrap().owner.as_ref().unwrap().comm, "1[40]");
    assert_eq!((&nobody.keeper, nobody.stuck), (&Keeper::Nobody, 1));
    let [(full, 4)] = &sockets.full_of_syns[..] else { panic!("{sockets:?}") };
    assert_eq!(full.local, at(1, 7003));
    let facts = changed(|ns| {
        ns.window_ns = 3_000_000_000;
        ns.sockets = Some(sockets.clone());
    });
    assert_eq!(facts, [("close-wait-pile", Severity::Now)]);
}

/// With `tcp_abort_on_overflow` it is this side that resets, and the same counter counts it.
#[test]
fn resets_of_this_side_are_no_clients() {
    let resets = |abort: &str, overflows: u64| {
        changed(|ns| {
            set(ns, "net.ipv4.tcp_abort_on_overflow", abort);
            count(ns, "TcpExtEmbryonicRsts", 0, 20);
            count(ns, "TcpExtListenOverflows", 0, overflows);
        })
    };
    assert_eq!(resets("0", 0), [("syn-recv-resets", Severity::Note)]);
    assert!(!resets("1", 20).iter().any(|(id, _)| *id == "syn-recv-resets"), "{:?}", resets("1", 20));
    assert!(resets("1", 5).iter().any(|(id, _)| *id == "syn-recv-resets"));
}
