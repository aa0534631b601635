//! The tables of a report.

use super::{
    super::{
        ViewContext,
        failure::{errno, short},
        key,
        table::{self, Column},
        units::{self, age, count, duration, known, percent, rate},
    },
    sentences::{closed_first, end_name, ended_by},
};
use crate::{
    aggregate::{
        Bucket, DwellSummary,
        amount::Amount,
        by::GroupBy,
        connects::{ConnectCounts, ConnectDestination},
        ends::EndRow,
        failures::FailureRow,
        group_row::GroupRow,
        report::{StatReport, TimeWait},
    },
    lifecycle::Reason,
    plain,
    tcp::State,
};

/// Width of the longest bar.
const BAR: u64 = 40;

/// Who: one row a group, and one for all others.
pub fn groups(report: &StatReport, context: ViewContext<'_>, width: usize) -> Vec<String> {
    let rows = group_rows(report);
    if rows.is_empty() { Vec::new() } else { table::lines(group_columns(report, &rows, context), width) }
}

/// The groups that have a row there, the last of which may be all others. Groups that TIME_WAIT has nothing to do with are for programs.
pub fn group_rows(report: &StatReport) -> Vec<&GroupRow> {
    let rows = &report.groups;
    let others = (rows.grouped > 0).then_some(&rows.others);
    let is_shown = |row: &&GroupRow| row.now > 0 || row.entered > 0 || row.left > 0;
    rows.groups.iter().chain(others).filter(is_shown).collect()
}

/// The columns of these.
pub fn group_columns(report: &StatReport, all: &[&GroupRow], context: ViewContext<'_>) -> Vec<Column> {
    let column = |cell: &dyn Fn(&GroupRow) -> String| all.iter().map(|row| cell(row)).collect::<Vec<_>>();
    // Whose an entry was that was lost, nobody knows.
    let TimeWait { entered, entered_seen, .. } = report.time_wait;
    let thinned = report.sample.is_thinned();
    let at_least = !thinned && (entered.at_least || entered.count > entered_seen);
    let seen = |number: String| if at_least { format!(">={number}") } else { about(thinned, number) };
    let count = |number: u64| about(thinned, count(number));
    let mut columns = keys(report, context, all);
    columns.extend([
        Column::number("ENTERED", 1, column(&|row| seen(units::count(row.entered)))),
        Column::number("%", 3, column(&|row| percent(row.share))),
        Column::number("IN/s", 6, column(&|row| seen(rate(row.rate_per_s)))),
        Column::number("NOW", 2, column(&|row| count(row.now))),
        Column::number("LEFT", 9, column(&|row| count(row.left))),
        Column::number("P50", 7, column(&|row| duration(row.dwell.p50_ns))),
        Column::number("MAX", 8, column(&|row| duration(row.dwell.max_ns))),
        Column::text("CLOSED FIRST", 4, column(&|row| closed_first(&row.closed).unwrap_or_else(|| "-".to_owned()))),
        Column::text("ENDED BY", 5, column(&|row| ended_by(&row.exits))),
    ]);
    columns
}

/// The columns that say whose a row is.
fn keys(report: &StatReport, context: ViewContext<'_>, rows: &[&GroupRow]) -> Vec<Column> {
    let is_shown = |by: GroupBy| by != GroupBy::Netns || !report.netns_implied || report.several_namespaces;
    let shown = report.by.iter().enumerate().filter(|(_, by)| is_shown(**by));
    let columns = shown.map(|(index, by)| {
        let cell = |row: &&GroupRow| match row.key.get(index) {
            Some(value) => key::text(*value, context.names),
            None if index == 0 => format!("other ({})", count(report.groups.grouped)),
            None => String::new(),
        };
        Column::text(by.name().to_uppercase(), 0, rows.iter().map(cell).collect())
    });
    columns.collect()
}

/// Who has connections that ended otherwise than by FINs on both sides: one row a group, the most first.
pub fn abnormal(report: &StatReport, context: ViewContext<'_>, width: usize) -> Vec<String> {
    let columns = abnormal_columns(report, context);
    if columns.is_empty() { Vec::new() } else { table::lines(columns, width) }
}

