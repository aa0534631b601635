//! A comparison as text: comparable at all, the load, then what differs, worst first.

use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};

use super::words;
use crate::{
    diff::{
        compare::Comparison,
        interval::CONFIDENCE,
        quantity::Quantity,
        row::{CountRow, GaugeRow, Kind, QuantileRow, SettingRow},
        verdict::{Unknown, Verdict},
    },
    plain,
    view::{
        paint::{Mark, Paint},
        table::{self, Column},
        units::{count, counted, date_time, rate},
    },
};

/// How it is shown.
#[derive(Debug)]
pub struct DiffText {
    /// Columns that lines may take.
    pub width: usize,
    /// Colour.
    pub paint: Paint,
    /// Rows that are the same, too.
    pub all: bool,
    /// Of times.
    pub zone: TimeZone,
}

/// So many rows of what is on one side only.
const ONE_SIDED: usize = 20;

/// A row of any kind, as its columns show it.
#[derive(Debug)]
struct Line {
    kind: Option<Kind>,
    verdict: Verdict,
    is_of_group: bool,
    what: String,
    before: String,
    after: String,
    change: String,
    interval: String,
    share: String,
}

impl DiffText {
    /// Writes it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
        for (name, origin) in [("BEFORE", &comparison.before), ("AFTER ", &comparison.after)] {
            let begins = date_time(Timestamp::from_nanosecond(origin.realtime_ns).ok(), &self.zone);
            writeln!(out, "{name} {}", words::origin(origin, &begins))?;
        }
        if comparison.unlike.is_empty() {
            writeln!(out, "{}", words::ALIKE)?;
        }
        for unlike in &comparison.unlike {
            writeln!(out, "{}", self.paint.line(Mark::Warning, &words::unlike(unlike)))?;
        }
        writeln!(out, "{}", words::load(comparison))?;
        let lines = lines(comparison);
        for kind in words::KINDS {
            let of_kind: Vec<&Line> = lines.iter().filter(|line| line.kind == Some(kind)).collect();
            self.table(words::heading(kind), &of_kind, mark(kind), out)?;
        }
        self.one_sided(&lines, out)?;
        if let Some(settings) = &comparison.settings {
            self.settings(settings, out)?;
        }
        if self.all {
            for (name, verdict) in [("WITH THE LOAD", Verdict::WithLoad), ("THE SAME", Verdict::Same)] {
                let rows: Vec<&Line> = lines.iter().filter(|line| line.verdict == verdict).collect();
                self.table(name, &rows, Mark::Plain, out)?;
            }
            let unknown: Vec<&Line> = lines.iter().filter(|line| matches!(line.verdict, Verdict::Unknown(_))).collect();
            self.table("CANNOT BE SAID", &unknown, Mark::Plain, out)?;
        }
        writeln!(out, "\n{}", self.folded(&lines, comparison))
    }

    /// What is too little to be called a difference, and yet is not to vanish: not of each group, unless all is to be shown.
    fn one_sided(&self, lines: &[Line], out: &mut dyn Write) -> io::Result<()> {
        let wanted = |line: &&Line| line.verdict == Verdict::OneSided && (self.all || !line.is_of_group);
        let mut rows: Vec<&Line> = lines.iter().filter(wanted).collect();
        let more = rows.len().saturating_sub(if self.all { usize::MAX } else { ONE_SIDED });
        rows.truncate(rows.len() - more);
        self.table("ON ONE SIDE ONLY, TOO FEW TO SAY MORE", &rows, Mark::Plain, out)?;
        if more > 0 {
            writeln!(out, "and {} more (--all)", count(more as u64))?;
        }
        Ok(())
    }

    fn table(&self, heading: &str, rows: &[&Line], mark: Mark, out: &mut dyn Write) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let cells = |cell: fn(&Line) -> &String| rows.iter().map(|row| cell(row).clone()).collect::<Vec<_>>();
        let columns = vec![
            Column::text(heading, 0, cells(|row| &row.what)),
            Column::number("BEFORE", 0, cells(|row| &row.before)),
            Column::number("AFTER", 0, cells(|row| &row.after)),
            Column::number("CHANGE", 0, cells(|row| &row.change)),
            Column::number(&format!("{CONFIDENCE}% INTERVAL"), 1, cells(|row| &row.interval)),
            Column::number("PER 1,000", 2, cells(|row| &row.share)),
        ];
        writeln!(out)?;
        for (index, line) in table::lines(columns, self.width).into_iter().enumerate() {
            let mark = if index == 0 { Mark::Plain } else { mark };
            writeln!(out, "{}", self.paint.line(mark, &line))?;
        }
        Ok(())
    }

    fn settings(&self, rows: &[SettingRow], out: &mut dyn Write) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let several = rows.iter().any(|row| row.netns != rows.first().map_or("", |first| &first.netns));
        let name = |row: &SettingRow| match several || row.name == "network namespace" {
            true => format!("{} {}", plain::column(&row.netns), plain::column(&row.name)),
            false => plain::column(&row.name),
        };
        let value =
            |value: &Option<String>| value.as_ref().map_or_else(|| "-".to_owned(), |value| plain::column(value));
        let columns = vec![
            Column::text("SETTINGS", 0, rows.iter().map(name).collect()),
            Column::text("BEFORE", 0, rows.iter().map(|row| value(&row.before)).collect()),
            Column::text("AFTER", 0, rows.iter().map(|row| value(&row.after)).collect()),
        ];
        writeln!(out)?;
        table::lines(columns, self.width).iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    /// What is not shown, in numbers.
    fn folded(&self, lines: &[Line], comparison: &Comparison) -> String {
        let of = |wanted: &dyn Fn(Verdict) -> bool| lines.iter().filter(|line| wanted(line.verdict)).count() as u64;
        let same = of(&|verdict| verdict == Verdict::Same);
        let with_load = of(&|verdict| verdict == Verdict::WithLoad);
        let changed = of(&|verdict| verdict.is_change());
        let mut parts = vec![format!("The same: {}", counted(same, "row", "rows"))];
        if with_load > 0 {
            parts.push(format!("with the load alone: {}", count(with_load)));
        }
        let unknown = [Unknown::Lost, Unknown::NotRecorded, Unknown::TooShort].into_iter().filter_map(|why| {
            let rows = of(&|verdict| verdict == Verdict::Unknown(why));
            (rows > 0).then(|| format!("cannot be said ({}): {}", words::unknown_short(why), count(rows)))
        });
        parts.extend(unknown);
        match &comparison.settings {
            None => parts.push("settings: not in both recordings".to_owned()),
            Some(rows) if rows.is_empty() => parts.push("settings: the same".to_owned()),
            Some(_) => {}
        }
        let all = if self.all { "" } else { "; --all shows them" };
        let found = if changed == 0 { "No difference.\n" } else { "" };
        format!("{found}{}{all}.", parts.join(", "))
    }
}

