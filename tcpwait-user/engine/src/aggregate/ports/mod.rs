//! The ports that outgoing connections hold, by source address, destination address and port: how many, how fast they are taken,
//! and when they run out.
//!
//! Takes what the lifecycle yields and gives plain [`report::PortsReport`]s. It reads no clock and no setting; both come from outside.
//! Connections that were accepted hold no port that connect() chose, and are left out; so are those of which nobody knows which side made them
//! ([`Origin`]).

pub mod advice;
mod bound;
pub mod failures;
pub mod forecast;
mod listeners;
mod owners;
pub mod pace;
pub mod range_advice;
pub mod report;
mod rows;
pub mod settings;
pub mod states;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hashbrown::HashMap;

use self::{
    failures::PortFailures,
    listeners::Listeners,
    pace::{Pace, Step},
    report::{PortDestination, Source},
    settings::PortSettings,
};
use crate::{
    compact::CompactMap,
    connection::Name,
    event::{Event, Fact, Task},
    lifecycle::{Call, Failure, OlderConnection, Reason, Transition, Update},
    origin::Origin,
    tcp::TIMEWAIT_LEN_NS,
    tcp::{Flow, Interface, NetnsId, State},
};

/// Places in which bind() failed that are told apart.
const MAX_PLACES: usize = 1000;

/// A connection that holds a port.
#[derive(Debug)]
struct HeldPort {
    destination: Arc<PortDestination>,
    owner: Option<Arc<Task>>,
    /// When connect() was called; `None` where that was not seen.
    begun_ns: Option<u64>,
    /// When TIME_WAIT began; 0 in all other states.
    waits_ns: u64,
    /// Whether the connection had timestamps, once it is in a mini-socket.
    timestamps: Option<bool>,
    lport: u16,
    state: State,
    /// Whether bind() gave the port; `None` where connect() was not seen.
    bound: Option<bool>,
    /// Whether connect() is known to have got its port, which is counted when the port is known.
    counted: bool,
}

/// A connection that holds no port that connect() chose.
#[derive(Clone, Copy, Debug)]
struct Other {
    netns: NetnsId,
    lport: u16,
    /// Whether its port is closed to connect(), for certain: it was accepted, or bind() gave it.
    closes: bool,
}

/// Times that are added up.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    ns: u64,
}

impl Sum {
    fn add(&mut self, ns: u64) {
        self.count += 1;
        self.ns = self.ns.saturating_add(ns);
    }

    fn mean(self) -> Option<u64> {
        self.ns.checked_div(self.count)
    }
}

/// What is remembered of a destination beyond the connections there are.
#[derive(Debug, Default)]
struct Track {
    pace: Pace,
    /// How long ports were held that came free.
    held: Sum,
    /// How long connections took to come to TIME_WAIT, or to end without it.
    active: Sum,
    /// When the first of those was made that were seen to begin.
    first_ns: Option<u64>,
    /// How long TIME_WAIT took where connect() did not end it.
    waits: Sum,
    /// TIME_WAITs entered, by whether the connection had timestamps.
    with_timestamps: u64,
    without_timestamps: u64,
    failures: PortFailures,
}

/// Where a bind() failed: namespace, interface, address, port (0: any).
type Place = (NetnsId, Option<Interface>, IpAddr, u16);

/// The model.
#[derive(Debug)]
pub struct PortModel {
    held: CompactMap<Name, HeldPort>,
    others: CompactMap<Name, Other>,
    /// Ports of those that close them, by network namespace: a bind bucket lasts as long as its last socket (`inet_bind_bucket_destroy`).
    served: HashMap<(NetnsId, u16), u64>,
    /// How fast bind() takes ports, by source.
    bound: HashMap<Source, Pace>,
    tracks: HashMap<Arc<PortDestination>, Track>,
    listeners: Listeners,
    binds: BTreeMap<Place, PortFailures>,
    settings: HashMap<NetnsId, PortSettings>,
    /// When the timer of the mini-socket with this cookie runs out, which sock_diag has just said.
    timer: Option<(u64, u64)>,
    slack_ns: Option<u64>,
    /// Events that were lost by the last report, and when some were last, at the latest.
    missed: u64,
    missed_ns: Option<u64>,
    /// What is there now is not certain.
    unsure: bool,
    begin_ns: u64,
    traced: bool,
    whole: bool,
}

