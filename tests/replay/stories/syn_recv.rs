//! Connections in SYN_RECV: from the SYN to the ACK, or to whatever comes instead; calls that fail.

use super::story;

/// A listener of nginx with cookie 9, as every story here begins.
const LISTENER: &str = "0 seeded\n1 state CLOSE LISTEN id=9 listener by=nginx\n";
const LISTENS: &str = "1 #9 CLOSE -> LISTEN - lport=443 of nginx\n";

#[track_caller]
fn told(told: &str, heard: &str) {
    story(&format!("{LISTENER}{told}"), &format!("{LISTENS}{heard}"));
}

#[test]
fn lasts_from_the_syn_to_the_ack() {
    told(
        "10 syn
         40 state LISTEN SYN_RECV id=0 sk=5
         41 state SYN_RECV ESTABLISHED id=1 sk=5 of-request",
        "10 #1 LISTEN -> SYN_RECV - through nginx
         41 #1 SYN_RECV -> ESTABLISHED 31 through nginx",
    );
}

/// What becomes of a newborn at once is told with its birth.
#[test]
fn a_birth_needs_no_record() {
    told(
        "10 syn
         41 state SYN_RECV ESTABLISHED id=1 sk=5 of-request newborn",
        "10 #1 LISTEN -> SYN_RECV - through nginx
         41 #1 SYN_RECV -> ESTABLISHED 31 through nginx",
    );
}

/// A SYN cookie leaves no request socket: when the SYN came is not known, and the connection begins when it is made.
#[test]
fn a_birth_by_a_cookie() {
    told(
        "41 state SYN_RECV ESTABLISHED id=1 sk=5 newborn",
        "41 #1 LISTEN -> SYN_RECV -
         41 #1 SYN_RECV -> ESTABLISHED -
         without a request 1",
    );
}

/// The newborn of older kernels still shows its listener's addresses.
#[test]
fn the_newborns_own_addresses_do_not_matter() {
    told(
        "10 syn
         40 state LISTEN SYN_RECV id=0 sk=5 listener
         41 state SYN_RECV ESTABLISHED id=1 sk=5 of-request",
        "10 #1 LISTEN -> SYN_RECV - through nginx
         41 #1 SYN_RECV -> ESTABLISHED 31 through nginx",
    );
}

#[test]
fn one_that_takes_long_is_shown_before_it_has_a_cookie() {
    told(
        "10 syn on=1
         120 tick
         1010 give-up on=1
         1010 resend on=1 again=1
         1100 state LISTEN SYN_RECV id=0 sk=5
         1100 state SYN_RECV ESTABLISHED id=1 sk=5 of-request again=1",
        "10 #0 LISTEN -> SYN_RECV - lport=1001 through nginx
         1100 #1 SYN_RECV -> ESTABLISHED 1090 through nginx again 1",
    );
}

#[test]
fn nobody_answers() {
    told(
        "10 syn
         1010 give-up
         1010 resend again=1
         3010 give-up again=1
         3020 tick",
        "10 #0 LISTEN -> SYN_RECV - lport=1001 through nginx
         3010 #0 SYN_RECV -> CLOSE 3000 lport=1001 of nginx timeout again 1",
    );
}

/// What runs out and what is sent again are told on one CPU; another's events say nothing of it.
#[test]
fn only_its_own_cpu_says_that_it_is_given_up() {
    told(
        "10 syn
         1010 give-up cpu=1
         1010 syn on=2 id=2
         1011 resend again=1 cpu=1
         1012 drop stack=tcp_check_req
         1013 drop on=2 id=2 stack=tcp_check_req",
        "10 #0 LISTEN -> SYN_RECV - lport=1001 through nginx
         1012 #0 SYN_RECV -> CLOSE 1002 lport=1001 of nginx reset
         1010 #0 LISTEN -> SYN_RECV - lport=1002 through nginx
         1013 #0 SYN_RECV -> CLOSE 3 lport=1002 of nginx reset",
    );
}

#[test]
fn the_reasons_for_which_it_comes_to_nothing() {
    for (what, reason) in [
        ("drop stack=tcp_check_req,tcp_v4_rcv", "reset"),
        ("drop stack=tcp_req_err", "unreachable"),
        ("drop stack=inet_csk_reqsk_queue_drop_and_put,tcp_v4_rcv", "listener-closed"),
        ("drop stack=tcp_abort by=ss in-process", "destroyed by ss"),
        ("drop stack=inet_twsk_purge", "netns"),
        ("drop netns-gone", "netns"),
        ("drop deaf", "listener-closed"),
        ("drop", "unknown"),
        ("give-up deaf", "listener-closed"),
        ("give-up acked", "accept-queue-full"),
        ("give-up acked queue=full", "accept-queue-full"),
        // TCP_DEFER_ACCEPT: the ACK had no data. With a full queue it may have been either.
        ("give-up acked deferred queue=room", "no-data"),
        ("give-up acked deferred queue=full", "unknown"),
        // tcp_abort_on_overflow: it is this side that resets.
        ("drop stack=tcp_check_req,tcp_v4_rcv queue=resets", "accept-queue-full"),
        ("drop stack=tcp_check_req,tcp_v4_rcv queue=full", "reset"),
    ] {
        told(
            &format!("10 syn\n50 {what}\n100 tick"),
            &format!(
                "10 #0 LISTEN -> SYN_RECV - lport=1001 through nginx
                 50 #0 SYN_RECV -> CLOSE 40 lport=1001 of nginx {reason}"
            ),
        );
    }
}

