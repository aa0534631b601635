//! In which format a command prints.

/// What lines and reports are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// JSON documents, one a line.
    Json,
    /// Comma-separated values.
    Csv,
}

impl OutputFormat {
    /// What these options ask for; the command line takes one of them.
    pub(super) fn of(json: bool, csv: bool) -> Self {
        match (json, csv) {
            (true, _) => OutputFormat::Json,
            (false, true) => OutputFormat::Csv,
            (false, false) => OutputFormat::Text,
        }
    }
}
