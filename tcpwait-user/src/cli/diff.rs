//! The command line of `tcpwait diff`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{color::Color, filter::Filter, values};
use crate::{aggregate::by::GroupBy, diff::condition::Condition};

pub(super) const HELP: &str = "\
First it says whether the two can be compared at all: kernel, hooks, what was
lost. Then what got worse, what got better, what is new or gone. What is the
same is left out (--all shows it).

Rates are compared, not totals, and what comes to 1,000 connections, as load
differs. A difference is one if its 99% interval says so, it is more than 5%,
and one side has 10 or more. What is on one side only has to come in 5 parts of
the time, too: one burst may be chance. Two are the same if the interval lies
within -33% and +50%; all else cannot be said. What changed only as the load
did is counted apart. More TIME_WAIT is neither better nor worse. Both ends of a
connection on this machine count.

The interval follows from how much each recording varies by itself: a minute
says more than ten seconds. Ends of TIME_WAIT, and how many are in it, are
compared from 65 s on: before, they are of connections from before.

--fail-if NAME > VALUE (>=, <, <=) is for CI: exit 4 if it holds, or cannot be
said. A change (+10%) is judged as the table is: what that calls too little to
be sure cannot be said. Any other VALUE is compared with AFTER. NAME is of
  a second  connections.connected .accepted .ended, closed_first.*,
            time_wait.entered .left.REASON .restarts.CAUSE, ended.REASON,
            syn_recv.REASON, connect.syn_sent_again .unanswered, failures.WHY;
            with .count how many, with .per_1000 for 1,000 connections
  a second  drops.accept-queue .syn-queue .other .time-wait, syn_cookies.sent:
            the kernel's own counters; .accept-queue are SYNs and ACKs dropped
            as an accept queue was full (syn_recv.accept-queue-full: those of
            connections that were in SYN_RECV already)
  sockets   STATE.sockets: the mean; with .max the most
  a time    STATE.p50 .p90 .p99, which is compared with a time as 5ms. What is
            still in the state counts for as long as it has been there

Examples:
  tcpwait diff before.tcpwait after.tcpwait
  tcpwait diff before.tcpwait after.tcpwait -o diff.html
  tcpwait diff day.tcpwait day.tcpwait --window ..10m --window 15m..25m
  tcpwait diff A B --fail-if 'failures.count > 0'
  tcpwait diff A B --fail-if 'drops.accept-queue.count > 0'
  tcpwait diff A B --fail-if 'time_wait.entered.per_1000 > +10%'";

/// `tcpwait diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The recording that was made before; - is standard input
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The recording that was made after
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// Make a page with pictures instead; - is standard output
    #[arg(short = 'o', long, value_name = "OUT", conflicts_with = "json")]
    pub output: Option<PathBuf>,
    /// One JSON document instead of text; keys and units: docs/output.md
    #[arg(long)]
    pub json: bool,
    /// Show rows that are the same, too
    #[arg(long)]
    pub all: bool,
    /// Compare this part of the recordings' time, from their beginning, e.g. 30s..2m; given twice: of BEFORE, then of AFTER
    #[arg(long, value_name = "BEGIN..END", value_parser = part)]
    pub window: Vec<WindowPart>,
    /// Group by one or more of these, as in `tcpwait stat`
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "process,service")]
    pub by: Vec<GroupBy>,
    /// Exit with code 4 if this holds, or cannot be said: NAME > VALUE, where VALUE is a change (+10%), a number or a time; may be given several times
    #[arg(long, value_name = "CONDITION", value_parser = condition)]
    pub fail_if: Vec<Condition>,
    /// Exit with code 3 if events were lost in either, or either is cut short or damaged
    #[arg(long)]
    pub fail_on_loss: bool,
    /// Colours of text
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,

    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
}

/// A part of a recording's time, from its beginning on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowPart {
    /// From here.
    pub begin: Duration,
    /// To here; `None` is its end.
    pub end: Option<Duration>,
}

fn condition(text: &str) -> Result<Condition, String> {
    text.parse()
}

fn part(text: &str) -> Result<WindowPart, String> {
    let expected = || "expected BEGIN..END, either of which may be left out, e.g. 30s..2m, ..5m or 10m..".to_owned();
    let (begin, end) = text.split_once("..").ok_or_else(expected)?;
    let time = |text: &str| match text.trim() {
        "0" | "0s" => Ok(Duration::ZERO),
        text => values::time(text).map_err(|_| expected()),
    };
    let begin = if begin.trim().is_empty() { Duration::ZERO } else { time(begin)? };
    let end = if end.trim().is_empty() { None } else { Some(time(end)?) };
    if end.is_some_and(|end| end <= begin) {
        return Err("its end is not after its beginning".to_owned());
    }
    Ok(WindowPart { begin, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_time() {
        let seconds = |begin, end: Option<u64>| {
            Ok(WindowPart { begin: Duration::from_secs(begin), end: end.map(Duration::from_secs) })
        };
        assert_eq!(part("30s..2m"), seconds(30, Some(120)));
        assert_eq!(part("..5m"), seconds(0, Some(300)));
        assert_eq!(part("10m.."), seconds(600, None));
        assert_eq!(part("0..1"), seconds(0, Some(1)));
        for wrong in ["", "5m", "2m..1m", "1m..1m", "a..b", "-5..", "1...2"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
