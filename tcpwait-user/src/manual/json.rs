//! tcpwait-json(7): every key of the JSON documents.

use super::page::{Block, ManualPage};
use crate::view::schema::JsonDocument;

pub(super) fn page() -> ManualPage {
    let mut page = ManualPage::new("tcpwait-json", 7, "the keys of the JSON documents that tcpwait prints");
    page.add(
        "DESCRIPTION",
        [
            "Each document is one line. Its first key, `schema`, says which keys it has; the number behind the slash grows when a key goes away or changes \
             its meaning, not when one is added. `tcpwait schema` prints the JSON Schema of each.",
            "What is not known is null, never 0. Times are RFC 3339, in UTC; durations are in nanoseconds. [] stands for each element of an array, NAME for \
             each name in an object.",
        ]
        .map(|text| Block::Text(text.to_owned()))
        .into(),
    );
    for document in JsonDocument::ALL {
        let mut blocks = vec![Block::Text(format!("Printed by `{}`.", document.command()))];
        blocks.extend(document.keys().into_iter().map(|key| {
            let is_said = key.always || key.meaning.contains("eft out");
            let seldom = if is_said { "" } else { " Not in every document." };
            Block::Term(key.place, format!("{}. {}{seldom}", super::capital(&key.kind), key.meaning))
        }));
        page.add(&document.schema().to_uppercase(), blocks);
    }
    page
}
