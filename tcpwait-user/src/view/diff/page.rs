//! A comparison as one page that opens anywhere: what differs in words, then pictures, then what is the same. Nothing is fetched, and a policy in the page
//! says so.

use jiff::{Timestamp, tz::TimeZone};
use maud::{Markup, html};

use super::{
    lines::{DiffLine, columns, far_apart, lines, one_sided, setting_columns},
    pictures, words,
};
use crate::{
    diff::{
        compare::DiffReport,
        interval::CONFIDENCE,
        row::ChangeKind,
        verdict::{DiffVerdict, LEAST_CHANGE, LEAST_EVENTS, LEAST_NS, LEAST_WAIT_NS, NotSaid},
    },
    view::{
        page::{
            markup::{picture, section, table},
            shell,
        },
        units::{date_time, duration},
    },
};

/// The page; `document`: the comparison as JSON.
pub fn html(comparison: &DiffReport, document: &str, zone: &TimeZone) -> String {
    let lines = lines(comparison);
    let got = "Both recordings from their beginning on. Connections that ended and TIME_WAITs that began are always here, of all else what differs.";
    let spread = "Each is as high as its most frequent length; lengths are in tens, hundreds and so on. Squares are quantiles, the bars through them their intervals.";
    let course = html! { (key()) (picture("Over time", "", pictures::course(comparison))) };
    let durations = html! { (key()) (picture("How long things took", "", pictures::durations(&comparison.durations))) };
    let machine = picture("The state machine", "", pictures::machine(comparison));
    let steps = "Steps a second before -> after; in bold where the rate and the share of 1,000 connections differ. In the states: the most sockets at once.";
    let body = html! {
        (head(comparison, zone))
        (section("differences", "What differs", differences(comparison, &lines), ""))
        (section("settings", "Settings", settings(comparison), ""))
        (section("over-time", "Over time", course, got))
        (section("states", "States", machine, steps))
        (section("times", "How long things took", durations, spread))
        (section("same", "The same, and what cannot be said", folded(&lines), ""))
        (section("method", "How this was judged", method(), ""))
    };
    // What is in a script element ends where its end tag is read, quoted or not.
    let document = document.replace('<', "\\u003c");
    shell("Two recordings compared", &body, &document)
}

fn head(comparison: &DiffReport, zone: &TimeZone) -> Markup {
    let origin = |origin: &crate::diff::comparable::SideFacts| {
        let begins = date_time(Timestamp::from_nanosecond(origin.realtime_ns).ok(), zone);
        words::origin(origin, &begins)
    };
    html! {
        dl {
            dt { "before" } dd { (origin(&comparison.before)) }
            dt { "after" } dd { (origin(&comparison.after)) }
        }
        p { button id="save" type="button" hidden { "Save the numbers as JSON" } }
        @if comparison.unlike.is_empty() { p { (words::ALIKE) } }
        @for unlike in &comparison.unlike { p.loss { (words::unlike(unlike)) } }
        p { strong { (words::load(comparison)) } }
        @for sentence in words::time_wait(comparison) { p { strong { (sentence) } } }
    }
}

fn differences(comparison: &DiffReport, lines: &[DiffLine]) -> Markup {
    let (differ, all) = comparison.changes();
    let (one_sided, few) = one_sided(lines);
    let far = far_apart(lines);
    html! {
        @if differ == 0 { p { "No difference is sure, in " (all) " rows." } }
        @for kind in words::KINDS {
            @let rows: Vec<&DiffLine> = lines.iter().filter(|line| line.kind == Some(kind)).collect();
            @if !rows.is_empty() {
                h3.wrong[matches!(kind, ChangeKind::NewFailure | ChangeKind::Worse)] { (title(words::heading(kind))) }
                (table(words::heading(kind), columns("what", &rows), ""))
            }
        }
        @if !one_sided.is_empty() {
            h3 { "On one side only, too little to be sure" }
            p.quiet { (words::one_sided_means()) }
            (table("On one side only", columns("what", &one_sided), ""))
        }
        @if !few.is_empty() {
            details {
                summary { "On one side only, once or twice (" (few.len()) ")" }
                (table("On one side only, once or twice", columns("what", &few), ""))
            }
        }
        @if !far.is_empty() {
            h3 { "Far apart, and too little to be sure" }
            (table("Far apart", columns("what", &far), ""))
        }
    }
}

