//! How ports stand, for a terminal: the settings, a table with the worst first, and in words what is wrong and what would help.
//! Nothing wraps: columns that do not fit are left out, sentences are folded.

use std::io::{self, Write};

use hashbrown::HashMap;
use jiff::tz::TimeZone;

use super::{
    super::{
        PortsView, ViewContext, ledger,
        paint::{Mark, Paint},
        table::{self, Column},
        units::{count, counted, date_time, duration, known, percent, rate},
    },
    address::{from, source, to},
    remedies,
    sentences::{self, forecast, process},
};
use crate::{
    aggregate::ports::{
        advice::{PortAdvice, PortCause},
        failures::About,
        forecast::Forecast,
        pace::Rates,
        report::{Bound, PortDestination, PortRow, PortsReport, Reusable},
        settings::PortSettings,
    },
    fold::fold,
    plain,
    tcp::NetnsId,
};

/// Destinations of which more is said than a line.
const IN_WORDS: usize = 3;

/// The text view.
#[derive(Debug)]
pub struct PortsText {
    width: usize,
    zone: TimeZone,
    reports: u64,
    /// What was said of destinations that would help: that is not said at every interval.
    told: HashMap<PortDestination, PortAdvice>,
    /// The settings that were printed last.
    settings: Vec<(NetnsId, Option<PortSettings>)>,
    paint: Paint,
}

impl PortsText {
    /// Text of this width, with the time of day in this zone.
    pub fn new(width: usize, zone: TimeZone) -> Self {
        Self { width, zone, reports: 0, told: HashMap::new(), settings: Vec::new(), paint: Paint::default() }
    }

    /// The same with colour for what is wrong.
    pub fn painted(self, paint: Paint) -> Self {
        Self { paint, ..self }
    }

    fn heading(&self, report: &PortsReport, context: ViewContext<'_>) -> String {
        let clock = |time_ns| date_time(context.wall(time_ns), &self.zone);
        let used: u64 = report.rows.iter().map(|row| row.in_use).sum::<u64>() + report.others.in_use;
        let destinations = report.rows.len() as u64 + report.others.destinations;
        let traced = match report.traced {
            true => format!("; traced for {}", duration(Some(report.end_ns.saturating_sub(report.begin_ns)))),
            false => String::new(),
        };
        let known = if report.ledger.now_unsure { " known to be" } else { "" };
        let or_else = if report.ledger.now_unsure { ", maybe more or fewer" } else { "" };
        format!(
            "{}  {}{known} in use{or_else} to {}{traced}",
            clock(report.end_ns),
            counted(used, "port", "ports"),
            counted(destinations, "destination", "destinations")
        )
    }
}

