//! One JSON object a line, for programs. The keys and their meaning are in docs/output.md; what is not known is `null`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

use serde::{Serialize, Serializer};

use super::{
    View, ViewContext,
    clock::TimeWriter,
    failure::{errno, event, words},
};
use crate::{
    event::Task,
    ledger::{Cut, Recorded},
    lifecycle::{Call, Failure, PortHolder, Restarts, Transition, Why},
    names::pod::Pod,
    plain,
    tcp::{NetnsId, State},
    view::schema,
};

/// The JSON view.
#[derive(Debug, Default)]
pub struct TraceJson {
    clock: TimeWriter,
    /// The line that is being written: it goes out in one piece.
    line: Vec<u8>,
}

/// A line that is being written. Keys come with all that is around them and are not looked through for what needs escaping: they
/// are half of a line, and there is one for every step of every connection.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn put(&mut self, key: &'static str, value: &impl Serialize) -> io::Result<()> {
        self.0.extend_from_slice(key.as_bytes());
        plain::json(&mut *self.0, value)
    }

    /// What is left out where there is nothing to say.
    fn put_known(&mut self, key: &'static str, value: Option<impl Serialize>) -> io::Result<()> {
        value.map_or(Ok(()), |value| self.put(key, &value))
    }
}

#[derive(Serialize)]
struct FailureLine<'a> {
    schema: &'static str,
    event: &'static str,
    time: Option<&'a str>,
    id: Option<Id>,
    netns: NetnsId,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<Cow<'a, str>>,
    family: u8,
    laddr: std::net::IpAddr,
    lport: Option<u16>,
    raddr: Option<std::net::IpAddr>,
    rport: Option<u16>,
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soft_errno: Option<String>,
    why: Why,
    words: String,
    pid: Option<u32>,
    comm: Option<Cow<'a, str>>,
    uid: Option<u32>,
    cgroup: Option<&'a str>,
    pod: Option<Cow<'a, str>>,
    container: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retransmits: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<SearchLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holders: Option<Vec<HolderLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reuseaddr: Option<Reuseaddr>,
}

#[derive(Serialize)]
struct HolderLine {
    state: State,
    count: u64,
    pid: Option<u32>,
    comm: Option<String>,
    reuseaddr: Option<bool>,
    made_here: Option<bool>,
    first_end_in_ns: Option<u64>,
    last_end_in_ns: Option<u64>,
}

#[derive(Serialize)]
struct SearchLine {
    lowest: u16,
    highest: u16,
    refused: u64,
}

#[derive(Serialize)]
struct Reuseaddr {
    set: Option<bool>,
    would_do: Option<bool>,
}

#[derive(Serialize)]
struct By<'a> {
    pid: u32,
    comm: Cow<'a, str>,
}

