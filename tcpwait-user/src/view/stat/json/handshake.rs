//! Of a report: connections in SYN_RECV, calls that failed, and connects whose SYN was sent again.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use super::super::super::{ViewContext, failure::errno, key::comm_of};
use crate::{
    aggregate::{
        DwellSummary,
        connects::{self, ConnectCounts},
        failures::FailureRow,
        report::StatReport,
        syn_recv::SynRecvOutcome,
    },
    lifecycle::{Call, Reason, Why},
};

#[derive(Serialize)]
pub(super) struct SynRecvJson {
    outcomes: BTreeMap<&'static str, Outcome>,
    retransmits: u64,
    retransmitted: u64,
    without_request: u64,
    kernel: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Outcome {
    count: u64,
    dwell: DwellSummary,
}

/// Every outcome is there, also one that did not occur.
pub(super) fn syn_recv(report: &StatReport) -> SynRecvJson {
    let syn_recv = &report.syn_recv;
    let all = std::iter::once(None).chain(Reason::OF_SYN_RECV.map(Some));
    let outcome = |reason| {
        let found = syn_recv.outcomes.iter().find(|outcome| outcome.reason == reason).copied();
        let found = found.unwrap_or(SynRecvOutcome { reason, count: 0, dwell: DwellSummary::default() });
        (found.name(), Outcome { count: found.count, dwell: found.dwell })
    };
    SynRecvJson {
        outcomes: all.map(outcome).collect(),
        retransmits: syn_recv.retransmits,
        retransmitted: syn_recv.retransmitted,
        without_request: syn_recv.without_request,
        kernel: report.audit.unfollowed.iter().copied().collect(),
    }
}

#[derive(Serialize)]
pub(super) struct FailuresJson {
    total: u64,
    partial: bool,
    rows: Vec<Row>,
    others: u64,
}

#[derive(Serialize)]
struct Row {
    call: Call,
    why: Why,
    errno: Option<String>,
    comm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    addr: IpAddr,
    port: u16,
    count: u64,
}

pub(super) fn failures(report: &StatReport, context: ViewContext<'_>) -> FailuresJson {
    let row = |row: &FailureRow| Row {
        call: row.kind.call,
        why: row.kind.why,
        errno: errno(row.kind.errno),
        comm: row.kind.comm.map(comm_of),
        interface: row.kind.interface.map(|interface| context.names.interface(interface).into_owned()),
        addr: row.kind.address,
        port: row.kind.port,
        count: row.count,
    };
    let failures = &report.failures;
    FailuresJson {
        total: failures.total,
        partial: failures.partial,
        rows: failures.rows.iter().map(row).collect(),
        others: failures.others,
    }
}

#[derive(Serialize)]
pub(super) struct ConnectsJson {
    #[serde(flatten)]
    all: ConnectCounted,
    destinations: Vec<Destination>,
    others: u64,
}

#[derive(Serialize)]
struct ConnectCounted {
    left: u64,
    established: u64,
    syn_retransmits: u64,
    retransmitted: u64,
    soft_errors: u64,
    dwell: DwellSummary,
}

#[derive(Serialize)]
struct Destination {
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    addr: IpAddr,
    port: u16,
    #[serde(flatten)]
    counts: ConnectCounted,
}

pub(super) fn connects(report: &StatReport, context: ViewContext<'_>) -> ConnectsJson {
    let counted = |counts: &ConnectCounts| ConnectCounted {
        left: counts.left,
        established: counts.made,
        syn_retransmits: counts.syn_retransmits,
        retransmitted: counts.retransmitted,
        soft_errors: counts.soft_errors,
        dwell: counts.dwell,
    };
    let connects = &report.connects;
    let destination = |(to, counts): &(connects::ConnectDestination, ConnectCounts)| Destination {
        interface: to.interface.map(|interface| context.names.interface(interface).into_owned()),
        addr: to.address,
        port: to.port,
        counts: counted(counts),
    };
    ConnectsJson {
        all: counted(&connects.all),
        destinations: connects.rows.iter().map(destination).collect(),
        others: connects.others,
    }
}