/// SYN cookies and TCP Fast Open: a connection is made, and there was no request socket.
#[test]
fn no_request_socket() {
    told(
        "40 state LISTEN SYN_RECV id=0 sk=5
         41 state SYN_RECV ESTABLISHED id=1 sk=5",
        "40 #1 LISTEN -> SYN_RECV -
         41 #1 SYN_RECV -> ESTABLISHED -
         without a request 1",
    );
}

/// The kernel side saw the request end, so there was one, and its beginning was lost.
#[test]
fn a_beginning_that_was_lost_is_counted() {
    told(
        "40 state LISTEN SYN_RECV id=0 sk=5
         41 state SYN_RECV ESTABLISHED id=1 sk=5 of-request",
        "41 #1 SYN_RECV -> ESTABLISHED -
         unmatched syn-recv 1",
    );
}

/// `reqsk_timer_handler` moves it to another listener of the group when its own was closed.
#[test]
fn another_listener_takes_it_over() {
    told(
        "2 state CLOSE LISTEN id=8 listener by=other
         10 syn
         1010 give-up deaf
         1010 syn from=8 req=77
         1040 state LISTEN SYN_RECV id=0 sk=5
         1040 state SYN_RECV ESTABLISHED id=1 sk=5 of-request",
        "2 #8 CLOSE -> LISTEN - lport=443 of other
         10 #1 LISTEN -> SYN_RECV - through other
         1040 #1 SYN_RECV -> ESTABLISHED 1030 through other",
    );
}

/// Older than the trace: sock_diag gave it a cookie, which the connection inherits.
#[test]
fn older_than_the_trace() {
    story(
        "10 seed SYN_RECV id=1
         11 seeded
         40 state LISTEN SYN_RECV id=0 sk=5
         41 state SYN_RECV ESTABLISHED id=1 sk=5 of-request",
        "41 #1 SYN_RECV -> ESTABLISHED - older",
    );
}

/// It was made while sock_diag was being read: what that says comes late.
#[test]
fn made_while_sock_diag_was_read() {
    story(
        "10 syn listed=0
         40 state LISTEN SYN_RECV id=0 sk=5
         41 state SYN_RECV ESTABLISHED id=1 sk=5 of-request
         42 seed SYN_RECV id=1
         43 seeded",
        "10 #1 LISTEN -> SYN_RECV -
         41 #1 SYN_RECV -> ESTABLISHED 31",
    );
}

#[test]
fn why_connect_failed() {
    for (end, why) in [
        ("lport=0 by=curl unsent", "NoFreePort"),
        ("err=111", "Refused"),
        ("err=110", "TimedOut"),
        ("err=113", "Unreachable"),
        ("err=104", "Other"),
        ("by=curl", "GivenUp"),
    ] {
        let port = if why == "NoFreePort" { " lport=0" } else { "" };
        // Of the others the error alone has several causes, and there is no stack in this story.
        let reason = if why == "TimedOut" { "timed-out" } else { "unknown" };
        story(
            &format!("0 seeded\n10 state CLOSE SYN_SENT lport=0 by=curl\n11 state SYN_SENT CLOSE {end}"),
            &format!(
                "10 #1 CLOSE -> SYN_SENT -{port} of curl
                 11 #1 SYN_SENT -> CLOSE 1{port} of curl {reason}
                 11 Connect failed: {why}"
            ),
        );
    }
}

/// A bound port that is taken, and one whose process hung up before the SYN was ever sent, differ by when.
#[test]
fn a_bound_port_is_taken() {
    let told = |at: u64, why: &str| {
        story(
            &format!("0 seeded\n10 state CLOSE SYN_SENT by=curl\n{at} state SYN_SENT CLOSE by=curl unsent"),
            &format!(
                "10 #1 CLOSE -> SYN_SENT - of curl
                 {at} #1 SYN_SENT -> CLOSE {} of curl unknown
                 {at} Connect failed: {why}",
                at - 10
            ),
        );
    };
    told(11, "PortTaken");
    told(5_000, "GivenUp");
}

#[test]
fn who_holds_a_port() {
    story(
        "0 seeded
         1 state CLOSE LISTEN id=9 listener by=nginx
         2 state SYN_RECV ESTABLISHED id=3 lport=443
         3 refused id=7 lport=443 by=other",
        "1 #9 CLOSE -> LISTEN - lport=443 of nginx
         2 #3 SYN_RECV -> ESTABLISHED - lport=443
         3 Bind failed: PortHeld 1x LISTEN nginx 1x ESTABLISHED ?
         unmatched gaps 1",
    );
}
