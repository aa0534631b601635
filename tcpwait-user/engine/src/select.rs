//! Which connections a view shows. A filter selects connections, not events: a step that comes before the port or
//! the owner is known waits until it is, and is shown or dropped with its connection.

pub mod pick;
pub mod steps;

use std::{ops::RangeInclusive, sync::Arc};

use hashbrown::HashMap;
use ipnet::IpNet;

use self::pick::PickVerdict;
pub use self::{pick::Pick, steps::Steps};
use crate::{
    connection::{ByName, Name},
    event::Task,
    lifecycle::{Failure, OlderConnection, Present, Transition, Update},
    names::{Names, pod::Pod},
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

/// What is wanted; an empty list wants everything. Each but the states may be turned round.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    /// Local ports.
    pub lports: Pick<RangeInclusive<u16>>,
    /// Remote ports.
    pub rports: Pick<RangeInclusive<u16>>,
    /// Networks the local address is in.
    pub laddrs: Pick<IpNet>,
    /// Networks the remote address is in.
    pub raddrs: Pick<IpNet>,
    /// Owners by process id.
    pub pids: Pick<u32>,
    /// Owners by name.
    pub comms: Pick<String>,
    /// Owners by cgroup: this one and those below.
    pub cgroups: Pick<String>,
    /// Owners by pod: its name, `NAMESPACE/NAME`, or its UID where its name is not known.
    pub pods: Pick<String>,
    /// Network namespaces by inode.
    pub netns: Pick<u32>,
    /// The address family.
    pub family: Option<Family>,
    /// States: a connection is shown from the step on that enters (or leaves) one of them.
    pub states: Vec<State>,
}

impl Criteria {
    /// Whether some filter asks for the owner.
    pub fn by_owner(&self) -> bool {
        !(self.pids.is_empty() && self.comms.is_empty() && self.cgroups.is_empty() && self.pods.is_empty())
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
        self.flow(flow, false) != PickVerdict::Unwanted
    }

    /// Whether a socket with these addresses, in this state, is wanted; who owns it is another question.
    pub fn fits(&self, flow: &Flow, state: State) -> bool {
        self.touches(state) && self.flow(flow, true) == PickVerdict::Wanted
    }

    /// Whether sockets of this owner are wanted. Where an owner is asked for, those whose owner is not known are not; where some are to be left
    /// out, they are.
    pub fn fits_owner(&self, owner: Option<&Task>, names: &Names) -> bool {
        self.owner(owner, names, true) == PickVerdict::Wanted
    }

    /// `last`: what is not known of it never will be.
    fn flow(&self, flow: &Flow, last: bool) -> PickVerdict {
        let fits = self.netns.admits(|inode| *inode == flow.netns.inode())
            && self.rports.admits(|ports| ports.contains(&flow.rport))
            && self.laddrs.admits(|net| net.contains(&flow.laddr))
            && self.raddrs.admits(|net| net.contains(&flow.raddr))
            && self.family.is_none_or(|family| (family == Family::V4) == flow.raddr.is_ipv4());
        if !fits {
            return PickVerdict::Unwanted;
        }
        self.lports
            .judge(|lists| (flow.lport != 0).then(|| lists.iter().any(|ports| ports.contains(&flow.lport))), last)
    }

    fn owner(&self, owner: Option<&Task>, names: &Names, last: bool) -> PickVerdict {
        if !self.by_owner() {
            return PickVerdict::Wanted;
        }
        let pid = self.pids.judge(|pids| owner.map(|task| pids.contains(&task.pid)), last);
        let comm = self.comms.judge(|comms| owner.map(|task| comms.contains(&task.comm())), last);
        // One whose name is not known yet may be it.
        let path = || names.cgroup(owner?.cgroup);
        let cgroup = |wanted: &[String]| path().map(|path| wanted.iter().any(|wanted| is_below(path, wanted)));
        let is_pod = |pod: &Pod, wanted: &String| pod.name == *wanted || pod.full_name() == *wanted;
        let pod = |wanted: &[String]| {
            let pod = names.pod(owner?.cgroup);
            path().map(|_| pod.is_some_and(|pod| wanted.iter().any(|wanted| is_pod(pod, wanted))))
        };
        pid.and(comm).and(self.cgroups.judge(cgroup, last)).and(self.pods.judge(pod, last))
    }

