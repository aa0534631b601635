//! Calls that fail before anything is sent: what they give back, told right after what the socket did.

use super::story;

const NO_SYN: &str = "by=curl unsent returns";

/// Within one call the state changes say that it failed, and what it gives back says why.
#[test]
fn connect_gives_back_why() {
    for (port, errno, why) in [
        (0, 99, "NoFreePort"),
        (40_000, 101, "NoRoute"),
        (40_000, 113, "NoRoute"),
        (40_000, 13, "NotAllowed"),
        (40_000, 129, "NotAllowed"),
        (40_000, 105, "NoMemory"),
        (40_000, 22, "Invalid"),
    ] {
        story(
            &format!(
                "0 seeded\n10 state CLOSE SYN_SENT lport=0 by=curl\n11 state SYN_SENT CLOSE lport={port} {NO_SYN}
                 12 refused connect errno={errno} lport=0 by=curl socket=1"
            ),
            &format!(
                "10 #1 CLOSE -> SYN_SENT - lport={port} of curl
                 11 #1 SYN_SENT -> CLOSE 1 lport={port} of curl unknown
                 11 Connect failed: {why}"
            ),
        );
    }
}

/// Calls of io_uring and of 32-bit programs: no hook tells, and a port that was found is one that was not wanting.
#[test]
fn connect_gives_nothing_back() {
    for (entered, left, why) in [
        ("lport=0", "lport=0", "NoFreePort"),
        ("lport=0", "lport=40000", "NotTold"),
        ("lport=0 old-port", "lport=40000", "NoFreePort"),
        ("lport=40000", "lport=40000", "PortTaken"),
    ] {
        let at = |lport: &str| if lport == "lport=0" { " lport=0" } else { " lport=40000" };
        let heard = at(left);
        story(
            &format!(
                "0 seeded\n10 state CLOSE SYN_SENT {entered} by=curl\n11 state SYN_SENT CLOSE {left} {NO_SYN}\n200 tick"
            ),
            &format!(
                "10 #1 CLOSE -> SYN_SENT -{heard} of curl
                 11 #1 SYN_SENT -> CLOSE 1{heard} of curl unknown
                 11 Connect failed: {why}"
            ),
        );
    }
}

/// The first write sends the SYN; whoever closes before has sent none, and no call has failed.
#[test]
fn fast_open_closed_before_its_first_write() {
    story(
        "0 seeded
         10 state CLOSE SYN_SENT lport=0 by=curl
         11 state SYN_SENT CLOSE by=curl unsent deferred returns",
        "10 #1 CLOSE -> SYN_SENT - of curl
         11 #1 SYN_SENT -> CLOSE 1 of curl unknown
         11 Connect failed: NeverSent",
    );
}

/// A blocking connect() gives back what answered its SYN, which was told of then. One that never came to SYN_SENT is told of once.
#[test]
fn an_answer_is_not_told_twice() {
    story(
        "0 seeded
         10 state CLOSE SYN_SENT by=curl
         20 state SYN_SENT CLOSE err=113 returns
         21 refused connect errno=113 by=curl socket=1
         30 refused connect errno=113 by=curl socket=1",
        "10 #1 CLOSE -> SYN_SENT - of curl
         20 #1 SYN_SENT -> CLOSE 10 of curl unknown
         20 Connect failed: Unreachable
         30 Connect failed: NoRoute",
    );
}

#[test]
fn bind_gives_back_why() {
    for (errno, why) in [(99, "NoAddress"), (13, "NotAllowed"), (1, "NotAllowed"), (22, "Invalid")] {
        story(
            &format!("0 seeded\n10 refused errno={errno} lport=80 by=nginx socket=1"),
            &format!("10 Bind failed: {why}"),
        );
    }
}

/// bindresvport(3): one socket, one port after the other. Another socket's refusal in between is its own.
#[test]
fn a_search_for_a_free_port_is_one() {
    story(
        "0 seeded
         10 refused lport=600 by=mount socket=1
         11 refused lport=601 by=mount socket=1
         12 refused lport=80 by=nginx socket=2
         13 refused lport=602 by=mount socket=1
         14 refused lport=603 by=mount socket=1
         15 refused lport=604 by=mount socket=1
         16 refused lport=605 by=mount socket=1
         17 refused lport=606 by=mount socket=1
         18 refused lport=607 by=mount socket=1
         19 refused lport=608 by=mount socket=1
         400 tick",
        "10 Bind failed: PortSearch 9x 600-608
         12 Bind failed: PortHeld",
    );
    // A server has a few ports, each with its holder; its sockets may lie in the same place of memory one after the other.
    story(
        "0 seeded
         1 state CLOSE LISTEN id=9 listener lport=443 by=old
         10 refused lport=80 by=nginx socket=1
         11 refused lport=443 by=nginx socket=1
         600 tick",
        "1 #9 CLOSE -> LISTEN - lport=443 of old
         10 Bind failed: PortHeld
         11 Bind failed: PortHeld 1x LISTEN old",
    );
    // The same port again and again is no search.
    story(
        "0 seeded
         10 refused lport=80 by=nginx socket=1
         11 refused lport=80 by=nginx socket=1
         400 tick",
        "10 Bind failed: PortHeld
         11 Bind failed: PortHeld",
    );
}

