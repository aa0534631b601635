//! Connections as RFC 9293 draws them, with the kernel's artefacts folded.

use super::story;

#[test]
fn the_active_closer() {
    story(
        "
            0 seeded
           10 state CLOSE SYN_SENT by=curl
           30 state SYN_SENT ESTABLISHED
          530 state ESTABLISHED FIN_WAIT1 by=curl
          540 state FIN_WAIT1 FIN_WAIT2
          600 arm TIME_WAIT
          600 state FIN_WAIT2 CLOSE handed-over
        61500 expire TIME_WAIT due=60600
        ",
        "
           10 #1 CLOSE -> SYN_SENT - of curl
           30 #1 SYN_SENT -> ESTABLISHED 20 of curl
          530 #1 ESTABLISHED -> FIN_WAIT1 500 of curl
          540 #1 FIN_WAIT1 -> FIN_WAIT2 10 of curl
          600 #1 FIN_WAIT2 -> TIME_WAIT 60 of curl
        61500 #1 TIME_WAIT -> CLOSE 60900 of curl expired
        ",
    );
}

/// Where the mini-socket's beginning was told of, the hand-over has no record; one that was seen on another CPU has.
#[test]
fn the_hand_over_needs_no_record() {
    for hand_over in ["", "state FIN_WAIT2 CLOSE stack=tcp_time_wait"] {
        story(
            &format!(
                "
                    0 seeded
                   10 state CLOSE SYN_SENT by=curl
                   30 state SYN_SENT ESTABLISHED
                  530 state ESTABLISHED FIN_WAIT1 by=curl
                  540 state FIN_WAIT1 FIN_WAIT2
                  600 arm TIME_WAIT
                  600 {hand_over}
                61500 expire TIME_WAIT due=60600
                "
            )
            .replace("600 \n", "\n"),
            "
               10 #1 CLOSE -> SYN_SENT - of curl
               30 #1 SYN_SENT -> ESTABLISHED 20 of curl
              530 #1 ESTABLISHED -> FIN_WAIT1 500 of curl
              540 #1 FIN_WAIT1 -> FIN_WAIT2 10 of curl
              600 #1 FIN_WAIT2 -> TIME_WAIT 60 of curl
            61500 #1 TIME_WAIT -> CLOSE 60900 of curl expired
            ",
        );
    }
}

#[test]
fn the_passive_closer() {
    story(
        "
          0 seeded
          5 syn id=2
         10 state LISTEN SYN_RECV id=99 sk=7 listener
         11 state SYN_RECV ESTABLISHED id=2 sk=7 of-request
         15 owner id=2 by=nginx
         20 state ESTABLISHED CLOSE_WAIT id=2 sk=7
         30 state CLOSE_WAIT LAST_ACK id=2 sk=7 by=nginx
         40 state LAST_ACK CLOSE id=2 sk=7
        ",
        "
          5 #2 LISTEN -> SYN_RECV -
         11 #2 SYN_RECV -> ESTABLISHED 6
            #2 owned by nginx
         20 #2 ESTABLISHED -> CLOSE_WAIT 9 of nginx
         30 #2 CLOSE_WAIT -> LAST_ACK 10 of nginx
         40 #2 LAST_ACK -> CLOSE 10 of nginx closed
        ",
    );
}

#[test]
fn both_close_at_once() {
    story(
        "
            0 seeded
           10 state CLOSE SYN_SENT
           20 state SYN_SENT ESTABLISHED
           30 state ESTABLISHED FIN_WAIT1
           40 state FIN_WAIT1 CLOSING
           45 arm TIME_WAIT
           45 state CLOSING CLOSE handed-over
        60045 expire TIME_WAIT due=60045
        ",
        "
           10 #1 CLOSE -> SYN_SENT -
           20 #1 SYN_SENT -> ESTABLISHED 10
           30 #1 ESTABLISHED -> FIN_WAIT1 10
           40 #1 FIN_WAIT1 -> CLOSING 10
           45 #1 CLOSING -> TIME_WAIT 5
        60045 #1 TIME_WAIT -> CLOSE 60000 expired
        ",
    );
}

#[test]
fn self_transitions_say_nothing() {
    story(
        "
         0 seeded
        10 state CLOSE LISTEN by=nginx
        20 state CLOSE CLOSE
        30 state LISTEN LISTEN
        90 state LISTEN CLOSE
        ",
        "
        10 #1 CLOSE -> LISTEN - of nginx
        90 #1 LISTEN -> CLOSE 80 of nginx unknown
        ",
    );
}

