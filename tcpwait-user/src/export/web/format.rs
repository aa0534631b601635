//! The file as it is written: names and values, nothing that they refer to. A key that is not known is an error, as for every exporter.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use serde::Deserialize;
use serde_saphyr::UserMessageFormatter;

/// The whole file. What is absent or null is as if it were not written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    pub tls_server_config: Option<WrittenTls>,
    pub http_server_config: Option<WrittenHttp>,
    pub basic_auth_users: Option<BTreeMap<String, String>>,
    pub rate_limit: Option<WrittenRate>,
}

/// `tls_server_config`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenTls {
    pub cert: Option<String>,
    pub key: Option<String>,
    pub client_ca: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    pub client_ca_file: Option<String>,
    pub client_auth_type: Option<String>,
    pub client_allowed_sans: Option<Vec<String>>,
    pub cipher_suites: Option<Vec<String>>,
    pub curve_preferences: Option<Vec<String>>,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    pub prefer_server_cipher_suites: Option<Switch>,
}

/// `http_server_config`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenHttp {
    pub http2: Option<Switch>,
    pub headers: Option<BTreeMap<String, Option<String>>>,
}

/// `rate_limit`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenRate {
    pub interval: Option<String>,
    pub burst: Option<i64>,
}

/// true or false, by any of YAML's words for it, but not in quotes: an enum without a tag takes what YAML says it is.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected true or false")]
pub enum Switch {
    Is(bool),
}

impl Switch {
    /// Which of them it is, where it is written; else this.
    pub fn or(written: Option<Self>, else_it_is: bool) -> bool {
        written.map_or(else_it_is, |Self::Is(is)| is)
    }
}

impl Written {
    /// What a text says.
    ///
    /// # Errors
    /// It is not YAML, or not of this form. The message has the line, and nothing of the text: there may be a key in it.
    pub fn parse(text: &str) -> Result<Self> {
        let options = serde_saphyr::options! { with_snippet: false };
        let written: Option<Self> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|why| anyhow!("{}", crate::plain::escaped(&why.render_with_formatter(&UserMessageFormatter))))?;
        Ok(written.unwrap_or_default())
    }
}
