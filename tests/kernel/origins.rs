//! Which side made a connection, where that is hard to tell: a server that is gone, a socket that connects to itself, one that was restored,
//! a port that bind() gave.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nix::libc;
use serde_json::{Value, json};
use socket2::Socket;

use crate::{
    V4,
    hand::Hand,
    netns,
    tracer::{Ended, SOON, START, Tracer, command},
    traffic::{self, hold, until},
};

/// `TCP_REPAIR` and what belongs to it (`include/uapi/linux/tcp.h`).
const REPAIR: i32 = 19;
const REPAIR_QUEUE: i32 = 20;
const QUEUE_SEQ: i32 = 21;
const FASTOPEN_CONNECT: i32 = 30;

fn start(arguments: &[&str]) -> Tracer {
    Tracer::start(&[arguments, &["--json", "--netns", &netns::inode().to_string()]].concat())
}

/// A listing of this namespace.
fn listed(arguments: &[&str]) -> Value {
    let inode = netns::inode().to_string();
    let ended = Tracer::spawn(command([arguments, &["--json", "--netns", &inode]].concat())).end(START);
    last(&ended)
}

fn last(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(ended.stdout.last().unwrap_or_else(|| panic!("no report: {ended:?}"))).unwrap()
}

fn services(document: &Value, counted: &str) -> Vec<String> {
    let groups = document["groups"].as_array().unwrap().iter().filter(|group| group[counted].as_u64() > Some(0));
    groups.map(|group| group["key"]["service"].as_str().unwrap().to_owned()).collect()
}

fn destinations(document: &Value) -> &Vec<Value> {
    document["destinations"].as_array().unwrap()
}

/// What is compared with this counter.
fn check<'a>(document: &'a Value, counter: &str) -> &'a Value {
    let checks = document["audit"]["checks"].as_array().unwrap();
    checks.iter().find(|check| check["counter"] == counter).unwrap_or_else(|| panic!("no {counter}: {document}"))
}

/// What a server leaves that has been ended: a port in the range, many clients, and nobody who listens.
pub fn server_gone(ip: &str) {
    const CLIENTS: u64 = 30;
    let listener = traffic::listen(ip);
    let place = traffic::address(&listener);
    for _ in 0..CLIENTS {
        let client = traffic::connect(place);
        let server = traffic::accept(&listener);
        drop(server);
        traffic::read_end(&client);
    }
    drop(listener);
    until("they are in TIME_WAIT", SOON, || netns::time_waits() == CLIENTS);
    let ports = listed(&["ports"]);
    assert_eq!((destinations(&ports).len(), &ports["others"]["destinations"]), (0, &json!(0)), "{ports}");
    assert_eq!((&ports["unknown"], &ports["bound"]), (&json!(CLIENTS), &Value::Null), "{ports}");
    let states = listed(&["states", "--by", "service", "--state", "TIME_WAIT"]);
    assert_eq!(services(&states, "sockets"), [format!(":{}", place.port())], "{states}");
    // Their port is closed to whoever chooses one, and one who listens there again tells whose they are.
    let again = traffic::socket(place.ip());
    again.bind(&place.into()).unwrap();
    again.listen(1).unwrap();
    let ports = listed(&["ports"]);
    assert_eq!((destinations(&ports).len(), &ports["unknown"]), (0, &json!(0)), "{ports}");
}

/// The birth was seen: they are known for the accepted ones they are, and take one port from every connect().
pub fn server_goes(ip: &str) {
    netns::sysctl("ipv4/ip_local_port_range", "20000 20019");
    let tracer = start(&["ports", "1"]);
    let (listener, other) = (traffic::listen(ip), traffic::listen(ip));
    let place = traffic::address(&listener);
    let client = traffic::connect(place);
    drop(traffic::accept(&listener));
    traffic::read_end(&client);
    drop((client, listener));
    until("it is in TIME_WAIT", SOON, || netns::time_waits() == 1);
    let another = (traffic::connect(traffic::address(&other)), traffic::accept(&other));
    tracer.wait_for_lines(SOON, |lines| {
        let last: Option<Value> = lines.last().map(|line| serde_json::from_str(line).unwrap());
        last.is_some_and(|last| destinations(&last).len() == 1)
    });
    let document = last(&tracer.stop());
    let row = &destinations(&document)[0];
    assert_eq!((&row["rport"], &row["in_use"]), (&json!(traffic::address(&other).port()), &json!(1)), "{row}");
    assert_eq!((&row["ports"], &document["unknown"]), (&json!(18), &json!(0)), "one that listens, one that did: {row}");
    drop(another);
}

