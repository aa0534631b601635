//! Sockets by state at one moment: what a listing of them adds up to, by state, by group, and by the time that TIME_WAITs
//! have left. Knows nothing of where the listing comes from, and reads no clock.

mod groups;
pub mod report;
mod seen;
mod time_left;

use std::collections::HashSet;

pub use self::seen::SeenSince;
use self::{
    groups::StatesGroups,
    report::{Extent, StatesReport, StatesRow, UnknownHolders},
};
use crate::{
    aggregate::{
        LIFE,
        age::Ages,
        by::{GroupBy, Value},
    },
    event::Task,
    names::Names,
    origin::{Origin, OriginListing},
    select::Criteria,
    tcp::{Flow, State},
};

/// The kernel's numbers of states start at 1.
const STATES: usize = State::ALL.len() + 1;

const NS_PER_MS: u64 = 1_000_000;

/// A socket in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSocket {
    /// Its cookie.
    pub cookie: u64,
    /// Its addresses.
    pub flow: Flow,
    /// Its state; of a mini-socket its substate.
    pub state: State,
    /// For how many milliseconds it has been in its state at least; `None` where nothing tells.
    pub at_least_ms: Option<u32>,
    /// For a mini-socket, milliseconds to the nominal end of its timer: 0 when that has passed.
    pub mini_left_ms: Option<u32>,
    /// The user id of its file; `None` without a file.
    pub uid: Option<u32>,
    /// The inode number of its file (`socket:[N]`); `None` for mini-sockets, request sockets, orphans, and connections that
    /// were not accepted yet.
    pub inode: Option<u32>,
}

/// What is to be counted.
#[derive(Clone, Debug, Default)]
pub struct StatesOptions {
    /// Which sockets.
    pub criteria: Criteria,
    /// What groups are by; none: there are no groups.
    pub by: Vec<GroupBy>,
    /// How many groups stand by themselves.
    pub top: usize,
    /// Only those that have been in their state for so many milliseconds, as far as that is told.
    pub older_than_ms: Option<u64>,
}

impl StatesOptions {
    /// Whether the process that holds a socket matters.
    pub fn needs_owners(&self) -> bool {
        self.criteria.by_owner()
            || self.by.iter().any(|by| matches!(by, GroupBy::Process | GroupBy::Pid | GroupBy::Cgroup | GroupBy::Pod))
    }

    /// Whether it matters which ports are listened on.
    pub fn needs_listeners(&self) -> bool {
        self.by.contains(&GroupBy::Service)
    }
}

/// The counting. First come listeners, where they matter, then sockets, then owners, where they matter.
#[derive(Debug)]
pub struct StatesTally {
    wanted: StatesOptions,
    /// IPv4 and IPv6, by the kernel's number of the state.
    states: [[u64; 2]; STATES],
    /// Mini-sockets in FIN_WAIT2.
    orphans: u64,
    left_ms: Vec<u32>,
    /// By the kernel's number of the state.
    ages: [Ages; STATES],
    /// Sockets that are wanted but for their age, which nothing tells.
    ageless: u64,
    /// What earlier listings showed, where there are several.
    seen: Option<SeenSince>,
    groups: StatesGroups,
    /// Which side made each connection, where that matters.
    census: OriginListing,
    /// Connections of which only the whole listing tells.
    undecided: Vec<ListedSocket>,
    /// Sockets whose owner is yet to be found.
    waiting: Vec<ListedSocket>,
    holders: UnknownHolders,
}

impl StatesTally {
    /// Nothing counted yet.
    pub fn new(wanted: StatesOptions) -> Self {
        Self {
            wanted,
            states: Default::default(),
            orphans: 0,
            left_ms: Vec::new(),
            ages: Default::default(),
            ageless: 0,
            seen: None,
            groups: StatesGroups::default(),
            census: OriginListing::default(),
            undecided: Vec::new(),
            waiting: Vec::new(),
            holders: UnknownHolders::default(),
        }
    }

    /// With what earlier listings showed, to know better how old sockets are.
    pub fn knowing(self, seen: SeenSince) -> Self {
        Self { seen: Some(seen), ..self }
    }

    /// The same, and what this one shows.
    pub fn take_seen(&mut self) -> Option<SeenSince> {
        self.seen.take()
    }

    /// What is to be counted.
    pub fn wanted(&self) -> &StatesOptions {
        &self.wanted
    }

    /// Somebody listens there. It need not be wanted itself.
    pub fn listener(&mut self, flow: &Flow) {
        self.census.listener(flow);
    }

