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
fn a_half_open_connection_ends_by_its_own_clock() {
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

/// Until the clocks have run and a listing has been made, what is there is at most what is known.
#[test]
fn what_is_there_now_is_marked_until_it_is_known_again() {
    let at_most = |told: &str| {
        let mut model = Lifecycle::new(symbols(), SegmentSource::Fexit);
        events(told).iter().for_each(|event| model.apply(event, &mut Vec::new()));
        model.knows_at_most()
    };
    assert!(!at_most("0 seeded\n1000 tick"));
    assert!(at_most("0 seeded\n1000 lost"));
    assert!(at_most("0 seeded\n1000 lost\n2000 listed\n2100 seeded\n3000 tick"));
    assert!(!at_most("0 seeded\n1000 lost\n2000 listed\n2100 seeded\n200000 tick"));
    // A loss after the listing began is not made good by it.
    assert!(at_most("0 seeded\n1000 lost\n2000 lost\n1500 listed\n2100 seeded\n200000 tick"));
    assert!(at_most("0 seeded\n1000 lost\n200000 tick"));
}
