//! Who: TIME_WAIT by groups of connections. Their number is bounded; beyond it the least of them are folded into one that
//! stands for all others, so that sums stay right and memory does too.

use std::{net::IpAddr, num::NonZeroU32};

use hashbrown::HashMap;

use super::{
    by::{GroupBy, Value},
    dwell::Dwell,
    end_report::EndLead,
    ends::Ends,
    group_row::{ClosedFirst, Closer, GroupRow, Peer, Rows},
};
use crate::{
    event::Task,
    lifecycle::{Reason, Transition},
    names::Names,
    origin::Origin,
    tcp::Flow,
};

/// Groups followed at once: 30 MB at most.
pub const MAX_GROUPS: usize = 1000;

/// Distinct peers counted in each.
const MAX_PEERS: usize = 32;

/// What a group is sorted by, greatest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Entries to TIME_WAIT.
    #[default]
    Entered,
    /// Sockets in TIME_WAIT now.
    Now,
    /// Sockets that left TIME_WAIT.
    Left,
    /// Median time spent in TIME_WAIT.
    Dwell,
}

/// What is counted of a group over a time.
#[derive(Clone, Debug)]
struct GroupCounts {
    entered: u64,
    left: u64,
    exits: [u64; Reason::ALL.len()],
    closed: ClosedFirst,
    ends: Ends,
    dwell: Dwell,
    peers: HashMap<IpAddr, u64>,
}

impl Default for GroupCounts {
    fn default() -> Self {
        Self {
            entered: 0,
            left: 0,
            exits: Default::default(),
            closed: ClosedFirst::default(),
            ends: Ends::default(),
            dwell: Dwell::coarse(),
            peers: HashMap::new(),
        }
    }
}

impl GroupCounts {
    fn enter(&mut self, peer: IpAddr, n: u64) {
        self.entered += n;
        self.meet(peer, n);
    }

    fn meet(&mut self, peer: IpAddr, times: u64) {
        if self.peers.len() < MAX_PEERS || self.peers.contains_key(&peer) {
            *self.peers.entry(peer).or_default() += times;
        }
    }

    fn add(&mut self, other: &Self) {
        self.entered += other.entered;
        self.left += other.left;
        for (mine, theirs) in self.exits.iter_mut().zip(other.exits) {
            *mine += theirs;
        }
        self.closed.add(other.closed);
        self.ends.add(&other.ends);
        self.dwell.add(&other.dwell);
        let mut peers: Vec<_> = other.peers.iter().collect();
        peers.sort_unstable_by_key(|(peer, times)| (std::cmp::Reverse(**times), **peer));
        for (peer, times) in peers {
            self.meet(*peer, *times);
        }
    }

