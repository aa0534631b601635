//! What is measured of one recording, in a part of its time: counts, durations, numbers of sockets, settings.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use tcpwait_wire::wire;

use super::{
    blocks::{CountsOverTime, Window},
    both_ends::BothEnds,
    durations::Durations,
    gauge::Gauge,
    kernel_count::{KernelCount, KernelReadings},
    quantity::{Quantity, is_bad_end},
    sockets_over_time::SocketsOverTime,
    subject::{DiffNames, MAX_SUBJECTS, MAX_TIMED, OTHERS, Subject, kept_apart},
};
use crate::{
    aggregate::{
        by::{GroupBy, Value},
        ends::was_made,
        failures::FailureKind,
        group_row::Closer,
    },
    event::{Event, Fact},
    lifecycle::{Failure, Present, Reason, Timing, Transition, Update},
    names::Names,
    tcp::{NetnsId, State},
};

/// So long after the beginning of a recording its TIME_WAITs may be from before it: the 60 s that they take, and what the kernel's timer adds at most.
pub const DELAY_NS: u64 = 65_000_000_000;

/// Namespaces whose settings are kept, and settings of each.
const MAX_NAMESPACES: usize = 64;
const MAX_SETTINGS: usize = 256;

/// So long a connect has to be without an answer to be one that is unanswered: the kernel sends its SYN again after a second.
pub const UNANSWERED_NS: u64 = 1_000_000_000;

/// A state that took its time: of SYN_SENT and SYN_RECV, until the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lasting(pub State);

/// What is measured.
#[derive(Debug)]
pub struct Measuring {
    window: Window,
    /// The same without the time in which TIME_WAITs from before may end.
    delayed: Window,
    by: Vec<GroupBy>,
    counts: HashMap<Quantity, CountsOverTime>,
    groups: HashMap<Subject<Box<[Value]>>, HashMap<Quantity, CountsOverTime>>,
    timed: HashMap<Subject<Box<[Value]>>, BTreeMap<Lasting, Durations>>,
    failures: HashMap<Subject<FailureKind>, HashMap<Quantity, CountsOverTime>>,
    time_wait: Durations,
    sockets: SocketsOverTime,
    settings: BTreeMap<NetnsId, BTreeMap<String, String>>,
    kernel: KernelReadings,
    told: BTreeSet<KernelCount>,
    both_ends: BothEnds,
    now_ns: u64,
}

/// What was measured, with names in place of the numbers that mean something within one recording only.
#[derive(Debug)]
pub struct Measured {
    /// The time that it is of.
    pub window: Window,
    /// The time that everything about ends of TIME_WAIT is of.
    pub delayed: Window,
    /// CountsOverTime, by what they are of and whose.
    pub counts: BTreeMap<(Quantity, Option<String>), CountsOverTime>,
    /// How long things took, by whose they are: what changes only because there are more of some kind is no change. TIME_WAIT takes what the kernel says,
    /// whosesoever it is.
    pub durations: BTreeMap<(Lasting, Option<String>), Durations>,
    /// Sockets by state, and whose.
    pub gauges: BTreeMap<(State, Option<String>), Gauge>,
    /// The settings at its end, by network namespace and name.
    pub settings: BTreeMap<String, BTreeMap<String, String>>,
    /// The kernel's own counts that it has.
    pub kernel_counts: BTreeSet<KernelCount>,
    /// Connections that ended of which both ends were seen: each counts twice.
    pub both_ends: u64,
}

impl Measuring {
    /// Nothing yet; `began_ns`: when the recording began.
    pub fn new(window: Window, began_ns: u64, by: Vec<GroupBy>) -> Self {
        let delayed_ns = window.begin_ns.max(began_ns.saturating_add(DELAY_NS));
        let delayed = Window { begin_ns: delayed_ns, end_ns: window.end_ns.max(delayed_ns) };
        Self {
            window,
            delayed,
            by,
            counts: HashMap::new(),
            groups: HashMap::new(),
            failures: HashMap::new(),
            timed: HashMap::new(),
            time_wait: Durations::new(delayed),
            sockets: SocketsOverTime::new(window),
            settings: BTreeMap::new(),
            kernel: KernelReadings::default(),
            told: BTreeSet::new(),
            both_ends: BothEnds::default(),
            now_ns: began_ns,
        }
    }

    /// What a record said.
    pub fn event(&mut self, event: &Event) {
        self.now_ns = self.now_ns.max(event.time_ns);
        if let Fact::Setting { netns, name, value } = &event.fact
            && (self.settings.len() < MAX_NAMESPACES || self.settings.contains_key(netns))
        {
            let settings = self.settings.entry(*netns).or_default();
            if settings.len() < MAX_SETTINGS || settings.contains_key(name) {
                settings.insert(name.clone(), value.clone());
            }
        }
    }

