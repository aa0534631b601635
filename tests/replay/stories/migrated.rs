//! A CPU is taken offline: `migrate_timer_list` cancels and starts each of its timers anew, as `__mod_timer` does for a restart, but leaves
//! `expires` as it was (kernel/time/timer.c, 5.15 to 7.3). Nothing has happened to the connections.

use super::{story, story_by};
use tcpwait::lifecycle::SegmentSource;

/// With the stack of the cancellation, with none, and with the record of it lost.
const CANCELLED: [&str; 3] = [
    "30000 cancel TIME_WAIT due=60011 stack=migrate_timer_list,timers_dead_cpu by=sh in-process",
    "30000 cancel TIME_WAIT due=60011 by=sh in-process",
    "30000 tick",
];

#[test]
fn is_no_restart() {
    for cancelled in CANCELLED {
        for segments in [SegmentSource::Fexit, SegmentSource::KfreeSkb, SegmentSource::Timer] {
            story_by(
                segments,
                &format!(
                    "
                       5 seeded
                      10 state FIN_WAIT1 FIN_WAIT2
                      11 arm TIME_WAIT
                    {cancelled}
                   30000 rearm TIME_WAIT due=60011
                   60900 expire TIME_WAIT due=60011
                    "
                ),
                "
                   10 #1 FIN_WAIT1 -> FIN_WAIT2 -
                   11 #1 FIN_WAIT2 -> TIME_WAIT 1
                60900 #1 TIME_WAIT -> CLOSE 60889 expired
                unmatched gaps 1
                ",
            );
        }
    }
}

/// What the timer kept to itself until then is said, and nothing more: one restart.
#[test]
fn shows_a_restart_that_was_silent() {
    for cancelled in CANCELLED {
        story_by(
            SegmentSource::Timer,
            &format!(
                "
                    5 seeded
                   10 state FIN_WAIT1 FIN_WAIT2
                   11 arm TIME_WAIT
                {}
                30000 rearm TIME_WAIT due=61111
                30200 cancel TIME_WAIT due=61111 stack=migrate_timer_list
                30200 rearm TIME_WAIT due=61111
                62900 expire TIME_WAIT due=61111
                ",
                cancelled.replace("60011", "61111")
            ),
            "
               10 #1 FIN_WAIT1 -> FIN_WAIT2 -
               11 #1 FIN_WAIT2 -> TIME_WAIT 1
            62900 #1 TIME_WAIT -> CLOSE 62889 expired restarts 1
            unmatched gaps 1
            ",
        );
    }
}

/// A segment that comes just after finds a clock that was not restarted, and is a cause of nothing.
#[test]
fn takes_no_cause_from_a_segment() {
    story(
        "
            5 seeded
           10 state FIN_WAIT1 FIN_WAIT2
           11 arm TIME_WAIT
        30000 cancel TIME_WAIT due=60011 stack=migrate_timer_list
        30000 rearm TIME_WAIT due=60011
        30000 segment TIME_WAIT due=60011 flags=RST before=100
        60900 expire TIME_WAIT due=60011
        ",
        "
           10 #1 FIN_WAIT1 -> FIN_WAIT2 -
           11 #1 FIN_WAIT2 -> TIME_WAIT 1
        60900 #1 TIME_WAIT -> CLOSE 60889 expired
        unmatched gaps 1
        ",
    );
}

/// An orphan stays in FIN_WAIT2; where its FIN came in silence, the timer tells when that was, and not the move.
#[test]
fn of_an_orphan() {
    story_by(
        SegmentSource::Timer,
        "
            5 seeded
           10 state FIN_WAIT1 FIN_WAIT2
           11 arm FIN_WAIT2 due=60011
           20 state FIN_WAIT1 FIN_WAIT2 id=2
           21 arm FIN_WAIT2 id=2 due=60021
           22 state FIN_WAIT1 FIN_WAIT2 id=3
           23 arm TIME_WAIT id=3
        30000 cancel FIN_WAIT2 due=60011 stack=migrate_timer_list
        30000 rearm FIN_WAIT2 due=60011
        30000 cancel TIME_WAIT id=2 due=60421 stack=migrate_timer_list
        30000 rearm TIME_WAIT id=2 due=60421
        60900 expire FIN_WAIT2 due=60011
        60900 expire TIME_WAIT id=2 due=60421
        60900 expire TIME_WAIT id=3 due=60023
        ",
        "
           10 #1 FIN_WAIT1 -> FIN_WAIT2 -
           20 #2 FIN_WAIT1 -> FIN_WAIT2 -
           22 #3 FIN_WAIT1 -> FIN_WAIT2 -
           23 #3 FIN_WAIT2 -> TIME_WAIT 1
          420 #2 FIN_WAIT2 -> TIME_WAIT ~400
        60900 #1 FIN_WAIT2 -> CLOSE 60890 expired
        60900 #2 TIME_WAIT -> CLOSE ~60480 expired
        60900 #3 TIME_WAIT -> CLOSE 60877 expired
        unmatched gaps 3
        ",
    );
}

/// Of one that is older than the trace, sock_diag said how long it has; its timer is not known before the cancellation, or not at all.
#[test]
fn of_an_older_one() {
    for cancelled in ["30000 cancel TIME_WAIT due=60011 stack=migrate_timer_list", "30000 tick"] {
        story(
            &format!(
                "
                   10 seed TIME_WAIT mini left=60000
                   15 seeded
                   20 state FIN_WAIT1 FIN_WAIT2 id=2
                   21 arm TIME_WAIT id=2
                {cancelled}
                30000 rearm TIME_WAIT due=60011
                60900 expire TIME_WAIT due=60011
                60900 expire TIME_WAIT id=2 due=60021
                "
            ),
            "
               20 #2 FIN_WAIT1 -> FIN_WAIT2 -
               21 #2 FIN_WAIT2 -> TIME_WAIT 1
            60900 #1 TIME_WAIT -> CLOSE ~60892 expired older
            60900 #2 TIME_WAIT -> CLOSE 60879 expired
            unmatched gaps 1
            ",
        );
    }
}
