//! The audit: what was seen by the moment in which the kernel was read, however late that is known, and what explains a
//! difference.

use tcpwait::{
    aggregate::audit::{Audit, AuditReport, Check, CheckOutcome, Checked, KernelCounts, Opens, Reading, TwCounts},
    ledger::{Ledger, LostRecords},
    lifecycle::{Abort, Lifecycle, SegmentSource},
    tcp::NetnsId,
};

use crate::stories::{events, symbols};

const MS: u64 = 1_000_000;

/// An audit that sees a story, with readings in between.
struct Audited {
    audit: Audit,
    model: Lifecycle,
}

impl Audited {
    fn new(meaning: TwCounts) -> Self {
        Self { audit: Audit::new(Some(meaning), None), model: Lifecycle::new(symbols(), SegmentSource::Fexit) }
    }

    fn see(&mut self, told: &str) {
        let mut updates = Vec::new();
        for event in events(told) {
            self.audit.event(&event);
            self.model.apply(&event, &mut updates);
            updates.drain(..).for_each(|update| self.audit.update(&update));
        }
    }

    fn begin(&mut self) {
        self.audit.begin_reading(self.model.minis_by_netns());
    }

    /// The counters of namespace 1, as they were read at this time.
    fn end(&mut self, ms: u64, timewait: u64, sockstat: u64) {
        let counts = KernelCounts {
            netns: NetnsId::new(1, 0),
            read_ns: (ms * MS, ms * MS + MS / 2),
            timewait,
            sockstat: Some(sockstat),
            ..KernelCounts::default()
        };
        self.audit.end_reading(&Reading { namespaces: vec![counts], unreadable: 0, ..Reading::default() });
    }

    fn end_with(&mut self, counts: KernelCounts) {
        self.audit.end_reading(&Reading { namespaces: vec![counts], unreadable: 0, ..Reading::default() });
    }

    fn check(&self, what: Checked, ledger: Ledger) -> (Check, CheckOutcome) {
        let checks = self.audit.report(&ledger).checks;
        *checks.iter().find(|(check, _)| check.what == what).unwrap_or_else(|| panic!("no {what:?} in {checks:?}"))
    }
}

/// Namespace 1 at this time.
fn at(ms: u64) -> KernelCounts {
    KernelCounts { netns: NetnsId::new(1, 0), read_ns: (ms * MS, ms * MS), ..KernelCounts::default() }
}

/// Connection 7 of the story begins at this time.
fn begins(ms: u64, id: u64) -> String {
    format!(
        "{ms} state FIN_WAIT1 FIN_WAIT2 id={id}\n{ms} arm TIME_WAIT id={id}\n{ms} state FIN_WAIT2 CLOSE handed-over id={id}\n"
    )
}

#[test]
fn what_happens_after_the_reading_is_not_held_against_it() {
    let mut audited = Audited::new(TwCounts::Beginnings);
    audited.see("0 seeded");
    audited.see(&begins(10, 1));
    audited.begin();
    // The kernel was read at 20 ms, and it is known only after what came at 30 ms.
    audited.see(&begins(15, 2));
    audited.see(&begins(30, 3));
    audited.end(20, 102, 2);
    assert_eq!(audited.audit.report(&Ledger::default()).checks.len(), 0, "one reading is no comparison");
    audited.see(&begins(40, 4));
    audited.begin();
    audited.see(&begins(60, 5));
    audited.end(50, 104, 4);
    let (check, outcome) = audited.check(Checked::Entries, Ledger::default());
    assert_eq!((check.seen_min, check.seen_max, check.kernel, outcome), (2, 2, 2, CheckOutcome::Agrees));
    let (check, outcome) = audited.check(Checked::Sockstat, Ledger::default());
    assert_eq!((check.seen_min, check.seen_max, check.kernel, outcome), (4, 4, 4, CheckOutcome::Agrees));
}

