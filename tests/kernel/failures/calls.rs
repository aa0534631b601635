//! Calls that fail before anything is sent, and say why by what they give back; and one that seems to fail and does not.

use std::{io::Read, net::SocketAddr, process::Command};

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    V4,
    actor::Cast,
    failures::is_of,
    netns,
    tracer::{SOON, Seen, told::Failed},
    traffic::{self, until},
};

fn tcp_socket(at: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP)).unwrap()
}

fn says(failed: &Failed, what: &str, errno: Option<&str>) {
    assert_eq!((failed.what().as_str(), failed.errno.as_deref()), (what, errno), "{failed:?}");
    assert!(failed.holders.is_empty() && failed.reuseaddr.is_none() && failed.retransmits.is_none(), "{failed:?}");
}

/// TCP_FASTOPEN_CONNECT keeps the SYN back until the first write. Closed before, nothing was sent, and no call failed.
pub fn fast_open_is_never_sent(ip: &str) {
    const WITHOUT_COOKIE: &str = "5";
    netns::sysctl("ipv4/tcp_fastopen", WITHOUT_COOKIE);
    let seen = Seen::shared();
    let to = traffic::address(&traffic::listen(ip));
    let (opens, fails) = (netns::tcp("ActiveOpens"), netns::tcp("AttemptFails"));
    let client = tcp_socket(to);
    traffic::set_option(&client, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1);
    client.connect(&to.into()).unwrap();
    let from = traffic::address(&client);
    drop(client);
    let failed = seen.wait_for_failure(1, SOON);
    says(&failed, "connect-failed never-sent", None);
    assert_eq!((failed.lport, failed.rport), (Some(from.port()), Some(to.port())), "{failed:?}");
    assert_eq!((netns::tcp("ActiveOpens"), netns::tcp("AttemptFails")), (opens, fails));
    netns::sysctl("ipv4/tcp_fastopen", "1");
}

/// Each kind of route that leads nowhere, and none at all: told with the errno that the caller got, and no port was wanting.
pub fn no_way(v6: bool) {
    let (network, host) = if v6 { ("2001:db8:9::/48", "[2001:db8:9::1]:80") } else { ("192.0.2.0/24", "192.0.2.1:80") };
    let seen = Seen::shared();
    let to: SocketAddr = host.parse().unwrap();
    let mut number = 0;
    for (route, why, errno) in [
        (None, "no-route", "ENETUNREACH"),
        (Some("unreachable"), "no-route", "EHOSTUNREACH"),
        (Some("prohibit"), "not-allowed", "EACCES"),
        (Some("blackhole"), "invalid", "EINVAL"),
    ] {
        let change = |verb: &str| {
            let Some(kind) = route else { return };
            let family = if v6 { "-6" } else { "-4" };
            let done = Command::new("ip").args([family, "route", verb, kind, network]).status().unwrap();
            assert!(done.success(), "ip route {verb} {kind} {network}");
        };
        change("add");
        let mut client = Cast::named("lost").start();
        assert_eq!(client.does(&format!("try-connect {to}")), errno);
        number += 1;
        let failed = seen.wait_for_failure(number, SOON);
        says(&failed, &format!("connect-failed {why}"), Some(errno));
        is_of(&failed, &client, "lost");
        assert_eq!((failed.raddr, failed.rport, failed.lport), (Some(to.ip()), Some(to.port()), None), "{failed:?}");
        change("del");
    }
}

/// An address of no interface, a port that is not for everybody, a socket that has an address already.
pub fn bind_is_refused_otherwise() {
    let seen = Seen::shared();
    let mut server = Cast::named("elsewhere").start();
    assert_eq!(server.does("bind 10.1.2.3:8080"), "EADDRNOTAVAIL");
    let failed = seen.wait_for_failure(1, SOON);
    says(&failed, "bind-failed no-address", Some("EADDRNOTAVAIL"));
    is_of(&failed, &server, "elsewhere");
    assert_eq!((failed.laddr.to_string().as_str(), failed.lport), ("10.1.2.3", Some(8080)), "{failed:?}");

    let mut user = Cast { uid: 1234, ..Cast::named("a-user") }.start();
    assert_eq!(user.does("bind 127.0.0.1:80"), "EACCES");
    let failed = seen.wait_for_failure(2, SOON);
    says(&failed, "bind-failed not-allowed", Some("EACCES"));
    assert_eq!((failed.pid, failed.uid, failed.lport), (Some(user.pid()), Some(1234), Some(80)), "{failed:?}");
    assert!(failed.words.contains("ip_unprivileged_port_start"), "{failed:?}");

    let at = SocketAddr::new(V4.parse().unwrap(), 0);
    let twice = tcp_socket(at);
    twice.bind(&at.into()).unwrap();
    twice.bind(&at.into()).unwrap_err();
    says(&seen.wait_for_failure(3, SOON), "bind-failed invalid", Some("EINVAL"));
}

/// One socket that tries one port after the other, as bindresvport(3) does: one line, whatever holds them.
pub fn a_search_is_one() {
    const PORTS: usize = 40;
    let seen = Seen::shared();
    let at = |port: u16| SocketAddr::new(V4.parse().unwrap(), port);
    let held: Vec<Socket> = (0..PORTS).map(|_| traffic::listen(V4)).collect();
    let mut ports: Vec<u16> = held.iter().map(|listener| traffic::address(listener).port()).collect();
    ports.sort_unstable();
    let searching = tcp_socket(at(0));
    for port in &ports {
        searching.bind(&at(*port).into()).unwrap_err();
    }
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "bind-failed port-search", "{failed:?}");
    let search = failed.search.as_ref().unwrap();
    let found = (search.lowest, search.highest, search.refused);
    assert_eq!(found, (ports[0], ports[PORTS - 1], PORTS as u64), "{failed:?}");
    assert!(failed.lport.is_none() && failed.holders.is_empty(), "{failed:?}");
    // Another that comes later stands for itself, and is the next.
    let next = tcp_socket(at(0));
    next.bind(&at(ports[0]).into()).unwrap_err();
    let failed = seen.wait_for_failure(2, SOON);
    assert_eq!((failed.what().as_str(), failed.holders.len()), ("bind-failed port-held", 1), "{failed:?}");
}

