//! Lifecycle stories: what the kernel says, line by line, and the transitions that must follow from it.
//!
//! Told as `MS EVENT [key=value…]`: `syn`, `syn-again`, `resend`, `give-up` and `drop` of a connection in SYN_RECV (keys `from`, the listener's
//! cookie, `again`, how often the SYN-ACK was sent again, `queue`, the accept queue: `room full resets`; flags `deaf`, the listener is gone, `acked` and `deferred`), `accepted`, `refused [connect]` (keys `socket`, `errno`), `state OLD NEW`, `arm`, `rearm`, `segment`, `expire` and `cancel` with the
//! mini-socket's substate, `owner`, `heir`, `tick`, `seed STATE`, `seeded`, `lost`, `listed`. Keys: `id` (the cookie, 1 unless said), `on` (which
//! addresses, those of the id unless said), `dev` (the interface bound to), `era` (which of the namespaces with that inode number), `lport`, `may` (what it shares its port by: `address port both neither`), `v6` (IPV6_V6ONLY: `only both`), `sk`, `cpu`, `thread` (where tracepoints can be preempted), `by` (a task's name), `err`, `room` (the namespace may have more), `stack` (functions,
//! innermost first; of an end also the flags `orphan repairing no-linger2 window-closed acked queued memory asked version-5 stackless`, `soft` (`sk_err_soft`), `user-timeout` in ms, `probed` in jiffies), `due` (ms when the timer runs out, 60 s from now unless said), `left` (ms to expiry), `since` (when a seed was in its state at the latest, now unless said), and the
//! flags `mini`, `handed-over`, `of-request`, `newborn`, `unsent`, `repair` and `deferrable` (entering SYN_SENT), `deferred`, `returns`, `old-port`, `old-soft`, `unhashed`, `netns-gone`, `in-process`, `listener`. A `segment` has a header if it has `flags` (`FIN,ACK`): `before`
//! (bytes before the sequence number that is due), `len` (of data), `verdict` (the kernel's).
//!
//! Heard as `MS #id OLD -> NEW DWELL`: ms, `~` before what is right to a jiffy, `-` for what is not known; then whatever
//! else is said. A last line names what could not be matched, and what is alive at the end.

mod calls;
mod early_ends;
mod gaps;
mod syn_recv;
mod identity;
mod migrated;
mod older;
mod orphans;
mod preempted;
mod recovery;
mod segments;
mod soft;
mod stackless;
mod textbook;

use std::net::Ipv4Addr;

use nix::errno::Errno;
use tcpwait::{
    event::{
        AcceptQueue, Call, CancelSite, EndFacts, EndSite, Event, Fact, HookContext, MiniSocket, PortRefused,
        RequestSocket, RequestStart, Reuse, Seed, Segment, StateChange, Syn, Task,
    },
    lifecycle::{Lifecycle, RestartCause, SegmentSource, Timing, Transition, Update},
    symbols::{DECISIVE, Symbols},
    tcp::{Flow, NetnsId, State},
};

/// Jiffies of these stories: HZ=250, and 5 minutes before a 32-bit wrap at time 0, as after boot.
const MS_PER_JIFFY: u64 = 4;
const BOOT_JIFFIES: u64 = 4_294_892_296;

const MS: u64 = 1_000_000;

/// Tells a story and compares what is heard.
#[track_caller]
fn story(told: &str, heard: &str) {
    compare(&hear(&events(told)), heard);
}

/// The same, when this tells of segments.
#[track_caller]
fn story_by(segments: SegmentSource, told: &str, heard: &str) {
    compare(&hear_by(&events(told), segments), heard);
}

#[track_caller]
fn compare(found: &[String], heard: &str) {
    let lines = |text: &str| -> Vec<String> {
        let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        words.filter(|line| !line.is_empty()).collect()
    };
    let wanted = lines(heard);
    assert_eq!(found, wanted, "\nheard:\n  {}\nbut should be:\n  {}\n", found.join("\n  "), wanted.join("\n  "));
}

