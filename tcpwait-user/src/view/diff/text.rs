//! A comparison as text: comparable at all, the load, then what differs, worst first.

use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};

use super::{
    lines::{DiffLine, columns, far_apart, lines, one_sided, setting_columns},
    words,
};
use crate::{
    diff::{
        comparable::SideFacts,
        compare::DiffReport,
        row::{ChangeKind, SettingRow},
        verdict::DiffVerdict,
    },
    fold::fold,
    view::{
        paint::{Mark, Paint},
        table,
        units::{count, counted, date_time},
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

/// So many rows of what is far apart.
const FAR_APART: usize = 20;

/// So many rows of what is on one side only.
const ONE_SIDED: usize = 20;

impl DiffText {
    /// Writes it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, comparison: &DiffReport, out: &mut dyn Write) -> io::Result<()> {
        let of = |name: &str, facts: &SideFacts| {
            let begins = date_time(Timestamp::from_nanosecond(facts.realtime_ns).ok(), &self.zone);
            format!("{name} {}", words::origin(facts, &begins))
        };
        self.sentence(&of("BEFORE", &comparison.before), Mark::Plain, out)?;
        self.sentence(&of("AFTER ", &comparison.after), Mark::Plain, out)?;
        if comparison.unlike.is_empty() {
            self.sentence(words::ALIKE, Mark::Plain, out)?;
        }
        for unlike in &comparison.unlike {
            self.sentence(&words::unlike(unlike), Mark::Warning, out)?;
        }
        self.sentence(&words::load(comparison), Mark::Plain, out)?;
        for sentence in words::time_wait(comparison) {
            self.sentence(&sentence, Mark::Plain, out)?;
        }
        let lines = lines(comparison);
        for kind in words::KINDS {
            let of_kind: Vec<&DiffLine> = lines.iter().filter(|line| line.kind == Some(kind)).collect();
            self.table(words::heading(kind), &of_kind, mark(kind), out)?;
        }
        self.one_sided(&lines, out)?;
        let mut far = far_apart(&lines);
        far.truncate(FAR_APART);
        self.table("FAR APART, AND TOO LITTLE TO BE SURE", &far, Mark::Plain, out)?;
        if let Some(settings) = &comparison.settings {
            self.settings(settings, out)?;
        }
        if self.all {
            for (name, verdict) in [("AS CONNECTIONS DID", DiffVerdict::WithLoad), ("THE SAME", DiffVerdict::Same)] {
                let rows: Vec<&DiffLine> = lines.iter().filter(|line| line.verdict == verdict).collect();
                self.table(name, &rows, Mark::Plain, out)?;
            }
            let unknown: Vec<&DiffLine> =
                lines.iter().filter(|line| matches!(line.verdict, DiffVerdict::Unknown(_))).collect();
            self.table("CANNOT BE SAID", &unknown, Mark::Plain, out)?;
        }
        writeln!(out)?;
        self.folded(&lines, comparison).lines().try_for_each(|line| self.sentence(line, Mark::Plain, out))
    }

    fn sentence(&self, text: &str, mark: Mark, out: &mut dyn Write) -> io::Result<()> {
        let lines = fold(text, self.width, 2);
        lines.iter().try_for_each(|line| writeln!(out, "{}", self.paint.line(mark, line)))
    }

    /// What is too little to be called a difference, and yet is not to vanish: not of each group, unless all is to be shown.
    fn one_sided(&self, lines: &[DiffLine], out: &mut dyn Write) -> io::Result<()> {
        let (mut rows, mut few) = one_sided(lines);
        let mut more = 0;
        if self.all {
            rows.append(&mut few);
        } else {
            rows.retain(|line| line.is_many || !line.is_of_group);
            few.retain(|line| !line.is_of_group);
            more = rows.len().saturating_sub(ONE_SIDED);
            rows.truncate(ONE_SIDED);
        }
        if rows.is_empty() && few.is_empty() {
            return Ok(());
        }
        self.table(words::ONE_SIDED, &rows, Mark::Plain, out)?;
        let few = match few.len() as u64 {
            0 => None,
            number => Some(format!("{} of one or two each", counted(number, "row", "rows"))),
        };
        match (rows.is_empty(), more as u64, few) {
            (_, 0, None) => {}
            (true, _, few) => writeln!(out, "\nOn one side only: {} (--all)", few.unwrap_or_default())?,
            (_, 0, Some(few)) => writeln!(out, "and {few} (--all)")?,
            (_, more, None) => writeln!(out, "and {} (--all)", counted(more, "more row", "more rows"))?,
            (_, more, Some(few)) => writeln!(out, "and {}, and {few} (--all)", counted(more, "more row", "more rows"))?,
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.sentence(&words::one_sided_means(), Mark::Plain, out)
    }

    fn table(&self, heading: &str, rows: &[&DiffLine], mark: Mark, out: &mut dyn Write) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        for (index, line) in table::lines(columns(heading, rows), self.width).into_iter().enumerate() {
            let mark = if index == 0 { Mark::Plain } else { mark };
            writeln!(out, "{}", self.paint.line(mark, &line))?;
        }
        Ok(())
    }

    fn settings(&self, rows: &[SettingRow], out: &mut dyn Write) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = setting_columns(rows);
        writeln!(out)?;
        table::lines(columns, self.width).iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    /// What is not shown, in numbers.
    fn folded(&self, lines: &[DiffLine], comparison: &DiffReport) -> String {
        let of = |wanted: &dyn Fn(DiffVerdict) -> bool| lines.iter().filter(|line| wanted(line.verdict)).count() as u64;
        let same = of(&|verdict| verdict == DiffVerdict::Same);
        let with_load = of(&|verdict| verdict == DiffVerdict::WithLoad);
        let changed = of(&|verdict| verdict.is_change());
        let mut parts = vec![format!("The same: {}", counted(same, "row", "rows"))];
        if with_load > 0 {
            parts.push(format!("changed as connections did: {}", count(with_load)));
        }
        let unknown = words::NOT_SAID.into_iter().filter_map(|why| {
            let rows = of(&|verdict| verdict == DiffVerdict::Unknown(why));
            (rows > 0).then(|| format!("cannot be said ({}): {}", words::unknown_short(why), count(rows)))
        });
        parts.extend(unknown);
        match &comparison.settings {
            None => parts.push("settings: not in both recordings".to_owned()),
            Some(rows) if rows.is_empty() => parts.push("settings: the same".to_owned()),
            Some(_) => {}
        }
        if comparison.changes().1 == 0 {
            return "Nothing was counted in either: no connection matches.".to_owned();
        }
        let all = if self.all { "" } else { "; --all shows them" };
        let is_doubtful = |line: &DiffLine| matches!(line.verdict, DiffVerdict::OneSided | DiffVerdict::Unknown(_));
        let found = match (changed, lines.iter().any(is_doubtful)) {
            (0, false) => "No difference.\n",
            (0, true) => "No difference is sure.\n",
            _ => "",
        };
        format!("{found}{}{all}.", parts.join(", "))
    }
}

fn mark(kind: ChangeKind) -> Mark {
    match kind {
        ChangeKind::NewFailure | ChangeKind::Worse => Mark::Failure,
        _ => Mark::Plain,
    }
}
