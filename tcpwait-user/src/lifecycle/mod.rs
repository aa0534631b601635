//! The pure model: joins full sockets and mini-sockets into connections and yields the transitions of the textbook
//! state machine, each with the time spent in the state that was left.
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
mod holders;
mod jiffies;
mod mini;
mod present;
mod reason;
mod recovery;
mod request;
mod segment;
mod transition;

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

use self::{
    calls::Calls,
    common::Common,
    death::{HeldEnd, Sentenced},
    effort::room,
    full::{Full, Newborn},
    holders::Holders,
    jiffies::JiffyClock,
    mini::{Announced, Mini},
    recovery::Recovery,
    request::{HeldRequest, Request},
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
    compact::CompactMap,
    event::{Event, Fact, HookContext, PortRefused, Seed, Task},
    origin::Origin,
    symbols::Symbols,
    tcp::{Flow, NetnsId, State},
};

/// The model.
#[derive(Debug, Default)]
pub struct Lifecycle {
    common: Common,
    segments: SegmentSource,
    fulls: CompactMap<u64, Full>,
    minis: CompactMap<Flow, Mini>,
    /// How many of them each namespace has.
    minis_of: HashMap<NetnsId, u64>,
    /// When the timers run out of older ones whose beginning cannot be told from that, by cookie.
    seeded_due: HashMap<u64, u64>,
    newborns: HashMap<u64, Newborn>,
    /// Cookies of full sockets that mini-sockets took over from last.
    handed_over: VecDeque<u64>,
    requests: HashMap<Flow, Request>,
    held_requests: HashMap<HookContext, HeldRequest>,
    /// Connections in SYN_RECV whose first step still waits for a cookie, the oldest first.
    unsaid: VecDeque<(u64, Flow)>,
    calls: Calls,
    holders: Holders,
    held: HashMap<HookContext, HeldEnd>,
    sentenced: HashMap<HookContext, Sentenced>,
    announced: HashMap<HookContext, Announced>,
    /// Connections whose first step still waits for its port.
    portless: Vec<u64>,
    recovery: Recovery,
}

