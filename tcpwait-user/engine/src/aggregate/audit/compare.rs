//! Compares what was seen with the kernel's counters, at the moment at which these were read.

use hashbrown::{HashMap, HashSet};

use super::{
    super::unfollowed::{self, FullQueue},
    reading::{KernelCounts, Reading, Span, TwCounts},
    report::{Check, Checked},
    seen::{SeenCounts, What},
};
use crate::{lifecycle::Abort, tcp::NetnsId};

/// How far the time of a hook and that of the counter beside it may lie apart. Both are in one softirq, microseconds apart.
pub(super) const SKEW_NS: u64 = 200_000;

/// Countable events while a reading is under way.
#[derive(Debug, Default)]
pub(super) struct KeptEvents {
    /// Mini-sockets by namespace; `None` as long as those that are older are not known.
    pub(super) minis: Option<HashMap<NetnsId, u64>>,
    pub(super) events: Vec<(u64, NetnsId, What)>,
}

/// The beginning of a namespace: counters, and what was seen at least and at most by then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Baseline {
    pub(super) kernel: KernelCounts,
    pub(super) seen: (SeenCounts, SeenCounts),
}

/// A comparison that was made.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    pub(super) time_ns: u64,
    pub(super) namespaces: usize,
    pub(super) unread: usize,
    pub(super) checks: Vec<Check>,
    pub(super) unfollowed: Vec<(&'static str, u64)>,
    pub(super) full: Option<FullQueue>,
    /// What the kernel side counted of all connections, beside what the kernel did: there also where only some of them are told of.
    pub(super) counted: Option<Check>,
}

/// What the kernel has counted since the beginning, and what was seen at least and at most.
pub(super) fn compare(
    meaning: Option<TwCounts>,
    baselines: &HashMap<NetnsId, Baseline>,
    now: &[(KernelCounts, (SeenCounts, SeenCounts))],
    kept: &KeptEvents,
    reading: &Reading,
) -> Comparison {
    // A namespace that was not there at the start has counted from zero since.
    let pairs: Vec<(Baseline, &KernelCounts, &(SeenCounts, SeenCounts))> = now
        .iter()
        .map(|(kernel, seen)| (baselines.get(&kernel.netns).copied().unwrap_or_default(), kernel, seen))
        .collect();
    let range = |what: Checked, kernel: &dyn Fn(&KernelCounts) -> u64, seen: &dyn Fn(&SeenCounts) -> (i64, i64)| {
        let mut check = Check { what, seen_min: 0, seen_max: 0, kernel: 0 };
        let positive = |count: i64| u64::try_from(count).unwrap_or_default();
        for (base, counts, (least, most)) in &pairs {
            check.kernel += kernel(counts).saturating_sub(kernel(&base.kernel));
            check.seen_min += positive(seen(least).0 - seen(&base.seen.1).1);
            check.seen_max += positive(seen(most).1 - seen(&base.seen.0).0);
        }
        check
    };
    let check = |what: Checked, kernel: fn(&KernelCounts) -> u64, seen: fn(&SeenCounts) -> u64| {
        let mut check = Check { what, seen_min: 0, seen_max: 0, kernel: 0 };
        for (base, counts, (least, most)) in &pairs {
            check.kernel += kernel(counts).saturating_sub(kernel(&base.kernel));
            check.seen_min += seen(least).saturating_sub(seen(&base.seen.1));
            check.seen_max += seen(most).saturating_sub(seen(&base.seen.0));
        }
        check
    };
    let mut checks = Vec::new();
    match meaning {
        Some(TwCounts::Beginnings) => checks.push(check(Checked::Entries, |k| k.timewait, |s| s.began)),
        Some(TwCounts::Expiries) => checks.push(check(Checked::Expiries, |k| k.timewait, |s| s.expired)),
        None => {}
    }
    checks.push(check(Checked::ReusedByConnect, |k| k.reused_by_connect, |s| s.reused_by_connect));
    checks.push(check(Checked::Overflows, |k| k.overflow, |s| s.overflowed));
    if pairs.iter().all(|(_, kernel, _)| kernel.passive_opens.is_some()) {
        checks.push(check(Checked::PassiveOpens, |k| k.passive_opens.unwrap_or_default(), |s| s.accepted));
    }
    if pairs.iter().all(|(_, kernel, _)| kernel.opens.is_some()) {
        checks.push(range(Checked::ActiveOpens, &|k| k.opens.map_or(0, |opens| opens.active), &|s| s.active));
        checks.push(range(Checked::AttemptFails, &|k| k.opens.map_or(0, |opens| opens.failed), &|s| s.failed));
        checks.push(check(Checked::EstabResets, |k| k.opens.map_or(0, |opens| opens.resets), |s| s.resets));
    }
    if pairs.iter().all(|(_, kernel, _)| kernel.aborts.is_some()) {
        for abort in Abort::ALL {
            let kernel =
                |k: &KernelCounts| k.aborts.and_then(|all| all.get(abort as usize).copied()).unwrap_or_default();
            checks.push(range(Checked::Aborts(abort), &kernel, &|s| s.aborted(abort)));
        }
    }
    if pairs.iter().all(|(_, kernel, _)| kernel.rsts.is_some()) {
        // What answers a segment that belongs to no connection is sent for none.
        let sent = check(Checked::ResetsSent, |k| k.rsts.unwrap_or_default(), |s| s.resets_sent);
        checks.push(Check { seen_max: u64::MAX, ..sent });
    }
    checks.extend(gauge(Checked::Sockstat, now, kept, |k| Some((k.sockstat?, k.read_ns))));
    checks.extend(gauge(Checked::SockDiag, now, kept, |k| k.listed));
    let time_ns = now.iter().map(|(kernel, _)| kernel.read_ns.1).max().unwrap_or_default();
    let unfollowed =
        unfollowed::growth(pairs.iter().map(|(base, kernel, _)| (&base.kernel.unfollowed, &kernel.unfollowed)));
    let is_read = |netns: &NetnsId| now.iter().any(|(kernel, _)| kernel.netns == *netns);
    let unread = kept.minis.iter().flatten().filter(|(netns, minis)| **minis > 0 && !is_read(netns)).count();
    let unread = unread.max(reading.unreadable as usize);
    let full = now.iter().filter_map(|(kernel, _)| kernel.full).max_by_key(|queue| queue.waiting);
    Comparison { time_ns, namespaces: now.len(), unread, checks, unfollowed, full, counted: None }
}

