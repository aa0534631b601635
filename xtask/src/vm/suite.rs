//! The kernel tests in guests, and the verdict on each: every test that the program lists has to say that it passed, and the
//! program and its machine have to end as they should. What a test does is not known here.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::setup;

use super::boot::{Line, Patience, last_of};
use super::image::{self, Programs};
use super::kernel::Kernel;
use super::{Guests, Job, Profile};

/// A suite that says nothing for so long hangs: longer than its tests wait for anything.
const QUIET: Duration = Duration::from_secs(5 * 60);
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

/// Runs the tests on each kernel, all of them or once for each filter, and says how it went in a last line for each.
pub fn run(guests: &Guests, filters: &[Option<String>]) -> Result<Outcome> {
    setup::toolchain()?;
    let programs = Programs::build()?;
    let mut wanted = Vec::new();
    for filter in filters {
        let listed = programs.list(filter.as_deref())?;
        if !listed.is_empty() {
            wanted.push((filter, listed));
        }
    }
    if wanted.is_empty() {
        return Ok(Outcome::NoSuchTest);
    }
    let mut common = image::common(&programs)?;
    let mut all_passed = true;
    for (filter, listed) in &wanted {
        let arguments: Vec<String> = ["/init"].into_iter().chain(filter.as_deref()).map(str::to_owned).collect();
        let job = Job { common, arguments: &arguments, memory: MEMORY, patience: Patience::with(QUIET) };
        all_passed &= on_every_kernel(guests, &job, listed);
        common = job.common;
    }
    if !all_passed {
        bail!("not every test passed in every guest");
    }
    Ok(Outcome::Passed)
}

/// Whether all passed.
fn on_every_kernel(guests: &Guests, job: &Job, listed: &[String]) -> bool {
    // Where time is what a guest has executed, it cannot tell whether it has a CPU for itself.
    let at_once = match guests.profile {
        Profile::Warp => thread::available_parallelism().map_or(1, usize::from).min(memory_kb() / TAKES_KB).max(1),
        Profile::Smp => 1,
    };
    let mut ended = Vec::new();
    for kernels in guests.kernels.chunks(at_once) {
        thread::scope(|scope| {
            let running: Vec<_> =
                kernels.iter().map(|kernel| scope.spawn(|| on(guests, kernel, job, listed))).collect();
            // A thread that panicked has said so; its kernel has not passed.
            ended.extend(kernels.iter().zip(running).map(|(kernel, run)| (kernel, run.join().unwrap_or_default())));
        });
    }
    let named = |wanted: fn(&Ended) -> bool| {
        let those = ended.iter().filter(|(_, ended)| wanted(ended));
        those.map(|(kernel, ended)| format!("{} ({} s)", kernel.name, ended.seconds)).collect::<Vec<_>>().join(", ")
    };
    let (passed, failed) = (named(|ended| ended.passed), named(|ended| !ended.passed));
    match (passed.as_str(), failed.as_str()) {
        (passed, "") => println!("\n{} tests passed on: {passed}", listed.len()),
        ("", failed) => println!("\nFAILED on: {failed}"),
        (passed, failed) => println!("\nFAILED on: {failed}; passed on: {passed}"),
    }
    failed.is_empty()
}

/// What this machine has to give.
fn memory_kb() -> usize {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    available.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// How it went on one kernel.
#[derive(Default)]
struct Ended {
    passed: bool,
    seconds: u64,
}

fn on(guests: &Guests, kernel: &Kernel, job: &Job, listed: &[String]) -> Ended {
    let start = Instant::now();
    println!("{:<8} {} tests in {}", kernel.name, listed.len(), kernel.release);
    let mut reported = BTreeMap::new();
    let code = guests.boot(kernel, job, |line| {
        let (Line::Stdout(text) | Line::Stderr(text)) = line;
        let text = String::from_utf8_lossy(text);
        println!("{:<8} {text}", kernel.name);
        reported.extend(result(&text));
    });
    let verdict = code.and_then(|code| {
        let all_there = listed.iter().all(|name| reported.contains_key(name));
        let verdict = verdict(code, listed, &reported);
        // The kernel may have had a part in it: it ends programs when there is no memory, say.
        if all_there { verdict } else { verdict.map_err(|why| anyhow!("{why}. {}", last_of(&guests.log(kernel)))) }
    });
    if let Err(why) = &verdict {
        println!("{:<8} {why:#}", kernel.name);
    }
    Ended { passed: verdict.is_ok(), seconds: start.elapsed().as_secs() }
}

/// The name and result of a test, from the line about it.
fn result(line: &str) -> Option<(String, String)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.trim().to_owned(), result.trim().to_owned()))
}

fn verdict(code: i32, listed: &[String], reported: &BTreeMap<String, String>) -> Result<()> {
    let missing: Vec<&str> = listed.iter().filter(|name| !reported.contains_key(*name)).map(String::as_str).collect();
    if !missing.is_empty() {
        bail!("no result of {} (the program ended with {code})", missing.join(", "));
    }
    let failed: Vec<&str> =
        reported.iter().filter(|(_, result)| *result != "ok").map(|(name, _)| name.as_str()).collect();
    if !failed.is_empty() {
        bail!("{} of {} tests failed: {}", failed.len(), listed.len(), failed.join(", "));
    }
    if code != 0 {
        bail!("every test passed, but their program ended with {code}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{result, verdict};

    #[test]
    fn only_every_result_is_a_pass() {
        let listed = ["a::b".to_owned(), "c".to_owned()];
        let judged = |code, lines: &[&str]| {
            let reported = lines.iter().filter_map(|line| result(line)).collect::<BTreeMap<_, _>>();
            verdict(code, &listed, &reported).map_err(|why| why.to_string())
        };
        assert_eq!(judged(0, &["test a::b ... ok", "running 2 tests", "test c    ... ok"]), Ok(()));
        for (code, lines, why) in [
            (101, ["test a::b ... ok", "test c    ... ok"], "every test passed, but their program ended with 101"),
            (0, ["test a::b ... ok", "test c    ... FAILED"], "1 of 2 tests failed: c"),
            (0, ["test a::b ... ok", "test c    ... ignored"], "1 of 2 tests failed: c"),
            (0, ["test a::b ... ok", "test c    ... "], "1 of 2 tests failed: c"),
            (0, ["test a::b ... ok", "test c"], "no result of c (the program ended with 0)"),
            (137, ["test a::b ... ok", ""], "no result of c (the program ended with 137)"),
        ] {
            assert_eq!(judged(code, &lines), Err(why.to_owned()));
        }
    }
}