/// `NEW FAILURES` as a page has it.
fn title(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let mut letters = lower.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn settings(comparison: &DiffReport) -> Markup {
    html! {
        @match &comparison.settings {
            None => p.quiet { "Not compared: a recording of an older version has none." },
            Some(rows) if rows.is_empty() => p.quiet { "The same." },
            Some(rows) => (table("Settings", setting_columns(rows), "")),
        }
    }
}

fn folded(lines: &[DiffLine]) -> Markup {
    let of = |wanted: &dyn Fn(DiffVerdict) -> bool| -> Vec<&DiffLine> {
        lines.iter().filter(|line| wanted(line.verdict)).collect()
    };
    let unknown = |why: NotSaid| of(&|verdict| verdict == DiffVerdict::Unknown(why));
    let parts = [
        ("The same".to_owned(), of(&|verdict| verdict == DiffVerdict::Same)),
        ("Changed as connections did".to_owned(), of(&|verdict| verdict == DiffVerdict::WithLoad)),
    ];
    let cannot = words::NOT_SAID.map(|why| (format!("Cannot be said: {}", words::unknown(why)), unknown(why)));
    html! {
        @for (name, rows) in parts.iter().chain(&cannot) {
            @if !rows.is_empty() {
                details { summary { (name) " (" (rows.len()) ")" } (table(name, columns("what", rows), "")) }
            }
        }
    }
}

fn key() -> Markup {
    html! {
        ul.key {
            li { svg viewBox="0 0 10 10" aria-hidden="true" { rect.before-area width="10" height="10" {} } " before" }
            li { svg viewBox="0 0 10 10" aria-hidden="true" { path.after-line d="M0 5L10 5" {} } " after" }
        }
    }
}

fn method() -> Markup {
    html! {
        ul {
            li { "Rates a second are compared, and what comes to 1,000 connections that ended; of reasons for which TIME_WAIT was left, to 1,000 that did. Totals are not: the recordings need not be equally long." }
            li { "A difference is one where the " (CONFIDENCE) "% interval of the ratio says so, it is more than " (LEAST_CHANGE * 100.0) "%, and one side has " (LEAST_EVENTS) " or more. The interval follows from how much each recording varies from one part of its time to the next." }
            li { "What is held against connections differs only if both its rate and its share of 1,000 do; else it changed as they did, or did not although they did. Of a connection within the machine both ends count." }
            li { "Of lengths, the intervals of a quantile must not meet, and the quantiles must be more than " (LEAST_CHANGE * 100.0) "% apart, and " (duration(Some(LEAST_NS))) "; of the time until a connection is made, " (duration(Some(LEAST_WAIT_NS))) ". They are compared by whose they are, so that more of one kind is no change of another." }
            li { "Two are the same if the whole interval lies within " (words::within()) ". What is neither a difference nor the same cannot be said." }
            li { "What is on one side only is new or gone if it came in five parts of the time or more: a single burst may be chance." }
            li { "Of lengths, those that are still in a state count for as long as they have been there. Where a quantile falls among them, it is at least so long (>), and not compared." }
            li { "Of sockets whose number grows or shrinks all the time, the most there were are compared." }
            li { "Ends of TIME_WAIT, and how many are in it, are compared from 65 s after the beginning of a recording: before, they are of connections from before it." }
            li { "What the kernel dropped is counted by the kernel, of all connections of the namespaces that were recorded." }
            li { "Where events were lost, a difference is told only if it would be one with all of them on the other side." }
            li { "More is worse of failures, of connections cut short, of SYNs sent again, of CLOSE_WAIT and SYN_RECV, and of the time until a connection is made. More TIME_WAIT is neither." }
        }
    }
}