#[test]
fn what_happens_in_that_very_moment_may_be_counted_or_not() {
    for kernel in [0, 1] {
        let mut audited = Audited::new(TwCounts::Beginnings);
        audited.see("0 seeded");
        audited.begin();
        audited.end(10, 0, 0);
        audited.begin();
        audited.see(&begins(20, 1));
        audited.end(20, kernel, kernel);
        let (check, outcome) = audited.check(Checked::Entries, Ledger::default());
        assert_eq!((check.seen_min, check.seen_max, outcome), (0, 1, CheckOutcome::Agrees));
        assert_eq!(audited.check(Checked::Sockstat, Ledger::default()).1, CheckOutcome::Agrees);
    }
}

#[test]
fn a_difference_is_explained_by_no_more_than_was_lost() {
    let mut audited = Audited::new(TwCounts::Beginnings);
    audited.see("0 seeded");
    audited.begin();
    audited.end(1, 0, 0);
    audited.see(&begins(10, 1));
    audited.begin();
    audited.end(20, 4, 1);
    let lost = |beginnings| Ledger {
        lost_ring: Some(LostRecords { beginnings, ..LostRecords::default() }),
        ..Ledger::default()
    };
    assert_eq!(audited.check(Checked::Entries, lost(3)).1, CheckOutcome::Lost(3));
    assert_eq!(audited.check(Checked::Entries, lost(2)).1, CheckOutcome::Differs(3));
    assert!(audited.audit.report(&lost(0)).differs());
    assert!(!audited.audit.report(&lost(3)).differs());
}

/// Up to 5.15 the counter is of those that run out.
#[test]
fn where_the_kernel_counts_ends_ends_are_compared() {
    let mut audited = Audited::new(TwCounts::Expiries);
    audited.see("0 seeded");
    audited.begin();
    audited.end(1, 50, 0);
    audited.see(&begins(10, 1));
    audited.see(&begins(11, 2));
    audited.see("60500 expire TIME_WAIT id=1 due=60010");
    audited.begin();
    audited.end(61_000, 51, 1);
    let (check, outcome) = audited.check(Checked::Expiries, Ledger::default());
    assert_eq!((check.seen_min, check.kernel, outcome), (1, 1, CheckOutcome::Agrees));
    assert_eq!(audited.check(Checked::Sockstat, Ledger::default()).1, CheckOutcome::Agrees);
}

#[test]
fn namespaces_come_and_go() {
    let mut audited = Audited::new(TwCounts::Beginnings);
    audited.see("0 seeded");
    audited.begin();
    // It is not there yet.
    audited.audit.end_reading(&Reading::default());
    audited.see(&begins(10, 1));
    audited.begin();
    audited.end(20, 1, 1);
    assert_eq!(audited.check(Checked::Entries, Ledger::default()).1, CheckOutcome::Agrees);
    // It is gone, and what was seen of it is not held against the others.
    audited.begin();
    audited.audit.end_reading(&Reading::default());
    let report = audited.audit.report(&Ledger::default());
    assert_eq!(report.checks, [], "nothing agrees with nothing");
    assert!(report.why_not.is_some_and(|why_not| why_not.contains("could be read")));
}

/// What only a socket keeps cannot be read; its mini-sockets are not held against the counters of others.
#[test]
fn a_namespace_that_cannot_be_read_is_left_out() {
    let mut audited = Audited::new(TwCounts::Beginnings);
    audited.see("0 seeded");
    audited.begin();
    audited.end(5, 0, 0);
    audited.see(&begins(10, 1));
    audited.see("12 arm TIME_WAIT id=2 era=9");
    audited.begin();
    audited.end(20, 1, 1);
    let (check, outcome) = audited.check(Checked::Sockstat, Ledger::default());
    assert_eq!((check.seen_max, check.kernel, outcome), (1, 1, CheckOutcome::Agrees));
    assert_eq!(audited.audit.report(&Ledger::default()).unread, 1);
}

