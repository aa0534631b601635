//! Settings that are not the same in two recordings.

use std::collections::{BTreeMap, BTreeSet};

use super::{measured::Measured, row::SettingRow};

/// The settings that are not the same. A namespace that is there on one side only has a row, not one for each setting.
pub(super) fn settings(before: &Measured, after: &Measured) -> Vec<SettingRow> {
    let only = |measured: &Measured| measured.settings.keys().next().filter(|_| measured.settings.len() == 1).cloned();
    // Where each is of one namespace, that is what is compared, whatever it was called.
    if let (Some(old), Some(new)) = (only(before), only(after)) {
        let of = |measured: &Measured, name: &str| measured.settings.get(name).cloned().unwrap_or_default();
        return differ(&new, &of(before, &old), &of(after, &new));
    }
    let names: BTreeSet<&String> = before.settings.keys().chain(after.settings.keys()).collect();
    let mut rows = Vec::new();
    for netns in names {
        let (old, new) = (before.settings.get(netns), after.settings.get(netns));
        let (Some(old), Some(new)) = (old, new) else {
            let there = |there: bool| there.then(|| "there".to_owned());
            let (before, after) = (there(old.is_some()), there(new.is_some()));
            rows.push(SettingRow { netns: netns.clone(), name: "network namespace".to_owned(), before, after });
            continue;
        };
        rows.extend(differ(netns, old, new));
    }
    rows
}

fn differ(netns: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<SettingRow> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let row = |name: &String| SettingRow {
        netns: netns.to_owned(),
        name: name.clone(),
        before: old.get(name).cloned(),
        after: new.get(name).cloned(),
    };
    differ.map(row).collect()
}
