//! The sockets that there are now, as the model has them: for those who ask how many there are of which, and do not follow each.

use crate::{
    event::Task,
    origin::Origin,
    tcp::{Flow, State},
};

/// A socket that is there.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// The socket cookie; 0 where it has none, as a request socket.
    pub id: u64,
    /// The state that it is in.
    pub state: State,
    /// Its addresses.
    pub flow: Flow,
    /// Whose it is; of a connection that nobody has accepted, whose listener it came through.
    pub owner: Option<&'a Task>,
    /// Which side made it.
    pub origin: Origin,
    /// In SYN_SENT: whether its SYN has been sent for certain. TCP_FASTOPEN_CONNECT may keep it back until the first write.
    pub syn_sent: bool,
    /// When it entered its state, in nanoseconds of `CLOCK_MONOTONIC`; `None` where that was not seen.
    pub since_ns: Option<u64>,
    /// When it was in its state at the latest; `None` where not even that is known.
    pub by_ns: Option<u64>,
    /// How many sockets it stands for: more than 1 where only one connection in so many is told of.
    pub stands_for: u32,
    /// The timer of a mini-socket, in jiffies; 0 where there is none, or it is not known.
    pub timer: u64,
}
