//! `tcpwait states`: what it counts is what `ss`, sockstat and the test itself say, at the same moment.

use std::{
    collections::BTreeMap,
    net::Shutdown,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::Socket;

use crate::{
    V4, V6,
    actor::Cast,
    exits::copy_for_all,
    fifty_thousand::churn,
    guest::many,
    netns,
    tracer::{Ended, Reading, SOON, START, Tracer, command},
    traffic::{self, Pair, deafen, hold, until},
};

const STATES: [&str; 11] = [
    "LISTEN",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "CLOSING",
    "TIME_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "CLOSE",
];

type Counts = BTreeMap<String, u64>;

/// Runs it to its end in the home namespace.
fn states(arguments: &[&str]) -> Ended {
    Tracer::spawn(command([&["states"], arguments].concat())).end(START)
}

/// Its report on this thread's namespace.
fn report(more: &[&str]) -> Value {
    let netns = netns::inode().to_string();
    let ended = states(&[&["--json", "--netns", &netns], more].concat());
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{ended:?}");
    serde_json::from_str(&ended.stdout[0]).unwrap()
}

fn count(report: &Value, state: &str) -> u64 {
    report["states"][state]["sockets"].as_u64().unwrap_or_else(|| panic!("no {state} in {report}"))
}

fn counts(report: &Value) -> Counts {
    let listed = STATES.iter().filter(|state| **state != "CLOSE");
    listed.map(|state| ((*state).to_owned(), count(report, state))).filter(|(_, count)| *count > 0).collect()
}

/// What `ss` counts, in our words.
fn by_ss(family: &str) -> Counts {
    let output = Command::new("ss").args(["-tanH", family]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut counts = Counts::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let name = match line.split_whitespace().next().unwrap() {
            "ESTAB" => "ESTABLISHED".to_owned(),
            "FIN-WAIT-1" => "FIN_WAIT1".to_owned(),
            "FIN-WAIT-2" => "FIN_WAIT2".to_owned(),
            other => other.replace('-', "_"),
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Sockets in every state that lasts, and TIME_WAITs. They stay as long as this.
struct Zoo(#[expect(dead_code, reason = "they are held open")] Vec<Socket>);

impl Zoo {
    fn on(ip: &str) -> Self {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(Pair::on(ip).close_client_first());
        }
        // Established: one accepted, one that waits to be.
        let pair = Pair::on(ip);
        held.push(traffic::connect(traffic::address(&pair.listener)));
        // It hears no SYN-ACK: SYN_SENT here, SYN_RECV there.
        let to = traffic::address(&pair.listener);
        let unheard = traffic::socket(to.ip());
        deafen(&unheard);
        unheard.set_nonblocking(true).unwrap();
        let begun = unheard.connect(&to.into()).unwrap_err();
        assert_eq!(begun.raw_os_error(), Some(nix::libc::EINPROGRESS));
        held.push(unheard);
        held.extend([pair.listener, pair.client, pair.server]);
        // Its FIN is acknowledged, and it does not hear of it: FIN_WAIT1, and CLOSE_WAIT.
        let pair = Pair::on(ip);
        deafen(&pair.client);
        pair.client.shutdown(Shutdown::Write).unwrap();
        traffic::read_end(&pair.server);
        held.extend([pair.listener, pair.client, pair.server]);
        // FIN_WAIT2 that a process holds, and one that none does.
        let pair = Pair::on(ip);
        pair.client.shutdown(Shutdown::Write).unwrap();
        traffic::read_end(&pair.server);
        held.extend([pair.listener, pair.client, pair.server]);
        let pair = Pair::on(ip);
        drop(pair.client);
        traffic::read_end(&pair.server);
        held.extend([pair.listener, pair.server]);
        // The peer's FIN comes, and no ACK of the own one: CLOSING, and FIN_WAIT1.
        let pair = Pair::on(ip);
        [&pair.client, &pair.server].into_iter().for_each(deafen);
        [&pair.client, &pair.server].into_iter().for_each(|end| end.shutdown(Shutdown::Write).unwrap());
        pair.client.detach_filter().unwrap();
        held.extend([pair.listener, pair.client, pair.server]);
        // The ACK of the last FIN is not heard: LAST_ACK.
        let pair = Pair::on(ip);
        pair.client.shutdown(Shutdown::Write).unwrap();
        traffic::read_end(&pair.server);
        deafen(&pair.server);
        pair.server.shutdown(Shutdown::Write).unwrap();
        traffic::read_end(&pair.client);
        drop(pair.client);
        held.extend([pair.listener, pair.server]);
        Self(held)
    }

    fn expected() -> Counts {
        let expected = [
            ("LISTEN", 9),
            ("SYN_SENT", 1),
            ("SYN_RECV", 1),
            ("ESTABLISHED", 4),
            ("FIN_WAIT1", 2),
            ("FIN_WAIT2", 2),
            ("CLOSING", 1),
            ("TIME_WAIT", 4),
            ("CLOSE_WAIT", 3),
            ("LAST_ACK", 1),
        ];
        expected.map(|(state, count)| (state.to_owned(), count)).into()
    }
}

/// Every state, held against `ss` before and after, sockstat, and what was made.
pub fn against_ss(ip: &str) {
    let _zoo = Zoo::on(ip);
    let family = if ip == V4 { "-4" } else { "-6" };
    let (own, other) = if ip == V4 { ("ipv4", "ipv6") } else { ("ipv6", "ipv4") };
    // A retransmission has to come before CLOSING is reached.
    until("every state", SOON, || {
        hold(Duration::from_millis(50));
        by_ss(family) == Zoo::expected()
    });
    // While they are counted nothing may happen, and a retransmission gives up some day.
    let mut report_then = Value::Null;
    until("nothing happens meanwhile", SOON, || {
        let (before, tw_before) = (by_ss(family), netns::time_waits());
        report_then = report(&[]);
        before == by_ss(family) && tw_before == netns::time_waits()
    });
    let report_then = report_then;
    assert_eq!(counts(&report_then), by_ss(family));
    assert_eq!(counts(&report_then), Zoo::expected(), "{report_then}");
    assert_eq!(report_then["fin_wait2_minis"], 1, "{report_then}");
    assert_eq!(count(&report_then, "TIME_WAIT") + 1, netns::time_waits(), "{report_then}");
    assert_eq!(report_then["sockets"].as_u64(), Some(Zoo::expected().values().sum()));
    let all = report_then["states"].as_object().unwrap();
    assert!(all.keys().map(String::as_str).eq(STATES.iter().copied().collect::<std::collections::BTreeSet<_>>()));
    assert!(all["CLOSE"]["sockets"].is_null(), "the kernel lists none: {report_then}");
    for (state, row) in all.iter().filter(|(state, _)| *state != "CLOSE") {
        assert_eq!((&row[own], &row[other]), (&row["sockets"], &Value::from(0)), "{state}");
    }
    // Filters.
    assert_eq!(counts(&report(&[family])), counts(&report_then));
    assert_eq!(report(&[if ip == V4 { "-6" } else { "-4" }])["sockets"], 0);
    let some = report(&["--state", "TIME_WAIT,fin-wait-2"]);
    assert_eq!((count(&some, "TIME_WAIT"), count(&some, "FIN_WAIT2")), (4, 2), "{some}");
    assert_eq!(some["states"].as_object().unwrap().len(), 2, "what was not asked for is not said to be 0: {some}");
}

/// IPv4 over IPv6 sockets is IPv4, in TIME_WAIT too.
pub fn v4_mapped() {
    let listener = traffic::listen("::");
    listener.set_only_v6(false).unwrap_or_default();
    let port = traffic::address(&listener).port();
    let client = traffic::connect(format!("127.0.0.1:{port}").parse().unwrap());
    let server = traffic::accept(&listener);
    drop(server);
    traffic::read_end(&client);
    drop(client);
    let report = report(&[]);
    let row = |state: &str, family: &str| report["states"][state][family].as_u64().unwrap();
    assert_eq!((row("TIME_WAIT", "ipv4"), row("TIME_WAIT", "ipv6")), (1, 0), "{report}");
    assert_eq!((row("LISTEN", "ipv4"), row("LISTEN", "ipv6")), (0, 1), "{report}");
}

/// Two TIME_WAITs, three seconds apart.
pub fn time_left(ip: &str) {
    const APART: Duration = Duration::from_secs(3);
    const NEAR: u64 = 1_000_000_000;
    let begun = Instant::now();
    drop(Pair::on(ip).close_client_first());
    hold(APART);
    drop(Pair::on(ip).close_client_first());
    let ended = Instant::now();
    let report = report(&[]);
    let most_ago = u64::try_from(begun.elapsed().as_nanos()).unwrap();
    let left = &report["time_wait_left"];
    let ns = |key: &str| left[key].as_u64().unwrap_or_else(|| panic!("no {key} in {report}"));
    let least_ago = u64::try_from(ended.duration_since(begun).as_nanos()).unwrap();
    assert!(ns("max_ns") <= 60_000_000_000 && ns("min_ns") + least_ago <= 60_000_000_000 + NEAR, "{report}");
    assert!(ns("min_ns") + most_ago + NEAR >= 60_000_000_000, "{report}");
    assert!(ns("max_ns") >= ns("min_ns") + 3_000_000_000 - NEAR, "{report}");
    assert_eq!(ns("p50_ns"), ns("min_ns"), "of two the lower: {report}");
    let within: Vec<_> = left["within"].as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).collect();
    assert_eq!((within.len(), within[3], left["over"].as_u64()), (4, 2, Some(0)), "{report}");
}

/// A great many: all are counted, alone and in groups.
pub fn many_time_waits() {
    netns::sysctl("ipv4/tcp_max_tw_buckets", "500000");
    thread::scope(|scope| (0..2).for_each(|worker| drop(scope.spawn(move || churn(worker, many(20_000) / 2)))));
    let mut then = Value::Null;
    until("as many before as after", SOON, || {
        let before = netns::time_waits();
        then = report(&["--by", "remote,local-port", "--top", "5"]);
        before == netns::time_waits()
    });
    assert_eq!(count(&then, "TIME_WAIT"), netns::time_waits(), "{then}");
    let groups = then["groups"].as_array().unwrap();
    let sum = |key: &str| groups.iter().map(|group| group[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((groups.len(), sum("sockets")), (6, then["sockets"].as_u64().unwrap()), "{then}");
    assert!(groups[5]["key"].is_null() && groups[5]["groups"].as_u64().unwrap() > 100, "{then}");
    let sizes: Vec<_> = groups[..5].iter().map(|group| group["sockets"].as_u64()).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{then}");
    assert!(then["owners"].is_null(), "nobody asked: {then}");
}

/// Who holds what; TIME_WAIT is nobody's.
pub fn owners() {
    let mut server = Cast { uid: 65_534, ..Cast::named("the-server") }.start();
    let mut client = Cast::named("the-client").start();
    let address = server.does(&format!("listen {V4}:0"));
    client.does(&format!("connect {address}"));
    server.does("accept");
    client.does("close");
    server.does("read-end");
    server.does("close");
    client.does(&format!("connect {address}"));
    server.does("accept");
    let then = report(&["--by", "process,pid"]);
    let groups = then["groups"].as_array().unwrap();
    let of = |process: Value| {
        groups.iter().find(|group| group["key"]["process"] == process).unwrap_or_else(|| panic!("no {process}: {then}"))
    };
    let (servers, clients, nobodys) = (of("the-server".into()), of("the-client".into()), of(Value::Null));
    assert_eq!(servers["key"]["pid"], server.pid(), "{then}");
    assert_eq!((&servers["states"]["LISTEN"], &servers["states"]["ESTABLISHED"]), (&1.into(), &1.into()), "{then}");
    assert_eq!((clients["key"]["pid"].as_u64(), &clients["sockets"]), (Some(client.pid().into()), &1.into()), "{then}");
    assert_eq!((&nobodys["states"]["TIME_WAIT"], &nobodys["sockets"]), (&1.into(), &1.into()), "{then}");
    assert_eq!(
        then["owners"],
        serde_json::json!({"none": 1, "none_time_wait": 1, "unknown": 0, "shared": 0}),
        "{then}"
    );
    // Filters by owner; a TIME_WAIT has none.
    let pid = server.pid().to_string();
    for filter in [["-p", pid.as_str()], ["--comm", "the-server"]] {
        let own = report(&filter);
        assert_eq!((count(&own, "LISTEN"), count(&own, "ESTABLISHED"), count(&own, "TIME_WAIT")), (1, 1, 0), "{own}");
    }
    // The kernel knows whose a socket is.
    let by_uid = report(&["--by", "uid", "--state", "LISTEN"]);
    assert_eq!(by_uid["groups"][0]["key"]["uid"], 65_534, "{by_uid}");
    // The end that is listened on.
    let port = address.rsplit_once(':').unwrap().1;
    let by_service = report(&["--by", "service", "--state", "ESTABLISHED"]);
    let keys: Vec<_> = by_service["groups"].as_array().unwrap().iter().map(|group| &group["key"]["service"]).collect();
    assert!(keys.contains(&&format!(":{port}").into()) && keys.contains(&&address.into()), "{by_service}");
    let text = states(&["--netns", &netns::inode().to_string(), "--by", "process"]);
    assert!(text.stderr.contains("TIME_WAIT has no process"), "{text:?}");
}

/// All of them without `--netns`, each apart.
pub fn of_every_namespace() {
    let _pair = Pair::on(V6);
    let ended = states(&["--json", "--by", "netns", "--top", "100000"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let all: Value = serde_json::from_str(&ended.stdout[0]).unwrap();
    let own = all["groups"].as_array().unwrap().iter().find(|group| group["key"]["netns"] == netns::inode());
    let own = own.unwrap_or_else(|| panic!("not there: {all}"));
    assert_eq!((&own["states"]["LISTEN"], &own["states"]["ESTABLISHED"]), (&1.into(), &2.into()), "{all}");
    assert!(all["namespaces"]["read"].as_u64() > Some(1), "{all}");
}

/// The own namespace, and what is missing is said.
pub fn not_root() {
    let _pair = Pair::on(V4);
    let (_place, copy) = copy_for_all();
    let nobody = |arguments: &[&str]| {
        let mut tcpwait = Command::new(&copy);
        tcpwait.arg("states").args(arguments).current_dir("/");
        tcpwait.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tcpwait.uid(65_534).gid(65_534);
        Tracer::spawn(tcpwait).end(SOON)
    };
    let ended = nobody(&["--json", "--by", "process"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout[0]).unwrap();
    assert_eq!((count(&report, "LISTEN"), count(&report, "ESTABLISHED")), (1, 2), "{report}");
    let namespaces = &report["namespaces"];
    assert_eq!((&namespaces["read"], &namespaces["unseen"]), (&1.into(), &true.into()), "{report}");
    assert_eq!((&report["groups"][0]["key"]["process"], &report["owners"]["unknown"]), (&Value::Null, &3.into()));
    for sentence in ["of some processes cannot be seen", "process unknown for 3 sockets: run as root"] {
        assert!(ended.stderr.contains(sentence), "{ended:?}");
    }
    let text = nobody(&[]);
    let heading = text.stdout[..2].join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.code == Some(0) && heading.contains("of those that can be seen"), "{text:?}");
}

/// `INTERVAL COUNT`, Ctrl-C, and a reader that goes away.
pub fn again_and_again() {
    let ended = states(&["--json", "0.05", "3"]);
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 3), "{ended:?}");
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let running = Tracer::spawn(command(["states", "--json", "0.05"]));
        running.wait_for_output();
        running.signal(signal);
        assert_eq!(running.end(SOON).code, Some(0));
    }
    let head = Reading { at_most: 1, ..Reading::default() };
    let mut gone = Tracer::spawn_reading(command(["states", "0.05"]), head);
    until("it ends", SOON, || gone.has_ended());
    let ended = gone.end(SOON);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("stdout"), "{ended:?}");
}
