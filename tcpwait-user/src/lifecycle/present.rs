//! The sockets that there are now, as the model has them: for those who ask how many there are of which, and do not follow each.

use super::Lifecycle;
use crate::{
    event::Task,
    origin::Origin,
    tcp::{Flow, State},
};

/// A socket that is there.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// The state that it is in.
    pub state: State,
    /// Its addresses.
    pub flow: &'a Flow,
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
}

impl Lifecycle {
    /// Every socket that is there: full sockets, request sockets, mini-sockets.
    pub fn present(&self) -> impl Iterator<Item = Present<'_>> {
        let full = self.fulls.iter().map(|(_, full)| Present {
            state: full.state,
            flow: &full.flow,
            owner: full.owner_or_listener().map(AsRef::as_ref),
            origin: full.origin,
            syn_sent: full.syn_sent,
            since_ns: full.since_ns,
            by_ns: full.since_ns.or((full.by_ns != 0).then_some(full.by_ns)),
        });
        let requests = self.requests.iter().map(|(flow, request)| Present {
            state: State::SynRecv,
            flow,
            owner: request.owner.as_deref(),
            origin: Origin::There,
            syn_sent: false,
            since_ns: request.since_ns,
            by_ns: request.since_ns,
        });
        let minis = self.minis.iter().map(|(flow, mini)| Present {
            state: mini.state,
            flow,
            owner: mini.owner.as_deref(),
            origin: mini.origin,
            syn_sent: false,
            since_ns: mini.since_ns(),
            by_ns: mini.since_ns(),
        });
        full.chain(requests).chain(minis)
    }
}