/// Who was in the way at that moment, not when the search was known to be none.
#[test]
fn holders_are_those_of_the_moment() {
    story(
        "0 seeded
         1 state CLOSE LISTEN id=9 listener by=old
         2 refused id=7 lport=443 by=new socket=1
         3 state LISTEN CLOSE id=9 listener by=old
         400 tick",
        "1 #9 CLOSE -> LISTEN - lport=443 of old
         3 #9 LISTEN -> CLOSE 2 lport=443 of old unknown
         2 Bind failed: PortHeld 1x LISTEN old",
    );
}

/// The server has ended, and a child that inherited its listener has the port: it is looked up, and the dead one is blamed no more.
#[test]
fn who_inherited_a_listener_holds_the_port() {
    for (heir, owned, holder) in [("by=child", "#9 owned by child\n", "child"), ("", "", "?")] {
        story(
            &format!(
                "0 seeded
                 1 state CLOSE LISTEN id=9 listener by=old
                 2 refused id=7 lport=443 by=new socket=1
                 40 heir id=9 {heir}
                 400 tick
                 500 refused id=7 lport=443 by=new socket=2
                 900 tick"
            ),
            &format!(
                "1 #9 CLOSE -> LISTEN - lport=443 of old
                 {owned}2 Bind failed: PortHeld 1x LISTEN {holder}
                 500 Bind failed: PortHeld 1x LISTEN {holder}"
            ),
        );
    }
    // It was known already, or is no listener.
    story(
        "0 seeded
         1 state CLOSE LISTEN id=9 listener by=nginx
         2 state CLOSE SYN_SENT id=3 by=curl
         3 heir id=9 by=nginx
         3 heir id=3 by=nginx
         3 heir id=8 by=nginx
         4 state SYN_SENT ESTABLISHED id=3",
        "1 #9 CLOSE -> LISTEN - lport=443 of nginx
         2 #3 CLOSE -> SYN_SENT - of curl
         4 #3 SYN_SENT -> ESTABLISHED 2 of curl",
    );
}

/// `inet_bind_conflict`: SO_REUSEADDR on both sides but of a listener, SO_REUSEPORT on both sides of one user, leave the port.
#[test]
fn only_those_that_conflict_hold_the_port() {
    for (mine, listener, connection, heard) in [
        ("neither", "both", "both", "1x LISTEN nginx 1x ESTABLISHED nginx"),
        ("address", "address", "address", "1x LISTEN nginx"),
        ("address", "address", "neither", "1x LISTEN nginx 1x ESTABLISHED nginx"),
        ("port", "port", "neither", "1x ESTABLISHED nginx"),
        ("port", "neither", "port", "1x LISTEN nginx"),
        // The kernel compares users that nobody else knows: what else could it be?
        ("port", "port", "port", "1x LISTEN nginx 1x ESTABLISHED nginx"),
    ] {
        story(
            &format!(
                "0 seeded
                 1 state CLOSE LISTEN id=9 listener by=nginx may={listener}
                 2 state CLOSE SYN_SENT id=3 lport=443 by=nginx
                 2 state SYN_SENT ESTABLISHED id=3 lport=443 may={connection}
                 3 refused id=7 lport=443 by=other may={mine}"
            ),
            &format!(
                "1 #9 CLOSE -> LISTEN - lport=443 of nginx
                 2 #3 CLOSE -> SYN_SENT - lport=443 of nginx
                 2 #3 SYN_SENT -> ESTABLISHED 0 lport=443 of nginx
                 3 Bind failed: PortHeld {heard}"
            ),
        );
    }
}

/// The one that accepts acts for the listener, whoever made it; and for the connection, before it reads.
#[test]
fn who_accepts() {
    story(
        "0 seeded
         1 state CLOSE LISTEN id=9 listener by=systemd
         2 syn
         3 state SYN_RECV ESTABLISHED id=1 newborn of-request
         4 accepted id=1 by=sshd
         5 syn id=2
         6 drop id=2 stack=tcp_check_req",
        "1 #9 CLOSE -> LISTEN - lport=443 of systemd
         2 #1 LISTEN -> SYN_RECV - through systemd
         3 #1 SYN_RECV -> ESTABLISHED 1 through systemd
         #1 owned by sshd
         5 #0 LISTEN -> SYN_RECV - lport=1002 through sshd
         6 #0 SYN_RECV -> CLOSE 1 lport=1002 of sshd reset",
    );
}
