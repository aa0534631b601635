//! From the connections there are to a report: adds them up by destination, and looks ahead for each.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{
    HeldPort, Other, PortModel, Track,
    advice::{Case, advise},
    bound::PassedOver,
    failures::{About, Process},
    forecast::{Forecast, Load, foresee},
    owners::{count_owner, most},
    pace::{Pace, Rates},
    report::{BindFailure, Mean, Others, PortDestination, PortRow, PortsReport, Reusable, TopHolder},
    settings::PortSettings,
    states::PortStates,
};
use crate::{
    ledger::Ledger,
    lifecycle::Why,
    tcp::{NetnsId, State, TIMEWAIT_LEN_NS},
};

/// After so long the TIME_WAITs that ended are not only those that ended early.
const LONG_ENOUGH_NS: u64 = 65_000_000_000;

/// A destination counts as full while connect() failed no longer ago.
const RECENT_NS: u64 = 10_000_000_000;

/// A connect() that fails while more than this share of the range is free fails for another reason than the others' number.
const MUCH_FREE: f64 = 0.1;

/// A destination that holds less than this share of its ports, and is not going to fill up, needs no advice.
const WORTH_ADVICE: f64 = 0.5;

/// Beyond so many destinations those are forgotten that nobody connects to, and with them how long their ports were held.
const MAX_IDLE: usize = 10_000;

/// What holds ports towards a destination.
#[derive(Debug, Default)]
struct Tally {
    states: PortStates,
    in_use: u64,
    /// Of those, ports that bind() gave to a socket, of this destination or another.
    bound: u64,
    outside: u64,
    /// When each TIME_WAIT began, and whether its connection had timestamps.
    waits: Vec<(u64, Option<bool>)>,
    /// Of those that were seen to begin: how many there are, and the sum of the times at which they did.
    begun: u64,
    begun_sum_ns: u128,
}

impl Tally {
    fn add(&mut self, held: &HeldPort, settings: Option<&PortSettings>, closed: Option<&PassedOver>) {
        // A port that is not known yet was chosen by the kernel.
        if held.lport != 0 && settings.and_then(|settings| settings.has(held.lport)) == Some(false) {
            self.outside += 1;
            return;
        }
        self.in_use += 1;
        if let Some(begun_ns) = held.begun_ns {
            self.begun += 1;
            self.begun_sum_ns += u128::from(begun_ns);
        }
        self.bound += u64::from(closed.is_some_and(|closed| closed.bound.contains(&held.lport)));
        let states = &mut self.states;
        match held.state {
            State::SynSent | State::SynRecv => states.connecting += 1,
            State::Established => states.established += 1,
            State::CloseWait => states.close_wait += 1,
            State::FinWait1 | State::Closing | State::LastAck | State::Close | State::Listen => states.closing += 1,
            State::FinWait2 => states.fin_wait2 += 1,
            State::TimeWait => {
                states.time_wait += 1;
                self.waits.push((held.waits_ns, held.timestamps));
            }
        }
    }
}

impl Tally {
    /// How old those that were seen to begin are on average.
    fn mean_age_ns(&self, now_ns: u64) -> Option<u64> {
        let begun_ns = self.begun_sum_ns.checked_div(self.begun.into())?;
        Some(now_ns.saturating_sub(begun_ns.try_into().ok()?))
    }
}

