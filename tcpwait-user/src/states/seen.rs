//! What earlier listings showed: a socket that was in its state then has been in it at least since. Of the states alone that a connection enters
//! once, as its end begins; nothing is kept of others.

use hashbrown::HashMap;

use super::ListedSocket;
use crate::{connection::Name, tcp::State};

/// Since when sockets have been seen in their states, in milliseconds of any clock that goes on.
#[derive(Debug, Default)]
pub struct SeenSince {
    /// As of the listings before.
    before: HashMap<(Name, State), u64>,
    /// Those of this one; `None`: it is the first that shows them so.
    now: HashMap<(Name, State), Option<u64>>,
    begun_ms: u64,
}

impl SeenSince {
    /// A listing begins.
    pub fn begins(&mut self, now_ms: u64) {
        self.begun_ms = now_ms;
    }

    /// For how many milliseconds a socket that it shows has been in its state at least, by the listings before.
    pub fn at_least_ms(&mut self, socket: &ListedSocket) -> Option<u32> {
        let ends = matches!(
            socket.state,
            State::FinWait1 | State::FinWait2 | State::Closing | State::CloseWait | State::LastAck
        );
        if !ends || socket.cookie == 0 {
            return None;
        }
        let key = (Name::of(socket.cookie, &socket.flow), socket.state);
        let since_ms = self.before.get(&key).copied();
        self.now.insert(key, since_ms);
        since_ms.map(|since_ms| u32::try_from(self.begun_ms.saturating_sub(since_ms)).unwrap_or(u32::MAX))
    }

    /// It has ended: what it shows was there by now. What it does not show is forgotten.
    pub fn ends(&mut self, now_ms: u64) {
        self.before = self.now.drain().map(|(key, since_ms)| (key, since_ms.unwrap_or(now_ms))).collect();
    }
}
