//! Connections as lines in time: when each was in which state, from when to when, as exactly as that is known, and how many were in each. Stays of one line
//! never overlap. What is remembered is of connections that are open.

use std::{io, sync::Arc};

use hashbrown::HashMap;

use crate::{
    connection::{ByName, Name},
    event::Task,
    lifecycle::{OlderConnection, Timing, Transition},
    origin::Origin,
    tcp::{Flow, NetnsId, State},
};

/// Stays that wait for the owner of their line. A connection takes at most six steps before its owner closes it.
const MAX_WAITING: usize = 16;

/// How exactly it is known when a stay began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It was seen.
    Exact,
    /// Right to a jiffy or two.
    Jiffy,
    /// Then at the latest.
    Earlier,
    /// Nothing tells.
    Unknown,
}

/// A time in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The state.
    pub state: State,
    /// From when, in nanoseconds of `CLOCK_MONOTONIC`.
    pub begin_ns: u64,
    /// Until when.
    pub end_ns: u64,
    /// How exactly `begin_ns` is known.
    pub start: Start,
    /// It goes on: `end_ns` is where the records end, or those of this connection.
    pub is_open: bool,
}

/// What a line is called after.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Its number: no other line has it.
    pub line: u64,
    /// The socket cookie; 0 where there is none.
    pub id: u64,
    /// The network namespace.
    pub netns: NetnsId,
    /// Which side made the connection.
    pub origin: Origin,
}

/// What is to be drawn.
#[derive(Debug)]
pub enum Stroke<'a> {
    /// A line begins: nothing of it has been drawn.
    Line {
        /// Which.
        of: Drawn,
        /// The addresses.
        flow: &'a Flow,
        /// Whose it is; `None` where that is not known, and will not be before it ends.
        owner: Option<&'a Task>,
    },
    /// A stay on a line, after those before it.
    Stay {
        /// Which line.
        of: Drawn,
        /// From when to when.
        stay: Stay,
        /// The step that ended it; `None` where it goes on, or the owner was not known by then.
        step: Option<&'a Transition>,
    },
    /// How many sockets are in a state from now on.
    Count {
        /// In nanoseconds of `CLOCK_MONOTONIC`; never before the one before.
        time_ns: u64,
        /// The state.
        state: State,
        /// How many.
        now: u64,
    },
}

