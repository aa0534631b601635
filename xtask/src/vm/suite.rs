//! The kernel tests in guests, and the verdict on each: every test that the program lists has to say that it passed, and the
//! program and its machine have to end as they should. As on this machine (test/kernel.rs), one that fails gets another go alone, in a guest that
//! is booted anew, unless many do; the verdict names it. What a test does is not known here.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::arch::Arch;
use crate::root;
use crate::setup;
use crate::test::kernel::{TESTS_FAILED, most};

use super::boot::{Line, Patience, last_of};
use super::image::{self, Programs};
use super::room::{Room, Share};
use super::{Guests, Job, Machine, Profile, archs};

/// A suite that says nothing for so long hangs: longer than a test takes that runs alone (a TIME_WAIT that is restarted for six minutes).
const QUIET: Duration = Duration::from_secs(15 * 60);
/// Memory for all the tests at once, each of them with a tracer that has its ring buffer. A guest takes a second longer to
/// start with this.
const MEMORY: &str = "4G";
/// What such a guest takes of this machine in the end.
const TAKES_KB: usize = 4_500_000;

/// How a run ended that did not fail.
pub enum Outcome {
    Passed,
    /// There was nothing to boot for.
    NoSuchTest,
}

/// The programs of the guests, and the images with them.
pub struct Ready {
    here: Programs,
    pub others: Vec<Programs>,
    images: Vec<(Arch, Vec<u8>)>,
}

/// Tests for a guest to run.
pub struct Wanted {
    /// Their names.
    pub tests: Vec<String>,
    /// What to run for them, one after the other: programs with their arguments.
    programs: Vec<Vec<String>>,
}

/// Tests on a machine.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    pub machine: Machine<'a>,
    pub wanted: &'a Wanted,
}

/// How it went.
pub struct Ended {
    /// Those that passed only when run once more, alone; or why not all passed.
    pub passed: Result<Vec<String>, String>,
    pub seconds: u64,
}

impl Ended {
    /// What there is to say beside whether it passed.
    pub fn remark(&self) -> Option<String> {
        match &self.passed {
            Ok(again) if again.is_empty() => None,
            Ok(again) => Some(format!("only once more, alone: {}", again.join(", "))),
            Err(why) => Some(why.clone()),
        }
    }
}

/// How tests did not pass.
#[derive(Debug)]
enum Failure {
    /// These failed, and nothing else is wrong.
    Tests {
        failed: Vec<String>,
        of: usize,
    },
    Other(anyhow::Error),
}

impl Ready {
    /// Builds what the guests need.
    pub fn build(guests: &Guests) -> Result<Self> {
        // Guests of this architecture have this machine's programs.
        if root::available() && archs(&guests.kernels).any(Arch::is_here) {
            setup::test_packages()?;
        }
        Self::build_for(guests, |_| true)
    }

    /// The same of those of some architectures.
    pub fn build_for(guests: &Guests, wanted: impl Fn(Arch) -> bool) -> Result<Self> {
        setup::toolchain()?;
        // Which tests there are is told by those that run here, whatever the guests are.
        let here = Programs::build()?.with(guests.tool(Arch::Amd64));
        let (mut others, mut images) = (Vec::new(), Vec::new());
        for arch in archs(&guests.kernels).filter(|arch| wanted(*arch)) {
            if arch.is_here() {
                images.push((arch, image::common(&here)?));
            } else {
                let programs = Programs::build_for(arch)?.with(guests.tool(arch));
                images.push((arch, image::common(&programs)?));
                others.push(programs);
            }
        }
        Ok(Self { here, others, images })
    }

    /// All the programs that were built.
    pub fn programs(&self) -> impl Iterator<Item = &Programs> {
        [&self.here].into_iter().chain(&self.others)
    }
}

impl Wanted {
    /// The tests that have `filter` in their names; `None` is all of them.
    pub fn of(ready: &Ready, filter: Option<&str>) -> Result<Self> {
        let program = ["/init"].into_iter().chain(filter).map(str::to_owned).collect();
        Ok(Self { tests: ready.here.list(filter)?, programs: vec![program] })
    }

    /// The same without some, dealt out to so many guests. Neighbours, which take about as long as each other, are in different ones.
    pub fn dealt(ready: &Ready, filter: Option<&str>, without: &[&str], guests: usize) -> Result<Vec<Self>> {
        let mut tests = ready.here.list(filter)?;
        tests.retain(|test| !without.contains(&test.as_str()));
        let nth = |first| tests.iter().skip(first).step_by(guests).cloned().collect::<Vec<_>>();
        Ok((0..guests).map(nth).filter(|tests| !tests.is_empty()).map(Self::named).collect())
    }

