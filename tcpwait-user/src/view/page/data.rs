//! The numbers of the page for programs: the documents of `stat` and `ports`, and what each picture was drawn from, as a table.

use std::io;

use serde::Serialize;
use serde_json::Value;

use super::axis::TimeAxis;
use crate::{plain, view::json::rfc3339};

/// Which keys the document has; its number grows as those of all documents do.
const SCHEMA: &str = "report/1";

/// What a picture was drawn from.
#[derive(Debug, Serialize)]
pub struct PictureData {
    #[serde(skip)]
    name: &'static str,
    /// How long the part of the time is that a row is for; `None` where rows are for something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    part_s: Option<f64>,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl PictureData {
    /// A table.
    pub fn new(
        name: &'static str,
        columns: impl IntoIterator<Item = impl Into<String>>,
        rows: impl IntoIterator<Item = Vec<Value>>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { name, part_s: None, columns, rows: rows.into_iter().collect() }
    }

    /// A table with a row for each part of the time, whose first column is when the part begins.
    pub fn over_time(
        name: &'static str,
        columns: impl IntoIterator<Item = impl Into<String>>,
        axis: &TimeAxis<'_>,
        part_ns: u64,
        rows: impl Iterator<Item = Vec<Value>>,
    ) -> Self {
        let columns = std::iter::once("begin_s".to_owned()).chain(columns.into_iter().map(Into::into));
        let rows = rows.enumerate().map(|(index, row)| {
            let begin = axis.seconds(axis.begin_ns.saturating_add((index as u64).saturating_mul(part_ns)));
            std::iter::once(begin.into()).chain(row).collect()
        });
        Self { part_s: Some(part_ns as f64 / 1e9), ..Self::new(name, columns, rows) }
    }
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    begin: Option<String>,
    end: Option<String>,
    /// For the script, whose numbers have no nanoseconds.
    begin_ms: f64,
    length_s: f64,
    utc_offset_s: i32,
    stat: Value,
    ports: Value,
    pictures: serde_json::Map<String, Value>,
}

/// All of it, as it may stand in a page.
///
/// # Errors
/// One of the documents is not JSON.
pub fn document(axis: &TimeAxis<'_>, stat: &str, ports: &str, pictures: Vec<PictureData>) -> io::Result<String> {
    let begin = axis.context.wall(axis.begin_ns);
    let begin_ns = i128::from(axis.begin_ns) + axis.context.realtime_offset_ns;
    let mut named = serde_json::Map::new();
    for picture in pictures {
        named.insert(picture.name.to_owned(), serde_json::to_value(&picture)?);
    }
    let document = Document {
        schema: SCHEMA,
        begin: rfc3339(axis.context, axis.begin_ns),
        end: rfc3339(axis.context, axis.end_ns),
        begin_ms: (begin_ns / 1_000) as f64 / 1e3,
        length_s: axis.seconds(axis.end_ns),
        utc_offset_s: begin.map_or(0, |time| axis.zone.to_offset(time).seconds()),
        stat: serde_json::from_str(stat)?,
        ports: serde_json::from_str(ports)?,
        pictures: named,
    };
    let mut text = Vec::new();
    plain::json(&mut text, &document)?;
    // What is in a script element ends where its end tag is read, quoted or not.
    Ok(String::from_utf8_lossy(&text).replace('<', "\\u003c"))
}
