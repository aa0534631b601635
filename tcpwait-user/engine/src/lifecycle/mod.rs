//! The pure model: joins full sockets, request sockets and mini-sockets into connections and yields the transitions of the textbook
//! state machine, each with the time spent in the state that was left.
//!
//! Each kind of socket has a machine of its own, which owns what is known of its sockets: `Fulls`, `Requests`, `Minis`. So have early ends of
//! mini-sockets (`Deaths`), calls that fail (`Calls`), the look-up of who holds a port (`Holders`) and what follows a loss (`Recovery`). Here each event
//! is given to the machines that it is about, and here a connection is handed over from one to the next. What they share is in `Common`.
//!
//! It reads no clock, prints nothing and knows no kernel: time comes from events. Identity is the socket cookie; a mini-socket,
//! which may share its cookie with a full socket that was connected again, is found by its addresses and checked by its cookie.

mod calls;
pub mod cancelled;
mod common;
mod counts;
mod death;
mod effort;
mod end;
mod failure;
mod full;
mod fulls;
mod holders;
mod jiffies;
mod mini;
mod mini_kind;
mod minis;
mod present;
mod reason;
mod recovery;
mod request;
mod segment;
mod transition;

use hashbrown::HashMap;

use self::{
    calls::Calls, common::Common, death::Deaths, fulls::Fulls, holders::Holders, jiffies::JiffyClock, minis::Minis,
    recovery::Recovery, request::Requests,
};
pub use self::{
    counts::{ModelCounts, Unmatched},
    end::TELLING,
    failure::{Call, Failure, PortHolder, PortHolders, Search, Why},
    jiffies::HzSource,
    present::Present,
    reason::{Abort, Detail, Reason},
    segment::{RestartCause, Restarts, SegmentSource},
    transition::{KeptIn, OlderConnection, Timing, Transition, Update},
};
use crate::{
    event::{Event, Fact, HookContext, MiniSocket, PortRefused, Seed, StateChange, Task},
    symbols::Symbols,
    tcp::{NetnsId, State},
};

/// The model.
#[derive(Debug, Default)]
pub struct Lifecycle {
    common: Common,
    fulls: Fulls,
    requests: Requests,
    minis: Minis,
    deaths: Deaths,
    calls: Calls,
    holders: Holders,
    recovery: Recovery,
}

impl Lifecycle {
    /// A model that knows nothing yet, but what stacks are read by and what tells of segments to mini-sockets.
    pub fn new(symbols: Symbols, segments: SegmentSource) -> Self {
        Self { common: Common::new(symbols), deaths: Deaths::new(segments), ..Self::default() }
    }

    /// The same, on a kernel that told its tick rate.
    #[must_use]
    pub fn with_hz(mut self, hz: Option<u64>) -> Self {
        self.common.clock = JiffyClock::told(hz);
        self
    }

    /// What was seen so far.
    pub fn tally(&self) -> ModelCounts {
        self.common.tally
    }

