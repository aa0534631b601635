//! Documents of what no recording holds, made of the types that the views print.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use tcpwait::{
    aggregate::{
        StatOptions,
        audit::{Audit, Check, CheckOutcome, Checked},
        by::{GroupBy, Value},
        census::{CensusKey, PlaceRow, TakenRow},
        connects::ConnectDestination,
        ends::{EndRow, Shared, TimesSummary},
        failures::{FailureKind, FailureRow},
        findings::StatFinding,
        ports::{
            advice::{Help, NoHelp, PortAdvice, PortCause},
            failures::{Failed, Process},
            forecast::Forecast,
            pace::Rates,
            report::{self as ports, Bound, Mean, PortDestination, PortRow, PortsReport, Reusable, Source},
            settings::PortSettings,
            states::PortStates,
        },
        report::StatReport,
    },
    doctor::{
        DoctorReport, PlacedFinding,
        finding::{Evidence, Finding, Severity},
    },
    event::Task,
    ledger::{Cut, CutBy, Ledger, LostRecords, Recorded},
    lifecycle::{Call, Detail, Failure, Reason, Search, Transition, Why},
    names::Names,
    schedule::Schedule,
    select::{Criteria, Selector},
    stat::Statistics,
    tcp::{Flow, Interface, NetnsId, State},
    view::{
        PortsView, ReportView, View, ViewContext, doctor,
        json::TraceJson,
        ports::json::PortsJson,
        probes::{self, BehaviourRow, ProbeRow, ProbesReport, Untold},
        raw,
        stat::json::StatJson,
        version::{self, Probed, Version},
    },
};

use crate::{stories, support};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NETNS: NetnsId = NetnsId::new(1, 0);
const INTERFACE: Interface = Interface { netns: NETNS, index: 7 };

