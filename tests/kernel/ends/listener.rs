//! Listeners that are closed with connections that nobody has accepted.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::{abort, expect};
use crate::{
    V4,
    actor::Cast,
    failures::any_port,
    netns,
    tracer::{By, SOON, Seen},
    traffic::{self, flip},
};

/// A listener is closed with five connections that nobody has accepted: they are reset, by whoever closed it.
pub fn listener_closed(ip: &str) {
    const WAITING: usize = 5;
    let seen = Seen::shared();
    let mut shop = Cast::named("shop").start();
    let at = shop.does(&format!("listen {}", any_port(ip)));
    let to: SocketAddr = at.parse().unwrap();
    let clients: Vec<Socket> = (0..WAITING).map(|_| traffic::connect(to)).collect();
    let resets = netns::tcp("OutRsts");
    shop.does("close-listener");
    for client in &clients {
        let ends = (to, traffic::address(client));
        let end = expect(&seen, ends, "ESTABLISHED", "listener-closed", None);
        let shop = By { pid: shop.pid(), comm: "shop".to_owned() };
        assert_eq!((end.by.as_ref(), end.comm.as_deref()), (Some(&shop), Some("shop")), "{end:?}");
        expect(&seen, flip(ends), "ESTABLISHED", "reset", None);
    }
    assert_eq!(netns::tcp("OutRsts"), resets + WAITING as u64);
}

/// The same where another listener takes them over (`net.ipv4.tcp_migrate_req`): nobody is reset, and whose they are changes.
pub fn listener_migrates(ip: &str) {
    const WAITING: usize = 8;
    netns::sysctl("ipv4/tcp_migrate_req", "1");
    let seen = Seen::shared();
    let [mut leaves, mut stays] = ["leaves", "stays"].map(|name| Cast::named(name).start());
    let at = leaves.does(&format!("bind-in-group {}", any_port(ip)));
    assert_eq!(stays.does(&format!("bind-in-group {at}")), at);
    for listener in [&mut leaves, &mut stays] {
        assert_eq!(listener.does("listen-on-it"), "done");
    }
    let to: SocketAddr = at.parse().unwrap();
    let clients: Vec<Socket> = (0..WAITING).map(|_| traffic::connect(to)).collect();
    for client in &clients {
        seen.wait_for_step((to, traffic::address(client)), "SYN_RECV>ESTABLISHED", SOON);
    }
    leaves.does("close-listener");
    assert!(netns::tcp_ext("TCPMigrateReqSuccess") > 0 && netns::tcp_ext("TCPMigrateReqFailure") == 0);
    for _ in &clients {
        stays.does("accept");
        stays.does("close");
    }
    for client in &clients {
        let end = seen.wait_for_step((to, traffic::address(client)), "ESTABLISHED>FIN_WAIT1", SOON);
        assert_eq!(end.pid, Some(stays.pid()), "{end:?}");
    }
    assert_eq!(netns::tcp("OutRsts"), 0);
    assert!(seen.lines().iter().all(|line| line.reason.as_deref() != Some("listener-closed")));
}

/// Connections below Multipath TCP: the kernel resets them itself (MP_FASTCLOSE) where their process closes with SO_LINGER of 0 seconds, and a listener
/// takes along what nobody had accepted.
pub fn multipath() {
    const IPPROTO_MPTCP: i32 = 262;
    let multipath = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(IPPROTO_MPTCP)));
    let Ok(listener) = multipath() else {
        println!("ends: this kernel has no Multipath TCP");
        return;
    };
    let seen = Seen::shared();
    listener.bind(&SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    listener.listen(4).unwrap();
    let at = traffic::address(&listener);
    let connected = || {
        let client = multipath().unwrap();
        client.connect(&at.into()).unwrap();
        (traffic::address(&client), client)
    };
    let (from, client) = connected();
    let (server, _) = listener.accept().unwrap();
    // Until data has gone both ways, neither side is sure of Multipath TCP.
    for (one, other) in [(&client, &server), (&server, &client)] {
        one.send(b"x").unwrap();
        traffic::read_exactly(other, 1);
    }
    abort(client);
    expect(&seen, (from, at), "ESTABLISHED", "reset-sent", Some("multipath"));
    expect(&seen, (at, from), "ESTABLISHED", "reset", None);
    let (from, _waiting) = connected();
    seen.wait_for_step((at, from), "SYN_RECV>ESTABLISHED", SOON);
    drop(listener);
    let end = expect(&seen, (at, from), "ESTABLISHED", "listener-closed", None);
    assert_eq!(end.by.map(|by| by.pid), Some(std::process::id()));
    for abort in ["TCPAbortOnData", "TCPAbortOnClose"] {
        assert_eq!(netns::tcp_ext(abort), 0, "{abort}");
    }
}
