//! One JSON document a report, each on a line. The keys and their units are in docs/output.md; what is not known is `null`.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::{super::key::Key, Moment};
use crate::{
    aggregate::{age::AgeSummary, by::GroupBy},
    plain,
    states::report::{StatesGroup, StatesReport, StatesRow, TimeLeft},
    tcp::State,
    view::schema,
};

/// A number of milliseconds in nanoseconds, the unit of all times in JSON.
const MS: u64 = 1_000_000;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    time: String,
    sockets: u64,
    #[serde(serialize_with = "states")]
    states: &'a [StatesRow],
    fin_wait2_minis: u64,
    time_wait_left: Left,
    by: &'a [GroupBy],
    groups: Vec<GroupCounts<'a>>,
    namespaces: Namespaces,
    not_counted: u64,
    older_than_ns: Option<u64>,
    age_unknown: Option<u64>,
    owners: Option<OwnersJson>,
}

#[derive(Serialize)]
struct StateCounts {
    sockets: Option<u64>,
    ipv4: Option<u64>,
    ipv6: Option<u64>,
    share: Option<f64>,
    age: AgeSummary,
}

#[derive(Serialize)]
struct Left {
    min_ns: Option<u64>,
    p50_ns: Option<u64>,
    max_ns: Option<u64>,
    within: Vec<WithinJson>,
    over: u64,
}

#[derive(Serialize)]
struct WithinJson {
    within_ns: u64,
    count: u64,
}

#[derive(Serialize)]
struct GroupCounts<'a> {
    /// `None`: all others.
    key: Option<Key<'a>>,
    groups: u64,
    sockets: u64,
    #[serde(serialize_with = "group_states")]
    states: (&'a [State], &'a [u64]),
    oldest_at_least_ns: Option<u64>,
}

#[derive(Serialize)]
struct Namespaces {
    read: u32,
    unreadable: u32,
    unseen: bool,
    inconsistent: u32,
}

#[derive(Serialize)]
struct OwnersJson {
    none: u64,
    none_time_wait: u64,
    unknown: u64,
    shared: u64,
}

/// Writes it.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &StatesReport, moment: Moment<'_>, out: &mut dyn Write) -> io::Result<()> {
    let extent = &report.extent;
    let rows = &report.groups;
    let others = (rows.folded > 0).then(|| of_group(report, moment, &rows.others, rows.folded));
    let document = Document {
        schema: schema::STATES,
        time: format!("{:.9}", moment.time),
        sockets: report.total,
        states: &report.states,
        fin_wait2_minis: report.orphans,
        time_wait_left: left(&report.time_left),
        by: &report.by,
        groups: rows.rows.iter().map(|row| of_group(report, moment, row, 1)).chain(others).collect(),
        namespaces: Namespaces {
            read: extent.namespaces,
            unreadable: extent.unreadable,
            unseen: extent.unseen,
            inconsistent: extent.inconsistent,
        },
        not_counted: extent.odd,
        older_than_ns: report.older_than_ms.map(|ms| ms.saturating_mul(MS)),
        age_unknown: report.older_than_ms.map(|_| report.ageless),
        owners: report.holders.map(|holders| OwnersJson {
            none: holders.without_file,
            none_time_wait: holders.of_time_wait,
            unknown: holders.unknown,
            shared: holders.shared,
        }),
    };
    plain::json(&mut *out, &document)?;
    out.write_all(b"\n")
}

fn of_group<'a>(report: &'a StatesReport, moment: Moment<'a>, group: &'a StatesGroup, groups: u64) -> GroupCounts<'a> {
    GroupCounts {
        key: (!group.key.is_empty()).then_some(Key { by: &report.by, values: &group.key, names: moment.names }),
        groups,
        sockets: group.total,
        states: (&report.groups.states, &group.states),
        oldest_at_least_ns: group.oldest_ms.map(|ms| u64::from(ms) * MS),
    }
}

fn left(left: &TimeLeft) -> Left {
    let ns = |ms: Option<u32>| ms.map(|ms| u64::from(ms) * MS);
    Left {
        min_ns: ns(left.least_ms),
        p50_ns: ns(left.median_ms),
        max_ns: ns(left.most_ms),
        within: left
            .within
            .iter()
            .map(|within| WithinJson { within_ns: u64::from(within.bound_ms) * MS, count: within.count })
            .collect(),
        over: left.over,
    }
}

/// Every state is there, also one in which no socket is.
fn states<S: Serializer>(rows: &[StatesRow], serializer: S) -> Result<S::Ok, S::Error> {
    let counts = |row: &StatesRow| StateCounts {
        sockets: row.sockets,
        ipv4: row.v4,
        ipv6: row.v6,
        share: row.share,
        age: row.age,
    };
    serializer.collect_map(rows.iter().map(|row| (row.state, counts(row))))
}

fn group_states<S: Serializer>((states, counts): &(&[State], &[u64]), serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(states.iter().zip(*counts))
}