    /// A socket.
    pub fn socket(&mut self, socket: &ListedSocket) {
        // What is not wanted is evidence all the same.
        let needs_origin = self.wanted.needs_listeners() && socket.state != State::Listen;
        let origin = match needs_origin {
            true => self.census.connection(&socket.flow),
            false => Some(Origin::default()),
        };
        if !self.wanted.criteria.fits(&socket.flow, socket.state) {
            return;
        }
        let by_listings = self.seen.as_mut().and_then(|seen| seen.at_least_ms(socket));
        let socket = &ListedSocket { at_least_ms: socket.at_least_ms.max(by_listings), ..*socket };
        if let Some(older_than_ms) = self.wanted.older_than_ms {
            match socket.at_least_ms {
                Some(at_least_ms) if u64::from(at_least_ms) >= older_than_ms => {}
                Some(_) => return,
                None => return self.ageless += 1,
            }
        }
        if self.wanted.needs_owners() {
            if socket.inode.is_some() {
                return self.waiting.push(*socket);
            }
            self.holders.without_file += 1;
            self.holders.of_time_wait += u64::from(socket.state == State::TimeWait);
            // Nobody's socket is nobody's whom somebody asks for, and not of those who are left out.
            if !self.wanted.criteria.fits_owner(None, &Names::default()) {
                return;
            }
        }
        match origin {
            Some(origin) => self.count(socket, None, origin, &Names::default()),
            None => self.undecided.push(*socket),
        }
    }

    /// The files whose holders are to be found.
    pub fn files(&self) -> HashSet<u32> {
        self.waiting.iter().filter_map(|socket| socket.inode).collect()
    }

    /// The sockets whose holders are to be found.
    pub fn waiting(&self) -> &[ListedSocket] {
        &self.waiting
    }

    /// Who holds them, and of which of those nobody knows whether several do. `names`: of cgroups.
    pub fn owners(
        &mut self,
        owner_of: impl Fn(&ListedSocket) -> Option<Task>,
        is_shared: impl Fn(&ListedSocket) -> bool,
        names: &Names,
    ) {
        for socket in std::mem::take(&mut self.waiting) {
            let owner = owner_of(&socket);
            self.holders.unknown += u64::from(owner.is_none());
            self.holders.shared += u64::from(owner.is_none() && is_shared(&socket));
            if self.wanted.criteria.fits_owner(owner.as_ref(), names) {
                let origin = self.census.origin(&socket.flow);
                self.count(&socket, owner.as_ref(), origin, names);
            }
        }
    }

    fn count(&mut self, socket: &ListedSocket, owner: Option<&Task>, origin: Origin, names: &Names) {
        let family = usize::from(!socket.flow.raddr.is_ipv4());
        if let Some(count) = self.states.get_mut(socket.state as usize).and_then(|row| row.get_mut(family)) {
            *count += 1;
        }
        if let (Some(ms), Some(ages)) = (socket.at_least_ms, self.ages.get_mut(socket.state as usize)) {
            ages.add(u64::from(ms) * NS_PER_MS, false);
        }
        match (socket.state, socket.mini_left_ms) {
            (State::TimeWait, Some(left_ms)) => self.left_ms.push(left_ms),
            (State::FinWait2, Some(_)) => self.orphans += 1,
            _ => {}
        }
        if !self.wanted.by.is_empty() {
            let values = self.wanted.by.iter().map(|by| value(*by, socket, owner, origin, names));
            self.groups.count(values, socket);
        }
    }

    /// What was counted. `extent`: how much of the machine was read.
    pub fn report(mut self, extent: Extent) -> StatesReport {
        for socket in std::mem::take(&mut self.undecided) {
            let origin = self.census.origin(&socket.flow);
            self.count(&socket, None, origin, &Names::default());
        }
        let Self { wanted, states, orphans, mut left_ms, ages, ageless, groups, holders, .. } = self;
        let asked = &wanted.criteria.states;
        let of = |state: State| states.get(state as usize).copied().unwrap_or_default();
        let total: u64 = states.iter().flatten().sum();
        let states = LIFE.into_iter().filter(|state| asked.is_empty() || asked.contains(state));
        let mut ages = ages.map(Ages::summary);
        let mut age = |state: State| ages.get_mut(state as usize).map(std::mem::take).unwrap_or_default();
        let states: Vec<StatesRow> = states.map(|state| StatesRow::new(state, of(state), total, age(state))).collect();
        StatesReport {
            total,
            time_wait: of(State::TimeWait).iter().sum(),
            orphans,
            time_left: time_left::summary(&mut left_ms),
            groups: groups.report(wanted.top, &states),
            states,
            by: wanted.by.clone(),
            older_than_ms: wanted.older_than_ms,
            ageless,
            holders: wanted.needs_owners().then_some(holders),
            extent,
        }
    }
}

/// A socket's part of a group's key.
fn value(by: GroupBy, socket: &ListedSocket, owner: Option<&Task>, origin: Origin, names: &Names) -> Value {
    let nowhere = socket.flow.raddr.is_unspecified();
    match by {
        // The kernel says whose it is, which needs no process to be found.
        GroupBy::Uid => socket.uid.map_or(Value::Unknown, |uid| Value::Number(uid.into())),
        GroupBy::Remote | GroupBy::Pair => match nowhere {
            true => Value::Unknown,
            false => by.of(&socket.flow, owner, origin, names),
        },
        _ => match by.of(&socket.flow, owner, origin, names) {
            // No cgroup has this id: the owner's is not known.
            Value::Cgroup(0) => Value::Unknown,
            value => value,
        },
    }
}
