//! Looks at a made-up machine of two processors.

use super::{S, Thinning, ThinningLimits, ThinningLook, WhyThinned};

const MS: u64 = 1_000_000;

/// A machine: time passes 50 ms at a look.
struct Machine {
    thinning: Thinning,
    look: ThinningLook,
}

impl Machine {
    fn new(max_cpu: Option<f64>) -> Self {
        let look = ThinningLook { time_ns: 1_000 * S, cpu_ns: 300 * MS, ..ThinningLook::default() };
        Self { thinning: Thinning::new(ThinningLimits { max_cpu, fixed: None }, 2, 1024), look }
    }

    /// So many looks at such a buffer, with so much processor time of each second; what was decided.
    fn looks(&mut self, looks: u32, full: f64, cpu: f64) -> Vec<(u32, WhyThinned)> {
        let mut decided = Vec::new();
        for _ in 0..looks {
            self.look.time_ns += 50 * MS;
            self.look.cpu_ns += (50.0 * cpu) as u64 * MS;
            self.look.full = full;
            decided.extend(self.thinning.look(self.look).map(|change| (change.one_in, change.why)));
        }
        decided
    }

    fn one_in(&self) -> u32 {
        self.thinning.one_in
    }
}

#[test]
fn a_calm_machine_is_told_of_whole() {
    let mut machine = Machine::new(Some(0.05));
    assert_eq!(machine.looks(2_000, 0.01, 0.02), []);
    let mut busy = Machine::new(None);
    assert_eq!(busy.looks(2_000, 0.45, 2.0), [], "without a limit the cost is nobody's business");
}

#[test]
fn what_is_asked_for_stays() {
    let mut machine = Machine::new(None);
    machine.thinning = Thinning::new(ThinningLimits { max_cpu: None, fixed: Some(8) }, 2, 1024);
    assert_eq!(machine.looks(400, 0.9, 1.0), [(8, WhyThinned::Asked)]);
    assert_eq!(machine.looks(400, 0.0, 0.0), []);
}

#[test]
fn one_full_look_is_no_reason_and_two_in_a_row_are() {
    let mut machine = Machine::new(None);
    for _ in 0..10 {
        assert_eq!(machine.looks(1, 0.9, 0.5), []);
        assert_eq!(machine.looks(1, 0.3, 0.5), []);
    }
    assert_eq!(machine.looks(2, 0.9, 0.5), [(2, WhyThinned::Behind(0.9))]);
}

#[test]
fn it_doubles_as_long_as_that_goes_on_and_ends_somewhere() {
    let mut machine = Machine::new(None);
    let decided = machine.looks(400, 0.9, 0.5);
    assert_eq!(
        decided.iter().map(|(one_in, _)| *one_in).collect::<Vec<_>>(),
        [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    );
    assert_eq!(machine.looks(400, 0.9, 0.5), []);
}

#[test]
fn what_was_lost_before_it_looked_is_no_reason_and_what_is_lost_now_is() {
    let mut machine = Machine::new(None);
    machine.look.lost = 7;
    assert_eq!(machine.looks(10, 0.0, 0.0), []);
    machine.look.lost = 12;
    assert_eq!(machine.looks(10, 0.0, 0.0), [(2, WhyThinned::Lost(5))]);
}

#[test]
fn what_costs_too_much_twice_in_a_row_is_thinned() {
    let mut machine = Machine::new(Some(0.05));
    // 0.4 of a processor is a fifth of this machine.
    assert_eq!(machine.looks(22, 0.0, 0.4), [], "a second of it is a listing");
    let decided = machine.looks(22, 0.0, 0.4);
    let is_it = |why: &WhyThinned| matches!(why, WhyThinned::Cost(share, 0.05) if (share - 0.2).abs() < 0.02);
    assert!(matches!(&decided[..], [(2, why)] if is_it(why)), "{decided:?}");
    assert_eq!(machine.looks(100, 0.0, 0.08), [], "4 % is allowed, and no reason to tell of more");
    assert_eq!(machine.looks(400, 0.0, 0.08), [], "for as long as that is near what it may be");
}

#[test]
fn when_it_is_calm_for_a_while_more_are_told_of_again() {
    let mut machine = Machine::new(None);
    machine.looks(9, 0.9, 0.5);
    assert_eq!(machine.one_in(), 4);
    assert_eq!(machine.looks(190, 0.01, 0.0), []);
    assert_eq!(machine.looks(20, 0.01, 0.0), [(2, WhyThinned::Calm)]);
    assert_eq!(machine.looks(170, 0.01, 0.0), []);
    assert_eq!(machine.looks(1, 0.2, 0.0), [], "not calm, and it begins anew");
    assert_eq!(machine.looks(190, 0.01, 0.0), []);
    assert_eq!(machine.looks(20, 0.01, 0.0), [(1, WhyThinned::Calm)]);
    assert_eq!(machine.looks(1_000, 0.01, 0.0), []);
}

#[test]
fn a_load_that_needs_it_makes_it_wait_longer_each_time() {
    let mut machine = Machine::new(None);
    let mut waits = Vec::new();
    machine.looks(2, 0.9, 0.5);
    for _ in 0..6 {
        // It is calm at one in two, and behind at all of them.
        let mut looks = 0;
        while machine.one_in() == 2 {
            machine.looks(1, 0.01, 0.1);
            looks += 1;
        }
        waits.push(looks / 20);
        machine.looks(7, 0.9, 0.5);
        assert_eq!(machine.one_in(), 2);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 160]);
}
