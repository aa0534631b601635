//! Which connections a view shows. A filter selects connections, not events: a step that comes before the port or
//! the owner is known waits until it is, and is shown or dropped with its connection.

use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::{
    connection::{ByName, Name},
    event::Task,
    lifecycle::{Failure, Found, Transition, Update},
    names::Names,
    tcp::{Flow, State},
};

/// Steps of one connection that may wait for a decision. A connection takes at most six before its owner closes it.
const MAX_WAITING: usize = 16;

/// IPv4 or IPv6, as the connection's packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Family {
    V4,
    V6,
}

/// What is wanted; an empty list wants everything.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    /// Local ports.
    pub lports: Vec<u16>,
    /// Remote ports.
    pub rports: Vec<u16>,
    /// Networks the local address is in.
    pub laddrs: Vec<IpNet>,
    /// Networks the remote address is in.
    pub raddrs: Vec<IpNet>,
    /// Owners by process id.
    pub pids: Vec<u32>,
    /// Owners by name.
    pub comms: Vec<String>,
    /// Owners by cgroup: this one and those below.
    pub cgroups: Vec<String>,
    /// Network namespaces by inode.
    pub netns: Vec<u32>,
    /// The address family.
    pub family: Option<Family>,
    /// States: a connection is shown from the step on that enters (or leaves) one of them.
    pub states: Vec<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Wanted,
    Unwanted,
    Open,
}

impl Criteria {
    /// Whether some filter asks for the owner.
    pub fn by_owner(&self) -> bool {
        !(self.pids.is_empty() && self.comms.is_empty() && self.cgroups.is_empty())
    }

    /// Whether nothing but network namespaces is asked for, which the kernel side selects by itself.
    pub fn is_everything_of_its_namespaces(&self) -> bool {
        let Self { lports, rports, laddrs, raddrs, family, states, .. } = self;
        !self.by_owner()
            && lports.is_empty()
            && rports.is_empty()
            && laddrs.is_empty()
            && raddrs.is_empty()
            && family.is_none()
            && states.is_empty()
    }

    /// Whether addresses match, as far as they are known.
    pub fn may_match(&self, flow: &Flow) -> bool {
        self.flow(flow) != Verdict::Unwanted
    }

    /// Whether a socket with these addresses, in this state, is wanted; who owns it is another question.
    pub fn fits(&self, flow: &Flow, state: State) -> bool {
        self.touches(state) && self.flow(flow) == Verdict::Wanted
    }

    /// Whether sockets of this owner are wanted. Where an owner is asked for, those whose owner is not known are not.
    pub fn fits_owner(&self, owner: Option<&Task>, names: &Names) -> bool {
        self.owner(owner, names) == Verdict::Wanted
    }

    fn flow(&self, flow: &Flow) -> Verdict {
        fn any<T>(wanted: &[T], matches: impl Fn(&T) -> bool) -> bool {
            wanted.is_empty() || wanted.iter().any(matches)
        }
        let fits = any(&self.netns, |inode| *inode == flow.netns.inode())
            && any(&self.rports, |port| *port == flow.rport)
            && any(&self.laddrs, |net| net.contains(&flow.laddr))
            && any(&self.raddrs, |net| net.contains(&flow.raddr))
            && self.family.is_none_or(|family| (family == Family::V4) == flow.raddr.is_ipv4());
        if !fits {
            Verdict::Unwanted
        } else if self.lports.is_empty() || self.lports.contains(&flow.lport) {
            Verdict::Wanted
        } else if flow.lport == 0 {
            Verdict::Open
        } else {
            Verdict::Unwanted
        }
    }

    fn owner(&self, owner: Option<&Task>, names: &Names) -> Verdict {
        if !self.by_owner() {
            return Verdict::Wanted;
        }
        let Some(task) = owner else { return Verdict::Open };
        let pid = self.pids.is_empty() || self.pids.contains(&task.pid);
        let comm = self.comms.is_empty() || self.comms.contains(&task.comm());
        if !(pid && comm) {
            return Verdict::Unwanted;
        }
        match names.cgroup(task.cgroup) {
            _ if self.cgroups.is_empty() => Verdict::Wanted,
            Some(path) if self.cgroups.iter().any(|wanted| is_below(path, wanted)) => Verdict::Wanted,
            Some(_) => Verdict::Unwanted,
            // One whose name is not known yet may be it.
            None => Verdict::Open,
        }
    }

    fn connection(&self, step: &Transition, names: &Names) -> Verdict {
        match (self.flow(&step.flow), self.owner(step.owner.as_deref(), names)) {
            (Verdict::Unwanted, _) | (_, Verdict::Unwanted) => Verdict::Unwanted,
            (Verdict::Wanted, Verdict::Wanted) => Verdict::Wanted,
            _ => Verdict::Open,
        }
    }

    fn touches(&self, state: State) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }

    fn touches_step(&self, step: &Transition) -> bool {
        self.touches(step.to) || step.from.is_some_and(|from| self.touches(from))
    }
}

