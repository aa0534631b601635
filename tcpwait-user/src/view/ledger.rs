//! The last lines on stderr: what was seen, and what was lost, by cause.

use std::io::{self, Write};

use super::{
    paint::Mark,
    units::{counted, duration},
};
use crate::ledger::{Cut, CutBy, Ledger, Recorded};

/// Writes the account.
///
/// # Errors
/// The output cannot be written.
pub fn write(ledger: &Ledger, out: &mut dyn Write) -> io::Result<()> {
    let tally = &ledger.tally;
    writeln!(
        out,
        "seen: {} transitions from {} socket state changes; {} timewait sockets entered (TIME_WAIT or an orphan's FIN_WAIT2), {} left, {} there now",
        tally.transitions,
        known(ledger.states_seen),
        known(ledger.minis_entered),
        tally.minis_ended,
        ledger.minis_now,
    )?;
    losses(ledger, out)
}

/// Writes what is missing: what is older, filtered, undecided or lost.
///
/// # Errors
/// The output cannot be written.
pub fn losses(ledger: &Ledger, out: &mut dyn Write) -> io::Result<()> {
    let tally = &ledger.tally;
    if ledger.older_unknown {
        writeln!(out, "sockets from before tcpwait started: not listed, as the run ended first")?;
    } else if tally.seeded > 0 {
        writeln!(
            out,
            "sockets from before tcpwait started: {}, of which {} in TIME_WAIT or an orphan's FIN_WAIT2",
            tally.seeded, tally.seeded_minis
        )?;
    }
    if let Some(filtered @ 1..) = ledger.filtered {
        writeln!(out, "filtered in the kernel: {}", counted(filtered, "event", "events"))?;
    }
    if let Some(length_ns) = ledger.other_length_ns {
        let length = length_ns.map_or_else(|| "another time".to_owned(), |ns| duration(Some(ns)));
        writeln!(
            out,
            "TIME_WAIT takes {length} on this kernel, not 60s (a vendor's net.ipv4.tcp_tw_timeout?): times in TIME_WAIT that are computed from the timer alone are shown as unknown"
        )?;
    }
    if ledger.left_out() > 0 {
        writeln!(
            out,
            "left out on purpose: {} of connections that were not among those followed (now 1 in {})",
            counted(ledger.left_out(), "record", "records"),
            ledger.one_in.max(1)
        )?;
    }
    let in_part = ledger.tally.told_in_part.total();
    if in_part > 0 {
        writeln!(
            out,
            "followed in part: at most {}, since it changed of how many connections one is followed",
            counted(in_part, "connection", "connections")
        )?;
    }
    if ledger.undecided > 0 {
        writeln!(
            out,
            "not shown: {} that ended before the port or the owner was known",
            counted(ledger.undecided, "connection", "connections")
        )?;
    }
    if ledger.now_unsure {
        writeln!(
            out,
            "NOW may be more or less than shown: events were lost, or connections left out, a moment ago; the next listing of all sockets corrects it"
        )?;
    }
    for (hook, count) in ledger.withheld_by_hook().filter(|(hook, _)| !hook.tells_always()) {
        let hook = hook.name();
        writeln!(
            out,
            "not seen: at most {count} events of {hook} (recursion), most of which are not about a connection"
        )?;
    }
    if let Some(lost) = lost(ledger) {
        writeln!(out, "{lost}")
    } else if ledger.lost_ring.is_none() {
        writeln!(out, "lost: unknown, the counts of the BPF programs are missing")
    } else if ledger.recursion().is_none() {
        writeln!(out, "lost: nothing, except what this kernel does not count (recursion misses)")
    } else {
        writeln!(out, "lost: nothing")
    }
}

/// What was lost, if anything was.
pub fn lost(ledger: &Ledger) -> Option<String> {
    let more = if ledger.lost_ring.is_some() {
        ""
    } else {
        "; unknown whether more was lost: the counts of the BPF programs are missing"
    };
    ledger.is_lossy().then(|| format!("lost: {}{more}", causes(ledger)))
}

