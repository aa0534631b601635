//! How old what is there now is: stories, told as the others, and what a report says of the states at their end.
//!
//! Heard as `STATE NOW KNOWN AT-LEAST OLDEST P50 P90`, the ages in ms; quantiles are never above the truth, and within 1 % of it.

use tcpwait::{
    aggregate::{Aggregate, StatOptions, age::AgeSummary, audit::AuditReport, census::SocketCensus, groups::Sort},
    ledger::Ledger,
    lifecycle::{Lifecycle, SegmentSource},
    names::Names,
};

use crate::stories::{events, symbols};

const MS: u64 = 1_000_000;

/// What is said at this time.
fn ages(told: &str, at_ms: u64) -> Vec<String> {
    let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
    let mut aggregate =
        Aggregate::new(StatOptions { by: Vec::new(), netns_implied: false, sort: Sort::Entered, top: 1 }, 0);
    let mut updates = Vec::new();
    for event in events(told) {
        model.apply(&event, &mut updates);
        updates.drain(..).for_each(|update| aggregate.update(&update, &Names::default()));
    }
    let report = aggregate.report(at_ms * MS, true, Ledger::default(), AuditReport::default(), SocketCensus::default());
    let there = report.states.iter().filter(|row| row.now.unwrap_or(0) > 0);
    let ms = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| (ns / MS).to_string());
    let line = |state, now, age: AgeSummary| {
        let [oldest, p50, p90] = [age.oldest_ns, age.p50_ns, age.p90_ns].map(ms);
        format!("{state} {now} {} {} {oldest} {p50} {p90}", age.known, age.at_least)
    };
    there.map(|row| line(row.state, row.now.unwrap(), row.age)).collect()
}

#[test]
fn what_was_seen_to_enter_is_known() {
    let told = "
        1000 seeded
        2000 state CLOSE LISTEN id=2 listener
        3000 state CLOSE SYN_SENT
        3100 state SYN_SENT ESTABLISHED
        4000 state ESTABLISHED FIN_WAIT1
        4500 state FIN_WAIT1 FIN_WAIT2
        6000 state CLOSE SYN_SENT id=3
        6010 state SYN_SENT ESTABLISHED id=3
        7000 state ESTABLISHED CLOSE_WAIT id=3
    ";
    assert_eq!(
        ages(told, 67_000),
        ["LISTEN 1 1 0 65000 65000 65000", "FIN_WAIT2 1 1 0 62500 62500 62500", "CLOSE_WAIT 1 1 0 60000 60000 60000"]
    );
}

#[test]
fn the_age_is_of_the_present_state_alone() {
    let told = "
        1000 seeded
        2000 state CLOSE SYN_SENT
        2001 state SYN_SENT ESTABLISHED
        3000 state ESTABLISHED FIN_WAIT1
        3001 state FIN_WAIT1 FIN_WAIT2
        3002 arm FIN_WAIT2
        9000 rearm TIME_WAIT due=69000
        30000 segment TIME_WAIT due=90000 flags=ACK len=5 before=5
    ";
    assert_eq!(ages(told, 8_000)[..], ["TIME_WAIT 1 1 0 0 0 0"], "the FIN came");
    assert_eq!(ages(told, 40_000)[..], ["TIME_WAIT 1 1 0 31000 31000 31000"], "a restart of its clock is no entry");
}

#[test]
fn what_is_older_has_been_there_at_least_so_long() {
    let told = "
        100000 seed CLOSE_WAIT since=40000
        100000 seed CLOSE_WAIT id=2 since=100000
        100000 seed CLOSE_WAIT id=3 since=90000
        100000 seed TIME_WAIT id=4 mini left=20000 since=60010
        100000 seed FIN_WAIT2 id=5 mini left=20000 since=100000
        100010 seeded
        101000 state CLOSE_WAIT LAST_ACK id=3
        102000 state CLOSE SYN_SENT id=6
        102000 state SYN_SENT ESTABLISHED id=6
        103000 state ESTABLISHED CLOSE_WAIT id=6
    ";
    assert_eq!(
        ages(told, 110_000),
        [
            "FIN_WAIT2 1 0 1 10000 10000 10000",
            "TIME_WAIT 1 0 1 49990 49990 49990",
            "CLOSE_WAIT 3 1 2 70000 9999 69994",
            "LAST_ACK 1 1 0 9000 9000 9000"
        ]
    );
}

/// A kernel that gives TIME_WAIT another length: what its timer has left tells nothing of its age.
#[test]
fn a_time_wait_of_another_length() {
    let told = "
        1000 seeded
        2000 state CLOSE SYN_SENT
        2001 state SYN_SENT ESTABLISHED
        3000 state ESTABLISHED FIN_WAIT1
        3001 state FIN_WAIT1 FIN_WAIT2
        3002 arm TIME_WAIT due=8002
    ";
    assert_eq!(ages(told, 5_002), ["TIME_WAIT 1 1 0 2000 2000 2000"], "it was seen to begin");
}

/// What a listing after a loss finds in another state entered it some time before, and nobody knows when.
#[test]
fn what_was_lost_is_not_known() {
    let told = "
        1000 seeded
        2000 state CLOSE SYN_SENT
        2001 state SYN_SENT ESTABLISHED
        5000 lost
        9000 seed CLOSE_WAIT since=3000
        9000 seed ESTABLISHED id=2 since=4000
        9010 listed
        9020 seeded
    ";
    assert_eq!(ages(told, 10_000), ["ESTABLISHED 1 0 1 6000 6000 6000", "CLOSE_WAIT 1 0 0 - - -"]);
}