impl PortModel {
    /// A model of what happens from this time on. `traced`: whether it will be told of anything but what is there. `whole`: whether of
    /// everything in its namespaces, without which nobody knows what bind() took for others.
    pub fn new(begin_ns: u64, traced: bool, whole: bool) -> Self {
        Self {
            held: CompactMap::default(),
            others: CompactMap::default(),
            served: HashMap::new(),
            bound: HashMap::new(),
            tracks: HashMap::new(),
            listeners: Listeners::default(),
            binds: BTreeMap::new(),
            settings: HashMap::new(),
            timer: None,
            slack_ns: None,
            missed: 0,
            missed_ns: None,
            unsure: false,
            begin_ns,
            traced,
            whole,
        }
    }

    /// The settings of a namespace as they are now.
    pub fn set_settings(&mut self, netns: NetnsId, settings: PortSettings) {
        self.settings.insert(netns, settings);
    }

    /// How much longer than its 60 s a TIME_WAIT may take, for the timer wheel's sake.
    pub fn set_slack(&mut self, slack_ns: Option<u64>) {
        self.slack_ns = slack_ns;
    }

    /// The namespaces in which anything connects, or tried to.
    pub fn namespaces(&self) -> Vec<NetnsId> {
        let mut namespaces: Vec<NetnsId> = self.tracks.keys().map(|destination| destination.netns).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }

    /// Forgets all that failed, and all rates, where no port is held and nothing has happened of late: for who asks what is so now, for as long as there is
    /// anybody, while destinations and namespaces come and go.
    pub fn forget_idle(&mut self, now_ns: u64) {
        // Whoever holds a port there has its destination too.
        self.tracks.retain(|destination, track| Arc::strong_count(destination) > 1 || !track.pace.is_idle(now_ns));
        self.bound.retain(|_, pace| !pace.is_idle(now_ns));
        let namespaces = self.namespaces();
        self.settings.retain(|netns, _| namespaces.binary_search(netns).is_ok());
    }

    /// Takes note of an event, before what follows from it: of what sock_diag lists, [`OlderConnection`] does not say when it ends.
    pub fn event(&mut self, event: &Event) {
        if let Fact::Seed(seed) = &event.fact {
            let left_ns = u64::from(seed.expires_ms) * 1_000_000;
            self.timer = seed.mini.then_some((seed.cookie, event.time_ns.saturating_add(left_ns)));
        }
    }

    /// Takes note of what happens to any connection, wanted or not.
    pub fn observe(&mut self, update: &Update) {
        self.listeners.observe(update);
    }

    /// Takes in what a wanted connection did.
    pub fn update(&mut self, update: &Update) {
        match update {
            Update::Transition(step) => self.step(step),
            Update::Found(found) => self.found(found),
            Update::Failed(failure) => self.failed(failure),
            Update::Owned { .. } => {}
            Update::Lost { id, flow } => {
                let name = Name::of(*id, flow);
                drop(self.held.remove(&name).or_else(|| self.held.remove(&name.portless())));
                if let Some(other) = self.others.remove(&name) {
                    self.release(other);
                }
            }
        }
    }

    fn found(&mut self, found: &OlderConnection) {
        let OlderConnection { id, flow, state, owner, origin, .. } = found;
        let timer = self.timer.take().filter(|(cookie, _)| cookie == id);
        // A request socket holds no port beside its listener.
        if matches!(state, State::Listen | State::Close | State::SynRecv) {
            return;
        }
        let name = Name::of(*id, flow);
        if !origin.is_outgoing() {
            self.insert_other(name, flow, *origin == Origin::There);
            return;
        }
        let waits_ns = match (*state, timer) {
            (State::TimeWait, Some((_, end_ns))) => end_ns.saturating_sub(TIMEWAIT_LEN_NS),
            _ => 0,
        };
        let held = HeldPort {
            destination: self.destination(flow),
            owner: owner.clone(),
            begun_ns: None,
            waits_ns,
            timestamps: None,
            lport: flow.lport,
            state: *state,
            bound: None,
            counted: true,
        };
        self.held.insert(name, held);
    }

    fn insert_other(&mut self, name: Name, flow: &Flow, closes: bool) {
        let Flow { netns, lport, .. } = *flow;
        if closes {
            *self.served.entry((netns, lport)).or_default() += 1;
        }
        if let Some(former) = self.others.insert(name, Other { netns, lport, closes }) {
            self.release(former);
        }
    }