    /// The tests with these names.
    pub fn these(ready: &Ready, names: &[&str]) -> Result<Self> {
        Self::are_there(ready, names)?;
        Ok(Self::named(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    /// An error if no test has one of these names.
    pub fn are_there(ready: &Ready, names: &[&str]) -> Result<()> {
        let there = ready.here.list(None)?;
        match names.iter().find(|name| !there.iter().any(|there| there == *name)) {
            Some(name) => bail!("no kernel test is called {name}"),
            None => Ok(()),
        }
    }

    /// These tests, side by side.
    fn named(tests: Vec<String>) -> Self {
        let program = ["/init", "--these", &tests.join(",")].map(str::to_owned).to_vec();
        Self { tests, programs: vec![program] }
    }

    /// These tests, one after the other.
    fn each_alone(tests: Vec<String>) -> Self {
        let programs = tests.iter().map(|name| ["/init", "--exact", name].map(str::to_owned).to_vec()).collect();
        Self { tests, programs }
    }
}

/// Runs the tests on each kernel, all of them or once for each filter, and says how it went in a last line for each.
pub fn run(guests: &Guests, profile: Profile, filters: &[Option<String>]) -> Result<Outcome> {
    let ready = Ready::build(guests)?;
    let (mut all_passed, mut any) = (true, false);
    for filter in filters {
        let wanted = &Wanted::of(&ready, filter.as_deref())?;
        if wanted.tests.is_empty() {
            continue;
        }
        any = true;
        let machines = guests.kernels.iter().map(|kernel| Machine::one(kernel, profile));
        let tasks: Vec<_> = machines.map(|machine| Task { machine, wanted }).collect();
        all_passed &= told(&tasks, &side_by_side(guests, &ready, &tasks, |_, _| {}));
    }
    if !all_passed {
        bail!("not every test passed in every guest");
    }
    Ok(if any { Outcome::Passed } else { Outcome::NoSuchTest })
}

/// Runs tasks, which are on different machines, as this one has cores and memory for them. `hears` of each when it ends.
pub fn side_by_side(
    guests: &Guests,
    ready: &Ready,
    tasks: &[Task],
    hears: impl Fn(&Task, &Ended) + Sync,
) -> Vec<Ended> {
    let (room, hears) = (Room::of_this_machine(), &hears);
    thread::scope(|scope| {
        let mut running = Vec::new();
        for task in tasks {
            // Where time is what a guest has executed, it cannot tell whether it has a CPU for itself.
            let cores = match task.machine.profile {
                Profile::Warp => 1,
                Profile::Smp | Profile::Many => 2,
            };
            let taken = room.take(Share { cores, kb: TAKES_KB });
            running.push(scope.spawn(move || {
                let ended = perform(guests, ready, task);
                drop(taken);
                hears(task, &ended);
                ended
            }));
        }
        // A thread that panicked has said so.
        let lost = || Ended { passed: Err("this program failed, see above".to_owned()), seconds: 0 };
        running.into_iter().map(|running| running.join().unwrap_or_else(|_| lost())).collect()
    })
}

/// Says how tasks went, in a line. Whether all passed.
pub fn told(tasks: &[Task], ended: &[Ended]) -> bool {
    let named = |passed: bool| {
        let those = tasks.iter().zip(ended).filter(|(_, ended)| ended.passed.is_ok() == passed);
        let named = those.map(|(task, ended)| {
            let remark = ended.remark().filter(|_| passed).map_or_else(String::new, |remark| format!("; {remark}"));
            format!("{} ({} tests, {} s{remark})", task.machine.label(), task.wanted.tests.len(), ended.seconds)
        });
        named.collect::<Vec<_>>().join(", ")
    };
    let (passed, failed) = (named(true), named(false));
    match (passed.as_str(), failed.as_str()) {
        (passed, "") => println!("\npassed on: {passed}"),
        ("", failed) => println!("\nFAILED on: {failed}"),
        (passed, failed) => println!("\nFAILED on: {failed}; passed on: {passed}"),
    }
    failed.is_empty()
}

fn perform(guests: &Guests, ready: &Ready, task: &Task) -> Ended {
    let start = Instant::now();
    let label = task.machine.label();
    let go = |wanted: &Wanted| {
        let went = one_go(guests, ready, task.machine, wanted);
        went.inspect_err(|why| println!("{label:<10} {why}"))
    };
    let passed = match go(task.wanted) {
        Ok(()) => Ok(Vec::new()),
        Err(Failure::Tests { failed, of }) if failed.len() <= most(of) => {
            println!("{label:<10} once more, alone: {}", failed.join(", "));
            let again = Wanted::each_alone(failed);
            go(&again).map(|()| again.tests)
        }
        Err(why) => Err(why),
    };
    Ended { passed: passed.map_err(|why| why.to_string()), seconds: start.elapsed().as_secs() }
}

/// Boots a guest for these tests.
fn one_go(guests: &Guests, ready: &Ready, machine: Machine, wanted: &Wanted) -> Result<(), Failure> {
    let (label, listed) = (machine.label(), &wanted.tests);
    println!("{label:<10} {} tests in {}", listed.len(), machine.kernel.release);
    let mut reported = BTreeMap::new();
    let job =
        Job { images: &ready.images, programs: &wanted.programs, memory: MEMORY, patience: Patience::with(QUIET) };
    let code = guests.boot(machine, &job, |line| {
        let (Line::Stdout(text) | Line::Stderr(text)) = line;
        let text = String::from_utf8_lossy(text);
        println!("{label:<10} {text}");
        reported.extend(result(&text));
    });
    let verdict = verdict(code.map_err(Failure::Other)?, listed, &reported);
    // The kernel may have had a part in it: it ends programs when there is no memory, say.
    let is_missing = listed.iter().any(|name| !reported.contains_key(name));
    verdict.map_err(|why| if is_missing { Failure::Other(anyhow!("{why}. {}", last_of(&machine.log()))) } else { why })
}

/// The name and result of a test, from the line about it.
fn result(line: &str) -> Option<(String, String)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.trim().to_owned(), result.trim().to_owned()))
}

