//! After a loss the model recovers: what must have ended by its own clock is taken to have ended, and a new listing of the full sockets
//! tells what became of those. Nothing that was lost stays for ever.

use hashbrown::{HashMap, HashSet};

use super::{Lifecycle, Reason, Transition, Update, full::Full, room};
use crate::{
    event::Seed,
    tcp::{NetnsId, State},
};

/// How often clocks are looked at.
const ROUND_NS: u64 = 15_000_000_000;

/// How late a softirq may come.
const LATE_NS: u64 = 10_000_000_000;

/// Ticks come every 50 ms. After a longer pause what the ring buffer holds is older than they are.
const PAUSE_NS: u64 = 1_000_000_000;
const CAUGHT_UP_NS: u64 = 5_000_000_000;

/// No timer of a request socket is longer (`TCP_RTO_MAX`), and the timer wheel adds an eighth (`LVL_GRAN`).
const REQUEST_NS: u64 = 120_000_000_000 / 8 * 9 + LATE_NS;

/// A mini-socket whose end was lost is gone after its 60 s, the timer wheel's and the pauses here.
const MINIS_NS: u64 = 60_000_000_000 + 5_000_000_000 + LATE_NS + ROUND_NS;

/// A socket is in the kernel's tables microseconds after its event, or before; but who makes it may be preempted meanwhile.
const HASHED_NS: u64 = 1_000_000_000;

/// What is to be known of losses.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// When the last loss was noticed.
    loss_ns: Option<u64>,
    /// Full sockets have not been listed since.
    unlisted: bool,
    /// Sockets that the new listing has told of, by cookie.
    listed: HashSet<u64>,
    /// The namespaces that it has been through, and when it began each.
    namespaces: HashMap<NetnsId, u64>,
    /// When it began.
    listing_ns: Option<u64>,
    last_tick_ns: u64,
    caught_up_ns: u64,
    next_round_ns: u64,
}

impl Lifecycle {
    /// Whether events were lost just now, so that what is there is at most what is known: some may have ended unseen.
    pub fn knows_at_most(&self) -> bool {
        let recovery = &self.recovery;
        recovery.loss_ns.is_some_and(|loss_ns| recovery.unlisted || self.now_ns < loss_ns + MINIS_NS)
    }

    /// Events have been lost.
    pub(super) fn lose(&mut self, time_ns: u64) {
        self.recovery.loss_ns = Some(time_ns);
        self.recovery.unlisted = true;
        // What ends from now on, a listing may still show.
        self.ended.get_or_insert_default();
    }

    /// Ends what must have ended by its own clock.
    pub(super) fn end_overdue(&mut self, now_ns: u64, out: &mut Vec<Update>) {
        let recovery = &mut self.recovery;
        if now_ns.saturating_sub(recovery.last_tick_ns) > PAUSE_NS {
            recovery.caught_up_ns = now_ns + CAUGHT_UP_NS;
        }
        recovery.last_tick_ns = now_ns;
        if now_ns < recovery.caught_up_ns || now_ns < recovery.next_round_ns {
            return;
        }
        if !self.effort.affords(self.minis.room() + room(&self.requests) + room(&self.newborns)) {
            return;
        }
        self.recovery.next_round_ns = now_ns + ROUND_NS;
        let slack_ns = self.clock.timewait_slack_ns().unwrap_or(ROUND_NS) + LATE_NS;
        self.end_overdue_minis(now_ns, slack_ns, out);
        self.end_overdue_requests(now_ns.saturating_sub(REQUEST_NS), out);
        self.newborns.retain(|_, newborn| newborn.is_younger(now_ns.saturating_sub(REQUEST_NS)));
    }

    /// A socket that a new listing tells of.
    pub(super) fn seed_again(&mut self, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        self.recovery.listing_ns.get_or_insert(time_ns);
        if seed.mini || matches!(seed.state, State::Close | State::SynRecv) {
            return;
        }
        self.recovery.listed.insert(seed.cookie);
        let owner = seed.task.as_ref().map(|task| self.share(task));
        if seed.state == State::Listen {
            self.listened.add(&seed.flow);
        }
        let origin = self.seeded_origin(seed);
        let Some(full) = self.fulls.get_mut(&seed.cookie) else {
            self.tally.unmatched.gaps += 1;
            self.fulls.insert(seed.cookie, Full::found_again(seed, owner.clone(), origin));
            out.push(self.found(seed, owner, origin));
            return;
        };
        full.owner = full.owner.take().or(owner);
        full.origin = full.origin.or(origin);
        full.v6only = full.v6only.or(seed.v6only);
        if full.state != seed.state && is_older(full, time_ns) {
            self.tally.unmatched.gaps += 1;
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

    /// A namespace has been listed once more.
    pub(super) fn listed(&mut self, begun_ns: u64, netns: NetnsId) {
        self.recovery.listing_ns.get_or_insert(begun_ns);
        self.recovery.namespaces.insert(netns, begun_ns);
    }

    /// All of them have been: what was not there has ended, and of namespaces that are not there any more nothing is left.
    /// `complete`: they could all be read.
    pub(super) fn listing_ends(&mut self, complete: bool, out: &mut Vec<Update>) {
        let Some(begun_ns) = self.recovery.listing_ns.take() else { return };
        let looked = self.effort.affords(self.fulls.room());
        if looked {
            self.end_unlisted(complete.then_some(begun_ns), out);
        }
        self.recovery.listed = HashSet::new();
        self.recovery.namespaces = HashMap::new();
        if looked && self.recovery.loss_ns.is_none_or(|loss_ns| loss_ns + HASHED_NS <= begun_ns) {
            self.recovery.unlisted = false;
            self.ended = None;
        }
    }

    /// Ends what the listing did not show; `others_ns`: when it began, if of namespaces that it has not been through nothing is left.
    fn end_unlisted(&mut self, others_ns: Option<u64>, out: &mut Vec<Update>) {
        let Self { fulls, recovery, .. } = self;
        let gone =
            fulls.iter().filter(|(cookie, _)| !recovery.listed.contains(*cookie)).filter_map(|(cookie, full)| {
                let begun_ns = recovery.namespaces.get(&full.flow.netns).copied().or(others_ns)?;
                is_older(full, begun_ns.saturating_sub(HASHED_NS)).then_some((*cookie, begun_ns))
            });
        let gone: Vec<(u64, u64)> = gone.collect();
        for (cookie, begun_ns) in gone {
            let Some(full) = self.fulls.remove(&cookie) else { continue };
            self.tally.unmatched.overdue += 1;
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

/// Whether nothing has been heard of a socket since.
fn is_older(full: &Full, time_ns: u64) -> bool {
    full.since_ns.is_none_or(|since_ns| since_ns < time_ns)
}
