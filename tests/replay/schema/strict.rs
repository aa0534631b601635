//! A document held against its schema. Also used by tests/kernel.

use jsonschema::Validator;
use serde_json::{Value, json};
use tcpwait::view::schema::{self, JsonDocument};

/// A schema: as it is, which programs have, and with unknown keys and wrong formats refused.
pub struct Checked {
    lenient: Validator,
    strict: Validator,
}

impl Checked {
    pub fn new(document: JsonDocument) -> Self {
        let schema = schema_of(document);
        let mut strict = schema.clone();
        refuse_others(&mut strict);
        let strict = jsonschema::draft202012::options().should_validate_formats(true).build(&strict).unwrap();
        let lenient = jsonschema::draft202012::new(&schema).unwrap();
        Self { lenient, strict }
    }

    /// What is wrong with a document of today.
    pub fn check(&self, document: &Value) -> Result<(), String> {
        let errors = self.strict.iter_errors(document).chain(self.lenient.iter_errors(document));
        let said: Vec<String> = errors.map(|error| format!("{error} at {}", error.instance_path())).collect();
        if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
    }

    /// Whether a program takes a document, which may be of a later version.
    pub fn takes(&self, document: &Value) -> bool {
        self.lenient.is_valid(document)
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
