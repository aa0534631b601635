//! Findings on connections that are made, or not: ports, the queues of a listener, attempts that fail.

use std::net::SocketAddr;

use socket2::Socket;

use super::{Doctor, SOME, counted, gauged, now, says};
use crate::{
    V4,
    actor::Cast,
    netns::{self, sysctl, tcp_ext},
    packet::{self, Numbers, SYN},
    tracer::SOON,
    traffic::{self, deafen, until},
};

pub fn ports_run_out() {
    let listener = traffic::listen(V4);
    let to = traffic::address(&listener);
    now().expect_nothing();
    sysctl("ipv4/ip_local_port_range", "20000 20019");
    sysctl("ipv4/ip_local_reserved_ports", "20018-20030");
    sysctl("ipv4/tcp_tw_reuse", "0");
    for port in 20_000..20_017 {
        let client = traffic::connect_from(SocketAddr::new(V4.parse().unwrap(), port), to);
        let server = traffic::accept(&listener);
        drop(client);
        traffic::read_end(&server);
        drop(server);
    }
    until("they wait", SOON, || netns::time_waits() == 17);
    let report = now();
    let found = report.finding("ports-exhausted", "now");
    assert!(says(found, "what", &format!("{to}")) && says(found, "what", "17 of 18"), "{found}");
    assert_eq!(gauged(found, "of these in TIME_WAIT"), 17);
    assert!(says(found, "advice", "net.ipv4.tcp_tw_reuse to 1"), "{found}");
    assert!(says(found, "in_vain", "tcp_fin_timeout") && says(found, "in_vain", "tcp_tw_recycle"), "{found}");

    // On loopback the default lets connect() have them, once they are old enough.
    sysctl("ipv4/tcp_tw_reuse", "2");
    until("they can be taken over", SOON, || now().ids().is_empty());
    assert_eq!(netns::time_waits(), 17);
    sysctl("ipv4/tcp_timestamps", "0");
    let report = now();
    assert!(says(report.finding("ports-exhausted", "now"), "advice", "net.ipv4.tcp_timestamps to 1"));
    report.finding("reuse-without-timestamps", "note");
}

/// Connections that nobody waits for.
fn knock(to: SocketAddr, deaf: bool) -> Socket {
    let socket = traffic::socket(to.ip());
    if deaf {
        deafen(&socket);
    }
    socket.set_nonblocking(true).unwrap();
    // It is under way.
    let _ = socket.connect(&to.into());
    socket
}

/// somaxconn is the smaller.
pub fn accept_queue() {
    const LISTENER: &str = "a-slow-server";
    now().expect_nothing();
    sysctl("core/somaxconn", "1");
    let mut actor = Cast::named(LISTENER).start();
    let to: SocketAddr = actor.does("listen 127.0.0.1:0").parse().unwrap();
    let _waiting = [traffic::connect(to), traffic::connect(to)];
    let doctor = Doctor::begins();
    let _knocking: Vec<Socket> = (0..3).map(|_| knock(to, false)).collect();
    until("the queue overflows", SOON, || tcp_ext("ListenOverflows") > 0);
    let report = doctor.says();
    let found = report.finding("accept-queue-full", "now");
    assert!(counted(found, "TcpExtListenOverflows").0 > 0, "{found}");
    assert_eq!((gauged(found, "Recv-Q"), gauged(found, "its Send-Q")), (2, 1));
    assert!(says(found, "what", &format!("{LISTENER}[{}]", actor.pid())), "{found}");
    assert!(says(found, "advice", "raise net.core.somaxconn"), "{found}");
    drop(actor);
    let report = now();
    assert_eq!(report.finding("accept-queue-full", "before")["severity"], "before");
}

