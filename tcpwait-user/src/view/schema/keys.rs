//! The keys of a document as people read of them: where each is, what it may be, what it means.

use super::value::{Is, Property, Schema};

/// A key of a document, as people read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMeaning {
    /// Where it is: `findings[].id`; NAME stands for each name that there is.
    pub place: String,
    /// What its value may be.
    pub kind: String,
    /// What it means, in sentences.
    pub meaning: String,
    /// Whether it is always there.
    pub always: bool,
}

impl Schema {
    /// The keys in it, from the outside to the inside.
    pub fn keys(&self) -> Vec<KeyMeaning> {
        let mut keys = Vec::new();
        self.add_keys("", &mut Vec::new(), &mut keys);
        keys
    }

    /// What is shared is told of once, where it is first.
    fn add_keys(&self, place: &str, told: &mut Vec<&'static str>, keys: &mut Vec<KeyMeaning>) {
        match &self.is {
            Is::Object(own) => {
                for Property { name, value, always } in own {
                    let dot = if place.is_empty() { "" } else { "." };
                    let place = format!("{place}{dot}{name}");
                    keys.push(KeyMeaning {
                        place: place.clone(),
                        kind: value.kind(),
                        meaning: value.said(),
                        always: *always,
                    });
                    value.add_keys(&place, told, keys);
                }
            }
            Is::Map { value, .. } => value.add_keys(&format!("{place}.NAME"), told, keys),
            Is::List(value) | Is::Tuple(value, _) => value.add_keys(&format!("{place}[]"), told, keys),
            Is::Either(all) => all.iter().for_each(|one| one.add_keys(place, told, keys)),
            Is::Shared(name, schema) if !told.contains(name) => {
                told.push(name);
                schema().add_keys(place, told, keys);
            }
            // What has no keys in it.
            _ => {}
        }
    }

    /// What it may be, in a word or two.
    fn kind(&self) -> String {
        let name = match &self.is {
            Is::Either(_) => "one of several".to_owned(),
            Is::Shared(name, schema) => match schema().type_name() {
                Some(kind) => format!("{kind} ({name})"),
                None => (*name).to_owned(),
            },
            _ => self.type_name().unwrap_or_default().to_owned(),
        };
        if self.or_null { format!("{name} or null") } else { name }
    }

    /// What it means, and which words it may be.
    fn said(&self) -> String {
        let meaning = match &self.is {
            Is::Shared(_, schema) if self.meaning.is_empty() => schema().said(),
            Is::List(value) | Is::Tuple(value, _) if self.meaning.is_empty() => value.said(),
            _ => self.meaning.clone().into_owned(),
        };
        match &self.is {
            Is::Word(words) if words.len() == 1 => format!("{meaning} It is {}.", words.concat()),
            Is::Word(words) => format!("{meaning} One of {}.", words.join(", ")),
            _ => meaning,
        }
    }
}
