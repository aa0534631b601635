//! How old what is there now is, against what the test itself measured: from a listing, from a trace that saw it begin, and from one that
//! began later. What is said to be known is right; what is said to be at least is never more than the truth, and near it where the
//! socket has been idle.

use std::{
    net::Shutdown,
    time::{Duration, Instant},
};

use serde_json::Value;
use socket2::Socket;

use crate::{
    actor::Cast,
    netns, packet,
    tracer::{SOON, START, Tracer, command},
    traffic::{self, Pair, deafen, hold, read_exactly, until},
};

/// A jiffy where they are longest, twice; and what a busy machine takes from a call to the segment that it causes.
const NEAR: Duration = Duration::from_millis(150);

const IDLE: Duration = Duration::from_secs(2);

/// Something that happened between two moments.
#[derive(Clone, Copy)]
struct Between(Instant, Instant);

impl Between {
    fn doing(what: impl FnOnce()) -> Self {
        let before = Instant::now();
        what();
        Self(before, Instant::now())
    }

    /// Whether this age was true of it at a moment between these.
    fn expect(self, what: &str, ns: u64, asked: Self, exact: bool) {
        let age = Duration::from_nanos(ns);
        let (least, most) = (asked.0.saturating_duration_since(self.1), asked.1.duration_since(self.0));
        let slack = if exact { Duration::from_millis(60) } else { Duration::ZERO };
        assert!(age <= most + slack, "{what}: {age:?}, and it is {most:?} at most");
        assert!(age + NEAR >= least, "{what}: {age:?}, and it is {least:?} at least");
    }
}

fn age<'a>(report: &'a Value, state: &str) -> &'a Value {
    &report["states"][state]["age"]
}

fn oldest(report: &Value, state: &str) -> u64 {
    age(report, state)["oldest_ns"].as_u64().unwrap_or_else(|| panic!("no age of {state} in {report}"))
}

fn counts(report: &Value, state: &str) -> (u64, u64) {
    let number = |key: &str| age(report, state)[key].as_u64().unwrap_or_else(|| panic!("no {key} in {report}"));
    (number("known"), number("at_least"))
}

/// `states --json` on this namespace, and when.
fn listed(more: &[&str]) -> (Value, Between) {
    let netns = netns::inode().to_string();
    let mut line = String::new();
    let asked = Between::doing(|| {
        let ended = Tracer::spawn(command([&["states", "--json", "--netns", &netns], more].concat())).end(START);
        assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{ended:?}");
        line = ended.stdout[0].clone();
    });
    (serde_json::from_str(&line).unwrap(), asked)
}

fn shut(socket: &Socket) {
    socket.shutdown(Shutdown::Write).unwrap();
}

/// Nothing is traced: what the kernel tells bounds ages from below, and nothing is said where it does not.
pub fn listed_alone(ip: &str) {
    let closed = Pair::on(ip);
    let mut open = None;
    let begun = Between::doing(|| open = Some(Pair::on(ip)));
    // Data long before the FIN, and after it: neither is when the state began.
    closed.client.send(b"x").unwrap();
    read_exactly(&closed.server, 1);
    closed.server.send(b"y").unwrap();
    read_exactly(&closed.client, 1);
    hold(IDLE);
    let fin = Between::doing(|| {
        shut(&closed.client);
        traffic::read_end(&closed.server);
    });
    // It hears no ACK of its FIN: when that call was, nothing tells.
    let deaf = Pair::on(ip);
    deafen(&deaf.client);
    shut(&deaf.client);
    traffic::read_end(&deaf.server);
    hold(IDLE);
    let (report, asked) = listed(&[]);
    for state in ["FIN_WAIT2", "CLOSE_WAIT"] {
        fin.expect(state, oldest(&report, state), asked, false);
    }
    assert_eq!((counts(&report, "FIN_WAIT2"), counts(&report, "CLOSE_WAIT")), ((0, 1), (0, 2)), "{report}");
    begun.expect("ESTABLISHED", oldest(&report, "ESTABLISHED"), asked, false);
    assert_eq!(counts(&report, "ESTABLISHED"), (0, 2), "{report}");
    for state in ["FIN_WAIT1", "LISTEN", "LAST_ACK"] {
        assert_eq!((age(&report, state)["oldest_ns"].as_u64(), counts(&report, state)), (None, (0, 0)), "{report}");
    }
    // What comes later makes the bound weaker, never wrong.
    closed.server.send(b"z").unwrap();
    read_exactly(&closed.client, 1);
    let (report, asked) = listed(&["--state", "FIN_WAIT2"]);
    assert!(Duration::from_nanos(oldest(&report, "FIN_WAIT2")) <= asked.1.duration_since(fin.0), "{report}");
    let (report, asked) = listed(&["--state", "CLOSE_WAIT", "-L", &closed.ends().1.port().to_string()]);
    let most = asked.1.duration_since(fin.0);
    assert!(Duration::from_nanos(oldest(&report, "CLOSE_WAIT")) <= most, "{report}");
    drop(open);
}