impl PortModel {
    /// Reports on this time, with so many destinations by themselves.
    pub fn report(&mut self, end_ns: u64, is_final: bool, top: usize, ledger: Ledger) -> PortsReport {
        // What is left out on purpose is as unknown here as what is lost.
        let missed = ledger.missed().saturating_add(ledger.left_out());
        if missed > self.missed {
            (self.missed, self.missed_ns) = (missed, Some(end_ns));
        }
        self.unsure = ledger.now_unsure;
        let closed = self.closed();
        let bound = self.bound(&closed, end_ns);
        let growth_per_s: HashMap<NetnsId, f64> =
            bound.iter().map(|row| (row.source.netns, self.bound_growth_per_s(row.source.netns, end_ns))).collect();
        let tallies = self.tallies(&closed);
        if self.tracks.len() > MAX_IDLE {
            self.tracks.retain(|destination, track| {
                tallies.contains_key(destination) || !track.failures.is_empty() || !track.pace.is_idle(end_ns)
            });
        }
        let mut rows: Vec<PortRow> = self
            .tracks
            .iter()
            .map(|(destination, track)| {
                let netns = destination.netns;
                let others = Elsewhere {
                    closed: closed.get(&netns),
                    growth_per_s: growth_per_s.get(&netns).copied().unwrap_or(0.0),
                };
                self.row(destination, track, tallies.get(destination), others, end_ns)
            })
            .collect();
        rows.sort_by(|a, b| urgency(a).total_cmp(&urgency(b)).then_with(|| a.destination.cmp(&b.destination)));
        // What holds nothing of the range and failed nowhere is in the way of nobody.
        let is_shown = |row: &PortRow| row.in_use > 0 || !row.failures.is_empty();
        let shown = rows.iter().filter(|row| is_shown(row)).count().min(top);
        let (mut rows, mut rest): (Vec<PortRow>, Vec<PortRow>) = rows.into_iter().partition(is_shown);
        rest.retain(|row| row.outside > 0);
        rest.extend(rows.split_off(shown));
        self.name_holders(&mut rows);
        let places = rows.iter().map(|row| row.destination.netns).chain(bound.iter().map(|row| row.source.netns));
        let mut namespaces: Vec<NetnsId> = places.collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        PortsReport {
            begin_ns: self.begin_ns,
            end_ns,
            is_final,
            traced: self.traced,
            namespaces: namespaces.into_iter().map(|netns| (netns, self.settings.get(&netns).cloned())).collect(),
            others: others(&rest),
            rows,
            bound: self.knows_bound().then_some(bound),
            unknown: self.others.iter().filter(|(_, other)| self.is_unknown(other)).count() as u64,
            binds: self.bind_failures(),
            at_least: missed > 0,
            ledger,
        }
    }

    /// Outgoing connections by destination.
    fn tallies(&self, closed: &HashMap<NetnsId, PassedOver>) -> HashMap<Arc<PortDestination>, Tally> {
        let mut tallies: HashMap<Arc<PortDestination>, Tally> = HashMap::new();
        for (_, held) in self.held.iter() {
            let netns = held.destination.netns;
            let tally = tallies.entry(held.destination.clone()).or_default();
            tally.add(held, self.settings.get(&netns), closed.get(&netns));
        }
        tallies
    }

    /// Whether it is seen which ports bind() takes: sock_diag does not tell, and a selection leaves out what others take.
    fn knows_bound(&self) -> bool {
        self.traced && self.whole
    }

    /// Whether a connection may be an outgoing one that holds a port of the range.
    fn is_unknown(&self, other: &Other) -> bool {
        !other.closes && self.settings.get(&other.netns).and_then(|settings| settings.has(other.lport)) != Some(false)
    }

