//! Connections in SYN_RECV that come to nothing, each way made to happen.

use std::{
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use socket2::Socket;

use crate::{
    V4,
    actor::Cast,
    hand::{Complaint, Hand},
    netns,
    packet::RST,
    syn_recv::{NEAR, expect_made, finish},
    tracer::{By, Line, SOON, Seen, Tracer, steps},
    traffic::{self, ss, until},
};

/// Waits for the end of a connection in SYN_RECV, and checks what is said of it.
pub fn expect_end(seen: &Seen, hand: &Hand, reason: &str, retransmits: u16, by: Option<By>) -> Line {
    let ends = hand.seen_from_there();
    let end = seen.wait_for_step(ends, "SYN_RECV>CLOSE", SOON);
    assert_eq!((end.reason.as_deref(), end.retransmits, &end.by), (Some(reason), Some(retransmits), &by), "{end:?}");
    assert_eq!((end.timing.as_str(), end.predates), ("exact", false), "{end:?}");
    assert_eq!(end.pid, Some(std::process::id()), "whose listener it was: {end:?}");
    let life: Vec<Line> = seen.lines().into_iter().filter(|line| line.is_of(ends)).collect();
    assert_eq!(steps(&life), "LISTEN>SYN_RECV SYN_RECV>CLOSE", "{life:?}");
    assert!((end.when() - life[0].when()).abs_diff(end.dwell()) <= NEAR, "{life:?}");
    assert!(ss(ends).is_none(), "it is gone");
    end
}

/// No ACK comes, to one SYN-ACK and another.
pub fn timeout(ip: &str) {
    netns::sysctl("ipv4/tcp_synack_retries", "1");
    let seen = Seen::shared();
    let timeouts = netns::tcp_ext("TCPTimeouts");
    let listener = traffic::listen(ip);
    let hand = Hand::syn_recv(traffic::address(&listener));
    let end = expect_end(&seen, &hand, "timeout", 1, None);
    // A second, and two more; each at the end of its bucket.
    assert!((3000..4500).contains(&end.dwell().as_millis()), "{end:?}");
    assert_eq!(netns::tcp_ext("TCPTimeouts") - timeouts, 2, "one more time than the SYN-ACK was sent again");
}

/// The peer wants no more of it.
pub fn reset(ip: &str) {
    let seen = Seen::shared();
    let (resets, failed) = (netns::tcp_ext("EmbryonicRsts"), netns::tcp("AttemptFails"));
    let listener = traffic::listen(ip);
    let hand = Hand::syn_recv(traffic::address(&listener));
    hand.rst();
    let end = expect_end(&seen, &hand, "reset", 0, None);
    assert!(end.dwell() < SOON, "{end:?}");
    assert_eq!((netns::tcp_ext("EmbryonicRsts") - resets, netns::tcp("AttemptFails") - failed), (1, 1));
}

/// A host in between says that the SYN-ACK does not get there.
pub fn unreachable(ip: &str) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let hand = Hand::syn_recv(traffic::address(&listener));
    // Of IPv6 it takes an error that is final (`icmpv6_err_convert`), of IPv4 one that is not (`tcp_v4_err`).
    let complaint = if ip == V4 { Complaint::NoHost } else { Complaint::NoPort };
    hand.complains(complaint, hand.last_heard());
    expect_end(&seen, &hand, "unreachable", 0, None);
}

/// The listener is closed. That shows when the ACK comes, or when the SYN-ACK would be sent again.
pub fn listener_closed(ip: &str, by_a_timer: bool) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let hand = Hand::syn_recv(traffic::address(&listener));
    drop(listener);
    if !by_a_timer {
        hand.ack();
    }
    let end = expect_end(&seen, &hand, "listener-closed", 0, None);
    let least = Duration::from_secs(u64::from(by_a_timer));
    assert!(end.dwell() >= least && end.dwell() < least + Duration::from_millis(900), "{end:?}");
}

/// `ss -K`, which lists it first and so gives it an id.
pub fn destroyed(ip: &str) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let hand = Hand::syn_recv(traffic::address(&listener));
    let shown = ss(hand.seen_from_there()).expect("ss shows it");
    let id = shown.split_once("sk:").unwrap().1.split_whitespace().next().unwrap().to_owned();
    let mut killer = Command::new("ss")
        .args(["-K", "-tan", "state", "syn-recv", "dport", "=", &format!(":{}", hand.own.port())])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let by = By { pid: killer.id(), comm: "ss".to_owned() };
    assert!(killer.wait().unwrap().success());
    let end = expect_end(&seen, &hand, "destroyed", 0, Some(by));
    assert_eq!(end.id, Some(id), "{end:?}");
}

