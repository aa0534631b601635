//! connect() that fails, for each reason; and those that do not fail, of which nothing is told. Refused ports are in `ports`.

pub mod calls;
pub mod older;
pub mod ports;
pub mod soft;

use std::{
    net::{IpAddr, SocketAddr},
    process::{Command, Stdio},
};

use socket2::Socket;

use crate::{
    V4,
    actor::{Actor, Cast},
    hand::{Complaint, Hand, Heard},
    netns,
    packet::SYN,
    reasons::own_name,
    tracer::{SOON, Seen, told::Failed},
    traffic::{self, Pair, until},
    withheld,
};

/// What an actor is told: any port there.
pub fn any_port(ip: &str) -> String {
    SocketAddr::new(ip.parse().unwrap(), 0).to_string()
}

/// Whose call it was.
pub fn is_of(failed: &Failed, actor: &Actor, name: &str) {
    assert_eq!(
        (failed.pid, failed.comm.as_deref(), failed.uid),
        (Some(actor.pid()), Some(name), Some(0)),
        "{failed:?}"
    );
}

fn is_ours(failed: &Failed) {
    assert_eq!(
        (failed.pid, failed.comm.as_deref()),
        (Some(std::process::id()), Some(own_name().as_str())),
        "{failed:?}"
    );
}

/// What every connect() that failed has: its addresses, its name, no holders, and its step to CLOSE.
/// Why it ended is told apart where the errno does not: an RST and an ICMP error may both be ECONNREFUSED.
fn is_between(seen: &Seen, failed: &Failed, from: (IpAddr, Option<u16>), to: SocketAddr, why: (&str, Option<&str>)) {
    assert_eq!((failed.laddr, failed.lport), from, "{failed:?}");
    assert_eq!((failed.raddr, failed.rport), (Some(to.ip()), Some(to.port())), "{failed:?}");
    assert_eq!(failed.family, if to.is_ipv4() { 4 } else { 6 }, "{failed:?}");
    assert!(failed.holders.is_empty() && failed.reuseaddr.is_none(), "{failed:?}");
    let end = seen.connection(failed.id.as_ref()).pop().unwrap();
    assert_eq!((end.step().as_str(), end.pid), ("SYN_SENT>CLOSE", failed.pid), "{end:?} {failed:?}");
    assert_eq!((end.reason.as_deref(), end.detail.as_deref()), (Some(why.0), why.1), "{end:?}");
}

/// A connect() that goes on: to a peer that never answers, from this port or any.
fn connecting(peer: &Hand, port: u16) -> (Socket, SocketAddr, Heard) {
    let client = traffic::socket(peer.own.ip());
    if port != 0 {
        client.bind(&SocketAddr::new(peer.own.ip(), port).into()).unwrap();
    }
    client.set_nonblocking(true).unwrap();
    client.connect(&peer.own.into()).unwrap_err();
    let heard = peer.hears(SYN);
    let from = traffic::address(&client);
    (client, from, heard)
}

/// Four ports, and four connections to this peer. (Of an odd number the kernel may not try the last: `__inet_hash_connect`.)
pub fn no_free_port(ip: &str) {
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let to = traffic::address(&listener);
    netns::sysctl("ipv4/ip_local_port_range", "40500 40503");
    let _taken: Vec<_> = (0..4).map(|_| traffic::connect(to)).collect();
    let opens = netns::tcp("ActiveOpens");
    let mut client = Cast::named("no-port").start();
    assert_eq!(client.does(&format!("try-connect {to}")), "EADDRNOTAVAIL");
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "connect-failed no-free-port", "{failed:?}");
    assert_eq!((failed.errno.as_deref(), failed.retransmits), (Some("EADDRNOTAVAIL"), None), "{failed:?}");
    is_of(&failed, &client, "no-port");
    is_between(&seen, &failed, (to.ip(), None), to, ("failed", None));
    assert_eq!(netns::tcp("ActiveOpens"), opens, "no SYN was sent");
}

/// The port that it was bound to is in TIME_WAIT towards this very peer, and without timestamps nothing may take it over.
pub fn port_taken(ip: &str) {
    netns::sysctl("ipv4/tcp_timestamps", "0");
    let seen = Seen::shared();
    let listener = traffic::listen(ip);
    let to = traffic::address(&listener);
    let client = traffic::connect_from(SocketAddr::new(to.ip(), 0), to);
    let server = traffic::accept(&listener);
    let pair = Pair { listener, client, server };
    let ends = pair.ends();
    let _listener = pair.close_client_first();
    seen.wait_for_step(ends, "FIN_WAIT2>TIME_WAIT", SOON);
    let mut client = Cast::named("bound").start();
    assert_eq!(client.does(&format!("try-connect {} {}", ends.1, ends.0)), "EADDRNOTAVAIL");
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "connect-failed port-taken", "{failed:?}");
    assert_eq!((failed.errno.as_deref(), failed.retransmits), (Some("EADDRNOTAVAIL"), None), "{failed:?}");
    is_of(&failed, &client, "bound");
    is_between(&seen, &failed, (ends.0.ip(), Some(ends.0.port())), ends.1, ("failed", None));
}

