//! What a JSON value may be, and what it means: as JSON Schema (draft 2020-12) says it. Knows no document.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Serialize, Serializer, ser::SerializeMap};

/// What a value may be, and what it means.
#[derive(Clone, Debug)]
pub struct Schema {
    pub(super) meaning: Cow<'static, str>,
    pub(super) is: Is,
    pub(super) or_null: bool,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Is {
    /// A string, in a format that JSON Schema has a name for.
    Text(Option<&'static str>),
    /// One of these strings.
    Word(Vec<String>),
    /// A whole number, 0 or more.
    Count,
    /// A whole number.
    Signed,
    /// A number, within these bounds.
    Number { least: Option<u8>, most: Option<u8> },
    /// `true` or `false`.
    Bool,
    /// `true`, always.
    True,
    /// A number for the version of IP.
    Family,
    /// An object.
    Object(Vec<Property>),
    /// An object with a value of one kind for each name; `names`: those that there may be, and whether all of them are there.
    Map { names: Option<(Vec<String>, bool)>, value: Box<Schema> },
    /// An array.
    List(Box<Schema>),
    /// An array of so many.
    Tuple(Box<Schema>, u8),
    /// One of these. Of today's documents exactly one; with the keys of tomorrow, maybe several.
    Either(Vec<Schema>),
    /// What several keys are, under its name in `$defs`.
    Shared(&'static str, fn() -> Schema),
}

/// A key of an object.
#[derive(Clone, Debug)]
pub struct Property {
    pub(super) name: &'static str,
    pub(super) value: Schema,
    pub(super) always: bool,
}

/// A key that is always there.
pub fn always(name: &'static str, value: Schema) -> Property {
    Property { name, value, always: true }
}

/// A key that is left out where there is nothing to say.
pub fn sometimes(name: &'static str, value: Schema) -> Property {
    Property { name, value, always: false }
}

impl Schema {
    fn new(meaning: impl Into<Cow<'static, str>>, is: Is) -> Self {
        Self { meaning: meaning.into(), is, or_null: false }
    }

    /// The same, or null.
    pub fn or_null(mut self) -> Self {
        self.or_null = true;
        self
    }

    /// What is shared in it, by its name in `$defs`.
    fn collect_shared(&self, found: &mut BTreeMap<&'static str, Schema>) {
        match &self.is {
            Is::Object(keys) => keys.iter().for_each(|key| key.value.collect_shared(found)),
            Is::Map { value, .. } | Is::List(value) | Is::Tuple(value, _) => value.collect_shared(found),
            Is::Either(all) => all.iter().for_each(|one| one.collect_shared(found)),
            Is::Shared(name, schema) if !found.contains_key(name) => {
                let schema = schema();
                found.insert(name, schema.clone());
                schema.collect_shared(found);
            }
            Is::Shared(..)
            | Is::Text(_)
            | Is::Word(_)
            | Is::Count
            | Is::Signed
            | Is::Number { .. }
            | Is::Bool
            | Is::True
            | Is::Family => {}
        }
    }

    /// The JSON type's name; `None` where it follows from something else.
    pub(super) fn type_name(&self) -> Option<&'static str> {
        match &self.is {
            Is::Text(_) | Is::Word(_) => Some("string"),
            Is::Count | Is::Signed | Is::Family => Some("integer"),
            Is::Number { .. } => Some("number"),
            Is::Bool | Is::True => Some("boolean"),
            Is::Object(_) | Is::Map { .. } => Some("object"),
            Is::List(_) | Is::Tuple(..) => Some("array"),
            Is::Either(_) | Is::Shared(..) => None,
        }
    }

    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if !self.meaning.is_empty() {
            map.serialize_entry("description", &self.meaning)?;
        }
        match self.type_name() {
            Some(name) if self.or_null => map.serialize_entry("type", &[name, "null"])?,
            Some(name) => map.serialize_entry("type", name)?,
            None => {}
        }
        match &self.is {
            Is::Text(format) => format.map_or(Ok(()), |format| map.serialize_entry("format", format)),
            Is::Word(words) => {
                let words = words.iter().map(Some).chain(self.or_null.then_some(None));
                map.serialize_entry("enum", &words.collect::<Vec<_>>())
            }
            Is::Count => map.serialize_entry("minimum", &0),
            Is::Signed | Is::Bool => Ok(()),
            Is::True => map.serialize_entry("const", &true),
            Is::Family => map.serialize_entry("enum", &[4, 6]),
            Is::Number { least, most } => {
                least.map_or(Ok(()), |least| map.serialize_entry("minimum", &least))?;
                most.map_or(Ok(()), |most| map.serialize_entry("maximum", &most))
            }
            Is::Object(keys) => {
                let required: Vec<&str> = keys.iter().filter(|key| key.always).map(|key| key.name).collect();
                map.serialize_entry("properties", &Properties(keys))?;
                map.serialize_entry("required", &required)
            }
            Is::Map { names, value } => {
                if let Some((names, all)) = names {
                    map.serialize_entry("propertyNames", &BTreeMap::from([("enum", names)]))?;
                    if *all {
                        map.serialize_entry("required", names)?;
                    }
                }
                map.serialize_entry("additionalProperties", value)
            }
            Is::List(value) => map.serialize_entry("items", value),
            Is::Tuple(value, count) => {
                map.serialize_entry("items", value)?;
                map.serialize_entry("minItems", count)?;
                map.serialize_entry("maxItems", count)
            }
            Is::Either(all) => map.serialize_entry("anyOf", all),
            Is::Shared(name, _) => {
                let place = format!("#/$defs/{name}");
                if !self.or_null {
                    return map.serialize_entry("$ref", &place);
                }
                let either = [BTreeMap::from([("$ref", place.as_str())]), BTreeMap::from([("type", "null")])];
                map.serialize_entry("anyOf", &either)
            }
        }
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// The keys of an object, in their order.
struct Properties<'a>(&'a [Property]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|key| (key.name, &key.value)))
    }
}

