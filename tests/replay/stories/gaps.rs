//! Where events were lost: a time that spans the gap is not known, and the gap is counted.

use super::story;

#[test]
fn a_lost_step() {
    story(
        "
         0 seeded
        10 state CLOSE SYN_SENT
        30 state ESTABLISHED FIN_WAIT1
        40 state FIN_WAIT1 FIN_WAIT2
        ",
        "
        10 #1 CLOSE -> SYN_SENT -
        30 #1 ESTABLISHED -> FIN_WAIT1 -
        40 #1 FIN_WAIT1 -> FIN_WAIT2 10
        unmatched gaps 1
        ",
    );
}

#[test]
fn a_lost_beginning() {
    story(
        "
         0 seeded
        30 state ESTABLISHED FIN_WAIT1
        40 state FIN_WAIT1 FIN_WAIT2
        ",
        "
        30 #1 ESTABLISHED -> FIN_WAIT1 -
        40 #1 FIN_WAIT1 -> FIN_WAIT2 10
        unmatched gaps 1
        ",
    );
}

/// The steps between FIN_WAIT1 and the mini-socket are lost.
#[test]
fn a_gap_before_the_mini_socket() {
    story(
        "
            0 seeded
           10 state CLOSE SYN_SENT
           20 state SYN_SENT ESTABLISHED
           30 state ESTABLISHED FIN_WAIT1
           50 arm TIME_WAIT
           50 state FIN_WAIT2 CLOSE handed-over
        60500 expire TIME_WAIT due=60050
        ",
        "
           10 #1 CLOSE -> SYN_SENT -
           20 #1 SYN_SENT -> ESTABLISHED 10
           30 #1 ESTABLISHED -> FIN_WAIT1 10
           50 #1 ? -> TIME_WAIT -
        60500 #1 TIME_WAIT -> CLOSE 60450 expired
        unmatched gaps 1
        ",
    );
}

/// The mini-socket's beginning is lost; the CLOSE that follows is still no step of the connection.
#[test]
fn a_lost_start_of_the_timer() {
    story(
        "
            0 seeded
           10 state CLOSE SYN_SENT
           20 state SYN_SENT ESTABLISHED
           30 state ESTABLISHED FIN_WAIT1
           40 state FIN_WAIT1 FIN_WAIT2
           50 state FIN_WAIT2 CLOSE handed-over
        60500 expire TIME_WAIT due=60050
        ",
        "
           10 #1 CLOSE -> SYN_SENT -
           20 #1 SYN_SENT -> ESTABLISHED 10
           30 #1 ESTABLISHED -> FIN_WAIT1 10
           40 #1 FIN_WAIT1 -> FIN_WAIT2 10
           #1 lost
        60500 #1 TIME_WAIT -> CLOSE - expired
        unmatched ends 1
        unmatched gaps 1
        ",
    );
}

/// The mini-socket's beginning was lost, and with it the connection: one loss, and no step to show.
#[test]
fn the_echo_of_a_lost_hand_over() {
    story(
        "
         0 seeded
        50 state FIN_WAIT2 CLOSE handed-over
        ",
        "unmatched gaps 1",
    );
}

/// A socket is connected again whose end was lost: the time since its former life is nobody's.
#[test]
fn a_lost_end_of_a_socket_that_is_connected_again() {
    story(
        "
         0 seeded
        10 state CLOSE SYN_SENT by=curl
        90 state CLOSE SYN_SENT by=curl
        95 state SYN_SENT ESTABLISHED
        ",
        "
        10 #1 CLOSE -> SYN_SENT - of curl
        90 #1 CLOSE -> SYN_SENT - of curl
        95 #1 SYN_SENT -> ESTABLISHED 5 of curl
        unmatched gaps 1
        ",
    );
}

/// An end that was lost shows when the tuple is used again.
#[test]
fn a_lost_end() {
    story(
        "
         0 seeded
        10 state CLOSE SYN_SENT
        20 state SYN_SENT ESTABLISHED
        30 state ESTABLISHED FIN_WAIT1
        40 state FIN_WAIT1 CLOSING
        50 arm TIME_WAIT
        50 state CLOSING CLOSE handed-over
        90 arm TIME_WAIT id=2 on=1
        ",
        "
        10 #1 CLOSE -> SYN_SENT -
        20 #1 SYN_SENT -> ESTABLISHED 10
        30 #1 ESTABLISHED -> FIN_WAIT1 10
        40 #1 FIN_WAIT1 -> CLOSING 10
        50 #1 CLOSING -> TIME_WAIT 10
        90 #1 TIME_WAIT -> CLOSE - unknown
        90 #2 ? -> TIME_WAIT - lport=1001
        unmatched beginnings 1
        unmatched gaps 1
        alive 1
        ",
    );
}

/// A restart of a mini-socket that is not known.
#[test]
fn a_restart_without_a_beginning() {
    story(
        "
            0 seeded
          900 rearm TIME_WAIT
        61500 expire TIME_WAIT due=60900
        ",
        "
        61500 #1 TIME_WAIT -> CLOSE ~60600 expired
        unmatched beginnings 1
        ",
    );
}

/// Of an orphan, the FIN and the end are lost, and its cookie is another socket's next.
#[test]
fn an_end_of_another_mini_socket_on_the_tuple() {
    story(
        "
            0 seeded
           50 arm TIME_WAIT
        61000 expire TIME_WAIT id=2 on=1 due=60900
        ",
        "
           50 #1 ? -> TIME_WAIT -
        61000 #1 TIME_WAIT -> CLOSE - unknown
        61000 #2 TIME_WAIT -> CLOSE ~60100 lport=1001 expired
        unmatched ends 1
        unmatched beginnings 1
        unmatched gaps 1
        ",
    );
}