/// A socket with IPV6_V6ONLY holds no port of IPv4: who does is who is named.
pub fn v6only_holds_no_port_of_v4() {
    let seen = Seen::shared();
    let beside = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
    beside.set_only_v6(true).unwrap();
    beside.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    beside.listen(1).unwrap();
    let port = traffic::address(&beside).port();
    let mut holder = Cast::named("holder").start();
    assert_eq!(holder.does(&format!("bind 0.0.0.0:{port}")), format!("0.0.0.0:{port}"));
    assert_eq!(holder.does("listen-on-it"), "done");
    let mut comer = Cast::named("comer").start();
    assert_eq!(comer.does(&format!("bind 127.0.0.1:{port}")), "EADDRINUSE");
    let failed = seen.wait_for_failure(1, SOON);
    let [only] = &failed.holders[..] else { panic!("{failed:?}") };
    assert_eq!((only.state.as_str(), only.pid), ("LISTEN", Some(holder.pid())), "{failed:?}");
}

/// SO_REUSEPORT shares a port among sockets of one user only.
pub fn reuseport_of_two_users() {
    let seen = Seen::shared();
    let mut holder = Cast { uid: 4321, ..Cast::named("holder") }.start();
    let at = holder.does(&format!("bind-in-group {V4}:0"));
    assert_eq!(holder.does("listen-on-it"), "done");
    let mut comer = Cast { uid: 1234, ..Cast::named("comer") }.start();
    assert_eq!(comer.does(&format!("bind-in-group {at}")), "EADDRINUSE");
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [Some(holder.pid())], "{failed:?}");
    assert!(failed.words.contains("of one user"), "{failed:?}");
}

/// A connect() of this machine got the port that a server wants: no option of the server's socket helps.
pub fn a_client_has_the_servers_port() {
    let seen = Seen::shared();
    let listener = traffic::listen(V4);
    let to = traffic::address(&listener);
    netns::sysctl("ipv4/ip_local_port_range", "40600 40600");
    let client = traffic::connect(to);
    let server = traffic::accept(&listener);
    let ends = (traffic::address(&client), to);
    drop(client);
    traffic::read_end(&server);
    drop(server);
    seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    let mut comer = Cast::named("server").start();
    assert_eq!(comer.does("bind-reusing 127.0.0.1:40600"), "EADDRINUSE");
    let failed = seen.wait_for_failure(1, SOON);
    let [holder] = &failed.holders[..] else { panic!("{failed:?}") };
    assert_eq!((holder.state.as_str(), holder.made_here), ("TIME_WAIT", Some(true)), "{failed:?}");
    assert!(failed.words.contains("add 40600 to net.ipv4.ip_local_reserved_ports"), "{failed:?}");
    netns::sysctl("ipv4/ip_local_port_range", "32768 60999");
}

/// How long a byte may wait for room in an empty buffer.
const A_MOMENT: std::time::Duration = std::time::Duration::from_secs(2);

/// Multipath TCP: its bind() is TCP's, and its connections are its process's, whoever in the kernel closes them.
pub fn multipath() {
    const IPPROTO_MPTCP: i32 = 262;
    let multipath = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(IPPROTO_MPTCP)));
    let Ok(listener) = multipath() else {
        println!("failures: this kernel has no Multipath TCP");
        return;
    };
    let seen = Seen::shared();
    listener.bind(&SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    listener.listen(4).unwrap();
    let at = traffic::address(&listener);
    let comer = multipath().unwrap();
    comer.bind(&at.into()).unwrap_err();
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!((failed.what().as_str(), failed.lport), ("bind-failed port-held", Some(at.port())), "{failed:?}");
    let [holder] = &failed.holders[..] else { panic!("{failed:?}") };
    assert_eq!((holder.state.as_str(), holder.pid), ("LISTEN", Some(std::process::id())), "{failed:?}");

    let client = multipath().unwrap();
    client.connect(&at.into()).unwrap();
    let (server, from) = listener.accept().unwrap();
    // Until data has gone both ways, neither side is sure of Multipath TCP, and the end waits for it.
    for (one, other) in [(&client, &server), (&server, &client)] {
        // 6.1 lets the accepting side wait for room for ever (`mptcp_sendmsg`, `sk_stream_wait_memory`), and is sure without.
        one.set_write_timeout(Some(A_MOMENT)).unwrap();
        other.set_read_timeout(Some(SOON)).unwrap();
        if one.send(b"x").is_ok() {
            let _ = (&*other).read(&mut [0; 1]).unwrap();
        }
    }
    let ends = (at, from.as_socket().unwrap());
    drop(server);
    // The TCP connection below ends once both sides have closed, which of them first is the kernel workers' choice.
    drop(client);
    let leaves = || seen.lines().into_iter().find(|line| line.is_of(ends) && line.step().starts_with("ESTABLISHED>"));
    until("it ends", SOON, || leaves().is_some());
    let closing = leaves().unwrap();
    assert_eq!(closing.pid, Some(std::process::id()), "{closing:?}");
}
