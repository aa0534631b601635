//! Holds what was seen against the kernel's own counters, since the start and for the namespaces that could be read both times.
//!
//! A counter is read at a time that lies between two clock readings, beside the tracing. So while a reading is under way, every
//! countable event is kept with its time, and what was seen is known for that very moment: on a busy machine too, the two
//! may differ only where something was missed. Reads no clock and no file.

mod report;
mod seen;

use hashbrown::{HashMap, HashSet};

pub use self::report::{AuditReport, Check, CheckOutcome, Checked};
use self::seen::{Certain, SeenCounts, What};
use super::unfollowed::{self, FullQueue, Unfollowed};
use crate::{
    event::{Event, Fact, StateChange, Syn},
    ledger::Ledger,
    lifecycle::{Abort, KeptIn, Reason, Update},
    tcp::{NetnsId, State},
};

/// How far the time of a hook and that of the counter beside it may lie apart. Both are in one softirq, microseconds apart.
const SKEW_NS: u64 = 200_000;

/// Events kept while a reading is under way; beyond it the reading says nothing.
const MAX_KEPT: usize = 2_000_000;

/// What the counters `TW` and `TWKilled` of TcpExt count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwCounts {
    /// Mini-sockets that begin, whatever becomes of them (Linux 6.1 and later).
    Beginnings,
    /// Mini-sockets whose timer runs out (up to 5.15).
    Expiries,
}

/// The times before and after something was read, in nanoseconds of `CLOCK_MONOTONIC`.
pub type Span = (u64, u64);

/// The kernel's counters of one network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// The namespace.
    pub netns: NetnsId,
    /// When the counters were read.
    pub read_ns: Span,
    /// `TW` and `TWKilled` of TcpExt: one or the other counts each mini-socket.
    pub timewait: u64,
    /// `TWRecycled` of TcpExt.
    pub reused_by_connect: u64,
    /// `TCPTimeWaitOverflow` of TcpExt.
    pub overflow: u64,
    /// `PassiveOpens` of Tcp; `None` where it could not be read.
    pub passive_opens: Option<u64>,
    /// `ActiveOpens`, `AttemptFails` and `EstabResets` of Tcp; `None` where one could not be read.
    pub opens: Option<Opens>,
    /// By [`Abort`]; `None` where one could not be read.
    pub aborts: Option<[u64; Abort::ALL.len()]>,
    /// `OutRsts` of Tcp; `None` where it could not be read.
    pub rsts: Option<u64>,
    /// What is counted of connections that cannot be followed.
    pub unfollowed: Unfollowed,
    /// The fullest accept queue, if one was full.
    pub full: Option<FullQueue>,
    /// `tw` of sockstat: mini-sockets that are there.
    pub sockstat: Option<u64>,
    /// Mini-sockets that sock_diag listed, and when.
    pub listed: Option<(u64, Span)>,
}

/// Counters of Tcp on connections that are made, fail and are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opens {
    /// `ActiveOpens`: `tcp_connect` sent a SYN.
    pub active: u64,
    /// `AttemptFails`: `tcp_done` in SYN_SENT or SYN_RECV, and an RST or a SYN to a request socket (`tcp_check_req`).
    pub failed: u64,
    /// `EstabResets`: `tcp_set_state` from ESTABLISHED or CLOSE_WAIT to CLOSE.
    pub resets: u64,
}

/// A reading of all namespaces that are traced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Each namespace that could be read.
    pub namespaces: Vec<KernelCounts>,
    /// How many could not be.
    pub unreadable: u32,
}

/// Countable events while a reading is under way.
#[derive(Debug, Default)]
struct Kept {
    /// Mini-sockets by namespace; `None` as long as those that are older are not known.
    minis: Option<HashMap<NetnsId, u64>>,
    events: Vec<(u64, NetnsId, What)>,
}

/// The beginning of a namespace: counters, and what was seen at least and at most by then.
#[derive(Clone, Copy, Debug, Default)]
struct Baseline {
    kernel: KernelCounts,
    seen: (SeenCounts, SeenCounts),
}

/// The audit.
#[derive(Debug)]
pub struct Audit {
    meaning: Option<TwCounts>,
    seen: HashMap<NetnsId, SeenCounts>,
    kept: Option<Kept>,
    baselines: Option<HashMap<NetnsId, Baseline>>,
    latest: Option<Comparison>,
    why_not: Option<String>,
    /// Sockets in SYN_SENT, by their cookie: how their SYN was counted; `None`: not at all.
    connecting: HashMap<u64, Option<Certain>>,
}

