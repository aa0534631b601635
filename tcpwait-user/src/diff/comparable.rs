//! Whether two recordings can be compared at all: what is not the same about them themselves.

use std::{collections::BTreeSet, path::Path};

use super::{blocks::Window, kernel_count::KernelCount, quantity::Quantity};
use crate::{
    ledger::Ledger,
    lifecycle::{SegmentSource, Why},
};

/// What a recording says of itself.
#[derive(Clone, Debug, Default)]
pub struct SideFacts {
    /// The file.
    pub file: String,
    /// Where it is, to know the same again; `None` of standard input.
    pub place: Option<std::path::PathBuf>,
    /// The machine's name; `None` in older recordings.
    pub host: Option<String>,
    /// The network namespaces that were recorded, as they were named; empty for all, `None` in older recordings.
    pub recorded: Option<String>,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub machine: String,
    /// The kernel's ticks a second.
    pub hz: Option<u64>,
    /// The version of the tool that made it.
    pub tcpwait: String,
    /// What told of late segments.
    pub segments: SegmentSource,
    /// Whether calls that fail before anything is sent are told of.
    pub tells_refused_calls: bool,
    /// Whether it is told who accepts a connection, before it is read from or closed.
    pub tells_who_accepts: bool,
    /// Whether settings are in it.
    pub has_settings: bool,
    /// The kernel's own counts that it has of what is compared.
    pub kernel_counts: BTreeSet<KernelCount>,
    /// When what is compared of it begins, by the wall clock, in nanoseconds since 1970.
    pub realtime_ns: i128,
    /// How long what is compared of it is.
    pub window: Window,
    /// What was lost in all of it.
    pub ledger: Ledger,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one before.
    Before,
    /// The one after.
    After,
    /// Both.
    Both,
}

/// What a recording may not tell of, where the kernel did not give the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTold {
    /// Late segments that restart TIME_WAIT's clock, one by one.
    LateSegments,
    /// Calls that fail before anything is sent.
    RefusedCalls,
    /// Who accepts a connection, before it is read from or closed.
    WhoAccepts,
    /// The kernel's own counters.
    KernelCounts,
}

/// How far two recordings are not alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlike {
    /// They are the same.
    SameRecording,
    /// Of these, what is said of one is not what is said of the other.
    Differ(&'static str, String, String),
    /// Only the other has what tells of it.
    NotTold(NotTold, Which),
    /// So many events were lost.
    Lost(Which, u64),
    /// It ends before it should.
    Cut(Which),
    /// It is too short for ends of TIME_WAIT.
    ShorterThanTimeWait(Which),
    /// It has less than a half of the other's length, which makes intervals wide.
    MuchShorter(Which),
}

impl SideFacts {
    /// Events that are known to be missing.
    pub fn lost(&self) -> u64 {
        self.ledger
            .missed()
            .saturating_add(self.ledger.tally.unmatched.total())
            .saturating_add(self.ledger.recording.impossible_times)
    }

    /// Whether it tells of this at all, so that none of it is known to be none.
    pub fn tells_of(&self, quantity: Quantity) -> bool {
        match quantity {
            // What an answer tells of, or its lack, is seen without the hooks of calls, too.
            Quantity::Failed(
                _,
                Why::Refused
                | Why::TimedOut
                | Why::Unreachable
                | Why::GivenUp
                | Why::SoftError
                | Why::NeverSent
                | Why::Destroyed,
            ) => true,
            Quantity::Failed(..) => self.tells_refused_calls,
            Quantity::Kernel(count) => self.kernel_counts.contains(&count),
            _ => true,
        }
    }

    fn is_cut(&self) -> bool {
        self.ledger.recording.cut.is_some()
    }
}

/// Two files of the same name are told apart by as many of their folders as that takes.
pub fn tell_apart(before: &mut SideFacts, after: &mut SideFacts) {
    let (Some(one), Some(other)) = (&before.place, &after.place) else { return };
    if before.file != after.file || one == other {
        return;
    }
    let end = |place: &Path, parts: usize| -> String {
        let all: Vec<_> = place.components().collect();
        let last: std::path::PathBuf = all.iter().skip(all.len().saturating_sub(parts)).collect();
        last.to_string_lossy().into_owned()
    };
    let most = one.components().count().max(other.components().count());
    let found = (1..=most).map(|parts| (end(one, parts), end(other, parts))).find(|(one, other)| one != other);
    if let Some(names) = found {
        (before.file, after.file) = names;
    }
}