/// What takes strokes.
pub type Draw<'a> = &'a mut dyn FnMut(Stroke<'_>) -> io::Result<()>;

/// Every line that has not ended.
#[derive(Debug, Default)]
pub struct Timeline {
    lines: ByName<OpenLine>,
    last: u64,
    now: HashMap<State, u64>,
    /// Of the last count.
    counted_ns: u64,
}

#[derive(Debug)]
struct OpenLine {
    of: Drawn,
    state: State,
    /// When it was in that state for certain.
    known_ns: u64,
    /// How exactly it is known when it entered it.
    start: Start,
    /// Until here it is drawn.
    end_ns: u64,
    /// Most are drawn, and there may be a million of them.
    waiting: Option<Box<WaitingLine>>,
}

/// A line whose owner is not known yet.
#[derive(Debug)]
struct WaitingLine {
    flow: Flow,
    /// Whose listener it came through.
    listener: Option<Arc<Task>>,
    stays: Vec<Stay>,
}

impl Timeline {
    /// A connection took a step.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn step(&mut self, step: &Transition, draw: Draw<'_>) -> io::Result<()> {
        let name = Name::of(step.id, &step.flow);
        let is_born = matches!((step.from, step.to), (Some(State::Close), _) | (Some(State::Listen), State::SynRecv));
        let (mut line, was) = match self.recall(name) {
            // That its former life ended was lost.
            Some(stale) if is_born => {
                self.end(stale, step.time_ns, draw)?;
                (self.begin(step), None)
            }
            Some(line) => {
                let state = line.state;
                (line, Some(state))
            }
            None => (self.begin(step), None),
        };
        line.of = Drawn { id: step.id, netns: step.flow.netns, origin: step.origin.or(line.of.origin), ..line.of };
        if let Some(waiting) = &mut line.waiting {
            waiting.flow = step.flow;
            waiting.listener = step.listener.clone().or(waiting.listener.take());
        }
        let stay = step.from.filter(|_| !is_born).map(|from| line.stay(from, step));
        if let Some(stay) = stay {
            line.end_ns = stay.end_ns;
        }
        let is_over = step.to == State::Close;
        let is_full = line.waiting.as_ref().is_some_and(|waiting| waiting.stays.len() >= MAX_WAITING);
        if step.owner.is_some() || is_over || is_full {
            line.draw_waiting(step.owner.as_deref(), draw)?;
        }
        match (&mut line.waiting, stay) {
            (Some(waiting), Some(stay)) => waiting.stays.push(stay),
            (None, Some(stay)) => draw(Stroke::Stay { of: line.of, stay, step: Some(step) })?,
            (_, None) => {}
        }
        (line.state, line.known_ns) = (step.to, step.time_ns);
        line.start = if step.unseen { Start::Earlier } else { Start::Exact };
        self.count(was, (!is_over).then_some(step.to), step.time_ns, draw)?;
        if !is_over {
            self.lines.insert(name, line);
        }
        Ok(())
    }

    /// A connection is older than the trace; `time_ns`: it is known now.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn found(&mut self, found: &OlderConnection, time_ns: u64, draw: Draw<'_>) -> io::Result<()> {
        let name = Name::of(found.id, &found.flow);
        if let Some(stale) = self.recall(name) {
            self.end(stale, time_ns, draw)?;
        }
        let of = self.drawn(found.id, &found.flow, found.origin);
        let known_ns = found.by_ns.unwrap_or(time_ns).min(time_ns);
        let mut line = OpenLine {
            of,
            state: found.state,
            known_ns,
            start: Start::Earlier,
            end_ns: 0,
            waiting: Some(Box::new(WaitingLine { flow: found.flow, listener: None, stays: Vec::new() })),
        };
        // A process has closed what is in these states: nobody comes to own it.
        let is_closed = matches!(
            found.state,
            State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait | State::LastAck
        );
        if found.owner.is_some() || is_closed {
            line.draw_waiting(found.owner.as_deref(), draw)?;
        }
        self.lines.insert(name, line);
        self.count(None, Some(found.state), time_ns, draw)
    }

    /// What became of a connection was lost.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn lost(&mut self, id: u64, flow: &Flow, time_ns: u64, draw: Draw<'_>) -> io::Result<()> {
        self.recall(Name::of(id, flow)).map_or(Ok(()), |line| self.end(line, time_ns, draw))
    }

    /// The records end at this time: what is open is drawn up to it.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn finish(&mut self, time_ns: u64, draw: Draw<'_>) -> io::Result<()> {
        let mut open: Vec<(u64, Name)> = self.lines.iter().map(|(name, line)| (line.of.line, *name)).collect();
        open.sort_unstable_by_key(|(line, _)| *line);
        open.into_iter()
            .try_for_each(|(_, name)| self.lines.remove(&name).map_or(Ok(()), |line| line.draw_open(time_ns, draw)))
    }

    /// Takes a line out, be it under the name that it had before its port or its cookie was known.
    fn recall(&mut self, name: Name) -> Option<OpenLine> {
        let Self { lines, .. } = self;
        lines.remove(&name).or_else(|| lines.remove(&name.portless())).or_else(|| lines.remove(&name.anonymous()))
    }

    fn drawn(&mut self, id: u64, flow: &Flow, origin: Origin) -> Drawn {
        self.last += 1;
        Drawn { line: self.last, id, netns: flow.netns, origin }
    }

    fn begin(&mut self, step: &Transition) -> OpenLine {
        OpenLine {
            of: self.drawn(step.id, &step.flow, step.origin),
            state: step.from.unwrap_or(State::Close),
            known_ns: step.time_ns,
            start: Start::Unknown,
            end_ns: 0,
            waiting: Some(Box::new(WaitingLine { flow: step.flow, listener: None, stays: Vec::new() })),
        }
    }

    /// Its end was not seen.
    fn end(&mut self, line: OpenLine, time_ns: u64, draw: Draw<'_>) -> io::Result<()> {
        let state = line.state;
        // Nothing tells for how long it was in that state after it was seen in it.
        line.draw_open(0, draw)?;
        self.count(Some(state), None, time_ns, draw)
    }

    fn count(&mut self, from: Option<State>, to: Option<State>, time_ns: u64, draw: Draw<'_>) -> io::Result<()> {
        // What was inferred is known later than it happened.
        self.counted_ns = self.counted_ns.max(time_ns);
        for (state, by) in [(from, -1), (to, 1)] {
            let Some(state) = state.filter(|state| *state != State::Close) else { continue };
            let now = self.now.entry(state).or_default();
            *now = now.saturating_add_signed(by);
            draw(Stroke::Count { time_ns: self.counted_ns, state, now: *now })?;
        }
        Ok(())
    }
}

impl OpenLine {
    /// The time in the state that a step leaves.
    fn stay(&self, state: State, step: &Transition) -> Stay {
        let since = |ns: u64| step.time_ns.saturating_sub(ns);
        let (begin_ns, start) = match (step.dwell_ns, step.dwell_at_least_ns) {
            (Some(ns), _) if step.timing == Timing::Jiffy => (since(ns), Start::Jiffy),
            (Some(ns), _) => (since(ns), Start::Exact),
            (None, Some(ns)) => (since(ns), Start::Earlier),
            (None, None) if self.state == state => (self.known_ns, self.start),
            (None, None) => (step.time_ns, Start::Unknown),
        };
        self.after_the_last(Stay { state, begin_ns, end_ns: step.time_ns, start, is_open: false })
    }

    /// What is inferred may be a jiffy too early.
    fn after_the_last(&self, stay: Stay) -> Stay {
        let begin_ns = stay.begin_ns.max(self.end_ns);
        Stay { begin_ns, end_ns: stay.end_ns.max(begin_ns), ..stay }
    }

    /// Nothing more is waited for.
    fn draw_waiting(&mut self, owner: Option<&Task>, draw: Draw<'_>) -> io::Result<()> {
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        let owner = owner.or(waiting.listener.as_deref());
        draw(Stroke::Line { of: self.of, flow: &waiting.flow, owner })?;
        waiting.stays.iter().try_for_each(|stay| draw(Stroke::Stay { of: self.of, stay: *stay, step: None }))
    }

    /// Draws the state that it is in, as far as this time.
    fn draw_open(mut self, time_ns: u64, draw: Draw<'_>) -> io::Result<()> {
        self.draw_waiting(None, draw)?;
        let Self { state, known_ns, start, .. } = self;
        let stay = Stay { state, begin_ns: known_ns, end_ns: time_ns.max(known_ns), start, is_open: true };
        draw(Stroke::Stay { of: self.of, stay: self.after_the_last(stay), step: None })
    }
}
