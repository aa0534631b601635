//! After a loss: what must have ended by its own clock ends, what a new listing does not show has ended, and nothing stays for ever.

use tcpwait::lifecycle::{Lifecycle, SegmentSource};

use super::{events, story, symbols};

/// A story with the ticks that go on beside it, to this time.
fn ticking(told: &str, until_ms: u64) -> String {
    let at = |line: &&str| line.split_whitespace().next().and_then(|ms| ms.parse::<u64>().ok());
    let mut lines: Vec<&str> = told.lines().filter(|line| at(line).is_some()).collect();
    let ticks: Vec<String> = (0..=until_ms).step_by(500).map(|ms| format!("{ms} tick")).collect();
    lines.extend(ticks.iter().map(String::as_str));
    lines.sort_by_key(|line| at(line));
    lines.join("\n")
}

/// The end of a TIME_WAIT is lost. Another one shows how long a jiffy is.
#[test]
fn a_mini_socket_ends_by_its_own_clock() {
    let told = "
           0 seeded
          10 arm TIME_WAIT
        2000 arm TIME_WAIT id=2
       62000 expire TIME_WAIT id=2 due=62000
    ";
    let heard = "
          10 #1 ? -> TIME_WAIT -
        2000 #2 ? -> TIME_WAIT -
       62000 #2 TIME_WAIT -> CLOSE 60000 expired
       75000 #1 TIME_WAIT -> CLOSE - unknown
        unmatched gaps 2
        unmatched overdue 1
    ";
    story(&ticking(told, 100_000), heard);
    // Not before it must have.
    let alive = "
          10 #1 ? -> TIME_WAIT -
        2000 #2 ? -> TIME_WAIT -
       62000 #2 TIME_WAIT -> CLOSE 60000 expired
        unmatched gaps 2
        alive 1
    ";
    story(&ticking(told, 70_000), alive);
}

/// While nobody reads, nothing is known to be late: what the ring buffer holds is older than the first ticks after it.
#[test]
fn a_pause_ends_nothing() {
    let told = ticking("0 seeded\n10 arm TIME_WAIT\n2000 arm TIME_WAIT id=2", 5_000);
    let after = "
        200000 tick
        200050 expire TIME_WAIT due=60010
        200050 expire TIME_WAIT id=2 due=62000
        200100 tick
    ";
    story(
        &format!("{told}\n{after}"),
        "
            10 #1 ? -> TIME_WAIT -
          2000 #2 ? -> TIME_WAIT -
        200050 #1 TIME_WAIT -> CLOSE 200040 expired
        200050 #2 TIME_WAIT -> CLOSE 198050 expired
        unmatched gaps 2
        ",
    );
}

/// No timer of a request socket is longer than two minutes.
#[test]
fn a_syn_recv_connection_ends_by_its_own_clock() {
    story(
        &ticking("0 seeded\n10 syn\n1010 give-up\n1010 resend again=1", 200_000),
        "
           10 #0 LISTEN -> SYN_RECV - lport=1001
       150000 #0 SYN_RECV -> CLOSE - lport=1001 unknown
        unmatched overdue 1
        ",
    );
}

/// A new listing: one socket has gone unseen, one has come unseen, one is in another state, one was heard of meanwhile.
#[test]
fn full_sockets_are_set_right_by_a_new_listing() {
    story(
        "
            0 seed ESTABLISHED
            0 seed ESTABLISHED id=2
            0 seed ESTABLISHED id=4
            0 seed LISTEN id=5
            0 seeded
         5000 lost
         6500 state ESTABLISHED FIN_WAIT1 id=4
         6000 seed CLOSE_WAIT id=2
         6000 seed ESTABLISHED id=3
         6000 seed ESTABLISHED id=4
         6000 listed
         6100 seeded
         7000 state CLOSE_WAIT LAST_ACK id=2
         8000 state LAST_ACK CLOSE id=2
        ",
        "
         6500 #4 ESTABLISHED -> FIN_WAIT1 - older
         6000 #2 ? -> CLOSE_WAIT - older
         6000 #1 ESTABLISHED -> CLOSE - unknown older
         6000 #5 LISTEN -> CLOSE - unknown older
         7000 #2 CLOSE_WAIT -> LAST_ACK - older
         8000 #2 LAST_ACK -> CLOSE 1000 closed older
        unmatched gaps 2
        unmatched overdue 2
        ",
    );
}

