//! A tally of handmade sockets: what is counted, under what, and what is said of whom nobody knows.

use std::net::IpAddr;

use jiff::{Timestamp, tz::TimeZone};
use tcpwait::{
    aggregate::by::{GroupBy, Value},
    event::Task,
    names::Names,
    select::Criteria,
    states::{
        ListedSocket, SeenSince, StatesOptions, StatesTally,
        report::{Extent, StatesReport, UnknownHolders},
    },
    tcp::{Flow, NetnsId, State},
    view::{
        paint::Paint,
        states::{Moment, json, notes, text},
    },
};

fn socket(state: State, local: (&str, u16), remote: (&str, u16)) -> ListedSocket {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let flow = Flow {
        netns: NetnsId::new(7, 0),
        bound_dev_if: 0,
        laddr: ip(local.0),
        raddr: ip(remote.0),
        lport: local.1,
        rport: remote.1,
    };
    ListedSocket { cookie: remote.1.into(), flow, state, at_least_ms: None, mini_left_ms: None, uid: None, inode: None }
}

fn held(socket: ListedSocket, inode: u32, uid: u32) -> ListedSocket {
    ListedSocket { inode: Some(inode), uid: Some(uid), ..socket }
}

fn mini(socket: ListedSocket, left_ms: u32) -> ListedSocket {
    ListedSocket { mini_left_ms: Some(left_ms), ..socket }
}

fn old(socket: ListedSocket, at_least_ms: u32) -> ListedSocket {
    ListedSocket { at_least_ms: Some(at_least_ms), ..socket }
}

fn task(pid: u32, name: &str, cgroup: u64) -> Task {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    Task { pid, uid: 33, cgroup, comm }
}

/// A server with a client on the same machine, a client of somebody else, and what they left.
fn sockets() -> Vec<ListedSocket> {
    vec![
        held(socket(State::Listen, ("::", 80), ("::", 0)), 1, 0),
        old(held(socket(State::Established, ("127.0.0.1", 80), ("127.0.0.1", 4000)), 2, 33), 400_000),
        old(held(socket(State::Established, ("127.0.0.1", 4000), ("127.0.0.1", 80)), 3, 1000), 90_000),
        held(socket(State::SynSent, ("fd00::1", 4001), ("fd00::2", 443)), 4, 1000),
        mini(socket(State::TimeWait, ("127.0.0.1", 80), ("127.0.0.1", 3999)), 0),
        mini(socket(State::TimeWait, ("127.0.0.1", 80), ("127.0.0.1", 3998)), 59_000),
        old(mini(socket(State::TimeWait, ("fd00::1", 3997), ("fd00::2", 443)), 30_000), 29_990),
        mini(socket(State::FinWait2, ("127.0.0.1", 80), ("10.0.0.9", 3996)), 8_000),
        old(held(socket(State::FinWait2, ("127.0.0.1", 80), ("10.0.0.9", 3995)), 5, 33), 3_600_000),
    ]
}

fn names() -> Names {
    let mut names = Names::default();
    names.learn_cgroup(99, "/system.slice/nginx.service");
    names
}

fn report(criteria: Criteria, by: &[GroupBy], top: usize) -> StatesReport {
    of(StatesOptions { criteria, by: by.to_vec(), top, ..StatesOptions::default() })
}

fn of(wanted: StatesOptions) -> StatesReport {
    let mut tally = StatesTally::new(wanted);
    if tally.wanted().needs_listeners() {
        tally.listener(&socket(State::Listen, ("::", 80), ("::", 0)).flow);
    }
    sockets().iter().for_each(|socket| tally.socket(socket));
    let owner = |socket: &ListedSocket| match socket.inode? {
        1 | 2 | 5 => Some(task(10, "nginx", 99)),
        3 => Some(task(20, "curl", 0)),
        _ => None,
    };
    tally.owners(owner, |_| false, &names());
    tally.report(Extent { namespaces: 1, ..Extent::default() })
}

fn counted(report: &StatesReport, state: State) -> Option<u64> {
    report.states.iter().find(|row| row.state == state).unwrap().sockets
}