impl Audited {
    /// Between two readings of nothing.
    fn told(story: &str, kernel: Opens) -> Self {
        let mut audited = Self::new(TwCounts::Beginnings);
        audited.see("0 seeded");
        audited.begin();
        audited.read(1, Opens::default());
        audited.see(story);
        audited.begin();
        audited.read(100_000, kernel);
        audited
    }

    fn read(&mut self, ms: u64, opens: Opens) {
        let counts = KernelCounts {
            netns: NetnsId::new(1, 0),
            read_ns: (ms * MS, ms * MS),
            opens: Some(opens),
            ..KernelCounts::default()
        };
        self.audit.end_reading(&Reading { namespaces: vec![counts], unreadable: 0, ..Reading::default() });
    }
}

/// What each story makes the kernel count (`tcp_connect`, `tcp_done`, `tcp_check_req`, `tcp_set_state`), at least and at most.
#[test]
fn opens_failures_and_resets_are_those_that_the_kernel_counts() {
    let connects = "10 state CLOSE SYN_SENT lport=0 by=curl\n";
    for (story, active, failed, resets) in [
        (format!("{connects}11 state SYN_SENT ESTABLISHED"), (1, 1), (0, 0), 0),
        // Refused, timed out, destroyed.
        (format!("{connects}11 state SYN_SENT CLOSE err=111"), (1, 1), (1, 1), 0),
        (format!("{connects}9000 state SYN_SENT CLOSE err=110 unsent"), (1, 1), (1, 1), 0),
        // No port, no route: before the SYN. And closed by its process after it.
        (format!("{connects}10 state SYN_SENT CLOSE by=curl unsent"), (0, 0), (0, 0), 0),
        (format!("{connects}20 state SYN_SENT CLOSE by=curl"), (1, 1), (0, 0), 0),
        // By a worker of the kernel, as of Multipath TCP.
        (format!("{connects}20 state SYN_SENT CLOSE"), (1, 1), (0, 1), 0),
        // Its SYN waits for data, and may never come; restored, it needs none.
        ("10 state CLOSE SYN_SENT deferrable by=curl".to_owned(), (0, 1), (0, 0), 0),
        (
            "10 state CLOSE SYN_SENT deferrable by=curl\n20 state SYN_SENT CLOSE by=curl unsent".to_owned(),
            (0, 0),
            (0, 0),
            0,
        ),
        ("10 state CLOSE SYN_SENT deferrable by=curl\n20 state SYN_SENT ESTABLISHED".to_owned(), (1, 1), (0, 0), 0),
        ("10 state CLOSE SYN_SENT repair by=criu\n10 state SYN_SENT ESTABLISHED by=criu".to_owned(), (0, 0), (0, 0), 0),
        // To itself.
        (format!("{connects}10 state SYN_SENT SYN_RECV\n10 state SYN_RECV ESTABLISHED"), (1, 1), (0, 0), 0),
        // It is older, and may have sent its SYN before or after.
        ("20 state SYN_SENT ESTABLISHED".to_owned(), (0, 1), (0, 0), 0),
        // In SYN_RECV: reset by the client, given up, and gone for a reason that is not known.
        ("10 syn\n20 drop stack=inet_csk_reqsk_queue_drop,tcp_check_req,tcp_v4_rcv".to_owned(), (0, 0), (1, 1), 0),
        ("10 syn\n20 give-up\n21 tick".to_owned(), (0, 0), (0, 0), 0),
        // A socket that could not be made; and a child of TCP Fast Open that is reset, which counts twice.
        ("10 state LISTEN SYN_RECV sk=5 id=0\n10 state SYN_RECV CLOSE sk=5".to_owned(), (0, 0), (0, 1), 0),
        ("10 state LISTEN SYN_RECV sk=5 id=0\n10 state SYN_RECV CLOSE sk=5 err=104".to_owned(), (0, 0), (1, 2), 0),
        // Lost, whoever did it.
        ("10 state ESTABLISHED CLOSE err=104".to_owned(), (0, 0), (0, 0), 1),
        ("10 state CLOSE_WAIT CLOSE by=curl".to_owned(), (0, 0), (0, 0), 1),
        ("10 state FIN_WAIT1 CLOSE err=104\n20 state LAST_ACK CLOSE id=2".to_owned(), (0, 0), (0, 0), 0),
    ] {
        for most in [false, true] {
            let pick = |(least, greatest): (u64, u64)| if most { greatest } else { least };
            let kernel = Opens { active: pick(active), failed: pick(failed), resets };
            let audited = Audited::told(&story, kernel);
            let of = |what| audited.check(what, Ledger::default());
            let seen = |what| (of(what).0.seen_min, of(what).0.seen_max);
            assert_eq!((seen(Checked::ActiveOpens), seen(Checked::AttemptFails)), (active, failed), "{story}");
            assert_eq!(seen(Checked::EstabResets), (resets, resets), "{story}");
            for what in [Checked::ActiveOpens, Checked::AttemptFails, Checked::EstabResets] {
                assert_eq!(of(what).1, CheckOutcome::Agrees, "{story}");
            }
        }
        let more = Opens { active: active.1 + 1, failed: failed.1 + 1, resets: resets + 1 };
        let audited = Audited::told(&story, more);
        for what in [Checked::ActiveOpens, Checked::AttemptFails, Checked::EstabResets] {
            assert_eq!(audited.check(what, Ledger::default()).1, CheckOutcome::Differs(1), "{story}");
        }
    }
}