/// What ended between the loss and the end of the listing is not brought back by it.
#[test]
fn what_ended_meanwhile_stays_ended() {
    story(
        "
            0 seed ESTABLISHED
            0 seeded
         5000 lost
         5500 state ESTABLISHED CLOSE err=104
         5400 seed ESTABLISHED
         5400 listed
         5600 seeded
        ",
        "
         5500 #1 ESTABLISHED -> CLOSE - reset older
        ",
    );
}

/// Of mini-sockets, too: one has ended unseen, one has begun unseen, one's port has another connection by now, one has ended since,
/// one got its FIN unseen.
#[test]
fn mini_sockets_are_set_right_by_a_new_listing() {
    story(
        "
            0 seeded
           10 arm TIME_WAIT
           20 arm TIME_WAIT id=2 lport=2
           30 arm TIME_WAIT id=3 lport=3
           40 arm TIME_WAIT id=4 lport=4
           50 arm FIN_WAIT2 id=8 lport=8
         5000 lost
         5800 arm TIME_WAIT id=7 lport=7
         6300 expire TIME_WAIT id=4 due=60040 lport=4
         6000 seed TIME_WAIT mini left=54000 id=2 lport=2
         6000 seed TIME_WAIT mini left=57000 id=5 lport=3
         6000 seed TIME_WAIT mini left=59000 id=6 lport=6
         6000 seed TIME_WAIT mini left=54000 id=4 lport=4
         6000 seed TIME_WAIT mini left=58000 id=8 lport=8
         6000 listed
         6100 seeded
        ",
        "
           10 #1 ? -> TIME_WAIT -
           20 #2 ? -> TIME_WAIT - lport=2
           30 #3 ? -> TIME_WAIT - lport=3
           40 #4 ? -> TIME_WAIT - lport=4
         5800 #7 ? -> TIME_WAIT - lport=7
         6300 #4 TIME_WAIT -> CLOSE 6260 lport=4 expired
         6000 #3 TIME_WAIT -> CLOSE - lport=3 unknown
         6000 #8 ? -> TIME_WAIT - lport=8
         6000 #1 TIME_WAIT -> CLOSE - unknown
        unmatched gaps 9
        unmatched overdue 2
        alive 5
        ",
    );
}

/// Early recordings of version 6 list full sockets only after a loss: mini-sockets that it does not tell of have not ended.
#[test]
fn a_listing_without_mini_sockets_ends_none() {
    story(
        "0 seeded\n10 arm TIME_WAIT\n5000 lost\n6000 seed FIN_WAIT2 mini left=50000 id=2 lport=2\n6000 listed\n6100 seeded",
        "10 #1 ? -> TIME_WAIT -\nunmatched gaps 2\nalive 2",
    );
}

/// Until all sockets have been listed, or the clocks have run, what is there is not certain.
#[test]
fn what_is_there_now_is_marked_until_it_is_known_again() {
    let unsure = |told: &str| {
        let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
        events(told).iter().for_each(|event| model.apply(event, &mut Vec::new()));
        model.is_unsure()
    };
    assert!(!unsure("0 seeded\n1000 tick"));
    assert!(unsure("0 seeded\n1000 lost"));
    assert!(!unsure("0 seeded\n1000 lost\n2000 listed\n2100 seeded"));
    let listing =
        "0 seeded\n10 arm TIME_WAIT\n1000 lost\n2000 seed TIME_WAIT mini left=58000\n2000 listed\n2100 seeded";
    assert!(!unsure(listing));
    // One that tells of no mini-socket, as those did that told of full sockets only.
    let of_fulls = "0 seeded\n10 arm TIME_WAIT\n1000 lost\n2000 listed\n2100 seeded\n3000 tick";
    assert!(unsure(of_fulls));
    assert!(!unsure(&format!("{of_fulls}\n200000 tick")));
    // A loss after the listing began is not made good by it.
    assert!(unsure("0 seeded\n1000 lost\n2000 lost\n1500 listed\n2100 seeded\n200000 tick"));
    assert!(unsure("0 seeded\n1000 lost\n200000 tick"));
}
