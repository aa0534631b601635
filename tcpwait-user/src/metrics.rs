//! What Prometheus is told: the table of metrics, their values at one moment, and the formats that they are written in. Knows no kernel, no clock and no
//! network.

pub mod exposition;
pub mod groups;
pub mod history;
pub mod snapshot;
pub mod source;
pub mod table;
pub mod values;

/// The word of `stat` and `trace` as a label value: Prometheus' words have underscores.
pub(crate) fn label(word: &str) -> String {
    word.to_ascii_lowercase().replace('-', "_")
}
