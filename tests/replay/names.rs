//! One name means one type: no two public types of the tool share a name, and no private type has the name of a public one of another file.
//! Reads the sources as text.

use std::{collections::BTreeMap, path::PathBuf};

use crate::layers::texts;

#[test]
fn no_two_types_share_a_public_name() {
    let mut types: BTreeMap<String, Vec<(PathBuf, bool)>> = BTreeMap::new();
    for (path, text) in texts() {
        // What only a test has confuses nobody.
        if !path.ends_with("tests.rs") {
            for (name, public) in declared(&text) {
                types.entry(name).or_default().push((path.clone(), public));
            }
        }
    }
    assert!(types.len() > 300, "{}", types.len());
    let shared: Vec<String> = types
        .iter()
        .filter(|(_, places)| places.len() > 1 && places.iter().any(|(_, public)| *public))
        .map(|(name, places)| format!("{name}: {places:?}"))
        .collect();
    assert!(shared.is_empty(), "the same name for several types (true: public):\n{}", shared.join("\n"));
}

#[test]
fn declarations_are_found_in_every_form() {
    let text = "pub struct One<T>;\n    pub(super) enum Two {\nstruct Three(u8);\npub unsafe trait Four: Sized {}\npub(crate) type Five = u8;\n\
                // struct Six;\npub fn type_of() {}\nimpl Seven for One {\n    type Err = ();";
    let found = [("One", true), ("Two", true), ("Three", false), ("Four", true), ("Five", true), ("Err", false)];
    assert_eq!(declared(text), found.map(|(name, public)| (name.to_owned(), public)));
}

/// The types that a file declares, and whether other files can name them.
fn declared(text: &str) -> Vec<(String, bool)> {
    text.lines().filter_map(declaration).collect()
}

fn declaration(line: &str) -> Option<(String, bool)> {
    let line = line.trim_start();
    let after_pub = line.strip_prefix("pub").map(|rest| match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')').map_or("", |(_, rest)| rest),
        None => rest,
    });
    let rest = after_pub.unwrap_or(line).trim_start();
    let rest = rest.strip_prefix("unsafe ").unwrap_or(rest);
    let (keyword, rest) = rest.split_once(' ')?;
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    ["struct", "enum", "union", "trait", "type"].contains(&keyword).then_some((name, after_pub.is_some()))
}