/// Nobody accepts it, and it is outgoing.
pub fn to_itself(ip: &str) {
    let (stat, ports) = (start(&["stat", "--by", "service"]), start(&["ports", "1"]));
    let own = traffic::socket(ip.parse().unwrap());
    own.bind(&SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap();
    let place = traffic::address(&own);
    own.connect(&place.into()).unwrap();
    ports.wait_for_lines(SOON, |lines| {
        let last: Option<Value> = lines.last().map(|line| serde_json::from_str(line).unwrap());
        last.is_some_and(|last| destinations(&last).len() == 1)
    });
    assert_eq!((netns::tcp("PassiveOpens"), netns::tcp("ActiveOpens")), (0, 1));
    drop(own);
    until("it waits", SOON, || netns::time_waits() == 1);
    let document = last(&stat.stop());
    assert_eq!(document["syn_recv"]["outcomes"]["established"]["count"].as_u64().unwrap_or(0), 0, "{document}");
    assert_eq!(document["time_wait"]["closed_first"]["both"], 1, "{document}");
    assert_eq!(services(&document, "entered"), [place.to_string()], "{document}");
    for counter in ["TcpPassiveOpens", "TcpActiveOpens"] {
        let kernel = u64::from(counter == "TcpActiveOpens");
        assert_eq!(
            (&check(&document, counter)["kernel"], &check(&document, counter)["off_by"]),
            (&json!(kernel), &json!(0))
        );
    }
    let document = last(&ports.stop());
    let row = &destinations(&document)[0];
    assert_eq!((&row["raddr"], &row["rport"], &row["in_use"]), (&json!(ip), &json!(place.port()), &json!(1)), "{row}");
}

/// Takes a connection out of the kernel, as CRIU does: no segment is sent.
fn take_out(socket: Socket) -> (SocketAddr, SocketAddr, [u32; 2]) {
    let (own, peer) = (traffic::address(&socket), traffic::peer(&socket));
    traffic::set_option(&socket, libc::IPPROTO_TCP, REPAIR, 1);
    let numbers = [1, 2].map(|queue| {
        traffic::set_option(&socket, libc::IPPROTO_TCP, REPAIR_QUEUE, queue);
        traffic::get_option::<u32>(&socket, libc::IPPROTO_TCP, QUEUE_SEQ)
    });
    drop(socket);
    (own, peer, numbers)
}

/// Puts it back in.
fn put_back((own, peer, numbers): (SocketAddr, SocketAddr, [u32; 2])) -> Socket {
    let socket = traffic::socket(own.ip());
    traffic::set_option(&socket, libc::IPPROTO_TCP, REPAIR, 1);
    socket.bind(&own.into()).unwrap();
    for (queue, number) in [1, 2].into_iter().zip(numbers) {
        traffic::set_option(&socket, libc::IPPROTO_TCP, REPAIR_QUEUE, queue);
        traffic::set_option(&socket, libc::IPPROTO_TCP, QUEUE_SEQ, number as i32);
    }
    socket.connect(&peer.into()).unwrap();
    traffic::set_option(&socket, libc::IPPROTO_TCP, REPAIR, 0);
    socket
}

/// An accepted connection that is restored is no outgoing one, whether its listener is still there or not.
pub fn restored(ip: &str) {
    let (stat, ports) = (start(&["stat", "--by", "service"]), start(&["ports", "1"]));
    let listeners = [traffic::listen(ip), traffic::listen(ip)];
    let places = listeners.each_ref().map(traffic::address);
    let clients = places.map(traffic::connect);
    let servers = listeners.each_ref().map(traffic::accept);
    let [stays, _goes] = listeners;
    drop(_goes);
    let restored = servers.map(|server| put_back(take_out(server)));
    let ends = clients.each_ref().map(traffic::address);
    ports.wait_for_lines(SOON, |lines| {
        let last: Option<Value> = lines.last().map(|line| serde_json::from_str(line).unwrap());
        last.is_some_and(|last| destinations(&last).len() == 2)
    });
    hold(Duration::from_millis(1500));
    for (socket, client) in restored.into_iter().zip(&clients) {
        socket.send(b"x").unwrap();
        traffic::read_exactly(client, 1);
        drop(socket);
        traffic::read_end(client);
    }
    drop(clients);
    until("they wait", SOON, || netns::time_waits() == 2);
    let documents = ports.stop();
    for line in &documents.stdout {
        let document: Value = serde_json::from_str(line).unwrap();
        for row in destinations(&document) {
            assert!(ends.iter().all(|end| row["rport"] != end.port()), "{row}");
        }
    }
    let document = last(&stat.stop());
    let mut found = services(&document, "entered");
    found.sort();
    let mut wanted = places.map(|place| format!(":{}", place.port()));
    wanted.sort();
    assert_eq!(found, wanted, "{document}");
    assert_eq!(check(&document, "TcpActiveOpens")["seen_max"], 2, "no SYN was sent for those restored: {document}");
    assert_eq!(document["audit"]["agrees"], true, "{document}");
    drop(stays);
}

/// bind() to any port of an address, and then connect(): each port is taken for all destinations, and said to be before the last is.
pub fn bound(ip: &str) {
    const PORTS: usize = 12;
    let listeners: Vec<Socket> = (0..=PORTS).map(|_| traffic::listen(ip)).collect();
    netns::sysctl("ipv4/ip_local_port_range", "20000 20011");
    let tracer = start(&["ports", "1", "--top", "20"]);
    let any = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 0);
    let mut kept = Vec::new();
    for listener in listeners.iter().take(PORTS) {
        // Without SO_REUSEADDR, which lets bind() give the same port again.
        let socket = Socket::new(socket2::Domain::for_address(any), socket2::Type::STREAM, None).unwrap();
        socket.bind(&any.into()).unwrap();
        socket.connect(&traffic::address(listener).into()).unwrap();
        kept.push((socket, traffic::accept(listener)));
        hold(Duration::from_millis(400));
    }
    let last_one = traffic::address(&listeners[PORTS]);
    let unbound = Socket::new(socket2::Domain::for_address(any), socket2::Type::STREAM, None).unwrap();
    assert_eq!(unbound.connect(&last_one.into()).unwrap_err().raw_os_error(), Some(libc::EADDRNOTAVAIL));
    tracer.wait_for_lines(SOON, |lines| {
        let last: Option<Value> = lines.last().map(|line| serde_json::from_str(line).unwrap());
        last.is_some_and(|last| destinations(&last).iter().any(|row| row["rport"] == last_one.port()))
    });
    let ended = tracer.stop();
    let documents: Vec<Value> = ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows =
        |kind: &str| documents.iter().filter(|document| document["bound"][0]["forecast"]["kind"] == kind).count();
    assert!(rows("full-in") > 0 && rows("full") > 0, "warned before: {documents:?}");
    let document = documents.last().unwrap();
    let row = &document["bound"][0];
    assert_eq!((&row["laddr"], &row["bound"], &row["in_use"]), (&json!(ip), &json!(PORTS), &json!(PORTS)), "{row}");
    assert_eq!((&row["ports"], &row["share"], &row["unknown"]), (&json!(PORTS), &json!(1.0), &json!(0)), "{row}");
    for row in destinations(document) {
        assert_eq!((&row["share"], &row["forecast"]["kind"]), (&json!(1.0), &json!("full")), "{row}");
        let own = u64::from(row["rport"] != last_one.port());
        assert_eq!((&row["in_use"], &row["bound_elsewhere"]), (&json!(own), &json!(PORTS as u64 - own)), "{row}");
        assert_eq!(row["advice"]["cause"], "bound", "{row}");
    }
    // IP_BIND_ADDRESS_NO_PORT leaves the choice to connect(), and so does no bind() at all.
    drop(kept);
}