/// How far they are not alike, in the order in which it is told. `delayed`: the time that is left for ends of TIME_WAIT on each side.
pub fn unlike(before: &SideFacts, after: &SideFacts, delayed: [Window; 2]) -> Vec<Unlike> {
    let mut found = Vec::new();
    if before.place.is_some() && before.place == after.place && before.window == after.window {
        found.push(Unlike::SameRecording);
    }
    let hz = |hz: Option<u64>| hz.map_or_else(|| "unknown".to_owned(), |hz| hz.to_string());
    let said = [
        ("kernel", before.kernel.clone(), after.kernel.clone()),
        ("machine", before.machine.clone(), after.machine.clone()),
        ("HZ", hz(before.hz), hz(after.hz)),
        ("tcpwait", before.tcpwait.clone(), after.tcpwait.clone()),
    ];
    let all = |recorded: &String| if recorded.is_empty() { "all".to_owned() } else { recorded.clone() };
    let both = [
        ("host", before.host.clone().zip(after.host.clone())),
        (
            "what was recorded (network namespaces)",
            before.recorded.as_ref().map(all).zip(after.recorded.as_ref().map(all)),
        ),
    ];
    let both = both.into_iter().filter_map(|(what, of)| of.map(|(before, after)| (what, before, after)));
    let differ = said.into_iter().chain(both).filter(|(_, before, after)| before != after);
    found.extend(differ.map(|(what, before, after)| Unlike::Differ(what, before, after)));
    let only = |what, before: bool, after: bool| match (before, after) {
        (true, false) => Some(Unlike::NotTold(what, Which::After)),
        (false, true) => Some(Unlike::NotTold(what, Which::Before)),
        _ => None,
    };
    let timed = |origin: &SideFacts| origin.segments != SegmentSource::Timer;
    found.extend(only(NotTold::LateSegments, timed(before), timed(after)));
    found.extend(only(NotTold::RefusedCalls, before.tells_refused_calls, after.tells_refused_calls));
    found.extend(only(NotTold::WhoAccepts, before.tells_who_accepts, after.tells_who_accepts));
    let counters = |origin: &SideFacts| !origin.kernel_counts.is_empty();
    found.extend(only(NotTold::KernelCounts, counters(before), counters(after)));
    for (side, which) in [(before, Which::Before), (after, Which::After)] {
        if side.lost() > 0 {
            found.push(Unlike::Lost(which, side.lost()));
        }
    }
    found.extend(which(before.is_cut(), after.is_cut()).map(Unlike::Cut));
    let [old, new] = delayed.map(|window| window.length_ns() == 0);
    found.extend(which(old, new).map(Unlike::ShorterThanTimeWait));
    let lengths = [before, after].map(|origin| origin.window.length_ns());
    let is_shorter = |mine: u64, other: u64| mine.saturating_mul(2) < other;
    found
        .extend(which(is_shorter(lengths[0], lengths[1]), is_shorter(lengths[1], lengths[0])).map(Unlike::MuchShorter));
    found
}

fn which(before: bool, after: bool) -> Option<Which> {
    match (before, after) {
        (true, true) => Some(Which::Both),
        (true, false) => Some(Which::Before),
        (false, true) => Some(Which::After),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_are_told_apart() {
        let told = |one: &str, other: &str| {
            let side = |place: &str| SideFacts {
                file: place.rsplit('/').next().unwrap_or_default().to_owned(),
                place: Some(place.into()),
                ..SideFacts::default()
            };
            let (mut before, mut after) = (side(one), side(other));
            tell_apart(&mut before, &mut after);
            (before.file, after.file)
        };
        let both = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(told("/x/good/rec", "/x/bad/rec"), both("good/rec", "bad/rec"));
        assert_eq!(told("/a/x/rec", "/b/x/rec"), both("a/x/rec", "b/x/rec"));
        assert_eq!(told("/rec", "/b/rec"), both("/rec", "b/rec"));
        assert_eq!(told("/x/one", "/x/two"), both("one", "two"));
        assert_eq!(told("/x/rec", "/x/rec"), both("rec", "rec"));
    }
}
