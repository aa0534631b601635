//! The names of the cgroups that records speak of, and of their pods: each is said once, before the first record that needs it, since it must be looked up while
//! the cgroup exists.

use std::{
    io,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use tcpwait_wire::wire::{self, Kind};
use zerocopy::IntoBytes;

use super::{Sink, head::head};
use crate::{
    event::Task,
    names::pod::PodPath,
    system::{
        cgroup::Cgroups,
        pods::{KnownPod, Pods},
    },
};

/// Cgroups whose names are not said again: half of those that are remembered by name, so that whoever is at work is never forgotten.
const SAID: usize = 8_192;

/// Cgroups of pods that are looked for again: a container that has just started has no name yet.
const UNNAMED: usize = 1_024;
/// How often each of them is looked for, and the time between.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// What names have been said.
pub(super) struct Naming {
    cgroups: Cgroups,
    pods: Pods,
    said: HashSet<u64>,
    /// By cgroup: its path, and how often it may still be looked for.
    unnamed: HashMap<u64, (String, u32)>,
    next_look: Instant,
}

impl Naming {
    pub(super) fn new() -> Self {
        Self {
            cgroups: Cgroups::new(),
            pods: Pods::default(),
            said: HashSet::new(),
            unnamed: HashMap::new(),
            next_look: Instant::now(),
        }
    }

    /// Says the name of a process's cgroup, and of its pod, unless they were said.
    pub(super) fn say(&mut self, task: &Task, sink: &mut impl Sink) -> io::Result<()> {
        let id = task.cgroup;
        if self.said.contains(&id) {
            return Ok(());
        }
        let Some(path) = self.cgroups.path_of(id, task.pid) else { return Ok(()) };
        if self.said.len() >= SAID {
            self.said.clear();
        }
        self.said.insert(id);
        let mut name = wire::CgroupName { head: head::<wire::CgroupName>(Kind::CgroupName), id, path: [0; 256] };
        fill(&mut name.path, &path);
        sink.record(name.as_bytes())?;
        if !self.say_pod(id, &path, sink)? && self.pods.are_named() && self.unnamed.len() < UNNAMED {
            self.unnamed.insert(id, (path, LOOKS));
        }
        Ok(())
    }

    /// Looks again for pods and containers that had no name yet.
    pub(super) fn look_again(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let now = Instant::now();
        if self.unnamed.is_empty() || now < self.next_look {
            return Ok(());
        }
        self.next_look = now + PAUSE;
        for (id, (path, looks)) in std::mem::take(&mut self.unnamed) {
            if !self.say_pod(id, &path, sink)? && looks > 1 {
                self.unnamed.insert(id, (path, looks - 1));
            }
        }
        Ok(())
    }

    /// Whether there is nothing more to say of a cgroup.
    fn say_pod(&mut self, cgroup: u64, path: &str, sink: &mut impl Sink) -> io::Result<bool> {
        let Some(path) = PodPath::of(path) else { return Ok(true) };
        let Some(KnownPod { namespace, name, container }) = self.pods.find(&path) else { return Ok(false) };
        let head = head::<wire::PodName>(Kind::PodName);
        let mut record = wire::PodName { head, cgroup, namespace: [0; 64], pod: [0; 256], container: [0; 64] };
        fill(&mut record.namespace, &namespace);
        fill(&mut record.pod, &name);
        fill(&mut record.container, container.as_deref().unwrap_or_default());
        sink.record(record.as_bytes())?;
        Ok(container.is_some() || path.container.is_none())
    }
}

/// Cut where it is longer.
fn fill(field: &mut [u8], name: &str) {
    field.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
}