/// The kernel chooses the port after SYN_SENT; the next step shows it.
#[test]
fn the_first_step_waits_for_its_port() {
    story(
        "
         0 seeded
        10 state CLOSE SYN_SENT lport=0
        60 tick
        70 state SYN_SENT ESTABLISHED
        ",
        "
        10 #1 CLOSE -> SYN_SENT -
        70 #1 SYN_SENT -> ESTABLISHED 60
        ",
    );
}

/// But not for ever: the connect may hang, or fail without a port.
#[test]
fn after_100_ms_it_waits_no_longer() {
    story(
        "
           0 seeded
          10 state CLOSE SYN_SENT lport=0
         109 tick
         109 state CLOSE LISTEN id=2
         110 tick
         115 state CLOSE LISTEN id=3
        3010 state SYN_SENT CLOSE err=110
        ",
        "
         109 #2 CLOSE -> LISTEN -
          10 #1 CLOSE -> SYN_SENT - lport=0
         115 #3 CLOSE -> LISTEN -
        3010 #1 SYN_SENT -> CLOSE 3000 timed-out
        3010 Connect failed: TimedOut
        ",
    );
    story("10 state CLOSE SYN_SENT lport=0", "10 #1 CLOSE -> SYN_SENT - lport=0");
    story(
        "
        10 state CLOSE SYN_SENT lport=0
        20 state SYN_SENT CLOSE lport=0 by=curl unsent
        ",
        "
        10 #1 CLOSE -> SYN_SENT - lport=0
        20 #1 SYN_SENT -> CLOSE 10 lport=0 of curl unknown
        20 Connect failed: NoFreePort
        ",
    );
}

/// A socket that was shut down, not closed, may connect again while its TIME_WAIT lives: both have its cookie.
#[test]
fn the_same_socket_twice() {
    story(
        "
            0 seeded
           10 state CLOSE SYN_SENT by=curl
           20 state SYN_SENT ESTABLISHED
           30 state ESTABLISHED FIN_WAIT1
           40 state FIN_WAIT1 FIN_WAIT2
           50 arm TIME_WAIT
           50 state FIN_WAIT2 CLOSE handed-over
         1000 state CLOSE SYN_SENT on=5 by=wget
         1010 state SYN_SENT ESTABLISHED on=5
        61000 expire TIME_WAIT due=60050
        61500 state ESTABLISHED FIN_WAIT1 on=5
        61510 state FIN_WAIT1 CLOSING on=5
        61520 arm TIME_WAIT on=5
        61520 state CLOSING CLOSE handed-over on=5
        ",
        "
           10 #1 CLOSE -> SYN_SENT - of curl
           20 #1 SYN_SENT -> ESTABLISHED 10 of curl
           30 #1 ESTABLISHED -> FIN_WAIT1 10 of curl
           40 #1 FIN_WAIT1 -> FIN_WAIT2 10 of curl
           50 #1 FIN_WAIT2 -> TIME_WAIT 10 of curl
         1000 #1 CLOSE -> SYN_SENT - lport=1005 of wget
         1010 #1 SYN_SENT -> ESTABLISHED 10 lport=1005 of wget
        61000 #1 TIME_WAIT -> CLOSE 60950 of curl expired
        61500 #1 ESTABLISHED -> FIN_WAIT1 60490 lport=1005 of wget
        61510 #1 FIN_WAIT1 -> CLOSING 10 lport=1005 of wget
        61520 #1 CLOSING -> TIME_WAIT 10 lport=1005 of wget
        alive 1
        ",
    );
}

/// Who closes a connection that was handed on owns it; what another process does to it comes without a task.
#[test]
fn the_last_owner_is_who_closes() {
    story(
        "
         0 seeded
         5 syn id=2
        10 state LISTEN SYN_RECV id=9 sk=2 listener
        11 state SYN_RECV ESTABLISHED id=2 sk=2 of-request
        20 owner id=2 by=inetd
        30 state ESTABLISHED FIN_WAIT1 id=2 by=ftpd
        40 state FIN_WAIT1 CLOSE id=2 err=103
        ",
        "
         5 #2 LISTEN -> SYN_RECV -
        11 #2 SYN_RECV -> ESTABLISHED 6
           #2 owned by inetd
        30 #2 ESTABLISHED -> FIN_WAIT1 19 of ftpd
        40 #2 FIN_WAIT1 -> CLOSE 10 of ftpd destroyed
        ",
    );
}