    fn is_empty(&self) -> bool {
        self.entered == 0 && self.left == 0 && self.closed.total() == 0 && self.ends.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
struct StatGroup {
    key: Box<[Value]>,
    now: u64,
    interval: GroupCounts,
    total: GroupCounts,
}

/// Names a group as long as it is followed; one that is not is the group of all others.
pub type GroupId = NonZeroU32;

/// The groups.
#[derive(Debug)]
pub struct StatGroups {
    by: Vec<GroupBy>,
    limit: usize,
    ids: HashMap<Box<[Value]>, GroupId>,
    groups: HashMap<GroupId, StatGroup>,
    others: StatGroup,
    folded: u64,
    next: GroupId,
    /// The key that was last asked for; most are there already, and need no memory of their own.
    key: Vec<Value>,
}

impl StatGroups {
    /// No groups yet, and at most `limit` of them.
    pub fn new(by: Vec<GroupBy>, limit: usize) -> Self {
        let (ids, groups) = (HashMap::new(), HashMap::new());
        Self {
            by,
            limit: limit.max(1),
            ids,
            groups,
            others: StatGroup::default(),
            folded: 0,
            next: GroupId::MIN,
            key: Vec::new(),
        }
    }

    /// No groups yet, by something else. No group gets the name of one of before.
    #[must_use]
    pub fn anew(&self, by: Vec<GroupBy>) -> Self {
        Self { next: self.next, ..Self::new(by, self.limit) }
    }

    /// What they are by.
    pub fn by(&self) -> &[GroupBy] {
        &self.by
    }

    /// The group of a connection. `names`: of pods.
    pub fn of(&mut self, flow: &Flow, owner: Option<&Task>, origin: Origin, names: &Names) -> GroupId {
        self.key.clear();
        self.key.extend(self.by.iter().map(|by| by.of(flow, owner, origin, names)));
        if let Some(id) = self.ids.get(self.key.as_slice()) {
            return *id;
        }
        if self.groups.len() >= self.limit {
            self.fold();
        }
        let id = self.next;
        self.next = self.next.saturating_add(1);
        let key: Box<[Value]> = self.key.as_slice().into();
        self.ids.insert(key.clone(), id);
        self.groups.insert(id, StatGroup { key, ..StatGroup::default() });
        id
    }

    /// A socket was in TIME_WAIT already.
    pub fn found(&mut self, id: GroupId) {
        self.get(id).now += 1;
    }

    /// A socket entered TIME_WAIT, which stands for so many.
    pub fn entered(&mut self, id: GroupId, peer: IpAddr, n: u64) {
        let group = self.get(id);
        group.now += 1;
        group.interval.enter(peer, n);
    }

    /// A socket left TIME_WAIT, which stands for so many. `counted`: it was counted when it entered.
    pub fn left(&mut self, id: GroupId, (counted, n): (bool, u64), reason: Reason, dwell: Option<(u64, bool)>) {
        let group = self.get(id);
        group.now = group.now.saturating_sub(u64::from(counted));
        group.interval.left += n;
        if let Some(exits) = group.interval.exits.get_mut(reason as usize) {
            *exits += n;
        }
        if let Some((ns, inferred)) = dwell {
            group.interval.dwell.record(ns, inferred);
        }
    }

    /// A socket left TIME_WAIT in a way that was not seen.
    pub fn gone(&mut self, id: GroupId) {
        let group = self.get(id);
        group.now = group.now.saturating_sub(1);
    }

    /// Connections, so many of them, were closed.
    pub fn closed(&mut self, id: GroupId, closer: Closer, n: u64) {
        self.get(id).interval.closed.count(closer, n);
    }

    /// A connection that had been made ended.
    pub fn ended(&mut self, id: GroupId, step: &Transition) {
        self.get(id).interval.ends.step(step);
    }

    /// The groups in which an abnormal end stands out, those with a time that many share first, and with most of them: call as [`rows`](Self::rows).
    pub fn end_leads(&self, whole: bool) -> Vec<EndLead> {
        const TOP: usize = 3;
        let of = |group: &StatGroup| {
            let counts = if whole { &group.total } else { &group.interval };
            let (end, over) = counts.ends.outstanding(counts.entered)?;
            Some(EndLead { group: row(group.key.clone(), group.now, counts), row: end, over })
        };
        let mut leads: Vec<EndLead> = self.groups.values().filter_map(of).collect();
        leads.sort_by(|a, b| {
            let weight = |lead: &EndLead| (lead.row.times.shared.is_some(), lead.row.count);
            weight(b).cmp(&weight(a)).then_with(|| a.group.key.cmp(&b.group.key))
        });
        leads.truncate(TOP);
        leads
    }

    /// The interval is over: it becomes part of the whole.
    pub fn end_interval(&mut self) {
        for group in self.groups.values_mut().chain([&mut self.others]) {
            group.total.add(&group.interval);
            if !group.interval.is_empty() {
                group.interval = GroupCounts::default();
            }
        }
    }

    /// The first `top` groups of the interval or (`whole`) of the whole time, and all others. Call after
    /// [`end_interval`](Self::end_interval) for the whole.
    pub fn rows(&self, whole: bool, sort: Sort, top: usize) -> Rows {
        let pick = |group: &StatGroup| if whole { group.total.clone() } else { group.interval.clone() };
        let mut shown: Vec<(&StatGroup, u64)> = Vec::new();
        for group in self.groups.values() {
            let counts = if whole { &group.total } else { &group.interval };
            if group.now == 0 && counts.is_empty() {
                continue;
            }
            let by = match sort {
                Sort::Entered => counts.entered,
                Sort::Now => group.now,
                Sort::Left => counts.left,
                Sort::Dwell => counts.dwell.quantile(0.5).unwrap_or_default(),
            };
            shown.push((group, by));
        }
        shown.sort_unstable_by(|(a, by_a), (b, by_b)| {
            by_b.cmp(by_a).then_with(|| b.now.cmp(&a.now)).then_with(|| a.key.cmp(&b.key))
        });
        let (mut others, mut others_now, mut grouped) = (pick(&self.others), self.others.now, self.folded);
        for (group, _) in shown.iter().skip(top) {
            others.add(if whole { &group.total } else { &group.interval });
            others_now += group.now;
            grouped += 1;
        }
        let groups = shown.iter().take(top).map(|(group, _)| row(group.key.clone(), group.now, &pick(group)));
        Rows {
            groups: groups.collect(),
            others: row(Box::default(), others_now, &others),
            grouped,
            folded: self.folded,
        }
    }

    fn get(&mut self, id: GroupId) -> &mut StatGroup {
        self.groups.get_mut(&id).unwrap_or(&mut self.others)
    }

    /// Makes room: the lesser half goes to the others.
    fn fold(&mut self) {
        let weight = |group: &StatGroup| group.now + group.total.entered + group.interval.entered;
        let mut all: Vec<(u64, Box<[Value]>)> =
            self.groups.values().map(|group| (weight(group), group.key.clone())).collect();
        all.sort_unstable();
        for (_, key) in all.into_iter().take(self.limit.div_ceil(2)) {
            let Some(group) = self.ids.remove(&key).and_then(|id| self.groups.remove(&id)) else { continue };
            self.others.now += group.now;
            self.others.interval.add(&group.interval);
            self.others.total.add(&group.total);
            self.folded += 1;
        }
    }
}

fn row(key: Box<[Value]>, now: u64, counts: &GroupCounts) -> GroupRow {
    let known: u64 = counts.peers.values().sum();
    let top = counts.peers.iter().max_by_key(|(peer, times)| (**times, std::cmp::Reverse(**peer)));
    GroupRow {
        key,
        now,
        entered: counts.entered,
        share: None,
        rate_per_s: None,
        left: counts.left,
        exits: Reason::ALL.into_iter().zip(counts.exits).filter(|(_, count)| *count > 0).collect(),
        closed: counts.closed,
        ends: counts.ends.rows(),
        dwell: counts.dwell.summary(),
        peer: top.map(|(peer, times)| Peer {
            address: *peer,
            entered: *times,
            only: known == counts.entered && counts.peers.len() == 1,
        }),
    }
}
