//! Ports that run out, and ports that do not, in a range of twenty: whether the forecast is right, whose they are, what failed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::libc;
use serde_json::{Value, json};
use socket2::Socket;

use crate::{
    V4,
    actor::{Actor, Cast},
    form::form,
    netns,
    tracer::{Ended, SOON, Tracer, command},
    traffic::{self, hold},
};

/// The range, below the ports that listeners get before it is set.
const RANGE: &str = "20000 20019";
const PORTS: u64 = 20;

/// How far apart connections are.
const PACE: Duration = Duration::from_millis(700);

/// Time for a debug build to list what there is, beside all other tests.
const PATIENCE: Duration = Duration::from_secs(100);

fn documents(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn last(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    documents(&ended.stdout).pop().unwrap_or_else(|| panic!("no report: {ended:?}"))
}

fn trace(interval: &str) -> Tracer {
    Tracer::start(&["ports", interval, "--json", "--netns", &netns::inode().to_string()])
}

/// What is said of this destination.
fn towards<'a>(document: &'a Value, listener: &Socket) -> Option<&'a Value> {
    let place = traffic::address(listener);
    let there = |row: &&Value| row["raddr"] == place.ip().to_string() && row["rport"] == place.port();
    document["destinations"].as_array().unwrap().iter().find(there)
}

/// Connects and closes first; the errno's name if there is no port.
fn come_and_go(client: &mut Actor, listener: &Socket) -> Option<String> {
    let answer = client.does(&format!("try-connect {}", traffic::address(listener)));
    if answer != "done" {
        return Some(answer);
    }
    let server = traffic::accept(listener);
    client.does("close");
    traffic::read_end(&server);
    None
}

fn seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_duration().as_secs_f64()
}

/// The documents show a forecast as it is printed.
pub fn forecast_as_in_the_documents() {
    let listener = traffic::listen(V4);
    netns::sysctl("ipv4/ip_local_port_range", RANGE);
    netns::sysctl("ipv4/tcp_tw_reuse", "0");
    let mut tracer = Tracer::start(&["ports", "10", "1", "--netns", &netns::inode().to_string()]);
    let mut client = Cast::named("php-fpm").start();
    while !tracer.has_ended() {
        assert_eq!(come_and_go(&mut client, &listener), None);
        hold(Duration::from_millis(900));
    }
    let ended = tracer.end(SOON);
    let printed = form(&ended.stdout.join("\n"));
    for document in [include_str!("../../README.md"), include_str!("../../docs/ports.md")] {
        let block = document.split_once("<!-- filling -->\n```console\n# tcpwait ports 10\n").unwrap().1;
        let (block, _) = block.split_once("```").unwrap();
        for piece in block.split("…\n").map(form).filter(|piece| !piece.is_empty()) {
            assert!(printed.contains(&piece), "written is\n{piece}\nprinted was\n{printed}");
        }
    }
}

