//! A document held against its schema. Also used by tests/kernel.

use jsonschema::Validator;
use serde_json::{Value, json};
use tcpwait::view::schema::{self, JsonDocument};

/// A schema: as it is, which programs have, and with unknown keys and wrong formats refused.
pub struct Checked {
    pub schema: Value,
    pub lenient: Validator,
    pub strict: Validator,
}

impl Checked {
    pub fn new(document: JsonDocument) -> Self {
        let schema = schema_of(document);
        let mut strict = schema.clone();
        refuse_others(&mut strict);
        let strict = jsonschema::draft202012::options().should_validate_formats(true).build(&strict).unwrap();
        let lenient = jsonschema::draft202012::new(&schema).unwrap();
        Self { schema, lenient, strict }
    }
}

/// The schema of a document.
pub fn schema_of(document: JsonDocument) -> Value {
    let mut text = Vec::new();
    schema::write(document, &mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Objects with keys of their own get no others.
fn refuse_others(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object) && object.contains_key("required") {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(refuse_others);
        }
        Value::Array(all) => all.iter_mut().for_each(refuse_others),
        _ => {}
    }
}