/// The columns of these; none where there are no rows.
pub fn abnormal_columns(report: &StatReport, context: ViewContext<'_>) -> Vec<Column> {
    let rows = &report.groups;
    let ended = |row: &GroupRow| row.ends.iter().filter(|end| end.is_abnormal()).map(|end| end.count).sum::<u64>();
    let mut all: Vec<&GroupRow> = rows.groups.iter().filter(|row| ended(row) > 0).collect();
    all.sort_by_key(|row| std::cmp::Reverse(ended(row)));
    all.extend((rows.grouped > 0).then_some(&rows.others).filter(|row| ended(row) > 0));
    if all.is_empty() {
        return Vec::new();
    }
    let count = |number: u64| about(report.sample.is_thinned(), count(number));
    let column = |cell: &dyn Fn(&GroupRow) -> String| all.iter().map(|row| cell(row)).collect::<Vec<_>>();
    let mut columns = keys(report, context, &all);
    columns.push(Column::number("ABNORMAL ENDS", 0, column(&|row| count(ended(row)))));
    columns.push(Column::text("MOSTLY BY", 1, column(&|row| mostly(&row.ends))));
    columns
}

/// `reset 60%`: the most frequent way in which the connections of a group ended otherwise than by FINs on both sides.
fn mostly(rows: &[EndRow]) -> String {
    let abnormal = || rows.iter().filter(|row| row.is_abnormal());
    let total: u64 = abnormal().map(|row| row.count).sum();
    match abnormal().max_by_key(|row| row.count) {
        None => "-".to_owned(),
        Some(most) if most.count == total => end_name(most.reason, most.detail),
        Some(most) => {
            format!("{} {}", end_name(most.reason, most.detail), percent(Some(most.count as f64 / total as f64)))
        }
    }
}

/// Calls that failed: one row for those of one kind.
pub fn failures(report: &StatReport, context: ViewContext<'_>, width: usize) -> Vec<String> {
    if report.failures.total == 0 { Vec::new() } else { table::lines(failure_columns(report, context), width) }
}

/// The columns of these: a row for each kind, and one for all others if there are any.
pub fn failure_columns(report: &StatReport, context: ViewContext<'_>) -> Vec<Column> {
    let failures = &report.failures;
    let others = (failures.others > 0).then_some(failures.others);
    let column = |cell: &dyn Fn(&FailureRow) -> String, other: &dyn Fn(u64) -> String| {
        failures.rows.iter().map(cell).chain(others.map(other)).collect::<Vec<_>>()
    };
    let nothing = |_| String::new();
    let why = |row: &FailureRow| match errno(row.kind.errno) {
        Some(errno) => format!("{errno}: {}", short(row.kind.why)),
        None => short(row.kind.why).to_owned(),
    };
    vec![
        Column::text("FAILED", 0, column(&|row| row.kind.call.name().to_owned(), &|_| "other".to_owned())),
        Column::number("COUNT", 0, column(&|row| count(row.count), &count)),
        Column::text(
            "PROCESS",
            0,
            column(&|row| row.kind.comm.map_or("-".to_owned(), |comm| plain::column(&key::comm_of(comm))), &nothing),
        ),
        Column::text("ADDRESS", 0, column(&|row| at(row, context), &nothing)),
        Column::text("WHY", 0, column(&why, &nothing)),
    ]
}

fn at(row: &FailureRow, context: ViewContext<'_>) -> String {
    plain::column(&context.names.endpoint(row.kind.address, row.kind.port, row.kind.interface))
}

/// Connects whose SYN was sent again: one row a destination.
pub fn connects(report: &StatReport, context: ViewContext<'_>, width: usize) -> Vec<String> {
    if report.connects.all.retransmitted == 0 {
        Vec::new()
    } else {
        table::lines(connect_columns(report, context), width)
    }
}

