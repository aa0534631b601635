//! Which times a recording can have. A file may lie, and one absurd time would be the end of every rate and duration: so a record whose time
//! cannot be is left out, and counted.
//!
//! What is known of a genuine recording:
//! * All times are of `CLOCK_MONOTONIC`, which begins at boot and stands still while a machine is suspended. The kernel reckons with 30 years of it
//!   at most (`TIME_UPTIME_SEC_MAX`, `include/linux/time64.h`).
//! * Ticks are written by one thread, each with the time at which it is written: they never go back. So is the end, [`Kind::Counters`].
//! * Whatever else a record tells of happened before it was written, and so before the next tick.
//! * The kernel side's records are in the order of the ring buffer, which is that of their times but for what a CPU was kept from meanwhile.
//!
//! What is not: that ticks come each 50 ms. A reader may be stopped for hours while the kernel side goes on to write; then ticks and records leap, and
//! after the first tick come records that are as old as the ring buffer is long. Seeds are as old as their listing took. So a leap is no lie by itself:
//! it waits for the next ticks. Of a recording that was cut, where none may follow, it is believed if the next of its kind agrees with it, and one alone is
//! not.

use std::collections::VecDeque;

use tcpwait_wire::wire::{self, Kind};
use zerocopy::FromBytes;

use super::Header;
use crate::{
    event::decode,
    ledger::{Cut, Recorded},
};

const NS: u64 = 1_000_000_000;

/// `TIME_UPTIME_SEC_MAX`.
const UPTIME_NS: u64 = 30 * 365 * 24 * 3600 * NS;

/// So far off a time is not asked about: longer than any program of the kernel side is held up, and too short to do harm.
const LEEWAY_NS: u64 = 60 * NS;

/// So many bytes of records wait for a tick. After a pause there are two batches of the reader at most, and a listing.
const HELD_BYTES: usize = 64 << 20;

/// Something that gives records, one after the other.
pub trait Records {
    /// The next record, or `None` at the end.
    fn next_record(&mut self) -> Option<&[u8]>;

    /// Where it ended before its proper end, if it did.
    fn cut(&self) -> Option<Cut> {
        None
    }
}

/// Records in memory.
impl Records for std::slice::Iter<'_, Vec<u8>> {
    fn next_record(&mut self) -> Option<&[u8]> {
        self.next().map(Vec::as_slice)
    }
}

/// How a record's time is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// By the ticks before and behind it, as all of them: a tick, or the end.
    Tick,
    /// In the order of the ring buffer, too.
    Kernel,
    /// By the ticks alone.
    Other,
    /// It makes no sense, and has no time.
    Not,
}

/// A record, and what is judged of it.
#[derive(Debug)]
struct TimedRecord {
    bytes: Vec<u8>,
    time_ns: u64,
    kept: Kept,
}

impl TimedRecord {
    fn new(bytes: &[u8]) -> Self {
        let head = wire::Head::read_from_prefix(bytes).ok().map(|(head, _)| head);
        let kept = match head.and_then(|head| Kind::from_u8(head.kind)) {
            None => Kept::Not,
            Some(Kind::Tick | Kind::Counters) if decode(bytes).is_ok() => Kept::Tick,
            Some(Kind::Tick | Kind::Counters) => Kept::Not,
            Some(kind) if (kind as u8) < Kind::Tick as u8 => Kept::Kernel,
            Some(_) => Kept::Other,
        };
        Self { bytes: bytes.to_vec(), time_ns: head.map_or(0, |head| head.time_ns), kept }
    }

    /// What it takes while it waits.
    fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    /// The wall clock's time, which a tick tells, too.
    fn realtime_ns(&self) -> Option<u64> {
        wire::Tick::read_from_bytes(&self.bytes)
            .ok()
            .filter(|tick| tick.head.kind == Kind::Tick as u8)
            .map(|tick| tick.realtime_ns)
    }
}

/// What is said of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Possible,
    Impossible,
    /// The next ticks will tell.
    Leaps,
}

/// The records of a recording whose times can be.
pub struct Believed<R> {
    source: R,
    header: Header,
    /// Read ahead, and not judged yet.
    unread: VecDeque<TimedRecord>,
    /// From the first leap on, until ticks have told.
    held: VecDeque<TimedRecord>,
    held_bytes: usize,
    /// Where in it the tick is that leaps, and waits for another to agree.
    leaping_tick: Option<usize>,
    /// Judged, and not given yet.
    ready: VecDeque<TimedRecord>,
    /// What was given last.
    given: Vec<u8>,
    /// The latest tick and the latest record of the kernel side that were believed.
    tick_ns: u64,
    kernel_ns: u64,
    found: Recorded,
    over: bool,
}