impl Lifecycle {
    /// A model that knows nothing yet, but what stacks are read by and what tells of segments to mini-sockets.
    pub fn new(symbols: Symbols, segments: SegmentSource) -> Self {
        Self { common: Common::new(symbols), segments, ..Self::default() }
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
        self.common.seeds_read.then_some(&self.minis_of)
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

    /// Whether the sockets that were there before are known.
    pub fn are_seeds_read(&self) -> bool {
        self.common.seeds_read
    }

    /// Takes in one event and appends what follows from it.
    pub fn apply(&mut self, event: &Event, out: &mut Vec<Update>) {
        let before = out.len();
        self.common.now_ns = self.common.now_ns.max(event.time_ns);
        self.common.effort.record();
        match &event.fact {
            Fact::State(change) => {
                self.settle_context(event.context, out);
                self.state(event.time_ns, change, out);
            }
            Fact::Owner { cookie, task: Some(task) } => self.owner(*cookie, task, out),
            Fact::Owner { task: None, .. } => {}
            Fact::Heir { cookie, task } => self.inherited(*cookie, task.as_ref(), out),
            Fact::Armed { mini, rearmed } => {
                self.common.clock.observe(event.time_ns, mini.jiffies);
                if *rearmed {
                    // A cancellation held for this very timer was the first half of it, and knew the timer as it was before.
                    if let Some(held) = self.held.remove(&event.context).filter(|held| held.mini.tw == mini.tw) {
                        self.catch_up(held.time_ns, &held.mini, out);
                    }
                    self.rearmed(event, mini, out);
                } else {
                    self.settle_context(event.context, out);
                    self.armed(event.time_ns, mini, out);
                }
            }
            Fact::Segment { mini, segment } => {
                self.common.clock.observe(event.time_ns, mini.jiffies);
                self.judge(event, mini, segment.as_ref(), out);
                self.segment(event, mini, segment.as_ref(), out);
            }
            Fact::Expired(mini) => {
                self.common.clock.observe(event.time_ns, mini.jiffies);
                // A cancellation held for this very timer was the first half of its expiry.
                if self.held.get(&event.context).is_some_and(|held| held.mini.tw == mini.tw) {
                    self.held.remove(&event.context);
                } else {
                    self.settle_context(event.context, out);
                }
                self.end(event.time_ns, mini, Reason::Expired, None, out);
            }
            Fact::Cancelled { mini, site } => {
                self.common.clock.observe(event.time_ns, mini.jiffies);
                self.settle_context(event.context, out);
                self.cancelled(event, mini, site, out);
            }
            Fact::RequestArmed { reqsk, start } => self.request_armed(event, reqsk, *start, out),
            Fact::RequestExpired(reqsk) => self.request_expired(event, reqsk, out),
            Fact::RequestCancelled { reqsk, site } => self.request_cancelled(event, reqsk, site, out),
            Fact::PortRefused(refused) => self.call_failed(event.time_ns, refused, out),
            Fact::Accepted { cookie, listener, task: Some(task) } => self.accepted(*cookie, *listener, task, out),
            Fact::Accepted { task: None, .. } => {}
            Fact::Tick { .. } => self.tick(event.time_ns, out),
            Fact::Seed(seed) => self.seed(event.time_ns, seed, out),
            Fact::Loss { .. } => self.lose(event.time_ns),
            Fact::Listed(netns) => self.listed(event.time_ns, *netns),
            Fact::SeedEnd { unreadable, .. } if self.common.seeds_read => self.listing_ends(*unreadable == 0, out),
            Fact::SeedEnd { .. } => {
                // Where something was lost meanwhile, what ends is still of interest to the next listing.
                if !self.is_unsure() {
                    self.common.forget_ends();
                }
                self.common.seeds_read = true;
            }
            Fact::CgroupName { .. } | Fact::InterfaceName { .. } | Fact::NetnsName { .. } | Fact::Counters(_) => {}
        }
        self.common.tally.transitions +=
            out.iter().skip(before).filter(|update| matches!(update, Update::Transition(_))).count() as u64;
    }

    /// Lets go of everything that still waits for a later event: the stream is over.
    pub fn finish(&mut self, out: &mut Vec<Update>) {
        let before = out.len();
        self.settle_all(u64::MAX, out);
        self.flush_portless(u64::MAX, out);
        self.flush_unsaid(u64::MAX, out);
        self.common.tally.transitions += (out.len() - before) as u64;
        self.calls.flush(u64::MAX, out);
    }

    fn call_failed(&mut self, time_ns: u64, refused: &PortRefused, out: &mut Vec<Update>) {
        let Self { common, fulls, minis, holders, calls, .. } = self;
        let holders = |common: &mut Common| holders.of((fulls, minis), &mut common.effort, time_ns, refused);
        calls.gave_back(common, time_ns, refused, holders, out);
    }

    fn tick(&mut self, time_ns: u64, out: &mut Vec<Update>) {
        // Little ever waits, so that this can be done at every tick; a recording may pretend otherwise.
        if self.common.effort.affords(room(&self.held) + room(&self.held_requests)) {
            self.settle_all(time_ns, out);
        }
        if self.common.effort.affords(self.portless.len()) {
            self.flush_portless(time_ns, out);
        }
        self.flush_unsaid(time_ns, out);
        self.end_overdue(time_ns, out);
        if self.common.effort.affords(self.calls.room()) {
            self.calls.flush(time_ns, out);
        }
    }

    fn seed(&mut self, time_ns: u64, seed: &Seed, out: &mut Vec<Update>) {
        if self.common.has_ended(seed) {
            return;
        }
        if self.common.seeds_read {
            return self.seed_again(time_ns, seed, out);
        }
        let owner = seed.task.as_ref().map(|task| self.common.share(task));
        if seed.state == State::Listen {
            self.common.listened.add(&seed.flow);
        }
        let origin = self.common.seeded_origin(seed);
        let taken = if seed.mini {
            self.seed_mini(time_ns, seed, origin, true)
        } else if seed.state == State::SynRecv {
            self.seed_request(seed)
        } else {
            // An unconnected socket has no life yet.
            seed.state != State::Close && self.seed_full(seed, owner.clone(), origin)
        };
        if taken {
            self.common.tally.seeded += 1;
            self.common.tally.seeded_minis += u64::from(seed.mini);
            out.push(self.found(seed, owner, origin));
        }
    }

    /// What is said of a connection that sock_diag lists.
    fn found(&self, seed: &Seed, owner: Option<Arc<Task>>, origin: Origin) -> Update {
        let by_ns = self.seeded_by_ns(seed);
        Update::Found(OlderConnection { id: seed.cookie, flow: seed.flow, state: seed.state, owner, origin, by_ns })
    }

    /// When a socket that sock_diag lists was in its state at the latest. That of a TIME_WAIT is told from its 60 s.
    fn seeded_by_ns(&self, seed: &Seed) -> Option<u64> {
        let told = !(seed.mini && seed.state == State::TimeWait) || self.common.clock.other_length_ns().is_none();
        seed.by_ns.filter(|_| told)
    }

    fn owner(&mut self, cookie: u64, task: &Task, out: &mut Vec<Update>) {
        let owner = self.common.share(task);
        if let Some(full) = self.fulls.get_mut(&cookie) {
            full.owner = Some(owner.clone());
            out.push(Update::Owned { id: cookie, owner });
        }
    }

    /// A process took a connection from its listener's queue: it is the one that acts for both, whoever else holds the listener.
    fn accepted(&mut self, cookie: u64, listener: u64, task: &Task, out: &mut Vec<Update>) {
        let owner = self.common.share(task);
        if listener != 0
            && let Some(full) = self.fulls.get_mut(&listener)
        {
            full.owner = Some(owner);
        }
        self.owner(cookie, task, out);
    }

    /// Somebody else holds a listener than who was known to; `None` where nobody knows who.
    fn inherited(&mut self, cookie: u64, task: Option<&Task>, out: &mut Vec<Update>) {
        let owner = task.map(|task| self.common.share(task));
        let Some(full) = self.fulls.get_mut(&cookie).filter(|full| full.state == State::Listen) else { return };
        let pid = |owner: &Option<Arc<Task>>| owner.as_ref().map(|task| task.pid);
        if pid(&full.owner) == pid(&owner) {
            self.calls.inherited(full.owner.as_ref(), full.owner.as_ref());
            return;
        }
        let former = std::mem::replace(&mut full.owner, owner.clone());
        self.holders.forget();
        self.calls.inherited(former.as_ref(), owner.as_ref());
        out.extend(owner.map(|owner| Update::Owned { id: cookie, owner }));
    }
}