/// A listener whose accept queue is full, and a peer that was in SYN_RECV before that was so.
fn no_room() -> (Socket, Vec<Socket>, Hand) {
    const BACKLOG: i32 = 2;
    let listener = traffic::listen(V4);
    listener.listen(BACKLOG).unwrap();
    let hand = Hand::syn_recv(traffic::address(&listener));
    // One more than its backlog (`sk_acceptq_is_full`).
    let queued = (0..=BACKLOG).map(|_| traffic::connect(traffic::address(&listener))).collect();
    (listener, queued, hand)
}

/// The ACK comes, and nobody accepts the connections that were made before it: it is dropped (`tcp_abort_on_overflow` is 0) until
/// the time is over; or somebody accepts, and the next ACK makes it.
pub fn accept_queue_full(accepted_late: bool) {
    netns::sysctl("ipv4/tcp_abort_on_overflow", "0");
    netns::sysctl("ipv4/tcp_synack_retries", if accepted_late { "3" } else { "1" });
    let seen = Seen::shared();
    let (listener, _queued, mut hand) = no_room();
    let overflows = netns::tcp_ext("ListenOverflows");
    hand.ack();
    until("the ACK is dropped", SOON, || netns::tcp_ext("ListenOverflows") == overflows + 1);
    if accepted_late {
        let _accepted = traffic::accept(&listener);
        hand.hears_syn_ack();
        finish(&mut hand);
        let made = expect_made(&seen, &hand);
        assert_eq!((made.timing.as_str(), made.retransmits), ("exact", Some(1)), "{made:?}");
        assert!((1000..2500).contains(&made.dwell().as_millis()), "{made:?}");
    } else {
        let end = expect_end(&seen, &hand, "accept-queue-full", 1, None);
        assert!((3000..4500).contains(&end.dwell().as_millis()), "{end:?}");
    }
}

/// TCP_DEFER_ACCEPT: the ACK comes, with nothing behind it, and the queue is empty.
pub fn no_data() {
    netns::sysctl("ipv4/tcp_synack_retries", "1");
    let seen = Seen::shared();
    let (deferred, overflows) = (netns::tcp_ext("TCPDeferAcceptDrop"), netns::tcp_ext("ListenOverflows"));
    let listener = traffic::listen(V4);
    // Until a second SYN-ACK has been sent (`retrans_to_secs`).
    traffic::set_option(&listener, nix::libc::IPPROTO_TCP, nix::libc::TCP_DEFER_ACCEPT, 3);
    let hand = Hand::syn_recv(traffic::address(&listener));
    hand.ack();
    until("the ACK is dropped", SOON, || netns::tcp_ext("TCPDeferAcceptDrop") == deferred + 1);
    let end = seen.wait_for_step(hand.seen_from_there(), "SYN_RECV>CLOSE", SOON);
    assert_eq!((end.reason.as_deref(), end.pid), (Some("no-data"), Some(std::process::id())), "{end:?}");
    assert_eq!(netns::tcp_ext("ListenOverflows"), overflows);
}

/// The same where overflow is answered with an RST, which is this side's own.
pub fn accept_queue_full_is_answered() {
    netns::sysctl("ipv4/tcp_abort_on_overflow", "1");
    let seen = Seen::shared();
    let (_listener, _queued, hand) = no_room();
    let (overflows, resets) = (netns::tcp_ext("ListenOverflows"), netns::tcp_ext("EmbryonicRsts"));
    hand.ack();
    hand.hears(RST);
    expect_end(&seen, &hand, "accept-queue-full", 0, None);
    assert_eq!((netns::tcp_ext("ListenOverflows") - overflows, netns::tcp_ext("EmbryonicRsts") - resets), (1, 1));
}

/// The namespace goes away: not before its connections in SYN_RECV, which hold their listener, have seen that it is closed.
pub fn netns_is_gone() {
    let (inside, created) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let place = thread::spawn(move || {
        let place = netns::enter_new().unwrap();
        let _resident = Cast::named("resident").start();
        inside.send(place).unwrap();
        wait.recv().unwrap();
        let listener = traffic::listen(V4);
        let hand = Hand::syn_recv(traffic::address(&listener));
        let ends = hand.seen_from_there();
        inside.send(0).unwrap();
        wait.recv().unwrap();
        hand.leave();
        ends
    });
    let netns = created.recv().unwrap();
    let seen = Seen::through(Tracer::start(&["trace", "--json", "--netns", &netns.to_string()])).of(netns);
    go.send(()).unwrap();
    created.recv().unwrap();
    until("it is in SYN_RECV", SOON, || seen.lines().iter().any(|line| line.to == "SYN_RECV"));
    go.send(()).unwrap();
    let ends = place.join().unwrap();
    let end = seen.wait_for_step(ends, "SYN_RECV>CLOSE", SOON);
    assert_eq!((end.reason.as_deref(), end.timing.as_str()), (Some("listener-closed"), "exact"), "{end:?}");
    seen.into_tracer().stop().expect_clean();
}
