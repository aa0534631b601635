//! The kernel tests on this machine, and the verdict on them.
//!
//! Others use the machine too, and a kernel may withhold an event that a test needs to see (tests/kernel/withheld.rs). So a test that
//! fails gets two more goes, alone: it runs by itself, and nothing else of the suite does. (Of some twenty timers that run out in `ends::by_timers_v6`
//! the kernel of one host withheld one in every tenth run.) That says nothing of one that fails at times for a reason of its own, so the verdict names each
//! that needed it, and many that do are a failure.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::root;
use crate::toolchain;

/// The exit code of the tests' program if a test failed, and nothing else is wrong.
pub const TESTS_FAILED: i32 = 101;

/// How often a test that failed is run alone.
const GOES_ALONE: usize = 2;

/// How the tests went when they ran together.
#[derive(Debug, Default, PartialEq)]
pub struct Together {
    run: usize,
    failed: Vec<String>,
}

/// Runs all of them, or once for each filter. An error is what no second go makes good.
pub fn together(tests: &Path, filters: &[Option<String>]) -> Result<Together> {
    let mut all = Together::default();
    for filter in filters {
        let mut running =
            command(tests, filter)?.stdout(Stdio::piped()).spawn().context("cannot run the kernel tests")?;
        let mut said = Vec::new();
        if let Some(output) = running.stdout.take() {
            for line in BufReader::new(output).split(b'\n') {
                let line = String::from_utf8_lossy(&line?).into_owned();
                println!("{line}");
                said.push(line);
            }
        }
        let one = judged(running.wait()?.code(), &said)?;
        all.run += one.run;
        all.failed.extend(one.failed);
    }
    Ok(all)
}

impl Together {
    /// Gives those that failed their other goes. Returns what there is to say of a pass.
    pub fn again(self, tests: &Path) -> Result<String> {
        let Self { run, failed } = self;
        let names = failed.join(", ");
        if failed.len() > most(run) {
            bail!("{} of {run} failed, more than one in 20: {names}", failed.len());
        }
        let mut always = Vec::new();
        for name in &failed {
            if !passes_alone(tests, name)? {
                always.push(name.as_str());
            }
        }
        if !always.is_empty() {
            bail!("{} of {run} failed {} times: {}", always.len(), 1 + GOES_ALONE, always.join(", "));
        }
        let remark = || format!("{} of {run} passed only when run again, alone: {names}", failed.len());
        Ok(if failed.is_empty() { String::new() } else { remark() })
    }

    /// Whether any has to be run again.
    pub fn failed(&self) -> bool {
        !self.failed.is_empty()
    }
}

/// Whether a test passes in one of its goes alone.
fn passes_alone(tests: &Path, name: &str) -> Result<bool> {
    for _ in 0..GOES_ALONE {
        println!("once more, alone: {name}");
        let status = command(tests, [OsStr::new("--exact"), OsStr::new(name)])?.status();
        if status.context("cannot run the kernel tests")?.success() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many of so many tests may need another go.
pub fn most(run: usize) -> usize {
    (run / 20).max(1)
}

/// The tests' program, built as the user, to be run as root.
fn command<A: AsRef<OsStr>>(tests: &Path, arguments: impl IntoIterator<Item = A>) -> Result<Command> {
    // sudo passes on next to nothing of the environment.
    let passed_on = |name: &str| name == "CI" || name.starts_with("RUST_") || name.starts_with("TCPWAIT_");
    let settings =
        env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passed_on)).map(|(mut setting, value)| {
            setting.push("=");
            setting.push(value);
            setting
        });
    let mut all: Vec<OsString> = settings.collect();
    all.push(tests.as_os_str().to_owned());
    all.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    let mut command = root::command("env", &all)?;
    // Where cargo runs the tests of a package.
    command.current_dir(toolchain::workspace().join("tcpwait-user"));
    Ok(command)
}

/// What the program's exit code and its last words say: `test result: FAILED. 165 passed; 3 failed; …`, and before it `failures:`
/// with a name in each line. A test's own output may stand in the middle of the line about another, so those are not asked.
fn judged(code: Option<i32>, said: &[String]) -> Result<Together> {
    let badly = || format!("the kernel tests did not end as tests do (exit code {code:?})");
    let summary = said.iter().rev().find_map(|line| line.strip_prefix("test result: ")).with_context(badly)?;
    let number = |of: &str| -> Option<usize> {
        let words: Vec<&str> = summary.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        words.windows(2).find(|two| two.last() == Some(&of))?.first()?.parse().ok()
    };
    let (passed, failed) = number("passed").zip(number("failed")).with_context(badly)?;
    let names: Vec<String> = match said.iter().rposition(|line| line == "failures:") {
        Some(start) if failed > 0 => {
            said.iter().skip(start + 1).map_while(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    match code {
        Some(0) if failed == 0 => {}
        Some(TESTS_FAILED) if failed > 0 && names.len() == failed => {}
        Some(code) if failed == 0 => bail!("every test passed, but their program ended with {code}"),
        _ => bail!(badly()),
    }
    Ok(Together { run: passed + failed, failed: names })
}

#[cfg(test)]
mod tests {
    use super::{Together, judged, most};

    #[test]
    fn a_failure_that_is_no_test_is_not_made_good() {
        let said = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
        let all = said(
            "running 2 tests\ntest a ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; finished in 1.2s\n",
        );
        let two = said(
            "test a ... what b says\nFAILED\n\nfailures:\n\n---- a ----\nfailures:\n\n\nfailures:\n    a\n    b::c\n\n\
             test result: FAILED. 38 passed; 2 failed; 0 ignored; finished in 1.2s\n\n",
        );
        let judged = |code, said: &[String]| judged(code, said).map_err(|why| why.to_string());
        assert_eq!(judged(Some(0), &all), Ok(Together { run: 2, failed: Vec::new() }));
        let failed = vec!["a".to_owned(), "b::c".to_owned()];
        assert_eq!(judged(Some(101), &two), Ok(Together { run: 40, failed }));
        let badly = |code| Err(format!("the kernel tests did not end as tests do (exit code {code:?})"));
        assert_eq!(judged(Some(102), &all), Err("every test passed, but their program ended with 102".to_owned()));
        assert_eq!(judged(Some(102), &two), badly(Some(102)), "the tracer that they shared lost something, too");
        assert_eq!(judged(None, &two), badly(None));
        assert_eq!(judged(Some(101), &said("test a ... ok\n")), badly(Some(101)));
    }

    #[test]
    fn one_in_twenty() {
        assert_eq!([168, 40, 39, 1].map(most), [8, 2, 1, 1]);
    }
}
