//! How often a comparison finds a difference where there is none, and whether it finds the one that there is: on connections that come by chance, as
//! steadily or unsteadily as is said.

use std::{net::Ipv4Addr, sync::Arc};

use tcpwait::{
    aggregate::{
        by::{GroupBy, Value},
        failures::FailureKind,
    },
    diff::{
        blocks::Window,
        comparable::SideFacts,
        compare::{DiffReport, Side},
        measured::Measuring,
        quantity::Quantity,
        subject::DiffNames,
        verdict::DiffVerdict,
    },
    event::Task,
    lifecycle::{Reason, Transition, Update},
    names::Names,
    origin::Origin as MadeBy,
    tcp::{Flow, NetnsId, State},
};

const S: f64 = 1e9;

/// Chance, the same each time (xorshift64*).
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 up to 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// What passes until something comes that comes so often a second, by chance.
    fn wait_s(&mut self, per_s: f64) -> f64 {
        -(1.0 - self.next()).ln() / per_s
    }
}

/// What comes.
#[derive(Clone, Copy)]
struct Load {
    /// Connections a second of each of two services.
    per_s: [f64; 2],
    /// So many at once.
    at_once: u32,
    /// The mean length of a connection, in seconds.
    length_s: f64,
    /// Of these, such as end by a reset.
    resets: f64,
}

const STEADY: Load = Load { per_s: [25.0, 10.0], at_once: 1, length_s: 0.2, resets: 0.1 };

pub struct NoNames;

impl DiffNames for NoNames {
    fn group(&self, key: &[Value]) -> String {
        format!("{key:?}")
    }
    fn failure(&self, kind: &FailureKind) -> String {
        format!("{kind:?}")
    }
    fn netns(&self, netns: NetnsId) -> String {
        format!("{netns:?}")
    }
}

/// Every step of the connections that come within so many seconds.
fn steps(load: Load, seed: u64, seconds: f64) -> Vec<Transition> {
    let mut chance = Chance::new(seed);
    let mut all = Vec::new();
    let mut id = 0;
    for (service, per_s) in load.per_s.into_iter().enumerate() {
        let mut at_s = 0.0;
        loop {
            at_s += chance.wait_s(per_s / f64::from(load.at_once));
            if at_s > seconds {
                break;
            }
            for _ in 0..load.at_once {
                id += 1;
                all.extend(connection(load, id, service as u16, at_s, &mut chance));
            }
        }
    }
    all.retain(|step| (step.time_ns as f64) < seconds * S);
    all.sort_by_key(|step| step.time_ns);
    all
}

fn connection(load: Load, id: u64, service: u16, at_s: f64, chance: &mut Chance) -> Vec<Transition> {
    let flow = Flow {
        netns: NetnsId::new(1, 1),
        bound_dev_if: 0,
        laddr: Ipv4Addr::LOCALHOST.into(),
        raddr: Ipv4Addr::LOCALHOST.into(),
        lport: 80 + service,
        rport: (id % 60_000) as u16 + 1024,
    };
    let owner = Arc::new(Task { pid: 7, uid: 0, cgroup: 0, comm: [b'a' + service as u8; 16] });
    let mut states = vec![(State::SynRecv, 0.0), (State::Established, 0.0005 * (1.0 + chance.next()))];
    let length_s = load.length_s * chance.wait_s(1.0);
    let is_reset = chance.next() < load.resets;
    if is_reset {
        states.push((State::Close, length_s));
    } else {
        states.extend([(State::FinWait1, length_s), (State::FinWait2, 0.001), (State::TimeWait, 0.01 * chance.next())]);
        states.push((State::Close, 60.0 + 0.5 * chance.next()));
    }
    let (mut time_s, mut from) = (at_s, State::Listen);
    states
        .into_iter()
        .map(|(to, after_s)| {
            time_s += after_s;
            let mut step = Transition::new((time_s * S) as u64, id, flow, Some(from), to);
            step.dwell_ns = Some((after_s * S) as u64);
            step.owner = Some(Arc::clone(&owner));
            step.origin = MadeBy::There;
            step.reason = (to == State::Close).then_some(if is_reset { Reason::Reset } else { Reason::Expired });
            from = to;
            step
        })
        .collect()
}

