//! One JSON document a report, each on a line. The keys and their units are in docs/output.md; what is not known is `null`.

mod account;
mod audit;
mod ends;
mod findings;
mod handshake;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
};

use serde::{Serialize, Serializer};

pub(in crate::view) use self::account::{LedgerJson, account};
use self::{
    audit::{AuditJson, audit},
    ends::{Ended, TimesJson},
    findings::{FindingJson, MadeBy, Waiting},
    handshake::{ConnectsJson, FailuresJson, SynRecvJson, connects, failures, syn_recv},
};
use super::super::{ReportView, ViewContext, json::rfc3339, key::Key};
use crate::{
    aggregate::{
        DwellSummary, HistogramSummary, Steady,
        age::AgeSummary,
        by::GroupBy,
        group_row::{ClosedFirst, GroupRow},
        report::{Exit, StatReport, StateRow},
        sample::Sample,
    },
    lifecycle::Reason,
    plain,
    tcp::State,
    view::schema,
};

/// The JSON view.
#[derive(Debug, Default)]
pub struct StatJson;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    time: Option<String>,
    begin: Option<String>,
    interval_ns: u64,
    #[serde(rename = "final")]
    is_final: bool,
    sample: Sample,
    findings: Vec<FindingJson>,
    waiting: Vec<Waiting>,
    #[serde(serialize_with = "states")]
    states: &'a [StateRow],
    time_wait: TimeWaitJson<'a>,
    #[serde(serialize_with = "exits")]
    exits: &'a [Exit],
    orphan_exits: BTreeMap<&'static str, u64>,
    syn_recv: SynRecvJson,
    /// The same under the name that it had before `schema`; goes away with the next number.
    half_open: SynRecvJson,
    ends: BTreeMap<&'static str, Ended<DwellSummary>>,
    failures: FailuresJson,
    connects: ConnectsJson,
    transitions: Vec<TransitionJson>,
    by: &'a [GroupBy],
    /// Names by inode number.
    namespaces: BTreeMap<String, String>,
    groups: Vec<GroupJson<'a>>,
    groups_folded: u64,
    ledger: LedgerJson,
    audit: AuditJson<'a>,
}

#[derive(Serialize)]
struct TimeWaitJson<'a> {
    entered_per_s: Option<f64>,
    left_per_s: Option<f64>,
    restarts: u64,
    restart_causes: BTreeMap<&'static str, u64>,
    overflows: u64,
    made: MadeBy,
    closed_first: ClosedFirstJson,
    hz: Option<u64>,
    histogram: &'a HistogramSummary,
    steady: Steady,
}

#[derive(Serialize)]
struct StateCounts {
    now: Option<u64>,
    entered: u64,
    left: u64,
    /// Whether one of these is at least.
    at_least: bool,
    /// Whether one of these is an estimate.
    estimate: bool,
    dwell: DwellSummary,
    age: AgeSummary,
}

#[derive(Serialize)]
struct ExitCounts {
    count: u64,
    per_s: Option<f64>,
    dwell: DwellSummary,
}

#[derive(Serialize)]
struct TransitionJson {
    from: Option<State>,
    to: State,
    count: u64,
    kernel: Option<u64>,
}

#[derive(Serialize)]
struct ClosedFirstJson {
    this_side: u64,
    peer: u64,
    both: u64,
    neither: u64,
}

impl From<ClosedFirst> for ClosedFirstJson {
    fn from(closed: ClosedFirst) -> Self {
        Self { this_side: closed.this_side, peer: closed.peer, both: closed.both, neither: closed.neither }
    }
}

#[derive(Serialize)]
struct GroupJson<'a> {
    /// `None`: all others.
    key: Option<Key<'a>>,
    groups: u64,
    now: u64,
    entered: u64,
    share: Option<f64>,
    per_s: Option<f64>,
    left: u64,
    exits: BTreeMap<&'static str, u64>,
    closed_first: ClosedFirstJson,
    ends: BTreeMap<&'static str, Ended<TimesJson>>,
    top_peer: Option<TopPeer>,
    dwell: DwellSummary,
}

#[derive(Serialize)]
struct TopPeer {
    addr: IpAddr,
    entered: u64,
    only: bool,
}

