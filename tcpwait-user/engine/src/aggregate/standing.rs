//! How many sockets are in each state now, kept from step to step: reading it costs nothing, however many there are. Steps that were lost leave it wrong,
//! so it is counted anew after each loss.

use crate::{
    lifecycle::{Present, Transition, Update},
    tcp::State,
};

/// Sockets by state.
#[derive(Clone, Debug, Default)]
pub struct SocketsNow {
    now: [u64; State::ALL.len() + 1],
}

impl SocketsNow {
    /// Those that are there.
    pub fn count<'a>(present: impl Iterator<Item = Present<'a>>) -> Self {
        let mut standing = Self::default();
        present.for_each(|socket| standing.enter(socket.state));
        standing
    }

    /// Something happened to a socket. `false`: one was lost, and it must be counted anew.
    pub fn update(&mut self, update: &Update) -> bool {
        match update {
            Update::Transition(step) => self.step(step),
            Update::Found(found) => self.enter(found.state),
            Update::Lost { .. } => return false,
            Update::Owned { .. } | Update::Failed(_) => {}
        }
        true
    }

    fn step(&mut self, step: &Transition) {
        // A listener does not leave LISTEN when a connection is made through it.
        let stays = step.from == Some(State::Listen) && step.to == State::SynRecv;
        if let Some(count) =
            step.from.filter(|from| *from != State::Close && !stays).and_then(|from| self.now.get_mut(from as usize))
        {
            *count = count.saturating_sub(1);
        }
        self.enter(step.to);
    }

    fn enter(&mut self, state: State) {
        if let Some(count) = self.now.get_mut(state as usize).filter(|_| state != State::Close) {
            *count += 1;
        }
    }

    /// How many are in a state; always 0 of CLOSE, in which sockets are not followed.
    pub fn now(&self, state: State) -> u64 {
        self.now.get(state as usize).copied().unwrap_or_default()
    }
}