/// Until connect() fails, and a bind() to any port with it.
pub fn run_out_when_forecast(ip: &str) {
    let listener = traffic::listen(ip);
    netns::sysctl("ipv4/ip_local_port_range", RANGE);
    netns::sysctl("ipv4/tcp_tw_reuse", "0");
    let tracer = trace("1");
    let mut client = Cast::named("filler").start();
    let mut made = 0;
    let begun = Instant::now();
    // By how much a busy machine made a connection come late, at most: from then on another rate is the right one.
    let mut late = Duration::ZERO;
    let failed = loop {
        match come_and_go(&mut client, &listener) {
            Some(errno) => break errno,
            None => made += 1,
        }
        assert!(made <= PORTS, "{made} connections from {PORTS} ports");
        // As many a second on a slow machine as on another, and all within the minute that a port is held for.
        let next = PACE * u32::try_from(made).unwrap();
        hold(next.saturating_sub(begun.elapsed()));
        late = late.max(begun.elapsed().saturating_sub(next));
    };
    let full_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert_eq!((failed.as_str(), made), ("EADDRNOTAVAIL", PORTS));
    assert_eq!(come_and_go(&mut client, &listener).as_deref(), Some("EADDRNOTAVAIL"));
    let any =
        Socket::new(socket2::Domain::for_address(traffic::address(&listener)), socket2::Type::STREAM, None).unwrap();
    let refused = any.bind(&std::net::SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EADDRINUSE));
    tracer.wait_for_lines(SOON, |lines| {
        let last = lines.last().map(|line| serde_json::from_str::<Value>(line).unwrap());
        last.is_some_and(|last| towards(&last, &listener).is_some_and(|row| row["failures"][0]["count"] == 2))
    });
    let ended = tracer.stop();

    let forecasts: Vec<(f64, f64)> = documents(&ended.stdout)
        .iter()
        .filter_map(|document| {
            let row = towards(document, &listener).filter(|row| row["forecast"]["kind"] == "full-in")?;
            Some((seconds(&document["time"]), row["forecast"]["in_ns"].as_f64().unwrap() / 1e9))
        })
        .collect();
    // Of a rate that was measured over some seconds.
    const MEASURED_S: usize = 3;
    let measured: Vec<_> = forecasts.iter().skip(MEASURED_S).collect();
    let late_s = late.as_secs_f64();
    let of_rate = 0.25 + late_s / MEASURED_S as f64;
    assert!(measured.len() >= 3, "{forecasts:?}");
    for (now_s, in_s) in measured {
        let off_s = now_s + in_s - full_s;
        println!("{ip}: full in {in_s:.1} s was said {:.1} s before", full_s - now_s);
        let most_s = 1.5 + late_s + of_rate * in_s;
        assert!(off_s.abs() <= most_s, "off by {off_s} s, late by {late_s} s: {forecasts:?}, full at {full_s}");
    }

    let document = last(&ended);
    let row = towards(&document, &listener).unwrap_or_else(|| panic!("{document}"));
    assert_eq!((&row["in_use"], &row["ports"], &row["share"]), (&json!(20), &json!(20), &json!(1.0)), "{row}");
    assert_eq!((&row["states"]["time_wait"], &row["reusable"]["not"]), (&json!(20), &json!(20)), "{row}");
    assert_eq!(row["forecast"]["kind"], "full", "{row}");
    let next_free_s = row["forecast"]["next_free_ns"].as_f64().unwrap() / 1e9;
    assert!((10.0..62.0).contains(&next_free_s), "{row}");
    assert_eq!((&row["process"]["comm"], &row["process"]["pid"]), (&json!("filler"), &json!(client.pid())), "{row}");
    let failure = &row["failures"][0];
    assert_eq!((&failure["why"], &failure["errno"]), (&json!("no-free-port"), &json!("EADDRNOTAVAIL")), "{row}");
    assert_eq!((&failure["count"], &failure["comm"]), (&json!(2), &json!("filler")), "{row}");
    let helps: Vec<&str> =
        row["advice"]["help"].as_array().unwrap().iter().map(|help| help["what"].as_str().unwrap()).collect();
    for help in ["keep-open", "tw-reuse", "wider-range"] {
        assert!(helps.contains(&help), "no {help}: {row}");
    }
    assert!(row["advice"]["no_help"].as_array().unwrap().contains(&json!("fin-timeout")), "{row}");
    // Whether bind() is seen depends on the kernel (`tcpwait probes`).
    if let Some(bind) = document["bind_failures"].as_array().unwrap().first() {
        assert_eq!((&bind["why"], &bind["lport"], &bind["count"]), (&json!("range-full"), &Value::Null, &json!(1)));
    }
}

