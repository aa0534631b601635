//! Which keys of a schema documents have: with a value, and left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What was seen of a schema, by the place of an object and its key.
#[derive(Default)]
pub struct Use(BTreeMap<(String, String), Seen>);

#[derive(Clone, Copy, Default)]
struct Seen {
    known: bool,
    left_out: bool,
}

impl Use {
    /// Takes in a document that is as the schema says.
    pub fn look(&mut self, schema: &Value, document: &Value) {
        self.walk(schema, schema, "", document);
    }

    fn walk(&mut self, root: &Value, schema: &Value, place: &str, value: &Value) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches('#');
            return self.walk(root, root.pointer(name).unwrap(), name, value);
        }
        let branches = schema["anyOf"].as_array();
        for (number, branch) in branches.into_iter().flatten().enumerate() {
            if fits(root, branch, value) {
                return self.walk(root, branch, &format!("{place}/{number}"), value);
            }
        }
        if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
            for (key, of) in properties {
                let seen = self.0.entry((place.to_owned(), key.clone())).or_default();
                match object.get(key) {
                    None => seen.left_out = true,
                    Some(value) => seen.known |= !value.is_null(),
                }
                if let Some(value) = object.get(key) {
                    self.walk(root, of, &format!("{place}/{key}"), value);
                }
            }
        }
        if let (Some(of), Some(object)) = (schema.get("additionalProperties"), value.as_object()) {
            object.values().for_each(|value| self.walk(root, of, &format!("{place}/*"), value));
        }
        if let (Some(of), Some(all)) = (schema.get("items"), value.as_array()) {
            all.iter().for_each(|value| self.walk(root, of, &format!("{place}/[]"), value));
        }
    }
}

/// Whether a value is of this branch, as far as its keys and the words in them tell.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(root, root.pointer(name.trim_start_matches('#')).unwrap(), value);
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        return branches.iter().any(|branch| fits(root, branch, value));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value);
    }
    match value {
        Value::Object(object) => schema["properties"].as_object().is_some_and(|properties| {
            let required = schema["required"].as_array().unwrap();
            required.iter().all(|key| object.contains_key(key.as_str().unwrap()))
                && object.iter().all(|(key, value)| {
                    let Some(of) = properties.get(key) else { return false };
                    of.get("enum").is_none_or(|words| words.as_array().unwrap().contains(value))
                })
        }),
        Value::Null => schema["type"] == "null",
        _ => false,
    }
}

/// What the schema lets there be, and what was never seen.
pub fn unused(schema: &Value, used: &Use) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(schema, schema, "", &mut |place, key, required| {
        let seen = used.0.get(&(place.to_owned(), key.to_owned())).copied().unwrap_or_default();
        let mut say = |what: &str| found.extend([format!("{place}/{key} {what}")]);
        if !seen.known {
            return say("known");
        }
        if !required && !seen.left_out {
            say("left out");
        }
    });
    found
}

fn walk(root: &Value, schema: &Value, place: &str, look: &mut dyn FnMut(&str, &str, bool)) {
    if place.is_empty() {
        let defs = root["$defs"].as_object();
        defs.into_iter().flatten().for_each(|(name, of)| walk(root, of, &format!("/$defs/{name}"), look));
    }
    if let Some(properties) = schema["properties"].as_object() {
        for (key, of) in properties {
            look(place, key, schema["required"].as_array().unwrap().contains(&key.as_str().into()));
            walk(root, of, &format!("{place}/{key}"), look);
        }
    }
    for (of, step) in [(schema.get("additionalProperties"), "*"), (schema.get("items"), "[]")] {
        of.into_iter().for_each(|of| walk(root, of, &format!("{place}/{step}"), look));
    }
    let branches = schema["anyOf"].as_array();
    for (number, branch) in branches.into_iter().flatten().enumerate() {
        walk(root, branch, &format!("{place}/{number}"), look);
    }
}
