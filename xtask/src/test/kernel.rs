//! The kernel tests on this machine, and the verdict on them.
//!
//! Others use the machine too, and a kernel may withhold an event that a test needs to see (tests/kernel/withheld.rs). So a test that
//! fails gets two more goes, alone: it runs by itself, and nothing else of the suite does. (Of some twenty timers that run out in `ends::by_timers_v6`
//! the kernel of one host withheld one in every tenth run.) That says nothing of one that fails at times for a reason of its own, so the verdict names each
//! that needed it, and many that do are a failure. Many tests share one tracer, whose account of what was lost is a test as well: it gets another go, which is that of
//! all its tests.

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

/// With what the program's last line begins if the tracer that its tests share did not end well.
const UNSOUND: &str = "unsound: ";

/// The exit code that goes with it, whether a test failed or not.
const NOT_SOUND: i32 = 102;

/// How often a test that failed is run alone.
const GOES_ALONE: usize = 2;

/// How the tests went when they ran together.
#[derive(Debug, Default, PartialEq)]
pub struct Together {
    run: usize,
    failed: Vec<String>,
    /// Why the tracer that the tests share did not end well.
    unsound: Option<String>,
}

/// Runs all of them, or once for each filter. An error is what no second go makes good.
pub fn together(tests: &Path, filters: &[Option<String>]) -> Result<Together> {
    let mut all = Together::default();
    for filter in filters {
        let one = run(command(tests, &[], filter)?)?;
        all.run += one.run;
        all.failed.extend(one.failed);
        all.unsound = all.unsound.or(one.unsound);
    }
    Ok(all)
}

/// Runs the tests' program, shows what it says, and judges that.
fn run(mut program: Command) -> Result<Together> {
    let mut running = program.stdout(Stdio::piped()).spawn().context("cannot run the kernel tests")?;
    let mut said = Vec::new();
    if let Some(output) = running.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            said.push(line);
        }
    }
    judged(running.wait()?.code(), &said)
}

impl Together {
    /// Gives those that failed their other goes. Returns what there is to say of a pass.
    pub fn again(self, tests: &Path) -> Result<String> {
        let Self { run, failed, unsound } = self;
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
        let mut remarks = Vec::new();
        if !failed.is_empty() {
            remarks.push(format!("{} of {run} passed only when run again, alone: {names}", failed.len()));
        }
        if let Some(why) = &unsound {
            its_tests_once_more(tests, why)?;
            remarks.push(format!("the tracer that tests share ended well only when these were run again: {why}"));
        }
        Ok(remarks.join("; "))
    }

    /// Whether any has to be run again.
    pub fn failed(&self) -> bool {
        !self.failed.is_empty() || self.unsound.is_some()
    }
}

