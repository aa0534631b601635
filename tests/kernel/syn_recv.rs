//! Connections in SYN_RECV that are made in the end: how long from the SYN to the ACK, how often the SYN-ACK was sent again, and whose
//! listener it was. Those that come to nothing are in `ends`, and too many at once in `floods`.

pub mod ends;
pub mod floods;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    V4,
    actor::Cast,
    guest::many,
    hand::{self, Hand},
    netns,
    tracer::{A_MINUTE, Line, SOON, Seen, Tracer, steps},
    traffic::{self, Pair, flip, hold, until},
    withheld,
};

/// The way of every passive connection.
const MADE: &str = "LISTEN>SYN_RECV SYN_RECV>ESTABLISHED";

/// Between two events the clock on the wall may be set a little.
const NEAR: Duration = Duration::from_millis(5);

/// Waits for a connection in SYN_RECV to be made; it was no other before.
pub fn expect_made(seen: &Seen, hand: &Hand) -> Line {
    let ends = hand.seen_from_there();
    let made = seen.wait_for_step(ends, "SYN_RECV>ESTABLISHED", SOON);
    let life: Vec<Line> = seen.lines().into_iter().filter(|line| line.is_of(ends)).collect();
    assert_eq!(steps(&life), MADE, "{life:?}");
    assert!(made.id.is_some() && [&None, &made.id].contains(&&life[0].id), "{life:?}");
    assert_eq!((life[0].dwell_ns, life[0].retransmits), (None, None), "{life:?}");
    made
}

/// Has the kernel take an ACK; returns when it made a connection of it. As any peer does, it answers each SYN-ACK: the kernel drops an
/// ACK that comes while its timer moves the request socket to another listener.
pub fn finish(hand: &mut Hand) {
    let before = netns::tcp("PassiveOpens");
    hand.ack();
    until("the connection is made", SOON, || {
        let made = netns::tcp("PassiveOpens") > before;
        if !made && hand.has_heard_syn_ack() {
            hand.ack();
        }
        made
    });
}

/// An ordinary handshake: one id, the time between two others that were measured, and the listener's process.
pub fn handshake(ip: &str) {
    let seen = Seen::shared();
    let mut server = Cast::named("reqsk-server").start();
    let to: SocketAddr = server.does(&format!("listen {ip}:0").replace("::1:0", "[::1]:0")).parse().unwrap();
    let (opens, begun) = (netns::tcp("PassiveOpens"), Instant::now());
    let client = traffic::connect(to);
    let ends = (to, traffic::address(&client));
    let made = seen.wait_for_step(ends, "SYN_RECV>ESTABLISHED", SOON);
    assert_eq!(netns::tcp("PassiveOpens"), opens + 1);
    let life = seen.connection(made.id.as_ref());
    assert_eq!(steps(&life), MADE, "{life:?}");
    for line in &life {
        assert_eq!((line.pid, line.comm.as_deref()), (Some(server.pid()), Some("reqsk-server")), "{line:?}");
    }
    assert_eq!((made.timing.as_str(), made.retransmits, &made.reason), ("exact", Some(0), &None), "{made:?}");
    assert!(made.dwell() > Duration::ZERO && made.dwell() < begun.elapsed(), "{made:?}");
    assert!((made.when() - life[0].when()).abs_diff(made.dwell()) <= NEAR, "{life:?}");
}

/// The ACK comes late: the time in SYN_RECV is that of the request socket, not the full socket's microseconds.
pub fn late_ack(ip: &str) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    is_timed(&seen, traffic::address(&listener));
}

/// The same through a listener of IPv6 that takes IPv4 too.
pub fn late_ack_of_both() {
    let seen = Seen::shared();
    let listener = hand::listen_to_both();
    is_timed(&seen, hand::by_ipv4(&listener));
    is_timed(&seen, SocketAddr::new(crate::V6.parse().unwrap(), traffic::address(&listener).port()));
}

fn is_timed(seen: &Seen, to: SocketAddr) {
    const LATE: Duration = Duration::from_millis(400);
    let before = Instant::now();
    let mut hand = Hand::syn_recv(to);
    let heard = Instant::now();
    hold(LATE);
    let least = heard.elapsed();
    finish(&mut hand);
    let most = before.elapsed();
    let made = expect_made(seen, &hand);
    assert_eq!((made.timing.as_str(), made.retransmits), ("exact", Some(0)), "{made:?}");
    assert!((least..most).contains(&made.dwell()), "{least:?} to {most:?}: {made:?}");
    assert_eq!(made.family, if to.is_ipv4() { 4 } else { 6 }, "{made:?}");
    assert_eq!(made.pid, Some(std::process::id()), "whose listener it is: {made:?}");
}

