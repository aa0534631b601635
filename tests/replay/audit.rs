//! The audit: what was seen by the moment in which the kernel was read, however late that is known, and what explains a
//! difference.

use tcpwait::{
    aggregate::audit::{Audit, AuditReport, Check, Checked, KernelCounts, Outcome, Reading, TwCounts},
    ledger::{Ledger, LostRecords},
    lifecycle::{Lifecycle, SegmentSource},
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
        self.audit.end_reading(&Reading { namespaces: vec![counts], unreadable: 0 });
    }

    fn check(&self, what: Checked, ledger: Ledger) -> (Check, Outcome) {
        let checks = self.audit.report(&ledger).checks;
        *checks.iter().find(|(check, _)| check.what == what).unwrap_or_else(|| panic!("no {what:?} in {checks:?}"))
    }
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
    assert_eq!((check.seen_min, check.seen_max, check.kernel, outcome), (2, 2, 2, Outcome::Agrees));
    let (check, outcome) = audited.check(Checked::Sockstat, Ledger::default());
    assert_eq!((check.seen_min, check.seen_max, check.kernel, outcome), (4, 4, 4, Outcome::Agrees));
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
        assert_eq!((check.seen_min, check.seen_max, outcome), (0, 1, Outcome::Agrees));
        assert_eq!(audited.check(Checked::Sockstat, Ledger::default()).1, Outcome::Agrees);
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
    assert_eq!(audited.check(Checked::Entries, lost(3)).1, Outcome::Lost(3));
    assert_eq!(audited.check(Checked::Entries, lost(2)).1, Outcome::Differs(3));
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
    assert_eq!((check.seen_min, check.kernel, outcome), (1, 1, Outcome::Agrees));
    assert_eq!(audited.check(Checked::Sockstat, Ledger::default()).1, Outcome::Agrees);
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
    assert_eq!(audited.check(Checked::Entries, Ledger::default()).1, Outcome::Agrees);
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
    assert_eq!((check.seen_max, check.kernel, outcome), (1, 1, Outcome::Agrees));
    assert_eq!(audited.audit.report(&Ledger::default()).unread, 1);
}

#[test]
fn nothing_compared_is_said_so() {
    let audit = Audit::new(None, Some("there is no kernel".to_owned()));
    let AuditReport { checks, why_not, .. } = audit.report(&Ledger::default());
    assert_eq!((checks.len(), why_not.as_deref()), (0, Some("there is no kernel")));
}
