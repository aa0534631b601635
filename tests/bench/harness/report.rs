//! The tables for people: each line of a width, none wraps. It computes nothing but percentages.

mod costs;
mod upkeep;

use serde_json::Value;
use tcpwait::view::units;
use tcpwait::{
    fold::fold,
    view::table::{Column, lines},
};

use crate::findings::Findings;
use crate::load::Kind;
use crate::numbers::Spread;
use crate::targets::Target;

/// Where stdout is no terminal.
pub const WIDTH: usize = 160;
/// Tables are not made for less.
const NARROWEST: usize = 60;

/// The whole report, in lines at most `width` wide.
pub fn text(findings: &Findings, width: usize) -> Vec<String> {
    let width = width.max(NARROWEST);
    let mut out = fold(&heading(findings), width, 2);
    let mut section = |lines: Vec<String>| {
        out.push(String::new());
        out.extend(lines);
    };
    section(targets(&findings.targets, width));
    if !findings.costs.is_empty() {
        section(costs::connections(&findings.costs, width));
    }
    if !findings.bystanders.is_empty() {
        section(costs::bystanders(&findings.bystanders, width));
    }
    if !findings.idle.is_empty() {
        section(upkeep::idle(&findings.idle, width));
    }
    if !findings.turnover.is_empty() {
        section(upkeep::turnover(&findings.turnover, width));
    }
    if !findings.rates.is_empty() {
        section(rates(findings, width));
    }
    if !findings.kernel.is_empty() {
        section(kernel(findings, width));
    }
    if !findings.followed.is_empty() {
        section(followed(findings, width));
    }
    let notes = notes(findings);
    if !notes.is_empty() {
        section(notes.iter().flat_map(|note| fold(note, width, 2)).collect());
    }
    out
}

fn heading(findings: &Findings) -> String {
    let machine = &findings.machine;
    format!(
        "tcpwait bench: Linux {}, {}, {} cores, {}, {} rounds of {} ms",
        machine.kernel,
        machine.processor.as_deref().unwrap_or("processor not known"),
        machine.cores,
        findings.time,
        findings.rounds,
        findings.length.as_millis()
    )
}

fn column<T>(header: &str, drop: u8, rows: &[T], cell: impl Fn(&T) -> String) -> Column {
    Column::number(header, drop, rows.iter().map(cell).collect())
}

fn text_column<T>(header: &str, drop: u8, rows: &[T], cell: impl Fn(&T) -> String) -> Column {
    Column::text(header, drop, rows.iter().map(cell).collect())
}

fn targets(targets: &[Target], width: usize) -> Vec<String> {
    let met = |target: &Target| match target.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "-",
    };
    let value = |target: &Target| known(target.value, |value| format!("{} {}", short(value), target.unit));
    let table = vec![
        text_column("TARGET", 0, targets, |target| target.name.to_owned()),
        text_column("IS TO BE", 0, targets, |target| target.target.to_owned()),
        column("MEASURED", 0, targets, value),
        text_column("", 0, targets, |target| met(target).to_owned()),
        text_column("NOTE", 1, targets, |target| target.note.clone().unwrap_or_default()),
    ];
    lines(table, width)
}

fn rates(findings: &Findings, width: usize) -> Vec<String> {
    let rows: Vec<_> = findings.rates.iter().collect();
    let per_s = |kind: Kind, rate: f64| match kind {
        Kind::Bulk => format!("{:.2} GB", rate / 1e9),
        _ => whole(rate),
    };
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let of = |spread: Option<Spread>, part: fn(&Spread) -> f64| known(spread.as_ref().map(part), percent);
    let table = vec![
        text_column("LOAD", 0, &rows, |row| row.load.to_owned()),
        text_column("SETTING", 0, &rows, |row| row.setting.clone()),
        column("PER s", 0, &rows, |row| per_s(row.kind, row.per_s.median)),
        column("KEPT", 0, &rows, |row| of(row.kept, |spread| spread.median)),
        column("Q1", 3, &rows, |row| of(row.kept, |spread| spread.q1)),
        column("Q3", 3, &rows, |row| of(row.kept, |spread| spread.q3)),
        column("MIN", 4, &rows, |row| of(row.kept, |spread| spread.min)),
        column("MAX", 4, &rows, |row| of(row.kept, |spread| spread.max)),
        column("OF NULL", 1, &rows, |row| of(row.kept_of_null, |spread| spread.median)),
        column("OF CPU", 1, &rows, |row| of(row.kept_of_cpu, |spread| spread.median)),
        column("CPU/record", 2, &rows, |row| known(row.cpu_ns_per_record, nanoseconds)),
        column("user", 2, &rows, |row| known(row.user_ns_per_record, nanoseconds)),
        column("RECORDS", 5, &rows, |row| units::known(row.written)),
        column("LOST", 1, &rows, |row| units::known(row.lost)),
    ];
    lines(table, width)
}

fn kernel(findings: &Findings, width: usize) -> Vec<String> {
    let rows: Vec<_> = findings.kernel.iter().collect();
    let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
    let times = |value: f64| format!("{value:.2} x");
    let table = vec![
        text_column("IN THE KERNEL", 0, &rows, |row| row.load.to_owned()),
        text_column("SETTING", 0, &rows, |row| row.setting.clone()),
        column("ns/CONNECTION", 0, &rows, |row| whole(row.ns_per_connection.median)),
        column("CALLS", 1, &rows, |row| known(median(row.calls_per_connection), short)),
        column("ns/CALL", 1, &rows, |row| known(median(row.ns_per_call), short)),
        column("OF NULL", 0, &rows, |row| known(median(row.times_null), times)),
        column("MIN", 2, &rows, |row| known(row.times_null.map(|spread| spread.min), times)),
        column("MAX", 2, &rows, |row| known(row.times_null.map(|spread| spread.max), times)),
    ];
    lines(table, width)
}

