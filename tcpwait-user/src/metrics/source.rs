//! Where each metric's values come from: counts since the start become a snapshot. Every series that can ever be there is, at 0, from the first one on; what
//! this kernel cannot tell is absent.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    groups::GroupSlots,
    label,
    snapshot::{Exemplar, MetricValue, Series, Snapshot},
    table::{self, Metric},
    values::{DETAILS, FILLS, OF_BIND, OF_CONNECT, OF_LISTEN, OF_ORPHANS, OF_REFUSED_CONNECT, counter, name},
};
use crate::{
    aggregate::{
        audit::{AuditReport, CheckOutcome},
        buckets::Buckets,
        by::{GroupBy, Value as GroupValue},
        ports::{forecast::Forecast, report::PortsReport},
        totals::{FailedCalls, Totals, transitions},
        unfollowed::COUNTERS,
    },
    ledger::Ledger,
    lifecycle::{Call, Detail, Reason, Why},
    names::Names,
    plain,
    tcp::{State, TIMEWAIT_LEN_NS},
    view::key::{comm_of, text},
};

/// Everything that a snapshot is made from.
#[derive(Debug)]
pub struct MetricSource<'a> {
    /// Counts since the start.
    pub totals: &'a Totals,
    /// How ports stand; `None` while that is not known.
    pub ports: Option<&'a PortsReport>,
    /// What was lost.
    pub ledger: &'a Ledger,
    /// How far the counts agree with the kernel's.
    pub audit: &'a AuditReport,
    /// Groups that were asked for.
    pub slots: &'a GroupSlots,
    /// Names for numbers.
    pub names: &'a Names,
    /// Whether the sockets that are older than the exporter are known.
    pub seeded: bool,
    /// How much longer than its 60 s the timer wheel makes a TIME_WAIT, in nanoseconds; `None` before the tick rate is known.
    pub slack_ns: Option<u64>,
    /// What this kernel's hooks tell of.
    pub observed: &'a Observed,
    /// The exporter's version and the kernel's.
    pub versions: (&'a str, &'a str),
    /// The exporter itself; `None` for a recording.
    pub process: Option<&'a OwnCost>,
}

/// What the hooks that this kernel gives tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// When late segments come.
    pub late_segments: bool,
    /// Who accepts a connection before it reads.
    pub accepters: bool,
    /// Connections in SYN_RECV.
    pub syn_recv: bool,
    /// bind() and listen() that fail, and connect() that fails before its SYN.
    pub refused_calls: bool,
}

/// The exporter's own process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnCost {
    /// CPU time in seconds.
    pub cpu_s: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many it may open.
    pub max_fds: u64,
    /// When it began, in seconds since 1970.
    pub start_s: f64,
}