fn mark(kind: Kind) -> Mark {
    match kind {
        Kind::NewFailure | Kind::Worse => Mark::Failure,
        _ => Mark::Plain,
    }
}

/// Every row, those of the load first.
fn lines(comparison: &Comparison) -> Vec<Line> {
    let counted = comparison.counts.iter().filter(|row| !is_load(row)).map(of_count);
    let gauges = comparison.gauges.iter().map(of_gauge);
    let durations = comparison
        .durations
        .iter()
        .flat_map(|row| row.quantiles.iter().map(|quantile| of_quantile(row.lasting, quantile)));
    counted.chain(gauges).chain(durations).collect()
}

/// The one row that a sentence of its own tells.
fn is_load(row: &CountRow) -> bool {
    row.quantity == Quantity::Ended && row.subject.is_none()
}

fn of_count(row: &CountRow) -> Line {
    let few = row.verdict == Verdict::OneSided;
    let number = |side: &crate::diff::row::CountSide| match few {
        true => count(side.count),
        false => format!("{}/s", rate(side.per_s)),
    };
    let share = match (few, row.before.per_1000, row.after.per_1000) {
        (true, ..) | (_, None, None) => String::new(),
        (_, before, after) => format!("{} -> {}", rate(before), rate(after)),
    };
    Line {
        kind: row.kind(),
        verdict: row.verdict,
        is_of_group: row.subject.is_some() && !matches!(row.quantity, Quantity::Failed(..)),
        what: words::what(row),
        before: number(&row.before),
        after: number(&row.after),
        change: if few { String::new() } else { words::changed(row.verdict, row.rate.map(|rate| rate.ratio)) },
        interval: if few { String::new() } else { words::interval(row.rate) },
        share,
    }
}

fn of_gauge(row: &GaugeRow) -> Line {
    let few = row.verdict == Verdict::OneSided;
    let number = |side: &crate::diff::row::GaugeSide| match few {
        true => format!("{} at most", count(side.most)),
        false => words::mean(side.mean),
    };
    Line {
        kind: row.kind(),
        verdict: row.verdict,
        is_of_group: false,
        what: format!("sockets in {}, mean", row.state),
        before: number(&row.before),
        after: number(&row.after),
        change: if few { String::new() } else { words::changed(row.verdict, row.ratio.map(|ratio| ratio.ratio)) },
        interval: if few { String::new() } else { words::interval(row.ratio) },
        share: String::new(),
    }
}

fn of_quantile(lasting: crate::diff::measured::Lasting, row: &QuantileRow) -> Line {
    let ratio = row.before.zip(row.after).map(|(before, after)| after.ns as f64 / before.ns.max(1) as f64);
    Line {
        kind: row.kind(lasting),
        verdict: row.verdict,
        is_of_group: false,
        what: format!("{}, P{}", lasting.words(), row.percent),
        before: words::quantile(row.before),
        after: words::quantile(row.after),
        change: words::changed(row.verdict, ratio),
        interval: String::new(),
        share: String::new(),
    }
}
