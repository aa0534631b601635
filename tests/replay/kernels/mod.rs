//! What real kernels say of themselves (`tests/fixtures/kernels`), and what is made of it: fields, arguments of hooks,
//! symbols, what the kernel side needs, and docs/kernels.md.

mod needs;
mod symbols;
mod table;
mod types;

use std::fs;

use serde::Deserialize;

use crate::support::tests;

/// A folder each.
pub const KERNELS: [&str; 7] = ["6.1", "6.12", "6.18", "7.3", "7.3-rt", "6.12-arm64", "7.3-arm64"];

/// A file of a kernel's.
pub fn bytes(kernel: &str, file: &str) -> Vec<u8> {
    let path = tests().join("fixtures/kernels").join(kernel).join(file);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The same as text.
pub fn text(kernel: &str, file: &str) -> String {
    String::from_utf8(bytes(kernel, file)).unwrap()
}

/// `probes.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub kernel: String,
    pub hooks: Vec<Hook>,
    pub behaviour: Behaviour,
    /// Functions that tell of ends and are not on this kernel's stacks.
    pub ends_untold: Vec<serde_json::Value>,
    /// Fixtures that are older than the question have no answer.
    #[serde(default, rename = "hz")]
    pub _hz: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    pub hook: String,
    pub attached: bool,
    pub why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    pub destroy_ends_time_wait: Option<bool>,
    pub tw_counts_beginnings: Option<bool>,
    pub untried: Option<String>,
}

pub fn report(kernel: &str) -> Report {
    serde_json::from_slice(&bytes(kernel, "probes.json")).unwrap()
}
