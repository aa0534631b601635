#![allow(clippy::unwrap_used)]
use super::{Measured, Target, evaluate};
use crate::binary::Binary;
use crate::cost::Cost;
use crate::followed::Row;
use crate::idle::Idle;
use crate::interval::Interval;
use crate::load::{CALLS, FASTEST, Kind, ONE_CORE, READER};
use crate::numbers::Spread;
use crate::summary::Rate;

fn rate(load: &'static str, kept_of_null: f64) -> Rate {
    Rate {
        load,
        kind: Kind::Connections,
        setting: "stat".to_owned(),
        per_s: Spread::of([1.0]).unwrap(),
        kept: Spread::of([0.5]),
        kept_of_cpu: None,
        kept_of_null: Spread::of([kept_of_null]),
        cpu_ns_per_record: None,
        user_ns_per_record: None,
        cpu_ns_per_connection: None,
        written: Some(10),
        lost: Some(1),
        errors: 0,
    }
}

fn interval(low: f64, high: f64) -> Option<Interval> {
    Some(Interval { count: 20, mean: f64::midpoint(low, high), low, high })
}

fn cost(load: &'static str, setting: &str, ns: Option<Interval>, kept: Option<Interval>) -> Cost {
    Cost {
        load,
        kind: Kind::Connections,
        setting: setting.to_owned(),
        ns: None,
        beyond_untraced_ns: None,
        beyond_null_ns: ns,
        tool_ns: None,
        with_tool_beyond_null_ns: ns,
        with_tool_beyond_untraced_ns: None,
        kept,
    }
}

fn of<'a>(targets: &'a [Target], name: &str) -> &'a Target {
    targets.iter().find(|target| target.name.contains(name)).unwrap()
}

#[test]
fn what_was_not_measured_is_neither_met_nor_missed() {
    assert!(evaluate(&Measured::default()).iter().all(|target| target.value.is_none() && target.met.is_none()));
}

#[test]
fn the_worst_load_counts() {
    let rates = [rate(FASTEST, 0.97), rate("server closes, 2 cores", 0.94), rate("client closes, 1 core", 0.5)];
    let binary = Some(Binary { bytes: 1 << 20, is_static: true, is_stripped: false });
    let targets = evaluate(&Measured { rates: &rates, binary, ..Measured::default() });
    let kept = of(&targets, "rate kept by stat");
    assert_eq!((kept.value, kept.met), (Some(94.0), Some(false)), "one core is not two");
    assert!(kept.note.as_deref().unwrap().starts_with("worst load: server closes, 2 cores"));
    assert_eq!(of(&targets, "records lost").met, Some(false));
    assert_eq!(of(&targets, "release binary").met, Some(false), "small is not stripped");
    assert_eq!(of(&targets, "memory").met, None);
}

#[test]
fn what_the_interval_leaves_open_is_open() {
    let met = |low, high| {
        let costs =
            [cost(ONE_CORE, "stat", interval(low, high), None), cost("other", "stat", interval(9e9, 9e9), None)];
        let targets = evaluate(&Measured { costs: &costs, ..Measured::default() });
        (of(&targets, "beyond the null").met, of(&targets, "with the tool's own").met)
    };
    assert_eq!(met(1500.0, 1900.0), (Some(true), Some(true)));
    assert_eq!(met(1900.0, 2100.0), (None, Some(true)));
    assert_eq!(met(3900.0, 4300.0), (Some(false), None));
    assert_eq!(met(4100.0, 4300.0), (Some(false), Some(false)));
}

#[test]
fn bystanders_are_judged_by_what_they_keep() {
    let bystanders = [
        cost(CALLS, "stat", None, interval(0.6, 0.7)),
        cost(READER, "stat", None, interval(0.992, 0.998)),
        cost(READER, "stat -L", None, interval(0.99, 1.0)),
        cost(READER, "stat --netns", None, interval(0.97, 0.98)),
        cost(READER, "null", None, interval(0.1, 0.2)),
    ];
    let targets = evaluate(&Measured { bystanders: &bystanders, ..Measured::default() });
    assert_eq!(of(&targets, "system calls").met, Some(false));
    assert_eq!(of(&targets, "small reads").met, Some(true));
    let filtered = of(&targets, "a filter");
    assert_eq!(filtered.met, Some(false));
    assert!(filtered.note.as_deref().unwrap().ends_with("stat --netns, small reads"), "{filtered:?}");
    assert_eq!(of(&targets, "futexes").value, None);
}

#[test]
fn the_worst_of_the_idle_counts() {
    let idle = |setting: &str, cpu_ms_per_s, wakeups_per_s| Idle {
        setting: setting.to_owned(),
        seconds: 10.0,
        cpu_ms_per_s,
        wakeups_per_s,
        threads: 1,
        threads_changed: 0,
        records: None,
    };
    let idle = [idle("stat", 0.5, 1.0), idle("top", 0.9, 20.0)];
    let targets = evaluate(&Measured { idle: &idle, ..Measured::default() });
    assert_eq!((of(&targets, "idle tool: CPU").value, of(&targets, "idle tool: CPU").met), (Some(0.9), Some(true)));
    assert_eq!(
        (of(&targets, "wake-ups").met, of(&targets, "wake-ups").note.as_deref()),
        (Some(false), Some("worst: top"))
    );
}

#[test]
fn memory_that_the_start_hides_is_not_met() {
    let met = |bytes, in_all| {
        let row = Row {
            asked: 1_000_000,
            there: Some(1_000_000),
            bytes_per_socket: Some(bytes),
            bytes_per_socket_in_all: Some(in_all),
            ..Row::default()
        };
        let targets = evaluate(&Measured { followed: &[row], ..Measured::default() });
        of(&targets, "memory").met
    };
    assert_eq!((met(60.0, 110.0), met(60.0, 130.0), met(121.0, 220.0)), (Some(true), None, Some(false)));
}