    /// What the kernel's own counters were in a namespace that is wanted.
    pub fn kernel_counts(&mut self, time_ns: u64, counts: &wire::KernelCounts) {
        // They are a minute apart: what grew up to the first one in this time is mostly from before.
        if !self.window.has(time_ns) {
            return;
        }
        for (count, growth) in self.kernel.growth(counts) {
            self.told.insert(count);
            self.count(Quantity::Kernel(count), time_ns, growth);
        }
    }

    /// The sockets that are wanted and still there when the records are over.
    pub fn still_there<'a>(&mut self, present: impl Iterator<Item = Present<'a>>, names: &Names) {
        let end_ns = self.now_ns;
        for socket in present {
            let (state, Some(since_ns)) = (socket.state, socket.since_ns) else { continue };
            if state == State::SynSent && socket.syn_sent && end_ns.saturating_sub(since_ns) >= UNANSWERED_NS {
                self.count(Quantity::Unanswered, since_ns.saturating_add(UNANSWERED_NS), socket.stands_for.into());
            }
            if matches!(state, State::Listen | State::Close | State::TimeWait) {
                continue;
            }
            let subject = kept_apart(&self.timed, key_of(&self.by, &socket, names), MAX_TIMED);
            let window = self.window;
            let durations = self.timed.entry(subject).or_default().entry(Lasting(state));
            durations.or_insert_with(|| Durations::new(window)).still(since_ns, end_ns);
        }
    }

    /// Whether it is time to look at the sockets that there are.
    pub fn is_look_due(&self, now_ns: u64) -> bool {
        self.sockets.is_look_due(now_ns)
    }

    /// The sockets there are now that are wanted.
    pub fn look<'a>(&mut self, now_ns: u64, present: impl Iterator<Item = Present<'a>>, names: &Names) {
        self.sockets.look(now_ns, present, |socket| key_of(&self.by, socket, names));
    }

    /// What followed, of what is wanted.
    pub fn update(&mut self, update: &Update, names: &Names) {
        self.sockets.update(update, self.now_ns);
        match update {
            Update::Transition(step) => self.step(step, names),
            Update::Failed(failure) => self.failed(failure),
            Update::Found(_) | Update::Owned { .. } | Update::Lost { .. } => {}
        }
    }

    fn step(&mut self, step: &Transition, names: &Names) {
        self.now_ns = self.now_ns.max(step.time_ns);
        let n = u64::from(step.stands_for);
        let mut key: Option<Box<[Value]>> = None;
        let mut group = |by: &[GroupBy]| -> Box<[Value]> {
            let owner = step.owner.as_deref().or(step.listener.as_deref());
            let values = || by.iter().map(|by| by.of(&step.flow, owner, step.origin, names)).collect();
            key.get_or_insert_with(values).clone()
        };
        for quantity in quantities(step) {
            self.count(quantity, step.time_ns, n);
            if quantity == Quantity::Ended && self.window.has(step.time_ns) {
                self.both_ends.ended(&step.flow, n);
            }
            if is_of_groups(quantity) {
                let subject = kept_apart(&self.groups, group(&self.by), MAX_SUBJECTS);
                let window = self.window_of(quantity);
                let counts = self.groups.entry(subject).or_default().entry(quantity);
                counts.or_insert_with(|| CountsOverTime::new(window)).add(step.time_ns, n);
            }
        }
        if let Some(restarts) = step.restarts.as_ref().filter(|_| step.from == Some(State::TimeWait)) {
            for (cause, n) in restarts.by_cause() {
                self.count(Quantity::Restarted(cause), step.time_ns, u64::from(n));
            }
        }
        let (Some(from), Some(ns)) = (step.from, step.dwell_ns) else { return };
        let (time_ns, is_inferred) = (step.time_ns, step.timing != Timing::Exact);
        if from == State::SynSent && ns >= UNANSWERED_NS {
            self.count(Quantity::Unanswered, time_ns.saturating_sub(ns).saturating_add(UNANSWERED_NS), n);
        }
        let is_made = matches!(
            (from, step.to),
            (State::Listen | State::Close, _) | (State::SynSent | State::SynRecv, State::Close)
        );
        match from {
            State::TimeWait if self.delayed.has(time_ns) => self.time_wait.add(time_ns, ns, is_inferred),
            State::TimeWait => {}
            _ if is_made => {}
            from => {
                let window = self.window;
                let subject = kept_apart(&self.timed, group(&self.by), MAX_TIMED);
                let durations = self.timed.entry(subject).or_default().entry(Lasting(from));
                durations.or_insert_with(|| Durations::new(window)).add(time_ns, ns, is_inferred);
            }
        }
    }

    fn count(&mut self, quantity: Quantity, time_ns: u64, n: u64) {
        let window = self.window_of(quantity);
        self.counts.entry(quantity).or_insert_with(|| CountsOverTime::new(window)).add(time_ns, n);
    }

    fn failed(&mut self, failure: &Failure) {
        let subject = kept_apart(&self.failures, FailureKind::of(failure), MAX_SUBJECTS);
        let window = self.window;
        let counts = self.failures.entry(subject).or_default().entry(Quantity::Failed(failure.call, failure.why));
        counts.or_insert_with(|| CountsOverTime::new(window)).add(failure.time_ns, failure.calls());
    }

    fn window_of(&self, quantity: Quantity) -> Window {
        if quantity.is_delayed() { self.delayed } else { self.window }
    }

    /// The recording is over. `named`: a group's key, what failed, and a namespace, as people know them.
    pub fn finish(self, named: &impl DiffNames) -> Measured {
        let Self {
            mut window,
            mut delayed,
            counts,
            groups,
            timed,
            failures,
            time_wait,
            sockets,
            settings,
            told: kernel_counts,
            both_ends,
            now_ns,
            ..
        } = self;
        let both_ends = both_ends.count();
        // The last record is part of it.
        let end_ns = now_ns.saturating_add(1);
        let ends = |window: Window| Window { end_ns: window.end_ns.min(end_ns).max(window.begin_ns), ..window };
        (window, delayed) = (ends(window), ends(delayed));
        let mut all: BTreeMap<(Quantity, Option<String>), CountsOverTime> = BTreeMap::new();
        let whole = counts.into_iter().map(|(quantity, counts)| ((quantity, None), counts));
        let of_groups = groups.into_iter().flat_map(|(key, counts)| {
            let name = key.map_or_else(|| OTHERS.to_owned(), |key| named.group(&key));
            counts.into_iter().map(move |(quantity, counts)| ((quantity, Some(name.clone())), counts))
        });
        let of_failures = failures.into_iter().flat_map(|(kind, counts)| {
            let name = kind.map_or_else(|| OTHERS.to_owned(), |kind| named.failure(&kind));
            counts.into_iter().map(move |(quantity, counts)| ((quantity, Some(name.clone())), counts))
        });
        for (key, mut counts) in whole.chain(of_groups).chain(of_failures) {
            counts.finish(end_ns);
            // What has another number may have the same name.
            all.entry(key).and_modify(|known| known.append(&counts)).or_insert(counts);
        }
        all.retain(|_, counts| counts.total() > 0);
        let mut durations = BTreeMap::from([((Lasting(State::TimeWait), None), time_wait)]);
        for (key, lasting) in timed {
            let name = key.map_or_else(|| OTHERS.to_owned(), |key| named.group(&key));
            for (lasting, of_group) in lasting {
                let key = (lasting, Some(name.clone()));
                // What has another number may have the same name.
                durations.entry(key).and_modify(|known: &mut Durations| known.append(&of_group)).or_insert(of_group);
            }
        }
        durations.values_mut().for_each(|durations| durations.finish(end_ns));
        let gauges = sockets.finish(end_ns, named);
        let settings = settings.into_iter().map(|(netns, settings)| (named.netns(netns), settings)).collect();
        Measured { window, delayed, counts: all, durations, gauges, settings, kernel_counts, both_ends }
    }
}

