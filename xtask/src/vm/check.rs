//! What `cargo xtask test` runs in guests: on the oldest and on the newest kernel all tests but those of which no kernel makes a difference
//! (tests/kernel/user_side.rs), and on one between them and on one for Arm a few that each try another part (tests/kernel/smoke.rs).

use std::thread;

use anyhow::{Result, bail};

use crate::arch::Arch;

use super::series::series_of;
use super::suite::{self, Outcome, Ready, Task, Wanted};
use super::{Guests, Machine, Options, Profile};

#[path = "../../../tests/kernel/smoke.rs"]
mod smoke;
#[path = "../../../tests/kernel/user_side.rs"]
mod user_side;

/// The newest takes longest, and begins first.
const ALL: [&str; 2] = ["7.3", "6.1"];
/// How many guests share the tests of a kernel. A guest has one CPU, and one alone at the end would leave the others idle.
const PARTS: usize = 2;
const SMOKE: [&str; 2] = ["6.12", "6.12:arm64"];

/// Finds all that it takes, or downloads it. An error here says why there is nothing to run.
pub fn fetch() -> Result<Guests> {
    Guests::fetch(&Options::of(series_of(&[ALL, SMOKE].concat())))
}

/// Runs the tests: those and the few, or, with filters, only what they select, and all of that, on the oldest and the newest kernel.
pub fn run(guests: &Guests, filters: &[Option<String>]) -> Result<Outcome> {
    let is_unfiltered = filters == [None];
    thread::scope(|scope| {
        // What is for another architecture takes minutes to build, and the other guests do not wait for it.
        let across = is_unfiltered.then(|| scope.spawn(|| few_on(guests, Arch::Arm64)));
        let here = on_this_architecture(guests, filters);
        let across = across.map_or(Ok(true), |across| across.join().unwrap_or_else(|_| bail!("this program failed")));
        match (here?, across?) {
            (None, _) => Ok(Outcome::NoSuchTest),
            (Some(true), true) => Ok(Outcome::Passed),
            _ => bail!("not every test passed in every guest"),
        }
    })
}

/// Whether all passed; `None` if there is no such test.
fn on_this_architecture(guests: &Guests, filters: &[Option<String>]) -> Result<Option<bool>> {
    let ready = Ready::build_for(guests, Arch::is_here)?;
    Wanted::are_there(&ready, &user_side::TESTS)?;
    let without: &[&str] = if filters == [None] { &user_side::TESTS } else { &[] };
    let parts = filters.iter().map(|filter| Wanted::dealt(&ready, filter.as_deref(), without, PARTS));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let few = Wanted::these(&ready, &smoke::TESTS)?;
    let mut rounds: Vec<_> =
        parts.iter().filter(|parts| !parts.is_empty()).map(|parts| in_parts(guests, parts)).collect();
    if rounds.is_empty() {
        return Ok(None);
    }
    if let ([None], Some(round)) = (filters, rounds.first_mut()) {
        round.extend(those(guests, &few).into_iter().filter(|task| task.machine.kernel.arch.is_here()));
    }
    let mut all_passed = true;
    for round in &rounds {
        let ended = suite::side_by_side(guests, &ready, round, |_, _| {});
        all_passed &= suite::told(round, &ended);
    }
    Ok(Some(all_passed))
}

/// The few tests on the kernels of one architecture. Whether they passed.
fn few_on(guests: &Guests, arch: Arch) -> Result<bool> {
    let ready = Ready::build_for(guests, |one| one == arch)?;
    let few = Wanted::these(&ready, &smoke::TESTS)?;
    let mut round = those(guests, &few);
    round.retain(|task| task.machine.kernel.arch == arch);
    Ok(suite::told(&round, &suite::side_by_side(guests, &ready, &round, |_, _| {})))
}

/// The parts of the tests on each kernel that has all of them.
fn in_parts<'a>(guests: &'a Guests, parts: &'a [Wanted]) -> Vec<Task<'a>> {
    let named = |name: &&str| guests.kernels.iter().find(|kernel| kernel.name == *name);
    let on = |kernel| {
        let part = move |(number, wanted)| {
            let machine = Machine { kernel, profile: Profile::Warp, part: Some(number) };
            Task { machine, wanted }
        };
        (1..).zip(parts).map(part)
    };
    ALL.iter().filter_map(named).flat_map(on).collect()
}

/// The few tests on the other kernels.
fn those<'a>(guests: &'a Guests, few: &'a Wanted) -> Vec<Task<'a>> {
    let kernels = guests.kernels.iter().filter(|kernel| SMOKE.contains(&kernel.name.as_str()));
    kernels.map(|kernel| Task { machine: Machine::one(kernel, Profile::Warp), wanted: few }).collect()
}
