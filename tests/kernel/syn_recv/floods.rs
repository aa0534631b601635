//! More SYNs than a listener takes, with and without SYN cookies; and TCP Fast Open, which has no request socket's timer either.

use std::process::Command;

use nix::libc;
use socket2::{Domain, MsgHdr, Protocol, Socket, Type};

use crate::{
    V4, V6,
    hand::Hand,
    netns,
    syn_recv::{expect_made, finish, server_side},
    tracer::{Line, SOON, Seen},
    traffic::{self, Pair, set_option, until},
};

const BACKLOG: usize = 8;
const SYNS: usize = 40;

/// Of a passive connection without a request socket nobody knows for how long it was in SYN_RECV.
fn is_untimed(life: &[Line]) {
    let [begun, made] = life else { panic!("two steps: {life:?}") };
    assert_eq!((begun.step().as_str(), made.step().as_str()), ("LISTEN>SYN_RECV", "SYN_RECV>ESTABLISHED"));
    assert_eq!((made.dwell_ns, made.timing.as_str(), made.predates), (None, "unknown", false), "{made:?}");
    assert!(begun.id.is_some() && begun.id == made.id, "{life:?}");
}

fn steps_of(seen: &Seen, step: &str) -> Vec<Line> {
    seen.lines().into_iter().filter(|line| line.step() == step).collect()
}

/// A SYN from each of many peers to a listener that takes a few; returns the peers.
fn flood() -> (Socket, Vec<Hand>) {
    let listener = traffic::listen(V4);
    listener.listen(i32::try_from(BACKLOG).unwrap()).unwrap();
    let hands: Vec<_> = (0..SYNS).map(|_| Hand::towards(traffic::address(&listener))).collect();
    let before = netns::segments_in();
    hands.iter().for_each(Hand::syn);
    until("every SYN is dealt with", SOON, || netns::segments_in() >= before + SYNS as u64);
    (listener, hands)
}

/// How many found room, when so many did not by the kernel's own count: as many as the backlog, on newer kernels one more
/// (`inet_csk_reqsk_queue_is_full`).
fn room_for(others: u64) -> usize {
    let room = SYNS - usize::try_from(others).unwrap();
    assert!((BACKLOG..=BACKLOG + 1).contains(&room), "{room}");
    room
}

/// What finds no room is dropped and leaves nothing; what found room ends by itself.
pub fn without_cookies() {
    netns::sysctl("ipv4/tcp_syncookies", "0");
    netns::sysctl("ipv4/tcp_synack_retries", "1");
    let seen = Seen::shared();
    let (_listener, mut hands) = flood();
    let room = room_for(netns::tcp_ext("TCPReqQFullDrop"));
    let shown = Command::new("ss").args(["-tanH", "state", "syn-recv"]).output().unwrap().stdout;
    assert_eq!(String::from_utf8(shown).unwrap().lines().count(), room);
    let answered: Vec<_> = hands.iter_mut().map(Hand::has_heard_syn_ack).collect();
    assert_eq!(answered.iter().filter(|answered| **answered).count(), room);
    for (hand, _) in hands.iter().zip(answered).filter(|(_, answered)| *answered) {
        let end = seen.wait_for_step(hand.seen_from_there(), "SYN_RECV>CLOSE", SOON);
        assert_eq!((end.reason.as_deref(), end.retransmits), (Some("timeout"), Some(1)), "{end:?}");
    }
    for step in ["LISTEN>SYN_RECV", "SYN_RECV>CLOSE"] {
        assert_eq!(steps_of(&seen, step).len(), room, "{step}: {:?}", seen.lines());
    }
    // There is room again.
    let mut hand = Hand::syn_recv(hands[0].to);
    finish(&mut hand);
    expect_made(&seen, &hand);
}

/// What finds no room gets a cookie, and is a connection once that comes back.
pub fn with_cookies() {
    netns::sysctl("ipv4/tcp_syncookies", "1");
    netns::sysctl("ipv4/tcp_synack_retries", "1");
    let seen = Seen::shared();
    let (_listener, mut hands) = flood();
    hands.iter_mut().for_each(Hand::hears_syn_ack);
    let room = room_for(netns::tcp_ext("SyncookiesSent"));
    assert_eq!(netns::tcp_ext("TCPReqQFullDoCookies"), netns::tcp_ext("SyncookiesSent"));
    // Which peers have a request socket is known by the steps that were shown.
    until("the ones in SYN_RECV are shown", SOON, || steps_of(&seen, "LISTEN>SYN_RECV").len() == room);
    let syn_recv = steps_of(&seen, "LISTEN>SYN_RECV");
    let (mut with, mut without): (Vec<_>, Vec<_>) =
        hands.iter_mut().partition(|hand| syn_recv.iter().any(|line| line.is_of(hand.seen_from_there())));
    assert_eq!((with.len(), without.len()), (room, SYNS - room));
    for hand in &mut without[..BACKLOG / 2] {
        finish(hand);
        let made = seen.wait_for_step(hand.seen_from_there(), "SYN_RECV>ESTABLISHED", SOON);
        is_untimed(&seen.connection(made.id.as_ref()));
    }
    assert_eq!(netns::tcp_ext("SyncookiesRecv"), BACKLOG as u64 / 2);
    for hand in &mut with[..BACKLOG / 2] {
        finish(hand);
        assert_eq!(expect_made(&seen, hand).timing, "exact");
    }
    for hand in &with[BACKLOG / 2..] {
        let end = seen.wait_for_step(hand.seen_from_there(), "SYN_RECV>CLOSE", SOON);
        assert_eq!(end.reason.as_deref(), Some("timeout"), "{end:?}");
    }
}

/// `tcp_syncookies` 2: no connection has a request socket.
pub fn cookies_always() {
    netns::sysctl("ipv4/tcp_syncookies", "2");
    let seen = Seen::shared();
    for ip in [V4, V6] {
        let pair = Pair::on(ip);
        is_untimed(&server_side(&seen, &pair.client));
        pair.close_client_first();
    }
    assert_eq!((netns::tcp_ext("SyncookiesSent"), netns::tcp_ext("SyncookiesRecv")), (2, 2));
}

/// TCP Fast Open: the first connection brings the cookie that the second goes without a handshake with.
pub fn fast_open() {
    // For clients and servers.
    netns::sysctl("ipv4/tcp_fastopen", "3");
    let seen = Seen::shared();
    let listener = traffic::listen(V4);
    set_option(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 16);
    let to = traffic::address(&listener).into();
    let lives: Vec<_> = (0..2)
        .map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            let data = [std::io::IoSlice::new(b"x")];
            let message = MsgHdr::new().with_addr(&to).with_buffers(&data);
            assert_eq!(client.sendmsg(&message, libc::MSG_FASTOPEN).unwrap(), 1);
            let server = traffic::accept(&listener);
            let life = server_side(&seen, &client);
            Pair { listener: listener.try_clone().unwrap(), client, server }.close_client_first();
            life
        })
        .collect();
    assert_eq!(netns::tcp_ext("TCPFastOpenPassive"), 1, "the second of two");
    assert_eq!(lives[0][1].timing, "exact", "{lives:?}");
    is_untimed(&lives[1][..2]);
}
