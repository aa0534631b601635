//! What connections are grouped by: the words of `--by`, and the part of a connection that each of them takes.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::Serialize;

use crate::{
    event::Task,
    origin::{End, Origin},
    tcp::{Flow, Interface, NetnsId},
};

/// One thing to group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
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
    /// The network namespace.
    Netns,
}

impl By {
    /// Every one, in the order in which they are listed to people.
    pub const ALL: [By; 10] = [
        By::Service,
        By::Process,
        By::Pid,
        By::Remote,
        By::RemotePort,
        By::LocalPort,
        By::Pair,
        By::Uid,
        By::Cgroup,
        By::Netns,
    ];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            By::Service => "service",
            By::Process => "process",
            By::Pid => "pid",
            By::Remote => "remote",
            By::RemotePort => "remote-port",
            By::LocalPort => "local-port",
            By::Pair => "pair",
            By::Uid => "uid",
            By::Cgroup => "cgroup",
            By::Netns => "netns",
        }
    }

    /// Its part of a connection. `origin`: which side made it.
    pub fn of(self, flow: &Flow, owner: Option<&Task>, origin: Origin) -> Value {
        let port = |port: u16| if port == 0 { Value::Unknown } else { Value::Number(port.into()) };
        let of_owner = |value: fn(&Task) -> Value| owner.map_or(Value::Unknown, value);
        match self {
            By::Service => match origin.service() {
                Some(End::Local) => Value::Local(flow.lport),
                Some(End::Remote) => By::Pair.of(flow, owner, origin),
                None => Value::Unknown,
            },
            By::Pair => Value::Pair(flow.raddr, flow.rport, flow.interface()),
            By::Process => of_owner(|task| Value::Process(task.comm)),
            By::Pid => of_owner(|task| Value::Number(task.pid.into())),
            By::Uid => of_owner(|task| Value::Number(task.uid.into())),
            By::Cgroup => of_owner(|task| Value::Cgroup(task.cgroup)),
            By::Remote => Value::Remote(flow.raddr, flow.interface()),
            By::RemotePort => port(flow.rport),
            By::LocalPort => port(flow.lport),
            By::Netns => Value::Netns(flow.netns),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for By {
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

/// One value of a [`By`].
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
    /// A process's name, NUL-padded.
    Process([u8; 16]),
}