/// Nobody listens there; before, somebody did, and nothing was told.
pub fn refused(ip: &str) {
    let seen = Seen::shared();
    let pair = Pair::on(ip);
    let (_, to) = pair.ends();
    drop(pair.close_client_first());
    let failures = netns::tcp("AttemptFails");
    let mut client = Cast::named("refused").start();
    assert_eq!(client.does(&format!("try-connect {to}")), "ECONNREFUSED");
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "connect-failed refused", "{failed:?}");
    assert_eq!((failed.errno.as_deref(), failed.retransmits), (Some("ECONNREFUSED"), Some(0)), "{failed:?}");
    is_of(&failed, &client, "refused");
    assert!(failed.lport.is_some(), "{failed:?}");
    is_between(&seen, &failed, (to.ip(), failed.lport), to, ("reset", None));
    assert_eq!(netns::tcp("AttemptFails"), failures + 1);
}

/// A process that does not give in: as many are told of as the kernel counts.
pub fn as_many_as_the_kernel_counts() {
    const TIMES: usize = 500;
    let seen = Seen::shared();
    let to = traffic::address(&traffic::listen(V4));
    let before = netns::tcp("AttemptFails");
    for _ in 0..TIMES {
        traffic::socket(to.ip()).connect(&to.into()).unwrap_err();
    }
    assert_eq!(netns::tcp("AttemptFails") - before, TIMES as u64);
    // Two changes of state each, and one may be withheld for want of the other.
    let least = TIMES - usize::try_from(withheld::of(2 * TIMES as u64)).unwrap();
    until("all are told of", SOON, || seen.failures().len() >= least);
    let failures = seen.failures();
    assert!(failures.len() <= TIMES && failures.iter().all(|failed| failed.why == "refused"), "{failures:?}");
    failures.iter().for_each(is_ours);
}

/// Nobody answers; the timer says so, and whose it was is known all the same.
pub fn timed_out(ip: &str) {
    netns::sysctl("ipv4/tcp_syn_retries", "1");
    let seen = Seen::shared();
    let peer = Hand::mute(ip);
    let failures = netns::tcp("AttemptFails");
    let mut client = Cast::named("patient").start();
    assert_eq!(client.does(&format!("try-connect {}", peer.own)), "ETIMEDOUT");
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "connect-failed timed-out", "{failed:?}");
    // How many there are at this setting is another matter on newer kernels (`tcp_syn_linear_timeouts`).
    let syns = std::iter::from_fn(|| peer.has_heard(SYN)).count();
    assert!(syns > 1, "{syns}");
    assert_eq!((failed.errno.as_deref(), failed.retransmits.map(usize::from)), (Some("ETIMEDOUT"), Some(syns - 1)));
    assert!(failed.words.contains(&format!("after {syns} SYNs")), "{failed:?}");
    is_of(&failed, &client, "patient");
    is_between(&seen, &failed, (peer.own.ip(), failed.lport), peer.own, ("timed-out", Some("retransmissions")));
    assert_eq!(netns::tcp("AttemptFails"), failures + 1);
}

/// A host in between says that nobody is there.
pub fn unreachable(ip: &str) {
    let seen = Seen::shared();
    let peer = Hand::mute(ip);
    let (_client, from, heard) = connecting(&peer, 0);
    peer.complains(Complaint::NoHost, heard);
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "connect-failed unreachable", "{failed:?}");
    assert_eq!((failed.errno.as_deref(), failed.retransmits), (Some("EHOSTUNREACH"), Some(0)), "{failed:?}");
    is_ours(&failed);
    is_between(&seen, &failed, (from.ip(), Some(from.port())), peer.own, ("unreachable", None));
}

/// A firewall that rejects: to the process it is the same as nobody listening, and it is not said that an RST came.
pub fn rejected(ip: &str) {
    let seen = Seen::shared();
    let peer = Hand::mute(ip);
    let (_client, from, heard) = connecting(&peer, 0);
    peer.complains(Complaint::NoPort, heard);
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "connect-failed refused", "{failed:?}");
    assert_eq!((failed.errno.as_deref(), failed.retransmits), (Some("ECONNREFUSED"), Some(0)), "{failed:?}");
    assert!(failed.words.contains("or a firewall"), "{failed:?}");
    is_ours(&failed);
    is_between(&seen, &failed, (from.ip(), Some(from.port())), peer.own, ("unreachable", None));
}

/// Closed before an answer came, from any port and from one that was asked for: neither was taken.
pub fn given_up(ip: &str) {
    let seen = Seen::shared();
    let free = traffic::address(&traffic::listen(ip)).port();
    for (number, port) in [(1, 0), (2, free)] {
        let peer = Hand::mute(ip);
        let (client, from, _) = connecting(&peer, port);
        drop(client);
        let failed = seen.wait_for_failure(number, SOON);
        assert_eq!(failed.what(), "connect-failed given-up", "{failed:?}");
        assert_eq!((failed.errno.as_deref(), failed.retransmits), (None, Some(0)), "{failed:?}");
        is_ours(&failed);
        is_between(&seen, &failed, (from.ip(), Some(from.port())), peer.own, ("closed", Some("given-up")));
    }
}

/// `ss -K` while nobody answers: what the errno says, and the process is not ss.
pub fn destroyed(ip: &str) {
    let seen = Seen::shared();
    let peer = Hand::mute(ip);
    let (_client, from, _) = connecting(&peer, 0);
    let mut kill = Command::new("ss");
    kill.args(["-K", "-tan", "state", "syn-sent", "sport", "=", &format!(":{}", from.port())]).stdout(Stdio::null());
    assert!(kill.status().unwrap().success());
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "connect-failed destroyed", "{failed:?}");
    assert_eq!(failed.errno.as_deref(), Some("ECONNABORTED"), "{failed:?}");
    is_ours(&failed);
    is_between(&seen, &failed, (from.ip(), Some(from.port())), peer.own, ("destroyed", None));
}