/// A SYN that waits for data at the first reading may be sent until the second.
#[test]
fn what_waited_at_the_first_reading_may_count_later() {
    for sent in [0, 1] {
        let mut audited = Audited::new(TwCounts::Beginnings);
        audited.see("0 seeded\n5 state CLOSE SYN_SENT deferrable by=curl");
        audited.begin();
        audited.read(1_000, Opens::default());
        if sent == 1 {
            audited.see("2000 state SYN_SENT ESTABLISHED");
        }
        audited.begin();
        audited.read(9_000, Opens { active: sent, ..Opens::default() });
        assert_eq!(audited.check(Checked::ActiveOpens, Ledger::default()).1, CheckOutcome::Agrees);
    }
}

/// A connect() that is under way when the counters are read, and then finds no port, is none that the kernel counts.
#[test]
fn what_fails_while_the_counters_are_read_may_not_count() {
    let mut audited = Audited::new(TwCounts::Beginnings);
    audited.see("0 seeded");
    audited.begin();
    audited.read(1_000, Opens::default());
    audited.begin();
    audited.see("8000 state CLOSE SYN_SENT lport=0 by=curl\n9001 state SYN_SENT CLOSE by=curl unsent");
    audited.read(9_001, Opens::default());
    assert_eq!(audited.check(Checked::ActiveOpens, Ledger::default()).1, CheckOutcome::Agrees);
}

