//! What the aggregates say when a report is due: of the interval, or of the whole time.

use super::{
    Aggregate, LIFE,
    age::AgeSummary,
    amount::Amount,
    audit::AuditReport,
    by::{GroupBy, Value},
    census::SocketCensus,
    counts::Counts,
    end_report::EndReport,
    exact::Counted,
    findings::{self, Sources},
    group_row::Rows,
    groups::Sort,
    report::{Lead, StatReport, StateRow, TimeWait, TransitionRow},
    sample::Sample,
    unfollowed::Growth,
};
use crate::{ledger::Ledger, tcp::State};

const NS: f64 = 1e9;

impl Aggregate {
    /// Ends the interval at this time and reports on it, or (`is_final`) on the whole time.
    pub fn report(
        &mut self,
        end_ns: u64,
        is_final: bool,
        ledger: Ledger,
        audit: AuditReport,
        census: SocketCensus,
    ) -> StatReport {
        let exact = self.exact.since(is_final);
        let begin_ns = if is_final { self.begin_ns } else { self.interval_begin_ns };
        let seconds = Some(end_ns.saturating_sub(begin_ns) as f64 / NS).filter(|seconds| *seconds > 0.0);
        let per_s = |count: u64| seconds.map(|seconds| count as f64 / seconds);
        self.total.add(&self.interval);
        if is_final {
            self.groups.end_interval();
        }
        let mut groups = self.groups.rows(is_final, self.wanted.sort, self.wanted.top);
        groups.stand_for(u64::from(self.sample.report(is_final).one_in));
        let counts = if is_final { &self.total } else { &self.interval };
        let missed = ledger.missed();
        if missed > self.missed {
            self.missed_ns = Some(end_ns);
        }
        // After a loss the model recovers, by its own clocks and a new listing; what was added up here does not.
        let sample = self.sample.report(is_final);
        // Of those that listen all are told of.
        let each = |state: State| if state == State::Listen { 1 } else { u64::from(sample.one_in) };
        let there =
            |state: State| if missed > 0 { census.now(state) } else { each(state) * self.connections.now(state) };
        let now = there(State::TimeWait);
        let lost = missed > if is_final { 0 } else { self.missed };
        let seen = Seen { counts, exact: exact.as_ref(), lost, thinned: sample.is_thinned() };
        let (entered, left) = (seen.entered(State::TimeWait), seen.left(State::TimeWait));
        let entered_seen = counts.entered(State::TimeWait);
        for row in groups.groups.iter_mut().chain([&mut groups.others]) {
            row.share = (entered_seen > 0).then(|| row.entered as f64 / entered_seen as f64);
            row.rate_per_s = per_s(row.entered);
        }
        let lead = self.lead(is_final, entered_seen, now);
        let ages = self.connections.ages(end_ns);
        let age = |state: State| ages.get(state as usize).copied().unwrap_or_default();
        let failures = self.failures.report(is_final, self.wanted.top);
        let leads = self.groups.end_leads(is_final);
        let none = Vec::new();
        let unfollowed = if is_final { &none } else { &self.unfollowed };
        let before = if is_final { self.first.as_ref() } else { self.before.as_ref() };
        let growth = Growth::between(unfollowed, &audit.unfollowed, audit.full);
        let findings = findings::find(&Sources {
            census: &census,
            before,
            length_ns: end_ns.saturating_sub(begin_ns),
            failures: &failures.rows,
            unfollowed: &growth,
            settings: &|netns| self.settings.get(&netns),
            overflows: counts.overflows,
            leads: &leads,
        });
        let report = StatReport {
            begin_ns,
            end_ns,
            is_final,
            states: LIFE
                .into_iter()
                .map(|state| state_row((state, there(state)), (&seen, sample), age(state)))
                .collect(),
            transitions: transitions(counts, exact.as_ref()),
            time_wait: TimeWait {
                now,
                entered,
                entered_seen,
                left,
                entered_per_s: per_s(entered.count),
                left_per_s: per_s(left.count),
                exits: counts.exits(per_s),
                orphans: counts.orphans(),
                restarts: counts.restarts,
                restart_causes: counts.restart_causes(),
                overflows: counts.overflows,
                closed: counts.closed,
                histogram: counts.histogram.summary(self.wheel.slack_ns),
                natural_ns: counts.natural_ns,
                hz: self.wheel.hz,
                steady: self.entries.steady((self.begin_ns, end_ns), self.missed_ns, now),
            },
            syn_recv: counts.syn_recv.report(),
            unfollowed: growth,
            several_namespaces: several(&census, &groups, self.groups.by()),
            netns_implied: self.wanted.netns_implied,
            findings,
            places: census.places(before),
            time_waits: census.time_waits(),
            ends: EndReport::new(&counts.ends, &counts.end_dwells, per_s, leads),
            failures,
            connects: self.connects.report(is_final, self.wanted.top),
            by: self.groups.by().to_vec(),
            groups,
            lead,
            sample,
            ledger,
            audit,
        };
        self.unfollowed.clone_from(&report.audit.unfollowed);
        self.before = Some(census);
        self.exact.end_interval();
        self.sample.end_interval();
        self.missed = missed;
        self.groups.end_interval();
        self.failures.end_interval();
        self.connects.end_interval();
        self.interval = Counts::default();
        self.interval_begin_ns = end_ns;
        report
    }

