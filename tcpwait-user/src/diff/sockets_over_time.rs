//! How many sockets there were in each state over the time of a recording: all of them at each of their steps, those of each group at each look.

use std::{collections::BTreeMap, io};

use hashbrown::HashMap;

use super::{
    blocks::{SECOND_NS, Window},
    gauge::Gauge,
    subject::{DiffNames, MAX_TIMED, OTHERS, Subject, kept_apart},
};
use crate::{
    aggregate::by::Value,
    lifecycle::{Present, Update},
    tcp::State,
    timeline::{Stroke, Timeline},
};

/// The states in which the sockets of each group are counted.
const WATCHED: [State; 5] = [State::SynRecv, State::Established, State::CloseWait, State::FinWait2, State::TimeWait];

/// A look at a socket may cost a part of this, in nanoseconds.
const LOOK_NS: u64 = 20_000;

/// The numbers of sockets.
#[derive(Debug)]
pub(super) struct SocketsOverTime {
    window: Window,
    all: BTreeMap<State, Gauge>,
    of_groups: HashMap<Subject<Box<[Value]>>, BTreeMap<State, Gauge>>,
    timeline: Timeline,
    next_look_ns: u64,
}

impl SocketsOverTime {
    /// None so far.
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            all: BTreeMap::new(),
            of_groups: HashMap::new(),
            timeline: Timeline::default(),
            next_look_ns: window.begin_ns,
        }
    }

    /// Whether it is time to look at the sockets that there are.
    pub(super) fn is_look_due(&self, now_ns: u64) -> bool {
        now_ns >= self.next_look_ns && now_ns < self.window.end_ns
    }

    /// The sockets there are now, and the group of each. Where there are very many, they are looked at less often.
    pub(super) fn look<'a>(
        &mut self,
        now_ns: u64,
        present: impl Iterator<Item = Present<'a>>,
        key_of: impl Fn(&Present<'a>) -> Box<[Value]>,
    ) {
        let window = self.window;
        let mut all = 0u64;
        let mut now: HashMap<Subject<Box<[Value]>>, BTreeMap<State, u64>> = HashMap::new();
        // Orphans from before the recording go within a minute, whatever was changed, and nobody knows whose they were.
        let is_left_over = |socket: &Present<'_>| socket.state == State::FinWait2 && socket.since_ns.is_none();
        for socket in present.filter(|socket| WATCHED.contains(&socket.state) && !is_left_over(socket)) {
            all += 1;
            let subject = kept_apart(&self.of_groups, key_of(&socket), MAX_TIMED);
            let n = u64::from(socket.stands_for);
            *now.entry(subject.clone()).or_default().entry(socket.state).or_default() += n;
            self.of_groups.entry(subject).or_default().entry(socket.state).or_insert_with(|| Gauge::new(window));
        }
        for (subject, gauges) in &mut self.of_groups {
            let there = now.get(subject);
            for (state, gauge) in gauges {
                gauge.set(now_ns, there.and_then(|there| there.get(state)).copied().unwrap_or_default());
            }
        }
        self.next_look_ns = now_ns.saturating_add(SECOND_NS.max(all.saturating_mul(LOOK_NS)));
    }

    /// What followed. `now_ns`: the time of what has none of its own.
    pub(super) fn update(&mut self, update: &Update, now_ns: u64) {
        let Self { timeline, all, window, .. } = self;
        let mut draw = |stroke: Stroke<'_>| -> io::Result<()> {
            if let Stroke::Count { time_ns, state, now } = stroke {
                all.entry(state).or_insert_with(|| Gauge::new(*window)).set(time_ns, now);
            }
            Ok(())
        };
        let drawn = match update {
            Update::Transition(step) => timeline.step(step, &mut draw),
            Update::Found(found) => timeline.found(found, now_ns, &mut draw),
            Update::Lost { id, flow } => timeline.lost(*id, flow, now_ns, &mut draw),
            Update::Failed(_) | Update::Owned { .. } => Ok(()),
        };
        // What draws here writes nothing.
        let _ = drawn;
    }

    /// The recording is over.
    pub(super) fn finish(self, end_ns: u64, named: &impl DiffNames) -> BTreeMap<(State, Option<String>), Gauge> {
        let all = self.all.into_iter().map(|(state, gauge)| ((state, None), gauge));
        let mut gauges: BTreeMap<_, _> = all.collect();
        for (key, of_group) in self.of_groups {
            let name = key.map_or_else(|| OTHERS.to_owned(), |key| named.group(&key));
            // What has another number may have the same name: the first of them is shown, rather than a sum of peaks.
            for (state, gauge) in of_group {
                gauges.entry((state, Some(name.clone()))).or_insert(gauge);
            }
        }
        gauges.values_mut().for_each(|gauge| gauge.finish(end_ns));
        gauges
    }
}
