//! How much is measured: all of it, or a quick look.

use std::time::Duration;

use crate::interval::Until;
use crate::load::{LOADS, Load, QUICK};
use crate::options::Options;

/// Fewer pairs than this are not believed.
const PAIRS: usize = 8;

/// How much of each.
pub struct Extent {
    /// Rounds of the rotation for rates.
    pub rounds: u32,
    /// The same for time in the kernel.
    pub kernel_rounds: u32,
    /// How often each load runs in a round of those.
    pub kernel_repeats: usize,
    /// How long each load runs there.
    pub length: Duration,
    /// The same for time in the kernel.
    pub kernel_length: Duration,
    /// Which.
    pub loads: Vec<&'static Load>,
    /// How many sockets are followed.
    pub followed: &'static [u32],
    /// How often it is started.
    pub starts: u32,
    /// How long each load runs where pairs are compared.
    pub paired_length: Duration,
    /// When a connection's CPU is known well enough: nanoseconds.
    pub cost_until: Until,
    /// The same of what others keep: shares.
    pub bystanders_until: Until,
}

impl Extent {
    /// What these options ask for.
    pub fn of(options: &Options) -> Self {
        let milliseconds = Duration::from_millis;
        let loads = LOADS.iter().filter(|load| !options.quick || QUICK.contains(&load.name)).collect();
        let rounds = |usual| options.rounds.unwrap_or(usual);
        let until =
            |narrower_than, seconds| Until { narrower_than, at_least: PAIRS, at_most: Duration::from_secs(seconds) };
        match options.quick {
            true => Self {
                rounds: rounds(3),
                kernel_rounds: 2,
                kernel_repeats: 2,
                length: milliseconds(400),
                kernel_length: milliseconds(250),
                loads,
                followed: &[1_000, 10_000, 100_000],
                starts: 3,
                paired_length: milliseconds(200),
                cost_until: until(500.0, 120),
                bystanders_until: until(0.01, 120),
            },
            false => Self {
                rounds: rounds(7),
                kernel_rounds: 4,
                kernel_repeats: 2,
                length: milliseconds(700),
                kernel_length: milliseconds(400),
                loads,
                followed: &[1_000, 10_000, 100_000, 1_000_000],
                starts: 7,
                paired_length: milliseconds(250),
                cost_until: until(500.0, 600),
                bystanders_until: until(0.01, 600),
            },
        }
    }
}
