//! Lines of `trace --json` about calls that failed.

use std::{net::IpAddr, time::Duration};

use serde::Deserialize;

use super::{Ended, Output, Seen};

/// A call that failed. A key that is not here fails the test that reads it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    #[serde(rename = "schema")]
    pub _schema: String,
    pub event: String,
    #[serde(rename = "time")]
    pub _time: Option<String>,
    pub id: Option<String>,
    #[serde(rename = "netns")]
    pub _netns: u32,
    pub family: u8,
    pub laddr: IpAddr,
    pub lport: Option<u16>,
    pub raddr: Option<IpAddr>,
    pub rport: Option<u16>,
    pub errno: Option<String>,
    pub soft_errno: Option<String>,
    pub why: String,
    pub words: String,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub uid: Option<u32>,
    #[serde(rename = "cgroup")]
    pub _cgroup: Option<String>,
    #[serde(rename = "pod")]
    pub _pod: Option<String>,
    #[serde(rename = "container")]
    pub _container: Option<String>,
    pub retransmits: Option<u16>,
    #[serde(default)]
    pub holders: Vec<Holder>,
    pub search: Option<Search>,
    pub reuseaddr: Option<Reuseaddr>,
}

/// Sockets that hold a port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    pub state: String,
    pub count: u64,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub reuseaddr: Option<bool>,
    pub made_here: Option<bool>,
    pub first_end_in_ns: Option<u64>,
    pub last_end_in_ns: Option<u64>,
}

/// Ports that one socket tried.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    pub lowest: u16,
    pub highest: u16,
    pub refused: u64,
}

/// What is said of SO_REUSEADDR.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Reuseaddr {
    pub set: Option<bool>,
    pub would_do: Option<bool>,
}

impl Failed {
    /// `connect-failed refused`.
    pub fn what(&self) -> String {
        format!("{} {}", self.event, self.why)
    }

    /// The states of the holders, and how many of each.
    pub fn held_by(&self) -> Vec<(&str, u64)> {
        self.holders.iter().map(|holder| (holder.state.as_str(), holder.count)).collect()
    }
}

/// Whether a line is not a step of a connection, but a call that failed.
pub fn is_failure(line: &str) -> bool {
    line.starts_with(r#"{"schema":"trace/1","event":"#)
}

pub(super) fn parse(line: &str) -> Failed {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))
}

impl Ended {
    /// stdout as calls that failed.
    pub fn failures(&self) -> Vec<Failed> {
        self.stdout.iter().filter(|line| is_failure(line)).map(|line| parse(line)).collect()
    }
}

impl Seen {
    /// The calls that failed so far.
    pub fn failures(&self) -> Vec<Failed> {
        self.read(&self.tracer.shelf.output.lock().unwrap()).failures.clone()
    }

    /// Waits for the failures to be so many, and returns the last.
    pub fn wait_for_failure(&self, number: usize, bound: Duration) -> Failed {
        let enough = |output: &Output| {
            let read = self.read(output);
            (read.failures.len() >= number).then(|| read.failures.clone())
        };
        let mut failures = self.tracer.shelf.wait(bound, enough).unwrap_or_else(|output| {
            let stderr = output.stderr.clone();
            drop(output);
            panic!("not {number} failures within {bound:?}: {:#?}\n{stderr}", self.failures())
        });
        assert_eq!(failures.len(), number, "{failures:#?}");
        failures.pop().unwrap()
    }
}