/// The columns of these.
pub fn connect_columns(report: &StatReport, context: ViewContext<'_>) -> Vec<Column> {
    let connects = &report.connects;
    let count = |number: u64| about(report.sample.is_thinned(), count(number));
    let others = (connects.others > 0).then_some(connects.others);
    let nothing = |_| String::new();
    let column = |cell: &dyn Fn(&ConnectCounts) -> String, other: &dyn Fn(u64) -> String| {
        connects.rows.iter().map(|(_, counts)| cell(counts)).chain(others.map(other)).collect::<Vec<_>>()
    };
    let to = |(to, _): &(ConnectDestination, ConnectCounts)| {
        plain::column(&context.names.endpoint(to.address, to.port, to.interface))
    };
    vec![
        Column::text(
            "SYN RETRANSMITTED TO",
            0,
            connects.rows.iter().map(to).chain(others.map(|_| "other".to_owned())).collect(),
        ),
        Column::number("CONNECTS", 1, column(&|row| count(row.left), &nothing)),
        Column::number("RETRANS", 0, column(&|row| count(row.retransmitted), &count)),
        Column::number("SYNS", 2, column(&|row| count(row.syn_retransmits), &nothing)),
        Column::number("MADE AFTER P50", 3, column(&|row| duration(row.dwell.p50_ns), &nothing)),
        Column::number("MAX", 4, column(&|row| duration(row.dwell.max_ns), &nothing)),
    ]
}

/// How connections ended that did not go through TIME_WAIT, if any of them did otherwise than with the last ACK. (How TIME_WAIT and in SYN_RECV
/// connections end is with their states.)
pub fn ends(report: &StatReport, width: usize) -> Vec<String> {
    let columns = end_columns(report);
    if columns.is_empty() { Vec::new() } else { table::lines(columns, width) }
}

/// The columns of these; none where there are no rows.
pub fn end_columns(report: &StatReport) -> Vec<Column> {
    let of_connections = |row: &&EndRow| !matches!(row.from, Some(State::TimeWait | State::SynRecv | State::Listen));
    let rows: Vec<&EndRow> = report.ends.rows.iter().filter(of_connections).collect();
    if rows.iter().all(|row| row.reason == Reason::Closed && row.detail.is_none()) {
        return Vec::new();
    }
    let column = |cell: &dyn Fn(&EndRow) -> String| rows.iter().map(|row| cell(row)).collect::<Vec<_>>();
    let count = |number: u64| about(report.sample.is_thinned(), count(number));
    let often = |row: &EndRow| match row.times.shared {
        Some(shared) => format!("{}x {}", count(shared.count), duration(Some(shared.ns))),
        None => String::new(),
    };
    // Such a call never became a connection.
    let name = |row: &EndRow| match row.reason {
        Reason::Failed => "connect() failed".to_owned(),
        _ => end_name(row.reason, row.detail),
    };
    let mut columns = vec![
        Column::text("CONNECTIONS ENDED BY", 0, column(&name)),
        Column::text("IN", 0, column(&|row| row.from.map_or("?", |from| from.name()).to_owned())),
        Column::number("COUNT", 0, column(&|row| count(row.count))),
        Column::number("SHORTEST", 3, column(&|row| duration(row.times.min_ns))),
        Column::number("MEAN", 2, column(&|row| duration(row.times.mean_ns))),
        Column::number("LONGEST", 3, column(&|row| duration(row.times.max_ns))),
        Column::text("MANY AFTER", 1, column(&often)),
    ];
    columns.retain(Column::has_values);
    columns
}

/// How long sockets stay where; below SYN_RECV, what became of it; below TIME_WAIT, how it was left. States in which nothing is and nothing happened are left out.
pub fn states(report: &StatReport, width: usize) -> Vec<String> {
    table::lines(state_columns(report).1, width)
}

