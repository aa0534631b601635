//! How far the page can be trusted: what was lost, by cause, the audit, hooks that were not there; and what its words mean.

use maud::{Markup, html};

use crate::{
    aggregate::report::StatReport,
    plain,
    view::{audit, ledger, stat::sentences},
};

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
