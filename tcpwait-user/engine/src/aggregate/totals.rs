//! All that is counted since the start, for whoever asks again and again: adding a step and reading a number cost the same however many sockets there are.
//! Nothing in it ever goes down but the number of sockets.

use std::{collections::BTreeMap, net::IpAddr};

use tcpwait_wire::wire;

use super::{
    LIFE,
    amount::Amount,
    buckets::Buckets,
    counts::Counts,
    ends::{EndRow, was_made},
    exact::Exact,
    group_row::{ClosedFirst, Closer},
    standing::SocketsNow,
    syn_recv::SynRecvReport,
};
use crate::{
    lifecycle::{Call, Failure, Present, Reason, RestartCause, Timing, Transition, Update, Why},
    tcp::State,
};

/// States that sockets leave after a time of their own: TIME_WAIT has finer bounds, a listener and CLOSE have no time to speak of.
pub const TIMED: [State; 8] = [
    State::SynSent,
    State::SynRecv,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::Closing,
    State::CloseWait,
    State::LastAck,
];

/// Bounds of times in a state: four times as long each, from a handshake on loopback (16 us) to what is held for hours (4.8 h).
pub const STATE_BOUNDS_NS: [u64; 16] = [
    16_000,
    64_000,
    256_000,
    1_024_000,
    4_096_000,
    16_384_000,
    65_536_000,
    262_144_000,
    1_048_576_000,
    4_194_304_000,
    16_777_216_000,
    67_108_864_000,
    268_435_456_000,
    1_073_741_824_000,
    4_294_967_296_000,
    17_179_869_184_000,
];

/// Bounds of times in TIME_WAIT, each of which is one of `stat`'s (`aggregate/histogram.rs`).
pub const TIME_WAIT_BOUNDS_NS: [u64; 22] = [
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    55_000_000_000,
    59_000_000_000,
    60_000_000_000,
    60_500_000_000,
    61_000_000_000,
    61_500_000_000,
    62_000_000_000,
    62_500_000_000,
    63_000_000_000,
    64_000_000_000,
    65_000_000_000,
    66_000_000_000,
    70_000_000_000,
    90_000_000_000,
    120_000_000_000,
];

/// Calls that failed for one reason, and the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailedCalls {
    /// How many.
    pub count: u64,
    /// The last one's process (NUL-padded), and the address and port that it asked for.
    pub last: Option<LastFailed>,
}

/// A call that failed.
#[derive(Clone, Copy, Debug)]
pub struct LastFailed {
    /// The process's name, NUL-padded; `None` where it is not known.
    pub comm: Option<[u8; 16]>,
    /// Of connect() the remote address, else the local one.
    pub address: IpAddr,
    /// Likewise the port; 0 is any.
    pub port: u16,
}

/// All counts since the start.
#[derive(Debug)]
pub struct Totals {
    counts: Counts,
    exact: Exact,
    standing: SocketsNow,
    state_times: [Buckets; TIMED.len()],
    time_wait_times: [Buckets; Reason::OF_TIME_WAIT.len()],
    reset_times: Buckets,
    failed: BTreeMap<(Call, Why), FailedCalls>,
    connects: ConnectTotals,
    missed: u64,
    stale: bool,
    slack_ns: Option<u64>,
    /// Of how many connections one is told of.
    one_in: u32,
}

/// ConnectTotals that left SYN_SENT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectTotals {
    /// All of them.
    pub left: u64,
    /// Those whose SYN was sent again, once or more.
    pub retransmitted: u64,
    /// SYNs that were sent again.
    pub syn_retransmits: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            exact: Exact::default(),
            standing: SocketsNow::default(),
            state_times: std::array::from_fn(|_| Buckets::new(&STATE_BOUNDS_NS)),
            time_wait_times: std::array::from_fn(|_| Buckets::new(&TIME_WAIT_BOUNDS_NS)),
            reset_times: Buckets::new(&STATE_BOUNDS_NS),
            failed: BTreeMap::new(),
            connects: ConnectTotals::default(),
            missed: 0,
            stale: false,
            slack_ns: None,
            one_in: 1,
        }
    }
}

impl Totals {
    /// Takes in what followed from an event.
    pub fn update(&mut self, update: &Update) {
        self.stale |= !self.standing.update(update);
        match update {
            Update::Transition(step) => self.step(step),
            Update::Failed(failure) => self.failed(failure),
            Update::Found(_) | Update::Owned { .. } | Update::Lost { .. } => {}
        }
    }