/// Nobody answers the first SYN-ACK, and the second.
pub fn made_after_retransmits(ip: &str) {
    let seen = Seen::shared();
    let timeouts = netns::tcp_ext("TCPTimeouts");
    let listener = traffic::listen(ip);
    let mut hand = Hand::syn_recv(traffic::address(&listener));
    for _ in 0..2 {
        hand.hears_syn_ack();
    }
    finish(&mut hand);
    let made = expect_made(&seen, &hand);
    assert_eq!((made.timing.as_str(), made.retransmits), ("exact", Some(2)), "{made:?}");
    // After one second, and two more; each at the end of its bucket.
    assert!((3000..4500).contains(&made.dwell().as_millis()), "{made:?}");
    assert_eq!(netns::tcp_ext("TCPTimeouts") - timeouts, 2);
}

/// The SYN comes again and is answered again. It is the same connection in SYN_RECV, from its first SYN.
pub fn the_syn_comes_again(ip: &str) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let before = Instant::now();
    let mut hand = Hand::syn_recv(traffic::address(&listener));
    let heard = Instant::now();
    hold(Duration::from_millis(200));
    hand.syn();
    hand.hears_syn_ack();
    let least = heard.elapsed();
    finish(&mut hand);
    let most = before.elapsed();
    let made = expect_made(&seen, &hand);
    assert_eq!((made.timing.as_str(), made.retransmits), ("exact", Some(1)), "{made:?}");
    assert!((least..most).contains(&made.dwell()), "{least:?} to {most:?}: {made:?}");
}

/// One of a group of listeners closes, and another takes over its connections in SYN_RECV (`tcp_migrate_req`): when the ACK comes, or
/// when the SYN-ACK is sent again.
pub fn migrates(after_a_timer: bool) {
    const PEERS: usize = 16;
    netns::sysctl("ipv4/tcp_migrate_req", "1");
    let seen = Seen::shared();
    let [mut leaves, mut stays] = ["leaves", "stays"].map(|name| Cast::named(name).start());
    let at = leaves.does(&format!("bind-in-group {V4}:0"));
    assert_eq!(stays.does(&format!("bind-in-group {at}")), at);
    for listener in [&mut leaves, &mut stays] {
        assert_eq!(listener.does("listen-on-it"), "done");
    }
    let to = at.parse().unwrap();
    let mut hands: Vec<_> = (0..PEERS).map(|_| Hand::syn_recv(to)).collect();
    for hand in &hands {
        seen.wait_for_step(hand.seen_from_there(), "LISTEN>SYN_RECV", SOON);
    }
    leaves.does("close-listener");
    if after_a_timer {
        hands.iter_mut().for_each(Hand::hears_syn_ack);
        // The timer sends first and moves the request socket then: an ACK that is as quick as loopback's may find it where it was.
        hold(Duration::from_millis(100));
    }
    for hand in &mut hands {
        finish(hand);
        let made = expect_made(&seen, hand);
        // A busy machine may take so long that one more is sent.
        assert!(made.timing == "exact" && made.retransmits >= Some(after_a_timer.into()), "{made:?}");
        let least = Duration::from_secs(u64::from(after_a_timer));
        // A busy machine takes its time to answer for all of them.
        assert!(made.dwell() >= least && made.dwell() < least + A_MINUTE, "{made:?}");
        // Of one that is taken over by its ACK nothing tells to whom; nor of one whose timer this kernel withheld.
        let told = after_a_timer && withheld::of(1000) == 0;
        assert!(made.pid == Some(stays.pid()) || (!told && made.pid == Some(leaves.pid())), "{made:?}");
    }
    // Each SYN was given to one of the two by its addresses.
    let migrated = netns::tcp_ext("TCPMigrateReqSuccess");
    assert!(migrated > 0 && migrated < PEERS as u64, "{migrated} of {PEERS}");
    assert_eq!(netns::tcp_ext("TCPMigrateReqFailure"), 0);
}

/// A socket that connects to itself is in SYN_RECV without any listener, and without a request socket.
pub fn without_a_listener(ip: &str) {
    let seen = Seen::shared();
    let at = SocketAddr::new(ip.parse().unwrap(), traffic::address(&traffic::listen(ip)).port());
    let _itself = traffic::connect_from(at, at);
    let made = seen.wait_for_step((at, at), "SYN_RECV>ESTABLISHED", SOON);
    assert_eq!((made.timing.as_str(), made.pid), ("exact", Some(std::process::id())), "{made:?}");
    let life = seen.connection(made.id.as_ref());
    assert_eq!(steps(&life), "CLOSE>SYN_SENT SYN_SENT>SYN_RECV SYN_RECV>ESTABLISHED", "{life:?}");
    assert!(seen.failures().is_empty());
}

