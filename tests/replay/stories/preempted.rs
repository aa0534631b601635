//! Where tracepoints can be preempted (Linux 7.0, PREEMPT_RT), other threads may say something on the same CPU between two events that come in one go. What
//! one thread does says nothing of another.

use super::story;
use tcpwait::lifecycle::SegmentSource::{Fexit, KfreeSkb};

const LISTENING: &str = "0 state CLOSE LISTEN id=9 by=nginx\n0 seeded\n";
const BEFORE: &str = "0 #9 CLOSE -> LISTEN - of nginx\n";

/// A connection in SYN_RECV's timer runs out in ktimers/0 (thread 20), which is preempted before it sends the SYN-ACK again.
#[test]
fn a_syn_ack_is_sent_again_after_others_had_the_cpu() {
    for other in ["1010 syn on=2 id=2 from=9 thread=31", "1010 state CLOSE SYN_SENT id=5 thread=31", "1010 tick"] {
        let told = format!(
            "{LISTENING}
             10 syn from=9 thread=30
             1010 give-up from=9 thread=20
             {other}
             1011 resend again=1 from=9 thread=20
             1500 drop from=9 again=1 stack=tcp_check_req thread=30"
        );
        let heard: Vec<String> = super::hear(&super::events(&told));
        let end = "1500 #0 SYN_RECV -> CLOSE 1490 lport=1001 of nginx reset again 1";
        assert!(heard.iter().any(|line| line == end), "{other}: {heard:#?}");
    }
}

/// The same thread goes on to something else: then it was given up.
#[test]
fn the_same_thread_goes_on() {
    story(
        &format!(
            "{LISTENING}
             10 syn from=9 thread=30
             3010 give-up from=9 again=1 thread=20
             3010 state CLOSE SYN_SENT id=5 lport=7 thread=31
             3010 state CLOSE LISTEN id=6 thread=20"
        ),
        &format!(
            "{BEFORE}
             3010 #5 CLOSE -> SYN_SENT - lport=7
             10 #0 LISTEN -> SYN_RECV - lport=1001 through nginx
             3010 #0 SYN_RECV -> CLOSE 3000 lport=1001 of nginx timeout again 1
             3010 #6 CLOSE -> LISTEN -"
        ),
    );
}

const WAITING: &str = "0 seeded
    20 state CLOSE SYN_SENT by=curl
    30 state SYN_SENT ESTABLISHED
    40 state ESTABLISHED FIN_WAIT1 by=curl
    45 state FIN_WAIT1 FIN_WAIT2
    50 arm TIME_WAIT thread=30
    50 state FIN_WAIT2 CLOSE handed-over thread=30
";

fn last_of(source: tcpwait::lifecycle::SegmentSource, told: &str) -> String {
    let heard = super::hear_by(&super::events(&format!("{WAITING}{told}")), source);
    let end = heard.iter().rfind(|line| line.contains("#1 TIME_WAIT -> CLOSE"));
    end.cloned().unwrap_or_else(|| format!("{heard:#?}"))
}

/// A restart's cancellation, whose stack could not be read, and its start.
#[test]
fn a_restart_goes_on_after_others_had_the_cpu() {
    let told = "5050 cancel TIME_WAIT due=60050 thread=30
        5050 state CLOSE LISTEN id=6 thread=31
        5050 rearm TIME_WAIT thread=30
        66000 expire TIME_WAIT due=65050 thread=20";
    let end = last_of(Fexit, told);
    assert!(end.contains("TIME_WAIT -> CLOSE 65950 of curl expired restarts 1"), "{end}");
}

/// A restart that the timer tells of, and the segment hook 40 ms later, as its thread had to wait for the CPU: one restart, and its cause.
#[test]
fn a_restart_that_is_told_late_is_one() {
    for (thread, restarts) in [("thread=30", "restarts 1"), ("", "restarts 2")] {
        let told = format!(
            "5050 rearm TIME_WAIT {thread}
             5090 segment TIME_WAIT flags=ACK due=65050 verdict=0 {thread}
             66000 expire TIME_WAIT due=65050 thread=20"
        );
        let end = last_of(Fexit, &told);
        assert!(end.contains("expired") && end.contains(restarts), "{thread}: {end}");
    }
}

/// What the kernel made of a segment, and the death that it leads to.
#[test]
fn a_verdict_is_for_the_thread_that_heard_it() {
    for (other, reason) in [
        ("", "reused-by-syn"),
        ("1050 segment TIME_WAIT id=6 on=6 flags=ACK due=60050 verdict=0 thread=31", "reused-by-syn"),
    ] {
        let told = format!(
            "1050 segment TIME_WAIT flags=SYN due=60050 verdict=3 thread=30
             {other}
             1050 cancel TIME_WAIT due=60050 thread=30"
        );
        let end = last_of(Fexit, &told);
        assert!(end.ends_with(reason), "{other}: {end}");
    }
    let elsewhere = "1050 segment TIME_WAIT flags=SYN due=60050 verdict=3 thread=31
        1050 cancel TIME_WAIT due=60050 thread=30";
    let end = last_of(Fexit, elsewhere);
    assert!(end.ends_with("unknown"), "{end}");
}

/// kfree_skb comes after the death; in between another thread may have said something.
#[test]
fn a_drop_explains_the_death_before_it() {
    let told = "1050 cancel TIME_WAIT due=60050 thread=30
        1050 state CLOSE LISTEN id=6 thread=31
        1050 segment TIME_WAIT flags=RST due=60050 thread=30";
    let end = last_of(KfreeSkb, told);
    assert!(end.ends_with("TIME_WAIT -> CLOSE 1000 of curl reset"), "{end}");
}

/// A birth that has a record, as servers might have TCP Fast Open when it came, and then might not: it is born once.
#[test]
fn a_birth_that_is_told_twice_is_one() {
    story(
        &format!(
            "{LISTENING}
             10 state LISTEN SYN_RECV sk=70
             12 state SYN_RECV ESTABLISHED sk=70 newborn"
        ),
        &format!(
            "{BEFORE}
             10 #1 LISTEN -> SYN_RECV -
             12 #1 SYN_RECV -> ESTABLISHED -
             without a request 1"
        ),
    );
}
