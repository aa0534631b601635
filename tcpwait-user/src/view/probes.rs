//! The table of hooks: what this kernel gives, and what is not known where it does not.

use std::io::{self, Write};

use serde::Serialize;

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The tracepoint.
    pub hook: &'static str,
    /// Whether the tool is attached to it.
    pub attached: bool,
    /// Whether the tool can do without.
    pub required: bool,
    /// Why it is not attached.
    pub why: Option<String>,
    /// What is not known without it.
    pub without: &'static str,
}

/// Writes the table, or a JSON array.
///
/// # Errors
/// The output cannot be written.
pub fn write(rows: &[Row], json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, rows)?;
        return writeln!(out);
    }
    writeln!(out, "{:<26} {:<9} WITHOUT IT", "HOOK", "ATTACHED")?;
    for row in rows {
        writeln!(out, "{:<26} {:<9} {}", row.hook, if row.attached { "yes" } else { "no" }, row.without)?;
        if let Some(why) = &row.why {
            writeln!(out, "{:<26} {:<9} not attached: {why}", "", "")?;
        }
    }
    Ok(())
}