    fn row(
        &self,
        destination: &PortDestination,
        track: &Track,
        tally: Option<&Tally>,
        elsewhere: Elsewhere<'_>,
        end_ns: u64,
    ) -> PortRow {
        let none = Tally::default();
        let tally = tally.unwrap_or(&none);
        let settings = self.settings.get(&destination.netns);
        let closed = elsewhere.closed;
        let size = settings.and_then(|settings| {
            settings.available(closed.into_iter().flat_map(|closed| closed.served.iter().copied()))
        });
        let bound_elsewhere = closed.map_or(0, |closed| (closed.bound.len() as u64).saturating_sub(tally.bound));
        let rates = self.rates(&track.pace, end_ns);
        let reuses = settings.and_then(|settings| settings.reuses(destination.laddr, destination.raddr));
        let (soon_ns, surely_ns) = settings.unwrap_or(&PortSettings::default()).reuse_age_ns();
        let natural_ns = self.natural_wait_ns(track, end_ns);
        let mut reusable = Reusable::default();
        let mut load = Load {
            size: size.unwrap_or_default(),
            active: tally.in_use - tally.states.time_wait + bound_elsewhere,
            ..Load::default()
        };
        for (began_ns, timestamps) in &tally.waits {
            let age_ns = end_ns.saturating_sub(*began_ns);
            let may = match (reuses, timestamps) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
            match may {
                Some(true) if age_ns > surely_ns => reusable.now += 1,
                Some(false) => reusable.not += 1,
                _ if age_ns <= soon_ns => reusable.not += 1,
                _ => reusable.unknown += 1,
            }
            let in_the_way_ns = if may == Some(true) { surely_ns } else { natural_ns };
            if may != Some(true) || age_ns <= surely_ns {
                load.ends_ns.push(in_the_way_ns.saturating_sub(age_ns));
            }
        }
        let known = track.with_timestamps + track.without_timestamps;
        let share_reused = match (reuses, known) {
            (Some(true), 1..) => track.with_timestamps as f64 / known as f64,
            _ => 0.0,
        };
        load.wait_ns = (share_reused * surely_ns as f64 + (1.0 - share_reused) * natural_ns as f64) as u64;
        // Those that are bound for this destination are among its own.
        let mut growth_per_s = rates.map_or(0.0, |rates| rates.growth_per_s);
        if let Some((rates, level)) = rates.zip(track.level(rates, end_ns)) {
            // They become more as none of the first had to end yet, not as they leak.
            growth_per_s = growth_per_s.min(0.0);
            load.active = load.active.max((rates.taken_per_s * level) as u64);
        }
        load.growth_per_s = if tally.bound > 0 {
            growth_per_s.max(elsewhere.growth_per_s)
        } else {
            growth_per_s.max(0.0) + elsewhere.growth_per_s
        };
        load.waits_per_s = rates.map_or(0.0, |rates| rates.waits_per_s);
        let wait_ns = load.wait_ns;
        let needed = rates
            .filter(|rates| rates.taken_per_s + rates.failed_per_s > 0.0 && !rates.at_least)
            .map(|rates| load.active as f64 + (rates.waits_per_s + rates.failed_per_s) * wait_ns as f64 / 1e9);
        let in_the_way = load.active + load.ends_ns.len() as u64;
        let share = size.filter(|size| *size > 0).map(|size| in_the_way as f64 / size as f64);
        let fails = track.failures.last_without_port_ns().is_some_and(|at_ns| at_ns + RECENT_NS >= end_ns);
        let mut row = PortRow {
            destination: *destination,
            in_use: tally.in_use,
            states: tally.states,
            outside: tally.outside,
            bound_elsewhere: self.knows_bound().then_some(bound_elsewhere),
            size,
            reusable,
            share,
            rates,
            held: Mean { count: track.held.count, mean_ns: track.held_ns(tally.mean_age_ns(end_ns)) },
            wait_ns,
            needed,
            forecast: size.and_then(|_| foresee(load, rates, fails, self.unsure)),
            reuse_unknown: reuses != Some(false) && reusable.unknown > 0 && known == 0,
            fails_early: fails && share.is_some_and(|share| share < 1.0 - MUCH_FREE),
            holder: None,
            failures: track.failures.rows(),
            advice: None,
        };
        if needs_advice(&row) {
            row.advice = Some(advise(Case {
                settings,
                reuses,
                timestamps: (known > 0).then_some(track.with_timestamps > 0),
                states: tally.states,
                bound_elsewhere,
                fails_early: row.fails_early,
                time_wait_soon: rates.map_or(0.0, |rates| rates.waits_per_s * wait_ns as f64 / 1e9),
            }));
        }
        row
    }

    /// Rates of what was traced.
    pub(super) fn rates(&self, pace: &Pace, end_ns: u64) -> Option<Rates> {
        let rates = pace.rates(self.begin_ns, end_ns).filter(|_| self.traced)?;
        Some(rates.with_loss(self.missed_ns, end_ns))
    }

    /// How long a TIME_WAIT takes that connect() does not end: as measured, or 60 s and half a bucket of the timer wheel.
    fn natural_wait_ns(&self, track: &Track, end_ns: u64) -> u64 {
        let expected_ns = TIMEWAIT_LEN_NS + self.slack_ns.unwrap_or_default() / 2;
        if end_ns.saturating_sub(self.begin_ns) < LONG_ENOUGH_NS {
            return expected_ns;
        }
        track.waits.mean().unwrap_or(expected_ns)
    }