/// Each with what it is.
pub fn documents() -> Vec<(&'static str, String)> {
    vec![
        ("all hooks", probes(true)),
        ("a kernel that tells little", probes(false)),
        ("lines", lines()),
        ("events", events()),
        ("a report", report()),
        ("ports that are full", filled()),
        ("findings", findings()),
        ("a version", version(true)),
        ("a version that knows little", version(false)),
    ]
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut text = Vec::new();
    write(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn context(names: &Names) -> ViewContext<'_> {
    ViewContext { names, realtime_offset_ns: 0, started_ns: 0 }
}

fn comm(name: &str) -> [u8; 16] {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    comm
}

fn flow() -> Flow {
    Flow { netns: NETNS, bound_dev_if: 7, laddr: HERE, raddr: HERE, lport: 40_000, rport: 80 }
}

/// Lines of `trace --json`.
fn lines() -> String {
    written(|out| write_lines(&mut TraceJson::default(), out))
}

/// Lines of `trace`, as this view writes them.
pub fn write_lines(view: &mut dyn View, out: &mut dyn Write) -> io::Result<()> {
    let names = Names::default();
    let owner = Some(Arc::new(Task { pid: 1, uid: 0, cgroup: 0, comm: comm("made") }));
    let mut step = Transition::new(1, 1, flow(), Some(State::LastAck), State::Close);
    step.dwell_at_least_ns = Some(1);
    step.reason = Some(Reason::Closed);
    let failure = |call, why| Failure {
        time_ns: 1,
        id: 0,
        flow: flow(),
        call,
        errno: 0,
        soft_errno: 0,
        why,
        owner: owner.clone(),
        retransmits: None,
        holders: None,
        search: None,
        v6only: None,
    };
    let search = Some(Search { lowest: 600, highest: 1023, refused: 9, last_ns: 2 });
    let search = Failure { search, ..failure(Call::Bind, Why::PortSearch) };
    let soft = Failure { soft_errno: 113, ..failure(Call::Connect, Why::SoftError) };
    let cut = |by| Recorded { cut: Some(Cut { at_byte: 1, by }), ..Recorded::default() };
    view.header(out)?;
    view.transition(&step, context(&names), out)?;
    view.failure(&search, context(&names), out)?;
    view.failure(&soft, context(&names), out)?;
    for by in [CutBy::EndsEarly, CutBy::Damaged, CutBy::RecordLength(1), CutBy::Unreadable(5)] {
        view.damage(&cut(by), out)?;
    }
    view.damage(&Recorded { impossible_times: 1, ..Recorded::default() }, out)
}

/// Lines of `trace --raw`.
fn events() -> String {
    let names = Names::default();
    let told = "1 state CLOSE SYN_SENT dev=7\n2 refused connect errno=113\n3 arm TIME_WAIT\n4 expire TIME_WAIT\n5 seed LISTEN id=2";
    let events = stories::events(told);
    written(|out| events.iter().try_for_each(|event| raw::event(event, context(&names), true, out)))
}

/// A report of `stat --json` in which everything is.
fn report() -> String {
    altered(StatJson)
}

/// A report in which everything is, in this view.
pub fn altered(view: impl ReportView + 'static) -> String {
    let (header, records) = support::records("handshakes");
    let audit = Audit::new(None, None);
    let wanted = StatOptions::new(&GroupBy::ALL, Default::default(), 5);
    let schedule = Schedule { interval: None, count: None };
    let mut out = Vec::new();
    let selector = Selector::new(Criteria::default());
    let view = Box::new(Altered(view));
    let mut statistics = Statistics::new(&header, selector, wanted, schedule, audit, view, &mut out);
    records.iter().for_each(|record| statistics.record(record).unwrap());
    statistics.finish().unwrap();
    drop(statistics);
    String::from_utf8(out).unwrap()
}

/// A view of a report to which more is added.
struct Altered<V>(V);

impl<V: ReportView> ReportView for Altered<V> {
    fn report(&mut self, report: &StatReport, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let mut report = report.clone();
        let check = |what, seen_max| Check { what, seen_min: 1, seen_max, kernel: 2 };
        report.audit.time_ns = Some(report.end_ns);
        report.audit.checks = vec![
            (check(Checked::Entries, 2), CheckOutcome::Agrees),
            (check(Checked::ResetsSent, u64::MAX), CheckOutcome::Agrees),
            (check(Checked::Sockstat, 1), CheckOutcome::Lost(1)),
        ];
        report.ledger.lost_ring = Some(LostRecords { states: 3, segments: 2, ..LostRecords::default() });
        report.ledger.undecodable = 1;
        let place = CensusKey { state: State::SynSent, netns: NETNS, service: Value::Local(80) };
        let row = PlaceRow {
            place,
            now: 12,
            growth: Some(-1),
            unanswered: 11,
            here: false,
            oldest_ns: Some(1),
            oldest_exact: true,
            owner: Some((comm("made"), false)),
        };
        report.places.push(row);
        let kind = FailureKind {
            call: Call::Connect,
            why: Why::Refused,
            errno: 111,
            comm: None,
            address: HERE,
            port: 80,
            interface: Some(INTERFACE),
            netns: NETNS,
        };
        report.failures.rows.push(FailureRow { kind, count: 1, last: None });
        let to = ConnectDestination { address: HERE, port: 80, interface: Some(INTERFACE) };
        report.connects.rows.push((to, report.connects.all));
        let destination = PortDestination::of(&flow());
        let taken = TakenRow { destination, taken: 9, states: Default::default(), growth: Some(1), owner: None };
        report.findings.extend([
            StatFinding::Unanswered(row),
            StatFinding::Ports { row: taken, available: 10, share: 0.9, in_ns: Some(1) },
            StatFinding::Cookies { count: 1 },
            StatFinding::Overflow { count: 1 },
        ]);
        let shared = TimesSummary { shared: Some(Shared { ns: 5_000_000_000, count: 9 }), ..TimesSummary::default() };
        let ended = EndRow {
            reason: Reason::TimedOut,
            detail: Some(Detail::Keepalive),
            from: Some(State::Established),
            count: 9,
            seen: 1,
            times: shared,
        };
        let nobody_knows = EndRow { detail: None, from: None, ..ended };
        report.ends.rows.extend([ended, nobody_knows]);
        report.groups.groups[0].ends.extend([ended, nobody_knows]);
        self.0.report(&report, context, out)?;
        // One without length has no rates.
        report.ends.reasons.iter_mut().for_each(|of| of.per_s = None);
        self.0.report(&report, context, out)
    }
}

/// A report of `ports` in which everything is.
fn filled() -> String {
    let process = Some(Process { comm: comm("made"), pid: Some(1) });
    let failed =
        Failed { call: Call::Connect, why: Why::NoFreePort, errno: 99, process, count: 1, first_ns: 1, last_ns: 2 };
    let rates = Rates {
        taken_per_s: 1.0,
        waits_per_s: 1.0,
        ended_per_s: 0.0,
        failed_per_s: 0.5,
        growth_per_s: -0.5,
        window_ns: 1,
        at_least: false,
    };
    let help = vec![
        Help::KeepOpen,
        Help::PeerClosesFirst,
        Help::TwReuse { now: 0, after_ms: 1000, timestamps_off: true, have_timestamps: Some(true) },
        Help::LowerReuseDelay { now_ms: 1000 },
        Help::WiderRange { low: 1, high: 2, widest: 3 },
        Help::FewerReserved { reserved: 1 },
        Help::MoreAddresses,
        Help::FinTimeout,
        Help::CloseWhatIsClosed,
        Help::FewerOpen,
        Help::LetFinThrough,
        Help::BindNoPort,
        Help::GiveUpEarlier,
    ];
    let row = |forecast| PortRow {
        destination: PortDestination::of(&flow()),
        in_use: 1,
        states: PortStates::default(),
        outside: 0,
        size: Some(2),
        reusable: Reusable::default(),
        bound_elsewhere: Some(0),
        share: Some(0.5),
        rates: Some(rates),
        held: Mean::default(),
        wait_ns: 1,
        needed: Some(1.0),
        forecast: Some(forecast),
        reuse_unknown: false,
        fails_early: false,
        holder: process.map(|process| ports::TopHolder { process, ports: 1, known: 1 }),
        failures: vec![failed],
        advice: Some(PortAdvice { cause: PortCause::TimeWait, help: help.clone(), no_help: vec![NoHelp::TwRecycle] }),
    };
    let forecasts = [
        Forecast::Full { next_free_ns: Some(1) },
        Forecast::FullIn { in_ns: 1 },
        Forecast::Steady { ports: 1.5, share: 0.75 },
        Forecast::Idle,
    ];
    let bound = Bound {
        source: Source::of(&PortDestination::of(&flow())),
        bound: 1,
        by_connect: 0,
        unknown: 0,
        in_use: 1,
        time_wait: 0,
        size: Some(2),
        share: Some(0.5),
        rates: Some(rates),
        forecast: Some(Forecast::Idle),
        holder: None,
    };
    let settings = PortSettings {
        range: Some(1..=2),
        reserved: Vec::new(),
        tw_reuse: Some(2),
        tw_reuse_delay_ms: Some(1000),
        timestamps: Some(1),
    };
    let report = PortsReport {
        begin_ns: 1,
        end_ns: 2,
        is_final: true,
        traced: true,
        namespaces: vec![(NETNS, Some(settings)), (NETNS, None)],
        rows: forecasts.map(row).into(),
        others: ports::Others::default(),
        bound: Some(vec![bound]),
        unknown: 0,
        binds: vec![ports::BindFailure {
            netns: NETNS,
            interface: Some(INTERFACE),
            laddr: HERE,
            lport: Some(80),
            failed,
        }],
        at_least: false,
        ledger: Ledger::default(),
    };
    let names = Names::default();
    written(|out| PortsJson.report(&report, context(&names), out))
}

/// What `doctor` says of a machine with every kind of evidence.
fn findings() -> String {
    let finding = Finding::new("close-wait-pile", Severity::Now, "a finding")
        .known_by([
            Evidence::Counter { counter: "one".to_owned(), grown: None, window_ns: 1, total: 1 },
            Evidence::Counter { counter: "another".to_owned(), grown: Some(1), window_ns: 1, total: 1 },
            Evidence::Setting { setting: "one".to_owned(), value: "1".to_owned() },
            Evidence::gauge("sockets", 1),
            Evidence::age("the oldest", 1),
            Evidence::Line { file: "one".to_owned(), line: 1, setting: "one".to_owned(), value: "1".to_owned() },
        ])
        .change("a change", "a risk")
        .in_vain("nothing");
    let mut report = DoctorReport { now: 1, ..DoctorReport::default() };
    report.findings.push(PlacedFinding { finding, namespaces: vec!["net:[1]".to_owned()] });
    report.unknown.push(tcpwait::doctor::Unknown { why: "no right".to_owned(), namespaces: Vec::new() });
    written(|out| doctor::json(&report, out))
}

/// What `version` says, of hooks that were tried or not.
fn version(all: bool) -> String {
    let mut version = Version::new(1, 3..=6, "6.1".to_owned(), "x86_64".to_owned());
    (version.commit, version.date) = (all.then_some("0123456789ab"), all.then_some("2026-11-27"));
    version.probes = all.then(|| Probed { attached: 1, unknown: vec!["nothing is known".to_owned()] });
    version.untried = (!all).then(|| "no right".to_owned());
    written(|out| version::write_json(&version, out))
}

/// What `probes` says of a kernel that tells all, or little.
fn probes(all: bool) -> String {
    let hook = |hook, why: Option<&str>| ProbeRow {
        hook,
        attached: why.is_none(),
        required: why.is_none(),
        missed: why.is_some(),
        why: why.map(str::to_owned),
        without: "nothing is known",
    };
    let behaviour = BehaviourRow {
        destroy_ends_time_wait: all.then_some(true),
        tw_counts_beginnings: all.then_some(false),
        untried: (!all).then(|| "no right".to_owned()),
    };
    let report = ProbesReport {
        kernel: "6.1".to_owned(),
        hooks: vec![hook("one", None), hook("other", Some("refused"))],
        ends_untold: vec![Untold { function: "tcp_abort", unknown: "ss -K" }],
        behaviour,
        hz: all.then_some(250),
    };
    written(|out| probes::write(&report, true, out))
}