/// Every way in which a connection is made, fails and is lost, against the counters of the kernel.
pub fn opens_and_failures() {
    let listener = traffic::listen(V4);
    let place = traffic::address(&listener);
    netns::sysctl("ipv4/tcp_fastopen", "5");
    let stat = start(&["stat"]);
    let before = ["ActiveOpens", "AttemptFails", "EstabResets"].map(netns::tcp);
    let new = || Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let nobody = {
        let gone = traffic::listen(V4);
        traffic::address(&gone)
    };
    for _ in 0..3 {
        // Made, and reset; made, and closed; refused.
        let client = traffic::connect(place);
        let server = traffic::accept(&listener);
        client.set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        drop(server);
        let client = traffic::connect(place);
        drop(traffic::accept(&listener));
        traffic::read_end(&client);
        assert!(new().connect(&nobody.into()).is_err());
    }
    // Closed before any answer came; and a client that resets before it is accepted.
    let mute = Hand::mute(V4);
    let waiting = new();
    waiting.set_nonblocking(true).unwrap();
    assert!(waiting.connect(&mute.own.into()).is_err());
    drop(waiting);
    Hand::syn_recv(place).leave();
    // Never sent, and sent with the first data. (The first gets the cookie.)
    let deferred = || {
        let socket = new();
        traffic::set_option(&socket, libc::IPPROTO_TCP, FASTOPEN_CONNECT, 1);
        socket.connect(&place.into()).unwrap();
        socket
    };
    let first = deferred();
    first.send(b"x").unwrap();
    let accepted = traffic::accept(&listener);
    for _ in 0..4 {
        drop(deferred());
    }
    until("the one in SYN_RECV is reset", SOON, || netns::tcp_ext("EmbryonicRsts") == 1);
    let after = ["ActiveOpens", "AttemptFails", "EstabResets"].map(netns::tcp);
    let document = last(&stat.stop());
    assert_eq!(document["audit"]["agrees"], true, "{}", document["audit"]);
    for ((counter, before), after) in ["ActiveOpens", "AttemptFails", "EstabResets"].into_iter().zip(before).zip(after)
    {
        let check = check(&document, &format!("Tcp{counter}"));
        let (least, most) = (check["seen_min"].as_u64().unwrap(), check["seen_max"].as_u64().unwrap());
        assert_eq!(check["kernel"], after - before, "{check}");
        assert!((least..=most).contains(&(after - before)) && most - least <= 1, "{check}");
    }
    drop((first, accepted));
}
