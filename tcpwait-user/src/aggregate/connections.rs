//! What the aggregates must remember of each connection, in as little memory as can be: the state that it is counted in, which
//! side made it, and its group while it is in TIME_WAIT.

use super::groups::GroupId;
use crate::{
    compact::CompactMap,
    connection::Name,
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

/// Every connection that is followed.
#[derive(Debug, Default)]
pub struct Connections(CompactMap<Name, Standing>);

impl Connections {
    /// What is remembered of a connection; it is forgotten by that.
    pub fn take(&mut self, id: u64, flow: &Flow) -> Option<Standing> {
        let name = Name::of(id, flow);
        self.0.remove(&name).or_else(|| self.0.remove(&name.portless())).or_else(|| self.0.remove(&Name::of(0, flow)))
    }

    /// Remembers.
    pub fn put(&mut self, id: u64, flow: &Flow, standing: Standing) -> Option<Standing> {
        self.0.insert(Name::of(id, flow), standing)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_connection_costs_24_bytes() {
        assert_eq!(size_of::<Option<(Name, super::Standing)>>(), 24);
    }
}