impl ReportView for StatJson {
    fn report(&mut self, report: &StatReport, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        plain::json(&mut *out, &document(report, context))?;
        out.write_all(b"\n")
    }
}

/// What a report is in JSON.
pub(super) fn document<'a>(report: &'a StatReport, context: ViewContext<'a>) -> impl Serialize {
    let time_wait = &report.time_wait;
    let rows = &report.groups;
    let group = |row| group(row, report, context);
    let others = (rows.grouped > 0).then(|| GroupJson { groups: rows.grouped, ..group(&rows.others) });
    Document {
        schema: schema::STAT,
        time: rfc3339(context, report.end_ns),
        begin: rfc3339(context, report.begin_ns),
        interval_ns: report.end_ns.saturating_sub(report.begin_ns),
        is_final: report.is_final,
        sample: report.sample,
        findings: findings::findings(report, context),
        waiting: findings::waiting(report, context),
        states: &report.states,
        time_wait: TimeWaitJson {
            entered_per_s: time_wait.entered_per_s,
            left_per_s: time_wait.left_per_s,
            restarts: time_wait.restarts,
            restart_causes: time_wait.restart_causes.iter().map(|(cause, count)| (cause.name(), *count)).collect(),
            overflows: time_wait.overflows,
            made: findings::made_by(report.time_waits),
            closed_first: time_wait.closed.into(),
            hz: time_wait.hz.map(|(hz, _)| hz),
            histogram: &time_wait.histogram,
            steady: time_wait.steady,
        },
        exits: &time_wait.exits,
        orphan_exits: by_reason(&time_wait.orphans),
        syn_recv: syn_recv(report),
        half_open: syn_recv(report),
        ends: ends::ends(&report.ends),
        failures: failures(report, context),
        connects: connects(report, context),
        transitions: report
            .transitions
            .iter()
            .map(|row| TransitionJson { from: row.from, to: row.to, count: row.count, kernel: row.kernel })
            .collect(),
        by: &report.by,
        namespaces: context.names.namespaces().map(|(netns, name)| (netns.to_string(), name.into_owned())).collect(),
        groups: rows.groups.iter().map(group).chain(others).collect(),
        groups_folded: rows.folded,
        ledger: account(&report.ledger),
        audit: audit(&report.audit, context),
    }
}

/// Every state is there, also one in which nothing happened.
fn states<S: Serializer>(rows: &[StateRow], serializer: S) -> Result<S::Ok, S::Error> {
    let counts = |row: &StateRow| StateCounts {
        now: row.now,
        entered: row.entered.count,
        left: row.left.count,
        at_least: row.entered.at_least || row.left.at_least,
        estimate: row.entered.estimate || row.left.estimate,
        dwell: row.dwell,
        age: row.age,
    };
    serializer.collect_map(rows.iter().map(|row| (row.state, counts(row))))
}

/// Every reason for which TIME_WAIT can end is there.
fn exits<S: Serializer>(rows: &[Exit], serializer: S) -> Result<S::Ok, S::Error> {
    let reasons = Reason::OF_TIME_WAIT.into_iter();
    serializer.collect_map(reasons.map(|reason| {
        let row = rows.iter().find(|row| row.reason == reason);
        let counts = ExitCounts {
            count: row.map_or(0, |row| row.count),
            per_s: row.map_or(Some(0.0), |row| row.rate_per_s),
            dwell: row.map(|row| row.dwell).unwrap_or_default(),
        };
        (reason.name(), counts)
    }))
}

fn by_reason(counts: &[(Reason, u64)]) -> BTreeMap<&'static str, u64> {
    counts.iter().map(|(reason, count)| (reason.name(), *count)).collect()
}

fn group<'a>(row: &'a GroupRow, report: &'a StatReport, context: ViewContext<'a>) -> GroupJson<'a> {
    GroupJson {
        key: (!row.key.is_empty()).then_some(Key { by: &report.by, values: &row.key, names: context.names }),
        groups: 1,
        now: row.now,
        entered: row.entered,
        share: row.share,
        per_s: row.rate_per_s,
        left: row.left,
        exits: by_reason(&row.exits),
        closed_first: row.closed.into(),
        ends: ends::of_group(&row.ends),
        top_peer: row.peer.map(|peer| TopPeer { addr: peer.address, entered: peer.entered, only: peer.only }),
        dwell: row.dwell,
    }
}