    fn release(&mut self, other: Other) {
        let place = (other.netns, other.lport);
        if other.closes
            && let Some(count) = self.served.get_mut(&place)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.served.remove(&place);
            }
        }
    }

    fn step(&mut self, step: &Transition) {
        let name = Name::of(step.id, &step.flow);
        let known = self.held.remove(&name).or_else(|| self.held.remove(&name.portless()));
        let other = self.others.remove(&name);
        if let Some(other) = other {
            self.release(other);
        }
        if step.to == State::Listen || step.from == Some(State::Listen) {
            return;
        }
        if !step.origin.is_outgoing() {
            let closes =
                step.origin == Origin::There || step.bound == Some(true) || other.is_some_and(|other| other.closes);
            if !matches!(step.to, State::Close | State::SynRecv) {
                self.insert_other(name, &step.flow, closes);
            }
            return;
        }
        let is_new = step.from == Some(State::Close);
        let held = match known {
            Some(held) if !is_new => held,
            _ => HeldPort {
                destination: self.destination(&step.flow),
                owner: None,
                begun_ns: is_new.then_some(step.time_ns),
                waits_ns: 0,
                timestamps: None,
                lport: 0,
                state: step.from.unwrap_or(step.to),
                bound: step.bound,
                counted: !is_new,
            },
        };
        if let Some(held) = self.advance(held, step) {
            self.held.insert(name, held);
        }
    }

    /// What becomes of a connection; `None` when its port is free.
    fn advance(&mut self, mut held: HeldPort, step: &Transition) -> Option<HeldPort> {
        let time_ns = step.time_ns;
        let track = self.tracks.entry(held.destination.clone()).or_default();
        let place = Source::of(&held.destination);
        let mut none = Pace::default();
        let bound = match held.bound {
            Some(true) => self.bound.entry(place).or_default(),
            _ => &mut none,
        };
        held.owner = step.owner.clone().or(held.owner);
        held.lport = step.flow.lport;
        held.timestamps = step.timestamps.or(held.timestamps);
        // The kernel chooses the port after the first event; a connection that never got one was never there.
        if !held.counted && held.lport != 0 {
            held.counted = true;
            track.pace.count(held.begun_ns.unwrap_or(time_ns), Step::Taken);
            track.first_ns = track.first_ns.or(held.begun_ns);
            bound.count(held.begun_ns.unwrap_or(time_ns), Step::Taken);
        }
        let is_active = held.state != State::TimeWait;
        if is_active
            && matches!(step.to, State::Close | State::TimeWait)
            && held.counted
            && let Some(begun_ns) = held.begun_ns
        {
            track.active.add(time_ns.saturating_sub(begun_ns));
        }
        if step.to == State::Close {
            if is_active && held.counted {
                track.pace.count(time_ns, Step::Ended);
                bound.count(time_ns, Step::Ended);
            }
            if held.state == State::TimeWait
                && step.reason != Some(Reason::ReusedByConnect)
                && let Some(dwell_ns) = step.dwell_ns
            {
                track.waits.add(dwell_ns);
            }
            if held.counted
                && let Some(begun_ns) = held.begun_ns
            {
                track.held.add(time_ns.saturating_sub(begun_ns));
            }
            return None;
        }
        if step.to == State::TimeWait && is_active {
            track.pace.count(time_ns, Step::Waits);
            bound.count(time_ns, Step::Waits);
            held.waits_ns = time_ns;
            match held.timestamps {
                Some(true) => track.with_timestamps += 1,
                Some(false) => track.without_timestamps += 1,
                None => {}
            }
        }
        held.state = step.to;
        Some(held)
    }

    fn failed(&mut self, failure: &Failure) {
        let flow = &failure.flow;
        if failure.call == Call::Connect {
            let destination = self.destination(flow);
            let track = self.tracks.entry(destination).or_default();
            track.failures.count(failure);
            if failure.why == crate::lifecycle::Why::NoFreePort {
                track.pace.count(failure.time_ns, Step::Failed);
            }
            return;
        }
        let place = (flow.netns, flow.interface(), flow.laddr, flow.lport);
        if self.binds.len() < MAX_PLACES || self.binds.contains_key(&place) {
            self.binds.entry(place).or_default().count(failure);
        }
    }

    /// The destination of a connection, shared by all that go there.
    fn destination(&mut self, flow: &Flow) -> Arc<PortDestination> {
        let destination = PortDestination::of(flow);
        if let Some((shared, _)) = self.tracks.get_key_value(&destination) {
            return shared.clone();
        }
        let shared = Arc::new(destination);
        self.tracks.insert(shared.clone(), Track::default());
        shared
    }
}
