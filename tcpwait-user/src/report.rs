//! What a page is made of: what there was over time, single lives of connections, settings. Takes in what follows from records, and keeps no more than the
//! page has room for, however long a recording is.

pub mod course;
pub mod equal_parts;
pub mod lives;
pub mod ports;
pub mod services;
pub mod time_buckets;

use std::{collections::BTreeMap, io};

use self::{course::Course, lives::SampledLives, ports::PortsCourse, services::Services, time_buckets::TimeBuckets};
use crate::{
    aggregate::by::Value,
    event::{Event, Fact},
    lifecycle::{Transition, Update},
    origin::Origin,
    tcp::{NetnsId, State},
    timeline::{Stroke, Timeline},
};

/// So many namespaces' settings are kept: a recording may tell of as many as it likes.
const MAX_NAMESPACES: usize = 64;

/// So many settings of each.
const MAX_SETTINGS: usize = 256;

/// So many bytes of all of them.
const MAX_SETTING_BYTES: usize = 128 << 10;

/// What is collected of a recording.
#[derive(Debug)]
pub struct ReportContents {
    /// What there was over time.
    pub course: Course,
    /// Single connections.
    pub lives: SampledLives,
    /// The settings of each namespace as they were at the end, by the names that sysctl(8) has for them.
    pub settings: BTreeMap<NetnsId, BTreeMap<String, String>>,
    /// Settings that were too many to be kept.
    pub settings_left_out: u64,
    /// TIME_WAITs by service over time.
    pub services: Services,
    /// Ports over time.
    pub ports: PortsCourse,
    /// Times in TIME_WAIT.
    pub time_wait: TimeBuckets,
    /// Times in SYN_RECV of connections that were made.
    pub accepted: TimeBuckets,
    /// Times in SYN_SENT of connections that were made.
    pub connected: TimeBuckets,
    setting_bytes: usize,
    timeline: Timeline,
    now_ns: u64,
}

impl ReportContents {
    /// Nothing yet, from this time on in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn new(begin_ns: u64) -> Self {
        Self {
            course: Course::new(begin_ns),
            lives: SampledLives::default(),
            settings: BTreeMap::new(),
            settings_left_out: 0,
            services: Services::new(begin_ns),
            ports: PortsCourse::new(begin_ns),
            time_wait: TimeBuckets::of_time_wait(),
            accepted: TimeBuckets::of_handshakes(),
            connected: TimeBuckets::of_handshakes(),
            setting_bytes: 0,
            timeline: Timeline::default(),
            now_ns: begin_ns,
        }
    }

    /// What a record said.
    pub fn event(&mut self, event: &Event) {
        self.now_ns = self.now_ns.max(event.time_ns);
        match &event.fact {
            Fact::Loss { .. } => self.course.lost(event.time_ns),
            Fact::Setting { netns, name, value } => self.setting(*netns, name, value),
            _ => {}
        }
    }

    fn setting(&mut self, netns: NetnsId, name: &str, value: &str) {
        let has_room = self.settings.len() < MAX_NAMESPACES || self.settings.contains_key(&netns);
        let of_netns = self.settings.get(&netns);
        let former = of_netns.and_then(|settings| settings.get(name)).map(String::len);
        let fits = former.is_some() || of_netns.is_none_or(|settings| settings.len() < MAX_SETTINGS);
        let bytes = self.setting_bytes - former.map_or(0, |len| len + name.len()) + name.len() + value.len();
        if !(has_room && fits && bytes <= MAX_SETTING_BYTES) {
            self.settings_left_out += 1;
            return;
        }
        self.setting_bytes = bytes;
        self.settings.entry(netns).or_default().insert(name.to_owned(), value.to_owned());
    }

    /// How long a step says that something took, and when TIME_WAIT began for whom.
    fn times(&mut self, step: &Transition) {
        let n = u64::from(step.stands_for);
        if step.to == State::TimeWait {
            self.services.entered(step.time_ns, Value::service(&step.flow, step.origin), n);
        }
        let Some(ns) = step.dwell_ns else { return };
        match (step.from, step.to) {
            (Some(State::TimeWait), _) => self.time_wait.record(ns, n),
            // A socket that connects to itself passes SYN_RECV too.
            (Some(State::SynRecv), to) if to != State::Close && step.origin != Origin::Here => {
                self.accepted.record(ns, n)
            }
            (Some(State::SynSent), to) if to != State::Close => self.connected.record(ns, n),
            _ => {}
        }
    }

    /// What followed, of what is wanted.
    pub fn update(&mut self, update: &Update) {
        if let Update::Transition(step) = update {
            self.times(step);
        }
        let Self { course, lives, ports, timeline, now_ns, .. } = self;
        let now_ns = *now_ns;
        let mut draw = |stroke: Stroke<'_>| -> io::Result<()> {
            match stroke {
                Stroke::Count { time_ns, state, now } => course.count(time_ns, state, now),
                other => lives.stroke(&other),
            }
            Ok(())
        };
        let drawn = match update {
            Update::Transition(step) => {
                let drawn = timeline.step(step, &mut draw);
                course.step(step);
                drawn
            }
            Update::Found(found) => timeline.found(found, now_ns, &mut draw),
            Update::Lost { id, flow } => timeline.lost(*id, flow, now_ns, &mut draw),
            Update::Failed(failure) => {
                course.failed(failure);
                ports.failed(failure);
                Ok(())
            }
            Update::Owned { .. } => Ok(()),
        };
        // What draws here writes nothing.
        let _ = drawn;
    }

    /// The recording is over.
    pub fn finish(&mut self) {
        let Self { lives, timeline, now_ns, course, ports, services, .. } = self;
        let drawn = timeline.finish(*now_ns, &mut |stroke| {
            lives.stroke(&stroke);
            Ok(())
        });
        let _ = drawn;
        lives.finish();
        course.finish(*now_ns);
        ports.finish(*now_ns);
        services.finish(*now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording may tell of as many as it likes.
    #[test]
    fn settings_are_bounded_and_what_is_left_out_is_counted() {
        let mut contents = ReportContents::new(0);
        let netns = NetnsId::new(1, 0);
        contents.setting(netns, "kept", "1");
        for number in 0..MAX_SETTINGS {
            contents.setting(netns, &number.to_string(), &"x".repeat(1000));
        }
        contents.setting(netns, "kept", "2");
        let kept = contents.settings.get(&netns);
        let bytes: usize = kept.into_iter().flatten().map(|(name, value)| name.len() + value.len()).sum();
        assert!(bytes <= MAX_SETTING_BYTES && bytes == contents.setting_bytes, "{bytes}");
        assert_eq!(kept.and_then(|kept| kept.get("kept")).map(String::as_str), Some("2"));
        let kept = kept.map(BTreeMap::len).unwrap_or_default() as u64;
        assert_eq!(kept + contents.settings_left_out, MAX_SETTINGS as u64 + 1);
    }
}
