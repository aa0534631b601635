//! A report on states for a terminal: the states, what TIME_WAIT has to go, then who. Nothing wraps: columns that do not fit are
//! left out, sentences are folded.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::{
    super::{
        key,
        paint::{Mark, Paint},
        table::{self, Column},
        units::{age, at_least, count, counted, date_time, duration, known, percent},
    },
    Moment,
    notes::namespaces,
};
use crate::{
    fold::fold,
    states::report::{StatesGroup, StatesReport, TimeLeft},
    tcp::State,
};

/// Where the line is too short, this goes before any state does ([`drop_of`]).
const FIRST: u8 = 11;

/// A value of a key is never cut to less.
const SHORT: usize = 20;

/// How it is written.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Columns of a line, at most.
    pub width: usize,
    /// Colour for what could not be read.
    pub paint: Paint,
}

/// Writes it.
///
/// # Errors
/// The output cannot be written.
pub fn write(
    report: &StatesReport,
    moment: Moment<'_>,
    zone: &TimeZone,
    Layout { width, paint }: Layout,
    out: &mut dyn Write,
) -> io::Result<()> {
    let incomplete = report.extent.unseen || report.extent.unreadable > 0;
    let mark = if incomplete { Mark::Warning } else { Mark::Plain };
    let mut lines = paint.lines(mark, fold(&heading(report, moment, zone), width, 10));
    lines.push(String::new());
    lines.extend(states(report, width));
    if let Some(sentence) = time_left(&report.time_left) {
        lines.push(String::new());
        lines.extend(fold(&sentence, width, 2));
    }
    if !report.groups.rows.is_empty() {
        lines.push(String::new());
        lines.extend(groups(report, moment, width));
    }
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn heading(report: &StatesReport, moment: Moment<'_>, zone: &TimeZone) -> String {
    let time = date_time(Some(moment.time), zone);
    let asked = |state| report.states.iter().any(|row| row.state == state);
    let sockets = counted(report.total, "TCP socket", "TCP sockets");
    let what = match asked(State::TimeWait) {
        true => format!("TIME_WAIT: {} of {sockets}", count(report.time_wait)),
        false => sockets,
    };
    let extent = &report.extent;
    let older = report.older_than_ms.map(|ms| format!(" older than {}", duration(Some(ms.saturating_mul(1_000_000)))));
    let mut text = format!("{time}  {what}{} in {}", older.unwrap_or_default(), namespaces(extent.namespaces));
    if extent.unseen {
        text.push_str(" of those that can be seen");
    }
    if extent.unreadable > 0 {
        text.push_str(&format!("; {} more could not be read", count(extent.unreadable.into())));
    }
    text
}

fn states(report: &StatesReport, width: usize) -> Vec<String> {
    struct Row {
        name: String,
        cells: [String; 7],
    }
    let mut rows = Vec::new();
    for row in &report.states {
        let [oldest, p50, p90] = age(&row.age);
        let cells = [known(row.sockets), percent(row.share), known(row.v4), known(row.v6), oldest, p50, p90];
        rows.push(Row { name: row.state.name().to_owned(), cells });
        if row.state == State::FinWait2 && report.orphans > 0 {
            let mut cells: [String; 7] = Default::default();
            cells[0] = count(report.orphans);
            rows.push(Row { name: "  orphans".to_owned(), cells });
        }
    }
    let name = rows.iter().map(|row| row.name.clone()).collect();
    let column = |at: usize| rows.iter().map(|row| row.cells.get(at).cloned().unwrap_or_default()).collect();
    let columns = vec![
        Column::text("STATE", 0, name),
        Column::number("SOCKETS", 0, column(0)),
        Column::number("%", 2, column(1)),
        Column::number("IPV4", 1, column(2)),
        Column::number("IPV6", 1, column(3)),
        Column::number("OLDEST", 3, column(4)),
        Column::number("AGE P50", 4, column(5)),
        Column::number("AGE P90", 5, column(6)),
    ];
    table::lines(columns, width)
}

fn time_left(left: &TimeLeft) -> Option<String> {
    let (least, median, most) = (to_go(left.least_ms?), to_go(left.median_ms?), to_go(left.most_ms?));
    let mut text = format!("TIME_WAIT ends in: least {least}, median {median}, most {most}");
    for (index, within) in left.within.iter().enumerate() {
        let (separator, verb) = if index == 0 { (';', " end") } else { (',', "") };
        text.push_str(&format!("{separator} {}{verb} within {} s", count(within.count), within.bound_ms / 1000));
    }
    if left.over > 0 {
        text.push_str(&format!("; {} overdue, waiting for the timer", count(left.over)));
    }
    text.push_str(". All nominal: the timer wheel adds up to 2 s at HZ=250, 4.1 s at HZ=1000.");
    Some(text)
}

fn to_go(ms: u32) -> String {
    if ms == 0 { "0s".to_owned() } else { duration(Some(u64::from(ms) * 1_000_000)) }
}

fn groups(report: &StatesReport, moment: Moment<'_>, width: usize) -> Vec<String> {
    let groups = &report.groups;
    let others = (groups.folded > 0).then_some(&groups.others);
    let all: Vec<&StatesGroup> = groups.rows.iter().chain(others).collect();
    let column = |cell: &dyn Fn(&StatesGroup) -> String| all.iter().map(|group| cell(group)).collect::<Vec<_>>();
    let oldest = |group: &StatesGroup| at_least(group.oldest_ms.map(|ms| u64::from(ms) * 1_000_000));
    let mut columns = vec![Column::number("SOCKETS", 0, column(&|group| count(group.total)))];
    if all.iter().any(|group| group.oldest_ms.is_some()) {
        let drop = if report.older_than_ms.is_some() { 0 } else { FIRST };
        columns.push(Column::number("OLDEST", drop, column(&oldest)));
    }
    for (index, state) in groups.states.iter().enumerate() {
        let cells = column(&|group| known(group.states.get(index).copied()));
        columns.push(Column::number(state.name(), drop_of(*state), cells));
    }
    for (index, by) in report.by.iter().enumerate() {
        let cells = column(&|group| match group.key.get(index) {
            Some(value) => end_of(key::text(*value, moment.names), (width / 2).max(SHORT)),
            None if index == 0 => format!("other ({})", count(groups.folded)),
            None => String::new(),
        });
        columns.push(Column::text(by.name().to_uppercase(), 0, cells));
    }
    table::lines(columns, width)
}

/// A long text is known by its end: the path of a cgroup, an address with its port.
fn end_of(text: String, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text;
    }
    let end: String = text.chars().skip(length - most.saturating_sub(3)).collect();
    format!("...{end}")
}

/// Where the line is too short, states that a socket passes through quickly are left out first.
fn drop_of(state: State) -> u8 {
    match state {
        State::TimeWait => 1,
        State::Established => 2,
        State::CloseWait => 3,
        State::FinWait2 => 4,
        State::Listen => 5,
        State::SynSent => 6,
        State::SynRecv => 7,
        State::FinWait1 => 8,
        State::LastAck => 9,
        State::Closing | State::Close => 10,
    }
}
