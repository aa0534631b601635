//! The first key of every JSON document: which keys it has, and what they mean. A number grows when one goes away or changes its meaning, not when one is
//! added.

/// A line of `tcpwait trace --json`.
pub const TRACE: &str = "trace/1";
/// A line of `tcpwait trace --raw --json`.
pub const RAW: &str = "raw/1";
/// A report of `tcpwait stat --json`.
pub const STAT: &str = "stat/1";
/// A report of `tcpwait ports --json`.
pub const PORTS: &str = "ports/1";
/// A report of `tcpwait states --json`.
pub const STATES: &str = "states/1";
/// What `tcpwait doctor --json` says.
pub const DOCTOR: &str = "doctor/1";
/// What `tcpwait probes --json` says.
pub const PROBES: &str = "probes/1";
/// What `tcpwait version --json` says.
pub const VERSION: &str = "version/1";

/// All of them.
pub const ALL: [&str; 8] = [TRACE, RAW, STAT, PORTS, STATES, DOCTOR, PROBES, VERSION];
