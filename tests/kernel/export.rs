//! `tcpwait export`: what it serves is what the kernel counts, by a process that may do nothing else; and no client is in the way of the tracing.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use socket2::Socket;

use crate::{
    V4,
    bursts::allow_descriptors,
    ends::abort,
    netns, of_stat,
    tracer::{Reading, SOON, Tracer, at_home, command, here},
    traffic::{self, until},
};

/// An exporter of this thread's namespace, which serves in the one that the tests were started in.
pub struct Exporter {
    pub tracer: Tracer,
    pub address: SocketAddr,
}

impl Exporter {
    pub fn start() -> Self {
        Self::start_with("127.0.0.1:0", &[])
    }

    /// At this address, with more arguments.
    pub fn start_with(address: &str, more: &[&str]) -> Self {
        let netns = netns::inode().to_string();
        let arguments = [&["export", "--listen", address, "--netns", &netns], more].concat();
        let tracer = Tracer::spawn(command(arguments));
        tracer.wait_until_it_says("Serving metrics on http://");
        let said = tracer.said();
        let place = said.lines().find_map(|line| line.strip_prefix("Serving metrics on http://")).unwrap();
        let address = place.trim_end_matches("/metrics").parse().unwrap();
        Self { tracer, address }
    }

    fn connect(&self) -> TcpStream {
        let address = self.address;
        netns::at_home(move || TcpStream::connect(address).unwrap())
    }

    /// The answer to a request, head and body. This end closes first: where another test lets no orphan be (`tcp_max_orphans`, which is the whole
    /// machine's), the kernel resets one that still has data to send (`tcp_check_oom`).
    fn ask(&self, request: &str) -> String {
        let mut stream = BufReader::new(self.connect());
        stream.get_ref().set_read_timeout(Some(SOON)).unwrap();
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        head + &String::from_utf8(body).unwrap()
    }

    /// All samples, by name and labels.
    pub fn scrape(&self) -> HashMap<String, f64> {
        let answer = self.ask("GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: application/openmetrics-text\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("# EOF\n"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            // Without the exemplar.
            let line = line.split(" # {").next()?;
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        samples.filter_map(sample).collect()
    }

    /// The process that answers.
    fn front(&self) -> u32 {
        let pid = self.tracer.pid();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let children = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
        let children: String = children.collect();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }
}

pub fn field<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.split_whitespace().collect()
}

/// TIME_WAITs, connects and closes are those of the kernel's counters, and nothing that is a counter ever falls.
pub fn counts_as_the_kernel() {
    const CONNECTIONS: usize = 40;
    let exporter = Exporter::start();
    let first = exporter.scrape();
    let listener = traffic::listen(V4);
    let kept: Vec<Socket> = (0..CONNECTIONS)
        .map(|_| {
            let client = traffic::connect(traffic::address(&listener));
            let server = traffic::accept(&listener);
            traffic::Pair { listener: listener.try_clone().unwrap(), client, server }.close_client_first()
        })
        .collect();
    until("all are counted", SOON, || {
        let told = exporter.scrape();
        // How many there are is absent until those that are older are known.
        told["tcpwait_time_wait_entries_total"] == CONNECTIONS as f64
            && told["tcpwait_connects_total"] == netns::tcp("ActiveOpens") as f64
            && told.get("tcpwait_sockets{state=\"time_wait\"}") == Some(&(netns::time_waits() as f64))
    });
    until("it agrees with the kernel", SOON, || {
        let told = exporter.scrape();
        let mut compared = told.iter().filter(|(series, _)| series.starts_with("tcpwait_audit_difference")).peekable();
        compared.peek().is_some() && compared.all(|(_, off)| *off == 0.0)
    });
    let last = exporter.scrape();
    for (series, value) in first.iter().filter(|(series, _)| series.contains("_total") || series.contains("_bucket")) {
        assert!(last[series] >= *value, "{series} fell from {value} to {}", last[series]);
    }
    assert_eq!(last["tcpwait_connections_closed_total{first=\"this_side\"}"], CONNECTIONS as f64);
    drop(kept);
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// A service manager's socket: it serves there, and a place that is not loopback has to be asked for as everywhere.
pub fn inherits_sockets() {
    let netns = netns::inode().to_string();
    let given = |address: &'static str, more: &[&str]| {
        let listener = netns::at_home(move || TcpListener::bind(address).unwrap());
        let address = listener.local_addr().unwrap();
        let script = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&0 0</dev/null"#;
        let arguments =
            [&["-c", script, "sh", env!("CARGO_BIN_EXE_tcpwait"), "export", "--netns", &netns], more].concat();
        let mut command = at_home(here("sh", arguments));
        command.stdin(OwnedFd::from(listener));
        (Tracer::spawn(command), address)
    };
    let (tracer, address) = given("127.0.0.1:0", &[]);
    tracer.wait_until_it_says(&format!("Serving metrics on http://{address}/metrics"));
    let exporter = Exporter { tracer, address };
    until("it serves there", SOON, || exporter.scrape().contains_key("tcpwait_time_wait_entries_total"));
    assert_eq!(exporter.tracer.stop().code, Some(0));
    let (tracer, _) = given("0.0.0.0:0", &[]);
    let ended = tracer.end(SOON);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("whoever reaches this address reads the metrics"), "{ended:?}");
    let (tracer, _) = given("127.0.0.1:0", &["--listen", "127.0.0.1:0"]);
    let ended = tracer.end(SOON);
    assert!(ended.code == Some(1) && ended.stderr.contains("say the address in one place"), "{ended:?}");
}