impl<R: Records> Believed<R> {
    /// The records of this source, under this header, which may lie as well.
    pub fn new(header: Header, source: R) -> Self {
        let mut believed = Self {
            source,
            header,
            unread: VecDeque::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            leaping_tick: None,
            ready: VecDeque::new(),
            given: Vec::new(),
            tick_ns: 0,
            kernel_ns: 0,
            found: Recorded::default(),
            over: false,
        };
        believed.judge_header();
        believed.tick_ns = believed.header.started_ns;
        believed
    }

    /// What the recording says of itself, with a start that can be.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was found wrong so far.
    pub fn found(&self) -> Recorded {
        Recorded { cut: self.source.cut(), ..self.found }
    }

    /// The next record whose time can be, or `None` at the end.
    pub fn next_record(&mut self) -> Option<&[u8]> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                self.given = record.bytes;
                return Some(&self.given);
            }
            if self.over {
                return None;
            }
            match self.unread.pop_front().or_else(|| self.source.next_record().map(TimedRecord::new)) {
                Some(record) => self.take(record),
                None => {
                    self.over = true;
                    self.settle_alone();
                }
            }
        }
    }

    /// The header's time against the first two ticks, where these agree with each other.
    fn judge_header(&mut self) {
        let (mut ticks, mut bytes) = (Vec::new(), 0);
        while ticks.len() < 2
            && bytes < HELD_BYTES
            && let Some(record) = self.source.next_record().map(TimedRecord::new)
        {
            bytes += record.size();
            if record.kept == Kept::Tick && record.time_ns <= UPTIME_NS {
                ticks.push((record.time_ns, record.realtime_ns()));
            }
            self.unread.push_back(record);
        }
        let Header { started_ns, started_realtime_ns, .. } = self.header;
        let agrees = |(time_ns, realtime_ns): &(u64, Option<u64>)| {
            // A long time to the first tick may be a pause. Then it is as long on the other clock, which a lie of one number is not.
            let is_pause = || {
                let offset = |realtime: u64, time: u64| i128::from(realtime) - i128::from(time);
                realtime_ns.is_none_or(|realtime_ns| {
                    offset(realtime_ns, *time_ns).abs_diff(offset(started_realtime_ns, started_ns)) <= LEEWAY_NS.into()
                })
            };
            started_ns <= time_ns.saturating_add(LEEWAY_NS)
                && (*time_ns <= started_ns.saturating_add(LEEWAY_NS) || is_pause())
        };
        let (first, second) = (ticks.first(), ticks.get(1));
        let lies = match (first, second) {
            (Some(first), Some(second)) => {
                !agrees(first) && !agrees(second) && first.0 <= second.0 && second.0 - first.0 <= LEEWAY_NS
            }
            _ => false,
        };
        if lies || started_ns > UPTIME_NS {
            self.found.impossible_start = true;
            self.found.impossible_times += 1;
            let (time_ns, realtime_ns) = first.copied().unwrap_or_else(|| {
                // Without a tick the first record is as near as any.
                let first = self.unread.iter().find(|record| record.kept != Kept::Not && record.time_ns <= UPTIME_NS);
                (first.map_or(0, |record| record.time_ns), None)
            });
            self.header.started_ns = time_ns;
            self.header.started_realtime_ns = realtime_ns.unwrap_or(started_realtime_ns);
        }
    }

    fn take(&mut self, mut record: TimedRecord) {
        // What makes no sense is counted as that.
        if self.judge(&record) != Verdict::Possible && decode(&record.bytes).is_err() {
            record.kept = Kept::Not;
        }
        if self.held.is_empty() {
            match self.judge(&record) {
                Verdict::Possible => self.believe(record),
                Verdict::Impossible => self.leave_out(&record),
                Verdict::Leaps => {
                    self.leaping_tick = (record.kept == Kept::Tick).then_some(0);
                    self.hold(record);
                }
            }
            return;
        }
        // What can never be waits for nothing.
        if self.judge(&record) == Verdict::Impossible {
            return self.leave_out(&record);
        }
        let is_tick = record.kept == Kept::Tick;
        self.hold(record);
        if is_tick {
            self.settle();
        }
        if self.held_bytes > HELD_BYTES {
            self.settle_alone();
        }
    }

    fn hold(&mut self, record: TimedRecord) {
        self.held_bytes += record.size();
        self.held.push_back(record);
    }

    fn is_before_start(&self, record: &TimedRecord) -> bool {
        record.time_ns.saturating_add(LEEWAY_NS) < self.header.started_ns
    }

    fn judge(&self, record: &TimedRecord) -> Verdict {
        let behind = |ns: u64| record.time_ns.saturating_add(LEEWAY_NS) < ns;
        match record.kept {
            Kept::Not => Verdict::Possible,
            _ if record.time_ns > UPTIME_NS || self.is_before_start(record) => Verdict::Impossible,
            Kept::Tick if behind(self.tick_ns) => Verdict::Impossible,
            // Twice: one that is so much too late may have been believed.
            Kept::Kernel if behind(self.kernel_ns.saturating_sub(LEEWAY_NS)) => Verdict::Impossible,
            _ if record.time_ns > self.tick_ns.saturating_add(LEEWAY_NS) => Verdict::Leaps,
            _ => Verdict::Possible,
        }
    }

    fn believe(&mut self, record: TimedRecord) {
        match record.kept {
            Kept::Tick => self.tick_ns = self.tick_ns.max(record.time_ns),
            Kept::Kernel => self.kernel_ns = self.kernel_ns.max(record.time_ns),
            Kept::Other | Kept::Not => {}
        }
        self.ready.push_back(record);
    }

    /// A tick has come behind a leap. One that does not leap says that what leapt lies. One that leaps itself is believed once another comes that
    /// is not before it, and then says the same of what is before it and later.
    fn settle(&mut self) {
        let Some(last_ns) = self.held.back().map(|tick| tick.time_ns) else { return };
        let leaps = last_ns > self.tick_ns.saturating_add(LEEWAY_NS);
        let earlier = self.leaping_tick.take().and_then(|at| self.held.get(at).map(|tick| (at, tick.time_ns)));
        let confirmed = earlier.filter(|(_, tick_ns)| last_ns >= *tick_ns);
        if let Some((at, _)) = earlier.filter(|_| confirmed.is_none())
            && let Some(tick) = self.held.remove(at)
        {
            // Ticks never go back: the one before lies.
            self.held_bytes = self.held_bytes.saturating_sub(tick.size());
            self.leave_out(&tick);
        }
        let last = self.held.len() - 1;
        if confirmed.is_none() && leaps {
            self.leaping_tick = Some(last);
            return;
        }
        let (at, bound_ns) = confirmed.unwrap_or((last, last_ns));
        let behind = self.held.split_off(at + 1);
        let before = self.empty_held();
        self.release(before, |record| record.time_ns <= bound_ns.saturating_add(LEEWAY_NS));
        behind.into_iter().for_each(|record| self.take(record));
    }

    fn empty_held(&mut self) -> VecDeque<TimedRecord> {
        (self.held_bytes, self.leaping_tick) = (0, None);
        std::mem::take(&mut self.held)
    }

    /// No tick will tell. What is written in order of time is believed where the next of its kind does not come before it, and the last of them where the one
    /// before is near; of the rest, what has another one near.
    fn settle_alone(&mut self) {
        let held = self.empty_held();
        let latest_ns = self.tick_ns.saturating_add(LEEWAY_NS);
        // The time of the next of its kind, for each.
        let mut next = [None; 4];
        let mut nexts: Vec<Option<u64>> = held
            .iter()
            .rev()
            .map(|record| next.get_mut(record.kept as usize).and_then(|next| next.replace(record.time_ns)))
            .collect();
        let mut before = [None; 4];
        self.release(held, |record| {
            let next_ns = nexts.pop().flatten();
            let before_ns = before.get_mut(record.kept as usize).and_then(|before| before.replace(record.time_ns));
            let is_near = |ns: u64| ns > latest_ns && ns.abs_diff(record.time_ns) <= LEEWAY_NS;
            let agrees = match (record.kept, next_ns) {
                (Kept::Tick | Kept::Kernel, Some(next_ns)) => next_ns.saturating_add(LEEWAY_NS) >= record.time_ns,
                (_, next_ns) => next_ns.is_some_and(is_near) || before_ns.is_some_and(is_near),
            };
            record.time_ns <= latest_ns || agrees
        });
    }

    /// Believes what may be; the order of the ring buffer and of ticks is asked of all.
    fn release(&mut self, held: VecDeque<TimedRecord>, mut may_be: impl FnMut(&TimedRecord) -> bool) {
        for record in held {
            if record.kept == Kept::Not || (may_be(&record) && self.judge(&record) != Verdict::Impossible) {
                self.believe(record);
            } else {
                self.leave_out(&record);
            }
        }
    }

    fn leave_out(&mut self, record: &TimedRecord) {
        self.found.impossible_times += 1;
        self.found.impossible_of_kernel += u64::from(record.kept == Kept::Kernel);
    }
}
