//! Rows of comma-separated values (RFC 4180), made of JSON objects: the column `dwell.mean_ns` is the key `mean_ns` of the object `dwell`. What no column
//! is for is left out, and what is not known is an empty cell.

use std::io::{self, Write};

use csv::{Terminator, WriterBuilder};
use serde_json::Value;

use crate::plain;

/// What spreadsheets take the beginning of a formula for, some of them also in its wide form.
const BEGINS_FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// Room for most rows.
const ROW: usize = 1 << 10;

/// A row that is being made.
#[derive(Debug)]
pub struct CellRow {
    columns: Vec<String>,
    cells: Vec<String>,
    /// The name of a column, while it is put together.
    path: String,
}

impl CellRow {
    /// An empty row of these columns.
    pub fn new(columns: Vec<String>) -> Self {
        let cells = vec![String::new(); columns.len()];
        Self { columns, cells, path: String::new() }
    }

    /// Writes the names of the columns.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write_header(&self, out: &mut dyn Write) -> io::Result<()> {
        write_line(&self.columns, out)
    }

    /// Fills one cell.
    pub fn set(&mut self, column: &str, value: &Value) {
        self.path.clear();
        self.lay_at(column, value);
    }

    /// Fills the cells of an object's keys.
    pub fn lay(&mut self, object: &Value) {
        self.set("", object);
    }

    fn lay_at(&mut self, key: &str, value: &Value) {
        let before = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(key);
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| self.lay_at(key, value)),
            Value::Null | Value::Array(_) => {}
            Value::Bool(_) | Value::Number(_) => self.fill(&value.to_string()),
            Value::String(text) => self.fill(&cell(text)),
        }
        self.path.truncate(before);
    }

    fn fill(&mut self, text: &str) {
        let at = self.columns.iter().position(|column| *column == self.path);
        if let Some(cell) = at.and_then(|at| self.cells.get_mut(at)) {
            text.clone_into(cell);
        }
    }

    /// Writes the row, which is empty then.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        write_line(&self.cells, out)?;
        self.cells.iter_mut().for_each(String::clear);
        Ok(())
    }
}

/// In one piece: what is dropped for a slow reader is whole lines.
fn write_line(cells: &[String], out: &mut dyn Write) -> io::Result<()> {
    let mut line = WriterBuilder::new().terminator(Terminator::CRLF).buffer_capacity(ROW).from_writer(Vec::new());
    line.write_record(cells)?;
    out.write_all(&line.into_inner().map_err(|error| error.into_error())?)
}

/// Text of others as a spreadsheet can take it: in one line, without what acts on a terminal, and no formula.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(BEGINS_FORMULA) { "'" } else { "" };
    format!("{guard}{}", plain::escaped(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::{BEGINS_FORMULA, CellRow, cell};

    #[test]
    fn formulas_are_text_and_a_row_is_a_line() {
        for (text, wanted) in [
            ("nginx", "nginx"),
            ("=1+1", "'=1+1"),
            ("-2", "'-2"),
            ("@SUM", "'@SUM"),
            ("\tx", "'\\tx"),
            ("a\r\nb", "a\\r\\nb"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("＝1", "'＝1"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(cell(text), wanted);
        }
    }

    #[test]
    fn columns_are_paths_of_keys() {
        let mut row = CellRow::new(["event", "by.comm", "count", "known"].map(str::to_owned).into());
        let mut out = Vec::new();
        row.write_header(&mut out).unwrap();
        row.set("event", &json!("a"));
        row.lay(&json!({"by": {"comm": "a,\"b\"", "pid": 1}, "count": -1, "known": null, "list": [1]}));
        row.write(&mut out).unwrap();
        row.write(&mut out).unwrap();
        let wanted = "event,by.comm,count,known\r\na,\"a,\"\"b\"\"\",-1,\r\n,,,\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    proptest! {
        #[test]
        fn whatever_it_is(text in any::<String>()) {
            let mut row = CellRow::new(vec!["name".to_owned(), "count".to_owned()]);
            let mut out = Vec::new();
            row.lay(&json!({"name": text, "count": 1}));
            row.write(&mut out).unwrap();
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
            let read = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(read.get(0).unwrap(), cell(&text));
            prop_assert!(!read.get(0).unwrap().starts_with(BEGINS_FORMULA));
            prop_assert_eq!(read.get(1).unwrap(), "1");
        }
    }
}
