//! Very many connections that end, in every way that takes no time: nothing is lost, every life has one end and one reason, and they add up to the kernel's
//! counters.

use std::{
    collections::HashMap,
    net::{Shutdown, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use nix::libc;
use serde_json::Value;
use socket2::Socket;

use crate::{
    V4,
    ends::{TCP_REPAIR, abort, disconnect},
    guest::{self, many},
    netns,
    tracer::{Ended, Tracer, by_id, command},
    traffic::{self, until},
    withheld,
};

/// The tracers may have millions of records to go through.
const AT_THE_END: Duration = Duration::from_secs(120);

/// How many threads make connections.
fn hands() -> u32 {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(4) as u32)
}

/// Does it in several threads at once, with a number from 0 on. How long that took.
fn side_by_side(work: impl Fn(u32) + Sync) -> Duration {
    let begin = Instant::now();
    thread::scope(|scope| {
        for hand in 0..hands() {
            let work = &work;
            scope.spawn(move || work(hand));
        }
    });
    begin.elapsed()
}

fn a_second(connections: u64, took: Duration) -> u64 {
    (connections as f64 / took.as_secs_f64()) as u64
}

/// Makes so many connections in each thread, and resets them.
fn reset(each: u32) -> Duration {
    side_by_side(|_| {
        let listener = traffic::listen(V4);
        let at = traffic::address(&listener);
        for _ in 0..each {
            let client = traffic::connect(at);
            let _server = traffic::accept(&listener);
            abort(client);
        }
    })
}

/// Ten thousand connections that are reset, as fast as it goes. How fast that is, is said; nothing depends on it.
pub fn ten_thousand_resets() {
    let each = many(10_000) / hands();
    let connections = u64::from(each * hands());
    let netns = netns::inode().to_string();
    // What the machine gives, shared as it may be with others.
    let untraced = a_second(connections, reset(each));
    let stat = Tracer::start(&[
        "stat",
        "--json",
        "--netns",
        &netns,
        "--by",
        "process,service",
        "--ring-buffer",
        "64",
        "--one-in",
        "1",
    ]);
    // Lines are made of it afterwards: making them takes the CPU that the connections want.
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("resets.tcpwait");
    let file = file.to_str().unwrap();
    let recorder = Tracer::start(&["record", "-o", file, "--netns", &netns, "--ring-buffer", "64"]);
    let took = reset(each);
    println!(
        "dying: {connections} connections made and reset, {} a second; {untraced} with nobody looking",
        a_second(connections, took)
    );
    let (stat, recorded) = (stat.stop_within(AT_THE_END), recorder.stop_within(AT_THE_END));
    assert!(recorded.code == Some(0) && !recorded.stderr.contains("lost "), "{recorded:?}");
    let trace = Tracer::spawn(command(["trace", "--json", "--from", file])).end(AT_THE_END);
    let report = Report::of(&stat, connections * 10);
    report.is("/ends/reset/count", connections);
    report.is("/ends/reset-sent/count", connections);
    report.is("/ends/reset-sent/details/linger-0", connections);
    report.is("/ends/reset-sent/from/ESTABLISHED", connections);
    report.is("/time_wait/closed_first/neither", 2 * connections);
    report.is("/ends/closed/count", u64::from(hands()));
    report.counts("TcpEstabResets", 2 * connections);
    report.counts("TcpExtTCPAbortOnData", connections);
    let check = report.check("TcpOutRsts");
    assert!(check["seen_max"].is_null() && check["explained"] == true, "{check}");
    if report.slack == 0 {
        trace.expect_clean();
    }
    for (id, life) in by_id(&trace.lines()) {
        let ends: Vec<_> = life.iter().filter(|line| line.to == "CLOSE").collect();
        assert!(ends.len() <= 1, "{id}: {life:?}");
        let is_told = ends.iter().all(|end| end.reason.as_deref().is_some_and(|reason| reason != "unknown"));
        assert!(is_told || report.slack > 0, "{life:?}");
    }
}

/// How one connection ends, and what is to be counted for that.
struct Way {
    name: &'static str,
    /// Reason, detail (or none) and state that was left, of each end that comes to CLOSE in a full socket.
    ends: &'static [(&'static str, Option<&'static str>, &'static str)],
    /// The counters, besides `TcpEstabResets` and `TcpAttemptFails`, which the states tell.
    counted: &'static [&'static str],
    /// Makes a connection to this listener, and ends it.
    make: fn(&Socket, SocketAddr),
}

const ON_DATA: &str = "TcpExtTCPAbortOnData";
const ON_CLOSE: &str = "TcpExtTCPAbortOnClose";
const ON_LINGER: &str = "TcpExtTCPAbortOnLinger";
const RESET: (&str, Option<&str>, &str) = ("reset", None, "ESTABLISHED");

