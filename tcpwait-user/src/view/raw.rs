//! `--raw`: the kernel's own events, one a line, with nothing folded: the CLOSE at a hand-over, zero ports, every timer.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    ViewContext,
    json::{id, known, rfc3339},
};
use crate::{
    event::{Call, Event, Fact, RequestSocket, RequestStart, Segment, Task},
    ledger::Recorded,
    plain,
    tcp::{Flow, NetnsId, State},
    view::schema,
};

/// One event, flattened.
#[derive(Serialize)]
struct Line {
    schema: &'static str,
    time: Option<String>,
    cpu: u16,
    hook: &'static str,
    id: Option<String>,
    netns: NetnsId,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    laddr: std::net::IpAddr,
    lport: Option<u16>,
    raddr: std::net::IpAddr,
    rport: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<State>,
    /// The state entered, or a mini-socket's substate.
    to: State,
    /// The object in the kernel.
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jiffies: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<SegmentLine>,
    /// How often segments were sent again so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<u16>,
    /// Of a port that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<u16>,
}

/// A segment that reached a mini-socket.
#[derive(Serialize)]
struct SegmentLine {
    flags: String,
    seq: u32,
    len: u32,
    timestamp: Option<u32>,
    rcv_nxt: u32,
    ts_recent: Option<u32>,
    verdict: Option<u8>,
}

impl From<&Segment> for SegmentLine {
    fn from(segment: &Segment) -> Self {
        let flags = [(segment.syn, "SYN"), (segment.fin, "FIN"), (segment.rst, "RST"), (segment.ack, "ACK")];
        let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
        Self {
            flags: flags.join(","),
            seq: segment.seq,
            len: segment.payload,
            timestamp: segment.timestamp,
            rcv_nxt: segment.rcv_nxt,
            ts_recent: segment.ts_recent,
            verdict: segment.verdict,
        }
    }
}

/// The addresses an event is about, for a filter.
pub fn flow_of(event: &Event) -> Option<&Flow> {
    match &event.fact {
        Fact::State(change) => Some(&change.flow),
        Fact::Armed { mini, .. } | Fact::Expired(mini) | Fact::Segment { mini, .. } | Fact::Cancelled { mini, .. } => {
            Some(&mini.flow)
        }
        Fact::RequestArmed { reqsk, .. } | Fact::RequestExpired(reqsk) | Fact::RequestCancelled { reqsk, .. } => {
            Some(&reqsk.flow)
        }
        Fact::PortRefused(refused) => Some(&refused.flow),
        Fact::Seed(seed) => Some(&seed.flow),
        _ => None,
    }
}

/// Writes an event as text, or as JSON; events that are not about a socket write nothing.
///
/// # Errors
/// The output cannot be written.
pub fn event(event: &Event, context: ViewContext<'_>, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let Some(line) = line(event, context) else { return Ok(()) };
    if json {
        plain::json(&mut *out, &line)?;
        return out.write_all(b"\n");
    }
    let port = |port: Option<u16>| port.map_or("0".to_owned(), |port| port.to_string());
    write!(
        out,
        "{} cpu={} {:<20} sk:{:<6} {}{}:{} {}:{} ",
        line.time.as_deref().unwrap_or("-"),
        line.cpu,
        line.hook,
        line.id.as_deref().unwrap_or("0"),
        line.laddr,
        line.interface.as_deref().map(|name| format!("%{}", plain::column(name))).unwrap_or_default(),
        port(line.lport),
        line.raddr,
        port(line.rport),
    )?;
    match line.from {
        Some(from) => write!(out, "{from} -> {}", line.to)?,
        None => write!(out, "{}", line.to)?,
    }
    write!(out, " at={}", line.address)?;
    if let (Some(expires), Some(jiffies)) = (line.expires, line.jiffies) {
        write!(out, " expires={expires} jiffies={jiffies}")?;
    }
    if let (Some(pid), Some(comm)) = (line.pid, &line.comm) {
        write!(out, " pid={pid} comm={}", plain::column(comm))?;
    }
    if let Some(retransmits) = line.retransmits {
        write!(out, " retransmits={retransmits}")?;
    }
    if let Some(errno) = line.errno {
        write!(out, " errno={errno}")?;
    }
    if let Some(segment) = &line.segment {
        write!(out, " flags={} seq={} len={} rcv_nxt={}", segment.flags, segment.seq, segment.len, segment.rcv_nxt)?;
        for (name, value) in
            [("ts", segment.timestamp), ("ts_recent", segment.ts_recent), ("verdict", segment.verdict.map(u32::from))]
        {
            if let Some(value) = value {
                write!(out, " {name}={value}")?;
            }
        }
    }
    if let Some(stack) = &line.stack {
        write!(out, " stack={}", stack.join(","))?;
    }
    writeln!(out)
}

