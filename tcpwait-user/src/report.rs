//! What a page is made of: what there was over time, single lives of connections, settings. Takes in what follows from records, and keeps no more than the
//! page has room for, however long a recording is.

pub mod course;
pub mod equal_parts;
pub mod lives;

use std::{collections::BTreeMap, io};

use self::{course::Course, lives::SampledLives};
use crate::{
    event::{Event, Fact},
    lifecycle::Update,
    tcp::NetnsId,
    timeline::{Stroke, Timeline},
};

/// So many namespaces' settings are kept: a recording may tell of as many as it likes.
const MAX_NAMESPACES: usize = 64;

/// So many settings of each.
const MAX_SETTINGS: usize = 256;

/// What is collected of a recording.
#[derive(Debug)]
pub struct ReportContents {
    /// What there was over time.
    pub course: Course,
    /// Single connections.
    pub lives: SampledLives,
    /// The settings of each namespace as they were at the end, by the names that sysctl(8) has for them.
    pub settings: BTreeMap<NetnsId, BTreeMap<String, String>>,
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
            timeline: Timeline::default(),
            now_ns: begin_ns,
        }
    }

    /// What a record said.
    pub fn event(&mut self, event: &Event) {
        self.now_ns = self.now_ns.max(event.time_ns);
        match &event.fact {
            Fact::Loss { .. } => self.course.lost(event.time_ns),
            Fact::Setting { netns, name, value }
                if self.settings.len() < MAX_NAMESPACES || self.settings.contains_key(netns) =>
            {
                let settings = self.settings.entry(*netns).or_default();
                if settings.len() < MAX_SETTINGS || settings.contains_key(name) {
                    settings.insert(name.clone(), value.clone());
                }
            }
            _ => {}
        }
    }

    /// What followed, of what is wanted.
    pub fn update(&mut self, update: &Update) {
        let Self { course, lives, timeline, now_ns, .. } = self;
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
                Ok(())
            }
            Update::Owned { .. } => Ok(()),
        };
        // What draws here writes nothing.
        let _ = drawn;
    }

    /// The recording is over.
    pub fn finish(&mut self) {
        let Self { lives, timeline, now_ns, course, .. } = self;
        let drawn = timeline.finish(*now_ns, &mut |stroke| {
            lives.stroke(&stroke);
            Ok(())
        });
        let _ = drawn;
        lives.finish();
        course.finish(*now_ns);
    }
}
