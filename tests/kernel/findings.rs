//! The first lines of a report: what stands out is there, with the right number, process and place, and nothing stands out where all is well.

use std::{
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    ends::keep_alive,
    identity::ip,
    netns,
    tracer::{SOON, Tracer},
    traffic::{self, Pair, hold, listen, read_end, until},
};

/// Growth is told from when the older sockets are known, and the kernel's counters have been read.
fn stat() -> Tracer {
    let tracer = Tracer::start(&["stat", "0.2", "--json", "--netns", &netns::inode().to_string()]);
    let is_ready = |line: &String| !line.contains(r#""older_than_trace":null"#) && line.contains(r#""agrees":true"#);
    tracer.wait_for_lines(SOON, |lines| lines.iter().any(is_ready));
    tracer
}

/// Of the whole time.
fn report(tracer: Tracer) -> Value {
    let ended = tracer.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(ended.stdout.last().unwrap()).unwrap();
    assert_eq!(report["final"], true, "{report}");
    report
}

fn found<'a>(report: &'a Value, finding: &str) -> Vec<&'a Value> {
    report["findings"].as_array().unwrap().iter().filter(|found| found["finding"] == finding).collect()
}

fn own_name() -> String {
    std::fs::read_to_string("/proc/self/comm").unwrap().trim_end().to_owned()
}

/// This process does not close what its peers have closed.
pub fn not_closed(ip: &str) {
    const LEAKED: usize = 15;
    let stat = stat();
    let listener = listen(ip);
    let mut kept = Vec::new();
    for _ in 0..LEAKED {
        let client = traffic::connect(traffic::address(&listener));
        let server = traffic::accept(&listener);
        let ends = (traffic::address(&client), traffic::peer(&client));
        drop(client);
        read_end(&server);
        // The ACK of its FIN may be a delayed one.
        until("FIN_WAIT2", SOON, || traffic::ss(ends).is_some_and(|line| line.starts_with("FIN-WAIT-2")));
        kept.push(server);
    }
    let port = traffic::address(&listener).port();
    let report = report(stat);
    let leaks = found(&report, "not-closed");
    let leak = leaks.iter().find(|leak| leak["state"] == "CLOSE_WAIT").unwrap_or_else(|| panic!("{report}"));
    assert_eq!((&leak["count"], &leak["growth"]), (&LEAKED.into(), &LEAKED.into()), "{leak}");
    assert_eq!((&leak["process"], &leak["service"]), (&own_name().into(), &format!(":{port}").into()), "{leak}");
    let other_ends = leaks.iter().find(|leak| leak["state"] == "FIN_WAIT2").unwrap_or_else(|| panic!("{report}"));
    let words = other_ends["text"].as_str().unwrap();
    assert!(words.ends_with("these are the other ends of those in CLOSE_WAIT on that port"), "{words}");
    let waiting = report["waiting"].as_array().unwrap();
    assert!(waiting.iter().any(|row| row["state"] == "CLOSE_WAIT" && row["now"] == LEAKED), "{report}");
}

/// Why CLOSE_WAIT is said to have no timeout, and keepalive to be no cure: its probe ends what the peer's kernel has forgotten, and nothing else.
pub fn keepalive_in_close_wait(ip: &str) {
    const CLOSE: u8 = 7;
    const CLOSE_WAIT: u8 = 8;
    // So the peer's kernel has soon forgotten what its process has closed.
    netns::sysctl("ipv4/tcp_fin_timeout", "1");
    let half_closed = Pair::on(ip);
    keep_alive(&half_closed.server);
    half_closed.client.shutdown(Shutdown::Write).unwrap();
    let Pair { client: closed, server: without, .. } = Pair::on(ip);
    let Pair { client: closed_too, server: forgotten, .. } = Pair::on(ip);
    keep_alive(&forgotten);
    drop((closed, closed_too));
    until("the probe is answered with an RST", SOON, || traffic::state(&forgotten) == CLOSE);
    assert_eq!([&half_closed.server, &without].map(traffic::state), [CLOSE_WAIT; 2]);
}

/// Connects that nothing answers are there while they wait, before any of them has failed.
pub fn unanswered() {
    const CONNECTS: usize = 12;
    // The neighbour is known, and is nobody: SYNs go out and nothing comes back.
    ip(&["link", "add", "near", "type", "veth", "peer", "name", "far"]);
    ip(&["link", "set", "far", "up"]);
    ip(&["link", "set", "near", "up"]);
    ip(&["addr", "add", "10.9.5.1/24", "dev", "near"]);
    ip(&["neigh", "add", "10.9.5.2", "lladdr", "02:00:00:00:00:02", "dev", "near"]);
    let stat = stat();
    let to: SocketAddr = "10.9.5.2:9001".parse().unwrap();
    let connects: Vec<Socket> = (0..CONNECTS)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&to.into()).unwrap_err();
            socket
        })
        .collect();
    until("every SYN is sent again", SOON, || netns::tcp("RetransSegs") >= CONNECTS as u64);
    hold(Duration::from_millis(500));
    let report = report(stat);
    drop(connects);
    let found = found(&report, "connect-unanswered");
    assert_eq!(found.len(), 1, "{report}");
    let count = |key: &str| found[0][key].clone();
    assert_eq!((count("count"), count("service")), (CONNECTS.into(), "10.9.5.2:9001".into()), "{}", found[0]);
    assert_eq!(count("process"), own_name(), "{}", found[0]);
}

