//! Why TIME_WAIT's clock was restarted: the segment says it, whether the timer shows the restart as well or not.

use super::{SegmentSource, story, story_by};

const TIME_WAIT: &str = "
     0 seeded
    10 state CLOSE SYN_SENT
    20 state SYN_SENT ESTABLISHED
    30 state ESTABLISHED FIN_WAIT1
    40 state FIN_WAIT1 FIN_WAIT2
    50 arm TIME_WAIT
    50 state FIN_WAIT2 CLOSE handed-over
";

const HEARD: &str = "
    10 #1 CLOSE -> SYN_SENT -
    20 #1 SYN_SENT -> ESTABLISHED 10
    30 #1 ESTABLISHED -> FIN_WAIT1 10
    40 #1 FIN_WAIT1 -> FIN_WAIT2 10
    50 #1 FIN_WAIT2 -> TIME_WAIT 10
";

#[track_caller]
fn time_wait(told: &str, heard: &str) {
    story(&format!("{TIME_WAIT}{told}"), &format!("{HEARD}{heard}"));
}

#[test]
fn each_is_counted_under_its_cause() {
    time_wait(
        "
           60 segment TIME_WAIT flags=FIN,ACK before=1
          100 segment TIME_WAIT flags=ACK,FIN before=1
          140 segment TIME_WAIT flags=ACK before=100 len=100
          180 segment TIME_WAIT flags=ACK before=1
        61000 expire TIME_WAIT due=60180
        ",
        "61000 #1 TIME_WAIT -> CLOSE 60950 expired restarts 4 duplicate-fin=2 old-data=1 ack=1",
    );
}

/// Two within one jiffy leave the timer as it is after the first.
#[test]
fn two_in_one_jiffy_are_two() {
    time_wait(
        "
           61 segment TIME_WAIT flags=FIN,ACK before=1
           62 segment TIME_WAIT flags=FIN,ACK before=1
        61000 expire TIME_WAIT due=60061
        ",
        "61000 #1 TIME_WAIT -> CLOSE 60950 expired restarts 2 duplicate-fin=2",
    );
}

#[test]
fn what_restarts_nothing_is_not_counted() {
    time_wait(
        "
           60 segment TIME_WAIT flags=RST before=9 due=60050
           64 segment TIME_WAIT flags=SYN before=9 due=60050
        61000 expire TIME_WAIT due=60050
        ",
        "61000 #1 TIME_WAIT -> CLOSE 60950 expired",
    );
}

/// The timer moves to another bucket: cancel, start, and then the segment that was behind it, on one CPU.
#[test]
fn the_timer_shows_it_too() {
    time_wait(
        "
         5000 cancel TIME_WAIT due=60050 stack=__mod_timer
         5000 rearm TIME_WAIT
         5000 segment TIME_WAIT flags=FIN,ACK before=1
         9000 cancel TIME_WAIT due=65000 stack=__mod_timer
         9000 rearm TIME_WAIT
         9002 segment TIME_WAIT flags=ACK before=1 due=69002
        70000 expire TIME_WAIT due=69002
        ",
        // What the timer showed at 9000 was another segment, whose record was lost.
        "70000 #1 TIME_WAIT -> CLOSE 69950 expired restarts 3 duplicate-fin=1 ack=1",
    );
}

/// The FIN that ends FIN_WAIT2 is no restart, and a repetition of it is.
#[test]
fn the_first_fin_is_none() {
    story(
        "
           0 seeded
          10 state CLOSE SYN_SENT
          20 state SYN_SENT ESTABLISHED
          30 state ESTABLISHED FIN_WAIT1
          40 state FIN_WAIT1 FIN_WAIT2
          40 arm FIN_WAIT2
          40 state FIN_WAIT2 CLOSE handed-over
        5000 rearm TIME_WAIT
        5000 segment TIME_WAIT flags=FIN,ACK
        5300 segment TIME_WAIT flags=FIN,ACK before=1
       66000 expire TIME_WAIT due=65300
        ",
        "
          10 #1 CLOSE -> SYN_SENT -
          20 #1 SYN_SENT -> ESTABLISHED 10
          30 #1 ESTABLISHED -> FIN_WAIT1 10
          40 #1 FIN_WAIT1 -> FIN_WAIT2 10
        5000 #1 FIN_WAIT2 -> TIME_WAIT 4960
       66000 #1 TIME_WAIT -> CLOSE 61000 expired restarts 1 duplicate-fin=1
        ",
    );
}

/// Where only the timer shows restarts there is no cause.
#[test]
fn without_a_hook_the_cause_is_not_known() {
    story_by(
        SegmentSource::Timer,
        &format!(
            "{TIME_WAIT}
             5000 cancel TIME_WAIT due=60050 stack=__mod_timer
             5000 rearm TIME_WAIT
            66000 expire TIME_WAIT due=65300"
        ),
        &format!("{HEARD} 66000 #1 TIME_WAIT -> CLOSE 65950 expired restarts 2"),
    );
}
