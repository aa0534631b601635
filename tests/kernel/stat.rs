//! Reports on traffic whose every number is known beforehand, and on traffic of which too much comes at once.

use std::{
    fs,
    net::{Shutdown, SocketAddr},
    thread,
    time::Duration,
};

use nix::{libc, sys::signal::Signal};
use serde_json::Value;

use crate::{
    V4,
    actor::{self, Cast},
    fifty_thousand::churn,
    guest::many,
    netns,
    tracer::{Ended, SOON, Tracer, command},
    traffic::{self, Pair, until},
    withheld,
};

/// Time for a debug build to take in what it was sent, beside all other tests.
const PATIENCE: Duration = Duration::from_secs(100);

fn start(more: &[&str]) -> Tracer {
    let netns = netns::inode().to_string();
    // All connections, however slow this machine is: tests/kernel/thinned.rs has the others.
    Tracer::start(&[&["stat", "--json", "--netns", &netns, "--one-in", "1"], more].concat())
}

fn documents(ended: &Ended) -> Vec<Value> {
    ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The last document, which covers the whole time.
fn last(ended: &Ended) -> Value {
    let last = documents(ended).pop().unwrap_or_else(|| panic!("no report: {ended:?}"));
    assert_eq!(last["final"], true, "{last}");
    last
}

fn number(document: &Value, path: &str) -> u64 {
    document.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {document}"))
}

fn entered(document: &Value, state: &str) -> u64 {
    number(document, &format!("/states/{state}/entered"))
}

/// How often a transition was seen, and how often the kernel side counted it.
fn transition(document: &Value, from: &str, to: &str) -> (u64, u64) {
    let rows = document["transitions"].as_array().unwrap();
    let row = rows.iter().find(|row| row["from"] == from && row["to"] == to);
    let row = row.unwrap_or_else(|| panic!("no {from} -> {to} in {document}"));
    (row["count"].as_u64().unwrap(), row["kernel"].as_u64().unwrap_or_else(|| panic!("not counted: {row}")))
}

/// The comparisons with the kernel's own counters; each by what is compared and with what.
fn audit(document: &Value, counter: &str) -> (u64, u64, u64) {
    let checks = document["audit"]["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["counter"] == counter);
    let check = check.unwrap_or_else(|| panic!("no {counter} in {document}"));
    (number(check, "/seen_min"), number(check, "/seen_max"), number(check, "/kernel"))
}

/// Two processes connect to three servers, of which one hangs up first.
pub fn every_number() {
    let tracer = start(&["--by", "service,process,remote"]);
    let (mut alpha, mut beta) = (Cast::named("alpha").start(), Cast::named("beta").start());
    let (mut one, mut two, mut three) =
        (Cast::named("one").start(), Cast::named("two").start(), Cast::named("three").start());
    let places = [(&mut one, "127.0.1.1"), (&mut two, "127.0.1.2"), (&mut three, "127.0.1.3")];
    let places = places.map(|(server, ip)| server.does(&format!("listen {ip}:0")));
    for _ in 0..3 {
        connect(&mut alpha, &mut one, &places[0], true);
    }
    for _ in 0..2 {
        connect(&mut alpha, &mut two, &places[1], false);
    }
    for _ in 0..4 {
        connect(&mut beta, &mut three, &places[2], true);
    }
    // The last server's socket leaves LAST_ACK when the client's last ACK comes.
    until("nobody in LAST_ACK", SOON, || {
        const LAST_ACK: &str = "09";
        let sockets = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        sockets.lines().all(|line| line.split_whitespace().nth(3) != Some(LAST_ACK))
    });
    let ended = tracer.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let document = last(&ended);
    let lost = &document["ledger"]["lost"];
    assert!(document["ledger"]["lossy"] == false || lost["recursion"] != 0, "{document}");

    for (state, count) in [
        ("LISTEN", 3),
        ("SYN_SENT", 9),
        ("SYN_RECV", 9),
        ("ESTABLISHED", 18),
        ("FIN_WAIT1", 9),
        ("FIN_WAIT2", 9),
        ("TIME_WAIT", 9),
        ("CLOSE_WAIT", 9),
        ("LAST_ACK", 9),
        ("CLOSING", 0),
    ] {
        assert_eq!(entered(&document, state), count, "{state}: {document}");
        let now = number(&document, &format!("/states/{state}/now"));
        let stays = match state {
            "LISTEN" => 3,
            "TIME_WAIT" => 9,
            _ => 0,
        };
        assert_eq!(now, stays, "{state}: {document}");
        assert_eq!(number(&document, &format!("/states/{state}/left")), count - stays, "{state}: {document}");
    }
    for (from, to, count) in [
        ("CLOSE", "SYN_SENT", 9),
        ("LISTEN", "SYN_RECV", 9),
        ("SYN_SENT", "ESTABLISHED", 9),
        ("SYN_RECV", "ESTABLISHED", 9),
        ("ESTABLISHED", "FIN_WAIT1", 9),
        ("ESTABLISHED", "CLOSE_WAIT", 9),
        ("CLOSE_WAIT", "LAST_ACK", 9),
        ("LAST_ACK", "CLOSE", 9),
    ] {
        assert_eq!(transition(&document, from, to), (count, count), "{document}");
    }
    assert_eq!(
        document["time_wait"]["closed_first"],
        serde_json::json!({"this_side": 9, "peer": 9, "both": 0, "neither": 0})
    );

    let port = |place: &str| place.parse::<SocketAddr>().unwrap().port();
    let service = |place: &str| format!(":{}", port(place));
    for (service, process, remote, count, this_side, peer) in [
        (places[0].clone(), "alpha", "127.0.1.1", 3, 3, 0),
        (places[1].clone(), "alpha", "127.0.1.2", 0, 0, 2),
        (service(&places[1]), "two", "127.0.0.1", 2, 2, 0),
        (places[2].clone(), "beta", "127.0.1.3", 4, 4, 0),
        (service(&places[2]), "three", "127.0.0.1", 0, 0, 4),
    ] {
        let netns = netns::inode();
        let key = serde_json::json!({"service": service, "process": process, "remote": remote, "netns": netns});
        let groups = document["groups"].as_array().unwrap();
        let group = groups.iter().find(|group| group["key"] == key).unwrap_or_else(|| panic!("no {key}: {document}"));
        assert_eq!((number(group, "/entered"), number(group, "/now")), (count, count), "{group}");
        assert_eq!(number(group, "/closed_first/this_side"), this_side, "{group}");
        assert_eq!(number(group, "/closed_first/peer"), peer, "{group}");
    }
    assert_eq!(document["groups"].as_array().unwrap().len(), 6, "{document}");
    for counter in ["TcpExtTW + TcpExtTWKilled", "sockstat.tw", "sock_diag"] {
        assert_eq!(audit(&document, counter), (9, 9, 9), "{counter}: {document}");
    }
    for counter in ["TcpExtTWRecycled", "TcpExtTCPTimeWaitOverflow"] {
        assert_eq!(audit(&document, counter), (0, 0, 0), "{counter}: {document}");
    }
    assert_eq!(document["audit"]["agrees"], true, "{document}");
}

fn connect(client: &mut crate::actor::Actor, server: &mut crate::actor::Actor, place: &str, client_first: bool) {
    client.does(&format!("connect {place}"));
    server.does("accept");
    let (first, second) = if client_first { (client, server) } else { (server, client) };
    first.does("close");
    second.does("read-end");
    second.does("close");
}

/// Ctrl-C in mid-interval: the last report has what belongs to no interval.
pub fn ctrl_c_in_mid_interval() {
    let tracer = start(&["3"]);
    let listeners: Vec<_> = (0..5).map(|_| Pair::on(V4).close_client_first()).collect();
    tracer.wait_for_output();
    drop(Pair::on(V4).close_client_first());
    let ended = tracer.stop();
    let documents = documents(&ended);
    let (last, intervals) = documents.split_last().unwrap();
    assert!(intervals.iter().all(|document| document["final"] == false), "{ended:?}");
    assert_eq!(last["final"], true);
    let of_intervals: u64 = intervals.iter().map(|document| entered(document, "TIME_WAIT")).sum();
    assert!((5..=6).contains(&of_intervals), "{documents:?}");
    assert_eq!((entered(last, "TIME_WAIT"), number(last, "/states/TIME_WAIT/now")), (6, 6), "{last}");
    assert!(number(last, "/interval_ns") > number(&intervals[0], "/interval_ns"), "{documents:?}");
    // Each begins where the one before ended.
    // Wall-clock time is tied to the other clock anew all the time.
    let time = |document: &Value, key: &str| -> jiff::Timestamp { document[key].as_str().unwrap().parse().unwrap() };
    let apart =
        |a: jiff::Timestamp, b: jiff::Timestamp| a.duration_until(b).abs() > jiff::SignedDuration::from_millis(50);
    assert!(!intervals.windows(2).any(|pair| apart(time(&pair[0], "time"), time(&pair[1], "begin"))), "{documents:?}");
    assert!(!apart(time(last, "begin"), time(&intervals[0], "begin")), "{documents:?}");
    drop(listeners);
}

/// As many reports as were asked for, and one more on all of it.
pub fn interval_and_count() {
    let tracer = start(&["0.5", "3"]);
    let ended = tracer.end(PATIENCE);
    let documents = documents(&ended);
    let finals: Vec<bool> = documents.iter().map(|document| document["final"] == true).collect();
    assert_eq!((ended.code, finals), (Some(0), vec![false, false, false, true]), "{ended:?}");
}

/// The report is held against the kernel's counters by itself.
pub fn a_hundred_thousand_agree() {
    let connections = many(100_000);
    netns::sysctl("ipv4/tcp_max_tw_buckets", "500000");
    let tracer = start(&["--ring-buffer", "128"]);
    thread::scope(|scope| {
        for worker in 0..2u32 {
            scope.spawn(move || churn(worker, connections / 2));
        }
    });
    let ended = tracer.stop_within(PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let document = last(&ended);
    let all = u64::from(connections);
    let lost = document["ledger"]["lost"].to_string();
    let (seen_min, seen_max, kernel) = audit(&document, "TcpExtTW + TcpExtTWKilled");
    assert_eq!((seen_min, kernel), (seen_max, all), "{document}");
    let withheld = withheld::of(all);
    assert!(seen_max + withheld >= all, "{lost}");
    let (count, counted) = transition(&document, "CLOSE", "SYN_SENT");
    assert_eq!((count, counted), (all, all), "{lost}");
    assert!(entered(&document, "TIME_WAIT").abs_diff(all) <= withheld, "{lost}");
    for counter in ["sockstat.tw", "sock_diag"] {
        let (least, most, kernel) = audit(&document, counter);
        // Some have run out meanwhile, on a slow machine.
        let near = withheld + 1;
        assert!(least.abs_diff(kernel) <= near && most.abs_diff(kernel) <= near, "{counter} {document}");
    }
    println!("100,000: {}", document["audit"]);
}

/// A ring buffer of 1 MiB that nobody reads: what is missing is in the ledger, and the kernel side's counts are whole.
pub fn what_is_lost_is_accounted_for() {
    const CONNECTIONS: u64 = 6_000;
    let tracer = start(&["0.2", "--ring-buffer", "1", "--fail-on-loss"]);
    let listener = traffic::listen(V4);
    // Else it would list what it has missed as older.
    let lists_the_older = |line: &String| !line.contains(r#""older_than_trace":null"#);
    tracer.wait_for_lines(PATIENCE, |lines| lines.iter().any(lists_the_older));
    tracer.freeze();
    for _ in 0..CONNECTIONS {
        let client = traffic::connect(traffic::address(&listener));
        let server = traffic::accept(&listener);
        // No orphans: each mini-socket begins in TIME_WAIT.
        client.shutdown(Shutdown::Write).unwrap();
        traffic::read_end(&server);
        drop(server);
        traffic::read_end(&client);
    }
    tracer.signal(Signal::SIGINT);
    tracer.signal(Signal::SIGCONT);
    let ended = tracer.end(PATIENCE);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let document = last(&ended);
    let withheld = number(&document, "/ledger/lost/recursion");
    let steps = [
        ("CLOSE", "SYN_SENT"),
        ("SYN_SENT", "ESTABLISHED"),
        ("LISTEN", "SYN_RECV"),
        ("SYN_RECV", "ESTABLISHED"),
        ("ESTABLISHED", "FIN_WAIT1"),
        ("ESTABLISHED", "CLOSE_WAIT"),
        ("FIN_WAIT1", "FIN_WAIT2"),
        ("CLOSE_WAIT", "LAST_ACK"),
        ("LAST_ACK", "CLOSE"),
    ];
    for (from, to) in steps {
        let (seen, counted) = transition(&document, from, to);
        assert!(seen < counted, "{from} -> {to}: {document}");
        assert!(
            counted <= CONNECTIONS && counted + withheld + withheld::of(CONNECTIONS) >= CONNECTIONS,
            "{from} -> {to}: {counted}"
        );
    }
    // What is printed is what the kernel side counted.
    for (state, counted) in [
        ("TIME_WAIT", number(&document, "/ledger/minis_entered")),
        ("SYN_SENT", transition(&document, "CLOSE", "SYN_SENT").1),
        ("LAST_ACK", transition(&document, "CLOSE_WAIT", "LAST_ACK").1),
    ] {
        assert_eq!(number(&document, &format!("/states/{state}/entered")), counted, "{document}");
    }
    assert_eq!(document["states"]["SYN_SENT"]["at_least"], false, "{document}");
    assert_eq!(document["states"]["SYN_RECV"]["at_least"], true, "nobody counts how ones in SYN_RECV end: {document}");
    assert_eq!(document["time_wait"]["steady"]["verdict"], "lost", "{document}");
    // What hooks saw is what came through and what the ring buffer had no room for.
    let beginnings = number(&document, "/ledger/lost/ring_buffer/beginnings");
    let (_, seen, kernel) = audit(&document, "TcpExtTW + TcpExtTWKilled");
    assert_eq!(kernel, CONNECTIONS, "{document}");
    for counted in [seen + beginnings, number(&document, "/ledger/minis_entered")] {
        assert!(counted <= CONNECTIONS && counted + withheld::of(CONNECTIONS) >= CONNECTIONS, "{document}");
    }
    let check = document["audit"]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["counter"] == "TcpExtTW + TcpExtTWKilled");
    assert_eq!(check.unwrap()["explained"], true, "{document}");
}

/// The command's exit code, its connections and its children's, and nobody else's.
pub fn command_and_children() {
    let listener = traffic::listen(V4);
    let place = traffic::address(&listener);
    // Somebody else, all the time.
    let other = Pair::on(V4);
    // SAFETY: gettid is a system call without arguments and without any effect.
    let here = format!("/proc/{}/task/{}/ns/net", std::process::id(), unsafe { libc::gettid() });
    let program = std::env::current_exe().unwrap();
    let connect = format!("echo connect {place} | {} {} visitor 0 false", program.display(), actor::ROLE);
    let script = format!("{connect} >&2; sh -c '{connect}' >&2; exit 7");
    let netns = netns::inode().to_string();
    let run = |script: &str| {
        let arguments = ["stat", "--json", "--netns", &netns, "--", "nsenter", "--net", "sh", "-c", script];
        let inside = format!("--net={here}");
        let arguments = arguments.map(|argument| if argument == "--net" { inside.as_str() } else { argument });
        Tracer::spawn(command(arguments)).end(PATIENCE)
    };
    let ended = run(&script);
    assert_eq!(ended.code, Some(7), "{ended:?}");
    let document = last(&ended);
    assert_eq!(entered(&document, "SYN_SENT"), 2, "{document}");
    assert_eq!(entered(&document, "LISTEN"), 0, "{document}");
    let group = &document["groups"][0];
    assert_eq!(group["key"]["process"], "visitor", "{document}");
    assert_eq!(number(group, "/closed_first/this_side"), 2, "{document}");
    drop(other);
    assert_eq!(run("kill -TERM $$").code, Some(143));
    assert_eq!(run("exit 0").code, Some(0));
    let left: Vec<String> = fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect();
    let left = left.iter().flat_map(|mount| fs::read_dir(mount).unwrap().flatten());
    let mine = format!("tcpwait-{}", std::process::id());
    assert!(left.into_iter().all(|entry| entry.file_name().to_string_lossy() != mine));
}

/// A SYN that is not heard: the connect works, and takes a second more. Another, to somebody else, does not.
pub fn syn_sent_again(ip: &str) {
    let tracer = start(&[]);
    let (deaf, other) = (traffic::listen(ip), traffic::listen(ip));
    let to = traffic::address(&deaf);
    let quick = [traffic::connect(traffic::address(&other)), traffic::connect(to)];
    traffic::deafen(&deaf);
    let client = traffic::socket(to.ip());
    client.set_nonblocking(true).unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(client.connect(&to.into()).unwrap_err().raw_os_error(), Some(libc::EINPROGRESS));
    traffic::hold(Duration::from_millis(200));
    deaf.detach_filter().unwrap();
    until("it is made", SOON, || client.peer_addr().is_ok());
    let took = begun.elapsed();
    let ended = tracer.stop();
    let document = last(&ended);
    let connects = &document["connects"];
    let numbers = |of: &Value| ["left", "established", "syn_retransmits", "retransmitted"].map(|key| of[key].as_u64());
    let resent = number(connects, "/syn_retransmits");
    assert!(resent >= 1 && resent == netns::tcp_ext("TCPSynRetrans"), "{document}");
    assert_eq!(numbers(connects), [3, 3, resent, 1].map(Some), "{document}");
    let rows = connects["destinations"].as_array().unwrap();
    assert_eq!((rows.len(), &connects["others"]), (1, &0.into()), "{document}");
    assert_eq!((&rows[0]["addr"], &rows[0]["port"]), (&ip.into(), &to.port().into()), "{document}");
    assert_eq!(numbers(&rows[0]), [2, 2, resent, 1].map(Some), "{document}");
    let dwell = Duration::from_nanos(number(&rows[0], "/dwell/max_ns"));
    assert!(dwell <= took && dwell + Duration::from_millis(500) >= took, "{dwell:?} of {took:?}: {document}");
    drop(quick);
}
