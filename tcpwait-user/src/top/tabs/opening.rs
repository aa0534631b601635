//! Connections that are being made: how long that takes, whose SYN was sent again, queues that are full, calls that failed.

use super::{folded, worst};
use crate::{
    tcp::State,
    top::{
        look::Look,
        page::{Page, ScreenLine},
        sheet::{RowKey, Sheet},
    },
    view::{
        paint::Mark,
        stat::{sections, sentences},
        table,
    },
};

pub(super) fn page(look: Look<'_>, page: &mut Page) {
    let report = &look.snapshot.report;
    page.lines(3, worst::first(look));
    page.gap(5);
    let handshakes = handshakes(look);
    page.others.extend(handshakes.iter().map(|column| column.header().to_owned()));
    page.written(1, table::lines(handshakes, look.width));
    for sentence in [sentences::syn_recv(report), sentences::kernel_counters(report)] {
        page.sentences(2, sentence.map(|sentence| folded(&sentence, look.width)).unwrap_or_default());
    }
    page.sentences(2, folded(&queues(look), look.width));
    let connects = sections::connects(report, look.context(), look.width);
    if !connects.is_empty() {
        page.gap(5);
        page.written(2, connects);
    }
    let failures = &report.failures;
    if failures.total == 0 {
        page.gap(4);
        return page.lines(0, vec![ScreenLine::plain("no call has failed in this interval")]);
    }
    let columns = sections::failure_columns(report, look.context());
    let mut keys: Vec<RowKey> = failures.rows.iter().map(|row| RowKey(format!("{:?}", row.kind))).collect();
    keys.extend((failures.others > 0).then(|| RowKey("other".to_owned())));
    page.table(4, Sheet { marks: vec![Mark::Failure; keys.len()], keys, columns, has_others: failures.others > 0 });
}

/// SYN_SENT and SYN_RECV, and what became of those in SYN_RECV.
fn handshakes(look: Look<'_>) -> Vec<table::Column> {
    let (states, columns) = sections::state_columns(&look.snapshot.report);
    let mut shown = false;
    let mut rows = Vec::new();
    for (row, state) in states.iter().enumerate() {
        // Rows below a state are of that state.
        if let Some(state) = state {
            shown = matches!(state, State::Listen | State::SynSent | State::SynRecv);
        }
        rows.extend(shown.then_some(row));
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let columns = columns.iter().map(|column| column.with_rows(&rows)).filter(table::Column::has_values);
    columns.collect()
}

/// Accept queues, when the kernel's counters were read last.
fn queues(look: Look<'_>) -> String {
    let audit = &look.snapshot.report.audit;
    match audit.full {
        Some(queue) => {
            let others = match queue.others {
                0 => String::new(),
                others => format!("; {others} more are full"),
            };
            format!(
                "accept queue of :{} is full: Recv-Q {}, Send-Q {} as in `ss -ltn`{others}",
                queue.port, queue.waiting, queue.backlog
            )
        }
        None if audit.time_ns.is_some() => "no accept queue was full when the kernel was asked last".to_owned(),
        None => format!(
            "accept queues: unknown{}",
            audit.why_not.as_ref().map(|why| format!(", {why}")).unwrap_or_default()
        ),
    }
}