    fn step(&mut self, step: &Transition) {
        let n = u64::from(step.stands_for);
        self.counts.step(step);
        if let Some(closer) = Closer::of(step) {
            self.counts.close(closer, n);
        }
        if step.from == Some(State::SynSent) {
            let again = u64::from(step.retransmits.unwrap_or_default());
            self.connects.left += n;
            self.connects.syn_retransmits += n * again;
            self.connects.retransmitted += n * u64::from(again > 0);
        }
        let (Some(from), dwell_ns) = (step.from, step.dwell_ns) else { return };
        if from == State::TimeWait {
            let reason = step.reason.unwrap_or(Reason::Unknown);
            self.counts.exit(reason, step, self.slack_ns);
            let index = Reason::OF_TIME_WAIT.iter().position(|known| *known == reason);
            let times = self.time_wait_times.get_mut(index.unwrap_or(Reason::OF_TIME_WAIT.len() - 1));
            if let Some((times, ns)) = times.zip(dwell_ns) {
                times.record(ns, n);
            }
        }
        let times = TIMED.iter().position(|timed| *timed == from).and_then(|index| self.state_times.get_mut(index));
        if let (Some(times), Some(ns)) = (times, dwell_ns.filter(|_| step.timing != Timing::Unknown)) {
            times.record(ns, n);
            let is_over = step.to == State::Close && was_made(step.from);
            if is_over && step.reason == Some(Reason::Reset) {
                self.reset_times.record(ns, n);
            }
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let Failure { call, why, flow, owner, .. } = failure;
        let (address, port) = match call {
            Call::Connect => (flow.raddr, flow.rport),
            Call::Bind | Call::Listen => (flow.laddr, flow.lport),
        };
        let failed = self.failed.entry((*call, *why)).or_default();
        failed.count += failure.calls();
        failed.last = Some(LastFailed { comm: owner.as_ref().map(|task| task.comm), address, port });
    }

    /// The kernel side's counts so far.
    pub fn set_exact(&mut self, counters: &wire::Counters) {
        self.exact.set(counters);
    }

    /// How much longer than its 60 s a TIME_WAIT may take, for the timer wheel's sake.
    pub fn set_slack(&mut self, slack_ns: Option<u64>) {
        self.slack_ns = slack_ns;
    }

    /// Whether something was lost since the sockets were last counted; `missed` events are missing by now.
    pub fn must_count(&self, missed: u64) -> bool {
        self.stale || missed != self.missed
    }

    /// Counts those that are there anew; `missed` events are missing by now.
    pub fn count<'a>(&mut self, present: impl Iterator<Item = Present<'a>>, missed: u64) {
        self.standing = SocketsNow::count(present);
        (self.missed, self.stale) = (missed, false);
    }

    /// From now on one connection in so many is told of.
    pub fn thinned(&mut self, one_in: u32) {
        self.one_in = one_in;
    }

    /// Whether it is known how many sockets are in a state: not of SYN_SENT where not all connections are told of, as a connect without a port waits.
    pub fn knows(&self, state: State) -> bool {
        state != State::SynSent || self.one_in == 1
    }

    /// Sockets in a state.
    pub fn now(&self, state: State) -> u64 {
        let each = if state == State::Listen { 1 } else { u64::from(self.one_in) };
        each * self.standing.now(state)
    }

    /// How often a transition occurred.
    pub fn transition(&self, from: Option<State>, to: State) -> u64 {
        let counted = self.exact.since(true);
        let kernel = from.zip(counted.as_ref()).and_then(|(from, counted)| counted.transition(from, to));
        self.amount(self.counts.transition(from, to), kernel).count
    }

    fn amount(&self, seen: u64, kernel: Option<u64>) -> Amount {
        // What was seen was counted before, so that what is read later is never less.
        let is_thinned = self.exact.since(true).is_some_and(|counted| counted.is_thinned());
        if is_thinned {
            Amount::of_thinned(seen, kernel, self.missed > 0)
        } else {
            Amount::of(seen, kernel, self.missed > 0)
        }
    }

    /// How many entered TIME_WAIT.
    pub fn time_wait_entries(&self) -> u64 {
        let counted = self.exact.since(true);
        let kernel = counted.as_ref().and_then(|counted| counted.entered(State::TimeWait));
        if let Some(exact) = counted.as_ref().filter(|counted| counted.is_thinned()) {
            return Amount::mostly_counted(exact.begun_in_time_wait(), self.counts.switched, self.missed > 0).count;
        }
        let amount = self.amount(self.counts.entered(State::TimeWait), kernel);
        counted.map_or(amount, |counted| amount.and_at_least(counted.begun_in_time_wait())).count
    }

