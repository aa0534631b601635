//! Listeners that another process may have now than the one that is known: a child inherited it, SCM_RIGHTS carried it over. The kernel tells
//! nobody when that happens, so it is asked for when the process that is known has ended, and when somebody is refused the listener's port.
//! Looks nothing up itself.

use std::{
    mem::offset_of,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use nix::errno::Errno;
use tcpwait_wire::wire::{self, FLAG_HEIR, Kind};
use zerocopy::FromBytes;

use crate::{system::processes, tcp::State};

/// How often the processes are looked at; and of the time, one part in so many goes to that at most.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_SHARE: u32 = 50;

/// How long after a search the next one may begin: it goes through all processes' files.
const PAUSE: Duration = Duration::from_secs(1);

/// Listeners, and who is known for each.
pub(super) struct Heirs {
    listeners: HashMap<u64, Known>,
    /// Those in question, until the next search.
    questions: HashSet<u64>,
    /// Those that are being searched for.
    asked: HashMap<u64, Known>,
    next_look: Instant,
    next_search: Instant,
}

/// A listener.
#[derive(Clone, Copy)]
struct Known {
    pid: u32,
    netns: u32,
    port: u16,
}

impl Heirs {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            listeners: HashMap::new(),
            questions: HashSet::new(),
            asked: HashMap::new(),
            next_look: now,
            next_search: now,
        }
    }

    /// Takes in what a record says of a listener.
    pub(super) fn note(&mut self, record: &[u8]) {
        let kind = record.get(offset_of!(wire::Head, kind)).and_then(|kind| Kind::from_u8(*kind));
        match kind {
            Some(Kind::State | Kind::StateTask | Kind::StateEnd) => self.changed(record),
            Some(Kind::Seed) => self.seeded(record),
            Some(Kind::Accepted) => self.accepted(record),
            Some(Kind::Owner) => self.found(record),
            Some(Kind::PortRefused) => self.refused(record),
            _ => {}
        }
    }

    /// The listeners in question, with who is known for them, if there are any and it is time to search.
    pub(super) fn in_question(&mut self) -> Option<std::collections::HashMap<u64, u32>> {
        let begun = Instant::now();
        if begun >= self.next_look {
            let pids: HashSet<u32> = self.listeners.values().map(|known| known.pid).collect();
            let ended: HashSet<u32> = pids.into_iter().filter(|pid| processes::has_ended(*pid)).collect();
            let theirs = self.listeners.iter().filter(|(_, known)| ended.contains(&known.pid));
            self.questions.extend(theirs.map(|(cookie, _)| *cookie));
            let now = Instant::now();
            self.next_look = now + LOOK.max((now - begun) * LOOK_SHARE);
        }
        if self.questions.is_empty() || begun < self.next_search {
            return None;
        }
        self.next_search = begun + PAUSE;
        // One that is not found again is there no more.
        let Self { listeners, questions, asked, .. } = self;
        *asked = questions.drain().filter_map(|cookie| listeners.remove_entry(&cookie)).collect();
        Some(asked.iter().map(|(cookie, known)| (*cookie, known.pid)).collect())
    }

    fn changed(&mut self, record: &[u8]) {
        const LISTEN: Option<&u8> = Some(&(State::Listen as u8));
        const CLOSE: Option<&u8> = Some(&(State::Close as u8));
        let [old, new] = [offset_of!(wire::SockState, old), offset_of!(wire::SockState, new)].map(|at| record.get(at));
        if new == LISTEN
            && let Ok(change) = wire::SockStateTask::read_from_bytes(record)
        {
            self.listens(change.state.cookie, &change.task, &change.state.flow);
        } else if old == LISTEN
            && new == CLOSE
            && let Ok((change, _)) = wire::SockState::read_from_prefix(record)
        {
            self.listeners.remove(&change.cookie);
            self.questions.remove(&change.cookie);
        }
    }

    fn seeded(&mut self, record: &[u8]) {
        let Ok(seed) = wire::Seed::read_from_bytes(record) else { return };
        if seed.state == State::Listen as u8 && !self.listeners.contains_key(&seed.cookie) {
            self.listens(seed.cookie, &seed.task, &seed.flow);
        }
    }

    fn accepted(&mut self, record: &[u8]) {
        let Ok(accepted) = wire::Accepted::read_from_bytes(record) else { return };
        if let Some(known) = self.listeners.get_mut(&accepted.listener).filter(|_| accepted.task.pid != 0) {
            known.pid = accepted.task.pid;
        }
    }

    fn found(&mut self, record: &[u8]) {
        let Ok(owner) = wire::Owner::read_from_bytes(record) else { return };
        let asked = if owner.head.flags & FLAG_HEIR != 0 { self.asked.remove(&owner.cookie) } else { None };
        if let Some(asked) = asked.filter(|_| owner.task.pid != 0) {
            self.listeners.entry(owner.cookie).or_insert(Known { pid: owner.task.pid, ..asked });
        }
    }

    fn refused(&mut self, record: &[u8]) {
        let Ok(refused) = wire::PortRefused::read_from_bytes(record) else { return };
        if refused.errno == Errno::EADDRINUSE as u16 {
            let place = (refused.flow.netns, refused.flow.lport);
            let there = self.listeners.iter().filter(|(_, known)| (known.netns, known.port) == place);
            self.questions.extend(there.map(|(cookie, _)| *cookie));
        }
    }

    fn listens(&mut self, cookie: u64, task: &wire::Task, flow: &wire::Flow) {
        if task.pid != 0 {
            self.listeners.insert(cookie, Known { pid: task.pid, netns: flow.netns, port: flow.lport });
        }
    }
}
