//! The kernel's tick rate, however late the first ticks are: what is inferred from jiffies is right to a jiffy or not known, with what the
//! kernel said of itself, with the first TIME_WAIT, and with nothing but two clocks.

use tcpwait::{
    event::{Event, Fact, HookContext, MiniSocket, Seed},
    lifecycle::{HzSource, Lifecycle, SegmentSource, Timing, Transition, Update},
    tcp::State,
};

use crate::stories::{change, flow, symbols};

const MS: u64 = 1_000_000;
const RATES: [u64; 4] = [100, 250, 300, 1000];
/// How late the tick may be at the first record, in milliseconds.
const LATE: [u64; 5] = [0, 4, 30, 200, 450];

/// A kernel with this tick rate, told of to a model.
struct Kernel {
    hz: u64,
    model: Lifecycle,
    said: Vec<Transition>,
}

impl Kernel {
    fn new(hz: u64, tells: bool) -> Self {
        let model = Lifecycle::new(symbols(), SegmentSource::Timer).with_hz(tells.then_some(hz));
        Self { hz, model, said: Vec::new() }
    }

    fn jiffies(&self, ms: u64) -> u64 {
        4_294_892_296 + ms * self.hz / 1000
    }

    fn tell(&mut self, ms: u64, fact: Fact) {
        let mut updates = Vec::new();
        self.model.apply(&Event { time_ns: ms * MS, cpu: 0, context: HookContext::Cpu(0), fact }, &mut updates);
        self.said.extend(updates.into_iter().filter_map(|update| match update {
            Update::Transition(step) => Some(step),
            _ => None,
        }));
    }

    /// The mini-socket of a connection, its timer set to a time from `set` on, as seen when the tick is late.
    fn mini(&self, id: u64, substate: State, (set, length_ms): (u64, u64), ms: u64, late_ms: u64) -> MiniSocket {
        MiniSocket {
            cookie: id,
            reuse: None,
            v6only: None,
            timestamps: true,
            tw: id,
            flow: flow(id as u16),
            expires: self.jiffies(set) + length_ms * self.hz / 1000,
            jiffies: self.jiffies(ms - late_ms),
            substate,
        }
    }

    /// A connection comes to a mini-socket in this substate.
    fn begins(&mut self, id: u64, substate: State, length_ms: u64, ms: u64, late_ms: u64) {
        let state = |old, new| Fact::State(change(id, id, flow(id as u16), old, new));
        self.tell(ms, state(State::FinWait1, State::FinWait2));
        // Late jiffies are what the timer is set by, too.
        let mini = self.mini(id, substate, (ms - late_ms, length_ms), ms, late_ms);
        self.tell(ms, Fact::Armed { mini, rearmed: false });
    }

    fn seed(&mut self, id: u64, left_ms: u32, ms: u64) {
        let seed = Seed {
            cookie: id,
            flow: flow(id as u16),
            task: None,
            state: State::TimeWait,
            mini: true,
            expires_ms: left_ms,
            retransmits: 0,
            origin: None,
            v6only: None,
            by_ns: None,
        };
        self.tell(ms, Fact::Seed(seed));
    }

    /// What was said of a step; whatever was said to be known must be near the truth.
    #[track_caller]
    fn said_of(&self, id: u64, to: State, truth_ms: u64) -> (Option<u64>, Timing) {
        let step = self.said.iter().find(|step| step.id == id && step.to == to).unwrap();
        if let Some(dwell_ns) = step.dwell_ns {
            let off = dwell_ns.abs_diff(truth_ms * MS);
            assert!(off <= 2 * 1_000_000_000 / self.hz, "HZ={}: {dwell_ns} ns for {truth_ms} ms", self.hz);
        }
        (step.dwell_ns, step.timing)
    }
}

/// Of an orphan the FIN comes in silence, and only its timer tells when.
fn silent_fin(kernel: &mut Kernel, late_ms: u64, other: bool) {
    kernel.tell(1000, Fact::SeedEnd { sockets: 0, namespaces: 1, unreadable: 0 });
    kernel.begins(1, State::FinWait2, 60_000, 1500, late_ms);
    if other {
        kernel.begins(2, State::TimeWait, 60_000, 1700, 0);
    }
    // The FIN came at 2500.
    let mini = kernel.mini(1, State::TimeWait, (2500, 60_000), 62_900, 0);
    kernel.tell(62_900, Fact::Expired(mini));
}

