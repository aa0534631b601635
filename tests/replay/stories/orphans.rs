//! FIN_WAIT2 without an owner is spent in a mini-socket; so is the TIME_WAIT after it. When the FIN came is exact where
//! the segment was seen, and inferred from the timer, to a jiffy, where it was not.

use super::story;

const ORPHAN: &str = "
     0 seeded
    10 state CLOSE SYN_SENT by=curl
    20 state SYN_SENT ESTABLISHED
    30 state ESTABLISHED FIN_WAIT1
    40 state FIN_WAIT1 FIN_WAIT2
    40 arm FIN_WAIT2
    40 state FIN_WAIT2 CLOSE handed-over
";

const HEARD: &str = "
    10 #1 CLOSE -> SYN_SENT - of curl
    20 #1 SYN_SENT -> ESTABLISHED 10 of curl
    30 #1 ESTABLISHED -> FIN_WAIT1 10 of curl
    40 #1 FIN_WAIT1 -> FIN_WAIT2 10 of curl
";

#[track_caller]
fn orphan(told: &str, heard: &str) {
    story(&format!("{ORPHAN}{told}"), &format!("{HEARD}{heard}"));
}

#[test]
fn its_fin_is_seen() {
    orphan(
        "
          345 segment TIME_WAIT
        61000 expire TIME_WAIT due=60345
        ",
        "
          345 #1 FIN_WAIT2 -> TIME_WAIT 305 of curl
        61000 #1 TIME_WAIT -> CLOSE 60655 of curl expired
        ",
    );
}

/// The timer moves to another bucket, and no other hook sees the FIN.
#[test]
fn its_fin_is_seen_by_the_timer() {
    orphan(
        "
         5040 cancel TIME_WAIT due=60040 stack=__mod_timer,tcp_timewait_state_process
         5040 rearm TIME_WAIT
        66000 expire TIME_WAIT due=65040
        ",
        "
         5040 #1 FIN_WAIT2 -> TIME_WAIT 5000 of curl
        66000 #1 TIME_WAIT -> CLOSE 60960 of curl expired
        ",
    );
}

/// A FIN within the bucket is not seen where there is no better hook than the timer (Linux before 6.11); a late segment
/// after it is. The cancellation says what the timer was set to before, which is not what it was armed with: so this is
/// not the FIN, and no time from here is exact.
#[test]
fn its_fin_is_not_seen_but_a_restart_is() {
    orphan(
        "
         50040 cancel TIME_WAIT due=60344 stack=__mod_timer,tcp_timewait_state_process
         50040 rearm TIME_WAIT
        111000 expire TIME_WAIT due=110040
        ",
        "
           344 #1 FIN_WAIT2 -> TIME_WAIT ~304 of curl
        111000 #1 TIME_WAIT -> CLOSE ~110656 of curl expired restarts 1
        ",
    );
}

/// Within the bucket nothing is seen until the end; then the timer says when it was set to 60 s. The tick rate is known
/// from the two clocks of the records.
#[test]
fn its_fin_is_not_seen() {
    orphan(
        "
        61000 expire TIME_WAIT due=60344
        ",
        "
          344 #1 FIN_WAIT2 -> TIME_WAIT ~304 of curl
        61000 #1 TIME_WAIT -> CLOSE ~60656 of curl expired
        ",
    );
}

/// The FIN comes within the jiffy in which FIN_WAIT2 began: counted in jiffies that is before it.
#[test]
fn its_fin_is_not_seen_and_came_at_once() {
    story(
        "
            0 seeded
           10 state CLOSE SYN_SENT
           20 state SYN_SENT ESTABLISHED
           30 state ESTABLISHED FIN_WAIT1
           43 state FIN_WAIT1 FIN_WAIT2
           43 arm FIN_WAIT2
           43 state FIN_WAIT2 CLOSE handed-over
        61000 expire TIME_WAIT due=60040
        ",
        "
           10 #1 CLOSE -> SYN_SENT -
           20 #1 SYN_SENT -> ESTABLISHED 10
           30 #1 ESTABLISHED -> FIN_WAIT1 10
           43 #1 FIN_WAIT1 -> FIN_WAIT2 13
           43 #1 FIN_WAIT2 -> TIME_WAIT ~0
        61000 #1 TIME_WAIT -> CLOSE ~60957 expired
        ",
    );
}

/// Too early to know the tick rate, so nothing can be inferred.
#[test]
fn its_fin_is_not_seen_and_the_tick_rate_is_not_known() {
    orphan(
        "
        100 cancel TIME_WAIT due=60080 stack=tcp_abort by=ss
        ",
        "
        100 #1 FIN_WAIT2 -> TIME_WAIT - of curl
        100 #1 TIME_WAIT -> CLOSE - of curl destroyed by ss
        ",
    );
}

#[test]
fn it_never_comes() {
    orphan(
        "
        61000 expire FIN_WAIT2 due=60040
        ",
        "
        61000 #1 FIN_WAIT2 -> CLOSE 60960 of curl expired
        ",
    );
}

#[test]
fn data_comes_instead_of_a_fin() {
    orphan(
        "
        50 cancel FIN_WAIT2 stack=other,tcp_v4_rcv
        ",
        "
        50 #1 FIN_WAIT2 -> CLOSE 10 of curl reset-sent
        ",
    );
}

/// Late segments restart TIME_WAIT's clock: counted where they are seen, and once more if only the timer shows one.
#[test]
fn restarts() {
    orphan(
        "
          340 segment TIME_WAIT
          400 segment TIME_WAIT due=60340
          440 segment TIME_WAIT
         5000 cancel TIME_WAIT due=60440 stack=__mod_timer
         5000 rearm TIME_WAIT
        67000 expire TIME_WAIT due=65040
        ",
        "
          340 #1 FIN_WAIT2 -> TIME_WAIT 300 of curl
        67000 #1 TIME_WAIT -> CLOSE 66660 of curl expired restarts 3
        ",
    );
}

/// One restart, seen by both hooks.
#[test]
fn a_restart_seen_twice_counts_once() {
    orphan(
        "
          340 segment TIME_WAIT
         5000 rearm TIME_WAIT
         5000 segment TIME_WAIT due=65000
        66000 expire TIME_WAIT due=65000
        ",
        "
          340 #1 FIN_WAIT2 -> TIME_WAIT 300 of curl
        66000 #1 TIME_WAIT -> CLOSE 65660 of curl expired restarts 1
        ",
    );
}

/// An orphan so short-lived that its mini-socket is over before the full socket says that it began.
#[test]
fn the_end_comes_before_the_hand_over() {
    story(
        "
         0 seeded
        10 state CLOSE SYN_SENT
        20 state SYN_SENT ESTABLISHED
        30 state ESTABLISHED FIN_WAIT1
        40 state FIN_WAIT1 FIN_WAIT2
        41 arm FIN_WAIT2
        42 cancel FIN_WAIT2 cpu=1 stack=tcp_v4_rcv
        43 state FIN_WAIT2 CLOSE handed-over
        50 tick
        ",
        "
        10 #1 CLOSE -> SYN_SENT -
        20 #1 SYN_SENT -> ESTABLISHED 10
        30 #1 ESTABLISHED -> FIN_WAIT1 10
        40 #1 FIN_WAIT1 -> FIN_WAIT2 10
        42 #1 FIN_WAIT2 -> CLOSE 2 reset-sent
        ",
    );
}
