//! What is not sure is neither the same, nor no difference, nor a pass: in rows, in sentences, and in conditions.

use std::{fs, net::Ipv4Addr};

use serde_json::Value;
use tcpwait::{
    aggregate::{by::GroupBy, unfollowed::COUNTERS},
    diff::{
        blocks::Window,
        comparable::SideFacts,
        compare::{DiffReport, Side},
        condition::{Condition, ConditionOutcome},
        kernel_count::KernelCount,
        measured::Measuring,
        quantity::Quantity,
        verdict::{DiffVerdict, NotSaid, SAME_WITHIN},
    },
    lifecycle::{OlderConnection, Present, Transition, Update},
    names::Names,
    origin::Origin,
    tcp::{Flow, NetnsId, State},
};
use tcpwait_wire::wire;
use zerocopy::FromBytes;

use super::{calibration::NoNames, diff, document, rows};
use crate::support::{finish, fixture, tcpwait};

const S: u64 = 1_000_000_000;

/// "The same" is said of what cannot be far apart, not of all of which too little is known.
#[test]
fn the_same_is_within_its_band() {
    let is_near = |low: &Value, high: &Value| {
        let (Some(low), Some(high)) = (low.as_f64(), high.as_f64()) else { return false };
        low * SAME_WITHIN >= 1.0 && high <= SAME_WITHIN
    };
    let mut seen = 0;
    for (before, after) in [("keepalive_off", "keepalive_on"), ("incident", "reasons"), ("nginx", "keepalive_on")] {
        let document = document(before, after, &[]);
        let counts = rows(&document, "counts").filter(|row| row["verdict"] == "same").map(|row| (row, &row["rate"]));
        let sockets = rows(&document, "sockets").filter(|row| row["verdict"] == "same").map(|row| (row, &row["ratio"]));
        for (row, ratio) in counts.chain(sockets) {
            assert!(is_near(&ratio["low"], &ratio["high"]), "{row}");
            seen += 1;
        }
        for quantile in rows(&document, "durations").flat_map(|row| rows(row, "quantiles")) {
            let ns = |side: &str, end: &str| quantile[side][end].as_f64();
            if quantile["verdict"] == "same" {
                let (low, high) = (ns("before", "low_ns").unwrap(), ns("after", "high_ns").unwrap());
                assert!(high <= low * SAME_WITHIN || high - low <= 21e6, "{quantile}");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

/// A change that the table is not sure of is no pass; one that cannot be is.
#[test]
fn conditions_say_what_the_table_says() {
    let ran = |condition: &str| diff("natural", "incident", &["--fail-if", condition]);
    let rise = ran("failures.given-up > +10%");
    let said = "cannot be said: failures.given-up[mobile-gw to 10.9.0.99:9001] is 1.954/s (12 in all), and was 0/s";
    assert!(rise.code == Some(4) && rise.stderr.contains(said), "{rise:?}");
    assert_eq!(ran("failures.given-up < -10%").code, Some(0), "there were none before");
    let back = diff("incident", "natural", &["--fail-if", "failures.given-up > +10%"]);
    assert_eq!(back.code, Some(0), "there are none after");
    let counters = ran("drops.accept-queue > 0");
    assert!(
        counters.code == Some(4) && counters.stderr.contains("the kernel's own counters are not in"),
        "{counters:?}"
    );
    let itself = diff("incident", "incident", &["--fail-if", "failures > +10%"]);
    assert_eq!(itself.code, Some(0), "{itself:?}");
    // The whole name, and units as they are everywhere.
    let of = |condition: &str| diff("keepalive_off", "keepalive_on", &["--fail-if", condition]).stderr;
    assert!(of("time_wait.p50 > 1s").contains("holds: time_wait.p50 is 60.93s, and was 60.93s\n"));
    assert!(of("failures.no-free-port >= 0").contains("is 0/s, and was 0/s\n"), "{}", of("failures.no-free-port >= 0"));
}

/// Failures come before what is merely gone, and rows of one or two events are told in one.
#[test]
fn what_weighs_most_comes_first() {
    let paths = ["reasons", "incident"].map(fixture);
    let ran = finish(tcpwait().env("COLUMNS", "1000").arg("diff").args(paths));
    let mut rows = ran.stdout.lines().skip_while(|line| !line.starts_with("ON ONE SIDE ONLY")).skip(1);
    let first = rows.next().unwrap();
    assert!(first.contains("12") && (first.contains("failed") || first.contains("SYN was sent again")), "{first}");
    let rest: Vec<&str> = rows.take_while(|line| !line.is_empty()).collect();
    assert!(rest.iter().any(|line| line.ends_with("of one or two each (--all)")), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("Not sure: fewer than 10")), "{rest:?}");
    for line in rest.iter().filter(|line| line.contains("too few")) {
        let numbers = line.split_whitespace().rev().skip(2).take(2);
        assert!(numbers.filter_map(|number| number.parse::<u64>().ok()).any(|number| number > 2), "{line}");
    }
}

#[test]
fn files_of_one_name_have_their_folder() {
    let place = tempfile::tempdir().unwrap();
    let of = |folder: &str, name: &str| {
        let folder = place.path().join(folder);
        fs::create_dir(&folder).unwrap();
        let file = folder.join("rec.tcpwait");
        fs::copy(fixture(name), &file).unwrap();
        file
    };
    let ran = finish(tcpwait().arg("diff").arg(of("good", "natural")).arg(of("bad", "incident")));
    assert!(ran.stdout.starts_with("BEFORE good/rec.tcpwait: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nAFTER  bad/rec.tcpwait: "), "{}", ran.stdout);
}

#[test]
fn both_ends_are_said_to_count() {
    let ran = finish(tcpwait().env("COLUMNS", "1000").arg("diff").args(["keepalive_off", "keepalive_on"].map(fixture)));
    let said =
        "Both ends of a connection on this machine count: so 1,137 connections before and 288 after count twice.";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
}

fn flow(rport: u16) -> Flow {
    let laddr = Ipv4Addr::new(10, 0, 0, 1).into();
    let raddr = Ipv4Addr::new(10, 0, 0, 2).into();
    Flow { netns: NetnsId::new(1, 1), bound_dev_if: 0, laddr, raddr, lport: 80, rport }
}

fn step(time_ns: u64, id: u16, from: State, to: State, dwell_ns: u64) -> Update {
    let mut step = Transition::new(time_ns, id.into(), flow(id), Some(from), to);
    step.dwell_ns = Some(dwell_ns);
    step.origin = Origin::There;
    Update::Transition(step)
}

fn present(id: u16, state: State, since_ns: u64) -> Present<'static> {
    Present {
        id: id.into(),
        state,
        flow: flow(id),
        owner: None,
        origin: Origin::There,
        syn_sent: true,
        since_ns: Some(since_ns),
        by_ns: Some(since_ns),
        stands_for: 1,
        timer: 0,
    }
}

fn side(updates: &[Update], still: &[Present<'static>], seconds: u64) -> Side {
    let window = Window { begin_ns: 0, end_ns: seconds * S };
    let (mut measuring, names) = (Measuring::new(window, 0, vec![GroupBy::Service]), Names::default());
    updates.iter().for_each(|update| measuring.update(update, &names));
    // The last record of it.
    measuring.update(&step(seconds * S - 1, 60_000, State::Listen, State::SynRecv, 0), &names);
    measuring.still_there(still.iter().copied(), &names);
    let measured = measuring.finish(&NoNames);
    Side { facts: SideFacts { window: measured.window, ..SideFacts::default() }, measured }
}

/// What the kernel dropped is known from its own counters, or not at all: without them it is not 0.
#[test]
fn dropped_syns_are_those_that_the_kernel_counted() {
    let side_with = |overflows: &[u64]| {
        let (mut measuring, names) =
            (Measuring::new(Window { begin_ns: 0, end_ns: 72 * S }, 0, Vec::new()), Names::default());
        measuring.update(&step(72 * S - 1, 60_000, State::Listen, State::SynRecv, 0), &names);
        for (minute, overflows) in (0..).zip(overflows) {
            let mut counts = wire::KernelCounts::read_from_bytes(&[0; size_of::<wire::KernelCounts>()]).unwrap();
            let of = |name: &str| COUNTERS.iter().position(|known| *known == name).unwrap();
            counts.unfollowed[of("ListenOverflows")] = *overflows;
            counts.unfollowed[of("ListenDrops")] = *overflows;
            measuring.kernel_counts(minute * 60 * S, &counts);
        }
        let measured = measuring.finish(&NoNames);
        let kernel_counts = measured.kernel_counts.clone();
        Side { facts: SideFacts { window: measured.window, kernel_counts, ..SideFacts::default() }, measured }
    };
    let of = |condition: &str| condition.parse::<Condition>().unwrap();
    let report = DiffReport::new(side_with(&[1000, 1003]), side_with(&[5, 125]));
    let row = report.count(Quantity::Kernel(KernelCount::AcceptQueue), None).unwrap();
    assert_eq!((row.before.count, row.after.count), (3, 120));
    let ConditionOutcome::Holds(judged) = of("drops > 1").judge(&report) else { panic!() };
    assert_eq!(judged.after.count, Some(120));
    assert!(matches!(of("drops > +10%").judge(&report), ConditionOutcome::Unknown(NotSaid::TooShort, Some(_))));
    // Nothing was in SYN_RECV yet: who asks for that is told the other name.
    let asks = of("syn_recv.accept-queue-full > 0");
    assert_eq!((asks.judge(&report), asks.dropped_instead(&report)), (ConditionOutcome::No, Some(120)));
    for without in [[side_with(&[5, 125]), side_with(&[5])], [side_with(&[5]), side_with(&[5, 125])]] {
        let [before, after] = without;
        let report = DiffReport::new(before, after);
        assert!(report.count(Quantity::Kernel(KernelCount::AcceptQueue), None).is_none());
        let outcome = of("drops.accept-queue > 0").judge(&report);
        assert_eq!(outcome, ConditionOutcome::Unknown(NotSaid::NoCounters, None));
    }
}

/// A percentile of those that left a state says little of one that nobody leaves.
#[test]
fn what_is_still_in_a_state_counts() {
    let closed = |n: u64| -> Vec<Update> {
        (1..=n).map(|id| step(id * S / 2, id as u16, State::CloseWait, State::LastAck, 3_500_000)).collect()
    };
    let left: Vec<Present<'_>> =
        (1..=300u16).map(|n| present(1000 + n, State::CloseWait, u64::from(n) * S / 5)).collect();
    let report = DiffReport::new(side(&closed(100), &[], 72), side(&closed(100), &left, 72));
    let judge = |condition: &str| condition.parse::<Condition>().unwrap().judge(&report);
    let ConditionOutcome::Holds(judged) = judge("CLOSE_WAIT.p90 > 1s") else {
        panic!("{:?}", judge("close_wait.p90 > 1s"))
    };
    assert!(judged.after.is_at_least && judged.after.value.unwrap() > 60e9, "{judged:?}");
    assert_eq!(judge("close_wait.p90 < 1s"), ConditionOutcome::No);
    for unsure in ["close_wait.p90 > 10m", "close_wait.p90 < 10m", "close_wait.p90 > +10%"] {
        assert!(
            matches!(judge(unsure), ConditionOutcome::Unknown(NotSaid::StillThere, Some(_))),
            "{:?}",
            judge(unsure)
        );
    }
    // Those that have been without an answer for a second.
    let waiting: Vec<Present<'_>> =
        [1, 30, 71].map(|s| present(2000 + s as u16, State::SynSent, s * S + S / 2)).to_vec();
    let mut answered = closed(1);
    answered.push(step(40 * S, 3000, State::SynSent, State::Established, 2 * S));
    let report = DiffReport::new(side(&[], &[], 72), side(&answered, &waiting, 72));
    let condition: Condition = "connect.unanswered.count > 2".parse().unwrap();
    assert!(matches!(condition.judge(&report), ConditionOutcome::Holds(judged) if judged.after.count == Some(3)));
}

/// What was in TIME_WAIT before a recording began is not what was changed, and is no new row.
#[test]
fn leftovers_are_not_new() {
    let with_leftovers = || -> Vec<Update> {
        let found = |id: u16| {
            let id_of = id.into();
            Update::Found(OlderConnection {
                id: id_of,
                flow: flow(id),
                state: State::TimeWait,
                owner: None,
                origin: Origin::There,
                by_ns: Some(0),
            })
        };
        let ends = (1..=500).map(|id| step(u64::from(id) * S / 10, id, State::TimeWait, State::Close, 30 * S));
        (1..=500).map(found).chain(ends).collect()
    };
    let report = DiffReport::new(side(&[], &[], 75), side(&with_leftovers(), &[], 75));
    let row = report.gauges.iter().find(|row| row.state == State::TimeWait);
    assert!(row.is_none_or(|row| row.verdict != DiffVerdict::New && row.after.most == 0), "{row:?}");
    // Too short for the leftovers to have gone: that is said, and no number is.
    let report = DiffReport::new(side(&[], &[], 47), side(&with_leftovers(), &[], 47));
    let row = report.gauges.iter().find(|row| row.state == State::TimeWait).unwrap();
    assert_eq!((row.verdict, row.after.mean), (DiffVerdict::Unknown(NotSaid::TooShort), None));
}