fn followed(findings: &Findings, width: usize) -> Vec<String> {
    let rows: Vec<_> = findings.followed.iter().collect();
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let table = vec![
        column("FOLLOWED", 0, &rows, |row| units::known(row.there)),
        text_column("KIND", 1, &rows, |row| row.kind.clone().unwrap_or_else(|| "-".to_owned())),
        column("BEFORE", 2, &rows, |row| mib(row.memory_before)),
        column("WITH", 2, &rows, |row| mib(row.memory)),
        column("BYTES EACH", 0, &rows, |row| known(row.bytes_per_socket, short)),
        column("IN ALL", 1, &rows, |row| known(row.bytes_per_socket_in_all, short)),
        column("KERNEL ns/CONNECTION", 0, &rows, |row| known(row.kernel_ns_per_connection, whole)),
        column("CPU/record", 0, &rows, |row| known(row.cpu_ns_per_record, nanoseconds)),
        column("user", 1, &rows, |row| known(row.user_ns_per_record, nanoseconds)),
        column("LOST", 0, &rows, |row| units::known(row.lost)),
    ];
    lines(table, width)
}

/// What makes the numbers worth less, and what the words mean.
fn notes(findings: &Findings) -> Vec<String> {
    let mut notes = Vec::new();
    if !findings.costs.is_empty() || !findings.bystanders.is_empty() {
        notes.push(costs::NOTE.to_owned());
    }
    if !findings.idle.is_empty() {
        notes.push(upkeep::NOTE.to_owned());
    }
    if !findings.rates.is_empty() {
        notes.push(
            "KEPT: of the mean of both untraced in the same round; of `untraced again`, of `untraced`, which is the noise. \
             OF NULL: of the null probe's rate in the same round. OF CPU: KEPT by the processor time that the load got, in which other work on the machine does not show. \
             CPU/record: the tracer's processor time for each record, user: in user mode alone."
                .to_owned(),
        );
    }
    notes.extend((1..).zip(&findings.peers).map(|(number, command)| format!("peer {number}: {command}")));
    notes.extend(own_account(findings));
    if !findings.followed.is_empty() {
        notes.push(
            "BYTES EACH: growth of anonymous memory for each socket; IN ALL: all of it for each, as memory that the start-up gave \
             back to its allocator hides growth. The ring buffer is in neither."
                .to_owned(),
        );
    }
    if !findings.kernel.is_empty() {
        notes.push(
            "OF NULL: time in the tracer's programs, of that in the null probe's beside it; either with what the kernel takes to \
             time it. ns/CONNECTION and CALLS have other processes' events in them, all system calls among these."
                .to_owned(),
        );
    }
    let others = findings.accounts.iter().map(|account| account.others).max().unwrap_or_default();
    if others > 0 {
        notes.push(format!(
            "Up to {others} BPF programs of somebody else's were loaded meanwhile: untraced was not quite untraced, and nothing here was alone."
        ));
    }
    let busy = findings.machine.load_before.filter(|load| *load > 0.5);
    if let Some(load) = busy {
        notes.push(format!("The machine was busy before this began: load average {load}."));
    }
    let errors: u64 = findings.rates.iter().map(|rate| rate.errors).sum();
    if errors > 0 {
        notes.push(format!("{errors} connections failed; see errors in the JSON."));
    }
    for row in &findings.followed {
        if row.there.is_some_and(|there| there < u64::from(row.asked)) {
            let asked = units::count(row.asked.into());
            notes.push(format!(
                "Of {asked} sockets, not all were there at once: the others were not made in time, or ended early."
            ));
        }
    }
    notes
}

/// What `stat` itself says of losses. What the kernel withheld it cannot always know.
fn own_account(findings: &Findings) -> Option<String> {
    let ledgers: Vec<_> = findings.accounts.iter().filter_map(|account| account.ledger.as_ref()).collect();
    let lossy = ledgers.iter().filter(|ledger| ledger.get("lossy").and_then(Value::as_bool) != Some(false)).count();
    let misses = ledgers.iter().map(|ledger| ledger.pointer("/lost/recursion").and_then(Value::as_u64)).sum();
    (!ledgers.is_empty()).then(|| {
        let rounds = ledgers.len();
        format!(
            "stat's own account: lossy in {lossy} of {rounds} rounds; events withheld by the kernel (recursion): {}.",
            units::known(misses)
        )
    })
}

fn known(value: Option<f64>, shown: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), shown)
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        1000.0.. => whole(value),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ if value == 0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

fn whole(value: f64) -> String {
    units::count(value.round().max(0.0) as u64)
}

fn nanoseconds(value: f64) -> String {
    format!("{} ns", short(value))
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, short, targets};
    use crate::targets::{Measured, evaluate};

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!([0.0, 1.234, 98.76, 123.4, 12345.6].map(short), ["0", "1.23", "98.8", "123", "12,346"]);
    }

    #[test]
    fn no_line_is_too_long() {
        let nothing = Measured::default();
        for width in [WIDTH, 80, 60] {
            let table = targets(&evaluate(&nothing), width);
            assert!(table.len() == 15 && table.iter().all(|line| line.chars().count() <= width), "{table:#?}");
        }
    }
}
