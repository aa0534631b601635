//! Holds what was seen against the kernel's own counters, since the start and for the namespaces that could be read both times.
//!
//! A counter is read at a time that lies between two clock readings, beside the tracing. So while a reading is under way, every
//! countable event is kept with its time, and what was seen is known for that very moment: on a busy machine too, the two
//! may differ only where something was missed. Reads no clock and no file.

mod compare;
mod reading;
mod recorded;
mod report;
mod seen;

use hashbrown::{HashMap, HashSet};

use self::{
    compare::{Baseline, Comparison, KeptEvents, SKEW_NS, compare},
    seen::{Certain, SeenCounts, What},
};
pub use self::{
    reading::{KernelCounts, Opens, Reading, Span, TwCounts},
    recorded::reading_begins,
    report::{AuditReport, Check, CheckOutcome, Checked},
};
use crate::{
    event::{Event, Fact, StateChange, Syn},
    ledger::Ledger,
    lifecycle::{KeptIn, Reason, Update},
    tcp::{NetnsId, State},
};

/// Events kept while a reading is under way; beyond it the reading says nothing.
const MAX_KEPT: usize = 2_000_000;

/// Namespaces of which counts are kept whether they are still there or not.
const MAX_NAMESPACES: usize = 4096;

/// The audit.
#[derive(Debug)]
pub struct Audit {
    meaning: Option<TwCounts>,
    seen: HashMap<NetnsId, SeenCounts>,
    kept: Option<KeptEvents>,
    baselines: Option<HashMap<NetnsId, Baseline>>,
    /// Mini-sockets that the kernel side had counted before and after the first reading.
    entered: Option<(u64, u64)>,
    /// Whether only some connections have been told of at any time: what was seen is not all that there was then.
    thinned: bool,
    latest: Option<Comparison>,
    /// What a recording has told so far of a reading.
    told: Reading,
    why_not: Option<String>,
    /// Sockets in SYN_SENT, by their cookie: how their SYN was counted; `None`: not at all.
    connecting: HashMap<u64, Option<Certain>>,
}

impl Audit {
    /// An audit of a kernel whose counters mean this. `why_not`: why there can be none.
    pub fn new(meaning: Option<TwCounts>, why_not: Option<String>) -> Self {
        Self {
            meaning,
            seen: HashMap::new(),
            kept: None,
            baselines: None,
            entered: None,
            thinned: false,
            latest: None,
            told: Reading::default(),
            why_not,
            connecting: HashMap::new(),
        }
    }

    /// A reading begins; `minis` mini-sockets are followed in each namespace, all that there are; `None` as long as the older ones are
    /// not known. Returns the namespaces that have any.
    pub fn begin_reading(&mut self, minis: Option<&HashMap<NetnsId, u64>>) -> Vec<NetnsId> {
        self.kept = Some(KeptEvents { minis: minis.cloned(), events: Vec::new() });
        minis.into_iter().flatten().filter(|(_, minis)| **minis > 0).map(|(netns, _)| *netns).collect()
    }

    /// Takes note of an event.
    pub fn event(&mut self, event: &Event) {
        match &event.fact {
            Fact::Thinned { one_in } => self.thinned |= *one_in > 1,
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
            let mut least = at(counts, before_ns.saturating_sub(SKEW_NS));
            let mut most = at(counts, after_ns.saturating_add(SKEW_NS));
            // A connect() that was under way and then failed before its SYN has been counted and taken back: by then there are fewer.
            (least.active.0, most.active.1) = (least.active.0.min(most.active.0), most.active.1.max(least.active.1));
            (least, most)
        };
        let now: Vec<(KernelCounts, (SeenCounts, SeenCounts))> =
            reading.namespaces.iter().map(|counts| (*counts, range(counts))).collect();
        match &self.baselines {
            None => {
                let begin = now.iter().map(|(kernel, seen)| (kernel.netns, Baseline { kernel: *kernel, seen: *seen }));
                self.baselines = Some(begin.collect());
                self.entered = reading.entered;
            }
            Some(baselines) => {
                let counted = self.counted(baselines, &now, reading);
                self.latest = Some(Comparison { counted, ..compare(self.meaning, baselines, &now, &kept, reading) });
            }
        }
        if self.seen.len() > MAX_NAMESPACES {
            // Those that are gone are compared with nothing any more.
            let read = now.iter().map(|(kernel, _)| kernel.netns);
            let there: HashSet<NetnsId> = kept.minis.iter().flatten().map(|(netns, _)| *netns).chain(read).collect();
            self.seen.retain(|netns, _| there.contains(netns));
        }
        for (_, netns, what) in kept.events {
            self.seen.entry(netns).or_default().count(what);
        }
    }

    /// Mini-sockets that began, as the kernel side counted them in all namespaces together, beside what the kernel did.
    fn counted(
        &self,
        baselines: &HashMap<NetnsId, Baseline>,
        now: &[(KernelCounts, (SeenCounts, SeenCounts))],
        reading: &Reading,
    ) -> Option<Check> {
        let ((base_before, base_after), (before, after)) = self.entered.zip(reading.entered)?;
        if self.meaning != Some(TwCounts::Beginnings) || reading.unreadable > 0 {
            return None;
        }
        let grown = |kernel: &KernelCounts| {
            let base = baselines.get(&kernel.netns).map_or(0, |base| base.kernel.timewait);
            kernel.timewait.saturating_sub(base)
        };
        let kernel: u64 = now.iter().map(|(kernel, _)| grown(kernel)).sum();
        Some(Check {
            what: Checked::Entries,
            // What the kernel had counted of a namespace that is gone nobody knows any more; so it is no difference that more were seen.
            seen_min: before.saturating_sub(base_after).min(kernel),
            seen_max: after.saturating_sub(base_before),
            kernel,
        })
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
        // What is exact is held against what is exact.
        let comparable: Vec<Check> =
            if self.thinned { latest.counted.into_iter().collect() } else { latest.checks.clone() };
        if comparable.is_empty() && self.thinned {
            let why_not = "only some connections are followed".to_owned();
            return AuditReport { why_not: Some(why_not), thinned: true, ..AuditReport::default() };
        }
        let checks = comparable.iter().map(|check| (*check, check.outcome(ledger))).collect();
        AuditReport {
            time_ns: Some(latest.time_ns),
            namespaces: latest.namespaces,
            unread: latest.unread,
            checks,
            unfollowed: latest.unfollowed.clone(),
            full: latest.full,
            thinned: self.thinned,
            why_not: None,
        }
    }
}
