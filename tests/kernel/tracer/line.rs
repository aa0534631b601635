//! A line of `trace --json`, as tests read it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::Deserialize;

/// A line of `trace --json`. A key that is not here fails the test that reads it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    #[serde(rename = "schema")]
    pub _schema: String,
    pub time: Option<String>,
    pub id: Option<String>,
    pub netns: u32,
    pub interface: Option<String>,
    pub family: u8,
    pub laddr: IpAddr,
    pub lport: Option<u16>,
    pub raddr: IpAddr,
    pub rport: Option<u16>,
    pub from: Option<String>,
    pub to: String,
    pub dwell_ns: Option<u64>,
    #[serde(default)]
    pub dwell_at_least_ns: Option<u64>,
    pub timing: String,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub uid: Option<u32>,
    #[serde(rename = "cgroup")]
    pub _cgroup: Option<String>,
    pub pod: Option<String>,
    pub container: Option<String>,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub errno: Option<String>,
    pub soft_errno: Option<String>,
    pub by: Option<By>,
    pub restarts: Option<u32>,
    #[serde(default)]
    pub restart_causes: BTreeMap<String, u32>,
    pub retransmits: Option<u16>,
    #[serde(default)]
    pub predates: bool,
}

/// Who ended a mini-socket.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct By {
    pub pid: u32,
    pub comm: String,
}

impl Line {
    /// `FIN_WAIT2>TIME_WAIT`.
    pub fn step(&self) -> String {
        format!("{}>{}", self.from.as_deref().unwrap_or("?"), self.to)
    }

    /// The time spent in the state left.
    pub fn dwell(&self) -> Duration {
        Duration::from_nanos(self.dwell_ns.unwrap_or_else(|| panic!("the time spent is not known: {self:?}")))
    }

    /// When, since 1970.
    pub fn when(&self) -> Duration {
        let time: jiff::Timestamp = self.time.as_ref().unwrap().parse().unwrap();
        time.as_duration().try_into().unwrap()
    }

    /// Whether it is of the connection with these addresses, seen from the first.
    pub fn is_of(&self, ends: (SocketAddr, SocketAddr)) -> bool {
        let same = |end: SocketAddr, ip: IpAddr, port: Option<u16>| end.ip() == ip && Some(end.port()) == port;
        same(ends.0, self.laddr, self.lport) && same(ends.1, self.raddr, self.rport)
    }
}

/// Lines by connection, in the order in which they came. A handshake that is told of before its socket has an id is of the connection that it became.
pub fn by_id(lines: &[Line]) -> BTreeMap<String, Vec<Line>> {
    let ends = |line: &Line| (line.laddr, line.lport, line.raddr, line.rport);
    let ids: BTreeMap<_, &String> = lines.iter().filter_map(|line| Some((ends(line), line.id.as_ref()?))).collect();
    let mut connections: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    for line in lines {
        let id = line.id.as_ref().or_else(|| ids.get(&ends(line)).copied());
        connections.entry(id.cloned().unwrap_or_default()).or_default().push(line.clone());
    }
    connections
}

/// The steps of lines, as `CLOSE>SYN_SENT SYN_SENT>ESTABLISHED`.
pub fn steps(lines: &[Line]) -> String {
    lines.iter().map(Line::step).collect::<Vec<_>>().join(" ")
}

pub(super) fn parse(line: &str) -> Line {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))
}