/// The process that faces the network is nobody, and can become nothing else.
pub fn has_no_rights() {
    let exporter = Exporter::start();
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.front())).unwrap();
    assert_eq!(field(&status, "Uid:"), ["65534"; 4]);
    assert_eq!(field(&status, "Gid:"), ["65534"; 4]);
    assert_eq!(field(&status, "Groups:"), Vec::<&str>::new());
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(&status, set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), ["1"]);
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// Clients that say nothing, say too much, or ask for what there is not: others are answered all the same, and nobody's memory grows.
pub fn bad_clients() {
    let exporter = Exporter::start();
    let post = exporter.ask("POST /metrics HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    let elsewhere = exporter.ask("GET /../etc/passwd HTTP/1.1\r\nHost: here\r\n\r\n");
    assert!(elsewhere.starts_with("HTTP/1.1 404 "), "{elsewhere}");
    let silent: Vec<TcpStream> = (0..40).map(|_| exporter.connect()).collect();
    let mut endless = exporter.connect();
    // It is cut off somewhere.
    let header = [b'x'; 4096];
    let _ = endless.write_all(b"GET /metrics HTTP/1.1\r\nX-Long: ");
    let told = (0..4096).find(|_| endless.write_all(&header).is_err());
    assert!(told.is_some(), "16 MiB of a header are taken");
    exporter.scrape();
    // Many more than there is room for: whoever asks for something is answered before they are let go of for their silence.
    allow_descriptors(2_000);
    let flood: Vec<TcpStream> = (0..1_000).map(|_| exporter.connect()).collect();
    let begun = Instant::now();
    exporter.scrape();
    println!("answered {:?} after 1,000 connections that say nothing", begun.elapsed());
    drop((silent, flood));
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.front())).unwrap();
    let resident: u64 = field(&status, "VmHWM:")[0].parse().unwrap();
    assert!(resident < 48 * 1024, "{resident} KiB");
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// SIGTERM ends both processes; where the tracing one is killed, the other ends by itself.
pub fn ends() {
    let is_there = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let exporter = Exporter::start();
        let front = exporter.front();
        exporter.tracer.signal(signal);
        let ended = exporter.tracer.end(Duration::from_secs(10));
        assert_eq!(ended.code, (signal == Signal::SIGTERM).then_some(0));
        until("nobody serves any more", SOON, || !is_there(front));
    }
}

/// `/metrics` and `stat --json` of the same moment, number for number, where both began before anything happened and nothing happens any more.
pub fn says_what_stat_says() {
    const CONNECTIONS: usize = 15;
    let netns = netns::inode().to_string();
    let exporter = Exporter::start();
    let stat = Tracer::start(&["stat", "0.2", "--json", "--netns", &netns]);
    stat.wait_for_lines(SOON, |lines| lines.iter().any(|line| !line.contains(r#""older_than_trace":null"#)));
    let listener = traffic::listen(V4);
    let to = traffic::address(&listener);
    let mut kept: Vec<Socket> = Vec::new();
    for _ in 0..CONNECTIONS {
        let clients = [(); 4].map(|()| traffic::connect(to));
        let [closes, reset, leaks, hangs_up] = clients.map(|client| (client, traffic::accept(&listener)));
        drop(closes.0);
        traffic::read_end(&closes.1);
        abort(reset.0);
        drop(leaks.0);
        traffic::read_end(&leaks.1);
        drop(hangs_up.1);
        traffic::read_end(&hangs_up.0);
        let stays = traffic::connect(to);
        kept.extend([leaks.1, reset.1, stays, traffic::accept(&listener)]);
        assert!(traffic::socket(to.ip()).connect(&"127.0.0.1:9".parse::<SocketAddr>().unwrap().into()).is_err());
    }
    let waiting = netns::time_waits();
    let mut told = HashMap::new();
    until("all are counted", SOON, || {
        told = exporter.scrape();
        // A FIN that is lost on loopback (docs/kernel.md) is sent again later.
        ["fin_wait1", "last_ack"]
            .iter()
            .all(|state| told.get(&format!("tcpwait_sockets{{state=\"{state}\"}}")) == Some(&0.0))
            && told.get("tcpwait_sockets{state=\"time_wait\"}") == Some(&(CONNECTIONS as f64 * 2.0))
            && told["tcpwait_sockets{state=\"close_wait\"}"] == CONNECTIONS as f64
            && told["tcpwait_reset_after_seconds_count"] == CONNECTIONS as f64
    });
    let stat = stat.stop();
    assert_eq!(stat.code, Some(0), "{stat:?}");
    let stat: serde_json::Value = serde_json::from_str(stat.stdout.last().unwrap()).unwrap();
    told = exporter.scrape();
    assert!(waiting >= CONNECTIONS as u64 && stat["final"] == true, "{waiting}: {stat}");
    of_stat::is_equal("live", &told, &stat);
    assert_eq!(told["tcpwait_failed_calls_total{call=\"connect\",why=\"refused\"}"], CONNECTIONS as f64);
    drop(kept);
    assert_eq!(exporter.tracer.stop().code, Some(0));
}

/// `export --from FILE | head -1`.
pub fn nobody_reads_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("incident.tcpwait");
    fs::write(&recording, include_bytes!("../fixtures/incident.tcpwait")).unwrap();
    let head = Reading { at_most: 1, ..Reading::default() };
    let arguments = ["export", "--from", recording.to_str().unwrap()];
    let ended = Tracer::spawn_reading(command(arguments), head).end(SOON);
    assert_eq!((ended.code, ended.stdout.len(), ended.stderr.as_str()), (Some(0), 1, ""), "{ended:?}");
}