#[test]
fn states_and_families() {
    let report = report(Criteria::default(), &[], 20);
    assert_eq!((report.total, report.time_wait, report.orphans, report.states.len()), (9, 3, 1, 11));
    assert_eq!((counted(&report, State::FinWait2), counted(&report, State::LastAck)), (Some(2), Some(0)));
    assert_eq!(counted(&report, State::Close), None, "the kernel lists none");
    let time_wait = report.states.iter().find(|row| row.state == State::TimeWait).unwrap();
    assert_eq!((time_wait.v4, time_wait.v6), (Some(2), Some(1)));
    let left = &report.time_left;
    assert_eq!((left.least_ms, left.median_ms, left.most_ms, left.over), (Some(0), Some(30_000), Some(59_000), 1));
    assert_eq!((report.groups.rows.len(), report.holders), (0, None), "not asked for");
}

#[test]
fn groups_add_up_to_all() {
    let lines = |by: &[GroupBy], top| {
        let report = report(Criteria::default(), by, top);
        let rows = report.groups.rows.iter().chain([&report.groups.others]);
        assert_eq!(rows.clone().map(|row| row.total).sum::<u64>(), report.total);
        assert!(rows.clone().all(|row| row.states.iter().sum::<u64>() == row.total));
        (rows.map(|row| (row.key.clone(), row.total)).collect::<Vec<_>>(), report.groups.folded, report.holders)
    };
    let (rows, folded, holders) = lines(&[GroupBy::Process], 20);
    let process = |name: &str| Value::Process(task(0, name, 0).comm);
    assert_eq!(rows[..3], [(vec![Value::Unknown], 5), (vec![process("nginx")], 3), (vec![process("curl")], 1)]);
    assert_eq!(folded, 0);
    assert_eq!(holders, Some(UnknownHolders { without_file: 4, of_time_wait: 3, unknown: 1, shared: 0 }));

    let (rows, ..) = lines(&[GroupBy::Service], 20);
    let https = Value::Pair("fd00::2".parse().unwrap(), 443, None);
    let client = Value::Pair("127.0.0.1".parse().unwrap(), 80, None);
    assert_eq!(rows[..3], [(vec![Value::Local(80)], 6), (vec![https], 2), (vec![client], 1)]);

    // A listener has no peer; without a file nobody's user is known; a cgroup that is not known is none.
    let (rows, ..) = lines(&[GroupBy::Remote], 20);
    assert!(rows.contains(&(vec![Value::Unknown], 1)), "{rows:?}");
    let (rows, ..) = lines(&[GroupBy::Uid], 20);
    assert_eq!(rows[0], (vec![Value::Unknown], 4));
    let (rows, ..) = lines(&[GroupBy::Cgroup], 20);
    assert_eq!(rows[..2], [(vec![Value::Unknown], 6), (vec![Value::Cgroup(99)], 3)]);

    let (rows, folded, holders) = lines(&[GroupBy::Netns, GroupBy::LocalPort], 1);
    assert_eq!((rows.len(), rows[0].1, rows[1].1, folded), (2, 6, 3, 3));
    assert_eq!(holders, None, "nobody asked who");
}

/// Listings one after the other: what was there before is as old as that, in the states that a connection enters once.
#[test]
fn seen_again() {
    let closing = |port| socket(State::FinWait1, ("127.0.0.1", 80), ("10.0.0.9", port));
    let listing = |seen: SeenSince, begin_ms, sockets: &[ListedSocket]| {
        let mut seen = seen;
        seen.begins(begin_ms);
        let mut tally = StatesTally::new(StatesOptions::default()).knowing(seen);
        sockets.iter().for_each(|socket| tally.socket(socket));
        let mut seen = tally.take_seen().unwrap();
        seen.ends(begin_ms + 100);
        (tally.report(Extent::default()), seen)
    };
    let ages = |report: &StatesReport, state| {
        let age = report.states.iter().find(|row| row.state == state).unwrap().age;
        (age.at_least, age.oldest_ns.map(|ns| ns / 1_000_000))
    };
    let open = socket(State::Established, ("127.0.0.1", 80), ("10.0.0.9", 9));
    let (first, seen) = listing(SeenSince::default(), 0, &[closing(1), closing(2), open]);
    assert_eq!(ages(&first, State::FinWait1), (0, None));
    // One has gone, one has come; the third has taken a step.
    let stepped = ListedSocket { state: State::FinWait2, ..closing(2) };
    let (second, seen) = listing(seen, 1_000, &[closing(1), stepped, closing(3), open]);
    assert_eq!(ages(&second, State::FinWait1), (1, Some(900)), "since the end of the first");
    assert_eq!((ages(&second, State::FinWait2), ages(&second, State::Established)), ((0, None), (0, None)));
    let (third, seen) = listing(seen, 5_000, &[closing(1), old(closing(3), 60_000), stepped]);
    assert_eq!(ages(&third, State::FinWait1), (2, Some(60_000)), "what the kernel tells is more");
    assert_eq!(ages(&third, State::FinWait2), (1, Some(3_900)));
    let (_, seen) = listing(seen, 6_000, &[]);
    assert_eq!(ages(&listing(seen, 9_000, &[closing(1)]).0, State::FinWait1), (0, None), "forgotten");
}