/// More connections than there are ports, each over before connect() may take its port again.
pub fn reuse_keeps_them_steady() {
    let listener = traffic::listen(V4);
    netns::sysctl("ipv4/ip_local_port_range", RANGE);
    netns::sysctl("ipv4/tcp_tw_reuse", "1");
    let tracer = trace("1");
    let mut client = Cast::named("reuser").start();
    for _ in 0..40 {
        assert_eq!(come_and_go(&mut client, &listener), None);
        hold(Duration::from_millis(250));
    }
    let ended = tracer.stop();
    let document = last(&ended);
    let row = towards(&document, &listener).unwrap_or_else(|| panic!("{document}"));
    assert_eq!(row["forecast"]["kind"], "steady", "{row}");
    // Four a second, each in the way for a second, or for up to two before 6.14.
    let share = row["forecast"]["share"].as_f64().unwrap();
    assert!((0.05..0.6).contains(&share), "{row}");
    assert!(row["reusable"]["now"].as_u64() > Some(0), "{row}");
    assert_eq!(row["failures"], json!([]), "{row}");
}

/// Open connections that stay, to a server in the same namespace, whose own sockets hold none of these ports.
pub fn of_a_pool_are_steady() {
    let listener = traffic::listen(V4);
    netns::sysctl("ipv4/ip_local_port_range", RANGE);
    let tracer = trace("1");
    let pool: Vec<_> =
        (0..5).map(|_| (traffic::connect(traffic::address(&listener)), traffic::accept(&listener))).collect();
    tracer.wait_for_lines(PATIENCE, |lines| {
        let last = lines.last().map(|line| serde_json::from_str::<Value>(line).unwrap());
        // Once opening them is half a minute ago.
        last.is_some_and(|last| towards(&last, &listener).is_some_and(|row| row["forecast"]["kind"] == "idle"))
    });
    let document = last(&tracer.stop());
    let row = towards(&document, &listener).unwrap_or_else(|| panic!("{document}"));
    assert_eq!((&row["in_use"], &row["states"]["established"]), (&json!(5), &json!(5)), "{row}");
    assert_eq!((&row["share"], &row["advice"]), (&json!(0.25), &Value::Null), "{row}");
    assert_eq!(document["destinations"].as_array().unwrap().len(), 1, "{document}");
    drop(pool);
}

/// At once, without tracing: what is reserved and what is listened on is no port for connect(), and what bind() took is not of the range.
pub fn listing() {
    netns::sysctl("ipv4/ip_local_port_range", RANGE);
    // It gets a port of the range.
    let listener = traffic::listen(V4);
    netns::sysctl("ipv4/ip_local_reserved_ports", "20016-20019,30000");
    let reserved_hit = (20016..20020).contains(&traffic::address(&listener).port());
    let pairs: Vec<_> =
        (0..3).map(|_| (traffic::connect(traffic::address(&listener)), traffic::accept(&listener))).collect();
    let by_hand = traffic::connect_from("127.0.0.1:30001".parse().unwrap(), traffic::address(&listener));
    let by_hand = (by_hand, traffic::accept(&listener));
    let mut client = Cast::named("lister").start();
    for _ in 0..2 {
        assert_eq!(come_and_go(&mut client, &listener), None);
    }
    let netns = netns::inode().to_string();
    let ended = Tracer::spawn(command(["ports", "--json", "--netns", &netns])).end(PATIENCE);
    let document = last(&ended);
    let row = towards(&document, &listener).unwrap_or_else(|| panic!("{document}"));
    assert_eq!((&document["traced"], &row["rates"], &row["failures"]), (&json!(false), &Value::Null, &Value::Null));
    assert_eq!((&row["in_use"], &row["outside_range"]), (&json!(5), &json!(1)), "{row}");
    assert_eq!((&row["states"]["established"], &row["states"]["time_wait"]), (&json!(3), &json!(2)), "{row}");
    assert_eq!(row["ports"], json!(if reserved_hit { 16 } else { 15 }), "{row}");
    // Loopback may be reused after a second or two, if there were timestamps, which sock_diag does not say.
    let reusable = &row["reusable"];
    assert_eq!(reusable["now"], 0, "{row}");
    assert_eq!(document["destinations"].as_array().unwrap().len(), 1, "{document}");
    drop((pairs, by_hand));
}