/// What the model makes of events, a line each.
pub fn hear(events: &[Event]) -> Vec<String> {
    hear_by(events, SegmentSource::Fexit)
}

/// The same, when this tells of segments.
pub fn hear_by(events: &[Event], segments: SegmentSource) -> Vec<String> {
    let mut model = Lifecycle::new(symbols(), segments);
    let mut updates = Vec::new();
    for event in events {
        model.apply(event, &mut updates);
    }
    model.finish(&mut updates);
    let steps = updates.iter().filter(|update| matches!(update, Update::Transition(_))).count();
    assert_eq!(model.tally().transitions, steps as u64, "the tally counts the transitions");
    // What was there before is seeded, and said when it takes a step.
    let said = updates.iter().filter(|update| !matches!(update, Update::Found(_)));
    let mut lines: Vec<String> = said.map(line).collect();
    let unmatched = model.tally().unmatched;
    for (what, count) in [
        ("ends", unmatched.ends),
        ("beginnings", unmatched.beginnings),
        ("gaps", unmatched.gaps),
        ("syn-recv", unmatched.requests),
        ("overdue", unmatched.overdue),
    ] {
        if count > 0 {
            lines.push(format!("unmatched {what} {count}"));
        }
    }
    if model.requests_now() > 0 {
        lines.push(format!("syn-recv {}", model.requests_now()));
    }
    if model.tally().without_request > 0 {
        lines.push(format!("without a request {}", model.tally().without_request));
    }
    if model.minis_now() > 0 {
        lines.push(format!("alive {}", model.minis_now()));
    }
    lines
}

fn line(update: &Update) -> String {
    match update {
        Update::Transition(transition) => step(transition),
        Update::Found(found) => format!("#{} found in {}", found.id, found.state),
        Update::Failed(failure) => {
            let mut text = format!("{} {:?} failed: {:?}", ms(failure.time_ns), failure.call, failure.why);
            for holder in failure.holders.iter().flat_map(|holders| &holders.sockets) {
                let owner = holder.owner.as_ref().map_or("?".to_owned(), |task| task.comm());
                text.push_str(&format!(" {}x {} {owner}", holder.count, holder.state));
            }
            if let Some(search) = failure.search {
                text.push_str(&format!(" {}x {}-{}", search.refused, search.lowest, search.highest));
            }
            text
        }
        Update::Lost { id, .. } => format!("#{id} lost"),
        Update::Owned { id, owner } => format!("#{id} owned by {}", owner.comm()),
    }
}

/// A transition, as it is heard.
pub fn step(step: &Transition) -> String {
    let mut text = format!(
        "{} #{} {} -> {} {}",
        ms(step.time_ns),
        step.id,
        step.from.map_or("?", State::name),
        step.to,
        step.dwell_ns.map_or("-".to_owned(), ms)
    );
    match (step.timing, step.dwell_ns) {
        (Timing::Exact, Some(_)) | (Timing::Unknown, None) => {}
        (Timing::Jiffy, Some(ns)) => {
            text.truncate(text.len() - ms(ns).len());
            text.push_str(&format!("~{}", ms(ns)));
        }
        (timing, dwell_ns) => panic!("{dwell_ns:?} is {timing:?}"),
    }
    if u64::from(step.flow.lport) != 1000 + step.id {
        text.push_str(&format!(" lport={}", step.flow.lport));
    }
    if let Some(owner) = &step.owner {
        text.push_str(&format!(" of {}", owner.comm()));
    }
    if let Some(listener) = &step.listener {
        text.push_str(&format!(" through {}", listener.comm()));
    }
    if let Some(reason) = step.reason {
        text.push_str(&format!(" {}", reason.name()));
    }
    if let Some(detail) = step.detail {
        let soft = (step.soft_errno != 0).then(|| format!(" {:?}", Errno::from_raw(step.soft_errno.into())));
        text.push_str(&format!(" ({}{})", detail.name(), soft.unwrap_or_default()));
    }
    if let Some(by) = &step.by {
        text.push_str(&format!(" by {}", by.comm()));
    }
    if let Some(restarts) = step.restarts.as_ref().filter(|restarts| restarts.total() > 0) {
        text.push_str(&format!(" restarts {}", restarts.total()));
        for (cause, count) in restarts.by_cause().filter(|(cause, _)| *cause != RestartCause::Unknown) {
            text.push_str(&format!(" {}={count}", cause.name()));
        }
    }
    if let Some(again) = step.retransmits.filter(|again| *again > 0) {
        text.push_str(&format!(" again {again}"));
    }
    if step.predates {
        text.push_str(" older");
    }
    text
}

