//! Connects whose SYN was sent again: stories, told as the others, and what a report says of each destination.

use tcpwait::{
    aggregate::{
        Aggregate, StatOptions,
        audit::AuditReport,
        census::SocketCensus,
        connects::{ConnectCounts, ConnectReport},
        groups::Sort,
    },
    ledger::Ledger,
    lifecycle::{Lifecycle, SegmentSource, Update},
    names::Names,
};

use crate::stories::{events, symbols};

const MS: u64 = 1_000_000;

/// The connections with these ids go to another port.
const ELSEWHERE: u64 = 10;

fn aggregate(told: &str, aggregate: &mut Aggregate) {
    let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
    let mut updates = Vec::new();
    events(told).iter().for_each(|event| model.apply(event, &mut updates));
    for mut update in updates {
        if let Update::Transition(step) = &mut update
            && step.id >= ELSEWHERE
        {
            step.flow.rport = 443;
        }
        aggregate.update(&update, &Names::default());
    }
}

fn report(aggregate: &mut Aggregate, is_final: bool) -> ConnectReport {
    aggregate.report(1, is_final, Ledger::default(), AuditReport::default(), SocketCensus::default()).connects
}

fn new(top: usize) -> Aggregate {
    Aggregate::new(StatOptions { by: Vec::new(), netns_implied: false, sort: Sort::Entered, top }, 0)
}

fn numbers(counts: &ConnectCounts) -> [u64; 5] {
    [counts.left, counts.made, counts.syn_retransmits, counts.retransmitted, counts.dwell.count]
}

const TOLD: &str = "
    1000 seeded
    2000 state CLOSE SYN_SENT id=1
    2001 state SYN_SENT ESTABLISHED id=1
    3000 state CLOSE SYN_SENT id=2
    4010 state SYN_SENT ESTABLISHED id=2 again=1
    5000 state CLOSE SYN_SENT id=3
    8020 state SYN_SENT ESTABLISHED id=3 again=2
    9000 state CLOSE SYN_SENT id=4
    136000 state SYN_SENT CLOSE id=4 again=6 err=110
    140000 state CLOSE SYN_SENT id=10
    140001 state SYN_SENT ESTABLISHED id=10
    141000 state CLOSE SYN_SENT id=11
    142001 state SYN_SENT ESTABLISHED id=11 again=1
";

#[test]
fn by_destination() {
    let mut all = new(10);
    aggregate(TOLD, &mut all);
    let report = report(&mut all, true);
    assert_eq!(numbers(&report.all), [6, 5, 10, 4, 3]);
    let rows: Vec<_> = report.rows.iter().map(|(to, counts)| (to.port, numbers(counts))).collect();
    assert_eq!(rows, [(80, [4, 3, 9, 3, 2]), (443, [2, 1 + 1, 1, 1, 1])]);
    let dwell = report.rows[0].1.dwell;
    assert_eq!((dwell.min_ns, dwell.max_ns), (Some(1_010 * MS), Some(3_020 * MS)), "the one that failed took 127 s");
    assert_eq!(report.others, 0);
}

#[test]
fn intervals_and_what_is_not_shown() {
    let mut one = new(1);
    aggregate(TOLD, &mut one);
    let first = report(&mut one, false);
    assert_eq!((first.rows.len(), first.others, first.all.retransmitted), (1, 1, 4));
    let second = report(&mut one, false);
    assert_eq!((numbers(&second.all), second.rows.len(), second.others), ([0; 5], 0, 0), "nothing happened");
    let last = report(&mut one, true);
    assert_eq!((numbers(&last.all), last.others), (numbers(&first.all), 1));
}

/// Those that their process closes after an ICMP error that ended nothing are told apart from others that fail.
#[test]
fn errors_that_the_kernel_only_noted() {
    let mut all = new(10);
    let closed = "by=curl stack=__tcp_close";
    let told = format!(
        "1000 seeded\n1001 state CLOSE SYN_SENT id=1\n1200 state SYN_SENT CLOSE id=1 {closed} soft=113
         2001 state CLOSE SYN_SENT id=2\n2200 state SYN_SENT CLOSE id=2 {closed} soft=111 asked
         3001 state CLOSE SYN_SENT id=3\n3200 state SYN_SENT CLOSE id=3 {closed}"
    );
    aggregate(&told, &mut all);
    let report = report(&mut all, true);
    assert_eq!((report.all.left, report.all.made, report.all.soft_errors), (3, 0, 2));
}
