//! `--web.config.file`: TLS, users, headers and a rate limit, in the format that all exporters of Prometheus have (`exporter-toolkit`,
//! docs/web-configuration.md). The tracing process reads the file and those that it names; the one that answers HTTP gets what they say.

mod clients;
pub mod config;
mod format;
pub mod in_force;
pub mod policy;
mod rate;
mod suites;
pub mod tls;
mod users;
pub mod watch;