/// This process made the listener and only keeps it; another accepts.
pub fn who_accepts() {
    let listener = traffic::socket(V4.parse().unwrap());
    listener.bind(&SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    listener.listen(1).unwrap();
    let to = traffic::address(&listener);
    let mut actor = Cast { inherits: Some(&listener), ..Cast::named("who-accepts") }.start();
    actor.does("inherit-listener");
    let _accepted = traffic::connect(to);
    actor.does("accept-and-hold");
    let _waiting = [traffic::connect(to), traffic::connect(to)];
    let report = now();
    let found = report.finding("accept-queue-full", "now");
    assert!(says(found, "what", &format!("who-accepts[{}] accepts too slowly", actor.pid())), "{found}");
}

/// The application's own backlog is the smaller.
pub fn listen_backlog() {
    let listener = traffic::socket(V4.parse().unwrap());
    listener.bind(&SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    listener.listen(1).unwrap();
    now().expect_nothing();
    let to = traffic::address(&listener);
    let _waiting = [traffic::connect(to), traffic::connect(to)];
    sysctl("ipv4/tcp_abort_on_overflow", "1");
    let report = now();
    let found = report.finding("accept-queue-full", "now");
    assert!(
        says(found, "advice", "raise the backlog that") && !says(found, "advice", "raise net.core.somaxconn"),
        "{found}"
    );
    assert!(says(found, "what", "RST"), "{found}");
    let accepted = [traffic::accept(&listener), traffic::accept(&listener)];
    now().expect_nothing();
    drop(accepted);
}

pub fn syn_queue() {
    let listener = traffic::socket(V4.parse().unwrap());
    listener.bind(&SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    listener.listen(1).unwrap();
    let to = traffic::address(&listener);
    now().expect_nothing();
    let doctor = Doctor::begins();
    let mut knocking: Vec<Socket> = (0..5).map(|_| knock(to, true)).collect();
    until("cookies are sent", SOON, || tcp_ext("TCPReqQFullDoCookies") > 0);
    let report = doctor.says();
    let found = report.finding("syn-queue-full", "now");
    assert!(
        counted(found, "TcpExtTCPReqQFullDoCookies").0 > 0 && counted(found, "TcpExtSyncookiesSent").0 > 0,
        "{found}"
    );
    assert!(says(found, "what", &to.to_string()), "whose queue: {found}");
    assert!(says(found, "in_vain", "tcp_max_syn_backlog"), "{found}");

    sysctl("ipv4/tcp_syncookies", "0");
    let doctor = Doctor::begins();
    knocking.extend((0..5).map(|_| knock(to, true)));
    until("SYNs are dropped", SOON, || tcp_ext("TCPReqQFullDrop") > 0);
    let report = doctor.says();
    let found = report.finding("syn-queue-full", "now");
    assert!(counted(found, "TcpExtTCPReqQFullDrop").0 > 0, "{found}");
    assert!(says(found, "advice", "tcp_syncookies to 1"), "{found}");
}

/// Without SYN cookies it is `tcp_max_syn_backlog` that is short, long before the backlog of listen() is; no counter of its own tells.
pub fn syn_backlog() {
    let listener = traffic::socket(V4.parse().unwrap());
    listener.bind(&SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    listener.listen(64).unwrap();
    let to = traffic::address(&listener);
    sysctl("ipv4/tcp_max_syn_backlog", "8");
    sysctl("ipv4/tcp_syncookies", "0");
    now().expect_nothing();
    let doctor = Doctor::begins();
    let _knocking: Vec<Socket> = (0..12).map(|_| knock(to, true)).collect();
    until("SYNs are dropped", SOON, || tcp_ext("ListenDrops") > 0);
    assert_eq!((tcp_ext("ListenOverflows"), tcp_ext("TCPReqQFullDrop")), (0, 0));
    let report = doctor.says();
    let found = report.finding("syn-backlog-short", "now");
    assert!(counted(found, "TcpExtListenDrops").0 > 0 && gauged(found, "connections in SYN_RECV") >= 7, "{found}");
    assert!(says(found, "what", &to.to_string()), "whose queue: {found}");
    assert!(says(found, "advice", "tcp_syncookies to 1"), "{found}");
}

/// A SYN from a port that nobody has: this machine resets what is answered.
pub fn syn_recv_resets() {
    now().expect_nothing();
    let listener = traffic::listen(V4);
    let doctor = Doctor::begins();
    let before = tcp_ext("EmbryonicRsts");
    for port in 1..=u16::try_from(SOME).unwrap() {
        let from = SocketAddr::new(V4.parse().unwrap(), port);
        packet::send(from, traffic::address(&listener), SYN, Numbers { send: 1000, receive: 0 });
    }
    until("they are reset", SOON, || tcp_ext("EmbryonicRsts") == before + SOME as u64);
    let report = doctor.says();
    assert_eq!(counted(report.finding("syn-recv-resets", "note"), "TcpExtEmbryonicRsts").0, SOME as u64);
    now().expect_nothing();
}

pub fn failed_attempts() {
    let nobody = traffic::address(&traffic::listen(V4));
    now().expect_nothing();
    let doctor = Doctor::begins();
    for _ in 0..SOME {
        assert!(traffic::socket(nobody.ip()).connect(&nobody.into()).is_err());
    }
    let report = doctor.says();
    assert_eq!(counted(report.finding("attempts-fail", "note"), "TcpAttemptFails").0, SOME as u64);
    now().expect_nothing();
}
