//! Ports that bind() gave to sockets which then connected. Such a port is closed to every connect() that chooses one, towards whatever destination
//! (`__inet_hash_connect` passes over a bind bucket whose `fastreuse` is not negative), and to every bind() to the same address
//! (`inet_csk_find_open_port`, `inet_csk_bind_conflict`), unless both sockets have SO_REUSEADDR.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};

use super::{
    HeldPort, PortModel,
    failures::Process,
    forecast::{Load, foresee},
    owners::{count_owner, most},
    report::{Bound, Source, TopHolder},
};
use crate::tcp::{NetnsId, State, TIMEWAIT_LEN_NS};

/// Ports of a namespace's range that connect() passes over.
#[derive(Debug, Default)]
pub(super) struct PassedOver {
    /// Somebody listens there, or has, and its connections last.
    pub(super) served: HashSet<u16>,
    /// bind() gave them to sockets that connected; not those that are served as well.
    pub(super) bound: HashSet<u16>,
}

/// The ports of the range that one source address holds.
#[derive(Debug, Default)]
struct Address {
    /// Each with when TIME_WAIT began, if no other socket has the port; else 0.
    taken: HashMap<u16, u64>,
    bound: HashSet<u16>,
    unknown: HashSet<u16>,
    owners: HashMap<[u8; 16], (Process, u64)>,
}

impl Address {
    fn add(&mut self, held: &HeldPort) {
        let waits_ns = if held.state == State::TimeWait { held.waits_ns } else { 0 };
        self.taken.entry(held.lport).and_modify(|ns| *ns = if *ns == 0 { 0 } else { waits_ns }).or_insert(waits_ns);
        match held.bound {
            Some(true) => {
                if self.bound.insert(held.lport)
                    && let Some(owner) = held.owner.as_deref()
                {
                    count_owner(&mut self.owners, owner);
                }
            }
            Some(false) => {}
            None => drop(self.unknown.insert(held.lport)),
        }
    }
}

impl PortModel {
    /// What is closed to connect(), by namespace.
    pub(super) fn closed(&self) -> HashMap<NetnsId, PassedOver> {
        let mut closed: HashMap<NetnsId, PassedOver> = HashMap::new();
        for (netns, settings) in &self.settings {
            let of = closed.entry(*netns).or_default();
            let accepted = self.served.keys().filter(|(place, _)| place == netns).map(|(_, port)| *port);
            of.served
                .extend(self.listeners.of(*netns).chain(accepted).filter(|port| settings.has(*port) == Some(true)));
        }
        for (_, held) in self.held.iter().filter(|(_, held)| held.bound == Some(true)) {
            let netns = held.destination.netns;
            let of_range = self.settings.get(&netns).and_then(|settings| settings.has(held.lport)) == Some(true);
            if let Some(of) = closed.get_mut(&netns).filter(|of| of_range && !of.served.contains(&held.lport)) {
                of.bound.insert(held.lport);
            }
        }
        closed
    }

    /// One row for each source address from which bind() took a port, the fullest first.
    pub(super) fn bound(&mut self, closed: &HashMap<NetnsId, PassedOver>, end_ns: u64) -> Vec<Bound> {
        let mut addresses: BTreeMap<Source, Address> = BTreeMap::new();
        let place = |held: &HeldPort| Source::of(&held.destination);
        for (_, held) in self.held.iter().filter(|(_, held)| held.bound == Some(true)) {
            addresses.entry(place(held)).or_default();
        }
        if addresses.is_empty() {
            return Vec::new();
        }
        self.bound.retain(|place, pace| addresses.contains_key(place) || !pace.is_idle(end_ns));
        let interfaces: BTreeSet<u32> = addresses.keys().map(|source| source.bound_dev_if).collect();
        for (_, held) in self.held.iter() {
            let settings = self.settings.get(&held.destination.netns);
            // Where the range is not known, every port counts.
            if held.lport == 0 || settings.and_then(|settings| settings.has(held.lport)) == Some(false) {
                continue;
            }
            let place = place(held);
            // Sockets on different interfaces are not in each other's way (`inet_csk_bind_conflict`).
            let in_its_way =
                |interface: &&u32| [**interface, place.bound_dev_if].contains(&0) || **interface == place.bound_dev_if;
            for interface in interfaces.iter().filter(in_its_way) {
                if let Some(address) = addresses.get_mut(&Source { bound_dev_if: *interface, ..place }) {
                    address.add(held);
                }
            }
        }
        let mut rows: Vec<Bound> = addresses
            .iter()
            .filter(|(_, address)| !address.bound.is_empty())
            .map(|(source, address)| self.bound_row(*source, address, closed.get(&source.netns), end_ns))
            .collect();
        rows.sort_by(|a, b| {
            let share = |row: &Bound| row.share.unwrap_or_default();
            share(b).total_cmp(&share(a)).then_with(|| a.source.cmp(&b.source))
        });
        rows
    }

    fn bound_row(&self, source: Source, address: &Address, closed: Option<&PassedOver>, end_ns: u64) -> Bound {
        let none = PassedOver::default();
        let served = &closed.unwrap_or(&none).served;
        let size = self.settings.get(&source.netns).and_then(|settings| settings.available(served.iter().copied()));
        let taken = || address.taken.iter().filter(|(port, _)| !served.contains(*port));
        let rates = self.bound.get(&source).and_then(|pace| self.rates(pace, end_ns));
        let wait_ns = TIMEWAIT_LEN_NS + self.slack_ns.unwrap_or_default() / 2;
        let load = Load {
            size: size.unwrap_or_default(),
            active: taken().filter(|(_, waits_ns)| **waits_ns == 0).count() as u64,
            ends_ns: taken()
                .filter(|(_, waits_ns)| **waits_ns != 0)
                .map(|(_, waits_ns)| wait_ns.saturating_sub(end_ns.saturating_sub(*waits_ns)))
                .collect(),
            growth_per_s: rates.map_or(0.0, |rates| rates.growth_per_s),
            waits_per_s: rates.map_or(0.0, |rates| rates.waits_per_s),
            wait_ns,
        };
        let in_use = taken().count() as u64;
        let time_wait = load.ends_ns.len() as u64;
        let by_connect = taken()
            .filter(|(port, _)| !address.bound.contains(*port) && !address.unknown.contains(*port))
            .count() as u64;
        Bound {
            source,
            bound: address.bound.len() as u64,
            by_connect,
            unknown: address.unknown.iter().filter(|port| !address.bound.contains(*port)).count() as u64,
            in_use,
            time_wait,
            size,
            share: size.map(|size| if size == 0 { 1.0 } else { in_use as f64 / size as f64 }),
            rates,
            forecast: size.and_then(|_| foresee(load, rates, false, self.unsure)),
            holder: most(&address.owners).map(|(process, ports)| TopHolder {
                process,
                ports,
                known: address.owners.values().map(|(_, count)| count).sum(),
            }),
        }
    }

    /// By how many a second bind() takes more ports of a namespace than it gives back.
    pub(super) fn bound_growth_per_s(&self, netns: NetnsId, end_ns: u64) -> f64 {
        let paces = self.bound.iter().filter(|(source, _)| source.netns == netns);
        let rates = paces.filter_map(|(_, pace)| self.rates(pace, end_ns));
        rates.map(|rates| rates.growth_per_s.max(0.0) + rates.waits_per_s).sum()
    }
}
