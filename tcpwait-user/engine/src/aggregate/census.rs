//! How many sockets there are, in which state and whose: counted over all that are there whenever a report is due, so that it costs nothing in between
//! and is right again after a loss as soon as the model is.
//!
//! Memory is bounded: what comes beyond the limit is in no row, and counted.

use std::cmp::Reverse;

use hashbrown::{HashMap, HashSet};

use super::{by::Value, ports::report::PortDestination};
use crate::{
    lifecycle::Present,
    tcp::{NetnsId, State},
};

/// Places, and destinations, that are kept apart.
const MAX_PLACES: usize = 10_000;

/// Owners that are kept apart in one place.
const MAX_OWNERS: usize = 16;

/// How long a SYN is waited for before it is sent again (`TCP_TIMEOUT_INIT`): a connect older than that had no answer to its first.
const SYN_PATIENCE_NS: u64 = 1_000_000_000;

/// States in which a socket waits for somebody: the one who has to act is known by the state.
pub const WAITING: [State; 5] = [State::SynSent, State::CloseWait, State::FinWait1, State::FinWait2, State::LastAck];

/// Sockets that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CensusKey {
    /// Their network namespace.
    pub netns: NetnsId,
    /// Their state.
    pub state: State,
    /// The end that was listened on.
    pub service: Value,
}

/// How many are in each state, by its number.
pub type ByState = [u64; State::ALL.len() + 1];

/// How many there are in a place.
#[derive(Clone, Debug, Default)]
struct Count {
    now: u64,
    /// Of connects: those whose first SYN had no answer.
    unanswered: u64,
    /// Whether the remote address is one of this machine.
    here: bool,
    oldest_ns: Option<u64>,
    oldest_exact: bool,
    owners: Vec<([u8; 16], u64)>,
}

/// Ports that outgoing connections hold towards one destination.
#[derive(Clone, Debug, Default)]
struct Taken {
    ports: u64,
    states: ByState,
    owners: Vec<([u8; 16], u64)>,
}

/// Those of all destinations.
#[derive(Clone, Debug, Default)]
struct TakenPorts {
    places: HashMap<PortDestination, usize>,
    all: Vec<Taken>,
    /// The one that was last asked for: where there are many ports, most are towards the same.
    last: Option<(PortDestination, usize)>,
}

impl TakenPorts {
    /// `None` where there are too many.
    fn towards(&mut self, destination: PortDestination) -> Option<&mut Taken> {
        let at = match self.last.filter(|(last, _)| *last == destination) {
            Some((_, at)) => at,
            None if self.all.len() < MAX_PLACES => {
                let at = *self.places.entry(destination).or_insert(self.all.len());
                if at == self.all.len() {
                    self.all.push(Taken::default());
                }
                at
            }
            None => *self.places.get(&destination)?,
        };
        self.last = Some((destination, at));
        self.all.get_mut(at)
    }

    fn get(&self, destination: &PortDestination) -> Option<&Taken> {
        self.all.get(*self.places.get(destination)?)
    }

    fn iter(&self) -> impl Iterator<Item = (&PortDestination, &Taken)> {
        self.places.iter().filter_map(|(destination, at)| Some((destination, self.all.get(*at)?)))
    }
}

impl TakenRow {
    /// Those in TIME_WAIT.
    pub fn waits(&self) -> u64 {
        self.states.get(State::TimeWait as usize).copied().unwrap_or_default()
    }
}

/// Sockets in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceRow {
    /// The place.
    pub place: CensusKey,
    /// How many there are.
    pub now: u64,
    /// How many more there are than at the beginning of what the report is on; `None` where that is not known.
    pub growth: Option<i64>,
    /// Of connects: how many have had no answer for a second or more.
    pub unanswered: u64,
    /// Whether the remote end is on this machine, in the same network namespace; false where that is not known.
    pub here: bool,
    /// How long the oldest has been in its state; `None` where it is known of none.
    pub oldest_ns: Option<u64>,
    /// Whether that is exact; else it has been for that long at least.
    pub oldest_exact: bool,
    /// Who has most of them, and whether all; `None` where it is not known of most.
    pub owner: Option<([u8; 16], bool)>,
}

/// Ports towards one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenRow {
    /// The destination.
    pub destination: PortDestination,
    /// How many ports connections hold.
    pub taken: u64,
    /// Of these, those in each state.
    pub states: ByState,
    /// How many more they are than at the beginning of what the report is on; `None` where that is not known.
    pub growth: Option<i64>,
    /// Whose most are, as above.
    pub owner: Option<([u8; 16], bool)>,
}

/// TIME_WAITs by the side that made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeWaits {
    /// connect() here made the connection: each holds a port.
    pub outgoing: u64,
    /// The connection was accepted: it holds no port that connect() chooses.
    pub accepted: u64,
    /// Nobody knows.
    pub unknown: u64,
}

/// All sockets that there are at one time.
#[derive(Clone, Debug, Default)]
pub struct SocketCensus {
    places: HashMap<CensusKey, Count>,
    taken: TakenPorts,
    /// Ports that connect() passes over, as somebody listens or has accepted on them.
    closed: HashMap<NetnsId, HashSet<u16>>,
    /// Who listens where.
    listeners: HashMap<(NetnsId, u16), [u8; 16]>,
    /// How many are in each state.
    states: ByState,
    time_waits: TimeWaits,
    namespaces: HashSet<NetnsId>,
    /// The one that was last added.
    last_netns: Option<NetnsId>,
    /// Sockets in no place, as there were too many.
    beyond: u64,
}