/// The schema of a whole document.
pub struct DocumentSchema {
    /// What the document's own key `schema` says.
    pub name: &'static str,
    /// The document.
    pub of: Schema,
}

impl Serialize for DocumentSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("$schema", "https://json-schema.org/draft/2020-12/schema")?;
        map.serialize_entry("$id", &format!("urn:tcpwait:{}", self.name))?;
        map.serialize_entry("title", self.name)?;
        self.of.entries(&mut map)?;
        let mut shared = BTreeMap::new();
        self.of.collect_shared(&mut shared);
        if !shared.is_empty() {
            map.serialize_entry("$defs", &shared)?;
        }
        map.end()
    }
}

/// A string.
pub fn text(meaning: &'static str) -> Schema {
    Schema::new(meaning, Is::Text(None))
}

/// A moment.
pub fn time(meaning: &'static str) -> Schema {
    Schema::new(format!("{meaning}. RFC 3339, UTC, with nanoseconds."), Is::Text(Some("date-time")))
}

/// An IP address, of either version.
pub fn address(meaning: &'static str) -> Schema {
    let one = |format| Schema::new("", Is::Text(Some(format)));
    Schema::new(meaning, Is::Either(vec![one("ipv4"), one("ipv6")]))
}

/// The same, or null.
pub fn address_or_null(meaning: &'static str) -> Schema {
    let one = |format| Schema::new("", Is::Text(Some(format)));
    Schema::new(meaning, Is::Either(vec![one("ipv4"), one("ipv6").or_null()]))
}

/// One of these words.
pub fn word<W: Into<String>>(meaning: &'static str, words: impl IntoIterator<Item = W>) -> Schema {
    Schema::new(meaning, Is::Word(words.into_iter().map(Into::into).collect()))
}