/// Whether a test passes in one of its goes alone.
fn passes_alone(tests: &Path, name: &str) -> Result<bool> {
    for _ in 0..GOES_ALONE {
        println!("once more, alone: {name}");
        let status = command(tests, &[], [OsStr::new("--exact"), OsStr::new(name)])?.status();
        if status.context("cannot run the kernel tests")?.success() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs all tests of the shared tracer again, whose account is a test of its own: nothing is lost unsaid. It fails like another, when
/// the kernel withholds events or somebody takes the machine for long, and passes if nothing else does so for a while.
fn its_tests_once_more(tests: &Path, why: &str) -> Result<()> {
    println!("once more, alone: the tests of the tracer that they share");
    // One that fails here has passed, or has goes of its own.
    match run(command(tests, &["TCPWAIT_TESTS=watched"], None::<&str>)?)?.unsound {
        None => Ok(()),
        Some(again) => bail!("the tracer that the kernel tests share did not end well twice: {why}; then {again}"),
    }
}

/// How many of so many tests may need another go.
pub fn most(run: usize) -> usize {
    (run / 20).max(1)
}

/// The tests' program, built as the user, to be run as root, with more settings than this process has.
fn command<A>(tests: &Path, more: &[&str], arguments: impl IntoIterator<Item = A>) -> Result<Command>
where
    A: AsRef<OsStr>,
{
    // sudo passes on next to nothing of the environment.
    let passed_on = |name: &str| name == "CI" || name.starts_with("RUST_") || name.starts_with("TCPWAIT_");
    let settings =
        env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passed_on)).map(|(mut setting, value)| {
            setting.push("=");
            setting.push(value);
            setting
        });
    let mut all: Vec<OsString> = settings.chain(more.iter().map(OsString::from)).collect();
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
    let unsound = said.last().and_then(|line| line.strip_prefix(UNSOUND)).map(str::to_owned);
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
        _ if names.len() != failed => bail!(badly()),
        Some(0) if failed == 0 => {}
        Some(TESTS_FAILED) if failed > 0 => {}
        Some(NOT_SOUND) if unsound.is_some() => {}
        Some(code) if failed == 0 => bail!("every test passed, but their program ended with {code}"),
        _ => bail!(badly()),
    }
    Ok(Together { run: passed + failed, failed: names, unsound })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::{env, fs, process};

    use super::{Together, judged, most, together};
    use crate::root;

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
        let went = |run, failed: &[&str], unsound: Option<&str>| {
            let failed = failed.iter().map(|name| (*name).to_owned()).collect();
            Ok(Together { run, failed, unsound: unsound.map(str::to_owned) })
        };
        assert_eq!(judged(Some(0), &all), went(2, &[], None));
        assert_eq!(judged(Some(101), &two), went(40, &["a", "b::c"], None));
        let badly = |code| Err(format!("the kernel tests did not end as tests do (exit code {code:?})"));
        assert_eq!(judged(Some(102), &all), Err("every test passed, but their program ended with 102".to_owned()));
        assert_eq!(judged(Some(102), &two), badly(Some(102)), "why is not said");
        assert_eq!(judged(None, &two), badly(None));
        assert_eq!(judged(Some(101), &said("test a ... ok\n")), badly(Some(101)));
        let lost = |mut said: Vec<String>| {
            said.push("unsound: lost: 3 events".to_owned());
            said
        };
        assert_eq!(judged(Some(102), &lost(all)), went(2, &[], Some("lost: 3 events")));
        assert_eq!(judged(Some(102), &lost(two)), went(40, &["a", "b::c"], Some("lost: 3 events")));
    }

    /// A program that stands for the tests': it is told which to run, and counts its runs.
    #[test]
    fn an_account_has_a_second_go() -> anyhow::Result<()> {
        if !root::available() {
            return Ok(());
        }
        let folder = env::temp_dir().join(format!("tcpwait-second-go-{}", process::id()));
        fs::create_dir_all(&folder)?;
        let (program, runs) = (folder.join("tests"), folder.join("runs"));
        let played = |always: &str| -> anyhow::Result<(Result<String, String>, String)> {
            let script = format!(
                "#!/bin/sh\necho \"$TCPWAIT_TESTS\" >> {runs}\necho 'test result: ok. 3 passed; 0 failed; finished in 1s'\n\
                 if [ \"$TCPWAIT_TESTS\" != watched ] || {always}; then echo 'unsound: lost: 7 events'; exit 102; fi\n",
                runs = runs.display()
            );
            fs::write(&runs, "")?;
            fs::write(&program, script)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            let together = together(&program, &[None])?;
            assert!(together.failed());
            let verdict = together.again(&program).map_err(|why| why.to_string());
            Ok((verdict, fs::read_to_string(&runs)?))
        };
        let (once, twice) = (played("false")?, played("true")?);
        fs::remove_dir_all(&folder)?;
        let remark = "the tracer that tests share ended well only when these were run again: lost: 7 events";
        assert_eq!(once, (Ok(remark.to_owned()), "\nwatched\n".to_owned()));
        let red = "the tracer that the kernel tests share did not end well twice: lost: 7 events; then lost: 7 events";
        assert_eq!(twice, (Err(red.to_owned()), "\nwatched\n".to_owned()));
        Ok(())
    }

    #[test]
    fn one_in_twenty() {
        assert_eq!([168, 40, 39, 1].map(most), [8, 2, 1, 1]);
    }
}
