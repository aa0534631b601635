//! A trace for <https://ui.perfetto.dev>: track events in protobuf. A track for each connection beneath its process, with slices for its states; marks for calls
//! that failed, ends that are none of FINs, and losses; sockets by state as counters. What it holds is in docs/output.md.

mod message;
mod packet;

use std::{
    hash::Hasher,
    io::{self, Write},
    net::SocketAddr,
    num::NonZeroUsize,
};

use lru::LruCache;
use twox_hash::XxHash32;

use self::packet::{Annotation, Packets, ProcessDescriptor, TrackDescriptor};
use super::{
    View, ViewContext,
    failure::{errno, event, words},
    json, ledger,
};
use crate::{
    event::Task,
    ledger::{Ledger, Recorded},
    lifecycle::{Call, Detail, Failure, OlderConnection, Reason, Restarts, Transition},
    origin::Origin,
    plain,
    tcp::{Flow, State},
    timeline::{Drawn, Start, Stay, Stroke, Timeline},
};

/// The track of connections whose owner is not known.
const UNKNOWN_OWNER: u64 = 1;
const LOSSES: u64 = 2;
const COUNTERS: u64 = 3;
/// That of the counter of a state is as much more as the state's number.
const COUNTER: u64 = 16;
/// That of a line is as much more as the line's number.
const LINE: u64 = 1 << 32;
/// Tracks of processes have this bit.
const PROCESS: u64 = 1 << 63;

/// Processes whose tracks are remembered to be there; of one that is forgotten it is said again.
const MOST_PROCESSES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);

/// Characters of a text that others choose.
const LONGEST: usize = 256;

/// A clock that was set by so many nanoseconds is worth a word.
const SET_NS: u128 = 1_000_000;

/// The view for Perfetto.
#[derive(Debug)]
pub struct TracePerfetto {
    timeline: Timeline,
    packets: Packets,
    processes: LruCache<u64, ()>,
    /// What was last said of the wall clock.
    realtime_offset_ns: Option<i128>,
    /// The latest time that was written.
    now_ns: u64,
}

impl Default for TracePerfetto {
    fn default() -> Self {
        Self {
            timeline: Timeline::default(),
            packets: Packets::default(),
            processes: LruCache::new(MOST_PROCESSES),
            realtime_offset_ns: None,
            now_ns: 0,
        }
    }
}

impl TracePerfetto {
    /// What stands before everything, and what is to be said of the clocks.
    fn begin(&mut self, time_ns: u64, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let offset_ns = context.realtime_offset_ns;
        match self.realtime_offset_ns {
            None => {
                self.now_ns = context.started_ns;
                self.packets.begin(out)?;
                self.packets.clocks(self.now_ns, offset_ns, out)?;
                self.packets.track(&TrackDescriptor::named(UNKNOWN_OWNER, "owner unknown"), out)?;
                self.packets.track(&TrackDescriptor::named(LOSSES, "lost"), out)?;
                self.packets.track(&TrackDescriptor::named(COUNTERS, "sockets by state"), out)?;
                for state in State::ALL.into_iter().filter(|state| *state != State::Close) {
                    let counter = counter(state);
                    let track = TrackDescriptor {
                        parent: Some(COUNTERS),
                        is_counter: true,
                        ..TrackDescriptor::named(counter, state.name())
                    };
                    self.packets.track(&track, out)?;
                    self.packets.count(counter, self.now_ns, 0, out)?;
                }
            }
            // Somebody set it, or it drifts.
            Some(said) if said.abs_diff(offset_ns) > SET_NS => {
                self.packets.clocks(self.now_ns.max(time_ns), offset_ns, out)?;
            }
            Some(_) => {
                self.now_ns = self.now_ns.max(time_ns);
                return Ok(());
            }
        }
        self.now_ns = self.now_ns.max(time_ns);
        self.realtime_offset_ns = Some(offset_ns);
        Ok(())
    }

    /// A mark on the track of losses.
    fn mark_loss(&mut self, time_ns: u64, text: &str, out: &mut dyn Write) -> io::Result<()> {
        self.packets.instant(LOSSES, time_ns, "loss", text, &[], out)
    }