    /// Every socket that is there: full sockets, request sockets, mini-sockets.
    pub fn present(&self) -> impl Iterator<Item = Present<'_>> {
        let one_in = self.one_in();
        let all = self.fulls.present().chain(self.requests.present()).chain(self.minis.present());
        all.map(move |socket| Present { stands_for: if socket.state == State::Listen { 1 } else { one_in }, ..socket })
    }

    /// Connections in SYN_RECV now.
    pub fn requests_now(&self) -> usize {
        self.requests.len()
    }

    /// Mini-sockets alive now that are known.
    pub fn minis_now(&self) -> usize {
        self.minis.len()
    }

    /// Mini-sockets alive now; `None` as long as sock_diag has not told of those that are older.
    pub fn all_minis_now(&self) -> Option<u64> {
        self.common.seeds_read.then_some(self.minis.len() as u64)
    }

    /// The same, by network namespace.
    pub fn minis_by_netns(&self) -> Option<&HashMap<NetnsId, u64>> {
        self.common.seeds_read.then_some(self.minis.by_netns())
    }

    /// The kernel's ticks per second and what they are known from, once they are.
    pub fn hz(&self) -> Option<(u64, HzSource)> {
        self.common.clock.known()
    }

    /// Whether this kernel set the timer of a TIME_WAIT to something else than 60 s, and then to how many nanoseconds, if its tick rate is known.
    pub fn other_length_ns(&self) -> Option<Option<u64>> {
        self.common.clock.other_length_ns()
    }

    /// How long after its 60 s a natural TIME_WAIT may end at the latest, for the timer wheel's sake; `None` before HZ is known.
    pub fn timewait_slack_ns(&self) -> Option<u64> {
        self.common.clock.timewait_slack_ns()
    }

    /// When the timer of a mini-socket runs out (jiffies), in nanoseconds of `CLOCK_MONOTONIC`; the timer wheel may be later. `None` where that is not known.
    pub fn ends_ns(&self, timer: u64) -> Option<u64> {
        self.common.clock.time_of(timer).filter(|_| timer != 0)
    }

    /// Of how many connections one is told of.
    pub fn one_in(&self) -> u32 {
        self.common.thinned.unwrap_or(1)
    }

    /// Whether the sockets that were there before are known.
    pub fn are_seeds_read(&self) -> bool {
        self.common.seeds_read
    }

    /// Whether events were lost just now, so that what is there may be less than what is known, or more: some may have ended unseen, or begun.
    pub fn is_unsure(&self) -> bool {
        self.recovery.is_unsure(self.common.now_ns)
    }

    /// Takes in one event and appends what follows from it.
    pub fn apply(&mut self, event: &Event, out: &mut Vec<Update>) {
        let before = out.len();
        self.common.now_ns = self.common.now_ns.max(event.time_ns);
        self.common.effort.record();
        match &event.fact {
            Fact::State(change) => {
                self.settle(event.context, out);
                self.state(event.time_ns, change, out);
            }
            Fact::Owner { cookie, task: Some(task) } => self.fulls.owner(&mut self.common, *cookie, task, out),
            Fact::Owner { task: None, .. } => {}
            Fact::Heir { cookie, task } => self.inherited(*cookie, task.as_ref(), out),
            Fact::Armed { mini, rearmed: false } => self.armed(event, mini, out),
            Fact::Armed { mini, rearmed: true } => {
                self.common.clock.observe(event.time_ns, mini.jiffies);
                let Self { common, minis, deaths, .. } = self;
                deaths.rearmed(common, minis, event.context, mini, out);
                minis.rearmed(common, event, mini, out);
            }
            Fact::Segment { mini, segment } => {
                self.common.clock.observe(event.time_ns, mini.jiffies);
                let Self { common, minis, deaths, .. } = self;
                deaths.judge(common, minis, event, (mini, segment.as_ref()), out);
                self.settle(event.context, out);
                self.minis.segment(event, mini, segment.as_ref(), out);
            }
            Fact::Expired(mini) => {
                self.common.clock.observe(event.time_ns, mini.jiffies);
                self.deaths.expired(event.context, mini);
                self.settle(event.context, out);
                self.minis.end(&mut self.common, event.time_ns, mini, (Reason::Expired, None), out);
            }
            Fact::Cancelled { mini, site } => {
                self.common.clock.observe(event.time_ns, mini.jiffies);
                self.settle(event.context, out);
                self.deaths.cancelled(&mut self.common, &mut self.minis, event, (mini, site), out);
            }
            Fact::RequestArmed { reqsk, start } => {
                // What a request socket waits for in this context may be this very event.
                let Self { common, fulls, requests, minis, deaths, .. } = self;
                deaths.settle(common, minis, event.context, out);
                requests.armed(common, fulls, event, (reqsk, *start), out);
            }
            Fact::RequestExpired(reqsk) => {
                self.settle(event.context, out);
                self.requests.expired(&mut self.common, &self.fulls, event, reqsk);
            }
            Fact::RequestCancelled { reqsk, site } => {
                self.settle(event.context, out);
                self.requests.cancelled(&mut self.common, &self.fulls, event, (reqsk, site), out);
            }
            Fact::PortRefused(refused) => self.gave_back(event.time_ns, refused, out),
            Fact::Accepted { cookie, listener, task: Some(task) } => {
                self.fulls.accepted(&mut self.common, (*cookie, *listener), task, out);
            }
            Fact::Accepted { task: None, .. } => {}
            Fact::Tick { .. } => self.tick(event.time_ns, out),
            Fact::Seed(seed) => self.seed(event.time_ns, seed, out),
            Fact::SeedEnd { unreadable, .. } => self.seed_end(*unreadable == 0, out),
            Fact::Listed(netns) => self.recovery.listed(event.time_ns, *netns),
            Fact::Thinned { one_in } => self.thin(event.time_ns, *one_in, out),
            Fact::Loss { .. } => self.recovery.lose(&mut self.common, event.time_ns),
            Fact::CgroupName { .. }
            | Fact::PodName { .. }
            | Fact::InterfaceName { .. }
            | Fact::NetnsName { .. }
            | Fact::Counters(_)
            | Fact::Setting { .. }
            | Fact::ReadingBegins
            | Fact::KernelCounts(_)
            | Fact::ReadingEnds { .. } => {}
        }
        self.weigh(before, out);
        let updates = out.iter().skip(before);
        self.common.tally.transitions +=
            updates.filter(|update| matches!(update, Update::Transition(_))).count() as u64;
    }

    /// Lets go of everything that still waits for a later event: the stream is over.
    pub fn finish(&mut self, out: &mut Vec<Update>) {
        let before = out.len();
        self.settle_all(u64::MAX, out);
        self.fulls.flush_portless(u64::MAX, out);
        self.requests.flush(u64::MAX, out);
        self.weigh(before, out);
        self.common.tally.transitions += (out.len() - before) as u64;
        self.calls.flush(u64::MAX, out);
    }

    /// From now on one connection in so many is told of. If they are fewer than before, the others are not followed any more; if they are more, those that are there
    /// already are listed.
    fn thin(&mut self, time_ns: u64, one_in: u32, out: &mut Vec<Update>) {
        self.settle_all(u64::MAX, out);
        let before = self.common.thinned.replace(one_in).unwrap_or(1);
        let Self { common, fulls, requests, minis, recovery, .. } = self;
        // A recording may go to and fro.
        if one_in > before && common.effort.affords(fulls.room() + requests.room() + minis.room()) {
            fulls.thin(one_in, out);
            requests.thin(one_in, out);
            minis.thin(one_in, out);
        } else if one_in != before {
            recovery.lose(common, time_ns);
        }
    }

    /// Says how many connections those stand for that are told of. Listeners, and connects that fail, are all told of. (The step into SYN_SENT of one that had its
    /// port before is said before it fails, and stands for several.)
    fn weigh(&self, before: usize, out: &mut [Update]) {
        let Some(one_in) = self.common.thinned.filter(|one_in| *one_in > 1) else { return };
        let is_told_of_always = |step: &Transition| {
            step.to == State::Listen
                || (step.to == State::Close && matches!(step.from, Some(State::Listen | State::SynSent)))
        };
        let steps = || out.iter().skip(before);
        let failed: Vec<u64> = steps()
            .filter_map(|update| match update {
                Update::Transition(step) if is_told_of_always(step) => Some(step.id),
                _ => None,
            })
            .collect();
        for update in out.iter_mut().skip(before) {
            let Update::Transition(step) = update else { continue };
            let fails = step.to == State::SynSent && failed.contains(&step.id);
            if !fails && !is_told_of_always(step) {
                step.stands_for = one_in;
            }
        }
    }

    /// A full socket changed state. A connection that leaves SYN_RECV was in a request socket until then.
    fn state(&mut self, time_ns: u64, change: &StateChange, out: &mut Vec<Update>) {
        let Self { common, fulls, requests, minis, calls, .. } = self;
        if change.old == change.new || fulls.is_birth(time_ns, change) || fulls.is_hand_over(common, minis, change, out)
        {
            return;
        }
        let mut handshake = None;
        if change.old == State::SynRecv {
            let newborn = fulls.take_newborn(time_ns, change);
            handshake = requests.hand_over(fulls, newborn, change, out);
            if handshake.is_none() {
                return;
            }
        }
        fulls.step(common, calls, (time_ns, change), handshake, out);
    }

    /// A mini-socket begins: it takes over from a full socket.
    fn armed(&mut self, event: &Event, mini: &MiniSocket, out: &mut Vec<Update>) {
        self.common.clock.observe(event.time_ns, mini.jiffies);
        self.settle(event.context, out);
        let former = self.fulls.hand_over(&mut self.common, mini.cookie, event.time_ns);
        self.minis.armed(&mut self.common, event.time_ns, mini, former, out);
    }

    /// bind(), listen() or connect() gave back an error.
    fn gave_back(&mut self, time_ns: u64, refused: &PortRefused, out: &mut Vec<Update>) {
        let Self { common, fulls, minis, holders, calls, .. } = self;
        let holders = |common: &mut Common| holders.of((fulls, minis), &mut common.effort, time_ns, refused);
        calls.gave_back(common, time_ns, refused, holders, out);
    }

    /// Somebody else holds a listener than who was known to; `None` where nobody knows who.
    fn inherited(&mut self, cookie: u64, task: Option<&Task>, out: &mut Vec<Update>) {
        let owner = task.map(|task| self.common.share(task));
        let Some([former, owner]) = self.fulls.inherited(cookie, owner, out) else { return };
        if former != owner {
            self.holders.forget();
        }
        self.calls.inherited(former.as_ref(), owner.as_ref());
    }

    /// Something else happened in that context: what was held there until then is what it seemed to be.
    fn settle(&mut self, context: HookContext, out: &mut Vec<Update>) {
        // Almost always there is nothing, and this is asked for every record.
        if self.deaths.holds_none() && self.requests.holds_none() {
            return;
        }
        self.requests.settle(&mut self.common, &self.fulls, context, out);
        self.deaths.settle(&mut self.common, &mut self.minis, context, out);
    }

    /// Nothing else happened in some contexts for a while: the same.
    fn settle_all(&mut self, now_ns: u64, out: &mut Vec<Update>) {
        self.deaths.settle_all(&mut self.common, &mut self.minis, now_ns, out);
        self.requests.settle_all(&mut self.common, &self.fulls, now_ns, out);
    }

    fn tick(&mut self, time_ns: u64, out: &mut Vec<Update>) {
        // Little ever waits, so that this can be done at every tick; a recording may pretend otherwise.
        if self.common.effort.affords(self.deaths.held_room() + self.requests.held_room()) {
            self.settle_all(time_ns, out);
        }
        if self.common.effort.affords(self.fulls.portless()) {
            self.fulls.flush_portless(time_ns, out);
        }
        self.requests.flush(time_ns, out);
        if self.common.seeds_read && self.common.listened.is_full() {
            let namespaces = self.present().map(|present| present.flow.netns).collect();
            self.common.listened.forget_all_but(&namespaces);
        }
        let Self { common, fulls, requests, minis, calls, recovery, .. } = self;
        recovery.end_overdue(common, (fulls, requests, minis), time_ns, out);
        if common.effort.affords(calls.room()) {
            calls.flush(time_ns, out);
        }
    }

    /// A socket that sock_diag lists.
    fn seed(&mut self, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        let Self { common, fulls, requests, minis, recovery, .. } = self;
        if common.has_ended(seed) {
            return;
        }
        if common.seeds_read {
            return recovery.seed_again(common, (fulls, minis), time_ns, seed, out);
        }
        let owner = seed.task.as_ref().map(|task| common.share(task));
        if seed.state == State::Listen {
            common.listened.add(&seed.flow);
        }
        let origin = common.seeded_origin(seed);
        let is_new = match seed.state {
            _ if seed.mini => minis.seed(common, time_ns, seed, origin, true),
            State::SynRecv => !fulls.is_known(seed.cookie) && requests.seed(common, seed),
            // An unconnected socket has no life yet.
            State::Close => false,
            _ => fulls.seed(seed, owner.clone(), origin),
        };
        if is_new {
            common.tally.seeded += 1;
            common.tally.seeded_minis += u64::from(seed.mini);
            out.push(common.found(seed, owner, origin));
        }
    }

    /// All sockets have been listed. `complete`: those of every namespace.
    fn seed_end(&mut self, complete: bool, out: &mut Vec<Update>) {
        let Self { common, fulls, minis, recovery, .. } = self;
        if common.seeds_read {
            return recovery.listing_ends(common, (fulls, minis), complete, out);
        }
        // Where something was lost meanwhile, what ends is still of interest to the next listing.
        if !recovery.is_unsure(common.now_ns) {
            common.forget_ends();
        }
        common.seeds_read = true;
    }
}