const WAYS: [Way; 10] = [
    Way { name: "closed", ends: &[("closed", None, "LAST_ACK")], counted: &[], make: closed },
    Way {
        name: "linger-0",
        ends: &[("reset-sent", Some("linger-0"), "ESTABLISHED"), RESET],
        counted: &[ON_DATA],
        make: |listener, to| {
            let (client, _server) = connected(listener, to);
            abort(client);
        },
    },
    Way {
        name: "unread-data",
        ends: &[("reset-sent", Some("unread-data"), "ESTABLISHED"), RESET],
        counted: &[ON_CLOSE],
        make: unread,
    },
    Way {
        name: "disconnect",
        ends: &[("reset-sent", Some("disconnect"), "ESTABLISHED"), RESET],
        counted: &[],
        make: |listener, to| {
            let (client, _server) = connected(listener, to);
            disconnect(&client);
        },
    },
    Way {
        name: "data-after-close",
        ends: &[("reset-sent", Some("data-after-close"), "FIN_WAIT2"), ("reset", None, "CLOSE_WAIT")],
        counted: &[ON_DATA],
        make: after_shutdown,
    },
    Way {
        name: "linger2",
        ends: &[("reset-sent", Some("linger"), "FIN_WAIT2"), ("reset", None, "CLOSE_WAIT")],
        counted: &[ON_DATA],
        make: |listener, to| {
            let (client, server) = connected(listener, to);
            set_linger2(&client);
            // Else the FIN is acknowledged only with the server's own.
            traffic::set_option(&server, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1);
            drop(client);
            is_reset(&server);
        },
    },
    Way {
        name: "linger2-later",
        ends: &[("reset-sent", Some("linger"), "FIN_WAIT2"), ("reset", None, "CLOSE_WAIT")],
        counted: &[ON_LINGER],
        make: |listener, to| {
            let (client, server) = connected(listener, to);
            set_linger2(&client);
            traffic::set_option(&server, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1);
            client.shutdown(Shutdown::Write).unwrap();
            until("FIN_WAIT2", AT_THE_END, || traffic::state(&client) == traffic::FIN_WAIT2);
            drop(client);
            is_reset(&server);
        },
    },
    Way {
        name: "listener-closed",
        ends: &[("listener-closed", None, "ESTABLISHED"), RESET, ("closed", None, "LISTEN")],
        counted: &[],
        make: |_, to| {
            let listener = traffic::listen(&to.ip().to_string());
            let _client = traffic::connect(traffic::address(&listener));
            drop(listener);
        },
    },
    Way {
        name: "repair",
        ends: &[("repair", None, "ESTABLISHED"), ("reset-sent", Some("linger-0"), "ESTABLISHED")],
        counted: &[ON_DATA],
        make: |listener, to| {
            let (client, server) = connected(listener, to);
            traffic::set_option(&client, libc::IPPROTO_TCP, TCP_REPAIR, 1);
            drop(client);
            abort(server);
        },
    },
    Way {
        name: "refused",
        ends: &[("reset", None, "SYN_SENT")],
        counted: &[],
        make: |_, to| {
            // One below the listener's: it is kept free.
            let to = SocketAddr::new(to.ip(), NOBODY);
            traffic::socket(to.ip()).connect(&to.into()).unwrap_err();
        },
    },
];

/// A port that nobody listens on, below those that connect() and bind() choose from.
const NOBODY: u16 = 900;

fn connected(listener: &Socket, to: SocketAddr) -> (Socket, Socket) {
    let client = traffic::connect(to);
    (client, traffic::accept(listener))
}

fn closed(listener: &Socket, to: SocketAddr) {
    let (client, server) = connected(listener, to);
    drop(client);
    traffic::read_end(&server);
}

fn unread(listener: &Socket, to: SocketAddr) {
    let (client, server) = connected(listener, to);
    server.send(b"unread").unwrap();
    until("it is there", AT_THE_END, || {
        client.peek(&mut [std::mem::MaybeUninit::uninit(); 1]).is_ok_and(|read| read == 1)
    });
    drop(client);
}

fn after_shutdown(listener: &Socket, to: SocketAddr) {
    let (client, server) = connected(listener, to);
    client.shutdown(Shutdown::Both).unwrap();
    traffic::read_end(&server);
    server.send(b"late").unwrap();
    is_reset(&server);
}

fn is_reset(socket: &Socket) {
    until("the RST", AT_THE_END, || socket.take_error().unwrap().is_some());
}

fn set_linger2(socket: &Socket) {
    traffic::set_option(socket, libc::IPPROTO_TCP, libc::TCP_LINGER2, -1);
}