/// Who sits on what for so long: what nothing tells of is not counted, and said.
#[test]
fn older_than() {
    let older_than = |ms| {
        of(StatesOptions { older_than_ms: Some(ms), by: vec![GroupBy::Process], top: 20, ..StatesOptions::default() })
    };
    let report = older_than(90_000);
    let rows: Vec<_> = report.groups.rows.iter().map(|row| (row.total, row.oldest_ms)).collect();
    assert_eq!(rows, [(2, Some(3_600_000)), (1, Some(90_000))], "nginx, curl");
    assert_eq!((report.total, report.ageless), (3, 5), "a listener, a connect, and mini-sockets");
    assert_eq!(older_than(90_001).total, 2);
    assert_eq!(older_than(3_600_001).total, 0);
    let time_wait = Criteria { states: vec![State::TimeWait], ..Criteria::default() };
    let report = of(StatesOptions { criteria: time_wait, older_than_ms: Some(1_000), ..StatesOptions::default() });
    assert_eq!((report.total, report.ageless), (1, 2), "only of what is wanted");
    let said = notes::of(&report, true);
    assert!(said.iter().any(|note| note.starts_with("2 sockets not counted: ")), "{said:?}");
    let document: serde_json::Value =
        serde_json::from_str(&written(&report, |report, moment, out| json::write(report, moment, out).unwrap()))
            .unwrap();
    assert_eq!((&document["older_than_ns"], &document["age_unknown"]), (&1_000_000_000u64.into(), &2.into()));
    let age = serde_json::json!({
        "oldest_ns": 29_990_000_000u64, "p50_ns": 29_990_000_000u64, "p90_ns": 29_990_000_000u64, "known": 0, "at_least": 1
    });
    assert_eq!(document["states"]["TIME_WAIT"]["age"], age);
}

#[test]
fn filters_select_sockets() {
    let total = |criteria| report(criteria, &[], 20).total;
    assert_eq!(total(Criteria { rports: vec![443..=443].into(), ..Criteria::default() }), 2);
    assert_eq!(total(Criteria { states: vec![State::TimeWait], ..Criteria::default() }), 3);
    assert_eq!(total(Criteria { pids: vec![10].into(), ..Criteria::default() }), 3);
    assert_eq!(total(Criteria { cgroups: vec!["/system.slice".to_owned()].into(), ..Criteria::default() }), 3);
    let of_state = report(Criteria { states: vec![State::TimeWait], ..Criteria::default() }, &[GroupBy::Pid], 20);
    assert_eq!(of_state.states.len(), 1, "what was not asked for is not said to be 0");
}