/// The words that JSON has for the values of a type.
pub fn words<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    let word = |value: T| serde_json::to_value(value).ok()?.as_str().map(str::to_owned);
    values.into_iter().filter_map(word).collect()
}

/// A whole number, 0 or more.
pub fn count(meaning: &'static str) -> Schema {
    Schema::new(meaning, Is::Count)
}

/// A whole number.
pub fn signed(meaning: &'static str) -> Schema {
    Schema::new(meaning, Is::Signed)
}

/// A length of time in nanoseconds.
pub fn ns(meaning: &'static str) -> Schema {
    Schema::new(format!("{meaning}. Nanoseconds."), Is::Count)
}

/// A length of time in milliseconds.
pub fn ms(meaning: &'static str) -> Schema {
    Schema::new(format!("{meaning}. Milliseconds."), Is::Count)
}

/// A rate.
pub fn per_s(meaning: &'static str) -> Schema {
    Schema::new(format!("{meaning}. Per second."), Is::Number { least: Some(0), most: None })
}

/// A rate, which may be below 0.
pub fn change_per_s(meaning: &'static str) -> Schema {
    Schema::new(
        format!("{meaning}. Per second; below 0 where it becomes less."),
        Is::Number { least: None, most: None },
    )
}

/// A part of a whole.
pub fn share(meaning: &'static str) -> Schema {
    Schema::new(format!("{meaning}. 0 to 1."), Is::Number { least: Some(0), most: Some(1) })
}

/// A number, 0 or more.
pub fn number(meaning: &'static str) -> Schema {
    Schema::new(meaning, Is::Number { least: Some(0), most: None })
}

/// Yes or no.
pub fn whether(meaning: &'static str) -> Schema {
    Schema::new(meaning, Is::Bool)
}

/// `true`, where it is there.
pub fn true_only(meaning: &'static str) -> Schema {
    Schema::new(meaning, Is::True)
}

/// 4 or 6.
pub fn family(meaning: &'static str) -> Schema {
    Schema::new(meaning, Is::Family)
}

/// An object with these keys.
pub fn object(meaning: &'static str, keys: impl IntoIterator<Item = Property>) -> Schema {
    Schema::new(meaning, Is::Object(keys.into_iter().collect()))
}

/// An object with a value for each of some names.
pub fn map(meaning: &'static str, value: Schema) -> Schema {
    Schema::new(meaning, Is::Map { names: None, value: Box::new(value) })
}

/// An object with a value for some of these names.
pub fn map_of_some<'a>(meaning: &'static str, names: impl IntoIterator<Item = &'a str>, value: Schema) -> Schema {
    let names = names.into_iter().map(str::to_owned).collect();
    Schema::new(meaning, Is::Map { names: Some((names, false)), value: Box::new(value) })
}

/// An object with a value for each of these names.
pub fn map_of_all<'a>(meaning: &'static str, names: impl IntoIterator<Item = &'a str>, value: Schema) -> Schema {
    let names = names.into_iter().map(str::to_owned).collect();
    Schema::new(meaning, Is::Map { names: Some((names, true)), value: Box::new(value) })
}

/// An array.
pub fn list(meaning: &'static str, of: Schema) -> Schema {
    Schema::new(meaning, Is::List(Box::new(of)))
}

/// An array of two.
pub fn pair(meaning: &'static str, of: Schema) -> Schema {
    Schema::new(meaning, Is::Tuple(Box::new(of), 2))
}

/// One of these.
pub fn either(meaning: &'static str, all: impl IntoIterator<Item = Schema>) -> Schema {
    Schema::new(meaning, Is::Either(all.into_iter().collect()))
}

/// What several keys are: written once, under this name.
pub fn shared(meaning: &'static str, name: &'static str, schema: fn() -> Schema) -> Schema {
    Schema::new(meaning, Is::Shared(name, schema))
}

/// The key `schema` of a document.
pub fn schema_key(name: &'static str) -> Property {
    always("schema", word("Which document this is, and the version of its keys.", [name]))
}