    fn connection(&self, step: &Transition, names: &Names) -> PickVerdict {
        // What has no cookie is told of once: nobody comes to own it.
        let last = step.to == State::Close || step.id == 0;
        let owner = step.owner.as_deref().or(step.listener.as_deref().filter(|_| step.id == 0));
        self.flow(&step.flow, last).and(self.owner(owner, names, last))
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

    /// Whether a socket that is there belongs to what is shown: by what it is, or, where states are asked for, as a connection that has been in one of them.
    pub fn shows(&self, socket: &Present<'_>, names: &Names) -> bool {
        let Present { id, flow, state, owner, .. } = *socket;
        let track = if self.criteria.states.is_empty() { None } else { self.tracks.get(&Name::of(id, &flow)) };
        match track {
            Some(track) => track.wanted && track.entered,
            None => self.criteria.fits(&flow, state) && self.criteria.fits_owner(owner, names),
        }
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
            Update::Lost { id, flow } => {
                self.tracks.remove(&Name::of(*id, flow));
                self.ownerless.remove(id);
                return show(update);
            }
            Update::Owned { id, owner } => return self.owned(*id, owner, names, show),
            Update::Failed(failure) => return if self.fails(failure, names) { show(update) } else { Ok(()) },
        };
        let verdict = self.criteria.connection(step, names);
        let over = step.to == State::Close;
        let stateless = self.criteria.states.is_empty() && !self.criteria.by_owner() && self.criteria.lports.is_empty();
        if stateless || step.id == 0 {
            return match verdict == PickVerdict::Wanted && self.criteria.touches_step(step) {
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
        track.wanted |= verdict == PickVerdict::Wanted;
        if track.wanted {
            track.release(step.owner.as_ref(), &mut show)?;
            if track.entered {
                show(update)?;
            }
        } else if verdict == PickVerdict::Unwanted {
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

    /// Nothing more comes: passes on what waited to learn more of connections, if it is wanted as it is.
    ///
    /// # Errors
    /// What `show` returns.
    pub fn finish<E>(&mut self, names: &Names, mut show: impl FnMut(&Update) -> Result<(), E>) -> Result<(), E> {
        let criteria = &self.criteria;
        let is_wanted = |step: &Transition| {
            // A port is known within microseconds. Where it is not by now, the kernel side has left out the rest, by that port.
            let verdict = criteria.flow(&step.flow, false).and(criteria.owner(step.owner.as_deref(), names, true));
            verdict == PickVerdict::Wanted
        };
        let waiting = self.tracks.iter().filter_map(|(_, track)| track.waiting.as_deref());
        let mut steps: Vec<Transition> =
            waiting.filter(|steps| steps.last().is_some_and(is_wanted)).flatten().cloned().collect();
        steps.sort_by_key(|step| (step.time_ns, step.id));
        steps.into_iter().try_for_each(|step| show(&Update::Transition(step)))
    }

    /// Whether a connection that was there before is wanted. Where the owner decides and is not known, it is not shown now;
    /// its steps may be.
    fn finds(&mut self, found: &OlderConnection, names: &Names) -> bool {
        // A process has closed what is in these states, and is no owner of it any more; of others it may be learnt.
        let closed = [State::FinWait1, State::FinWait2, State::Closing, State::TimeWait, State::LastAck];
        let last = closed.contains(&found.state);
        let verdict = self.criteria.flow(&found.flow, last);
        let wanted = verdict.and(self.criteria.owner(found.owner.as_deref(), names, last)) == PickVerdict::Wanted
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
            && self.criteria.flow(&failure.flow, true) != PickVerdict::Unwanted
            && self.criteria.owner(failure.owner.as_deref(), names, true) == PickVerdict::Wanted
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
        if self.criteria.owner(Some(owner), names, false) != PickVerdict::Wanted {
            return Ok(());
        }
        if track
            .waiting
            .as_ref()
            .and_then(|waiting| waiting.last())
            .is_some_and(|step| self.criteria.flow(&step.flow, false) == PickVerdict::Wanted)
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
