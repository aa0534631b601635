//! The account of what was seen and what was not, by cause. Every loss is a number here; what is not known is `None`.

use tcpwait_wire::wire::{self, Counter};

use crate::lifecycle::ModelCounts;

/// What was seen and what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// State changes of full sockets the kernel side saw; `None` when its counts are missing (a recording cut short).
    pub states_seen: Option<u64>,
    /// Mini-sockets the kernel side saw begin.
    pub minis_entered: Option<u64>,
    /// Events of connections that were filtered out in the kernel.
    pub filtered: Option<u64>,
    /// Records that did not fit into the ring buffer.
    pub lost_ring: Option<LostRecords>,
    /// Records that had not fitted by the time that was last said, which a recording has long before its counts.
    pub lost_by_then: u64,
    /// Records left out, as only some connections are told of; nothing that was wanted, and no loss.
    pub thinned: Option<u64>,
    /// Records that were read and left out for the same reason.
    pub left_out: u64,
    /// Of how many connections one is told of.
    pub one_in: u32,
    /// Records the kernel side has written.
    pub written: Option<u64>,
    /// Records of the kernel side that were read.
    pub read: u64,
    /// Reads of kernel memory that failed on the kernel side.
    pub unreadable: u64,
    /// Events the kernel withheld because all programs of the hook were active on that CPU, by [`wire::Hook`].
    pub withheld: Option<[u64; wire::HOOKS]>,
    /// Records that made no sense.
    pub undecodable: u64,
    /// What was found of a recording that is read; nothing of a trace that goes on.
    pub recording: Recorded,
    /// What the lifecycle made of the rest.
    pub tally: ModelCounts,
    /// What is older than the trace is not known: sock_diag was not read to its end before this.
    pub older_unknown: bool,
    /// This kernel set the timer of a TIME_WAIT to something else than 60 s: to so many nanoseconds, if its tick rate is known.
    pub other_length_ns: Option<Option<u64>>,
    /// What is there now may be more than what is known, or less: events were lost just now, and beginnings and ends may be among them.
    pub now_unsure: bool,
    /// Mini-sockets alive at the end; an estimate where only some connections are told of.
    pub minis_now: u64,
    /// Connections not shown because nothing said whether they were wanted.
    pub undecided: u64,
}

/// What is wrong with a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Times that cannot be, of records that were therefore left out; the header's own is one of them.
    pub impossible_times: u64,
    /// Of those records, the kernel side's: they were read.
    pub impossible_of_kernel: u64,
    /// The header's time cannot be: the first tick's stands for it.
    pub impossible_start: bool,
    /// Where it stops before its proper end.
    pub cut: Option<Cut>,
}

/// Where and why a recording can be read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The place in the file: its end, or where the part begins that is damaged.
    pub at_byte: u64,
    /// Why.
    pub by: CutBy,
}

/// Why a recording can be read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutBy {
    /// The file ends there, and the recording does not.
    EndsEarly,
    /// What is there is not what was written: a checksum or the compression says so.
    Damaged,
    /// A record claims to be of this length, which none has: nothing tells where the next one begins.
    RecordLength(u16),
    /// The file cannot be read there: an errno.
    Unreadable(i32),
}

impl CutBy {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndsEarly => "ends-early",
            Self::Damaged => "damaged",
            Self::RecordLength(_) => "record-length",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl Recorded {
    /// Whether anything is wrong with it.
    pub fn is_lossy(&self) -> bool {
        self.impossible_times > 0 || self.cut.is_some()
    }
}

/// Ring-buffer losses by what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostRecords {
    /// State changes.
    pub states: u64,
    /// Beginnings and restarts of mini-sockets.
    pub beginnings: u64,
    /// Ends of mini-sockets.
    pub ends: u64,
    /// Segments to mini-sockets.
    pub segments: u64,
    /// Owners.
    pub owners: u64,
    /// Beginnings, repetitions and ends of connections in SYN_RECV.
    pub requests: u64,
    /// bind() and listen() that did not get their port.
    pub failures: u64,
}

impl LostRecords {
    /// All of them.
    pub fn total(&self) -> u64 {
        let all = [self.states, self.beginnings, self.ends, self.segments, self.owners, self.requests, self.failures];
        // A recording may claim any number.
        all.into_iter().fold(0, u64::saturating_add)
    }
}

