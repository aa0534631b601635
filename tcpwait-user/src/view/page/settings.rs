//! The settings of each namespace: the kernel's defaults beside them, and what `tcpwait doctor` would remark on, by the settings alone.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::markup;
use crate::{
    aggregate::by::Value,
    doctor::{
        self, DoctorReport,
        facts::{Facts, Namespace, SysctlSettings},
        finding::Evidence,
        settings::{self, Explained},
    },
    plain,
    report::ReportContents,
    tcp::NetnsId,
    view::{ViewContext, key, table::Column, units::counted},
};

/// So many namespaces with the same settings are named.
const NAMED: usize = 8;

/// The section.
pub fn content(collected: &ReportContents, context: ViewContext<'_>) -> Markup {
    let all = &collected.settings;
    let left_out = collected.settings_left_out;
    html! {
        @if all.is_empty() { p.quiet { "The recording has no settings: it was made by a version that did not keep them." } }
        @for (namespaces, settings) in same(all) {
            @let names = names(&namespaces, context);
            h3 { (if namespaces.len() == 1 { "Network namespace " } else { "Network namespaces " }) (names) }
            (markup::table(&format!("Settings of {names}"), columns(settings), "None could be read."))
        }
        @if left_out > 0 { p { (counted(left_out, "setting is", "settings are")) " left out: the recording tells of too many." } }
    }
}

/// The first of them by name.
fn names(namespaces: &[NetnsId], context: ViewContext<'_>) -> String {
    let first = namespaces.iter().take(NAMED).map(|netns| key::text(Value::Netns(*netns), context.names));
    let more = namespaces.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("{more} more"));
    first.chain(more).collect::<Vec<_>>().join(", ")
}

/// Namespaces with the same settings together.
fn same(all: &BTreeMap<NetnsId, BTreeMap<String, String>>) -> Vec<(Vec<NetnsId>, &BTreeMap<String, String>)> {
    let mut sets: Vec<(Vec<NetnsId>, &BTreeMap<String, String>)> = Vec::new();
    for (netns, settings) in all {
        match sets.iter_mut().find(|(_, other)| *other == settings) {
            Some((namespaces, _)) => namespaces.push(*netns),
            None => sets.push((vec![*netns], settings)),
        }
    }
    sets
}

fn columns(settings: &BTreeMap<String, String>) -> Vec<Column> {
    let namespace = Namespace { settings: SysctlSettings(settings.clone()), ..Namespace::default() };
    let said = doctor::examine(&Facts { namespaces: vec![namespace.clone()], ..Facts::default() });
    let explained = settings::explain(&namespace, |name| !remarks(&said, name).is_empty());
    let of = |name: &String| explained.iter().find(|explained| explained.name == name);
    let remark = |name: &String| {
        let found = remarks(&said, name);
        // Else: what one that is not at its default does.
        let differs =
            of(name).filter(|explained| is_changed(explained)).map(|explained| format!("changed: {}", explained.here));
        if found.is_empty() { differs.unwrap_or_default() } else { found.join("; ") }
    };
    let default =
        |name: &String| of(name).and_then(|explained| explained.default.clone()).map_or_else(|| "-".to_owned(), quoted);
    vec![
        Column::text("SETTING", 0, settings.keys().map(|name| plain::column(name)).collect()),
        Column::text("VALUE", 0, settings.values().cloned().map(quoted).collect()),
        Column::text("DEFAULT", 0, settings.keys().map(default).collect()),
        Column::text("REMARK", 0, settings.keys().map(remark).collect()),
    ]
}

/// What the doctor finds by a setting.
fn remarks<'a>(said: &'a DoctorReport, name: &str) -> Vec<&'a str> {
    let cites = |evidence: &Evidence| matches!(evidence, Evidence::Setting { setting, .. } if setting == name);
    let found = said.findings.iter().filter(|found| found.finding.evidence.iter().any(cites));
    found.map(|found| found.finding.what.as_str()).collect()
}

fn is_changed(explained: &Explained) -> bool {
    explained.default.as_ref().is_some_and(|default| *default != explained.value)
}

/// A value, of which nothing is a value too.
fn quoted(value: String) -> String {
    if value.is_empty() { "(empty)".to_owned() } else { plain::column(&value) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[test]
    fn what_is_changed_says_what_the_doctor_says() {
        let settings = [
            ("net.ipv4.tcp_fin_timeout", "10"),
            ("net.ipv4.tcp_rfc1337", "1"),
            ("net.ipv4.tcp_syncookies", "1"),
            ("net.ipv4.tcp_mem", "1 2 3"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let columns = columns(&settings);
        let [names, _, defaults, remarks] = columns.as_slice() else { panic!("{columns:?}") };
        let of = |column: &Column, name: &str| {
            let at = names.cells().iter().position(|cell| cell.ends_with(name));
            at.and_then(|at| column.cells().get(at).cloned()).unwrap_or_default()
        };
        assert_eq!(["fin_timeout", "rfc1337", "mem"].map(|name| of(defaults, name)), ["60", "0", "-"]);
        assert!(of(remarks, "fin_timeout").contains("TIME_WAIT"), "{remarks:?}");
        assert_eq!(of(remarks, "rfc1337"), "changed: an RST does not end a TIME_WAIT");
        assert_eq!(["syncookies", "mem"].map(|name| of(remarks, name)), ["", ""]);
    }
}