impl PortsView for PortsText {
    fn report(&mut self, report: &PortsReport, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = fold(&self.heading(report, context), self.width, 10);
        if self.settings != report.namespaces {
            for namespace in &report.namespaces {
                let settings = sentences::settings(namespace, report.namespaces.len() > 1, context);
                lines.extend(fold(&settings, self.width, 2));
            }
            self.settings.clone_from(&report.namespaces);
        }
        if !report.rows.is_empty() {
            lines.push(String::new());
            lines.extend(destinations(report, context, self.width));
        }
        let bound = report.bound.as_deref().unwrap_or_default();
        if !bound.is_empty() {
            lines.push(String::new());
            lines.extend(bound_addresses(bound, report.namespaces.len() > 1, context, self.width));
            for row in bound.iter().filter_map(|row| sentences::bound(row, context)).take(IN_WORDS) {
                lines.extend(row.iter().flat_map(|sentence| fold(sentence, self.width, 2)));
            }
        }
        // What bind() takes is said above, once for all destinations.
        let is_said = |row: &&PortRow| {
            row.advice.as_ref().is_some_and(|advice| advice.cause != PortCause::Bound || !row.failures.is_empty())
        };
        let worst = report.rows.iter().filter(is_said).take(IN_WORDS);
        for row in worst {
            lines.push(String::new());
            let clock = |time_ns| date_time(context.wall(time_ns), &self.zone);
            let (verdict, mut sentences) = sentences::of(row, report, context, &clock);
            let Some(advice) = &row.advice else { continue };
            let is_full = matches!(row.forecast, Some(Forecast::Full { .. })) || !row.failures.is_empty();
            let mark = if is_full { Mark::Failure } else { Mark::Warning };
            lines.extend(self.paint.lines(mark, fold(&verdict, self.width, 2)));
            if report.is_final || self.told.get(&row.destination) != Some(advice) {
                sentences.extend(remedies::advice(advice, row));
                self.told.insert(row.destination, advice.clone());
            }
            lines.extend(sentences.iter().flat_map(|sentence| fold(sentence, self.width, 2)));
        }
        let (mut notes, mut losses) = (Vec::new(), Vec::new());
        notes.extend(report.binds.iter().take(IN_WORDS).map(|bind| sentences::bind(bind, report.at_least, context)));
        notes.extend(sentences::outside(report));
        notes.extend(sentences::unknown(report));
        notes.extend(sentences::selected(report));
        if report.traced {
            let mut account = Vec::new();
            ledger::losses(&report.ledger, &mut account)?;
            losses.extend(String::from_utf8_lossy(&account).lines().map(str::to_owned));
        } else {
            notes.push(
                "tcpwait ports 5 (as root) traces, and adds rates, forecasts, failures, ports that bind() took for all destinations, and which process left \
                 the TIME_WAITs"
                    .to_owned(),
            );
        }
        lines.push(String::new());
        lines.extend(notes.iter().flat_map(|note| fold(note, self.width, 2)));
        for line in &losses {
            lines.extend(self.paint.lines(ledger::mark(&report.ledger, line), fold(line, self.width, 2)));
        }
        if self.reports > 0 {
            writeln!(out)?;
        }
        self.reports += 1;
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

fn destinations(report: &PortsReport, context: ViewContext<'_>, width: usize) -> Vec<String> {
    table::lines(destination_columns(report, context), width)
}

/// A row for each destination, and one for all others if there are any.
pub fn destination_columns(report: &PortsReport, context: ViewContext<'_>) -> Vec<Column> {
    let others = &report.others;
    let rows = &report.rows;
    let column = |cell: &dyn Fn(&PortRow) -> String, other: String| {
        let cells = rows.iter().map(cell);
        let other = (others.destinations > 0).then_some(other);
        cells.chain(other).collect::<Vec<_>>()
    };
    let none = String::new;
    let mut columns = Vec::new();
    if report.namespaces.len() > 1 {
        columns.push(Column::text(
            "NETNS",
            0,
            column(&|row| plain::column(&context.names.netns(row.destination.netns)), none()),
        ));
    }
    let reuse = |row: &PortRow| reusable(&row.reusable);
    columns.extend([
        Column::text(
            "FROM",
            0,
            column(&|row| from(&row.destination, context), format!("other ({})", count(others.destinations))),
        ),
        Column::text("TO", 0, column(&|row| to(&row.destination), none())),
        Column::number("USED", 0, column(&|row| count(row.in_use), count(others.in_use))),
        Column::number("OF", 0, column(&|row| known(row.size), none())),
        Column::number("%", 2, column(&|row| percent(row.share), none())),
        Column::number("TIME_WAIT", 6, column(&|row| count(row.states.time_wait), count(others.time_wait))),
        Column::number("FIN_WAIT2", 8, column(&|row| count(row.states.fin_wait2), count(others.fin_wait2))),
        Column::number("REUSE", 7, column(&reuse, none())),
        Column::number("IN/s", 4, column(&|row| taken(row.rates.as_ref()), none())),
        Column::number("HELD", 9, column(&|row| duration(row.held.mean_ns), none())),
        Column::text("FORECAST", 1, column(&|row| forecast(row.forecast.as_ref()), none())),
        Column::number("FAILED", 5, column(&|row| failed(row, report), least(report, others.failed))),
        Column::text(
            "PROCESS",
            3,
            column(&|row| row.holder.map_or_else(|| "-".to_owned(), |holder| process(&holder.process)), none()),
        ),
    ]);
    columns
}

/// Ports that bind() gave, by source address.
fn bound_addresses(rows: &[Bound], several: bool, context: ViewContext<'_>, width: usize) -> Vec<String> {
    table::lines(bound_columns(rows, several, context), width)
}

/// A row for each source address.
pub fn bound_columns(rows: &[Bound], several: bool, context: ViewContext<'_>) -> Vec<Column> {
    let column = |cell: &dyn Fn(&Bound) -> String| rows.iter().map(cell).collect::<Vec<_>>();
    let mut columns = Vec::new();
    if several {
        columns.push(Column::text("NETNS", 0, column(&|row| plain::column(&context.names.netns(row.source.netns)))));
    }
    columns.extend([
        Column::text("BOUND TO", 0, column(&|row| source(&row.source, context))),
        Column::number("BY bind()", 0, column(&|row| at_least(row))),
        Column::number("BY connect()", 4, column(&|row| count(row.by_connect))),
        Column::number("USED", 0, column(&|row| count(row.in_use))),
        Column::number("OF", 0, column(&|row| known(row.size))),
        Column::number("%", 0, column(&|row| percent(row.share))),
        Column::number("IN/s", 3, column(&|row| taken(row.rates.as_ref()))),
        Column::text("FORECAST", 1, column(&|row| forecast(row.forecast.as_ref()))),
        Column::text(
            "PROCESS",
            2,
            column(&|row| row.holder.map_or_else(|| "-".to_owned(), |holder| process(&holder.process))),
        ),
    ]);
    columns
}

/// `17`, or `17+3?` where it is not known of three more.
fn at_least(row: &Bound) -> String {
    match row.unknown {
        0 => count(row.bound),
        unknown => format!("{}+{}?", count(row.bound), count(unknown)),
    }
}

/// `3`, or `3+2?` where it is not known of two more.
fn reusable(reusable: &Reusable) -> String {
    match reusable.unknown {
        0 => count(reusable.now),
        unknown => format!("{}+{}?", count(reusable.now), count(unknown)),
    }
}

/// Ports taken a second: `12`, or `>=12` where events were lost meanwhile.
fn taken(rates: Option<&Rates>) -> String {
    let least = if rates.is_some_and(|rates| rates.at_least) { ">=" } else { "" };
    format!("{least}{}", rate(rates.map(|rates| rates.taken_per_s)))
}

/// A count since the start: `5`, or `>=5` where events were lost.
fn least(report: &PortsReport, number: u64) -> String {
    format!("{}{}", if report.at_least { ">=" } else { "" }, count(number))
}

/// connect() that found no port, which without tracing nobody knows.
fn failed(row: &PortRow, report: &PortsReport) -> String {
    if !report.traced {
        return "-".to_owned();
    }
    let ports = row.failures.iter().filter(|failed| failed.about() == About::Ports);
    least(report, ports.map(|failed| failed.count).sum())
}
