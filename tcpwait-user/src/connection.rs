//! The name of a connection: short, for maps that hold a million of them. Knows nothing of what happens to it.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::tcp::Flow;

/// A connection's name: the socket cookie, the local port and a digest of the rest. One socket may be connected again while its
/// former connection is in TIME_WAIT, so the cookie is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    id: u64,
    /// Of the remote end and the namespace.
    digest: u32,
    lport: u16,
}

impl Name {
    /// The connection of the socket with this cookie and these addresses.
    pub fn of(id: u64, flow: &Flow) -> Self {
        // With fixed keys: the same records give the same report.
        let mut hasher = DefaultHasher::new();
        (flow.netns, flow.raddr, flow.rport).hash(&mut hasher);
        Self { id, digest: hasher.finish() as u32, lport: flow.lport }
    }

    /// The same before its port was chosen.
    pub fn portless(self) -> Self {
        Self { lport: 0, ..self }
    }
}
