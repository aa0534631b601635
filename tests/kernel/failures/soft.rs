//! connect() while this machine's own firewall rejects its SYN: the ICMP error comes while the call holds the socket, so the kernel notes it
//! (`sk_err_soft`) and does not end anything. Who asks by SO_ERROR is told.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
};

use nix::libc;
use socket2::Socket;

use super::{is_between, is_ours};
use crate::{
    netns,
    tracer::{SOON, Seen},
    traffic::{self, until},
};

/// A port on which nobody listens, and what happens to a SYN for it.
struct Firewalled(SocketAddr);

impl Firewalled {
    fn on(ip: &str) -> Self {
        Self(traffic::address(&traffic::listen(ip)))
    }

    /// Whether this machine can do it.
    fn does(&self, verdict: &str) -> bool {
        let rules = format!(
            "flush ruleset\ntable inet wall {{ chain out {{ type filter hook output priority 0; tcp dport {} {verdict}\n}}\n}}\n",
            self.0.port()
        );
        let nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut nft) = nft else { return false };
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        nft.wait().unwrap().success()
    }

    /// Begins to connect. Whether the error came while the call held the socket is up to the kernel (PREEMPT_RT has softirqs in threads).
    fn connecting(&self) -> (Socket, bool) {
        let client = traffic::socket(self.0.ip());
        client.set_nonblocking(true).unwrap();
        let (noted, failed) = (netns::tcp_ext("LockDroppedIcmps"), netns::tcp("AttemptFails"));
        self.connects(&client);
        let mut was_noted = false;
        until("the ICMP error", SOON, || {
            was_noted = netns::tcp_ext("LockDroppedIcmps") > noted;
            was_noted || netns::tcp("AttemptFails") > failed
        });
        (client, was_noted)
    }

    fn connects(&self, client: &Socket) {
        let begun = client.connect(&self.0.into()).unwrap_err();
        assert_eq!(begun.raw_os_error(), Some(libc::EINPROGRESS));
    }
}

/// A connect() that is rejected while the call holds the socket, where this machine can do that; else it is said.
fn rejected(ip: &str) -> Option<(Firewalled, Socket)> {
    let wall = Firewalled::on(ip);
    if !wall.does("reject with icmpx host-unreachable") {
        println!("failures::soft: nft, or its reject, is not to be had here");
        return None;
    }
    let (client, noted) = wall.connecting();
    if !noted {
        println!("failures::soft: here the error does not come while connect() runs");
        return None;
    }
    Some((wall, client))
}

/// Its process closes it and asks nobody; asks first; and waits in connect() until the next SYN is rejected, when nobody holds the socket.
pub fn errors(ip: &str) {
    let seen = Seen::shared();
    let Some((wall, client)) = rejected(ip) else { return };
    let from = traffic::address(&client);
    let failures = netns::tcp("AttemptFails");
    drop(client);
    let failed = seen.wait_for_failure(1, SOON);
    assert_eq!(failed.what(), "connect-failed soft-error", "{failed:?}");
    assert_eq!((&failed.errno, failed.soft_errno.as_deref()), (&None, Some("EHOSTUNREACH")), "{failed:?}");
    is_ours(&failed);
    is_between(&seen, &failed, (from.ip(), Some(from.port())), wall.0, ("closed", Some("soft-error")));
    let end = seen.connection(failed.id.as_ref()).pop().unwrap();
    assert_eq!((&end.errno, end.soft_errno.as_deref()), (&None, Some("EHOSTUNREACH")), "{end:?}");

    let (client, noted) = wall.connecting();
    if !noted {
        // The softirq that brings it may be left to ksoftirqd, which runs when the call is over.
        println!("failures::soft: this time the error did not come while connect() ran");
        return;
    }
    let from = traffic::address(&client);
    assert_eq!(client.take_error().unwrap().and_then(|e| e.raw_os_error()), Some(libc::EHOSTUNREACH));
    drop(client);
    let failed = seen.wait_for_failure(2, SOON);
    // IPv6 keeps no copy of an error that nobody asked for in advance (IPV6_RECVERR).
    let (what, errno, detail) = match wall.0.is_ipv4() {
        true => ("connect-failed unreachable", Some("EHOSTUNREACH"), "soft-error"),
        false => ("connect-failed given-up", None, "given-up"),
    };
    assert_eq!((failed.what(), failed.errno.as_deref()), (what.to_owned(), errno), "{failed:?}");
    is_between(&seen, &failed, (from.ip(), Some(from.port())), wall.0, ("closed", Some(detail)));
    assert_eq!(netns::tcp("AttemptFails"), failures, "close() in SYN_SENT is not counted");

    let client = traffic::socket(wall.0.ip());
    let told = client.connect(&wall.0.into()).unwrap_err();
    assert_eq!(told.raw_os_error(), Some(libc::EHOSTUNREACH));
    let from = traffic::address(&client);
    let failed = seen.wait_for_failure(3, SOON);
    assert_eq!(failed.what(), "connect-failed unreachable", "{failed:?}");
    // The first SYN's may have come a moment later, when nobody held the socket either.
    assert!(failed.retransmits.is_some_and(|again| again <= 1), "{failed:?}");
    is_between(&seen, &failed, (failed.laddr, failed.lport), wall.0, ("unreachable", None));
    assert_eq!(netns::tcp("AttemptFails"), failures + 1, "{from}");
}

/// The error of an earlier connect() stays with the socket, and is not told of the next one.
pub fn an_old_error(ip: &str) {
    let seen = Seen::shared();
    let Some((wall, client)) = rejected(ip) else { return };
    crate::ends::disconnect(&client);
    assert_eq!(seen.wait_for_failure(1, SOON).what(), "connect-failed soft-error");
    assert!(wall.does("drop"));
    wall.connects(&client);
    drop(client);
    let failed = seen.wait_for_failure(2, SOON);
    assert_eq!(failed.what(), "connect-failed given-up", "{failed:?}");
    assert_eq!(failed.soft_errno, None, "{failed:?}");
}