#[test]
fn the_first_time_wait_tells_it() {
    for (hz, late_ms) in RATES.into_iter().flat_map(|hz| LATE.map(|late| (hz, late))) {
        let mut kernel = Kernel::new(hz, false);
        silent_fin(&mut kernel, late_ms, true);
        assert_eq!(kernel.model.hz(), Some((hz, HzSource::TimeWait)));
        assert_eq!(kernel.said_of(1, State::TimeWait, 1000).1, Timing::Jiffy);
        assert_eq!(kernel.said_of(1, State::Close, 60_400).1, Timing::Jiffy);
        assert_eq!(kernel.model.other_length_ns(), None);
    }
}

#[test]
fn the_kernel_says_it() {
    for (hz, late_ms) in RATES.into_iter().flat_map(|hz| LATE.map(|late| (hz, late))) {
        let mut kernel = Kernel::new(hz, true);
        silent_fin(&mut kernel, late_ms, false);
        assert_eq!(kernel.model.hz(), Some((hz, HzSource::Kernel)));
        assert_eq!(kernel.said_of(1, State::TimeWait, 1000).1, Timing::Jiffy);
    }
}

/// As in a recording that is older than its header's `hz`, of a machine that has no TIME_WAIT but older ones.
#[test]
fn two_clocks_tell_it_in_the_end() {
    for (hz, late_ms) in RATES.into_iter().flat_map(|hz| LATE.map(|late| (hz, late))) {
        let mut kernel = Kernel::new(hz, false);
        silent_fin(&mut kernel, late_ms, false);
        assert_eq!(kernel.model.hz(), Some((hz, HzSource::Clock)), "{late_ms}");
        assert_eq!(kernel.said_of(1, State::TimeWait, 1000).1, Timing::Jiffy);
    }
}

/// Their first two records are half a second apart, or a little more: too near to tell 250 from 256 where a tick may be late.
#[test]
fn nothing_is_claimed_of_older_sockets_too_early() {
    for (hz, late_ms) in RATES.into_iter().flat_map(|hz| LATE.map(|late| (hz, late))) {
        for tells in [false, true] {
            let mut kernel = Kernel::new(hz, tells);
            // The first was set at 40,000, the second at 40,300, and sock_diag has not been read.
            for (id, set, ms, late_ms) in
                [(1, 40_000, 100_600, late_ms), (2, 40_300, 101_170, 0), (3, 40_900, 101_200, 0)]
            {
                let mini = kernel.mini(id, State::TimeWait, (set, 60_000), ms, late_ms);
                kernel.tell(ms, Fact::Expired(mini));
            }
            let known = kernel.said_of(3, State::Close, 60_300);
            assert_eq!(known.1, if tells { Timing::Jiffy } else { Timing::Unknown }, "HZ={hz}, {late_ms}");
            // A seed is right to a millisecond whatever HZ is.
            kernel.seed(4, 59_500, 101_300);
            let mini = kernel.mini(4, State::TimeWait, (100_800, 60_000), 101_400, 0);
            kernel.tell(101_400, Fact::Expired(mini));
            assert_eq!(kernel.said_of(4, State::Close, 600).1, Timing::Jiffy);
        }
    }
}

/// `tcp_tw_timeout` of Alibaba's kernels: 15 s at HZ=1000 are as many jiffies as 60 s at HZ=250.
#[test]
fn another_length_is_no_other_rate() {
    for tells in [false, true] {
        let mut kernel = Kernel::new(1000, tells);
        kernel.tell(1000, Fact::SeedEnd { sockets: 0, namespaces: 1, unreadable: 0 });
        kernel.begins(1, State::TimeWait, 15_000, 2000, 0);
        let mini = kernel.mini(1, State::TimeWait, (2000, 15_000), 17_500, 0);
        kernel.tell(17_500, Fact::Expired(mini));
        assert_eq!(kernel.said_of(1, State::Close, 15_500).1, Timing::Exact);
        // One that is inferred: 60 s from its start is not when it began.
        kernel.begins(2, State::FinWait2, 30_000, 80_000, 0);
        let mini = kernel.mini(2, State::TimeWait, (80_500, 15_000), 96_000, 0);
        kernel.tell(96_000, Fact::Expired(mini));
        assert_eq!(kernel.said_of(2, State::TimeWait, 500), (None, Timing::Unknown));
        assert_eq!(kernel.model.hz().map(|(hz, _)| hz), Some(1000));
        assert_eq!(kernel.model.other_length_ns(), Some(Some(15_000 * MS)));
    }
}