    /// How often TIME_WAIT was left, by reason.
    pub fn time_wait_exits(&self) -> Vec<(Reason, u64)> {
        let exits = self.counts.exits(|_| None);
        let count = |reason: Reason| exits.iter().find(|exit| exit.reason == reason).map_or(0, |exit| exit.count);
        Reason::OF_TIME_WAIT.into_iter().map(|reason| (reason, count(reason))).collect()
    }

    /// Times in TIME_WAIT, by the reason for which it was left.
    pub fn time_wait_times(&self) -> impl Iterator<Item = (Reason, &Buckets)> {
        Reason::OF_TIME_WAIT.into_iter().zip(&self.time_wait_times)
    }

    /// Times in the other states.
    pub fn state_times(&self) -> impl Iterator<Item = (State, &Buckets)> {
        TIMED.into_iter().zip(&self.state_times)
    }

    /// Times in their last state, other than TIME_WAIT, of connections that an RST from the peer's side ended.
    pub fn reset_times(&self) -> &Buckets {
        &self.reset_times
    }

    /// TIME_WAITs whose timer ran out too early and too late, without having been restarted.
    pub fn off_time(&self) -> (u64, u64) {
        let summary = self.counts.histogram.summary(self.slack_ns);
        (summary.early, summary.late)
    }

    /// How often TIME_WAIT's clock was restarted, by cause.
    pub fn restarts(&self) -> Vec<(RestartCause, u64)> {
        let causes = self.counts.restart_causes();
        let count =
            |cause: RestartCause| causes.iter().find(|(known, _)| *known == cause).map_or(0, |(_, count)| *count);
        RestartCause::ALL.into_iter().map(|cause| (cause, count(cause))).collect()
    }

    /// How often TIME_WAIT was not entered because `tcp_max_tw_buckets` was reached.
    pub fn overflows(&self) -> u64 {
        self.counts.overflows
    }

    /// Which side closed first.
    pub fn closed(&self) -> ClosedFirst {
        self.counts.closed
    }

    /// How an orphan's FIN_WAIT2 ended without TIME_WAIT, where any did.
    pub fn orphans(&self) -> Vec<(Reason, u64)> {
        self.counts.orphans()
    }

    /// What became of connections in SYN_RECV.
    pub fn syn_recv(&self) -> SynRecvReport {
        self.counts.syn_recv.report()
    }

    /// How full sockets came to CLOSE.
    pub fn ends(&self) -> Vec<EndRow> {
        self.counts.ends.rows()
    }

    /// Calls that failed.
    pub fn failures(&self) -> impl Iterator<Item = (Call, Why, FailedCalls)> {
        self.failed.iter().map(|((call, why), failed)| (*call, *why, *failed))
    }

    /// ConnectTotals, and those whose SYN was sent again.
    pub fn connects(&self) -> ConnectTotals {
        self.connects
    }
}

/// The transitions that occur: from (`None`: what came before was not seen) and to.
pub fn transitions() -> impl Iterator<Item = (Option<State>, State)> {
    let from = LIFE.into_iter().map(Some).chain([None]);
    from.flat_map(|from| LIFE.into_iter().map(move |to| (from, to))).filter(|(from, to)| occurs(*from, *to))
}

/// Whether the state machine has this step (RFC 9293, 3.3.2, and what the kernel makes of it: TCP Fast Open, TCP_REPAIR, connections that end early).
fn occurs(from: Option<State>, to: State) -> bool {
    use State::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent, TimeWait,
    };
    match (from, to) {
        (None, to) => to != Listen && to != Close,
        (Some(Close), to) => matches!(to, Listen | SynSent | Established),
        (Some(from), Close) => from != Close,
        (Some(Listen), to) => to == SynRecv,
        (Some(SynSent), to) => matches!(to, Established | SynRecv | FinWait1),
        (Some(SynRecv), to) => matches!(to, Established | FinWait1 | CloseWait),
        (Some(Established), to) => matches!(to, FinWait1 | CloseWait),
        (Some(FinWait1), to) => matches!(to, FinWait2 | Closing | TimeWait),
        (Some(FinWait2 | Closing), to) => to == TimeWait,
        (Some(CloseWait), to) => to == LastAck,
        (Some(TimeWait | LastAck), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{STATE_BOUNDS_NS, TIME_WAIT_BOUNDS_NS};
    use crate::aggregate::histogram::BOUNDS_MS;

    #[test]
    fn bounds_are_those_of_stat_or_grow_alike() {
        assert!(STATE_BOUNDS_NS.windows(2).all(|two| matches!(two, [one, next] if one * 4 == *next)));
        assert!(TIME_WAIT_BOUNDS_NS.is_sorted());
        assert!(TIME_WAIT_BOUNDS_NS.iter().all(|ns| BOUNDS_MS.contains(&(ns / 1_000_000))));
    }
}
