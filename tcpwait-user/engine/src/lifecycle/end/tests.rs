//! Each row of the table, and what is not guessed.
#![allow(clippy::unwrap_used)]
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::{
    symbols::DECISIVE,
    tcp::{Flow, NetnsId},
};
use State::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent};

const ABOUT: EndFacts = EndFacts {
    orphan: false,
    repair: Some(false),
    no_linger2: false,
    netns_gone: false,
    window_closed: false,
    acked: false,
    unsent: false,
    memory: Some(false),
    soft_err: Some(0),
    soft_asked: false,
    user_timeout_ms: 0,
    probed_jiffies: 0,
    rto_max_jiffies: 0,
};
const ORPHAN: EndFacts = EndFacts { orphan: true, ..ABOUT };

/// A function of a hundred bytes for each name.
fn symbols() -> Symbols {
    Symbols::pick((1..).zip(DECISIVE.iter().copied().chain(["end"])).map(|(n, name)| (n * 100, name)))
}

fn change(old: State, err: Errno, end: Option<EndSite>) -> StateChange {
    let [laddr, raddr] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last).into());
    StateChange {
        cookie: 1,
        sk: 1,
        flow: Flow { netns: NetnsId::new(1, 0), bound_dev_if: 0, laddr, raddr, lport: 1, rport: 2 },
        old,
        new: State::Close,
        err: err as u16,
        task: None,
        by_call: false,
        handed_over: false,
        newborn: false,
        of_request: false,
        retransmits: None,
        reuse: None,
        v6only: None,
        unsent: false,
        deferred: false,
        returns: false,
        old_port: false,
        old_soft: false,
        syn: None,
        acked: false,
        end: end.map(Box::new),
    }
}

fn site(stack: &str, about: EndFacts) -> EndSite {
    let address =
        |name: &str| DECISIVE.iter().position(|known| *known == name).map_or(7, |n| (n as u64 + 1) * 100 + 50);
    EndSite {
        full: Some(false),
        about: Some(about),
        stack: stack.split_whitespace().map(address).collect(),
        ..EndSite::default()
    }
}

/// `reset-sent (linger-0) by owner`.
fn said(end: End) -> String {
    let detail = end.detail.map(|detail| format!(" ({})", detail.name())).unwrap_or_default();
    let by = match end.by {
        EndedBy::Nobody => "",
        EndedBy::Task => " by task",
        EndedBy::Owner => " by owner",
    };
    format!("{}{detail}{by}", end.reason.name())
}

#[track_caller]
fn check(old: State, err: Errno, stack: &str, about: EndFacts, expected: &str) {
    let clock = EndClock { hz: Some(250), dwell_ns: Some(1_500_000_000) };
    let end = end(&symbols(), &change(old, err, Some(site(stack, about))), clock);
    assert_eq!(said(end), expected, "{old} {err:?} {stack} {about:?}");
}

const NO_ERROR: Errno = Errno::UnknownErrno;

#[test]
fn what_a_segment_ends() {
    use Errno::{ECONNREFUSED, ECONNRESET, EPIPE};
    let rst = "other tcp_done tcp_reset tcp_validate_incoming tcp_rcv_established tcp_v4_do_rcv";
    for (old, err) in [(Established, ECONNRESET), (CloseWait, EPIPE), (FinWait1, ECONNRESET), (LastAck, ECONNRESET)] {
        check(old, err, rst, ABOUT, "reset");
        // tcp_reset ends with a call that a compiler makes a jump.
        check(old, err, "tcp_done tcp_validate_incoming tcp_rcv_state_process", ABOUT, "reset");
    }
    check(SynSent, ECONNREFUSED, "tcp_done tcp_reset tcp_rcv_state_process tcp_v4_do_rcv", ABOUT, "reset");
    check(SynRecv, ECONNRESET, "tcp_done tcp_reset tcp_check_req tcp_rcv_state_process", ABOUT, "reset");
    for function in ["tcp_v4_err", "tcp_v6_err"] {
        check(SynSent, ECONNREFUSED, &format!("tcp_done {function}"), ABOUT, "unreachable");
    }
    let received = "tcp_done tcp_rcv_state_process tcp_v4_do_rcv";
    check(FinWait2, ECONNRESET, received, ORPHAN, "reset-sent (data-after-close)");
    check(FinWait2, NO_ERROR, received, ORPHAN, "reset-sent (data-after-close)");
    check(FinWait2, NO_ERROR, received, EndFacts { no_linger2: true, ..ORPHAN }, "reset-sent (linger)");
    check(LastAck, NO_ERROR, received, EndFacts { acked: true, ..ORPHAN }, "closed");
    check(Closing, NO_ERROR, received, ORPHAN, "overflow");
}

