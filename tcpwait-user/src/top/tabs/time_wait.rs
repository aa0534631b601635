//! TIME_WAIT: how long those that are there have to go, how long it took, and who ended it early.

use super::{folded, worst};
use crate::{
    plain,
    top::{
        look::Look,
        page::{Page, ScreenLine},
        sheet::{RowKey, Sheet},
        snapshot::{BAR_S, EarlyEnder, EarlyRow},
    },
    view::{
        key::comm_of,
        paint::Mark,
        stat::{
            sections::{self, about},
            sentences,
        },
        table::{self, Column},
        units::{count, duration},
    },
};

/// The width from which both tables stand side by side.
const BESIDE: usize = 76;

/// The longest bar.
const BAR: usize = 16;

pub(super) fn page(look: Look<'_>, page: &mut Page) {
    let report = &look.snapshot.report;
    page.lines(3, worst::first(look));
    page.gap(5);
    let (left, took) = (time_left(look), sections::histogram(report, look.width));
    if look.width >= BESIDE {
        let beside = beside(left, took);
        page.lines(1, beside);
    } else {
        page.lines(1, beside(left, Vec::new()));
        page.gap(4);
        page.written(2, took);
    }
    for sentence in [sentences::length(&report.time_wait), sentences::steady(&report.time_wait, false)] {
        page.sentences(6, sentence.map(|sentence| folded(&sentence, look.width)).unwrap_or_default());
    }
    page.table(4, early(look));
    if look.snapshot.early.is_empty() {
        page.sentences(4, folded("no TIME_WAIT has ended before its time since tcpwait started", look.width));
    }
}

/// Two tables beside each other.
fn beside(left: Vec<String>, right: Vec<String>) -> Vec<ScreenLine> {
    let width = left.iter().map(|line| plain::width(line)).max().unwrap_or_default() + 3;
    let rows = left.len().max(right.len());
    let of = |lines: &[String], row: usize| lines.get(row).cloned().unwrap_or_default();
    let line = |row: usize| {
        let first = of(&left, row);
        let text = format!("{first}{}{}", " ".repeat(width.saturating_sub(plain::width(&first))), of(&right, row));
        if row == 0 { ScreenLine::title(text) } else { ScreenLine::plain(text.trim_end()) }
    };
    (0..rows).map(line).collect()
}

/// How long those that are there have to go.
fn time_left(look: Look<'_>) -> Vec<String> {
    let left = &look.snapshot.time_left;
    if left.total() == 0 {
        return vec!["TIME LEFT: no TIME_WAIT now".to_owned()];
    }
    let mut rows: Vec<(String, u64)> = Vec::new();
    if left.over > 0 {
        rows.push(("over: timer late".to_owned(), left.over));
    }
    rows.extend((0..).zip(left.bars).map(|(at, count)| (format!("{} to {}s", at * BAR_S, (at + 1) * BAR_S), count)));
    if left.beyond > 0 {
        rows.push(("more than 60s".to_owned(), left.beyond));
    }
    if left.unknown > 0 {
        rows.push(("older: unknown".to_owned(), left.unknown));
    }
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or_default();
    let theme = look.theme;
    let thinned = look.snapshot.report.sample.one_in > 1;
    let shown = |number: u64| about(thinned && number > 0, count(number));
    let columns = vec![
        Column::text("TIME LEFT", 0, rows.iter().map(|(name, _)| name.clone()).collect()),
        Column::number("NOW", 0, rows.iter().map(|(_, number)| shown(*number)).collect()),
        Column::text("", 1, rows.iter().map(|(_, number)| theme.count_bar(*number, most, BAR)).collect()),
    ];
    table::lines(columns, look.width)
}

/// Who ended TIME_WAITs before their time.
fn early(look: Look<'_>) -> Sheet {
    let rows = &look.snapshot.early;
    let column = |cell: &dyn Fn(&EarlyRow) -> String| rows.iter().map(cell).collect::<Vec<_>>();
    Sheet {
        keys: rows.iter().map(|row| RowKey(format!("{:?} {:?}", row.reason, row.by))).collect(),
        marks: vec![Mark::Plain; rows.len()],
        columns: vec![
            Column::text("ENDED EARLY", 0, column(&|row| row.reason.name().to_owned())),
            Column::text("BY", 0, column(&|row| by(row.by))),
            Column::number("COUNT", 0, column(&|row| about(row.estimate, count(row.count)))),
            Column::number("AFTER", 1, column(&|row| duration(row.mean_ns))),
        ],
        has_others: false,
    }
}

fn by(by: EarlyEnder) -> String {
    match by {
        EarlyEnder::Process(comm) => plain::column(&comm_of(comm)),
        EarlyEnder::Peer(address) => format!("the peer {address}"),
        EarlyEnder::Unknown => "-".to_owned(),
        EarlyEnder::Other => "others".to_owned(),
    }
}