/// They began before the trace: since when is not known, and none begins a second time.
pub fn older() {
    let mut server = Cast::named("older-server").start();
    let to = server.does(&format!("listen {V4}:0")).parse().unwrap();
    let [mut made, reset, mut again, silent] = [(); 4].map(|()| Hand::syn_recv(to));
    let seen = Seen::through(Tracer::here(&[]));
    // sock_diag is read while tracing goes on already: these two may come before it, and the others hardly.
    finish(&mut made);
    is_older(&seen.wait_for_step(made.seen_from_there(), "SYN_RECV>ESTABLISHED", SOON));
    reset.rst();
    let line = seen.wait_for_step(reset.seen_from_there(), "SYN_RECV>CLOSE", SOON);
    assert_eq!(line.reason.as_deref(), Some("reset"), "{line:?}");
    is_older(&line);
    // Those that were sent while the tracer started.
    while again.has_heard_syn_ack() {}
    again.syn();
    again.hears_syn_ack();
    finish(&mut again);
    let line = seen.wait_for_step(again.seen_from_there(), "SYN_RECV>ESTABLISHED", SOON);
    assert!(line.retransmits > Some(0), "{line:?}");
    is_older(&line);
    netns::sysctl("ipv4/tcp_synack_retries", "1");
    let line = seen.wait_for_step(silent.seen_from_there(), "SYN_RECV>CLOSE", A_MINUTE);
    assert_eq!(line.reason.as_deref(), Some("timeout"), "{line:?}");
    assert_eq!(line.pid, Some(server.pid()), "whose listener it is: {line:?}");
    is_older(&line);
    let begun = seen.lines().into_iter().filter(|line| line.to == "SYN_RECV").count();
    assert_eq!(begun, 0, "{:?}", seen.lines());
    seen.into_tracer().stop().expect_clean();
}

fn is_older(line: &Line) {
    assert!(line.predates, "{line:?}");
    assert_eq!((line.dwell_ns, line.timing.as_str()), (None, "unknown"), "{line:?}");
}

/// As many as the kernel counts, and none is left or unmatched.
pub fn many_short_ones() {
    let connections = u64::from(many(4000));
    let netns = netns::inode().to_string();
    let stat = Tracer::start(&["stat", "--json", "--netns", &netns, "--ring-buffer", "64", "--one-in", "1"]);
    let trace = Tracer::here(&["--ring-buffer", "64"]);
    let opens = netns::tcp("PassiveOpens");
    for number in 0..connections {
        Pair::on(if number % 2 == 0 { V4 } else { crate::V6 }).close_client_first();
    }
    assert_eq!(netns::tcp("PassiveOpens") - opens, connections);
    let (stat, trace) = (stat.stop(), trace.stop());
    let withheld = withheld::of(connections * 10);
    let report: serde_json::Value = serde_json::from_str(stat.stdout.last().unwrap()).unwrap();
    let of_syn_recv = |key: &str| report["states"]["SYN_RECV"][key].as_u64().unwrap();
    let near = |count: u64| count <= connections && count + withheld >= connections;
    assert!(near(of_syn_recv("entered")) && near(of_syn_recv("left")), "{report}");
    assert!(of_syn_recv("now") <= withheld, "{report}");
    let lines = trace.lines();
    let count = |step: &str| lines.iter().filter(|line| line.step() == step).count() as u64;
    for step in MADE.split(' ') {
        assert!(near(count(step)), "{step}: {} of {connections}; {trace:?}", count(step));
    }
    let timed = lines.iter().filter(|line| line.step() == "SYN_RECV>ESTABLISHED" && line.timing == "exact").count();
    assert!(near(timed as u64), "{timed} of {connections}");
    if withheld == 0 {
        trace.expect_clean();
        let ledger = &report["ledger"];
        assert!(ledger["lossy"] == false || ledger["lost"]["recursion"] != 0, "{report}");
    }
}

/// A connection whose first step and second were shown, of the client that is given.
pub fn server_side(seen: &Seen, client: &Socket) -> Vec<Line> {
    let ends = flip((traffic::address(client), traffic::peer(client)));
    let made = seen.wait_for_step(ends, "SYN_RECV>ESTABLISHED", SOON);
    seen.connection(made.id.as_ref())
}