    /// Has the timeline draw.
    fn draw(
        &mut self,
        context: ViewContext<'_>,
        out: &mut dyn Write,
        what: impl FnOnce(&mut Timeline, crate::timeline::Draw<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { timeline, packets, processes, .. } = self;
        what(timeline, &mut |stroke| match stroke {
            Stroke::Line { of, flow, owner } => {
                let parent = process(owner, packets, processes, out)?;
                let name = line_name(of, flow, context);
                packets.track(
                    &TrackDescriptor { parent: Some(parent), ..TrackDescriptor::named(LINE + of.line, &name) },
                    out,
                )
            }
            Stroke::Stay { of, stay, step } => write_stay(packets, of, stay, step, context, out),
            Stroke::Count { time_ns, state, now } => packets.count(counter(state), time_ns, now, out),
        })
    }
}

impl View for TracePerfetto {
    fn header(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn transition(&mut self, step: &Transition, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.begin(step.time_ns, context, out)?;
        self.draw(context, out, |timeline, draw| timeline.step(step, draw))
    }

    fn failure(&mut self, failure: &Failure, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.begin(failure.time_ns, context, out)?;
        let Self { packets, processes, .. } = self;
        let track = process(failure.owner.as_deref(), packets, processes, out)?;
        let (words, name) = (words(failure), format!("{} {}", event(failure.call), failure.why.name()));
        let (errno, netns) = (errno(failure.errno), shown(&context.names.netns(failure.flow.netns)));
        let (id, local) = (json::id(failure.id), shown(&local(&failure.flow, context)));
        let remote = (failure.call == Call::Connect)
            .then(|| SocketAddr::new(failure.flow.raddr, failure.flow.rport).to_string());
        let notes = [
            Some(Annotation::text("what", &words)),
            id.as_deref().map(|id| Annotation::text("cookie", id)),
            Some(Annotation::text("local", &local)),
            remote.as_deref().map(|remote| Annotation::text("remote", remote)),
            errno.as_deref().map(|errno| Annotation::text("errno", errno)),
            Some(Annotation::text("netns", &netns)),
            failure.retransmits.map(|again| Annotation::number("retransmits", again.into())),
        ];
        packets.instant(track, failure.time_ns, "failed call", &name, &notes, out)
    }

    fn found(
        &mut self,
        found: &OlderConnection,
        time_ns: u64,
        context: ViewContext<'_>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.begin(time_ns, context, out)?;
        self.draw(context, out, |timeline, draw| timeline.found(found, time_ns, draw))
    }

    fn lost(
        &mut self,
        id: u64,
        flow: &Flow,
        time_ns: u64,
        context: ViewContext<'_>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.begin(time_ns, context, out)?;
        self.draw(context, out, |timeline, draw| timeline.lost(id, flow, time_ns, draw))
    }

    fn loss(&mut self, time_ns: u64, lost: u64, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.begin(time_ns, context, out)?;
        self.mark_loss(time_ns, &format!("{lost} events lost so far (ring buffer full)"), out)
    }

    fn account(
        &mut self,
        ledger: &Ledger,
        time_ns: u64,
        context: ViewContext<'_>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.begin(time_ns, context, out)?;
        self.draw(context, out, |timeline, draw| timeline.finish(time_ns, draw))?;
        ledger::lost(ledger).map_or(Ok(()), |lost| self.mark_loss(time_ns, &lost, out))
    }

    fn damage(&mut self, found: &Recorded, out: &mut dyn Write) -> io::Result<()> {
        ledger::damage(found, "shown").iter().try_for_each(|sentence| self.mark_loss(self.now_ns, sentence, out))
    }
}

fn counter(state: State) -> u64 {
    COUNTER + state as u64
}

/// The track of a process, which is there after this.
fn process(
    owner: Option<&Task>,
    packets: &mut Packets,
    known: &mut LruCache<u64, ()>,
    out: &mut dyn Write,
) -> io::Result<u64> {
    let Some(owner) = owner else { return Ok(UNKNOWN_OWNER) };
    // Always the same, also when it has been forgotten. A number that another process gets later has another name.
    let mut hasher = XxHash32::with_seed(0);
    hasher.write(&owner.comm);
    let track = PROCESS | u64::from(owner.pid) << 32 | hasher.finish();
    if known.put(track, ()).is_none() {
        let name = shown(&owner.comm_text());
        let process = ProcessDescriptor { pid: owner.pid, name: &name };
        packets.track(&TrackDescriptor { process: Some(process), ..TrackDescriptor::named(track, &name) }, out)?;
    }
    Ok(track)
}

fn line_name(of: Drawn, flow: &Flow, context: ViewContext<'_>) -> String {
    let local = local(flow, context);
    let remote = SocketAddr::new(flow.raddr, flow.rport);
    let cookie = json::id(of.id).map(|id| format!(" sk:{id}")).unwrap_or_default();
    match flow.raddr.is_unspecified() && flow.rport == 0 {
        true => shown(&format!("{local}{cookie}")),
        false => shown(&format!("{local} -> {remote}{cookie}")),
    }
}

/// The local end; its port may not be known.
fn local(flow: &Flow, context: ViewContext<'_>) -> String {
    match flow.lport {
        0 => format!("{}:-", context.names.address(flow.laddr, flow.interface())),
        port => context.names.endpoint(flow.laddr, port, flow.interface()),
    }
}

fn write_stay(
    packets: &mut Packets,
    of: Drawn,
    stay: Stay,
    step: Option<&Transition>,
    context: ViewContext<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Stay { state, begin_ns, end_ns, start, is_open } = stay;
    let (name, start) = match start {
        Start::Exact => (state.name().to_owned(), None),
        Start::Jiffy => (state.name().to_owned(), Some("right to a jiffy")),
        Start::Earlier => (format!("{state} (began earlier)"), Some("earlier than shown")),
        Start::Unknown => (format!("{state} (start unknown)"), Some("unknown")),
    };
    let (id, netns) = (json::id(of.id), shown(&context.names.netns(of.netns)));
    let origin = match of.origin {
        Origin::Here => Some("here"),
        Origin::There => Some("there"),
        Origin::Unknown(_) => None,
    };
    let number = |name, number: Option<u64>| number.map(|number| Annotation::number(name, number));
    let by = step.and_then(|step| step.by.as_ref()).map(|by| shown(&format!("{}/{}", by.pid, by.comm_text())));
    let error = step.and_then(|step| errno(step.errno));
    let notes = [
        id.as_deref().map(|id| Annotation::text("cookie", id)),
        Some(Annotation::text("netns", &netns)),
        origin.map(|origin| Annotation::text("origin", origin)),
        start.map(|start| Annotation::text("start", start)),
        is_open.then_some(Annotation::text("end", "not seen")),
        step.and_then(|step| step.reason).map(|reason| Annotation::text("reason", reason.name())),
        step.and_then(|step| step.detail).map(|detail| Annotation::text("detail", detail.name())),
        error.as_deref().map(|errno| Annotation::text("errno", errno)),
        by.as_deref().map(|by| Annotation::text("by", by)),
        number("restarts", step.and_then(|step| step.restarts.as_ref()).map(|all| Restarts::total(all).into())),
        number("retransmits", step.and_then(|step| step.retransmits).map(u64::from)),
    ];
    let track = LINE + of.line;
    packets.slice(track, (begin_ns, end_ns), "state", &name, &notes, out)?;
    match step.filter(|step| step.to == State::Close).and_then(|step| early(step.reason?, step.detail)) {
        Some(reason) => packets.instant(track, end_ns, "early end", reason, &[], out),
        None => Ok(()),
    }
}

/// The reason, where a connection ended otherwise than by FINs and by TIME_WAIT's timer.
fn early(reason: Reason, detail: Option<Detail>) -> Option<&'static str> {
    match (reason, detail) {
        // A call that failed has a mark of its own; what is unknown may have been in order.
        (Reason::Expired | Reason::Failed | Reason::Unknown, _) | (Reason::Closed, None) => None,
        (Reason::Closed, Some(detail)) => Some(detail.name()),
        (reason, _) => Some(reason.name()),
    }
}

/// Text of others, as it may be shown.
fn shown(text: &str) -> String {
    plain::column(&plain::beginning(text, LONGEST))
}