impl View for TraceJson {
    fn header(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn transition(&mut self, step: &Transition, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let owner: Option<&Task> = step.owner.as_deref().or(step.listener.as_deref());
        let flow = &step.flow;
        self.line.clear();
        let mut line = Line(&mut self.line);
        line.put("{\"schema\":", &schema::TRACE)?;
        line.put(",\"time\":", &self.clock.rfc3339(context, step.time_ns))?;
        line.put(",\"id\":", &Id::of(step.id))?;
        line.put(",\"netns\":", &flow.netns)?;
        line.put_known(",\"interface\":", flow.interface().map(|interface| context.names.interface(interface)))?;
        line.put(",\"family\":", if flow.raddr.is_ipv4() { &4 } else { &6 })?;
        line.put(",\"laddr\":", &flow.laddr)?;
        line.put(",\"lport\":", &known(flow.lport))?;
        line.put(",\"raddr\":", &flow.raddr)?;
        line.put(",\"rport\":", &known(flow.rport))?;
        line.put(",\"from\":", &step.from)?;
        line.put(",\"to\":", &step.to)?;
        line.put(",\"dwell_ns\":", &step.dwell_ns)?;
        line.put_known(",\"dwell_at_least_ns\":", step.dwell_at_least_ns)?;
        line.put(",\"timing\":", &step.timing)?;
        line.put(",\"pid\":", &owner.map(|task| task.pid))?;
        line.put(",\"comm\":", &owner.map(Task::comm_text))?;
        line.put(",\"uid\":", &owner.map(|task| task.uid))?;
        line.put(",\"cgroup\":", &owner.and_then(|task| context.names.cgroup(task.cgroup)))?;
        let pod = owner.and_then(|task| context.names.pod(task.cgroup));
        line.put(",\"pod\":", &pod.map(Pod::full_name))?;
        line.put(",\"container\":", &pod.and_then(|pod| pod.container.as_deref()))?;
        line.put_known(",\"reason\":", step.reason)?;
        line.put_known(",\"detail\":", step.detail)?;
        line.put_known(",\"errno\":", errno(step.errno))?;
        line.put_known(",\"soft_errno\":", errno(step.soft_errno))?;
        line.put_known(",\"by\":", step.by.as_ref().map(|task| By { pid: task.pid, comm: task.comm_text() }))?;
        let restarts = step.restarts.as_ref();
        line.put_known(",\"restarts\":", restarts.map(Restarts::total))?;
        line.put_known(",\"restart_causes\":", restarts.filter(|restarts| restarts.total() > 0).map(causes))?;
        line.put_known(",\"retransmits\":", step.retransmits)?;
        line.put_known(",\"predates\":", step.predates.then_some(true))?;
        self.line.extend_from_slice(b"}\n");
        out.write_all(&self.line)
    }

    fn failure(&mut self, failure: &Failure, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let owner = failure.owner.as_deref();
        let pod = owner.and_then(|task| context.names.pod(task.cgroup));
        let flow = &failure.flow;
        let in_ns = |ns: u64| ns.saturating_sub(failure.time_ns);
        let holders = failure.holders.as_ref().map(|holders| {
            let line = |holder: &PortHolder| HolderLine {
                state: holder.state,
                count: holder.count,
                pid: holder.owner.as_ref().map(|task| task.pid),
                comm: holder.owner.as_ref().map(|task| task.comm()),
                reuseaddr: holder.reuseaddr,
                made_here: holder.made_here,
                first_end_in_ns: holder.end_ns.map(|(first, _)| in_ns(first)),
                last_end_in_ns: holder.end_ns.map(|(_, last)| in_ns(last)),
            };
            holders.sockets.iter().map(line).collect()
        });
        let line = FailureLine {
            schema: schema::TRACE,
            event: event(failure.call),
            time: self.clock.rfc3339(context, failure.time_ns),
            id: Id::of(failure.id),
            netns: flow.netns,
            interface: flow.interface().map(|interface| context.names.interface(interface)),
            family: if flow.laddr.is_ipv4() { 4 } else { 6 },
            laddr: flow.laddr,
            lport: known(flow.lport),
            raddr: (failure.call == Call::Connect).then_some(flow.raddr),
            rport: known(flow.rport),
            errno: errno(failure.errno),
            soft_errno: errno(failure.soft_errno),
            why: failure.why,
            words: words(failure),
            pid: owner.map(|task| task.pid),
            comm: owner.map(Task::comm_text),
            uid: owner.map(|task| task.uid),
            cgroup: owner.and_then(|task| context.names.cgroup(task.cgroup)),
            pod: pod.map(Pod::full_name),
            container: pod.and_then(|pod| pod.container.as_deref()),
            retransmits: failure.retransmits,
            search: failure.search.map(|search| SearchLine {
                lowest: search.lowest,
                highest: search.highest,
                refused: search.refused,
            }),
            holders,
            reuseaddr: failure
                .holders
                .as_ref()
                .map(|holders| Reuseaddr { set: holders.has_reuseaddr, would_do: holders.reuseaddr_would_do }),
        };
        self.line.clear();
        plain::json(&mut self.line, &line)?;
        self.line.push(b'\n');
        out.write_all(&self.line)
    }

    fn damage(&mut self, found: &Recorded, out: &mut dyn Write) -> io::Result<()> {
        damage(found, schema::TRACE, out)
    }
}

/// The last line where something is wrong with a recording.
pub(super) fn damage(found: &Recorded, schema: &'static str, out: &mut dyn Write) -> io::Result<()> {
    let line = DamageLine {
        schema,
        event: "recording-damaged",
        lossy: true,
        cut: found.cut.as_ref().map(CutLine::of),
        impossible_times: found.impossible_times,
    };
    plain::json(&mut *out, &line)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct DamageLine {
    schema: &'static str,
    event: &'static str,
    lossy: bool,
    cut: Option<CutLine>,
    impossible_times: u64,
}

/// Where and why a recording can be read no further.
#[derive(Serialize)]
pub(super) struct CutLine {
    at_byte: u64,
    why: &'static str,
}

impl CutLine {
    pub(super) fn of(cut: &Cut) -> Self {
        Self { at_byte: cut.at_byte, why: cut.by.name() }
    }
}

/// A cookie as `ss -e` prints it, written without memory of its own.
struct Id(u64);

impl Id {
    /// The kernel gives out none that is 0.
    fn of(cookie: u64) -> Option<Self> {
        (cookie != 0).then_some(Self(cookie))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (mut digits, mut rest, mut len) = ([b'0'; 16], self.0, 0);
        for digit in digits.iter_mut().rev() {
            let value = (rest & 15) as u8;
            *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
            len += 1;
            rest >>= 4;
            if rest == 0 {
                break;
            }
        }
        let text = digits.get(digits.len() - len..).and_then(|digits| str::from_utf8(digits).ok());
        to.serialize_str(text.unwrap_or_default())
    }
}

fn causes(restarts: &Restarts) -> BTreeMap<&'static str, u32> {
    restarts.by_cause().map(|(cause, count)| (cause.name(), count)).collect()
}

/// UTC with nanoseconds.
pub(super) fn rfc3339(context: ViewContext<'_>, time_ns: u64) -> Option<String> {
    context.wall(time_ns).map(|time| format!("{time:.9}"))
}

/// A cookie as `ss -e` prints it; the kernel gives out none that is 0.
pub(super) fn id(cookie: u64) -> Option<String> {
    (cookie != 0).then(|| format!("{cookie:x}"))
}

/// A port; 0 is none.
pub(super) fn known(port: u16) -> Option<u16> {
    (port != 0).then_some(port)
}