/// Who sits on what for so long.
pub fn older_than(ip: &str) {
    let mut sitter = Cast::named("sits-on-it").start();
    let to = sitter.does(&format!("listen {}", std::net::SocketAddr::new(ip.parse().unwrap(), 0))).parse().unwrap();
    let leave = |sitter: &mut crate::actor::Actor| {
        let client = traffic::connect(to);
        sitter.does("accept-and-hold");
        drop(client);
    };
    leave(&mut sitter);
    leave(&mut sitter);
    let second = Instant::now();
    hold(IDLE);
    leave(&mut sitter);
    let third = Instant::now();
    until("they are in CLOSE_WAIT", SOON, || listed(&["--state", "CLOSE_WAIT"]).0["sockets"] == 3);
    let mut report = Value::Null;
    // A busy machine may list so late that the third is as old as that.
    until("two of three are as old", SOON, || {
        let between = (second.elapsed() + third.elapsed()) / 2;
        let older_than = format!("{}ms", between.as_millis());
        report = listed(&["--older-than", &older_than, "--state", "CLOSE_WAIT", "--by", "process"]).0;
        report["sockets"] == 2
    });
    assert_eq!(report["age_unknown"], 0, "{report}");
    assert_eq!(report["groups"][0]["key"]["process"], "sits-on-it", "{report}");
    assert!(report["groups"][0]["oldest_at_least_ns"].as_u64() >= Some(1_000_000_000), "{report}");
    let (report, _) = listed(&["--older-than", "1h", "--by", "process"]);
    // The listener: since when it listens nothing tells. The three orphans of the clients' too.
    assert_eq!((&report["sockets"], &report["age_unknown"]), (&0.into(), &4.into()), "{report}");
}