#[test]
fn what_a_process_ends() {
    let close = "__tcp_close tcp_close";
    check(Established, NO_ERROR, &format!("tcp_disconnect {close}"), ABOUT, "reset-sent (linger-0) by owner");
    check(Established, NO_ERROR, close, ABOUT, "reset-sent (unread-data) by owner");
    check(LastAck, NO_ERROR, close, ABOUT, "reset-sent (unread-data) by owner");
    check(SynSent, NO_ERROR, close, ABOUT, "closed (given-up) by owner");
    check(Listen, NO_ERROR, close, ABOUT, "closed by owner");
    check(Listen, NO_ERROR, "tcp_disconnect", ABOUT, "closed by owner");
    check(FinWait2, NO_ERROR, close, EndFacts { no_linger2: true, ..ORPHAN }, "reset-sent (linger) by owner");
    check(FinWait2, NO_ERROR, &format!("tcp_done {close}"), ORPHAN, "overflow");
    check(SynSent, NO_ERROR, &format!("tcp_disconnect {close}"), ABOUT, "closed (linger-0) by owner");
    check(SynSent, NO_ERROR, "tcp_disconnect", ABOUT, "closed (given-up) by owner");
    check(FinWait1, NO_ERROR, close, ORPHAN, "reset-sent (too-many-orphans)");
    check(LastAck, NO_ERROR, close, EndFacts { memory: Some(true), ..ORPHAN }, "reset-sent (out-of-memory)");
    check(FinWait1, NO_ERROR, close, EndFacts { netns_gone: true, ..ORPHAN }, "netns");
    check(Established, NO_ERROR, "tcp_disconnect", ABOUT, "reset-sent (disconnect) by owner");
    // Their FIN has been sent, and no RST is.
    check(LastAck, NO_ERROR, &format!("tcp_disconnect {close}"), ABOUT, "closed (linger-0) by owner");
    check(
        LastAck,
        NO_ERROR,
        &format!("tcp_disconnect {close}"),
        EndFacts { unsent: true, ..ABOUT },
        "reset-sent (linger-0) by owner",
    );
    let repair = EndFacts { repair: Some(true), ..ABOUT };
    check(Established, NO_ERROR, &format!("tcp_disconnect {close}"), repair, "repair by owner");
    for old in [Established, Listen, FinWait1] {
        check(old, Errno::ECONNABORTED, "tcp_done tcp_abort tcp_diag_destroy", ABOUT, "destroyed by task");
    }
    check(SynSent, NO_ERROR, "tcp_v4_connect", ABOUT, "failed by task");
    check(Listen, NO_ERROR, "inet_csk_listen_start", ABOUT, "failed by task");
}

#[test]
fn what_a_listener_takes_along() {
    let child = "tcp_disconnect inet_child_forget";
    for closer in ["__tcp_close tcp_close", "tcp_abort tcp_diag_destroy", "tcp_disconnect"] {
        let stack = format!("{child} inet_csk_listen_stop {closer}");
        check(Established, NO_ERROR, &stack, ABOUT, "listener-closed by task");
    }
    // The handshake is completed for a listener that is gone already: whoever is on the CPU has nothing to do with it, though it closes another.
    let late = format!("{child} inet_csk_reqsk_queue_add inet_csk_complete_hashdance tcp_check_req tcp_v4_rcv");
    check(SynRecv, NO_ERROR, &late, ABOUT, "listener-closed");
    check(SynRecv, NO_ERROR, &format!("{late} tcp_disconnect inet_csk_listen_stop"), ABOUT, "listener-closed");
}

