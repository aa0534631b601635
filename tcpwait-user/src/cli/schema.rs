//! `tcpwait schema`: its options.

use clap::{Args, ValueEnum, builder::PossibleValue};

use crate::view::schema::JsonDocument;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
The schema is JSON Schema, draft 2020-12: every key with its type, its unit, its
meaning, and whether it may be null. Its title is the value of the key \"schema\"
of the documents. A later version may add keys, and words to the lists of words:
read those that you know, and ignore others.

Examples:
  tcpwait schema                         which there are
  tcpwait schema stat                    of tcpwait stat --json
  tcpwait schema raw                     of tcpwait trace --raw --json";

/// `tcpwait schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Whose JSON; without it, the list of them
    #[arg(value_name = "COMMAND", value_enum)]
    pub document: Option<JsonDocument>,
}

impl ValueEnum for JsonDocument {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}
