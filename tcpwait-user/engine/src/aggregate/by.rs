//! What connections are grouped by: the words of `--by`, and the part of a connection that each of them takes.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::Serialize;

use crate::{
    event::Task,
    names::Names,
    origin::{Endpoint, Origin},
    tcp::{Flow, Interface, NetnsId},
};

/// One thing to group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupBy {
    /// The end that was listened on: remote address and port of a connection made here, local port of one accepted here;
    /// where nobody knows which it is, of the end whose port more sockets have, unknown where neither has.
    Service,
    /// The owner's name.
    Process,
    /// The owner's process id.
    Pid,
    /// The remote address.
    Remote,
    /// The remote port.
    RemotePort,
    /// The local port.
    LocalPort,
    /// Remote address and port.
    Pair,
    /// The owner's user id.
    Uid,
    /// The owner's cgroup.
    Cgroup,
    /// The owner's pod and container.
    Pod,
    /// The network namespace.
    Netns,
}

impl GroupBy {
    /// Every one, in the order in which they are listed to people.
    pub const ALL: [GroupBy; 11] = [
        GroupBy::Service,
        GroupBy::Process,
        GroupBy::Pid,
        GroupBy::Remote,
        GroupBy::RemotePort,
        GroupBy::LocalPort,
        GroupBy::Pair,
        GroupBy::Uid,
        GroupBy::Cgroup,
        GroupBy::Pod,
        GroupBy::Netns,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            GroupBy::Service => "service",
            GroupBy::Process => "process",
            GroupBy::Pid => "pid",
            GroupBy::Remote => "remote",
            GroupBy::RemotePort => "remote-port",
            GroupBy::LocalPort => "local-port",
            GroupBy::Pair => "pair",
            GroupBy::Uid => "uid",
            GroupBy::Cgroup => "cgroup",
            GroupBy::Pod => "pod",
            GroupBy::Netns => "netns",
        }
    }

    /// Its part of a connection. `origin`: which side made it; `names`: of pods.
    pub fn of(self, flow: &Flow, owner: Option<&Task>, origin: Origin, names: &Names) -> Value {
        let port = |port: u16| if port == 0 { Value::Unknown } else { Value::Number(port.into()) };
        let of_owner = |value: fn(&Task) -> Value| owner.map_or(Value::Unknown, value);
        match self {
            GroupBy::Service => Value::service(flow, origin),
            GroupBy::Pair => Value::pair(flow),
            GroupBy::Process => of_owner(|task| Value::Process(task.comm)),
            GroupBy::Pid => of_owner(|task| Value::Number(task.pid.into())),
            GroupBy::Uid => of_owner(|task| Value::Number(task.uid.into())),
            GroupBy::Cgroup => of_owner(|task| Value::Cgroup(task.cgroup)),
            GroupBy::Pod => owner.and_then(|task| names.pod_cgroup(task.cgroup)).map_or(Value::Unknown, Value::Pod),
            GroupBy::Remote => Value::Remote(flow.raddr, flow.interface()),
            GroupBy::RemotePort => port(flow.rport),
            GroupBy::LocalPort => port(flow.lport),
            GroupBy::Netns => Value::Netns(flow.netns),
        }
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for GroupBy {
    type Err = String;

    /// Takes `peer` and `port` as well: the address of the one, the own one of the other.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = match text {
            "peer" => "remote",
            "port" => "local-port",
            other => other,
        };
        Self::ALL.into_iter().find(|by| by.name() == text).ok_or_else(|| {
            format!("connections cannot be grouped by \"{text}\", only by {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// One value of a [`GroupBy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// It is not known.
    Unknown,
    /// A port, process id or user id.
    Number(u64),
    /// A local port that is listened on.
    Local(u16),
    /// A remote address, and the interface that leads there if the socket is bound to one.
    Remote(IpAddr, Option<Interface>),
    /// A remote address and port, likewise.
    Pair(IpAddr, u16, Option<Interface>),
    /// A network namespace.
    Netns(NetnsId),
    /// A cgroup's id.
    Cgroup(u64),
    /// A pod and a container: the id of the cgroup that stands for it ([`Names::pod_cgroup`]).
    Pod(u64),
    /// A process's name, NUL-padded.
    Process([u8; 16]),
}

impl Value {
    /// The end that was listened on.
    pub fn service(flow: &Flow, origin: Origin) -> Self {
        match origin.service() {
            Some(Endpoint::Local) => Self::Local(flow.lport),
            Some(Endpoint::Remote) => Self::pair(flow),
            None => Self::Unknown,
        }
    }

    fn pair(flow: &Flow) -> Self {
        Self::Pair(flow.raddr, flow.rport, flow.interface())
    }
}