fn ms(ns: u64) -> String {
    match ns % MS {
        0 => (ns / MS).to_string(),
        rest => format!("{}.{rest:06}", ns / MS).trim_end_matches('0').to_owned(),
    }
}

/// A function of 100 bytes for each name, in an order of its own.
pub fn symbols() -> Symbols {
    Symbols::pick((1..).zip(DECISIVE.iter().copied().chain(["end"])).map(|(n, name)| (n * 100, name)))
}

/// An address that returns into a function; into none for a name that decides nothing.
pub fn address(function: &str) -> u64 {
    DECISIVE.iter().position(|name| *name == function).map_or(7, |n| (n as u64 + 1) * 100 + 50)
}

pub fn jiffies(ms: u64) -> u64 {
    BOOT_JIFFIES + ms / MS_PER_JIFFY
}

pub fn task(name: &str) -> Task {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    Task { pid: 100 + u32::from(name.as_bytes()[0]), uid: 1000, cgroup: 1, comm }
}

/// The addresses of the n-th connection.
pub fn flow(n: u16) -> Flow {
    let [laddr, raddr] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last).into());
    Flow { netns: NetnsId::new(1, 0), bound_dev_if: 0, laddr, raddr, lport: 1000 + n, rport: 80 }
}

/// A plain change of state.
pub fn change(cookie: u64, sk: u64, flow: Flow, old: State, new: State) -> StateChange {
    StateChange {
        cookie,
        sk,
        flow,
        old,
        new,
        err: 0,
        task: None,
        by_call: false,
        handed_over: false,
        newborn: false,
        of_request: false,
        retransmits: matches!(old, State::SynSent | State::SynRecv).then_some(0),
        reuse: None,
        v6only: None,
        unsent: false,
        syn: (new == State::SynSent).then_some(Syn::AtOnce),
        deferred: false,
        returns: false,
        old_port: false,
        old_soft: false,
        acked: (old, new) == (State::LastAck, State::Close),
        end: None,
    }
}

/// One line of a story, taken apart.
struct Told<'a> {
    ms: u64,
    words: Vec<&'a str>,
    keys: Vec<(&'a str, &'a str)>,
}

impl<'a> Told<'a> {
    fn new(line: &'a str) -> Self {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let ms = words.remove(0).parse().unwrap();
        let keys = words.iter().filter_map(|word| word.split_once('=')).collect();
        words.retain(|word| !word.contains('='));
        Self { ms, words, keys }
    }