    fn lead(&self, whole: bool, entered: u64, now: u64) -> Option<Lead> {
        let of_entered = entered > 0;
        let (sort, all) = if of_entered { (Sort::Entered, entered) } else { (Sort::Now, now) };
        // Of those that are there already, who closed them may have been seen before this interval.
        let mut rows = self.groups.rows(whole || !of_entered, sort, 1);
        rows.stand_for(u64::from(self.sample.report(whole).one_in));
        let group = rows.groups.into_iter().next()?;
        let mine = if of_entered { group.entered } else { group.now };
        (mine > 0).then(|| Lead { share: mine as f64 / all as f64, of_entered, group })
    }
}

/// `now`: how many there are.
fn state_row((state, now): (State, u64), (seen, sample): (&Seen<'_>, Sample), age: AgeSummary) -> StateRow {
    // A connect whose port is not chosen yet is told of with its next step, where not all are.
    let is_known = state != State::Close && (state != State::SynSent || sample.one_in == 1);
    StateRow {
        state,
        now: is_known.then_some(now),
        entered: seen.entered(state),
        left: seen.left(state),
        dwell: seen.counts.dwell(state),
        age,
    }
}

/// Whether there are sockets of more than one network namespace, or groups.
fn several(census: &SocketCensus, groups: &Rows, by: &[GroupBy]) -> bool {
    let mut namespaces = census.namespaces().clone();
    let keys = groups.groups.iter().flat_map(|row| by.iter().zip(&row.key));
    namespaces.extend(keys.filter_map(|(_, value)| match value {
        Value::Netns(netns) => Some(*netns),
        _ => None,
    }));
    namespaces.len() > 1
}

/// What was seen, and what the kernel side counted meanwhile.
struct Seen<'a> {
    counts: &'a Counts,
    exact: Option<&'a Counted>,
    /// Whether events were lost.
    lost: bool,
    /// Whether only some connections were told of.
    thinned: bool,
}

impl Seen<'_> {
    fn entered(&self, state: State) -> Amount {
        // Connections in SYN_RECV are request sockets, which change no state.
        let counted = self.exact.filter(|_| state != State::SynRecv).and_then(|exact| exact.entered(state));
        if self.thinned {
            return match (state, self.exact) {
                (State::TimeWait, Some(exact)) => {
                    Amount::mostly_counted(exact.begun_in_time_wait(), self.counts.switched, self.lost)
                }
                (State::SynRecv, Some(exact)) => {
                    Amount::of_thinned(self.counts.entered(state), Some(exact.syn_recv()), self.lost)
                }
                _ => Amount::of_thinned(self.counts.entered(state), counted, self.lost),
            };
        }
        let amount = Amount::of(self.counts.entered(state), counted, self.lost);
        match (state, self.exact) {
            (State::TimeWait, Some(exact)) => amount.and_at_least(exact.begun_in_time_wait()),
            (State::SynRecv, Some(exact)) => amount.and_at_least(exact.syn_recv()),
            _ => amount,
        }
    }

    fn left(&self, state: State) -> Amount {
        let counted = self.exact.filter(|_| state != State::SynRecv).and_then(|exact| exact.left(state));
        if self.thinned {
            return Amount::of_thinned(self.counts.left(state), counted, self.lost);
        }
        Amount::of(self.counts.left(state), counted, self.lost)
    }
}

/// Every transition that was seen, or that the kernel side counted although no record of it was left.
fn transitions(counts: &Counts, exact: Option<&Counted>) -> Vec<TransitionRow> {
    let from = LIFE.into_iter().map(Some).chain([None]);
    let all = from.flat_map(|from| LIFE.into_iter().map(move |to| (from, to)));
    all.map(|(from, to)| {
        let kernel = from.zip(exact).and_then(|(from, exact)| exact.transition(from, to));
        TransitionRow { from, to, count: counts.transition(from, to), kernel }
    })
    .filter(|row| row.count > 0 || row.kernel.unwrap_or_default() > 0)
    .collect()
}