    fn name_holders(&self, rows: &mut [PortRow]) {
        let mut owners: HashMap<PortDestination, HashMap<[u8; 16], (Process, u64)>> =
            rows.iter().map(|row| (row.destination, HashMap::new())).collect();
        for (_, held) in self.held.iter() {
            let Some((owner, counts)) = held.owner.as_deref().zip(owners.get_mut(&*held.destination)) else { continue };
            count_owner(counts, owner);
        }
        for row in rows {
            let Some(counts) = owners.get(&row.destination) else { continue };
            let known = counts.values().map(|(_, count)| count).sum();
            // Of ports that are all in TIME_WAIT since before the trace nobody knows whose they are. Who wants more need not be who has them.
            row.holder = most(counts).map(|(process, ports)| TopHolder { process, ports, known });
        }
    }

    fn bind_failures(&self) -> Vec<BindFailure> {
        let mut all: Vec<BindFailure> = self
            .binds
            .iter()
            .flat_map(|((netns, interface, laddr, lport), failures)| {
                failures.rows().into_iter().map(|failed| BindFailure {
                    netns: *netns,
                    interface: *interface,
                    laddr: *laddr,
                    lport: (*lport != 0).then_some(*lport),
                    failed,
                })
            })
            .collect();
        all.sort_by_key(|bind| std::cmp::Reverse(bind.failed.count));
        all
    }
}

impl Track {
    /// How many seconds a connection takes before TIME_WAIT, where the traffic is so young that this alone explains why they become more: each that
    /// has come stays so long, so until twice that time is over (some take longer than others) fewer end than begin.
    fn level(&self, rates: Option<Rates>, now_ns: u64) -> Option<f64> {
        let (rates, active_ns, first_ns) = (rates?, self.active.mean()?, self.first_ns?);
        let before_ns = now_ns.saturating_sub(first_ns).saturating_sub(rates.window_ns);
        (before_ns < active_ns.saturating_mul(2)).then_some(active_ns as f64 / 1e9)
    }

    /// How long a port was held, of those that came free. They tell it only if those that did not are younger: the first to come free are
    /// those that were held for a short time.
    fn held_ns(&self, age_ns: Option<u64>) -> Option<u64> {
        self.held.mean().filter(|mean_ns| age_ns.is_none_or(|age_ns| age_ns <= *mean_ns))
    }
}

/// What bind() takes from a destination's connect() for others.
#[derive(Clone, Copy, Debug)]
struct Elsewhere<'a> {
    closed: Option<&'a PassedOver>,
    /// By how many ports a second that becomes more.
    growth_per_s: f64,
}

fn needs_advice(row: &PortRow) -> bool {
    let fills = match row.forecast {
        Some(Forecast::Full { .. } | Forecast::FullIn { .. }) => true,
        Some(Forecast::Steady { share, .. }) => share >= WORTH_ADVICE,
        Some(Forecast::Idle) | None => false,
    };
    let failed = row.failures.iter().any(|failed| failed.why == Why::NoFreePort || failed.why == Why::PortTaken);
    fills || failed || row.share.is_some_and(|share| share >= WORTH_ADVICE)
}

/// What comes first is least: full, then those soonest full, then the fullest.
fn urgency(row: &PortRow) -> f64 {
    const LATE_S: f64 = 1e12;
    let share = row.share.unwrap_or_default().min(1.0);
    match row.forecast {
        Some(Forecast::Full { .. }) => -1.0 - row.in_use as f64 / 1e9,
        Some(Forecast::FullIn { in_ns }) => in_ns as f64 / 1e9,
        Some(Forecast::Steady { share: then, .. }) => LATE_S * (3.0 - then.max(share).min(1.0)),
        Some(Forecast::Idle) | None if row.size.is_some() => LATE_S * (3.0 - share),
        // Without a size the number alone can tell.
        _ => LATE_S * (4.0 - row.in_use as f64 / 65536.0),
    }
}

fn others(rest: &[PortRow]) -> Others {
    let mut others = Others { destinations: rest.len() as u64, ..Others::default() };
    for row in rest {
        others.in_use += row.in_use;
        others.time_wait += row.states.time_wait;
        others.fin_wait2 += row.states.fin_wait2;
        others.outside += row.outside;
        let ports = row.failures.iter().filter(|failed| failed.about() == About::Ports);
        others.failed += ports.map(|failed| failed.count).sum::<u64>();
    }
    others
}
