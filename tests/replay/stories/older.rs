//! Sockets that are older than the tool: taken in from sock_diag, which is read beside the tracing, so that its word may
//! be older than what an event said.

use super::story;

#[test]
fn a_socket_of_every_sort() {
    story(
        "
        100010 seed ESTABLISHED by=nginx
        100010 seed LISTEN id=2 by=nginx
        100010 seed TIME_WAIT id=3 mini left=40000
        100010 seed FIN_WAIT2 id=4 mini left=50000
        100010 seed SYN_RECV id=5
        100010 seed CLOSE id=6
        100020 seeded
        101000 state ESTABLISHED CLOSE_WAIT
        102000 state LISTEN CLOSE id=2
        102500 segment TIME_WAIT id=4
        140900 expire TIME_WAIT id=3 due=140008
        162600 expire TIME_WAIT id=4 due=162500
        ",
        "
        101000 #1 ESTABLISHED -> CLOSE_WAIT - of nginx older
        102000 #2 LISTEN -> CLOSE - of nginx unknown older
        102500 #4 FIN_WAIT2 -> TIME_WAIT - older
        140900 #3 TIME_WAIT -> CLOSE ~60892 expired older
        162600 #4 TIME_WAIT -> CLOSE 60100 expired older
        syn-recv 1
        ",
    );
}

/// The timer knows better when its clock was started than sock_diag; without its tick rate, sock_diag's word is all.
#[test]
fn an_age_from_sock_diag() {
    story(
        "
        70000 seed TIME_WAIT mini left=1000
        70000 seeded
        70100 cancel TIME_WAIT due=71000 stack=tcp_abort by=ss
        ",
        "
        70100 #1 TIME_WAIT -> CLOSE ~59100 destroyed by ss older
        ",
    );
}

/// A nominal expiry that has passed says nothing of how long ago.
#[test]
fn an_age_that_is_not_known() {
    story(
        "
        70000 seed TIME_WAIT mini left=0
        70000 seeded
        70100 cancel TIME_WAIT due=69600 stack=tcp_v4_rcv
        ",
        "
        70100 #1 TIME_WAIT -> CLOSE - reused-by-syn older
        ",
    );
}

/// What an event said counts; sock_diag only adds the owner.
#[test]
fn an_event_came_before_the_seed() {
    story(
        "
        10 state ESTABLISHED FIN_WAIT1
        12 seed ESTABLISHED by=curl
        15 seeded
        20 state FIN_WAIT1 FIN_WAIT2
        ",
        "
        10 #1 ESTABLISHED -> FIN_WAIT1 - older
        20 #1 FIN_WAIT1 -> FIN_WAIT2 10 of curl older
        ",
    );
}

/// sock_diag saw the state that an event entered meanwhile.
#[test]
fn the_event_comes_after_the_seed_but_was_before_it() {
    story(
        "
        10 seed FIN_WAIT1
        12 state ESTABLISHED FIN_WAIT1
        15 seeded
        20 state FIN_WAIT1 FIN_WAIT2
        ",
        "
        12 #1 ESTABLISHED -> FIN_WAIT1 - older
        20 #1 FIN_WAIT1 -> FIN_WAIT2 8 older
        ",
    );
}

/// Sockets that ended while sock_diag was read do not come back.
#[test]
fn a_socket_ends_while_sock_diag_is_read() {
    story(
        "
        10 state ESTABLISHED CLOSE
        11 cancel TIME_WAIT id=2 due=50000 stack=tcp_v4_rcv
        12 seed ESTABLISHED
        12 seed TIME_WAIT id=2 mini left=30000
        15 seeded
        ",
        "
        10 #1 ESTABLISHED -> CLOSE - unknown older
        11 #2 TIME_WAIT -> CLOSE - reused-by-syn older
        ",
    );
}

/// A full socket that hands over while sock_diag is read: its mini-socket is known already.
#[test]
fn a_socket_hands_over_while_sock_diag_is_read() {
    story(
        "
           10 state FIN_WAIT1 FIN_WAIT2
           11 arm TIME_WAIT
           11 state FIN_WAIT2 CLOSE handed-over
           12 seed FIN_WAIT1
           12 seed TIME_WAIT mini left=60000
           15 seeded
        60900 expire TIME_WAIT due=60011
        ",
        "
           10 #1 FIN_WAIT1 -> FIN_WAIT2 - older
           11 #1 FIN_WAIT2 -> TIME_WAIT 1 older
        60900 #1 TIME_WAIT -> CLOSE 60889 expired older
        ",
    );
}

/// A socket that never had a cookie leaves a mini-socket without one; both are known by their addresses.
#[test]
fn a_mini_socket_without_a_cookie() {
    story(
        "
           10 arm TIME_WAIT id=0 on=1
           10 state FIN_WAIT2 CLOSE
           15 seeded
        60900 expire TIME_WAIT id=0 on=1 due=60010
        ",
        "
           10 #0 ? -> TIME_WAIT - lport=1001 older
        60900 #0 TIME_WAIT -> CLOSE 60890 lport=1001 expired older
        ",
    );
}
