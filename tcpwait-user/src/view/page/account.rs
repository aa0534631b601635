//! How far the page can be trusted: what was lost, by cause, the audit, hooks that were not there; and what its words mean.

use maud::{Markup, html};

use crate::{
    aggregate::report::StatReport,
    plain,
    view::{audit, ledger, stat::sentences},
};

/// What the words of the page mean.
const WORDS: [(&str, &str); 9] = [
    (
        "TIME_WAIT",
        "The side that closes a connection first keeps it for a minute, so that late segments of it do no harm. It costs little memory; of a connection that was made here it holds the local port.",
    ),
    (
        "2·MSL",
        "Twice the longest time that a segment lives in the network, by the RFC: how long TIME_WAIT is to take. Linux takes 60 s, whatever the settings.",
    ),
    ("entered, left", "How many came to a state, and how many went. Now: how many there are when the recording ends."),
    ("mini-socket", "What the kernel keeps of a connection in TIME_WAIT, or in FIN_WAIT2 once no process holds it."),
    ("request socket", "What the kernel keeps of a connection from others before the handshake is over."),
    ("orphan", "A connection that no process holds any more: it was closed, and the kernel brings it to its end."),
    ("at least, >", "Not all was seen, by a loss or because it was there before: the number is this or more."),
    (
        "~",
        "An estimate: a time that is right to a tick or two of the kernel's clock, or a number of which one connection in so many was told of.",
    ),
    ("-", "It is not known."),
];

/// The account.
pub fn content(report: &StatReport, missing_hooks: &[(String, String)]) -> Markup {
    let mut text = Vec::new();
    let _ = ledger::write(&report.ledger, &mut text);
    let text = String::from_utf8_lossy(&text);
    html! {
        @for line in text.lines() { p { (line) } }
        @if let Some(rests_on) = sentences::rests_on(report) { p { (rests_on) } }
        p { (audit::sentence(&report.audit, true)) }
        @if !missing_hooks.is_empty() {
            p { "Hooks that were not there, and why:" }
            ul { @for (hook, why) in missing_hooks.iter().take(MAX_HOOKS) { li { (shown(hook)) ": " (shown(why)) } } }
        }
    }
}

/// So many hooks there may be: a recording may tell of as many as it likes.
const MAX_HOOKS: usize = 100;

fn shown(text: &str) -> String {
    plain::beginning(&plain::escaped(text), 300)
}

/// The glossary.
pub fn glossary() -> Markup {
    html! { dl { @for (word, meaning) in WORDS { dt { (word) } dd { (meaning) } } } }
}