/// A hundred thousand connections, ten ways of dying: the ends are as many as were made, and add up to the kernel's counters.
pub fn ten_ways() {
    let all = if guest::is_where_we_are() { many(8_000) } else { 100_000 };
    let each = all / hands() / WAYS.len() as u32;
    let of_a_way = u64::from(each * hands());
    // A TIME_WAIT of each that is closed stays.
    netns::sysctl("ipv4/ip_local_port_range", "1024 65535");
    netns::sysctl("ipv4/tcp_max_tw_buckets", "200000");
    let names = ["TcpEstabResets", "TcpOutRsts", "TcpAttemptFails", ON_DATA, ON_CLOSE, ON_LINGER];
    let names = || names.into_iter().chain(["TcpExtTCPAbortOnMemory", "TcpExtTCPAbortOnTimeout"]);
    let before: HashMap<&str, u64> = names().map(|name| (name, counter(name))).collect();
    let netns = netns::inode().to_string();
    let stat = Tracer::start(&["stat", "--json", "--netns", &netns, "--ring-buffer", "64", "--one-in", "1"]);
    let took = side_by_side(|hand| {
        // Each way from an address of its own, so that a port that is taken is in nobody's way.
        let listeners: Vec<(Socket, SocketAddr)> = (0..WAYS.len())
            .map(|way| {
                let listener = traffic::listen(&format!("127.0.{}.{}", hand + 1, way + 1));
                let at = traffic::address(&listener);
                (listener, at)
            })
            .collect();
        for _ in 0..each {
            for (way, (listener, at)) in WAYS.iter().zip(&listeners) {
                (way.make)(listener, *at);
            }
        }
    });
    let stat = stat.stop_within(AT_THE_END);
    let connections = of_a_way * WAYS.len() as u64;
    println!("dying: {connections} connections in {} ways, {} a second", WAYS.len(), a_second(connections, took));
    let report = Report::of(&stat, connections * 10);

    let mut ends: HashMap<(&str, Option<&str>, &str), u64> = HashMap::new();
    let mut counted: HashMap<&str, u64> = HashMap::new();
    for way in &WAYS {
        way.ends.iter().for_each(|end| *ends.entry(*end).or_default() += of_a_way);
        way.counted.iter().for_each(|name| *counted.entry(name).or_default() += of_a_way);
    }
    *ends.entry(("closed", None, "LISTEN")).or_default() += u64::from(hands()) * WAYS.len() as u64;
    for key in ["count", "details", "from"] {
        let mut wanted: HashMap<String, u64> = HashMap::new();
        for ((reason, detail, from), count) in &ends {
            let path = match (key, detail) {
                ("count", _) => format!("/ends/{reason}/count"),
                ("from", _) => format!("/ends/{reason}/from/{from}"),
                (_, Some(detail)) => format!("/ends/{reason}/details/{detail}"),
                (_, None) => continue,
            };
            *wanted.entry(path).or_default() += count;
        }
        wanted.iter().for_each(|(path, count)| report.is(path, *count));
    }
    report.is("/ends/unknown/count", 0);
    // The kernel's own say the same.
    let from =
        |state: &str| ends.iter().filter(|((_, _, from), _)| *from == state).map(|(_, count)| count).sum::<u64>();
    counted.insert("TcpEstabResets", from("ESTABLISHED") + from("CLOSE_WAIT"));
    counted.insert("TcpAttemptFails", from("SYN_SENT"));
    for name in names().filter(|name| *name != "TcpOutRsts") {
        let grown = counter(name) - before[name];
        assert_eq!(grown, counted.get(name).copied().unwrap_or_default(), "{name}");
        report.counts(name, grown);
    }
    let check = report.check("TcpOutRsts");
    assert!(check["explained"] == true, "{check}");
    let way = WAYS.map(|way| way.name).join(", ");
    // Those of no connection, which answer a SYN that nobody listens for, are no end of this side.
    assert_eq!(check["kernel"], 9 * of_a_way, "{check}");
    let with_rst =
        ["reset-sent", "listener-closed", "timed-out"].map(|reason| report.number(&format!("/ends/{reason}/count")));
    assert_eq!(check["seen_min"], with_rst.iter().sum::<u64>(), "{check}: {}", report.document["ends"]);
    println!("dying: {way}");
}

fn counter(name: &str) -> u64 {
    match name.strip_prefix("TcpExt") {
        Some(name) => netns::tcp_ext(name),
        None => netns::tcp(name.strip_prefix("Tcp").unwrap()),
    }
}

/// The last report of `stat --json`, and by how much a count may be off where the kernel withholds events.
struct Report {
    document: Value,
    slack: u64,
}

impl Report {
    fn of(ended: &Ended, events: u64) -> Self {
        let document: Value = serde_json::from_str(ended.stdout.last().unwrap()).unwrap();
        Self { document, slack: withheld::of(events) }
    }

    /// What did not occur has no key.
    fn number(&self, path: &str) -> u64 {
        self.document.pointer(path).and_then(Value::as_u64).unwrap_or_default()
    }

    #[track_caller]
    fn is(&self, path: &str, wanted: u64) {
        let found = self.number(path);
        assert!(found.abs_diff(wanted) <= self.slack, "{path}: {found}, not {wanted}: {}", self.document["ends"]);
    }

    fn check(&self, counter: &str) -> &Value {
        let checks = self.document["audit"]["checks"].as_array().unwrap();
        checks.iter().find(|check| check["counter"] == counter).unwrap_or_else(|| panic!("no {counter}: {checks:?}"))
    }

    /// The audit has read this, and explains it.
    #[track_caller]
    fn counts(&self, counter: &str, count: u64) {
        let check = self.check(counter);
        assert_eq!(check["kernel"], count, "{check}");
        assert!(check["explained"] == true || self.slack > 0, "{check}");
    }
}