impl Ledger {
    /// Takes over the kernel side's counts.
    pub fn count_kernel(&mut self, counters: &wire::Counters) {
        let value = |counter: Counter| counters.values.get(counter as usize).copied();
        let lost = |counter: Counter| value(counter).unwrap_or_default();
        self.states_seen = value(Counter::StateSeen);
        self.minis_entered = value(Counter::TwEntered);
        self.filtered = value(Counter::Filtered);
        self.lost_ring = Some(LostRecords {
            states: lost(Counter::LostState),
            beginnings: lost(Counter::LostArm),
            ends: lost(Counter::LostEnd),
            segments: lost(Counter::LostSegment),
            owners: lost(Counter::LostOwner),
            requests: lost(Counter::LostRequest),
            failures: lost(Counter::LostPortRefused),
        });
        self.thinned = value(Counter::Thinned).map(|thinned| thinned.saturating_sub(lost(Counter::Released)));
        self.written = value(Counter::Written);
        self.unreadable = lost(Counter::Unreadable);
        self.withheld = (!counters.withheld.contains(&u64::MAX)).then_some(counters.withheld);
    }

    /// Events the kernel withheld, of the hooks whose every event tells of a connection; `None` when it does not tell.
    pub fn recursion(&self) -> Option<u64> {
        self.withheld?;
        let counts = self.withheld_by_hook().filter(|(hook, _)| hook.tells_always()).map(|(_, count)| count);
        Some(counts.fold(0, u64::saturating_add))
    }

    /// Events the kernel withheld, by hook, where there are any.
    pub fn withheld_by_hook(&self) -> impl Iterator<Item = (wire::Hook, u64)> {
        let withheld = self.withheld.unwrap_or_default();
        wire::Hook::ALL.into_iter().filter_map(move |hook| {
            let count = withheld.get(hook as usize).copied().filter(|count| *count > 0)?;
            Some((hook, count))
        })
    }

    /// Records that were written and never read.
    pub fn unread(&self) -> u64 {
        let read = self.read.saturating_add(self.recording.impossible_of_kernel);
        self.written.map_or(0, |written| written.saturating_sub(read))
    }

    /// Records that were left out on purpose.
    pub fn left_out(&self) -> u64 {
        self.thinned.unwrap_or_default().saturating_add(self.left_out)
    }

    /// Events that are known to be missing.
    pub fn missed(&self) -> u64 {
        let ring = self.lost_ring.map_or(0, |lost| lost.total()).max(self.lost_by_then);
        let withheld = self.recursion().unwrap_or_default();
        ring.saturating_add(withheld)
            .saturating_add(self.unread())
            .saturating_add(self.unreadable)
            .saturating_add(self.undecodable)
    }

    /// Whether anything is known to be lost.
    pub fn is_lossy(&self) -> bool {
        self.missed() > 0 || self.recording.is_lossy() || self.tally.unmatched.total() > 0
    }
}

#[cfg(test)]
mod tests {
    use tcpwait_wire::wire::{HOOKS, Hook};

    use super::{Ledger, LostRecords};

    #[test]
    fn what_was_lost_by_some_time_is_not_forgotten() {
        let early = Ledger { lost_by_then: 5, ..Ledger::default() };
        assert!(early.is_lossy() && early.missed() == 5);
        let late = Ledger { lost_ring: Some(LostRecords { states: 7, ..LostRecords::default() }), ..early };
        assert_eq!(late.missed(), 7, "the counts have those, too");
    }

    #[test]
    fn what_may_be_of_no_interest_is_no_loss() {
        let withheld = |hook: Hook| {
            let mut withheld = [0; HOOKS];
            withheld.iter_mut().skip(hook as usize).take(1).for_each(|count| *count = 5);
            Ledger { withheld: Some(withheld), ..Ledger::default() }
        };
        assert!(withheld(Hook::State).is_lossy() && withheld(Hook::Any).is_lossy());
        let calls = withheld(Hook::Connect);
        assert_eq!((calls.is_lossy(), calls.recursion()), (false, Some(0)));
        assert_eq!(calls.withheld_by_hook().collect::<Vec<_>>(), [(Hook::Connect, 5)], "it is said all the same");
    }
}
