//! The ledger: what was seen, and what was lost, by cause.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::super::json::CutLine;
use crate::ledger::Ledger;

/// The ledger.
#[derive(Serialize)]
pub(in crate::view) struct LedgerJson {
    states_seen: Option<u64>,
    minis_entered: Option<u64>,
    filtered: Option<u64>,
    older_than_trace: Option<u64>,
    older_minis: Option<u64>,
    left_out: u64,
    followed_in_part: u64,
    undecided: u64,
    now_unsure: bool,
    lost: Lost,
    cut: Option<CutLine>,
    lossy: bool,
}

#[derive(Serialize)]
struct Lost {
    ring_buffer: Option<RingLosses>,
    recursion: Option<u64>,
    recursion_by_hook: Option<BTreeMap<&'static str, u64>>,
    unread: u64,
    unreadable: u64,
    undecodable: u64,
    impossible_times: u64,
    unmatched_ends: u64,
    unmatched_beginnings: u64,
    gaps: u64,
    unmatched_requests: u64,
    unmatched_overdue: u64,
}

#[derive(Serialize)]
struct RingLosses {
    states: u64,
    beginnings: u64,
    ends: u64,
    segments: u64,
    owners: u64,
    requests: u64,
    failures: u64,
}

/// The account of all losses.
pub(in crate::view) fn account(ledger: &Ledger) -> LedgerJson {
    let (tally, unmatched) = (&ledger.tally, ledger.tally.unmatched);
    LedgerJson {
        states_seen: ledger.states_seen,
        minis_entered: ledger.minis_entered,
        filtered: ledger.filtered,
        older_than_trace: (!ledger.older_unknown).then_some(tally.seeded),
        older_minis: (!ledger.older_unknown).then_some(tally.seeded_minis),
        left_out: ledger.left_out(),
        followed_in_part: tally.told_in_part.total(),
        undecided: ledger.undecided,
        now_unsure: ledger.now_unsure,
        lost: Lost {
            ring_buffer: ledger.lost_ring.map(|lost| RingLosses {
                states: lost.states,
                beginnings: lost.beginnings,
                ends: lost.ends,
                segments: lost.segments,
                owners: lost.owners,
                requests: lost.requests,
                failures: lost.failures,
            }),
            recursion: ledger.recursion(),
            recursion_by_hook: ledger.withheld.map(|_| {
                ledger
                    .withheld_by_hook()
                    .map(|(hook, count)| (hook.name(), count))
                    .filter(|(hook, _)| !hook.is_empty())
                    .collect()
            }),
            unread: ledger.unread(),
            unreadable: ledger.unreadable,
            undecodable: ledger.undecodable,
            impossible_times: ledger.recording.impossible_times,
            unmatched_ends: unmatched.ends,
            unmatched_beginnings: unmatched.beginnings,
            gaps: unmatched.gaps,
            unmatched_requests: unmatched.requests,
            unmatched_overdue: unmatched.overdue,
        },
        cut: ledger.recording.cut.as_ref().map(CutLine::of),
        lossy: ledger.is_lossy(),
    }
}