/// The trace saw them begin, or began later.
pub fn traced(ip: &str) {
    let older = Pair::on(ip);
    let since = Between::doing(|| {
        shut(&older.client);
        traffic::read_end(&older.server);
    });
    // A FIN that nobody acknowledges, from before the trace: it is as old as the trace at least.
    let deaf = Pair::on(ip);
    deafen(&deaf.client);
    shut(&deaf.client);
    traffic::read_end(&deaf.server);
    hold(IDLE);
    let netns = netns::inode().to_string();
    let tracer = Tracer::start(&["stat", "--json", "--netns", &netns, "0.2"]);
    let started = Instant::now();
    tracer.wait_for_lines(SOON, |lines| lines.iter().any(|line| !line.contains(r#""older_than_trace":null"#)));
    let listener = traffic::listen(ip);
    let client = traffic::connect(traffic::address(&listener));
    let server = traffic::accept(&listener);
    let fin = Between::doing(|| {
        shut(&server);
        traffic::read_end(&client);
    });
    hold(IDLE);
    let mut document = Value::Null;
    let asked = Between::doing(|| {
        let ended = tracer.stop();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        document = serde_json::from_str(ended.stdout.last().unwrap()).unwrap();
    });
    // The last report is as of the last event before the tracer was told to end.
    let asked = Between(asked.0 - Duration::from_millis(100), asked.1);
    for state in ["FIN_WAIT2", "CLOSE_WAIT"] {
        since.expect(state, oldest(&document, state), asked, false);
    }
    assert_eq!((counts(&document, "FIN_WAIT2"), counts(&document, "CLOSE_WAIT")), ((1, 1), (1, 2)), "{document}");
    let younger = age(&document, "FIN_WAIT2")["p50_ns"].as_u64().unwrap();
    fin.expect("FIN_WAIT2 that was seen to begin", younger, asked, true);
    assert_eq!(counts(&document, "FIN_WAIT1"), (0, 1), "{document}");
    let of_trace = Duration::from_nanos(oldest(&document, "FIN_WAIT1"));
    assert!(of_trace >= IDLE && of_trace <= asked.1.duration_since(started) + SOON, "{document}");
    assert_eq!(counts(&document, "LISTEN"), (1, 2), "{document}");
}

/// A FIN that was overtaken by the acknowledgement of what was sent meanwhile: the last acknowledgement came before the state did.
pub fn an_overtaken_fin(ip: &str) {
    const CLOSE_WAIT: u8 = 8;
    let pair = Pair::on(ip);
    let (client, server) = pair.ends();
    let before = packet::numbers(&pair.client);
    pair.server.send(b"x").unwrap();
    read_exactly(&pair.client, 1);
    // Its ACK may be delayed; and then it answers nothing any more.
    hold(Duration::from_millis(400));
    deafen(&pair.client);
    let fin = Between::doing(|| {
        packet::send(client, server, packet::FIN | packet::ACK, before);
        until("the FIN has come", SOON, || traffic::state(&pair.server) == CLOSE_WAIT);
    });
    hold(Duration::from_millis(1_300));
    let (report, asked) = listed(&["--state", "CLOSE_WAIT"]);
    assert_eq!(counts(&report, "CLOSE_WAIT"), (0, 1), "{report}");
    let age = Duration::from_nanos(oldest(&report, "CLOSE_WAIT"));
    assert!(age <= asked.1.duration_since(fin.0), "{age:?}: {report}");
    let output = std::process::Command::new("ss").args(["-tinH", "state", "close-wait"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let last_ack = said.split_once("lastack:").unwrap().1.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    let most = fin.0.elapsed();
    assert!(Duration::from_millis(last_ack) > most, "no older than the FIN, so this tests nothing: {said}");
}

/// Of a FIN that nobody acknowledges nothing tells, but that it was there at the report before.
pub fn listed_again(ip: &str) {
    let deaf = Pair::on(ip);
    deafen(&deaf.client);
    let fin = Between::doing(|| shut(&deaf.client));
    traffic::read_end(&deaf.server);
    let netns = netns::inode().to_string();
    let ended = Tracer::spawn(command(["states", "--json", "--netns", &netns, "0.5", "4"])).end(START);
    let most = fin.0.elapsed();
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 4), "{ended:?}");
    let reports: Vec<Value> = ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(counts(&reports[0], "FIN_WAIT1"), (0, 0), "{}", reports[0]);
    let time = |report: &Value| report["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for pair in reports.windows(2) {
        assert_eq!(counts(&pair[1], "FIN_WAIT1"), (0, 1), "{}", pair[1]);
    }
    let age = Duration::from_nanos(oldest(&reports[3], "FIN_WAIT1"));
    let between = Duration::try_from(time(&reports[0]).duration_until(time(&reports[3]))).unwrap();
    assert!(age <= between && age <= most && age + Duration::from_secs(1) >= between, "{age:?} in {between:?}");
}
