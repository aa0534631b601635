//! Why a TIME_WAIT ended before its time, from the stack of the cancellation; and what is made of a cancellation whose
//! stack says nothing, which waits for what its CPU does next.

use super::story;

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
fn every_reason() {
    for (stack, reason) in [
        ("__inet_check_established", "reused-by-connect by wget"),
        ("__inet6_check_established", "reused-by-connect by wget"),
        ("other,inet_hash_connect", "reused-by-connect by wget"),
        ("tcp_v4_rcv", "reused-by-syn"),
        ("tcp_v6_rcv", "reused-by-syn"),
        ("nf_tproxy_handle_time_wait4", "reused-by-syn"),
        ("tcp_timewait_state_process,tcp_v4_rcv", "reset"),
        ("tcp_abort", "destroyed by wget"),
        ("other,tcp_diag_destroy,tcp_v4_rcv", "destroyed by wget"),
        ("bpf_sock_destroy", "destroyed by wget"),
        ("inet_twsk_purge", "netns"),
        ("tcp_sk_exit_batch", "netns"),
    ] {
        time_wait(
            &format!("1050 cancel TIME_WAIT due=60050 by=wget stack=other,{stack}"),
            &format!("1050 #1 TIME_WAIT -> CLOSE 1000 {reason}"),
        );
    }
    // Only a connect() takes it out of the hash first.
    time_wait(
        "1050 cancel TIME_WAIT unhashed due=60050 by=wget",
        "1050 #1 TIME_WAIT -> CLOSE 1000 reused-by-connect by wget",
    );
}

#[test]
fn a_timer_that_is_set_anew_is_no_end() {
    for stack in ["__mod_timer", "timers_dead_cpu", "migrate_timer_list,timers_dead_cpu", "mod_timer_pending"] {
        time_wait(
            &format!("1050 cancel TIME_WAIT due=60050 stack=other,{stack},tcp_timewait_state_process"),
            "alive 1",
        );
    }
}

/// expire_timers() cancels the timer, then runs it.
#[test]
fn a_timer_that_runs_out_ends_once() {
    for stack in ["expire_timers", "__run_timers", "run_timer_softirq", "timer_expire_remote", "other"] {
        time_wait(
            &format!(
                "60900 cancel TIME_WAIT due=60050 stack={stack}
                 60901 expire TIME_WAIT due=60050"
            ),
            "60901 #1 TIME_WAIT -> CLOSE 60851 expired",
        );
    }
}

#[test]
fn a_silent_cancellation_and_then_a_start_is_a_restart() {
    time_wait(
        "
         5050 cancel TIME_WAIT due=60050
         5050 rearm TIME_WAIT
         5070 tick
        66000 expire TIME_WAIT due=65050
        ",
        "66000 #1 TIME_WAIT -> CLOSE 65950 expired restarts 1",
    );
}

#[test]
fn a_silent_cancellation_and_then_nothing_is_an_end() {
    // Not before a while has passed, but with the time at which it was.
    time_wait(
        "
        1050 cancel TIME_WAIT due=60050
        1059 tick
        1059 state CLOSE LISTEN id=2 cpu=1
        1060 tick
        ",
        "
        1059 #2 CLOSE -> LISTEN -
        1050 #1 TIME_WAIT -> CLOSE 1000 unknown
        ",
    );
    // The stream may end before.
    time_wait("1050 cancel TIME_WAIT due=60050", "1050 #1 TIME_WAIT -> CLOSE 1000 unknown");
    // Or the CPU does something else.
    time_wait(
        "
        1050 cancel TIME_WAIT due=60050 cpu=3
        1051 state CLOSE LISTEN id=2 cpu=3
        ",
        "
        1050 #1 TIME_WAIT -> CLOSE 1000 unknown
        1051 #2 CLOSE -> LISTEN -
        ",
    );
}