fn written(report: &StatesReport, write: impl Fn(&StatesReport, Moment<'_>, &mut Vec<u8>)) -> String {
    let (names, mut out) = (names(), Vec::new());
    write(report, Moment { time: Timestamp::from_second(1_700_000_000).unwrap(), names: &names }, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn as_text() {
    let mut report = report(Criteria::default(), &[GroupBy::LocalPort, GroupBy::Cgroup], 2);
    report.extent = Extent { namespaces: 1, unreadable: 2, unseen: true, ..Extent::default() };
    let of = |width| {
        written(&report, |report, moment, out| {
            let shape = text::Layout { width, paint: Paint::default() };
            text::write(report, moment, &TimeZone::UTC, shape, out).unwrap();
        })
    };
    assert_eq!(
        of(80),
        "\
2023-11-14 22:13:20 UTC  TIME_WAIT: 3 of 9 TCP sockets in 1 network namespace of
          those that can be seen; 2 more could not be read

STATE       SOCKETS   % IPV4 IPV6  OLDEST AGE P50 AGE P90
LISTEN            1 11%    0    1       -       -       -
SYN_SENT          1 11%    0    1       -       -       -
SYN_RECV          0  0%    0    0       -       -       -
ESTABLISHED       2 22%    2    0 >400.0s >90.00s >399.9s
FIN_WAIT1         0  0%    0    0       -       -       -
FIN_WAIT2         2 22%    2    0  >60.0m  >60.0m  >60.0m
  orphans         1
CLOSING           0  0%    0    0       -       -       -
TIME_WAIT         3 33%    2    1 >29.99s >29.99s >29.99s
CLOSE_WAIT        0  0%    0    0       -       -       -
LAST_ACK          0  0%    0    0       -       -       -
CLOSE             -   -    -    -       -       -       -

TIME_WAIT ends in: least 0s, median 30.00s, most 59.00s; 1 end within 1 s, 1
  within 10 s, 2 within 30 s, 3 within 60 s; 1 overdue, waiting for the timer.
  All nominal: the timer wheel adds up to 2 s at HZ=250, 4.1 s at HZ=1000.

SOCKETS ESTABLISHED FIN_WAIT2 TIME_WAIT LOCAL-PORT CGROUP
      3           0         1         2 80         -
      3           1         1         0 80         /system.slice/nginx.service
      3           1         0         1 other (3)
"
    );
    let narrow = of(40);
    assert!(narrow.lines().all(|line| line.len() <= 40), "{narrow}");
    assert!(narrow.contains("\n      3 80         ...ice/nginx.service\n"), "{narrow}");
}

#[test]
fn as_json() {
    let mut report = report(Criteria::default(), &[GroupBy::Process], 1);
    report.extent.unreadable = 2;
    let line = written(&report, |report, moment, out| json::write(report, moment, out).unwrap());
    let document: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
    assert_eq!(document["time"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(document["states"]["TIME_WAIT"]["ipv6"], 1);
    assert!(document["states"]["CLOSE"]["sockets"].is_null());
    assert_eq!(document["time_wait_left"]["max_ns"], 59_000_000_000u64);
    assert_eq!(document["groups"][0]["key"], serde_json::json!({"process": null}));
    assert_eq!(document["groups"][0]["states"]["TIME_WAIT"], 3);
    assert_eq!(
        (&document["groups"][1]["key"], &document["groups"][1]["groups"]),
        (&serde_json::Value::Null, &2.into())
    );
    assert_eq!(document["namespaces"]["unreadable"], 2);
    assert_eq!(document["owners"], serde_json::json!({"none": 4, "none_time_wait": 3, "unknown": 1, "shared": 0}));
}

#[test]
fn what_is_not_known_is_said() {
    let mut report = report(Criteria::default(), &[GroupBy::Process], 20);
    let said = |report: &StatesReport, root| notes::of(report, root).join("\n");
    let text = said(&report, false);
    assert!(text.contains("TIME_WAIT has no process (3 sockets)"), "{text}");
    assert!(text.contains("1 socket has no process"), "{text}");
    assert!(text.contains("process unknown for 1 socket: run as root"), "{text}");
    assert!(!said(&report, true).contains("run as root"), "{text}");
    report.extent = Extent { unreadable: 2, unseen: true, inconsistent: 1, odd: 3, ..Extent::default() };
    assert_eq!(said(&report, false).lines().count(), 7);
    report.holders = report.holders.map(|holders| UnknownHolders { shared: 1, ..holders });
    let text = said(&report, true);
    assert!(text.contains("1 listener: several processes have it") && !text.contains("process is not known"), "{text}");
    report.holders = None;
    report.extent = Extent::default();
    assert_eq!(said(&report, false), "");
}