/// Mini-sockets followed while a gauge was read, against the gauge. `None` where not every namespace has it.
fn gauge(
    what: Checked,
    now: &[(KernelCounts, (SeenCounts, SeenCounts))],
    kept: &KeptEvents,
    of: fn(&KernelCounts) -> Option<(u64, Span)>,
) -> Option<Check> {
    let read: Vec<(u64, Span)> = now.iter().map(|(kernel, _)| of(kernel)).collect::<Option<_>>()?;
    let from_ns = read.iter().map(|(_, (before_ns, _))| *before_ns).min()?.saturating_sub(SKEW_NS);
    let to_ns = read.iter().map(|(_, (_, after_ns))| *after_ns).max()?.saturating_add(SKEW_NS);
    let minis = kept.minis.as_ref()?;
    let namespaces: HashSet<NetnsId> = now.iter().map(|(kernel, _)| kernel.netns).collect();
    let (mut there, mut added, mut gone) = (0u64, 0u64, 0u64);
    there += namespaces.iter().filter_map(|netns| minis.get(netns)).sum::<u64>();
    let events = kept.events.iter().take_while(|(time_ns, ..)| *time_ns <= to_ns);
    for (time_ns, _, what) in events.filter(|(_, netns, _)| namespaces.contains(netns)) {
        let within = u64::from(*time_ns > from_ns);
        match what {
            What::Began if within == 0 => there += 1,
            What::Ended(_) if within == 0 => there = there.saturating_sub(1),
            What::Began => added += 1,
            What::Ended(_) => gone += 1,
            _ => {}
        }
    }
    Some(Check {
        what,
        seen_min: there.saturating_sub(gone),
        seen_max: there + added,
        kernel: read.iter().map(|(count, _)| count).sum(),
    })
}