#[test]
fn what_a_timer_ends() {
    use Errno::{EHOSTUNREACH, ETIMEDOUT};
    let patient = EndFacts { user_timeout_ms: 1000, ..ABOUT };
    let write = "tcp_done tcp_retransmit_timer tcp_write_timer_handler tcp_write_timer";
    check(Established, ETIMEDOUT, write, ABOUT, "timed-out (retransmissions)");
    check(Established, EHOSTUNREACH, write, ABOUT, "timed-out (retransmissions)");
    check(Established, ETIMEDOUT, write, patient, "timed-out (user-timeout)");
    check(LastAck, ETIMEDOUT, write, ORPHAN, "timed-out (retransmissions)");
    check(LastAck, NO_ERROR, write, ORPHAN, "reset-sent (too-many-orphans)");
    check(LastAck, EHOSTUNREACH, write, ORPHAN, "unknown");
    let short = "tcp_done tcp_out_of_resources tcp_retransmit_timer";
    check(LastAck, EHOSTUNREACH, short, EndFacts { memory: Some(true), ..ORPHAN }, "reset-sent (out-of-memory)");
    check(LastAck, NO_ERROR, short, EndFacts { memory: None, ..ORPHAN }, "reset-sent");
    check(SynSent, ETIMEDOUT, write, ABOUT, "timed-out (retransmissions)");
    // It was in SYN_SENT for 1.5 s.
    check(SynSent, ETIMEDOUT, write, patient, "timed-out (user-timeout)");
    check(SynSent, ETIMEDOUT, write, EndFacts { user_timeout_ms: 9000, ..ABOUT }, "timed-out (retransmissions)");
    check(Established, ETIMEDOUT, write, EndFacts { window_closed: true, ..ABOUT }, "timed-out (zero-window)");
    let closed = EndFacts { window_closed: true, ..patient };
    check(Established, ETIMEDOUT, write, EndFacts { rto_max_jiffies: 125, ..closed }, "timed-out (user-timeout)");
    check(Established, ETIMEDOUT, write, EndFacts { rto_max_jiffies: 124, ..closed }, "timed-out");
    check(Established, ETIMEDOUT, write, closed, "timed-out");
    let probe = "tcp_done tcp_write_timer_handler tcp_write_timer";
    check(Established, ETIMEDOUT, probe, ABOUT, "timed-out (zero-window)");
    check(Established, ETIMEDOUT, probe, EndFacts { probed_jiffies: 250, ..patient }, "timed-out (user-timeout)");
    check(Established, ETIMEDOUT, probe, EndFacts { probed_jiffies: 249, ..patient }, "timed-out (zero-window)");
    check(Established, ETIMEDOUT, probe, patient, "timed-out");
    let keepalive = "tcp_done tcp_keepalive_timer";
    check(Established, ETIMEDOUT, keepalive, ABOUT, "timed-out (keepalive)");
    check(FinWait2, ETIMEDOUT, keepalive, ABOUT, "timed-out (keepalive)");
    check(CloseWait, ETIMEDOUT, keepalive, patient, "timed-out (user-timeout)");
    check(FinWait2, NO_ERROR, keepalive, ORPHAN, "timed-out (fin-wait-2)");
    check(FinWait2, NO_ERROR, keepalive, EndFacts { no_linger2: true, ..ORPHAN }, "reset-sent (linger)");
    check(FinWait2, NO_ERROR, "tcp_done tcp_time_wait tcp_keepalive_timer", ORPHAN, "overflow");
}

