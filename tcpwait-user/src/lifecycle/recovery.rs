//! After a loss the model recovers: a new listing of the sockets tells what became of those that were known and which others there are, and what must
//! have ended by its own clock is taken to have ended. Nothing that was lost stays for ever.

use std::mem::take;

use hashbrown::{HashMap, HashSet};

use super::{Lifecycle, Reason, Transition, Update, common::HASHED_NS, effort::room, full::Full};
use crate::{
    event::Seed,
    tcp::{NetnsId, State, TIMEWAIT_LEN_NS},
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
const MINIS_NS: u64 = TIMEWAIT_LEN_NS + 5_000_000_000 + LATE_NS + ROUND_NS;

/// What is to be known of losses.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// When the last loss was noticed.
    loss_ns: Option<u64>,
    /// Full sockets have not been listed since.
    unlisted: bool,
    /// Nor have mini-sockets, which early recordings of version 6 do not tell of anew.
    minis_unlisted: bool,
    /// Full sockets that the new listing has told of, by cookie; and mini-sockets.
    listed: HashSet<u64>,
    listed_minis: HashSet<u64>,
    /// Whether it tells of mini-sockets.
    tells_minis: bool,
    /// The namespaces that it has been through, and when it began each.
    namespaces: HashMap<NetnsId, u64>,
    /// When it began.
    listing_ns: Option<u64>,
    last_tick_ns: u64,
    caught_up_ns: u64,
    next_round_ns: u64,
}

impl Lifecycle {
    /// Whether events were lost just now, so that what is there may be less than what is known, or more: some may have ended unseen, or begun.
    pub fn is_unsure(&self) -> bool {
        let Recovery { loss_ns, unlisted, minis_unlisted, .. } = self.recovery;
        loss_ns.is_some_and(|loss_ns| unlisted || (minis_unlisted && self.common.now_ns < loss_ns + MINIS_NS))
    }

    /// Events have been lost.
    pub(super) fn lose(&mut self, time_ns: u64) {
        self.recovery.loss_ns = Some(time_ns);
        self.recovery.unlisted = true;
        self.recovery.minis_unlisted = true;
        self.common.remember_ends();
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
        if !self.common.effort.affords(self.minis.room() + room(&self.requests) + room(&self.newborns)) {
            return;
        }
        self.recovery.next_round_ns = now_ns + ROUND_NS;
        let slack_ns = self.common.clock.timewait_slack_ns().unwrap_or(ROUND_NS) + LATE_NS;
        self.end_overdue_minis(now_ns, slack_ns, out);
        self.end_overdue_requests(now_ns.saturating_sub(REQUEST_NS), out);
        self.newborns.retain(|_, newborn| newborn.is_younger(now_ns.saturating_sub(REQUEST_NS)));
    }

    /// A socket that a new listing tells of.
    pub(super) fn seed_again(&mut self, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        self.recovery.listing_ns.get_or_insert(time_ns);
        if seed.mini {
            return self.seed_mini_again(time_ns, seed, out);
        }
        if matches!(seed.state, State::Close | State::SynRecv) {
            return;
        }
        self.recovery.listed.insert(seed.cookie);
        let owner = seed.task.as_ref().map(|task| self.common.share(task));
        if seed.state == State::Listen {
            self.common.listened.add(&seed.flow);
        }
        let origin = self.common.seeded_origin(seed);
        let Some(full) = self.fulls.get_mut(&seed.cookie) else {
            self.common.tally.unmatched.gaps += 1;
            self.fulls.insert(seed.cookie, Full::found_again(seed, owner.clone(), origin));
            out.push(self.found(seed, owner, origin));
            return;
        };
        full.owner = full.owner.take().or(owner);
        full.origin = full.origin.or(origin);
        full.v6only = full.v6only.or(seed.v6only);
        if full.state != seed.state && is_older(full, time_ns) {
            self.common.tally.unmatched.gaps += 1;
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

    fn seed_mini_again(&mut self, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        self.recovery.tells_minis |= seed.state == State::TimeWait;
        self.recovery.listed_minis.insert(seed.cookie);
        self.end_replaced(time_ns, seed, out);
        self.enter_unseen(time_ns, seed, out);
        let origin = self.common.seeded_origin(seed);
        if self.seed_mini(time_ns, seed, origin, false) {
            self.common.tally.unmatched.gaps += 1;
            // Whatever was in a full socket went on in this one.
            if let Some(full) = self.fulls.remove(&seed.cookie) {
                out.push(Update::Lost { id: seed.cookie, flow: full.flow });
            }
            out.push(self.found(seed, None, origin));
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
        let namespaces = take(&mut self.recovery.namespaces);
        let (listed, minis) = (take(&mut self.recovery.listed), take(&mut self.recovery.listed_minis));
        let tells_minis = take(&mut self.recovery.tells_minis);
        if !self.common.effort.affords(self.fulls.room() + self.minis.room()) {
            return;
        }
        // Of a namespace that it has not been through nothing is left, if all could be read.
        let begun = |netns: NetnsId| namespaces.get(&netns).copied().or(complete.then_some(begun_ns));
        self.end_unlisted(begun, &listed, out);
        if tells_minis {
            self.end_unlisted_minis(begun, &minis, out);
        }
        if self.recovery.loss_ns.is_none_or(|loss_ns| loss_ns + HASHED_NS <= begun_ns) {
            self.recovery.unlisted = false;
            self.recovery.minis_unlisted = !(complete && (tells_minis || self.minis.is_empty()));
            self.common.forget_ends();
        }
    }

    /// Ends the full sockets that a listing did not show.
    fn end_unlisted(&mut self, begun: impl Fn(NetnsId) -> Option<u64>, listed: &HashSet<u64>, out: &mut Vec<Update>) {
        let gone = self.fulls.iter().filter(|(cookie, _)| !listed.contains(*cookie)).filter_map(|(cookie, full)| {
            let begun_ns = begun(full.flow.netns)?;
            is_older(full, begun_ns.saturating_sub(HASHED_NS)).then_some((*cookie, begun_ns))
        });
        let gone: Vec<(u64, u64)> = gone.collect();
        for (cookie, begun_ns) in gone {
            let Some(full) = self.fulls.remove(&cookie) else { continue };
            self.common.tally.unmatched.overdue += 1;
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
