//! What `cargo xtask test` runs in guests: all tests on the oldest kernel, on the newest all but those of which no kernel makes a difference
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

const NEWEST: &str = "7.3";
/// The newest takes longest, and begins first.
const ALL: [&str; 2] = [NEWEST, "6.1"];
/// How many guests share the tests of a kernel. A guest has one CPU, and one alone at the end would leave the others idle.
const PARTS: usize = 2;
const SMOKE: [&str; 2] = ["6.12", "6.12:arm64"];

/// Finds all that it takes, or downloads it. An error here says why there is nothing to run.
pub fn fetch() -> Result<Guests> {
    Guests::fetch(&Options::of(series_of(&[ALL, SMOKE].concat())))
}

/// Runs the tests: all of them and the few, or, with filters, only what they select, and all of that on the oldest and the newest kernel.
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
    let parts = filters.iter().map(|filter| in_parts(&ready, filter.as_deref())).collect::<Result<Vec<_>>>()?;
    let few = Wanted::these(&ready, &smoke::TESTS)?;
    let rounds = parts.iter().map(|parts| on_each(guests, parts));
    let mut rounds: Vec<_> = rounds.filter(|round| !round.is_empty()).collect();
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

/// The tests of each kernel that has all, in parts.
fn in_parts(ready: &Ready, filter: Option<&str>) -> Result<Vec<(&'static str, Vec<Wanted>)>> {
    let of = |kernel| {
        let without: &[&str] = if kernel == NEWEST && filter.is_none() { &user_side::TESTS } else { &[] };
        Ok((kernel, Wanted::dealt(ready, filter, without, PARTS)?))
    };
    ALL.into_iter().map(of).collect()
}

/// These on the kernels they are for.
fn on_each<'a>(guests: &'a Guests, parts: &'a [(&'static str, Vec<Wanted>)]) -> Vec<Task<'a>> {
    let of = |(name, parts): &'a (&'static str, Vec<Wanted>)| {
        let kernel = guests.kernels.iter().find(|kernel| kernel.name == *name);
        kernel.into_iter().flat_map(move |kernel| {
            let part = move |(number, wanted)| {
                let machine = Machine { kernel, profile: Profile::Warp, part: Some(number) };
                Task { machine, wanted }
            };
            (1..).zip(parts).map(part)
        })
    };
    parts.iter().flat_map(of).collect()
}

/// The few tests on the other kernels.
fn those<'a>(guests: &'a Guests, few: &'a Wanted) -> Vec<Task<'a>> {
    let kernels = guests.kernels.iter().filter(|kernel| SMOKE.contains(&kernel.name.as_str()));
    kernels.map(|kernel| Task { machine: Machine::one(kernel, Profile::Warp), wanted: few }).collect()
}