/// The columns of these, and the state of each row; `None` of the rows below a state.
pub fn state_columns(report: &StatReport) -> (Vec<Option<State>>, Vec<Column>) {
    struct Row {
        state: Option<State>,
        name: String,
        now: String,
        entered: String,
        left: String,
        per_s: String,
        dwell: DwellSummary,
        age: [String; 2],
    }
    let thinned = report.sample.is_thinned();
    let count = |number: u64| about(thinned, count(number));
    let mut rows = Vec::new();
    for state in &report.states {
        let idle = state.now.unwrap_or_default() == 0 && state.entered.count == 0 && state.left.count == 0;
        // Its sockets are not followed.
        if idle || state.state == State::Close {
            continue;
        }
        let [oldest, p50, _] = age(&state.age);
        rows.push(Row {
            state: Some(state.state),
            name: state.state.name().to_owned(),
            now: about(thinned && state.state != State::Listen && state.now.is_some(), known(state.now)),
            entered: amount(state.entered),
            left: amount(state.left),
            per_s: String::new(),
            dwell: state.dwell,
            age: [oldest, p50],
        });
        if state.state == State::SynRecv {
            rows.extend(report.syn_recv.outcomes.iter().map(|outcome| Row {
                state: None,
                name: format!("  {}", outcome.name()),
                now: String::new(),
                entered: String::new(),
                left: count(outcome.count),
                per_s: String::new(),
                dwell: outcome.dwell,
                age: Default::default(),
            }));
        }
        if state.state == State::TimeWait {
            rows.extend(report.time_wait.exits.iter().map(|exit| Row {
                state: None,
                name: format!("  {}", exit.reason.name()),
                now: String::new(),
                entered: String::new(),
                left: count(exit.count),
                per_s: about(thinned, rate(exit.rate_per_s)),
                dwell: exit.dwell,
                age: Default::default(),
            }));
        }
    }
    let column = |cell: &dyn Fn(&Row) -> String| rows.iter().map(cell).collect::<Vec<_>>();
    let dwell = |pick: fn(&DwellSummary) -> Option<u64>| column(&|row| duration(pick(&row.dwell)));
    let mut columns = vec![
        Column::text("STATE", 0, column(&|row| row.name.clone())),
        Column::number("NOW", 0, column(&|row| row.now.clone())),
    ];
    // Where nothing is, nothing is old.
    if report.states.iter().any(|state| state.age.oldest_ns.is_some()) {
        columns.push(Column::number("OLDEST", 2, column(&|row| row.age[0].clone())));
        columns.push(Column::number("AGE P50", 10, column(&|row| row.age[1].clone())));
    }
    columns.extend([
        Column::number("ENTERED", 3, column(&|row| row.entered.clone())),
        Column::number("LEFT", 4, column(&|row| row.left.clone())),
        Column::number("/s", 9, column(&|row| row.per_s.clone())),
        Column::number("P50", 1, dwell(|dwell| dwell.p50_ns)),
        Column::number("P90", 7, dwell(|dwell| dwell.p90_ns)),
        Column::number("P99", 6, dwell(|dwell| dwell.p99_ns)),
        Column::number("MAX", 5, dwell(|dwell| dwell.max_ns)),
        Column::number("MEAN", 8, dwell(|dwell| dwell.mean_ns)),
    ]);
    columns.retain(Column::has_values);
    (rows.iter().map(|row| row.state).collect(), columns)
}

/// `5,414`, or `>=5,414` where some were lost uncounted.
fn amount(amount: Amount) -> String {
    format!("{}{}", if amount.at_least { ">=" } else { "" }, about(amount.estimate, count(amount.count)))
}

/// `~5,416` where it is an estimate.
pub fn about(estimate: bool, number: String) -> String {
    if estimate { format!("~{number}") } else { number }
}

/// Time spent in TIME_WAIT: bars, with a mark where a natural end lies.
pub fn histogram(report: &StatReport, width: usize) -> Vec<String> {
    let histogram = &report.time_wait.histogram;
    let Some(most) = histogram.buckets.iter().map(|bucket| bucket.count).max().filter(|most| *most > 0) else {
        return Vec::new();
    };
    let count = |number: u64| about(report.sample.is_thinned(), count(number));
    let bar = |bucket: &Bucket| {
        // Ceiling: a single one is visible too.
        let length = (bucket.count * BAR).div_ceil(most);
        "#".repeat(usize::try_from(length).unwrap_or_default())
    };
    let column = |cell: &dyn Fn(&Bucket) -> String| histogram.buckets.iter().map(cell).collect::<Vec<_>>();
    let columns = vec![
        Column::text("TIME_WAIT TOOK", 0, column(&|bucket| bounds(bucket))),
        Column::text("|", 0, column(&|bucket| if bucket.normal { "|" } else { "" }.to_owned())),
        Column::number("COUNT", 0, column(&|bucket| count(bucket.count))),
        Column::text("| normal", 0, column(&bar)),
    ];
    table::lines(columns, width)
}

fn bounds(bucket: &Bucket) -> String {
    let short = |ns: u64| {
        let ms = ns / 1_000_000;
        match ms {
            0 => "0".to_owned(),
            1..1000 => format!("{ms}ms"),
            _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
            _ => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        }
    };
    match bucket.to_ns {
        Some(to_ns) => format!("{} to {}", short(bucket.from_ns), short(to_ns)),
        None => format!("from {}", short(bucket.from_ns)),
    }
}
