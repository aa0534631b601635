//! Lines for people, in the columns that a user of tcpstates knows.

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::{
    View, ViewContext,
    failure::{errno, event, words},
    paint::{Mark, Paint},
};
use crate::{
    event::Task,
    fold,
    lifecycle::{Detail, Failure, Reason, RestartCause, Timing, Transition},
    plain,
    tcp::{Flow, State},
};

/// Width of the column NETNS: `docker:0123456789ab`.
const NETNS: usize = 19;

/// Which columns stand where.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// `-t`: seconds since the start.
    pub relative_time: bool,
    /// `-T`: time of day in this zone.
    pub time_of_day: Option<TimeZone>,
    /// `-w`: whole IPv6 addresses and names, and the columns NETNS, UID, RETRANS, CGROUP and POD.
    pub wide: bool,
    /// The terminal's width, in which longer lines are broken between words; `None` where there is no terminal.
    pub width: Option<usize>,
    /// Colour for lines that say what is wrong.
    pub paint: Paint,
}

/// The text view.
#[derive(Debug)]
pub struct TraceText {
    columns: Columns,
    /// The line that is being written.
    line: Vec<u8>,
}

impl TraceText {
    /// A text view with these columns.
    pub fn new(columns: Columns) -> Self {
        Self { columns, line: Vec::new() }
    }
}

/// A line, as many of the terminal's as it takes.
fn put(line: &[u8], mark: Mark, columns: &Columns, out: &mut dyn Write) -> io::Result<()> {
    let Some(width) = columns.width.or((columns.paint != Paint::default()).then_some(usize::MAX)) else {
        out.write_all(line)?;
        return out.write_all(b"\n");
    };
    let lines = columns.paint.lines(mark, fold::row(&String::from_utf8_lossy(line), width, 2));
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// How bad it is that a connection ended so.
pub fn mark(reason: Option<Reason>) -> Mark {
    match reason {
        Some(Reason::Overflow) => Mark::Failure,
        Some(
            Reason::Reset
            | Reason::ResetSent
            | Reason::TimedOut
            | Reason::Timeout
            | Reason::AcceptQueueFull
            | Reason::ListenerClosed
            | Reason::Unreachable
            | Reason::Destroyed,
        ) => Mark::Warning,
        _ => Mark::Plain,
    }
}

impl View for TraceText {
    fn header(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Vec::new();
        self.names(&mut line)?;
        put(&line, Mark::Plain, &self.columns, out)
    }

    fn transition(&mut self, step: &Transition, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let who = Who { id: step.id, owner: step.owner.as_deref().or(step.listener.as_deref()), flow: &step.flow };
        self.line.clear();
        let mut line = std::mem::take(&mut self.line);
        self.begin(step.time_ns, &who, context, &mut line)?;
        write!(
            line,
            "{:<11} -> {:<11} {:>11}",
            step.from.map_or("?", |state| state.name()),
            step.to,
            milliseconds(step),
        )?;
        self.end(step.retransmits, why(step), &who, context, &mut line)?;
        put(&line, mark(step.reason), &self.columns, out)?;
        self.line = line;
        Ok(())
    }

    fn failure(&mut self, failure: &Failure, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let who = Who { id: failure.id, owner: failure.owner.as_deref(), flow: &failure.flow };
        let mut line = Vec::new();
        self.begin(failure.time_ns, &who, context, &mut line)?;
        write!(line, "{:<38}", event(failure.call))?;
        self.end(failure.retransmits, Some(words(failure)), &who, context, &mut line)?;
        put(&line, Mark::Failure, &self.columns, out)
    }
}

impl TraceText {
    /// What stands above the columns.
    fn names(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.columns.time_of_day.is_some() {
            write!(out, "{:<25} ", "TIME")?;
        }
        if self.columns.relative_time {
            write!(out, "{:<10} ", "TIME(s)")?;
        }
        let (comm, address) = widths(self.columns.wide);
        write!(out, "{:<8} {:<7} {:<comm$} ", "SK", "PID", "COMM")?;
        if self.columns.wide {
            write!(out, "{:<NETNS$} {:<6} ", "NETNS", "UID")?;
        }
        write!(
            out,
            "{:<address$} {:<5} {:<address$} {:<5} {:<11} -> {:<11} {:>11} ",
            "LADDR", "LPORT", "RADDR", "RPORT", "OLDSTATE", "NEWSTATE", "MS"
        )?;
        if self.columns.wide { write!(out, "RETRANS REASON CGROUP POD") } else { write!(out, "REASON") }
    }
}

/// Whose line it is.
struct Who<'a> {
    id: u64,
    owner: Option<&'a Task>,
    flow: &'a Flow,
}