/// Each counter of connections that are given up has its reasons; an end that is not known may be in any of them, and RSTs may be more.
#[test]
fn connections_that_are_given_up_are_those_that_the_kernel_counts() {
    use Abort::{OnClose, OnData, OnLinger, OnMemory, OnTimeout};
    let [data, close, memory, timeout, linger] = [OnData, OnClose, OnMemory, OnTimeout, OnLinger].map(Some);
    for (end, abort, rst) in [
        ("ESTABLISHED CLOSE stack=tcp_disconnect,__tcp_close", data, 1),
        ("SYN_SENT CLOSE stack=tcp_disconnect,__tcp_close", data, 0),
        ("LAST_ACK CLOSE stack=tcp_disconnect,__tcp_close", data, 0),
        ("ESTABLISHED CLOSE stack=tcp_disconnect", None, 1),
        ("ESTABLISHED CLOSE stack=tcp_disconnect,__tcp_close repairing", None, 0),
        ("CLOSE_WAIT CLOSE stack=__tcp_close", close, 1),
        ("FIN_WAIT1 CLOSE stack=__tcp_close orphan", memory, 1),
        ("FIN_WAIT1 CLOSE stack=__tcp_close orphan netns-gone", None, 0),
        ("LAST_ACK CLOSE stack=tcp_done,tcp_out_of_resources orphan", None, 0),
        ("LAST_ACK CLOSE stack=tcp_done,tcp_out_of_resources,tcp_retransmit_timer orphan", memory, 0),
        ("FIN_WAIT2 CLOSE stack=__tcp_close orphan no-linger2", linger, 1),
        ("FIN_WAIT2 CLOSE stack=tcp_rcv_state_process orphan no-linger2", data, 1),
        ("FIN_WAIT2 CLOSE stack=tcp_keepalive_timer orphan no-linger2", None, 1),
        ("FIN_WAIT2 CLOSE stack=tcp_keepalive_timer orphan room", None, 1),
        ("FIN_WAIT1 CLOSE stack=tcp_reset,tcp_rcv_state_process orphan err=104", data, 1),
        ("ESTABLISHED CLOSE stack=tcp_keepalive_timer err=110", timeout, 1),
        ("ESTABLISHED CLOSE stack=tcp_retransmit_timer err=110", timeout, 0),
        ("SYN_SENT CLOSE stack=tcp_retransmit_timer err=110", timeout, 0),
        ("ESTABLISHED CLOSE stack=tcp_abort err=103", None, 1),
        ("SYN_SENT CLOSE stack=tcp_abort err=103", None, 0),
        ("ESTABLISHED CLOSE stack=tcp_disconnect,inet_child_forget,inet_csk_listen_stop", None, 1),
        ("ESTABLISHED CLOSE stack=tcp_reset,tcp_validate_incoming err=104", None, 0),
    ] {
        let state = end.split(' ').next().unwrap();
        let read = |aborts: [u64; Abort::ALL.len()], rsts| {
            let mut audited = Audited::new(TwCounts::Beginnings);
            audited.see(&format!("0 seed {state}\n0 seeded"));
            audited.begin();
            audited.end_with(KernelCounts { aborts: Some([0; Abort::ALL.len()]), rsts: Some(0), ..at(1_000) });
            audited.see(&format!("10000 state {end}"));
            audited.begin();
            audited.end_with(KernelCounts { aborts: Some(aborts), rsts: Some(rsts), ..at(100_000) });
            audited
        };
        let kernel = Abort::ALL.map(|counter| u64::from(Some(counter) == abort));
        // Somebody sent a segment to a port that is closed.
        let audited = read(kernel, rst + 7);
        for counter in Abort::ALL {
            let (check, outcome) = audited.check(Checked::Aborts(counter), Ledger::default());
            let of = u64::from(Some(counter) == abort);
            // Not one of the functions that tell is on that stack.
            let most = if end.contains("tcp_done,tcp_out_of_resources orphan") { 1 } else { of };
            assert_eq!(
                (check.seen_min, check.seen_max, outcome),
                (of, most, CheckOutcome::Agrees),
                "{end} {counter:?}"
            );
        }
        let (check, outcome) = audited.check(Checked::ResetsSent, Ledger::default());
        assert_eq!((check.seen_min, check.seen_max, outcome), (rst, u64::MAX, CheckOutcome::Agrees), "{end}");
        if rst > 0 {
            let fewer = read(kernel, 0).check(Checked::ResetsSent, Ledger::default());
            assert_eq!(fewer.1, CheckOutcome::Differs(1), "{end}");
        }
    }
}

#[test]
fn nothing_compared_is_said_so() {
    let audit = Audit::new(None, Some("there is no kernel".to_owned()));
    let AuditReport { checks, why_not, .. } = audit.report(&Ledger::default());
    assert_eq!((checks.len(), why_not.as_deref()), (0, Some("there is no kernel")));
}