/// A server that does not accept: what is dropped is the kernel's own count, and the queue is named.
pub fn accept_queue() {
    const CLIENTS: u64 = 24;
    let stat = stat();
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(2).unwrap();
    let to = traffic::address(&listener);
    let clients: Vec<Socket> = (0..CLIENTS)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&to.into());
            socket
        })
        .collect();
    // The second SYN of each that has no place.
    until("SYNs are sent again and dropped", SOON, || netns::tcp_ext("ListenDrops") >= 2 * (CLIENTS - 3));
    hold(Duration::from_millis(500));
    let before = netns::tcp_ext("ListenDrops");
    let report = report(stat);
    let after = netns::tcp_ext("ListenDrops");
    drop(clients);
    let unanswered = found(&report, "connect-unanswered");
    let said =
        |found: &[&Value], words: &str| found.iter().any(|found| found["text"].as_str().unwrap().contains(words));
    assert!(said(&unanswered, "The listener is on this machine, and its accept queue is full"), "{report}");
    let found = found(&report, "handshakes-dropped");
    assert_eq!(found.len(), 1, "{report}");
    assert!(said(&found, "(`ss -ltn`: Recv-Q 3, Send-Q 2)"), "{}", found[0]);
    let count = found[0]["count"].as_u64().unwrap();
    assert!((before..=after).contains(&count), "{count}, and the kernel counts {before} to {after}");
    assert_eq!((&found[0]["service"], &found[0]["process"]), (&format!(":{}", to.port()).into(), &own_name().into()));
}

/// A small range: nearly all of its ports are taken, and then one connect() too many fails.
pub fn ports() {
    netns::sysctl("ipv4/ip_local_port_range", "40000 40019");
    let stat = stat();
    let listener = listen("127.0.0.1");
    let to = traffic::address(&listener);
    let held: Vec<(Socket, Socket)> = (0..18).map(|_| (traffic::connect(to), traffic::accept(&listener))).collect();
    let report = report(stat);
    let found = found(&report, "ports");
    assert_eq!(found.len(), 1, "{report}");
    // Where the listener took a port of the range, that one is not for connect().
    let range = 20 - u64::from((40_000..40_020).contains(&to.port()));
    assert_eq!((&found[0]["count"], &found[0]["available"]), (&18.into(), &range.into()), "{}", found[0]);
    assert_eq!(found[0]["service"], to.to_string());
    assert!(found[0]["text"].as_str().unwrap().contains(": 18 ESTABLISHED. Run `tcpwait ports 5`"), "{}", found[0]);
    drop(held);
}

/// TIME_WAITs that connect() takes over (tcp_tw_reuse on loopback) fill the range, and no port runs out.
pub fn ports_that_are_reused() {
    netns::sysctl("ipv4/ip_local_port_range", "40000 40019");
    netns::sysctl("ipv4/tcp_tw_reuse", "1");
    let stat = stat();
    // Outside of the range.
    let listener = traffic::socket("127.0.0.1".parse().unwrap());
    listener.bind(&"127.0.0.1:30000".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(8).unwrap();
    for _ in 0..19 {
        let client = traffic::connect(traffic::address(&listener));
        let server = traffic::accept(&listener);
        drop(client);
        read_end(&server);
    }
    until("the TIME_WAITs", SOON, || netns::time_waits() == 19);
    let report = report(stat);
    assert_eq!(report["time_wait"]["made"]["here"], 19, "{report}");
    assert_eq!(found(&report, "ports"), Vec::<&Value>::new(), "{report}");
}

/// TCP_FASTOPEN_CONNECT keeps the SYN back until the first write: nothing was sent that could have been answered.
pub fn not_sent() {
    const TCP_FASTOPEN_CONNECT: i32 = 30;
    const CLIENT_WITHOUT_COOKIE: &str = "5";
    netns::sysctl("ipv4/tcp_fastopen", CLIENT_WITHOUT_COOKIE);
    let stat = stat();
    let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let kept: Vec<Socket> = (0..12)
        .map(|_| {
            let socket = traffic::socket(to.ip());
            traffic::set_option(&socket, nix::libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
            socket.connect(&to.into()).unwrap();
            socket
        })
        .collect();
    hold(Duration::from_millis(1500));
    assert_eq!(netns::tcp("OutSegs"), 0, "a SYN was sent");
    let report = report(stat);
    drop(kept);
    assert_eq!(found(&report, "connect-unanswered"), Vec::<&Value>::new(), "{report}");
}

/// Connections that come and go are nothing to tell of, whoever closes them.
pub fn nothing() {
    let stat = stat();
    for _ in 0..20 {
        drop(Pair::on("127.0.0.1").close_server_first());
        drop(Pair::on("127.0.0.1").close_client_first());
    }
    let report = report(stat);
    assert_eq!(report["findings"], Value::Array(Vec::new()), "{report}");
    let made = &report["time_wait"]["made"];
    assert_eq!((&made["here"], &made["accepted"], &made["unknown"]), (&20.into(), &20.into(), &0.into()), "{made}");
}
