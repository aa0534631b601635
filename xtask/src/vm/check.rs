//! What `cargo xtask test` runs in guests: all tests on the oldest and on the newest kernel, and on one between them and on one
//! for Arm a few that each try another part (tests/kernel/smoke.rs).

use anyhow::{Result, bail};

use super::series::series_of;
use super::suite::{self, Outcome, Ready, Task, Wanted};
use super::{Guests, Machine, Options, Profile};

#[path = "../../../tests/kernel/smoke.rs"]
mod smoke;

const ALL: [&str; 2] = ["6.1", "7.3"];
const SMOKE: [&str; 2] = ["6.12", "6.12:arm64"];

/// Finds all that it takes, or downloads it. An error here says why there is nothing to run.
pub fn fetch() -> Result<Guests> {
    Guests::fetch(&Options::of(series_of(&[ALL, SMOKE].concat())))
}

/// Runs the tests: all of them and the few, or, with filters, only what they select, on the oldest and the newest kernel.
pub fn run(guests: &Guests, filters: &[Option<String>]) -> Result<Outcome> {
    let ready = Ready::build(guests)?;
    let on = |kernels: &[&str], wanted| {
        let those = guests.kernels.iter().filter(|kernel| kernels.contains(&kernel.name.as_str()));
        those.map(|kernel| Task { machine: Machine { kernel, profile: Profile::Warp }, wanted }).collect::<Vec<_>>()
    };
    let all = filters.iter().map(|filter| Wanted::of(&ready, filter.as_deref())).collect::<Result<Vec<_>>>()?;
    let few = Wanted::these(&ready, &smoke::TESTS)?;
    let mut rounds: Vec<_> = all.iter().filter(|wanted| !wanted.tests.is_empty()).map(|all| on(&ALL, all)).collect();
    if rounds.is_empty() {
        return Ok(Outcome::NoSuchTest);
    }
    if let ([None], Some(round)) = (filters, rounds.first_mut()) {
        round.extend(on(&SMOKE, &few));
    }
    let mut all_passed = true;
    for round in &rounds {
        let ended = suite::side_by_side(guests, &ready, round, |_, _| {});
        all_passed &= suite::told(round, &ended);
    }
    if !all_passed {
        bail!("not every test passed in every guest");
    }
    Ok(Outcome::Passed)
}