impl SocketCensus {
    /// Counts these at this time.
    pub fn take<'a>(present: impl Iterator<Item = Present<'a>>, now_ns: u64) -> Self {
        let mut census = Self::default();
        present.for_each(|socket| census.add(&socket, now_ns));
        census
    }

    fn add(&mut self, socket: &Present<'_>, now_ns: u64) {
        let flow = &socket.flow;
        let comm = socket.owner.map(|task| task.comm);
        let n = u64::from(socket.stands_for);
        if self.last_netns.replace(flow.netns) != Some(flow.netns) {
            self.namespaces.insert(flow.netns);
        }
        if let Some(count) = self.states.get_mut(socket.state as usize) {
            *count += n;
        }
        if socket.state == State::TimeWait {
            match socket.origin.made_here() {
                Some(true) => self.time_waits.outgoing += n,
                Some(false) => self.time_waits.accepted += n,
                None => self.time_waits.unknown += n,
            }
        }
        if let Some(comm) = comm.filter(|_| socket.state == State::Listen) {
            self.listeners.insert((flow.netns, flow.lport), comm);
        }
        if socket.state == State::Listen || (socket.origin.made_here() == Some(false) && socket.state != State::SynRecv)
        {
            self.closed.entry(flow.netns).or_default().insert(flow.lport);
        }
        if socket.origin.is_outgoing() && flow.lport != 0 {
            match self.taken.towards(PortDestination::of(flow)) {
                Some(taken) => {
                    taken.ports += n;
                    if let Some(count) = taken.states.get_mut(socket.state as usize) {
                        *count += n;
                    }
                    note(&mut taken.owners, comm, n);
                }
                None => self.beyond += 1,
            }
        }
        if !WAITING.contains(&socket.state) {
            return;
        }
        let service = Value::service(flow, socket.origin);
        let place = CensusKey { netns: flow.netns, state: socket.state, service };
        if self.places.len() >= MAX_PLACES && !self.places.contains_key(&place) {
            self.beyond += 1;
            return;
        }
        let count = self.places.entry(place).or_default();
        count.now += n;
        // The kernel takes an address of this machine as the source towards itself (`ip_route_output_key_hash_rcu`).
        count.here |= flow.raddr == flow.laddr || flow.raddr.is_loopback();
        note(&mut count.owners, comm, n);
        let age = socket.by_ns.map(|by_ns| now_ns.saturating_sub(by_ns));
        count.unanswered += n * u64::from(socket.syn_sent && age.is_some_and(|age| age >= SYN_PATIENCE_NS));
        if age > count.oldest_ns {
            (count.oldest_ns, count.oldest_exact) = (age, socket.since_ns.is_some());
        }
    }

    /// The rows, those first of which there are most; `before`: at the beginning of what the report is on.
    pub fn places(&self, before: Option<&SocketCensus>) -> Vec<PlaceRow> {
        let mut rows: Vec<PlaceRow> = self
            .places
            .iter()
            .map(|(place, count)| PlaceRow {
                place: *place,
                now: count.now,
                growth: before.map(|before| {
                    let then = before.places.get(place).map_or(0, |count| count.now);
                    difference(count.now, then)
                }),
                unanswered: if place.state == State::SynSent { count.unanswered } else { 0 },
                here: count.here,
                oldest_ns: count.oldest_ns,
                oldest_exact: count.oldest_exact,
                owner: most(&count.owners, count.now),
            })
            .collect();
        rows.sort_unstable_by_key(|row| (Reverse(row.now), row.place));
        rows
    }

    /// Ports by destination, those first towards which most are taken.
    pub fn taken(&self, before: Option<&SocketCensus>) -> Vec<TakenRow> {
        let mut rows: Vec<TakenRow> = self
            .taken
            .iter()
            .map(|(destination, taken)| TakenRow {
                destination: *destination,
                taken: taken.ports,
                states: taken.states,
                growth: before.map(|before| {
                    let then = before.taken.get(destination).map_or(0, |taken| taken.ports);
                    difference(taken.ports, then)
                }),
                owner: most(&taken.owners, taken.ports),
            })
            .collect();
        rows.sort_unstable_by_key(|row| (Reverse(row.taken), row.destination));
        rows
    }

    /// How many are in a state.
    pub fn now(&self, state: State) -> u64 {
        self.states.get(state as usize).copied().unwrap_or_default()
    }

    /// TIME_WAITs by the side that made them.
    pub fn time_waits(&self) -> TimeWaits {
        self.time_waits
    }

    /// Ports of a namespace that connect() passes over, as a server has them.
    pub fn closed(&self, netns: NetnsId) -> impl Iterator<Item = u16> {
        self.closed.get(&netns).into_iter().flatten().copied()
    }

    /// Who listens on a port; `None` where that is not known.
    pub fn listener(&self, netns: NetnsId, port: u16) -> Option<[u8; 16]> {
        self.listeners.get(&(netns, port)).copied()
    }

    /// The network namespaces that have any.
    pub fn namespaces(&self) -> &HashSet<NetnsId> {
        &self.namespaces
    }

    /// Sockets that are in no row, as there are too many places.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }
}

fn difference(now: u64, then: u64) -> i64 {
    i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(i64::try_from(then).unwrap_or(i64::MAX))
}

fn note(owners: &mut Vec<([u8; 16], u64)>, comm: Option<[u8; 16]>, n: u64) {
    let Some(comm) = comm else { return };
    if let Some((_, count)) = owners.iter_mut().find(|(known, _)| *known == comm) {
        *count += n;
    } else if owners.len() < MAX_OWNERS {
        owners.push((comm, n));
    }
}

/// Who has more than half.
fn most(owners: &[([u8; 16], u64)], all: u64) -> Option<([u8; 16], bool)> {
    let (comm, count) = owners.iter().max_by_key(|(comm, count)| (*count, Reverse(*comm)))?;
    (*count * 2 > all).then_some((*comm, *count == all))
}