/// Two cancellations on one CPU, of which neither says why.
#[test]
fn a_silent_cancellation_ends_the_one_before() {
    time_wait(
        "
        60 arm TIME_WAIT id=2
        70 cancel TIME_WAIT due=60050
        71 cancel TIME_WAIT id=2 due=60060
        72 expire TIME_WAIT id=2 due=60060
        ",
        "
        60 #2 ? -> TIME_WAIT -
        70 #1 TIME_WAIT -> CLOSE 20 unknown
        72 #2 TIME_WAIT -> CLOSE 12 expired
        unmatched gaps 1
        ",
    );
}

/// A FIN that finds no mini-socket to be had, and an RST in the same state.
#[test]
fn overflow_is_told_from_a_reset() {
    let told = |end: &str| {
        format!(
            "
             0 seeded
            10 state CLOSE SYN_SENT
            20 state SYN_SENT ESTABLISHED
            30 state ESTABLISHED FIN_WAIT1
            40 state FIN_WAIT1 FIN_WAIT2
            50 state FIN_WAIT2 CLOSE {end}"
        )
    };
    let heard = |reason: &str| {
        HEARD.replace("50 #1 FIN_WAIT2 -> TIME_WAIT 10", &format!("50 #1 FIN_WAIT2 -> CLOSE 10 {reason}"))
    };
    for stack in [
        "tcp_time_wait",
        "tcp_fin,tcp_data_queue",
        "other,tcp_data_queue",
        "tcp_rcv_state_process",
        "tcp_done,__tcp_close",
        // A mini-socket went on another CPU before this was told.
        "tcp_fin room",
        "tcp_time_wait room",
        "tcp_done,other,tcp_data_queue room",
        "tcp_done,__tcp_close room",
    ] {
        story(&told(&format!("stack={stack}")), &heard("overflow"));
    }
    for (end, reason) in [
        ("stack=tcp_reset,tcp_validate_incoming err=104", "reset"),
        ("stack=tcp_fin err=104", "unknown"),
        ("stack=tcp_abort err=103", "destroyed"),
        ("stack=other", "unknown"),
        ("stack=tcp_rcv_state_process room", "reset-sent (data-after-close)"),
        ("stack=tcp_done,tcp_rcv_state_process room", "reset-sent (data-after-close)"),
        ("stack=tcp_done,tcp_rcv_state_process room no-linger2", "reset-sent (linger)"),
        ("stack=tcp_rcv_state_process room version-5", "unknown"),
        ("stack=__tcp_close orphan no-linger2", "reset-sent (linger)"),
        ("stack=__tcp_close version-5", "unknown"),
        ("err=110", "timed-out"),
        ("", "unknown"),
    ] {
        story(&told(end), &heard(reason));
    }
}

/// A connect() takes the tuple: one mini-socket ends, and later another begins on the same addresses.
#[test]
fn one_tuple_again_and_again() {
    time_wait(
        "
         1100 cancel TIME_WAIT due=60050 stack=__inet_check_established by=curl
         1100 state CLOSE SYN_SENT id=2 on=1 by=curl
         1110 state SYN_SENT ESTABLISHED id=2 on=1
         1120 state ESTABLISHED FIN_WAIT1 id=2 on=1
         1130 state FIN_WAIT1 FIN_WAIT2 id=2 on=1
         1140 arm TIME_WAIT id=2 on=1
         1140 state FIN_WAIT2 CLOSE id=2 on=1 handed-over
        61200 expire TIME_WAIT id=2 on=1 due=61140
        ",
        "
         1100 #1 TIME_WAIT -> CLOSE 1050 reused-by-connect by curl
         1100 #2 CLOSE -> SYN_SENT - lport=1001 of curl
         1110 #2 SYN_SENT -> ESTABLISHED 10 lport=1001 of curl
         1120 #2 ESTABLISHED -> FIN_WAIT1 10 lport=1001 of curl
         1130 #2 FIN_WAIT1 -> FIN_WAIT2 10 lport=1001 of curl
         1140 #2 FIN_WAIT2 -> TIME_WAIT 10 lport=1001 of curl
        61200 #2 TIME_WAIT -> CLOSE 60060 lport=1001 of curl expired
        ",
    );
}