/// One side: the part of these steps between the two times, in seconds.
fn side(steps: &[Transition], begin_s: f64, end_s: f64) -> Side {
    let window = Window { begin_ns: (begin_s * S) as u64, end_ns: (end_s * S) as u64 };
    let mut measuring = Measuring::new(window, 0, vec![GroupBy::Process, GroupBy::Service]);
    let names = Names::default();
    for step in steps {
        measuring.update(&Update::Transition(step.clone()), &names);
    }
    let measured = measuring.finish(&NoNames);
    Side { facts: SideFacts { window: measured.window, ..SideFacts::default() }, measured }
}

fn halves(load: Load, seed: u64) -> DiffReport {
    let steps = steps(load, seed, 130.0);
    DiffReport::new(side(&steps, 0.0, 65.0), side(&steps, 65.0, 130.0))
}

/// The bound, over many recordings and loads: at most 5 % of rows.
#[test]
fn halves_of_a_steady_recording_are_the_same() {
    let loads = [
        ("steady", STEADY),
        ("few", Load { per_s: [1.5, 0.3], ..STEADY }),
        ("in bursts", Load { at_once: 20, ..STEADY }),
        ("long connections", Load { length_s: 10.0, ..STEADY }),
    ];
    for (name, load) in loads {
        let (mut differ, mut all) = (0, 0);
        let mut found = Vec::new();
        for seed in 1..=12 {
            let comparison = halves(load, seed);
            let (changes, rows) = comparison.changes();
            differ += changes;
            all += rows;
            let changed = comparison.counts.iter().filter(|row| row.verdict.is_change());
            found.extend(changed.map(|row| format!("{:?} {:?}", row.quantity, row.verdict)));
        }
        assert!(all > 150, "{name}: {all} rows");
        assert!(differ * 20 <= all, "{name}: {differ} of {all} rows differ by chance: {found:?}");
    }
}

#[test]
fn a_fifth_more_is_found_and_nothing_else() {
    for seed in 1..=20 {
        let before = side(&steps(STEADY, seed, 130.0), 0.0, 130.0);
        let more = Load { resets: STEADY.resets * 1.5, ..STEADY };
        let after = side(&steps(more, seed + 1000, 130.0), 0.0, 130.0);
        let comparison = DiffReport::new(before, after);
        let resets = comparison.count(Quantity::EndedBy(Reason::Reset, None), None).unwrap();
        assert_eq!(resets.verdict, DiffVerdict::Up, "seed {seed}: {resets:?}");
        let load = comparison.count(Quantity::Ended, None).unwrap();
        assert_eq!(load.verdict, DiffVerdict::Same, "seed {seed}: {load:?}");
    }
    let mut outside = 0;
    for seed in 1..=20 {
        let before = side(&steps(STEADY, seed, 130.0), 0.0, 130.0);
        let more = Load { per_s: STEADY.per_s.map(|per_s| per_s * 1.2), ..STEADY };
        let after = side(&steps(more, seed + 1000, 130.0), 0.0, 130.0);
        let comparison = DiffReport::new(before, after);
        let load = comparison.count(Quantity::Ended, None).unwrap();
        assert_eq!(load.verdict, DiffVerdict::Up, "seed {seed}: {load:?}");
        let ratio = load.rate.unwrap();
        outside += u32::from(ratio.low > 1.2 || ratio.high < 1.2);
        // There is more of all, and of nothing for each connection.
        let entered = comparison.count(Quantity::TimeWaitEntered, None).unwrap();
        assert_eq!(entered.verdict, DiffVerdict::WithLoad, "seed {seed}: {entered:?}");
    }
    // One in a hundred may be.
    assert!(outside <= 1, "the truth is outside of {outside} of 20 intervals");
}