impl MetricSource<'_> {
    /// The values of all metrics.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.states(&mut snapshot);
        self.time_wait(&mut snapshot);
        self.ends(&mut snapshot);
        self.opening(&mut snapshot);
        self.ports(&mut snapshot);
        self.trust(&mut snapshot);
        self.groups(&mut snapshot);
        self.process(&mut snapshot);
        snapshot
    }

    fn states(&self, snapshot: &mut Snapshot) {
        let totals = self.totals;
        let states =
            State::ALL.into_iter().filter(|state| self.seeded && *state != State::Close && totals.knows(*state));
        snapshot.add(&table::SOCKETS, states.map(|state| Series::count("state", word(state), totals.now(state))));
        let step = |(from, to): (Option<State>, State)| {
            let from_word = from.map_or("unknown".to_owned(), word);
            Series::new([("from", from_word), ("to", word(to))], MetricValue::Count(totals.transition(from, to)))
        };
        snapshot.add(&table::TRANSITIONS, transitions().map(step));
        let times = totals.state_times().map(|(state, times)| Series::new([("state", word(state))], seconds(times)));
        snapshot.add(&table::STATE_TIMES, times);
    }

    fn time_wait(&self, snapshot: &mut Snapshot) {
        let totals = self.totals;
        single(snapshot, &table::TIME_WAIT_ENTRIES, Some(MetricValue::Count(totals.time_wait_entries())));
        let exits = totals.time_wait_exits();
        let exits = exits.into_iter().map(|(reason, count)| Series::count("reason", label(reason.name()), count));
        snapshot.add(&table::TIME_WAIT_EXITS, exits);
        let times = totals.time_wait_times();
        let times = times.map(|(reason, times)| Series::new([("reason", label(reason.name()))], seconds(times)));
        snapshot.add(&table::TIME_WAIT_TIMES, times);
        let bounds = self.slack_ns.map(|slack_ns| [("min", TIMEWAIT_LEN_NS), ("max", TIMEWAIT_LEN_NS + slack_ns)]);
        let bound =
            |(bound, ns): (&str, u64)| Series::new([("bound", bound.to_owned())], MetricValue::Number(ns as f64 / 1e9));
        snapshot.add(&table::TIME_WAIT_NORMAL, bounds.into_iter().flatten().map(bound));
        let (early, late) = totals.off_time();
        let off = [("early", early), ("late", late)].map(|(when, count)| Series::count("when", when, count));
        snapshot.add(&table::TIME_WAIT_OFF_TIME, off);
        let restarts = totals.restarts().into_iter();
        let restarts = restarts.map(|(cause, count)| Series::count("cause", label(cause.name()), count));
        snapshot.add(&table::TIME_WAIT_RESTARTS, restarts);
        single(snapshot, &table::TIME_WAIT_OVERFLOWS, Some(MetricValue::Count(totals.overflows())));
    }

    fn ends(&self, snapshot: &mut Snapshot) {
        let closed = self.totals.closed();
        let sides = [
            ("this_side", closed.this_side),
            ("peer", closed.peer),
            ("both", closed.both),
            ("neither", closed.neither),
        ];
        snapshot.add(&table::CLOSED_FIRST, sides.map(|(first, count)| Series::count("first", first, count)));
        // Where TIME_WAIT and SYN_RECV lead has metrics of its own, and a listener is no connection.
        let elsewhere = [State::TimeWait, State::SynRecv, State::Listen];
        let rows: Vec<_> = self
            .totals
            .ends()
            .into_iter()
            .filter(|row| {
                row.from.is_none_or(|from| !elsewhere.contains(&from)) && Reason::OF_ENDS.contains(&row.reason)
            })
            .collect();
        let mut kinds: BTreeSet<(usize, Option<Detail>)> = BTreeSet::new();
        for (at, reason) in Reason::OF_ENDS.into_iter().enumerate() {
            let details = DETAILS.iter().find(|(known, _)| *known == reason).map_or(&[][..], |(_, details)| details);
            kinds.insert((at, None));
            kinds.extend(details.iter().map(|detail| (at, Some(*detail))));
            let more = rows.iter().filter(|row| row.reason == reason);
            kinds.extend(more.map(|row| (at, row.detail)));
        }
        let ends = kinds.into_iter().filter_map(|(at, detail)| {
            let reason = *Reason::OF_ENDS.get(at)?;
            let those = rows.iter().filter(|row| (row.reason, row.detail) == (reason, detail));
            let labels = [
                ("reason", label(reason.name())),
                ("detail", detail.map(|detail| label(detail.name())).unwrap_or_default()),
            ];
            Some(Series::new(labels, MetricValue::Count(those.map(|row| row.count).sum())))
        });
        snapshot.add(&table::ENDS, ends);
        single(snapshot, &table::RESET_TIMES, Some(seconds(self.totals.reset_times())));
        let orphans = self.totals.orphans();
        let count = |reason: Reason| orphans.iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| *count);
        let known = OF_ORPHANS.map(|reason| Series::count("reason", label(reason.name()), count(reason)));
        snapshot.add(&table::ORPHAN_EXITS, known);
    }

    fn opening(&self, snapshot: &mut Snapshot) {
        let report = self.totals.syn_recv();
        let count = |reason: Option<Reason>| {
            report.outcomes.iter().find(|outcome| outcome.reason == reason).map_or(0, |outcome| outcome.count)
        };
        let outcomes = [None].into_iter().chain(Reason::OF_SYN_RECV.map(Some));
        let outcomes = outcomes.filter(|_| self.observed.syn_recv).map(|reason| {
            Series::count(
                "outcome",
                reason.map_or("established".to_owned(), |reason| label(reason.name())),
                count(reason),
            )
        });
        snapshot.add(&table::SYN_RECV_EXITS, outcomes);
        let again = self.observed.syn_recv.then_some(MetricValue::Count(report.retransmits));
        single(snapshot, &table::SYN_ACK_RETRANSMITS, again);
        let grown =
            |counter: &str| self.audit.unfollowed.iter().find(|(name, _)| *name == counter).map(|(_, sum)| *sum);
        let events =
            COUNTERS.into_iter().filter_map(|counter| Some(Series::count("counter", counter, grown(counter)?)));
        snapshot.add(&table::LISTEN_EVENTS, events);
        let connects = self.totals.connects();
        single(snapshot, &table::CONNECTS, Some(MetricValue::Count(connects.left)));
        single(snapshot, &table::CONNECTS_RETRANSMITTED, Some(MetricValue::Count(connects.retransmitted)));
        self.failed_calls(snapshot);
    }

    fn failed_calls(&self, snapshot: &mut Snapshot) {
        let refused = self.observed.refused_calls;
        let whys = |call: Call, whys: &'static [Why]| whys.iter().map(move |why| (call, *why));
        let told = whys(Call::Connect, &OF_REFUSED_CONNECT)
            .chain(whys(Call::Bind, &OF_BIND))
            .chain(whys(Call::Listen, &OF_LISTEN))
            .filter(|_| refused);
        let mut kinds: Vec<(Call, Why)> = whys(Call::Connect, &OF_CONNECT).chain(told).collect();
        let failed: Vec<(Call, Why, FailedCalls)> = self.totals.failures().collect();
        kinds.extend(failed.iter().map(|(call, why, _)| (*call, *why)));
        kinds.sort_unstable();
        kinds.dedup();
        let series = kinds.into_iter().map(|(call, why)| {
            let of = failed.iter().find(|(known, cause, _)| (*known, *cause) == (call, why));
            let of = of.map(|(_, _, failed)| *failed).unwrap_or_default();
            let labels = [("call", call.name().to_owned()), ("why", label(why.name()))];
            Series { exemplar: of.last.map(exemplar), ..Series::new(labels, MetricValue::Count(of.count)) }
        });
        snapshot.add(&table::FAILED_CALLS, series);
    }

    fn ports(&self, snapshot: &mut Snapshot) {
        // Ports that only some connections are known to hold are no number.
        let Some(report) = self.ports.filter(|_| self.seeded && self.ledger.one_in <= 1) else { return };
        let mut counts = FILLS.map(|(fill, _)| (fill, 0));
        for share in report.rows.iter().filter_map(|row| row.share) {
            let at = FILLS.iter().position(|(_, from)| share >= *from);
            if let Some((_, count)) = at.and_then(|at| counts.get_mut(at)) {
                *count += 1;
            }
        }
        snapshot.add(&table::PORT_DESTINATIONS, counts.map(|(fill, count)| Series::count("taken", fill, count)));
        let known = report.rows.iter().filter_map(|row| Some((row, row.share?, row.size?)));
        let fullest = known.max_by(|(_, one, _), (_, other, _)| one.total_cmp(other));
        let used = fullest.map(|(_, share, size)| (share * size as f64).round());
        single(snapshot, &table::PORTS_FULLEST_USED, used.map(MetricValue::Number));
        single(snapshot, &table::PORTS_FULLEST_LIMIT, fullest.map(|(_, _, size)| MetricValue::Number(size as f64)));
        let bound = report.bound.iter().flatten().map(|bound| bound.forecast);
        let soonest = report.rows.iter().map(|row| row.forecast).chain(bound).filter_map(full_in_s);
        single(snapshot, &table::PORTS_SOONEST_FULL, soonest.min_by(f64::total_cmp).map(MetricValue::Number));
    }

    fn trust(&self, snapshot: &mut Snapshot) {
        let ledger = self.ledger;
        let ring = ledger.lost_ring.unwrap_or_default();
        let lost = [
            ("state_changes", Some(ring.states)),
            ("time_wait_begins", Some(ring.beginnings)),
            ("time_wait_ends", Some(ring.ends)),
            ("late_segments", Some(ring.segments)),
            ("owners", Some(ring.owners)),
            ("syn_recv", Some(ring.requests)),
            ("failed_calls", Some(ring.failures)),
            ("withheld", ledger.recursion()),
            ("unreadable", Some(ledger.unreadable)),
            ("undecodable", Some(ledger.undecodable)),
        ];
        let lost = lost.into_iter().filter_map(|(cause, count)| Some(Series::count("cause", cause, count?)));
        snapshot.add(&table::EVENTS_LOST, lost);
        single(snapshot, &table::SAMPLE, Some(MetricValue::Number(ledger.one_in.max(1).into())));
        single(snapshot, &table::LEFT_OUT, Some(MetricValue::Count(ledger.left_out())));
        let unmatched = ledger.tally.unmatched;
        let unmatched = [
            ("time_wait_end", unmatched.ends),
            ("time_wait_begin", unmatched.beginnings),
            ("state_change", unmatched.gaps),
            ("syn_recv", unmatched.requests),
            ("overdue", unmatched.overdue),
        ];
        snapshot.add(&table::UNMATCHED, unmatched.map(|(what, count)| Series::count("what", what, count)));
        let checks = self.audit.checks.iter().map(|(check, outcome)| {
            let off = match outcome {
                CheckOutcome::Differs(off) => *off,
                CheckOutcome::Agrees | CheckOutcome::Lost(_) => 0,
            };
            Series::new([("counter", counter(check.what).to_owned())], MetricValue::Number(off as f64))
        });
        snapshot.add(&table::AUDIT_DIFFERENCE, checks);
        let Observed { late_segments, accepters, syn_recv, refused_calls } = *self.observed;
        let observed = [
            // Without these it does not start.
            ("state_changes", true),
            ("time_wait", true),
            ("late_segments", late_segments),
            ("accepters", accepters),
            ("syn_recv", syn_recv),
            ("refused_calls", refused_calls),
        ];
        snapshot.add(&table::OBSERVED, observed.map(|(what, is)| Series::count("what", what, is.into())));
        let (version, kernel) = self.versions;
        let build = [("version", version.to_owned()), ("kernel", kernel.to_owned())];
        snapshot.add(&table::BUILD, [Series::new(build, MetricValue::Info)]);
    }

    fn groups(&self, snapshot: &mut Snapshot) {
        let by = self.slots.by();
        if by.is_empty() {
            return;
        }
        let labels = |values: &[GroupValue], other: bool| {
            let mut labels: Vec<(&'static str, String)> = Vec::new();
            for (by, value) in by.iter().zip(values) {
                match (by, value) {
                    (GroupBy::Pod, value) => labels.extend(self.pod(*value)),
                    (by, GroupValue::Unknown) => labels.push((name(*by), String::new())),
                    (by, GroupValue::Process(comm)) => labels.push((name(*by), comm_of(*comm))),
                    (by, value) => labels.push((name(*by), text(*value, self.names))),
                }
            }
            labels.push(("other", other.to_string()));
            labels
        };
        // Groups that have the same name are one series: a service that is started anew has another cgroup of the same path.
        let mut counts: BTreeMap<Vec<(&'static str, String)>, u64> = BTreeMap::new();
        for (values, count) in self.slots.groups() {
            *counts.entry(labels(values, false)).or_default() += count;
        }
        let series = |(labels, count)| Series { labels, value: MetricValue::Count(count), exemplar: None };
        let others = (labels(&vec![GroupValue::Unknown; by.len()], true), self.slots.others());
        snapshot.add(&table::GROUP_ENTRIES, counts.into_iter().chain([others]).map(series));
        let is_full = MetricValue::Number(f64::from(u8::from(self.slots.is_full())));
        single(snapshot, &table::GROUP_SLOTS_FULL, Some(is_full));
    }

    /// The labels of a pod and container, by the names that kube-state-metrics and the kubelet give them.
    fn pod(&self, value: GroupValue) -> [(&'static str, String); 3] {
        let pod = if let GroupValue::Pod(cgroup) = value { self.names.pod(cgroup) } else { None };
        let namespace = pod.and_then(|pod| pod.namespace.as_deref()).map(plain::column);
        let name = pod.map(|pod| plain::column(&pod.name));
        let container = pod.and_then(|pod| pod.container.as_deref()).map(plain::column);
        [("namespace", namespace), ("pod", name), ("container", container)]
            .map(|(label, value)| (label, value.unwrap_or_default()))
    }

    fn process(&self, snapshot: &mut Snapshot) {
        let Some(process) = self.process else { return };
        let numbers: [(&'static Metric, f64); 6] = [
            (&table::PROCESS_CPU, process.cpu_s),
            (&table::PROCESS_RESIDENT, process.resident_bytes as f64),
            (&table::PROCESS_VIRTUAL, process.virtual_bytes as f64),
            (&table::PROCESS_FDS, process.open_fds as f64),
            (&table::PROCESS_MAX_FDS, process.max_fds as f64),
            (&table::PROCESS_START, process.start_s),
        ];
        for (metric, number) in numbers {
            single(snapshot, metric, Some(MetricValue::Number(number)));
        }
    }
}

fn single(snapshot: &mut Snapshot, metric: &'static Metric, value: Option<MetricValue>) {
    snapshot.add(metric, value.map(|value| Series::new([], value)));
}

fn word(state: State) -> String {
    label(&state.to_string())
}

fn seconds(times: &Buckets) -> MetricValue {
    let buckets = times.each().map(|(bound_ns, count)| (bound_ns.map_or(f64::INFINITY, |ns| ns as f64 / 1e9), count));
    MetricValue::Times {
        sum: times.sum_s(),
        buckets: buckets.collect(),
        exponential: times.exponential().collect(),
        zero: times.zero(),
    }
}

fn full_in_s(forecast: Option<Forecast>) -> Option<f64> {
    match forecast? {
        Forecast::Full { .. } => Some(0.0),
        Forecast::FullIn { in_ns } => Some(in_ns as f64 / 1e9),
        Forecast::Steady { .. } | Forecast::Idle => None,
    }
}

fn exemplar(last: crate::aggregate::totals::LastFailed) -> Exemplar {
    let comm = last.comm.map(|comm| ("comm", comm_of(comm)));
    let address = [("address", last.address.to_string()), ("port", last.port.to_string())];
    Exemplar::new(comm.into_iter().chain(address).collect())
}