/// A comparison that was made.
#[derive(Clone, Debug, Default)]
struct Comparison {
    time_ns: u64,
    namespaces: usize,
    unread: usize,
    checks: Vec<Check>,
    unfollowed: Vec<(&'static str, u64)>,
    full: Option<FullQueue>,
}

impl Audit {
    /// An audit of a kernel whose counters mean this. `why_not`: why there can be none.
    pub fn new(meaning: Option<TwCounts>, why_not: Option<String>) -> Self {
        Self {
            meaning,
            seen: HashMap::new(),
            kept: None,
            baselines: None,
            latest: None,
            why_not,
            connecting: HashMap::new(),
        }
    }

    /// A reading begins; `minis` mini-sockets are followed in each namespace, all that there are; `None` as long as the older ones are
    /// not known.
    pub fn begin_reading(&mut self, minis: Option<&HashMap<NetnsId, u64>>) {
        self.kept = Some(Kept { minis: minis.cloned(), events: Vec::new() });
    }

    /// Takes note of an event.
    pub fn event(&mut self, event: &Event) {
        match &event.fact {
            Fact::Armed { mini, rearmed: false } => self.count(event.time_ns, mini.flow.netns, What::Began),
            Fact::State(change) if (change.old, change.new) == (State::Close, State::SynSent) => {
                self.connects(event.time_ns, change);
            }
            Fact::State(change) if change.old == State::SynSent => self.connected(event.time_ns, change),
            Fact::State(change) if change.new == State::Close => self.closed(event.time_ns, change),
            // tcp_create_openreq_child counts every socket that inet_csk_clone_lock makes.
            Fact::State(change) if change.newborn || (change.old, change.new) == (State::Listen, State::SynRecv) => {
                self.count(event.time_ns, change.flow.netns, What::Accepted);
            }
            _ => {}
        }
    }

    /// A connect() is under way: `tcp_connect` counts it once it has handed over the SYN.
    fn connects(&mut self, time_ns: u64, change: &StateChange) {
        let certain = match change.syn {
            Some(Syn::AtOnce) => Some(Certain::Yes),
            Some(Syn::MayWait) | None => Some(Certain::Perhaps),
            Some(Syn::Never) => None,
        };
        if self.connecting.len() >= MAX_KEPT {
            self.connecting.clear();
        }
        self.connecting.insert(change.cookie, certain);
        if let Some(certain) = certain {
            self.count(time_ns, change.flow.netns, What::Connects(certain));
        }
    }

    /// It came to an end. connect() that fails before the SYN, and a deferred one that is closed, leave no error and nothing in flight.
    fn connected(&mut self, time_ns: u64, change: &StateChange) {
        let netns = change.flow.netns;
        let fails = change.new == State::Close;
        let unsent = fails && change.unsent && change.err == 0;
        match self.connecting.remove(&change.cookie) {
            Some(Some(certain)) if unsent => self.count(time_ns, netns, What::Unsent(certain)),
            // One that was destroyed (tcp_abort) may have waited for data still.
            Some(Some(Certain::Perhaps)) if !(fails && change.unsent) => self.count(time_ns, netns, What::Sent),
            Some(_) => {}
            // It is older, and may have sent its SYN meanwhile.
            None if !unsent => self.count(time_ns, netns, What::Connects(Certain::Perhaps)),
            None => {}
        }
        match (fails, change.err, &change.task) {
            // tcp_reset, tcp_write_err, tcp_v4_err and tcp_abort set the error before tcp_done.
            (true, 1.., _) => self.count(time_ns, netns, What::Failed(Certain::Yes)),
            // close() and shutdown() do not call tcp_done; what a worker of the kernel does for Multipath TCP may.
            (true, 0, None) => self.count(time_ns, netns, What::Failed(Certain::Perhaps)),
            _ => {}
        }
    }

    /// A full socket came to CLOSE from another state than SYN_SENT.
    fn closed(&mut self, time_ns: u64, change: &StateChange) {
        let netns = change.flow.netns;
        match change.old {
            State::Established | State::CloseWait => self.count(time_ns, netns, What::Reset),
            State::SynRecv => {
                if change.newborn {
                    self.count(time_ns, netns, What::Accepted);
                }
                // tcp_done counts it; the disconnect of a child that nobody is left to accept (inet_child_forget) does not.
                let certain = if change.err != 0 { Certain::Yes } else { Certain::Perhaps };
                self.count(time_ns, netns, What::Failed(certain));
                // Of a child of TCP Fast Open tcp_check_req counts the RST as well.
                if change.err != 0 && !change.newborn {
                    self.count(time_ns, netns, What::Failed(Certain::Perhaps));
                }
            }
            _ => {}
        }
    }

