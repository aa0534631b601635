//! What the aggregates must remember of each connection, in as little memory as can be: the state that it is counted in, which
//! side made it, and its group while it is in TIME_WAIT.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::groups::GroupId;
use crate::{
    compact::CompactMap,
    tcp::{Flow, State},
};

/// One connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The state that it is counted in; `None` when it was not counted yet.
    pub state: Option<State>,
    /// Who made it.
    pub made: Made,
    /// Its group, once it is in TIME_WAIT.
    pub group: Option<GroupId>,
}

/// Who made a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Made {
    /// It is older than the tool.
    #[default]
    Unknown,
    /// This side connected.
    Here,
    /// The peer did.
    There,
}

/// A connection's name. One socket may be connected again while its former connection is in TIME_WAIT, so the cookie is not
/// enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name {
    id: u64,
    /// Of the remote end and the namespace.
    digest: u32,
    lport: u16,
}

impl Name {
    fn of(id: u64, flow: &Flow) -> Self {
        // With fixed keys: the same records give the same report.
        let mut hasher = DefaultHasher::new();
        (flow.netns, flow.raddr, flow.rport).hash(&mut hasher);
        Self { id, digest: hasher.finish() as u32, lport: flow.lport }
    }

    /// The same before its port was chosen.
    fn portless(self) -> Self {
        Self { lport: 0, ..self }
    }
}

/// Every connection that is followed.
#[derive(Debug, Default)]
pub struct Connections(CompactMap<Name, Standing>);

impl Connections {
    /// What is remembered of a connection; it is forgotten by that.
    pub fn take(&mut self, id: u64, flow: &Flow) -> Option<Standing> {
        let name = Name::of(id, flow);
        self.0.remove(&name).or_else(|| self.0.remove(&name.portless()))
    }

    /// Remembers.
    pub fn put(&mut self, id: u64, flow: &Flow, standing: Standing) -> Option<Standing> {
        self.0.insert(Name::of(id, flow), standing)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_connection_costs_24_bytes() {
        assert_eq!(size_of::<Option<(super::Name, super::Standing)>>(), 24);
    }
}