/// The last line where something is wrong with a recording, for a program; a person is told on stderr.
///
/// # Errors
/// The output cannot be written.
pub fn damage(found: &Recorded, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json { super::json::damage(found, schema::RAW, out) } else { Ok(()) }
}

fn line(event: &Event, context: ViewContext<'_>) -> Option<Line> {
    let flow = flow_of(event)?;
    let mut line = Line {
        schema: schema::RAW,
        time: rfc3339(context, event.time_ns),
        cpu: event.cpu,
        hook: "",
        id: None,
        netns: flow.netns,
        interface: flow.interface().map(|interface| context.names.interface(interface).into_owned()),
        laddr: flow.laddr,
        lport: known(flow.lport),
        raddr: flow.raddr,
        rport: known(flow.rport),
        from: None,
        to: State::Close,
        address: String::new(),
        expires: None,
        jiffies: None,
        pid: None,
        comm: None,
        stack: None,
        segment: None,
        retransmits: None,
        errno: None,
    };
    let mini = match &event.fact {
        Fact::State(change) => {
            line.hook = "inet_sock_set_state";
            line.id = id(change.cookie);
            line.from = Some(change.old);
            line.to = change.new;
            line.address = format!("{:#x}", change.sk);
            line.name(change.task.as_ref());
            line.retransmits = change.retransmits.filter(|again| *again > 0);
            line.stack = change.end.as_ref().map(|site| hex(&site.stack));
            return Some(line);
        }
        Fact::Seed(seed) => {
            line.hook = "sock_diag";
            line.id = id(seed.cookie);
            line.to = seed.state;
            line.address = "-".to_owned();
            line.name(seed.task.as_ref());
            return Some(line);
        }
        Fact::RequestArmed { reqsk, start } => {
            return Some(
                line.reqsk(reqsk, if *start == RequestStart::Syn { "timer_start" } else { "timer_start(rearm)" }),
            );
        }
        Fact::RequestExpired(reqsk) => return Some(line.reqsk(reqsk, "timer_expire_entry")),
        Fact::RequestCancelled { reqsk, site } => {
            line.name(site.task.as_ref());
            line.stack = Some(hex(&site.stack));
            return Some(line.reqsk(reqsk, "timer_cancel"));
        }
        Fact::PortRefused(refused) => {
            line.hook = refused.call.name();
            line.id = id(refused.cookie);
            line.to = if refused.call == Call::Listen { State::Listen } else { State::Close };
            line.address = "-".to_owned();
            line.errno = Some(refused.errno);
            line.name(refused.task.as_ref());
            return Some(line);
        }
        Fact::Armed { mini, rearmed } => {
            line.hook = if *rearmed { "timer_start(rearm)" } else { "timer_start" };
            mini
        }
        Fact::Expired(mini) => {
            line.hook = "timer_expire_entry";
            mini
        }
        Fact::Segment { mini, segment } => {
            // Only the function's own return tells the verdict.
            let by_function = segment.as_ref().is_some_and(|segment| segment.verdict.is_some());
            line.hook = if by_function { "tcp_timewait_state_process" } else { "kfree_skb" };
            line.segment = segment.as_ref().map(SegmentLine::from);
            mini
        }
        Fact::Cancelled { mini, site } => {
            line.hook = "timer_cancel";
            line.name(site.task.as_ref());
            line.stack = Some(hex(&site.stack));
            mini
        }
        _ => return None,
    };
    line.id = id(mini.cookie);
    line.to = mini.substate;
    line.address = format!("{:#x}", mini.tw);
    line.expires = Some(mini.expires);
    line.jiffies = Some(mini.jiffies);
    Some(line)
}

impl Line {
    fn reqsk(mut self, reqsk: &RequestSocket, hook: &'static str) -> Self {
        self.hook = hook;
        self.id = id(reqsk.cookie);
        self.to = State::SynRecv;
        self.address = format!("{:#x}", reqsk.req);
        self.retransmits = Some(reqsk.retransmits.into());
        self
    }

    fn name(&mut self, task: Option<&Task>) {
        self.pid = task.map(|task| task.pid);
        self.comm = task.map(Task::comm);
    }
}

fn hex(stack: &[u64]) -> Vec<String> {
    stack.iter().map(|address| format!("{address:#x}")).collect()
}
