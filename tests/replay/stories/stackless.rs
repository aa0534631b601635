//! Early ends where the kernel could not unwind: what the mini-socket and its CPU show besides decides, or nothing does.

use super::{SegmentSource, story_by};
use SegmentSource::{Fexit, KfreeSkb, Timer};

#[track_caller]
fn ends(segments: SegmentSource, substate: &str, told: &str, heard: &str) {
    let ms = if substate == "FIN_WAIT2" { 40 } else { 50 };
    let begun = format!(
        "
         0 seeded
        10 state CLOSE SYN_SENT
        20 state SYN_SENT ESTABLISHED
        30 state ESTABLISHED FIN_WAIT1
        40 state FIN_WAIT1 FIN_WAIT2
        {ms} arm {substate} due=60050
        {ms} state FIN_WAIT2 CLOSE handed-over
        "
    );
    let entered = if substate == "FIN_WAIT2" { "" } else { "50 #1 FIN_WAIT2 -> TIME_WAIT 10" };
    let heard = format!(
        "
        10 #1 CLOSE -> SYN_SENT -
        20 #1 SYN_SENT -> ESTABLISHED 10
        30 #1 ESTABLISHED -> FIN_WAIT1 10
        40 #1 FIN_WAIT1 -> FIN_WAIT2 10
        {entered}
        1050 #1 {substate} -> CLOSE {} {heard}
        ",
        1050 - ms
    );
    story_by(segments, &format!("{begun}{told}"), &heard);
}

const CANCEL: &str = "1050 cancel TIME_WAIT due=60050 by=wget";

#[test]
fn connect_and_a_namespace_that_ends_need_no_segment() {
    for segments in [Fexit, KfreeSkb, Timer] {
        ends(segments, "TIME_WAIT", &format!("{CANCEL} unhashed in-process"), "reused-by-connect by wget");
        ends(segments, "TIME_WAIT", &format!("{CANCEL} netns-gone"), "netns");
    }
}

/// The function kills the mini-socket itself for an RST, and returns a verdict on all else before its caller does.
#[test]
fn fexit_tells_the_verdict() {
    ends(Fexit, "TIME_WAIT", &format!("{CANCEL}\n1050 segment TIME_WAIT flags=RST due=60050 verdict=0"), "reset");
    ends(
        Fexit,
        "TIME_WAIT",
        &format!("1050 segment TIME_WAIT flags=SYN due=60050 verdict=3\n{CANCEL}"),
        "reused-by-syn",
    );
    ends(
        Fexit,
        "FIN_WAIT2",
        "1050 segment FIN_WAIT2 flags=ACK len=9 due=60050 verdict=1\n1050 cancel FIN_WAIT2 due=60050",
        "reset-sent",
    );
    // Nothing was heard of a segment.
    ends(Fexit, "TIME_WAIT", CANCEL, "unknown");
    ends(Fexit, "TIME_WAIT", &format!("{CANCEL} in-process"), "destroyed by wget");
}

/// A verdict is for one mini-socket, at once, on one CPU.
#[test]
fn a_verdict_is_not_for_another() {
    let verdict = "segment TIME_WAIT flags=SYN due=60050 verdict=3";
    for other in [format!("1040 {verdict}"), format!("1050 {verdict} id=2"), format!("1050 {verdict} cpu=1")] {
        ends(Fexit, "TIME_WAIT", &format!("{other}\n{CANCEL}"), "unknown");
    }
}

/// What killed a mini-socket is dropped afterwards, unless it is a SYN that is accepted.
#[test]
fn kfree_skb_comes_after() {
    ends(KfreeSkb, "TIME_WAIT", &format!("{CANCEL}\n1050 segment TIME_WAIT flags=RST due=60050"), "reset");
    ends(KfreeSkb, "TIME_WAIT", CANCEL, "reused-by-syn");
    ends(KfreeSkb, "TIME_WAIT", &format!("{CANCEL} in-process"), "destroyed by wget");
    let cancel = "1050 cancel FIN_WAIT2 due=60050";
    ends(KfreeSkb, "FIN_WAIT2", &format!("{cancel}\n1050 segment FIN_WAIT2 flags=ACK len=9 due=60050"), "reset-sent");
    ends(KfreeSkb, "FIN_WAIT2", &format!("{cancel}\n1050 segment FIN_WAIT2 flags=RST due=60050"), "reset");
    ends(KfreeSkb, "FIN_WAIT2", cancel, "unknown");
}

/// With neither a stack nor a hook on segments it could have been anything.
#[test]
fn the_timer_alone_does_not_tell() {
    ends(Timer, "TIME_WAIT", CANCEL, "unknown");
    ends(Timer, "TIME_WAIT", &format!("{CANCEL} in-process"), "unknown");
}

#[test]
fn the_stack_decides_where_there_is_one() {
    ends(KfreeSkb, "TIME_WAIT", &format!("{CANCEL} in-process stack=tcp_v4_rcv"), "reused-by-syn");
    ends(
        Fexit,
        "TIME_WAIT",
        &format!("{CANCEL} stack=tcp_abort\n1050 segment TIME_WAIT flags=RST due=60050"),
        "destroyed by wget",
    );
}