fn verdict(code: i32, listed: &[String], reported: &BTreeMap<String, String>) -> Result<(), Failure> {
    let missing: Vec<&str> = listed.iter().filter(|name| !reported.contains_key(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Failure::Other(anyhow!("no result of {} (the program ended with {code})", missing.join(", "))));
    }
    let failed: Vec<String> =
        reported.iter().filter(|(_, result)| *result != "ok").map(|(name, _)| name.clone()).collect();
    match code {
        TESTS_FAILED if !failed.is_empty() => Err(Failure::Tests { failed, of: listed.len() }),
        0 if failed.is_empty() => Ok(()),
        _ if failed.is_empty() => {
            Err(Failure::Other(anyhow!("every test passed, but their program ended with {code}")))
        }
        _ => {
            let tests = Failure::Tests { failed, of: listed.len() };
            Err(Failure::Other(anyhow!("{tests}, and their program ended with {code}")))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tests { failed, of } => write!(f, "{} of {of} tests failed: {}", failed.len(), failed.join(", ")),
            Self::Other(why) => write!(f, "{why:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Failure, result, verdict};

    #[test]
    fn only_every_result_is_a_pass() {
        let listed = ["a::b".to_owned(), "c".to_owned()];
        let judged = |code, lines: &[&str]| {
            let reported = lines.iter().filter_map(|line| result(line)).collect::<BTreeMap<_, _>>();
            verdict(code, &listed, &reported).map_err(|why| (matches!(why, Failure::Tests { .. }), why.to_string()))
        };
        assert_eq!(judged(0, &["test a::b ... ok", "running 2 tests", "test c    ... ok"]), Ok(()));
        let failed = ["test a::b ... ok", "test c    ... FAILED"];
        assert_eq!(judged(101, &failed), Err((true, "1 of 2 tests failed: c".to_owned())), "gets another go");
        for (code, lines, why) in [
            (101, ["test a::b ... ok", "test c    ... ok"], "every test passed, but their program ended with 101"),
            (102, failed, "1 of 2 tests failed: c, and their program ended with 102"),
            (0, failed, "1 of 2 tests failed: c, and their program ended with 0"),
            (
                0,
                ["test a::b ... ok", "test c    ... ignored"],
                "1 of 2 tests failed: c, and their program ended with 0",
            ),
            (0, ["test a::b ... ok", "test c    ... "], "1 of 2 tests failed: c, and their program ended with 0"),
            (0, ["test a::b ... ok", "test c"], "no result of c (the program ended with 0)"),
            (137, ["test a::b ... ok", ""], "no result of c (the program ended with 137)"),
        ] {
            assert_eq!(judged(code, &lines), Err((false, why.to_owned())));
        }
    }
}