fn is_below(path: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('/');
    path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[derive(Debug, Default)]
struct Track {
    wanted: bool,
    entered: bool,
    /// Most connections have nothing that waits, and there may be a million of them.
    #[expect(clippy::box_collection, reason = "a Vec is three times as long")]
    waiting: Option<Box<Vec<Transition>>>,
}

/// Applies [`Criteria`] to the stream of updates.
#[derive(Debug, Default)]
pub struct Selector {
    criteria: Criteria,
    /// Nothing is left out.
    all: bool,
    tracks: ByName<Track>,
    /// Connections that wait for their owner, by cookie.
    ownerless: HashMap<u64, Name>,
    undecided: u64,
}

impl Selector {
    /// A selector that has seen nothing.
    pub fn new(criteria: Criteria) -> Self {
        Self {
            all: criteria.is_everything_of_its_namespaces() && criteria.netns.is_empty(),
            criteria,
            ..Self::default()
        }
    }

    /// What is wanted.
    pub fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// Connections that ended before it could be decided whether they were wanted.
    pub fn undecided(&self) -> u64 {
        self.undecided
    }

    /// Passes on the wanted [`Update::Transition`], [`Update::Found`] and [`Update::Failed`], in order within a connection.
    ///
    /// # Errors
    /// What `show` returns.
    pub fn pass<E>(
        &mut self,
        update: &Update,
        names: &Names,
        mut show: impl FnMut(&Update) -> Result<(), E>,
    ) -> Result<(), E> {
        let step = match update {
            // This is asked for every step, and mostly nothing was asked for.
            Update::Transition(_) if self.all => return show(update),
            Update::Transition(step) => step,
            Update::Found(found) => return if self.finds(found, names) { show(update) } else { Ok(()) },
            Update::Owned { id, owner } => return self.owned(*id, owner, names, show),
            Update::Failed(failure) => return if self.fails(failure, names) { show(update) } else { Ok(()) },
        };
        let verdict = self.criteria.connection(step, names);
        let over = step.to == State::Close;
        let stateless = self.criteria.states.is_empty() && !self.criteria.by_owner() && self.criteria.lports.is_empty();
        if stateless || step.id == 0 {
            return match verdict == Verdict::Wanted && self.criteria.touches_step(step) {
                true => show(update),
                false => Ok(()),
            };
        }
        let connection = Name::of(step.id, &step.flow);
        let mut track = self
            .tracks
            .remove(&connection)
            .or_else(|| self.tracks.remove(&connection.portless()))
            .filter(|_| step.from != Some(State::Close))
            .unwrap_or_default();
        track.entered |= self.criteria.touches_step(step);
        track.wanted |= verdict == Verdict::Wanted;
        if track.wanted {
            track.release(step.owner.as_ref(), &mut show)?;
            if track.entered {
                show(update)?;
            }
        } else if verdict == Verdict::Unwanted {
            track.waiting = None;
        } else if track.entered {
            let waiting = track.waiting.get_or_insert_default();
            if waiting.len() < MAX_WAITING {
                waiting.push(step.clone());
            }
        }
        self.ownerless.remove(&step.id);
        if over {
            self.undecided += u64::from(track.waiting.is_some());
            return Ok(());
        }
        if !track.wanted && step.owner.is_none() {
            self.ownerless.insert(step.id, connection);
        }
        self.tracks.insert(connection, track);
        Ok(())
    }

    /// Whether a connection that was there before is wanted. Where the owner decides and is not known, it is not shown now;
    /// its steps may be.
    fn finds(&mut self, found: &Found, names: &Names) -> bool {
        let flow = self.criteria.flow(&found.flow);
        let wanted = flow == Verdict::Wanted
            && self.criteria.owner(found.owner.as_deref(), names) == Verdict::Wanted
            && self.criteria.touches(found.state);
        if wanted && !self.criteria.states.is_empty() {
            let track = Track { wanted, entered: true, waiting: None };
            self.tracks.insert(Name::of(found.id, &found.flow), track);
        }
        wanted
    }

    /// Whether a call that failed is wanted; whose it was is known when it fails, if ever.
    fn fails(&self, failure: &Failure, names: &Names) -> bool {
        self.criteria.states.is_empty()
            && self.criteria.flow(&failure.flow) != Verdict::Unwanted
            && self.criteria.owner(failure.owner.as_deref(), names) == Verdict::Wanted
    }

    fn owned<E>(
        &mut self,
        id: u64,
        owner: &Arc<Task>,
        names: &Names,
        mut show: impl FnMut(&Update) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(track) = self.ownerless.remove(&id).and_then(|connection| self.tracks.get_mut(&connection)) else {
            return Ok(());
        };
        if self.criteria.owner(Some(owner), names) != Verdict::Wanted {
            return Ok(());
        }
        if track
            .waiting
            .as_ref()
            .and_then(|waiting| waiting.last())
            .is_some_and(|step| self.criteria.flow(&step.flow) == Verdict::Wanted)
        {
            track.wanted = true;
            track.release(Some(owner), &mut show)?;
        }
        Ok(())
    }
}

impl Track {
    /// Shows what waited. It waited for the owner, so it is shown with it.
    fn release<E>(
        &mut self,
        owner: Option<&Arc<Task>>,
        mut show: impl FnMut(&Update) -> Result<(), E>,
    ) -> Result<(), E> {
        self.waiting.take().into_iter().flat_map(|waiting| *waiting).try_for_each(|mut step| {
            step.owner = step.owner.take().or_else(|| owner.cloned());
            show(&Update::Transition(step))
        })
    }
}
