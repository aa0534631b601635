//! Which connection it is: the same addresses on two interfaces, or in a namespace that got a dead one's inode number, are two.

use super::story;

/// Two devices with the same addresses: one TIME_WAIT begins while the other goes on, and each ends by itself.
#[test]
fn the_same_addresses_on_two_interfaces() {
    story(
        "
            0 seeded
           10 state CLOSE SYN_SENT dev=2
           20 state SYN_SENT ESTABLISHED dev=2
           30 state ESTABLISHED FIN_WAIT1 dev=2
           40 state FIN_WAIT1 FIN_WAIT2 dev=2
           50 arm TIME_WAIT dev=2
          110 state CLOSE SYN_SENT id=2 on=1 dev=3
          120 state SYN_SENT ESTABLISHED id=2 on=1 dev=3
          130 state ESTABLISHED FIN_WAIT1 id=2 on=1 dev=3
          140 state FIN_WAIT1 FIN_WAIT2 id=2 on=1 dev=3
          150 arm TIME_WAIT id=2 on=1 dev=3
        60500 expire TIME_WAIT due=60050 dev=2
        60600 expire TIME_WAIT id=2 on=1 dev=3 due=60150
        ",
        "
           10 #1 CLOSE -> SYN_SENT -
           20 #1 SYN_SENT -> ESTABLISHED 10
           30 #1 ESTABLISHED -> FIN_WAIT1 10
           40 #1 FIN_WAIT1 -> FIN_WAIT2 10
           50 #1 FIN_WAIT2 -> TIME_WAIT 10
          110 #2 CLOSE -> SYN_SENT - lport=1001
          120 #2 SYN_SENT -> ESTABLISHED 10 lport=1001
          130 #2 ESTABLISHED -> FIN_WAIT1 10 lport=1001
          140 #2 FIN_WAIT1 -> FIN_WAIT2 10 lport=1001
          150 #2 FIN_WAIT2 -> TIME_WAIT 10 lport=1001
        60500 #1 TIME_WAIT -> CLOSE 60450 expired
        60600 #2 TIME_WAIT -> CLOSE 60450 lport=1001 expired
        ",
    );
}

/// Two connections in SYN_RECV with the same addresses under two VRFs (`ir_iif`); each goes on in the socket that has its interface.
#[test]
fn syn_recv_on_two_interfaces() {
    story(
        "
         0 seeded
        10 syn dev=2
        12 syn req=2 dev=3
        20 state SYN_RECV ESTABLISHED newborn of-request dev=2
        25 drop dev=3 req=2 stack=tcp_check_req
        ",
        "
        10 #1 LISTEN -> SYN_RECV -
        20 #1 SYN_RECV -> ESTABLISHED 10
        12 #0 LISTEN -> SYN_RECV - lport=1001
        25 #0 SYN_RECV -> CLOSE 13 lport=1001 reset
        ",
    );
}

/// SO_BINDTODEVICE in the middle of a connection: the cookie says that it is the same.
#[test]
fn bound_after_its_birth() {
    story(
        "
            0 seeded
           10 state CLOSE SYN_SENT
           20 state SYN_SENT ESTABLISHED
           30 state ESTABLISHED FIN_WAIT1 dev=4
           40 state FIN_WAIT1 FIN_WAIT2 dev=4
           50 arm TIME_WAIT dev=4
           50 state FIN_WAIT2 CLOSE handed-over dev=4
        60500 expire TIME_WAIT due=60050 dev=4
        ",
        "
           10 #1 CLOSE -> SYN_SENT -
           20 #1 SYN_SENT -> ESTABLISHED 10
           30 #1 ESTABLISHED -> FIN_WAIT1 10
           40 #1 FIN_WAIT1 -> FIN_WAIT2 10
           50 #1 FIN_WAIT2 -> TIME_WAIT 10
        60500 #1 TIME_WAIT -> CLOSE 60450 expired
        ",
    );
}

/// A namespace is made right after another died, and gets its inode number: what is in it is not what was in the other.
#[test]
fn a_namespace_with_the_number_of_a_dead_one() {
    story(
        "
            0 seeded
           10 arm TIME_WAIT era=7
           20 arm TIME_WAIT id=2 on=1 era=8
        60500 expire TIME_WAIT due=60010 era=7
        60600 expire TIME_WAIT id=2 on=1 due=60020 era=8
        ",
        "
           10 #1 ? -> TIME_WAIT -
           20 #2 ? -> TIME_WAIT - lport=1001
        60500 #1 TIME_WAIT -> CLOSE 60490 expired
        60600 #2 TIME_WAIT -> CLOSE 60580 lport=1001 expired
        unmatched gaps 2
        ",
    );
}