impl TraceText {
    /// The columns from the time to the remote port.
    fn begin(&self, time_ns: u64, who: &Who<'_>, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        if let Some(zone) = &self.columns.time_of_day {
            match context.wall(time_ns) {
                Some(time) => write!(out, "{} ", time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z"))?,
                None => write!(out, "{:<25} ", "-")?,
            }
        }
        if self.columns.relative_time {
            let ns = i128::from(time_ns) - i128::from(context.started_ns);
            let sign = if ns < 0 { "-" } else { "" };
            let us = ns.unsigned_abs() / 1000;
            write!(out, "{:<10} ", format!("{sign}{}.{:06}", us / 1_000_000, us % 1_000_000))?;
        }
        let (comm, address) = widths(self.columns.wide);
        let id = if who.id == 0 { "-".to_owned() } else { format!("{:x}", who.id) };
        match who.owner {
            Some(owner) => {
                let name = plain::column(&owner.comm());
                let name = name.get(..name.len().min(comm)).unwrap_or(&name);
                write!(out, "{id:<8} {:<7} {name:<comm$} ", owner.pid)?;
            }
            None => write!(out, "{id:<8} {:<7} {:<comm$} ", "-", "-")?,
        }
        if self.columns.wide {
            let uid = who.owner.map_or_else(|| "-".to_owned(), |owner| owner.uid.to_string());
            let netns = plain::column(&context.names.netns(who.flow.netns));
            let netns = netns.get(..netns.len().min(NETNS)).unwrap_or(&netns);
            write!(out, "{netns:<NETNS$} {uid:<6} ")?;
        }
        let port = |port: u16| if port == 0 { "-".to_owned() } else { port.to_string() };
        write!(
            out,
            "{:<address$} {:<5} {:<address$} {:<5} ",
            plain::column(&context.names.address(who.flow.laddr, who.flow.interface())),
            port(who.flow.lport),
            who.flow.raddr.to_string(),
            port(who.flow.rport),
        )
    }

    /// The columns from how often segments were sent again on.
    fn end(
        &self,
        retransmits: Option<u16>,
        why: Option<String>,
        who: &Who<'_>,
        context: ViewContext<'_>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if self.columns.wide {
            write!(out, " {:>7}", retransmits.map_or_else(|| "-".to_owned(), |again| again.to_string()))?;
        }
        match why {
            Some(why) => write!(out, " {why}")?,
            None if self.columns.wide => write!(out, " -")?,
            None => {}
        }
        if self.columns.wide {
            let cgroup = who.owner.and_then(|owner| context.names.cgroup(owner.cgroup));
            let pod = who.owner.and_then(|owner| context.names.pod(owner.cgroup));
            let pod = pod.map_or_else(|| "-".to_owned(), |pod| plain::column(&pod.to_string()));
            write!(out, " {} {pod}", plain::column(cgroup.unwrap_or("-")))?;
        }
        Ok(())
    }
}

/// Widths of a command name and of an address.
fn widths(wide: bool) -> (usize, usize) {
    if wide { (16, 39) } else { (10, 15) }
}

/// Time in the state that was left: `~` where it is right to a jiffy only, `>` where it was more, `-` where it is not known.
fn milliseconds(step: &Transition) -> String {
    let (ns, mark) = match (step.dwell_ns, step.dwell_at_least_ns) {
        (Some(ns), _) => (ns, if step.timing == Timing::Jiffy { "~" } else { "" }),
        (None, Some(ns)) => (ns, ">"),
        (None, None) => return "-".to_owned(),
    };
    let us = ns / 1000;
    format!("{mark}{}.{:03}", us / 1000, us % 1000)
}

/// Why a connection took a step, in words, where there is anything to say.
pub fn why(step: &Transition) -> Option<String> {
    let what = match step.from {
        Some(State::SynSent) => Some("SYN"),
        Some(State::SynRecv) => Some("SYN-ACK"),
        _ => None,
    };
    let again = what.zip(step.retransmits.filter(|again| *again > 0));
    let again = again.map(|(what, again)| format!("{what} retransmitted {again}x"));
    let Some(reason) = step.reason else { return again };
    let mut text = match (&step.by, reason) {
        // Its own process does what the line says of whose it is.
        (Some(by), Reason::ReusedByConnect | Reason::Destroyed | Reason::ListenerClosed) => {
            format!("{} by {}/{}", reason.name(), by.pid, plain::column(&by.comm()))
        }
        _ => reason.name().to_owned(),
    };
    if let Some(detail) = step.detail {
        let soft_errno = errno(step.soft_errno).filter(|_| detail == Detail::SoftError);
        text.push_str(&format!(
            " ({}{})",
            detail.name(),
            soft_errno.map(|errno| format!(": {errno}")).unwrap_or_default()
        ));
    }
    if let Some(restarts) = step.restarts.as_ref().filter(|restarts| restarts.total() > 0) {
        // What only the timer showed may be several within one of its buckets.
        let at_least = if restarts.of(RestartCause::Unknown) > 0 { "at least " } else { "" };
        text.push_str(&format!(", timer restarted {at_least}{}x", restarts.total()));
        let causes: Vec<String> = restarts
            .by_cause()
            .filter(|(cause, _)| *cause != RestartCause::Unknown)
            .map(|(cause, count)| format!("{count} {}", cause.name()))
            .collect();
        if !causes.is_empty() {
            text.push_str(&format!(" ({})", causes.join(", ")));
        }
    }
    if let Some(again) = again {
        text.push_str(&format!(", {again}"));
    }
    if step.predates {
        text.push_str(", older than this trace");
    }
    Some(text)
}