/// Whether anything was lost, in few words.
pub fn verdict(ledger: &Ledger) -> String {
    match (ledger.is_lossy(), ledger.missed()) {
        (true, 0) => "LOST: not all could be read".to_owned(),
        (true, missed) => format!("LOST: {}", counted(missed, "event", "events")),
        (false, _) if ledger.lost_ring.is_none() => "lost: unknown".to_owned(),
        (false, _) => "lost: nothing".to_owned(),
    }
}

/// How bad a line of [`losses`] is.
pub fn mark(ledger: &Ledger, line: &str) -> Mark {
    if ledger.is_lossy() && line.starts_with("lost: ") { Mark::Failure } else { Mark::Plain }
}

/// What is wrong with a recording, a sentence each; `done`: what became of what could be read.
pub fn damage(found: &Recorded, done: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    if found.impossible_start {
        sentences.push("its header has an impossible start time; the first tick counts as the start".to_owned());
    }
    let others = found.impossible_times - u64::from(found.impossible_start);
    if others > 0 {
        sentences.push(format!(
            "left out: {others} records with impossible times, e.g. before the start or after the next tick"
        ));
    }
    sentences.extend(found.cut.map(|Cut { at_byte, by }| {
        let before = format!("everything before that is {done}");
        match by {
            CutBy::EndsEarly => format!("it was cut short at byte {at_byte}; {before}"),
            CutBy::Damaged => format!("it is damaged at byte {at_byte}; {before}"),
            CutBy::RecordLength(len) => {
                format!(
                    "it is damaged at or shortly before byte {at_byte}: a record has a length of {len} bytes; {before}"
                )
            }
            CutBy::Unreadable(errno) => {
                format!("it cannot be read from byte {at_byte} on ({}); {before}", io::Error::from_raw_os_error(errno))
            }
        }
    }));
    sentences
}

fn causes(ledger: &Ledger) -> String {
    let mut causes = Vec::new();
    if let Some(lost) = ledger.lost_ring {
        add(&mut causes, lost.states, "state changes (ring buffer full)");
        add(&mut causes, lost.beginnings, "beginnings or restarts of timewait sockets (ring buffer full)");
        add(&mut causes, lost.ends, "ends of timewait sockets (ring buffer full)");
        add(&mut causes, lost.segments, "segments to timewait sockets (ring buffer full)");
        add(&mut causes, lost.owners, "owners (ring buffer full)");
        add(&mut causes, lost.requests, "events of connections in SYN_RECV (ring buffer full)");
        add(&mut causes, lost.failures, "ports refused (ring buffer full)");
    }
    for (hook, count) in ledger.withheld_by_hook().filter(|(hook, _)| hook.tells_always()) {
        let of = if hook.name().is_empty() { String::new() } else { format!("{}: ", hook.name()) };
        causes.push(format!("{of}{count} events withheld by the kernel (recursion)"));
    }
    add(&mut causes, ledger.unread(), "records written and never read");
    add(&mut causes, ledger.unreadable, "reads of kernel memory that failed");
    add(&mut causes, ledger.undecodable, "malformed records");
    add(&mut causes, ledger.recording.impossible_times, "impossible times, of records left out or of the header");
    if let Some(cut) = ledger.recording.cut {
        causes.push(format!("what the recording had from byte {} on", cut.at_byte));
    }
    let unmatched = ledger.tally.unmatched;
    add(&mut causes, unmatched.ends, "ends of timewait sockets without a beginning (unmatched)");
    add(&mut causes, unmatched.beginnings, "beginnings of timewait sockets without an end before (unmatched)");
    add(&mut causes, unmatched.gaps, "state changes that do not continue the one before (unmatched)");
    add(&mut causes, unmatched.overdue, "connections whose end was not seen, although they have ended (unmatched)");
    add(&mut causes, unmatched.requests, "connections in SYN_RECV whose beginning or end was not seen (unmatched)");
    if ledger.lost_ring.is_some_and(|lost| lost.total() > 0) {
        causes.push("a larger --ring-buffer helps".to_owned());
    }
    causes.join(", ")
}

fn add(causes: &mut Vec<String>, count: u64, what: &str) {
    if count > 0 {
        causes.push(format!("{count} {what}"));
    }
}

fn known(count: Option<u64>) -> String {
    count.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string())
}