/// As JSON.
pub fn longer_connections() -> String {
    let load = Load { per_s: [100.0, 50.0], ..STEADY };
    let longer = Load { length_s: load.length_s * 2.0, ..load };
    let sides = [(load, 1), (longer, 2)].map(|(load, seed)| side(&steps(load, seed, 80.0), 0.0, 80.0));
    let [before, after] = sides;
    let mut text = Vec::new();
    tcpwait::view::diff::json::write(&DiffReport::new(before, after), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Longer by a fifth is found where the interval allows it: with some thousand connections.
#[test]
fn a_fifth_longer_is_found() {
    for seed in 1..=10 {
        let load = Load { per_s: [100.0, 50.0], ..STEADY };
        let before = side(&steps(load, seed, 130.0), 0.0, 130.0);
        let longer = Load { length_s: load.length_s * 1.2, ..load };
        let after = side(&steps(longer, seed + 1000, 130.0), 0.0, 130.0);
        let comparison = DiffReport::new(before, after);
        let of = |state: State| comparison.durations.iter().filter(move |row| row.lasting.0 == state);
        assert_eq!(of(State::Established).count(), 2, "of each group");
        for row in of(State::Established) {
            assert_eq!(row.quantiles[0].verdict, DiffVerdict::Up, "seed {seed}: {:?}", row.quantiles);
        }
        assert!(of(State::TimeWait).flat_map(|row| &row.quantiles).all(|row| row.verdict == DiffVerdict::Same));
    }
}

#[test]
fn the_other_way_round_is_the_mirror() {
    let mirrored = |verdict: DiffVerdict| match verdict {
        DiffVerdict::Up => DiffVerdict::Down,
        DiffVerdict::Down => DiffVerdict::Up,
        DiffVerdict::New => DiffVerdict::Gone,
        DiffVerdict::Gone => DiffVerdict::New,
        other => other,
    };
    let one = steps(STEADY, 3, 100.0);
    let other = steps(Load { per_s: [40.0, 0.0001], length_s: 0.5, resets: 0.0, ..STEADY }, 4, 130.0);
    let sides = || (side(&one, 0.0, 100.0), side(&other, 0.0, 130.0));
    let ((a, b), (c, d)) = (sides(), sides());
    let (there, back) = (DiffReport::new(a, b), DiffReport::new(d, c));
    assert!(there.changes().0 > 5, "{:?}", there.changes());
    assert_eq!(there.counts.len(), back.counts.len());
    for (row, mirror) in there.counts.iter().zip(&back.counts) {
        assert_eq!((row.quantity, &row.subject), (mirror.quantity, &mirror.subject));
        assert_eq!(row.verdict, mirrored(mirror.verdict), "{row:?}\n{mirror:?}");
    }
    for (row, mirror) in there.gauges.iter().zip(&back.gauges) {
        assert_eq!(row.verdict, mirrored(mirror.verdict), "{row:?}\n{mirror:?}");
    }
    for (row, mirror) in there.durations.iter().zip(&back.durations) {
        for (row, mirror) in row.quantiles.iter().zip(&mirror.quantiles) {
            assert_eq!(row.verdict, mirrored(mirror.verdict), "{row:?}\n{mirror:?}");
        }
    }
}

/// What was lost on one side might be what is missing there.
#[test]
fn a_difference_that_may_be_a_loss_is_none() {
    let before = || side(&steps(STEADY, 1, 130.0), 0.0, 130.0);
    let after = || side(&steps(Load { per_s: STEADY.per_s.map(|per_s| per_s * 0.5), ..STEADY }, 2, 130.0), 0.0, 130.0);
    let lossy = |mut side: Side, unreadable: u64| {
        side.facts.ledger.unreadable = unreadable;
        side
    };
    let verdict = |comparison: &DiffReport| comparison.count(Quantity::Ended, None).unwrap().verdict;
    assert_eq!(verdict(&DiffReport::new(before(), after())), DiffVerdict::Down);
    // Less was seen where nothing was lost: that stays.
    assert_eq!(verdict(&DiffReport::new(lossy(before(), 1_000_000), after())), DiffVerdict::Down);
    assert_eq!(verdict(&DiffReport::new(before(), lossy(after(), 10))), DiffVerdict::Down);
    let unknown = verdict(&DiffReport::new(before(), lossy(after(), 1_000_000)));
    assert!(matches!(unknown, DiffVerdict::Unknown(_)), "{unknown:?}");
}
