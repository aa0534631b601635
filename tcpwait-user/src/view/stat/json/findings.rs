//! What stands out in a report, and who waits for whom, for programs.

use serde::Serialize;

use super::super::{
    super::{ViewContext, failure::errno, key},
    findings::line,
};
use crate::{
    aggregate::{
        by::Value,
        census::{PlaceRow, TimeWaits},
        findings::StatFinding,
        report::StatReport,
    },
    tcp::{NetnsId, State},
};

/// One thing that stands out; what does not apply is `None`.
#[derive(Serialize)]
pub(super) struct FindingJson {
    finding: &'static str,
    count: u64,
    /// How many more than at the beginning.
    growth: Option<i64>,
    state: Option<State>,
    process: Option<String>,
    service: Option<String>,
    netns: Option<NetnsId>,
    call: Option<&'static str>,
    why: Option<&'static str>,
    errno: Option<String>,
    oldest_ns: Option<u64>,
    available: Option<u64>,
    in_ns: Option<u64>,
    /// As people read it.
    text: String,
}

/// Sockets that wait for somebody.
#[derive(Serialize)]
pub(super) struct Waiting {
    state: State,
    service: Option<String>,
    netns: NetnsId,
    now: u64,
    growth: Option<i64>,
    unanswered: Option<u64>,
    oldest_ns: Option<u64>,
    oldest_exact: bool,
    process: Option<String>,
    process_has_all: Option<bool>,
}

/// Mini-sockets in TIME_WAIT by the side that made the connection.
#[derive(Serialize)]
pub(super) struct MadeBy {
    here: u64,
    accepted: u64,
    unknown: u64,
}

pub(super) fn made_by(time_waits: TimeWaits) -> MadeBy {
    let TimeWaits { outgoing, accepted, unknown } = time_waits;
    MadeBy { here: outgoing, accepted, unknown }
}

pub(super) fn findings(report: &StatReport, context: ViewContext<'_>) -> Vec<FindingJson> {
    let found = |finding: &StatFinding| {
        let text = line(finding, report, context);
        let none = FindingJson {
            finding: finding.name(),
            count: finding.weight(),
            growth: None,
            state: None,
            process: None,
            service: None,
            netns: None,
            call: None,
            why: None,
            errno: None,
            oldest_ns: None,
            available: None,
            in_ns: None,
            text,
        };
        match finding {
            StatFinding::Failed(row) => FindingJson {
                process: process(row.kind.comm.map(|comm| (comm, true))),
                service: Some(context.names.endpoint(row.kind.address, row.kind.port, row.kind.interface)),
                call: Some(row.kind.call.name()),
                why: Some(row.kind.why.name()),
                errno: errno(row.kind.errno).map(|errno| errno.to_string()),
                ..none
            },
            StatFinding::Ports { row, available, in_ns, .. } => {
                let to = &row.destination;
                FindingJson {
                    growth: row.growth,
                    process: process(row.owner),
                    service: Some(context.names.endpoint(to.raddr, to.rport, to.interface())),
                    netns: Some(to.netns),
                    available: Some(*available),
                    in_ns: *in_ns,
                    ..none
                }
            }
            StatFinding::Dropped { queue, owner, .. } => FindingJson {
                process: process(owner.map(|comm| (comm, true))),
                service: queue.map(|queue| format!(":{}", queue.port)),
                netns: queue.map(|queue| queue.netns),
                ..none
            },
            StatFinding::Unanswered(row) | StatFinding::Waiting(row) => FindingJson {
                growth: row.growth,
                state: Some(row.place.state),
                process: process(row.owner),
                service: service(row.place.service, context),
                netns: Some(row.place.netns),
                oldest_ns: row.oldest_ns,
                ..none
            },
            StatFinding::Cookies { .. } | StatFinding::Overflow { .. } | StatFinding::Ended(_) => none,
        }
    };
    report.findings.iter().map(found).collect()
}

pub(super) fn waiting(report: &StatReport, context: ViewContext<'_>) -> Vec<Waiting> {
    let waiting = |row: &PlaceRow| Waiting {
        state: row.place.state,
        service: service(row.place.service, context),
        netns: row.place.netns,
        now: row.now,
        growth: row.growth,
        unanswered: (row.place.state == State::SynSent).then_some(row.unanswered),
        oldest_ns: row.oldest_ns,
        oldest_exact: row.oldest_exact,
        process: process(row.owner),
        process_has_all: row.owner.map(|(_, all)| all),
    };
    report.places.iter().map(waiting).collect()
}

fn process(owner: Option<([u8; 16], bool)>) -> Option<String> {
    owner.map(|(comm, _)| key::comm_of(comm))
}

fn service(value: Value, context: ViewContext<'_>) -> Option<String> {
    (value != Value::Unknown).then(|| key::text(value, context.names))
}
