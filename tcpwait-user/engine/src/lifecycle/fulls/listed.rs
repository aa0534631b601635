//! Full sockets as sock_diag lists them: those that are older than the trace, and after a loss what became of those that are followed.

use std::sync::Arc;

use hashbrown::HashSet;

use super::{
    super::{
        Reason, Transition, Update,
        common::{Common, HASHED_NS},
        full::Full,
    },
    Fulls,
};
use crate::{
    event::{Seed, Task},
    origin::Origin,
    tcp::{NetnsId, State},
};

impl Fulls {
    /// One that is older than the trace; whether it was not known.
    pub(in super::super) fn seed(&mut self, seed: &Seed, owner: Option<Arc<Task>>, origin: Origin) -> bool {
        if let Some(full) = self.all.get_mut(&seed.cookie) {
            full.complete(seed, owner, origin);
            return false;
        }
        self.all.insert(seed.cookie, Full { predates: true, ..Full::listed(seed, owner, origin) });
        true
    }

    /// One that a new listing tells of.
    pub(in super::super) fn seed_again(
        &mut self,
        common: &mut Common,
        time_ns: u64,
        seed: &Seed,
        out: &mut Vec<Update>,
    ) {
        let owner = seed.task.as_ref().map(|task| common.share(task));
        if seed.state == State::Listen {
            common.listened.add(&seed.flow);
        }
        let origin = common.seeded_origin(seed);
        let Some(full) = self.all.get_mut(&seed.cookie) else {
            // Its beginning was lost.
            common.unmatched().gaps += 1;
            self.all.insert(seed.cookie, Full::listed(seed, owner.clone(), origin));
            out.push(common.found(seed, owner, origin));
            return;
        };
        full.complete(seed, owner, origin);
        if full.state != seed.state && full.is_older(time_ns) {
            common.unmatched().gaps += 1;
            (full.state, full.since_ns) = (seed.state, None);
            full.by_ns = seed.by_ns.unwrap_or_default();
            out.push(Update::Transition(Transition {
                owner: full.owner.clone(),
                predates: full.predates,
                origin: full.origin,
                unseen: true,
                ..Transition::new(time_ns, seed.cookie, full.flow, None, seed.state)
            }));
        }
    }

    /// A listing shows a mini-socket whose beginning was lost: whatever was in a full socket went on in that one.
    pub(in super::super) fn lose(&mut self, cookie: u64, out: &mut Vec<Update>) {
        if let Some(full) = self.all.remove(&cookie) {
            out.push(Update::Lost { id: cookie, flow: full.flow });
        }
    }

    /// Ends those that a listing did not show. `begun_ns`: when it began in the namespace, if it has been there; `listed`: the cookies that it showed.
    pub(in super::super) fn end_unlisted(
        &mut self,
        common: &mut Common,
        begun_ns: impl Fn(NetnsId) -> Option<u64>,
        listed: &HashSet<u64>,
        out: &mut Vec<Update>,
    ) {
        let gone = self.all.iter().filter(|(cookie, _)| !listed.contains(*cookie)).filter_map(|(cookie, full)| {
            let begun_ns = begun_ns(full.flow.netns)?;
            full.is_older(begun_ns.saturating_sub(HASHED_NS)).then_some((*cookie, begun_ns))
        });
        let gone: Vec<(u64, u64)> = gone.collect();
        for (cookie, begun_ns) in gone {
            let Some(full) = self.all.remove(&cookie) else { continue };
            common.unmatched().overdue += 1;
            out.push(Update::Transition(Transition {
                owner: full.owner.clone(),
                predates: full.predates,
                origin: full.origin,
                reason: Some(Reason::Unknown),
                ..Transition::new(begun_ns, cookie, full.flow, Some(full.state), State::Close)
            }));
        }
    }
}
