//! Ports: the picture, the rows of `tcpwait ports` and its sentences.

use maud::{Markup, html};

use super::{axis::TimeAxis, markup, ports};
use crate::{
    aggregate::ports::{advice::PortCause, report::PortsReport},
    report::ReportContents,
    view::{
        ViewContext,
        ports::{remedies, sentences, text},
        units::date_time,
    },
};

/// So many destinations have sentences of their own, and so many calls that failed.
const IN_WORDS: usize = 6;

/// What a reader of the table may ask first.
const COLUMNS: &str = "All at the end: USED, ports in use; OF, those that connect() may take; %, the share of these that it cannot take now (a TIME_WAIT that it \
     may reuse is not in its way); IN/s, new connections a second over the last 10 to 30 s; HELD, how long a port was in use, of those that \
     became free; FORECAST, at that rate; FAILED, connect() calls that found no free port.";

/// The section.
pub fn content(report: &PortsReport, collected: &ReportContents, axis: &TimeAxis<'_>) -> Markup {
    let context = axis.context;
    let course = &collected.ports;
    let several = report.namespaces.len() > 1;
    let bound = report.bound.as_deref().unwrap_or_default();
    html! {
        (markup::picture("Ports in use over time", "ports", ports::picture(course, &collected.course, axis)))
        @for sentence in ports::explained(course) { p.quiet { (sentence) } }
        (markup::sentences(report.namespaces.iter().map(|one| sentences::settings(one, several, context))))
        @if report.rows.is_empty() { p.quiet { "No local port was in use for a connection that was made here." } } @else {
            (markup::table("Destinations", text::destination_columns(report, context), ""))
            p.quiet { (COLUMNS) }
        }
        @if !bound.is_empty() { (markup::table("Ports that bind() gave", text::bound_columns(bound, several, context), "")) }
        (words(report, context, axis))
    }
}

/// What `tcpwait ports` says below its table.
fn words(report: &PortsReport, context: ViewContext<'_>, axis: &TimeAxis<'_>) -> Markup {
    let clock = |ns| date_time(context.wall(ns), axis.zone);
    let bound = report.bound.as_deref().unwrap_or_default();
    let of_bound = bound.iter().filter_map(|row| sentences::bound(row, context)).take(IN_WORDS);
    // What bind() takes is said once for all destinations.
    let is_said = |row: &&crate::aggregate::ports::report::PortRow| {
        row.advice.as_ref().is_some_and(|advice| advice.cause != PortCause::Bound || !row.failures.is_empty())
    };
    let of_rows = report.rows.iter().filter(is_said).take(IN_WORDS).map(|row| {
        let (verdict, mut more) = sentences::of(row, report, context, &clock);
        more.extend(row.advice.iter().flat_map(|advice| remedies::advice(advice, row)));
        (verdict, more)
    });
    let binds = report.binds.iter().take(IN_WORDS).map(|bind| sentences::bind(bind, report.at_least, context));
    let notes = [sentences::outside(report), sentences::unknown(report), sentences::selected(report)];
    html! {
        (markup::sentences(of_bound.flatten()))
        @for (verdict, more) in of_rows {
            p.wrong { (verdict) }
            ul { @for sentence in more { li { (sentence) } } }
        }
        (markup::sentences(binds.chain(notes.into_iter().flatten())))
    }
}
