//! What is told of a call that failed.

use serde::Serialize;

use super::{Reuse, Task};
use crate::tcp::Flow;

/// A call on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// connect(2), until the connection is made.
    Connect,
    /// bind(2).
    Bind,
    /// listen(2), which asks for the port once more.
    Listen,
}

impl Call {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Call::Connect => "connect",
            Call::Bind => "bind",
            Call::Listen => "listen",
        }
    }
}

/// bind(), listen() or connect() failed before anything was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct PortRefused {
    /// The socket cookie; 0 where it has none.
    pub cookie: u64,
    /// What tells this socket from others of its time; `None` in recordings up to version 4.
    pub socket: Option<u32>,
    /// The local end that was asked for, port 0 is any; of connect() the remote one.
    pub flow: Flow,
    /// Who asked.
    pub task: Option<Task>,
    /// A positive errno.
    pub errno: u16,
    /// The call.
    pub call: Call,
    /// Whether the socket that asked would have shared the port.
    pub reuse: Option<Reuse>,
    /// Whether it has IPV6_V6ONLY; `None` where that was not read.
    pub v6only: Option<bool>,
}