#[test]
fn nothing_is_guessed() {
    let clock = EndClock::default();
    let told = |old, err, end| said(super::end(&symbols(), &change(old, err, end), clock));
    // A stack of which nothing is known, and one that leads through a packet into somebody else's call.
    check(Established, Errno::ECONNRESET, "other", ABOUT, "unknown");
    check(Established, NO_ERROR, "other tcp_v4_do_rcv __tcp_close tcp_close", ABOUT, "unknown");
    check(Established, NO_ERROR, "other __run_timers __tcp_close", ABOUT, "unknown");
    check(SynRecv, NO_ERROR, "tcp_done tcp_v4_syn_recv_sock tcp_check_req", ABOUT, "unknown");
    // No stack: an RST, data after close(), an ICMP error may be told by the same error, and most ends by none.
    for end in [None, Some(site("", ABOUT))] {
        assert_eq!(told(Established, Errno::ECONNRESET, end.clone()), "reset");
        assert_eq!(told(FinWait1, Errno::ECONNRESET, end.clone()), "unknown");
        assert_eq!(told(CloseWait, Errno::EPIPE, end.clone()), "unknown");
        assert_eq!(told(SynSent, Errno::ECONNREFUSED, end.clone()), "unknown");
        assert_eq!(told(SynSent, Errno::EHOSTUNREACH, end.clone()), "unknown");
        assert_eq!(told(LastAck, Errno::ETIMEDOUT, end.clone()), "timed-out");
        assert_eq!(told(Established, Errno::ECONNABORTED, end.clone()), "destroyed by task");
        for old in [Established, SynSent, LastAck, Listen] {
            assert_eq!(told(old, NO_ERROR, end.clone()), "unknown");
        }
    }
    let acked = StateChange { acked: true, ..change(LastAck, NO_ERROR, None) };
    assert_eq!(said(super::end(&symbols(), &acked, clock)), "closed");
    // Of a kernel that has tcp_validate_incoming inlined, an RST and data after close() look alike.
    let lacking = Symbols::pick([(100, "tcp_rcv_state_process"), (200, "tcp_done"), (300, "end")]);
    let end = EndSite { stack: vec![250, 150], about: Some(ORPHAN), ..EndSite::default() };
    assert_eq!(said(super::end(&lacking, &change(FinWait2, Errno::ECONNRESET, Some(end)), clock)), "unknown");
    // Recordings up to version 5 have stacks, and do not say what the socket was like.
    let old = |stack| Some(EndSite { about: None, full: Some(true), ..site(stack, ABOUT) });
    for (stack, expected) in
        [("tcp_done __tcp_close", "overflow"), ("tcp_rcv_state_process", "overflow"), ("__tcp_close", "unknown")]
    {
        assert_eq!(told(FinWait2, NO_ERROR, old(stack)), expected, "{stack}");
    }
}

fn any_site() -> impl Strategy<Value = EndSite> {
    let functions = prop::collection::vec(prop::sample::select(DECISIVE.to_vec()), 0..8);
    (functions, any::<[Option<bool>; 3]>(), any::<[bool; 6]>(), 0..3u32, prop::sample::select(vec![0, 100, 100_000u32]))
        .prop_map(
            |(
                functions,
                [full, repair, memory],
                [orphan, no_linger2, netns_gone, window_closed, acked, unsent],
                timeout,
                jiffies,
            )| {
                let about = EndFacts {
                    orphan,
                    repair,
                    no_linger2,
                    netns_gone,
                    window_closed,
                    acked,
                    unsent,
                    memory,
                    soft_err: None,
                    soft_asked: false,
                    user_timeout_ms: timeout * 1000,
                    probed_jiffies: jiffies,
                    rto_max_jiffies: jiffies,
                };
                EndSite { full, ..site(&functions.join(" "), about) }
            },
        )
}

proptest! {
    /// Whatever a stack holds, there is one reason, of those that are for full sockets, and what else is said goes with it.
    #[test]
    fn every_end_makes_sense(
        old in prop::sample::select(State::ALL.to_vec()),
        err in prop::sample::select(vec![0, 32, 103, 104, 110, 111, 113]),
        site in prop::option::of(any_site()),
        dwell_ns in prop::option::of(0..200_000_000_000u64),
    ) {
        let change = StateChange { err, ..change(old, NO_ERROR, site) };
        let found = super::end(&symbols(), &change, EndClock { hz: Some(250), dwell_ns });
        prop_assert!(Reason::OF_ENDS.contains(&found.reason), "{found:?}");
        let details: &[Detail] = match found.reason {
            Reason::Closed => &[Detail::GivenUp, Detail::Linger0, Detail::Disconnect, Detail::Multipath],
            Reason::ResetSent => &[
                Detail::Linger0, Detail::Linger, Detail::UnreadData, Detail::DataAfterClose, Detail::OutOfMemory,
                Detail::TooManyOrphans, Detail::Disconnect, Detail::Multipath,
            ],
            Reason::TimedOut => &[
                Detail::Keepalive, Detail::UserTimeout, Detail::Retransmissions, Detail::ZeroWindow, Detail::FinWait2,
                Detail::Linger,
            ],
            _ => &[],
        };
        prop_assert!(found.detail.is_none_or(|detail| details.contains(&detail)), "{found:?}");
        let may_reset = [Reason::ResetSent, Reason::TimedOut, Reason::Destroyed, Reason::ListenerClosed];
        prop_assert!(!found.rst || may_reset.contains(&found.reason), "{found:?}");
        prop_assert!(found.abort != Some(Abort::OnTimeout) || found.reason == Reason::TimedOut, "{found:?}");
        if found.reason == Reason::Unknown {
            prop_assert_eq!(found, End::UNKNOWN);
        }
    }
}
