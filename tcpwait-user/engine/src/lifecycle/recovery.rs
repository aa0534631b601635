//! After a loss the model recovers: a new listing of the sockets tells what became of those that were known and which others there are, and what must
//! have ended by its own clock is taken to have ended. Nothing that was lost stays for ever.

use std::mem::take;

use hashbrown::{HashMap, HashSet};

use super::{
    Update,
    common::{Common, HASHED_NS},
    fulls::Fulls,
    minis::Minis,
    request::Requests,
};
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

impl Recovery {
    /// Whether events were lost just now, so that what is there may be less than what is known, or more: some may have ended unseen, or begun.
    pub(super) fn is_unsure(&self, now_ns: u64) -> bool {
        let Self { loss_ns, unlisted, minis_unlisted, .. } = *self;
        loss_ns.is_some_and(|loss_ns| unlisted || (minis_unlisted && now_ns < loss_ns + MINIS_NS))
    }

    /// Events have been lost.
    pub(super) fn lose(&mut self, common: &mut Common, time_ns: u64) {
        self.loss_ns = Some(time_ns);
        self.unlisted = true;
        self.minis_unlisted = true;
        common.remember_ends();
    }

    /// Ends what must have ended by its own clock.
    pub(super) fn end_overdue(
        &mut self,
        common: &mut Common,
        (fulls, requests, minis): (&mut Fulls, &mut Requests, &mut Minis),
        now_ns: u64,
        out: &mut Vec<Update>,
    ) {
        if now_ns.saturating_sub(self.last_tick_ns) > PAUSE_NS {
            self.caught_up_ns = now_ns + CAUGHT_UP_NS;
        }
        self.last_tick_ns = now_ns;
        if now_ns < self.caught_up_ns || now_ns < self.next_round_ns {
            return;
        }
        if !common.effort.affords(minis.room() + requests.room() + fulls.newborns_room()) {
            return;
        }
        self.next_round_ns = now_ns + ROUND_NS;
        let slack_ns = common.clock.timewait_slack_ns().unwrap_or(ROUND_NS) + LATE_NS;
        minis.end_overdue(common, now_ns, slack_ns, out);
        requests.end_overdue(common, now_ns.saturating_sub(REQUEST_NS), out);
        fulls.forget_newborns(now_ns.saturating_sub(REQUEST_NS));
    }

    /// A socket that a new listing tells of.
    pub(super) fn seed_again(
        &mut self,
        common: &mut Common,
        (fulls, minis): (&mut Fulls, &mut Minis),
        time_ns: u64,
        seed: &Seed,
        out: &mut Vec<Update>,
    ) {
        self.listing_ns.get_or_insert(time_ns);
        if seed.mini {
            self.tells_minis |= seed.state == State::TimeWait;
            self.listed_minis.insert(seed.cookie);
            if minis.seed_again(common, time_ns, seed, out) {
                fulls.lose(seed.cookie, out);
                out.push(common.found(seed, None, common.seeded_origin(seed)));
            }
        } else if !matches!(seed.state, State::Close | State::SynRecv) {
            self.listed.insert(seed.cookie);
            fulls.seed_again(common, time_ns, seed, out);
        }
    }

    /// A namespace has been listed once more.
    pub(super) fn listed(&mut self, begun_ns: u64, netns: NetnsId) {
        self.listing_ns.get_or_insert(begun_ns);
        self.namespaces.insert(netns, begun_ns);
    }

    /// All of them have been: what was not there has ended, and of namespaces that are not there any more nothing is left.
    /// `complete`: they could all be read.
    pub(super) fn listing_ends(
        &mut self,
        common: &mut Common,
        (fulls, minis): (&mut Fulls, &mut Minis),
        complete: bool,
        out: &mut Vec<Update>,
    ) {
        let Some(begun_ns) = self.listing_ns.take() else { return };
        let namespaces = take(&mut self.namespaces);
        let (listed, listed_minis) = (take(&mut self.listed), take(&mut self.listed_minis));
        let tells_minis = take(&mut self.tells_minis);
        if !common.effort.affords(fulls.room() + minis.room()) {
            return;
        }
        // Of a namespace that it has not been through nothing is left, if all could be read.
        let begun = |netns: NetnsId| namespaces.get(&netns).copied().or(complete.then_some(begun_ns));
        fulls.end_unlisted(common, begun, &listed, out);
        if tells_minis {
            minis.end_unlisted(common, begun, &listed_minis, out);
        }
        if self.loss_ns.is_none_or(|loss_ns| loss_ns + HASHED_NS <= begun_ns) {
            self.unlisted = false;
            self.minis_unlisted = !(complete && (tells_minis || minis.len() == 0));
            common.forget_ends();
        }
    }
}
