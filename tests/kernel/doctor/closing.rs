//! Findings on connections that end, or do not: late segments, piles, resets.

use std::{net::SocketAddr, process::Command, time::Duration};

use socket2::Socket;

use super::{Doctor, SOME, counted, gauged, now, says, within};
use crate::{
    V4,
    actor::Cast,
    netns::{self, sysctl, tcp_ext},
    packet::{self, ACK, Numbers},
    tracer::SOON,
    traffic::{self, Pair, deafen, until},
};

pub fn paws() {
    let pair = Pair::on(V4);
    let ends = pair.ends();
    let numbers = packet::numbers(&pair.server);
    let old = packet::timestamp(&pair.server).wrapping_sub(100_000);
    now().expect_nothing();
    let doctor = Doctor::begins();
    packet::send_stamped(ends.1, ends.0, ACK, numbers, old);
    until("it is rejected", SOON, || tcp_ext("PAWSEstab") == 1);
    let report = doctor.says();
    let found = report.finding("paws-rejects", "note");
    assert_eq!(counted(found, "TcpExtPAWSEstab"), (1, 1));
    assert!(says(found, "in_vain", "tcp_timestamps = 0"), "{found}");
    now().expect_nothing();
}

pub fn late_segments() {
    // What is answered finds no socket, and the RST that comes back would end it all.
    sysctl("ipv4/tcp_rfc1337", "1");
    let pair = Pair::on(V4);
    let ends = pair.ends();
    let numbers = packet::numbers(&pair.server);
    drop(pair.close_client_first());
    until("it waits", SOON, || netns::time_waits() == 1);
    now().expect_nothing();
    let doctor = Doctor::begins();
    until("not all are answered", SOON, || {
        packet::send(ends.1, ends.0, ACK, Numbers { receive: numbers.receive.wrapping_sub(1), ..numbers });
        tcp_ext("TCPACKSkippedTimeWait") > 0
    });
    let report = doctor.says();
    assert!(counted(report.finding("late-segments", "note"), "TcpExtTCPACKSkippedTimeWait").0 > 0);
    now().expect_nothing();
}

pub fn close_wait() {
    const FORGETFUL: &str = "forgetful";
    let mut actor = Cast::named(FORGETFUL).start();
    let to: SocketAddr = actor.does("listen 127.0.0.1:0").parse().unwrap();
    for _ in 0..SOME {
        let client = traffic::connect(to);
        actor.does("accept-and-hold");
        drop(client);
    }
    let in_close_wait = || {
        let listed = Command::new("ss").args(["-tHn", "state", "close-wait"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().count()
    };
    until("they are in CLOSE_WAIT", SOON, || in_close_wait() == SOME);
    let report = within("1.1");
    let found = report.finding("close-wait-pile", "now");
    assert_eq!(gauged(found, &format!("sockets of {FORGETFUL}[{}]", actor.pid())), SOME as u64);
    assert_eq!(gauged(found, "of these with something unread"), SOME as u64);
    drop(actor);
    until("they are gone", SOON, || in_close_wait() == 0);
    within("1.1").expect_nothing();
}

/// Connections that nobody has accepted have no process: the listener's is the one that does not come to it.
pub fn not_accepted() {
    const SLOW: &str = "slow-to-accept";
    let mut actor = Cast::named(SLOW).start();
    let to: SocketAddr = actor.does("listen 127.0.0.1:0").parse().unwrap();
    (0..SOME).for_each(|_| drop(traffic::connect(to)));
    let in_close_wait = || {
        let listed = Command::new("ss").args(["-tHn", "state", "close-wait"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().count()
    };
    until("they are in CLOSE_WAIT", SOON, || in_close_wait() == SOME);
    let report = within("1.1");
    let found = report.finding("close-wait-pile", "now");
    let who = format!("{SLOW}[{}] does not accept()", actor.pid());
    assert!(says(found, "what", &who) && says(found, "what", &to.to_string()), "{found}");
    assert_eq!(gauged(found, "in CLOSE_WAIT and not accepted"), SOME as u64);
    assert_eq!(gauged(found, "Recv-Q"), SOME as u64);
    drop(actor);
    until("they are gone", SOON, || in_close_wait() == 0);
}

pub fn fin_wait2_orphans() {
    let pairs: Vec<Pair> = (0..SOME).map(|_| Pair::on(V4)).collect();
    now().expect_nothing();
    let servers: Vec<(Socket, Socket)> = pairs.into_iter().map(|pair| (pair.server, pair.listener)).collect();
    until("they are orphans", SOON, || netns::time_waits() == SOME as u64);
    // A dozen are not many where there is room.
    now().expect_nothing();
    sysctl("ipv4/tcp_max_tw_buckets", "50");
    let report = now();
    let found = report.finding("fin-wait2-orphans", "now");
    assert_eq!(gauged(found, "sockets in FIN_WAIT2"), SOME as u64);
    assert!(says(found, "advice", "tcp_fin_timeout"), "{found}");
    drop(servers);
}

pub fn given_up() {
    let pair = Pair::on(V4);
    now().expect_nothing();
    let doctor = Doctor::begins();
    deafen(&pair.server);
    pair.client.set_tcp_user_timeout(Some(Duration::from_millis(100))).unwrap();
    pair.client.send(b"x").unwrap();
    until("it is given up", SOON, || tcp_ext("TCPAbortOnTimeout") == 1);
    let report = doctor.says();
    assert_eq!(counted(report.finding("given-up", "note"), "TcpExtTCPAbortOnTimeout"), (1, 1));
    now().expect_nothing();
}

pub fn resets() {
    let pairs = || -> Vec<Pair> { (0..SOME).map(|_| Pair::on(V4)).collect() };
    let lingering = pairs();
    now().expect_nothing();
    let doctor = Doctor::begins();
    for pair in lingering {
        pair.client.set_linger(Some(Duration::ZERO)).unwrap();
        drop(pair.client);
    }
    let report = doctor.says();
    assert_eq!(report.ids(), ["reset-by-linger"]);
    let found = report.finding("reset-by-linger", "note");
    assert_eq!(counted(found, "TcpExtTCPAbortOnData").0, SOME as u64);
    assert!(says(found, "in_vain", "throwing data away"), "{found}");

    let unread = pairs();
    let doctor = Doctor::begins();
    for pair in unread {
        pair.server.send(b"x").unwrap();
        until("it is there", SOON, || pair.client.peek(&mut [std::mem::MaybeUninit::uninit()]).unwrap() == 1);
        drop(pair.client);
    }
    let report = doctor.says();
    assert_eq!(report.ids(), ["reset-unread"]);
    assert_eq!(counted(report.finding("reset-unread", "note"), "TcpExtTCPAbortOnClose").0, SOME as u64);
    now().expect_nothing();
}