    /// Takes note of what happened to a connection, wanted or not.
    pub fn update(&mut self, update: &Update) {
        let Update::Transition(step) = update else { return };
        if step.from == Some(State::SynSent) {
            // Its own event may have been lost.
            self.connecting.remove(&step.id);
        }
        if step.kept_in == KeptIn::Request {
            // tcp_check_req counts an RST or a SYN in its window.
            match step.reason {
                Some(Reason::Reset) => self.count(step.time_ns, step.flow.netns, What::Failed(Certain::Yes)),
                Some(Reason::Unknown) => self.count(step.time_ns, step.flow.netns, What::Failed(Certain::Perhaps)),
                _ => {}
            }
        }
        if step.rst_sent {
            self.count(step.time_ns, step.flow.netns, What::ResetSent);
        }
        match (step.kept_in, step.abort, step.reason) {
            (KeptIn::Full, Some(abort), _) => self.count(step.time_ns, step.flow.netns, What::Aborted(abort)),
            (KeptIn::Full, _, Some(Reason::Unknown)) => {
                self.count(step.time_ns, step.flow.netns, What::Unexplained);
            }
            _ => {}
        }
        match (step.kept_in, step.reason) {
            (KeptIn::Full, Some(Reason::Overflow)) => self.count(step.time_ns, step.flow.netns, What::Overflowed),
            (KeptIn::Mini, Some(reason)) => self.count(step.time_ns, step.flow.netns, What::Ended(reason)),
            _ => {}
        }
    }

    fn count(&mut self, time_ns: u64, netns: NetnsId, what: What) {
        match &mut self.kept {
            Some(kept) if kept.events.len() < MAX_KEPT => kept.events.push((time_ns, netns, what)),
            kept => {
                *kept = None;
                self.seen.entry(netns).or_default().count(what);
            }
        }
    }

    /// A reading is done. The first is what later ones are measured from.
    pub fn end_reading(&mut self, reading: &Reading) {
        let Some(mut kept) = self.kept.take() else { return };
        kept.events.sort_by_key(|(time_ns, ..)| *time_ns);
        let at = |counts: &KernelCounts, until_ns: u64| {
            let mut seen = self.seen.get(&counts.netns).copied().unwrap_or_default();
            let events = kept.events.iter().take_while(|(time_ns, ..)| *time_ns <= until_ns);
            events.filter(|(_, netns, _)| *netns == counts.netns).for_each(|(.., what)| seen.count(*what));
            seen
        };
        let range = |counts: &KernelCounts| {
            let (before_ns, after_ns) = counts.read_ns;
            (at(counts, before_ns.saturating_sub(SKEW_NS)), at(counts, after_ns.saturating_add(SKEW_NS)))
        };
        let now: Vec<(KernelCounts, (SeenCounts, SeenCounts))> =
            reading.namespaces.iter().map(|counts| (*counts, range(counts))).collect();
        match &self.baselines {
            None => {
                let begin = now.iter().map(|(kernel, seen)| (kernel.netns, Baseline { kernel: *kernel, seen: *seen }));
                self.baselines = Some(begin.collect());
            }
            Some(baselines) => self.latest = Some(self.compare(baselines, &now, &kept, reading)),
        }
        for (_, netns, what) in kept.events {
            self.seen.entry(netns).or_default().count(what);
        }
    }

    fn compare(
        &self,
        baselines: &HashMap<NetnsId, Baseline>,
        now: &[(KernelCounts, (SeenCounts, SeenCounts))],
        kept: &Kept,
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
        match self.meaning {
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
        Comparison { time_ns, namespaces: now.len(), unread, checks, unfollowed, full }
    }

    /// What came of it, given what is known to be lost.
    pub fn report(&self, ledger: &Ledger) -> AuditReport {
        let Some(latest) = &self.latest else {
            let why_not =
                self.why_not.clone().unwrap_or_else(|| "the kernel's counters have not been read twice yet".to_owned());
            return AuditReport { why_not: Some(why_not), ..AuditReport::default() };
        };
        if latest.namespaces == 0 {
            let why_not = "none of the network namespaces could be read".to_owned();
            return AuditReport { why_not: Some(why_not), unread: latest.unread, ..AuditReport::default() };
        }
        let checks = latest.checks.iter().map(|check| (*check, check.outcome(ledger))).collect();
        AuditReport {
            time_ns: Some(latest.time_ns),
            namespaces: latest.namespaces,
            unread: latest.unread,
            checks,
            unfollowed: latest.unfollowed.clone(),
            full: latest.full,
            why_not: None,
        }
    }
}

/// Mini-sockets followed while a gauge was read, against the gauge. `None` where not every namespace has it.
fn gauge(
    what: Checked,
    now: &[(KernelCounts, (SeenCounts, SeenCounts))],
    kept: &Kept,
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