    fn key(&self, name: &str) -> Option<&'a str> {
        self.keys.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.key(name).map_or(otherwise, |value| value.parse().unwrap())
    }

    fn flag(&self, name: &str) -> bool {
        self.words.contains(&name)
    }

    fn state(&self, at: usize) -> State {
        self.words[at].parse().unwrap()
    }

    fn id(&self) -> u64 {
        self.number("id", 1)
    }

    fn flow(&self) -> Flow {
        let mut flow = flow(self.number("on", self.id()) as u16);
        flow.lport = self.number("lport", flow.lport.into()) as u16;
        flow.bound_dev_if = self.number("dev", 0) as u32;
        flow.netns = NetnsId::new(1, self.number("era", 0));
        if self.flag("listener") {
            (flow.raddr, flow.rport, flow.lport) = (Ipv4Addr::UNSPECIFIED.into(), 0, 443);
        }
        flow
    }

    fn stack(&self) -> Option<Vec<u64>> {
        self.key("stack").map(|functions| functions.split(',').map(address).collect())
    }

    fn mini(&self) -> MiniSocket {
        let due = self.number("due", self.ms + 60_000);
        MiniSocket {
            cookie: self.id(),
            reuse: None,
            v6only: self.v6only(),
            timestamps: true,
            tw: self.number("tw", self.number("on", self.id())),
            flow: self.flow(),
            expires: jiffies(due),
            jiffies: jiffies(self.ms),
            substate: self.state(1),
        }
    }

    fn reqsk(&self) -> RequestSocket {
        RequestSocket {
            cookie: self.number("listed", 0),
            req: self.number("req", self.number("on", self.id())),
            flow: self.flow(),
            listener: self.number("from", 9),
            retransmits: self.number("again", 0) as u8,
            listens: !self.flag("deaf"),
            acked: self.flag("acked"),
            deferred: self.flag("deferred"),
            queue: self.key("queue").map(|queue| match queue {
                "room" => AcceptQueue::HasRoom,
                "full" => AcceptQueue::Full,
                "resets" => AcceptQueue::FullAndResets,
                other => panic!("no queue is {other}"),
            }),
        }
    }

    /// `v6=only`, `v6=both`.
    fn v6only(&self) -> Option<bool> {
        self.key("v6").map(|v6| v6 == "only")
    }

    /// `may=` `address`, `port`, `both` or `neither`.
    fn reuse(&self) -> Option<Reuse> {
        self.key("may")
            .map(|may| Reuse { address: ["address", "both"].contains(&may), port: ["port", "both"].contains(&may) })
    }

    fn site(&self, task: Option<Task>) -> CancelSite {
        CancelSite {
            unhashed: self.flag("unhashed"),
            netns_gone: self.flag("netns-gone"),
            on_task_stack: self.flag("in-process"),
            task,
            stack: self.stack().unwrap_or_default(),
        }
    }

    /// What is known of an end: where it has a `stack`, or is said to have `none`.
    fn end(&self, task: Option<Task>) -> Option<Box<EndSite>> {
        let stack = self.stack().or(self.flag("stackless").then(Vec::new))?;
        let about = EndFacts {
            orphan: self.flag("orphan"),
            repair: Some(self.flag("repairing")),
            no_linger2: self.flag("no-linger2"),
            netns_gone: self.flag("netns-gone"),
            window_closed: self.flag("window-closed"),
            acked: self.flag("acked"),
            unsent: self.flag("queued"),
            memory: Some(self.flag("memory")),
            soft_err: Some(self.number("soft", 0) as u16),
            soft_asked: self.flag("asked"),
            user_timeout_ms: self.number("user-timeout", 0) as u32,
            probed_jiffies: self.number("probed", 0) as u32,
            rto_max_jiffies: 0,
        };
        let site = EndSite {
            full: Some(!self.flag("room")),
            task: task.filter(|_| self.flag("in-process") || self.flag("by-call")),
            about: (!self.flag("version-5")).then_some(about),
            stack,
        };
        Some(Box::new(site))
    }

    /// `flags=FIN,ACK`, at the sequence number that is due, or `before=N` it.
    fn segment(&self) -> Option<Segment> {
        let flags = self.key("flags")?;
        let has = |flag| flags.split(',').any(|word| word == flag);
        Some(Segment {
            syn: has("SYN"),
            fin: has("FIN"),
            rst: has("RST"),
            ack: has("ACK"),
            seq: 5000 - self.number("before", 0) as u32,
            rcv_nxt: 5000,
            payload: self.number("len", 0) as u32,
            verdict: self.key("verdict").map(|verdict| verdict.parse().unwrap()),
            ..Segment::default()
        })
    }

    fn event(&self) -> Event {
        let (cpu, thread) = (self.number("cpu", 0) as u16, self.number("thread", 0) as u16);
        Event { time_ns: self.ms * MS, cpu, context: HookContext::new(cpu, thread), fact: self.fact() }
    }

    fn fact(&self) -> Fact {
        let task = self.key("by").map(task);
        match self.words[0] {
            "syn" => Fact::RequestArmed { reqsk: self.reqsk(), start: RequestStart::Syn },
            "syn-again" => Fact::RequestArmed { reqsk: self.reqsk(), start: RequestStart::SynAgain },
            "resend" => Fact::RequestArmed { reqsk: self.reqsk(), start: RequestStart::Retransmit },
            "give-up" => Fact::RequestExpired(self.reqsk()),
            "drop" => Fact::RequestCancelled { reqsk: self.reqsk(), site: self.site(task) },
            "refused" => Fact::PortRefused(PortRefused {
                cookie: self.id(),
                socket: self.key("socket").map(|socket| socket.parse().unwrap()),
                flow: self.flow(),
                task,
                errno: self.number("errno", 98) as u16,
                call: match self.words.get(1) {
                    Some(&"connect") => Call::Connect,
                    Some(&"listen") => Call::Listen,
                    _ => Call::Bind,
                },
                reuse: self.reuse().or(Some(Reuse::default())),
                v6only: self.v6only(),
            }),
            "accepted" => Fact::Accepted { cookie: self.id(), listener: self.number("from", 9), task },
            "state" => Fact::State(StateChange {
                err: self.number("err", 0) as u16,
                by_call: (task.is_some() && !self.flag("in-process")) || self.flag("by-call"),
                task: task.clone().filter(|_| !self.flag("in-process")),
                handed_over: self.flag("handed-over"),
                newborn: self.flag("newborn"),
                of_request: self.flag("of-request"),
                unsent: self.flag("unsent"),
                syn: (self.state(2) == State::SynSent).then(|| match () {
                    () if self.flag("repair") => Syn::Never,
                    () if self.flag("deferrable") => Syn::MayWait,
                    () => Syn::AtOnce,
                }),
                deferred: self.flag("deferred"),
                returns: self.flag("returns"),
                old_port: self.flag("old-port"),
                old_soft: self.flag("old-soft"),
                reuse: self.reuse(),
                v6only: self.v6only(),
                retransmits: match self.key("again") {
                    Some(again) => Some(again.parse().unwrap()),
                    None => matches!(self.state(1), State::SynSent | State::SynRecv).then_some(0),
                },
                end: self.end(task),
                acked: self.words[1] == "LAST_ACK" && self.words[2] == "CLOSE" && self.number("err", 0) == 0,
                ..change(self.id(), self.number("sk", self.id()), self.flow(), self.state(1), self.state(2))
            }),
            "arm" => Fact::Armed { mini: self.mini(), rearmed: false },
            "rearm" => Fact::Armed { mini: self.mini(), rearmed: true },
            "segment" => Fact::Segment { mini: self.mini(), segment: self.segment() },
            "expire" => Fact::Expired(self.mini()),
            "cancel" => Fact::Cancelled { mini: self.mini(), site: self.site(task) },
            "owner" => Fact::Owner { cookie: self.id(), task },
            "heir" => Fact::Heir { cookie: self.id(), task },
            "tick" => Fact::Tick { realtime_ns: self.ms * MS },
            "seed" => Fact::Seed(Seed {
                cookie: self.id(),
                flow: self.flow(),
                task,
                state: self.state(1),
                mini: self.flag("mini"),
                expires_ms: self.number("left", 0) as u32,
                retransmits: self.number("again", 0) as u8,
                origin: None,
                v6only: self.v6only(),
                by_ns: Some(self.number("since", self.ms) * MS),
            }),
            "lost" => Fact::Loss { lost: 1 },
            "listed" => Fact::Listed(NetnsId::new(1, 0)),
            "seeded" => Fact::SeedEnd { sockets: 1, namespaces: 1, unreadable: 0 },
            other => panic!("no event is called {other}"),
        }
    }
}

pub fn events(told: &str) -> Vec<Event> {
    let lines = told.lines().filter(|line| !line.trim().is_empty()).map(Told::new);
    lines.map(|line| line.event()).collect()
}
