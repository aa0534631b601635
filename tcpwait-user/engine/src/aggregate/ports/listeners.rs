//! Local ports that are listened on now: connect() passes over them. Knows nothing of whose they are.

use hashbrown::HashMap;

use crate::{
    lifecycle::Update,
    tcp::{NetnsId, State},
};

/// Listeners by network namespace and local port.
#[derive(Debug, Default)]
pub struct Listeners(HashMap<(NetnsId, u16), u64>);

impl Listeners {
    /// Takes note of what happens to any connection, wanted or not.
    pub fn observe(&mut self, update: &Update) {
        let (flow, from, to) = match update {
            Update::Transition(step) => (&step.flow, step.from, step.to),
            Update::Found(found) => (&found.flow, None, found.state),
            Update::Owned { .. } | Update::Failed(_) | Update::Lost { .. } => return,
        };
        let port = (flow.netns, flow.lport);
        if to == State::Listen {
            *self.0.entry(port).or_default() += 1;
        } else if from == Some(State::Listen)
            && to == State::Close
            && let Some(count) = self.0.get_mut(&port)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&port);
            }
        }
    }

    /// The ports of a namespace that are listened on now.
    pub fn of(&self, netns: NetnsId) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().filter(move |((of, _), _)| *of == netns).map(|((_, port), _)| *port)
    }
}