impl Measured {
    /// The names of all that has been counted.
    pub fn keys(&self) -> BTreeSet<(Quantity, Option<String>)> {
        self.counts.keys().cloned().collect()
    }
}

/// The group of a socket that is there.
fn key_of(by: &[GroupBy], socket: &Present<'_>, names: &Names) -> Box<[Value]> {
    by.iter().map(|by| by.of(&socket.flow, socket.owner, socket.origin, names)).collect()
}

/// What a step counts as.
fn quantities(step: &Transition) -> impl Iterator<Item = Quantity> {
    let (from, to) = (step.from, step.to);
    let made = match (from, to) {
        (Some(State::SynSent), State::Established) => Some(Quantity::Connected),
        (Some(State::SynRecv), State::Established) => Some(Quantity::Accepted),
        _ => None,
    };
    let reason = step.reason.unwrap_or(Reason::Unknown);
    let ends_otherwise = to == State::Close && was_made(from) && from != Some(State::TimeWait);
    let again = from == Some(State::SynSent) && step.retransmits.is_some_and(|again| again > 0);
    let gone = (to == State::Close && from == Some(State::SynRecv)).then_some(Quantity::SynRecvEndedBy(reason));
    [
        made,
        (to == State::TimeWait || ends_otherwise).then_some(Quantity::Ended),
        Closer::of(step).map(Quantity::ClosedFirst),
        (to == State::TimeWait).then_some(Quantity::TimeWaitEntered),
        (from == Some(State::TimeWait)).then_some(Quantity::TimeWaitLeft),
        (from == Some(State::TimeWait)).then_some(Quantity::TimeWaitLeftBy(reason)),
        ends_otherwise.then_some(Quantity::EndedBy(reason, step.detail)),
        again.then_some(Quantity::SynSentAgain),
        gone,
        from.filter(|from| *from != State::TimeWait).map(|from| Quantity::Step(from, to)),
    ]
    .into_iter()
    .flatten()
}

/// What is told of each group: how much it does, its TIME_WAITs, and what ended badly.
fn is_of_groups(quantity: Quantity) -> bool {
    match quantity {
        Quantity::Ended | Quantity::TimeWaitEntered => true,
        Quantity::EndedBy(reason, _) => is_bad_end(reason),
        _ => false,
    }
}
