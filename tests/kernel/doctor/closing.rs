//! Findings on connections that end, or do not: late segments, piles, resets.

use std::{
    net::{Shutdown, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use socket2::Socket;

use super::{Doctor, SOME, aged, counted, gauged, now, says, within};
use crate::{
    V4,
    actor::Cast,
    netns::{self, sysctl, tcp_ext},
    packet::{self, ACK, Numbers},
    tracer::SOON,
    traffic::{self, Pair, deafen, hold, until},
};

/// include/net/tcp_states.h
const FIN_WAIT2: u8 = 5;

/// More than the doctor wants between its readings before it says that something stays.
const ALL_THE_TIME: Duration = Duration::from_millis(1_100);

/// Where another test holds the memory: in a guest whose time passes at once, that may be as long as the other test is.
const RELEASED: Duration = Duration::from_secs(600);

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
    assert_eq!(gauged(found, "of these with unread data (Recv-Q)"), SOME as u64);
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
    assert_eq!(gauged(found, "orphans in FIN_WAIT2"), SOME as u64);
    assert!(says(found, "advice", "tcp_fin_timeout"), "{found}");
    drop(servers);
}

/// FIN_WAIT2 that a process holds: no timer runs. One on which something comes is half-closed, and at work.
pub fn fin_wait2_held(ip: &str) {
    const HALF_WAY: &str = "half-way";
    const AT_WORK: usize = 2;
    let listener = traffic::listen(ip);
    let mut actor = Cast::named(HALF_WAY).start();
    within("1.1").expect_nothing();
    let begun = Instant::now();
    let mut servers = Vec::new();
    for number in 0..SOME + AT_WORK {
        actor.does(&format!("connect {}", traffic::address(&listener)));
        if number < 3 {
            actor.does("keep-alive");
        }
        actor.does("shut-and-hold");
        servers.push(traffic::accept(&listener));
        traffic::read_end(&servers[number]);
    }
    let in_fin_wait2 = || {
        let listed = Command::new("ss").args(["-tHn", "state", "fin-wait-2"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().count()
    };
    until("they are in FIN_WAIT2", SOON, || in_fin_wait2() == SOME + AT_WORK);
    let doctor = Doctor::begins();
    hold(ALL_THE_TIME);
    for server in &servers[SOME..] {
        server.send(b"x").unwrap();
    }
    let report = doctor.says();
    let most = u64::try_from(begun.elapsed().as_nanos()).unwrap();
    let found = report.finding("fin-wait2-held", "now");
    let who = format!("sockets of {HALF_WAY}[{}] in FIN_WAIT2", actor.pid());
    assert_eq!((gauged(found, &who), gauged(found, "of these with SO_KEEPALIVE")), (SOME as u64, 3), "{found}");
    let age = aged(found, "the oldest of them in FIN_WAIT2");
    assert!(age >= 1_000_000_000 && age <= most, "{age} of {most}: {found}");
    assert!(says(found, "in_vain", "tcp_fin_timeout"), "{found}");
    // CLOSE_WAIT is at the other end of each.
    let waiting = report.finding("close-wait-pile", "now");
    let age = aged(waiting, "the oldest of them in CLOSE_WAIT");
    assert!(age >= 1_000_000_000 && age <= most, "{age} of {most}: {waiting}");
    // They close at last.
    drop(servers);
    until("they end", SOON, || in_fin_wait2() == 0);
    assert!(!within("1.1").ids().contains(&"fin-wait2-held"));
}

/// A peer that does not read: what is to be sent, and the FIN behind it, waits.
pub fn zero_window(ip: &str) {
    let listener = traffic::socket(ip.parse().unwrap());
    listener.set_recv_buffer_size(2304).unwrap();
    listener.bind(&SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap();
    listener.listen(64).unwrap();
    within("1.1").expect_nothing();
    let mut unread = Vec::new();
    // Where another test has left the whole machine no memory for TCP (`tcp_mem`), little is taken, and segments are dropped: that is another finding.
    until("what a socket may keep is taken", RELEASED, || {
        unread.clear();
        let client = traffic::connect(traffic::address(&listener));
        unread.push(traffic::accept(&listener));
        client.set_send_buffer_size(65_536).unwrap();
        client.set_nonblocking(true).unwrap();
        let taken: usize = std::iter::from_fn(|| client.send(&[0; 65_536]).ok()).sum();
        client.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        taken > 32_768
    });
    unread.clear();
    for _ in 0..SOME {
        let client = traffic::connect(traffic::address(&listener));
        unread.push(traffic::accept(&listener));
        // With what the kernel takes by itself, 2 MB each, a small machine is short of memory for TCP, and ends such orphans (tcp_out_of_resources).
        client.set_send_buffer_size(65_536).unwrap();
        client.set_nonblocking(true).unwrap();
        while client.send(&[0; 65_536]).is_ok() {}
    }
    let probed = || {
        let listed = Command::new("ss").args(["-tHno", "state", "fin-wait-1"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().filter(|line| line.contains("timer:(persist")).count()
    };
    until("their windows are probed", SOON, || probed() == SOME);
    let report = within("1.1");
    let listed = Command::new("ss").args(["-tinmo", "state", "fin-wait-1"]).output().unwrap().stdout;
    assert_eq!(report.ids(), ["fin-behind-zero-window"], "{report:?}\n{}", String::from_utf8_lossy(&listed));
    let found = report.finding("fin-behind-zero-window", "now");
    assert_eq!(gauged(found, "sockets in FIN_WAIT1"), SOME as u64, "{found}");
    assert_eq!(gauged(found, &format!("of them towards {ip}")), SOME as u64, "{found}");
    assert_eq!(gauged(found, "of both, those that a process has open"), 0, "{found}");
    assert!(gauged(found, "of both, those whose peer answers") > 0, "{found}");
    assert!(aged(found, "each of them") >= 1_000_000_000, "{found}");
    // They read at last.
    unread.iter().for_each(traffic::read_end);
    until("they end", SOON, || probed() == 0);
    drop(unread);
}

/// The peer closed first, and hears no more.
pub fn last_ack(ip: &str) {
    let pairs: Vec<Pair> = (0..SOME).map(|_| Pair::on(ip)).collect();
    within("1.1").expect_nothing();
    let mut peers = Vec::new();
    for Pair { client, server, listener } in pairs {
        client.shutdown(Shutdown::Write).unwrap();
        traffic::read_end(&server);
        until("the ACK of its FIN", SOON, || traffic::state(&client) == FIN_WAIT2);
        deafen(&client);
        drop(server);
        peers.push((client, listener));
    }
    let again = || {
        let listed = Command::new("ss").args(["-tHno", "state", "last-ack"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        // timer:(on,TIME,RETRANSMITS)
        let often = |line: &&str| {
            let retransmits = line.rsplit_once(')').and_then(|(line, _)| line.rsplit(',').next()?.parse::<u32>().ok());
            line.contains("timer:(on") && retransmits >= Some(2)
        };
        listed.lines().filter(often).count()
    };
    until("their FIN is sent again and again", SOON, || again() == SOME);
    let report = within("1.1");
    let found = report.finding("last-ack-unanswered", "now");
    assert_eq!(gauged(found, "sockets in LAST_ACK"), SOME as u64, "{found}");
    assert!(says(found, "in_vain", "tcp_fin_timeout"), "{found}");
    assert!(!report.ids().contains(&"fin-unacknowledged"), "{:?}", report.ids());
    drop(peers);
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
    assert!(says(found, "in_vain", "it loses data"), "{found}");

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
