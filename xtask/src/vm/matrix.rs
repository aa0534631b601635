//! `cargo xtask vm --matrix`: all tests on all kernels in both profiles, and a table of how it went, which is written after each
//! guest: a run that was stopped, or was of some of them, goes on where it was.

use std::env;
use std::fs;
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::series::series_of;
use super::suite::{self, Ended, Ready, Task, Wanted};
use super::{Guests, Machine, Options, Profile, Programs, SKIPPED, place, written};
use crate::arch::Arch;

/// What is run if nothing is named.
const KERNELS: [&str; 8] = ["6.1", "6.12", "6.12-rt", "6.18", "7.3", "7.3-rt", "6.12:arm64", "7.3:arm64"];

/// How far it is.
#[derive(Serialize, Deserialize)]
struct Table {
    tests: usize,
    filter: Option<String>,
    /// Whether it went to its end.
    finished: bool,
    rows: Vec<Row>,
}

/// A kernel in a profile.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    kernel: String,
    profile: Profile,
    /// What the result is of: another build is to be run again. Unknown if nothing was run.
    programs: Option<String>,
    /// As `uname -r` says it; unknown if the kernel could not be had.
    release: Option<String>,
    result: What,
    /// Why it did not pass, or was not run.
    why: Option<String>,
    seconds: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Passed,
    Failed,
    NotRun,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Passed => "passed",
            What::Failed => "FAILED",
            What::NotRun => "not run",
        }
    }
}

/// The verb with `--matrix`.
pub fn run(options: &Options) -> Result<ExitCode> {
    let kernels = if options.kernel.is_empty() { series_of(&KERNELS) } else { options.kernel.clone() };
    let profiles = options.profile.map_or(vec![Profile::Warp, Profile::Smp], |profile| vec![profile]);
    let (mut guests, missing) = match Guests::fetch_each(&kernels, &profiles) {
        Ok(fetched) => fetched,
        Err(why) => {
            eprintln!("not run: {why:#}");
            return Ok(ExitCode::from(SKIPPED));
        }
    };
    guests.bring(&options.tool)?;
    let ready = Ready::build(&guests)?;
    let wanted = Wanted::of(&ready, options.filter.as_deref())?;
    if wanted.tests.is_empty() {
        bail!("no kernel test has {} in its name", options.filter.as_deref().unwrap_or_default());
    }
    let sums = ready.programs().map(|programs| Ok((programs.arch, sum(programs)?))).collect::<Result<Vec<_>>>()?;
    let sum_of = |arch: Arch| sums.iter().find(|(its, _)| *its == arch).map(|(_, sum)| sum.clone());
    let mut table =
        Table { tests: wanted.tests.len(), filter: options.filter.clone(), finished: false, rows: Vec::new() };
    let earlier = fs::read(place("matrix.json")).ok().and_then(|text| serde_json::from_slice::<Table>(&text).ok());
    if let Some(earlier) = earlier.filter(|earlier| table.takes_over(earlier)) {
        table.rows = earlier.rows.into_iter().filter(|row| row.result == What::Passed).collect();
    }
    // What was not named this time is looked at when it is.
    let of = |row: &Row| guests.kernels.iter().find(|kernel| kernel.name == row.kernel);
    table.rows.retain(|row| of(row).is_none_or(|kernel| row.holds(&kernel.release, sum_of(kernel.arch).as_deref())));

    if !table.rows.is_empty() {
        println!("an earlier run of these tests was stopped; kept from it:\n{}", table.text());
    }
    // Guests that take one core first: they fill the machine best.
    let machines =
        profiles.iter().flat_map(|profile| guests.kernels.iter().map(move |kernel| Machine::one(kernel, *profile)));
    let tasks: Vec<Task> = machines
        .filter(|machine| !table.rows.iter().any(|row| row.is_of(&machine.kernel.name, machine.profile)))
        .map(|machine| Task { machine, wanted: &wanted })
        .collect();
    for (series, why) in &missing {
        let name = series.to_string();
        table.rows.retain(|row| row.kernel != name);
        table.rows.extend(profiles.iter().map(|profile| Row {
            kernel: name.clone(),
            profile: *profile,
            programs: None,
            release: None,
            result: What::NotRun,
            why: Some(why.clone()),
            seconds: None,
        }));
    }
    let table = Mutex::new(table);
    suite::side_by_side(&guests, &ready, &tasks, |task, ended| {
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        table.rows.push(Row::of(task, ended, sum_of(task.machine.kernel.arch)));
        if let Err(why) = table.write() {
            eprintln!("{why:#}");
        }
    });
    let mut table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    // In the order in which they were named; what was kept of others stands behind.
    let place_of = |row: &Row| {
        let kernel = kernels.iter().position(|kernel| kernel.to_string() == row.kernel);
        (kernel.unwrap_or(kernels.len()), row.profile == Profile::Smp)
    };
    table.rows.sort_by_key(place_of);
    table.finished = options.kernel.is_empty() && options.profile.is_none();
    table.write()?;
    println!("\n{}", table.text());
    println!("this table is in {}, and beside it as JSON", place("matrix.md").display());
    let strict = env::var_os("CI").is_some_and(|value| value == "true");
    Ok(ExitCode::from(table.verdict(strict)))
}

impl Table {
    /// Whether what an earlier run has done counts here: it was stopped, and ran the same.
    fn takes_over(&self, earlier: &Self) -> bool {
        !earlier.finished && earlier.tests == self.tests && earlier.filter == self.filter
    }

    fn write(&self) -> Result<()> {
        written(&place(""), "matrix.json", &serde_json::to_vec_pretty(self)?)?;
        written(&place(""), "matrix.md", self.text().as_bytes())?;
        Ok(())
    }

    /// As Markdown, which can be read as it is.
    fn text(&self) -> String {
        let heads = ["kernel", "profile", "release", "result", "time", "why"].map(str::to_owned);
        let rows = self.rows.iter().map(|row| {
            let time = row.seconds.map_or_else(|| "-".to_owned(), |all| format!("{}:{:02}", all / 60, all % 60));
            // A report of a crash has the end of the guest's console behind its first line, and is in its log.
            let why = row.why.as_deref().unwrap_or_default().lines().next().unwrap_or_default().replace('|', "/");
            let result = match row.result {
                What::Passed => format!("passed {}", self.tests),
                result => result.name().to_owned(),
            };
            let release = row.release.clone().unwrap_or_else(|| "-".to_owned());
            [row.kernel.clone(), row.profile.name().to_owned(), release, result, time, why]
        });
        let lines: Vec<[String; 6]> = [heads].into_iter().chain(rows).collect();
        // The last column is as long as it is.
        let widths: Vec<usize> = (0..5)
            .map(|column| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            for (at, cell) in line.iter().enumerate() {
                let width = widths.get(at).copied().unwrap_or(0);
                text += &format!("| {cell:<width$} ");
            }
            text += "|\n";
            if number == 0 {
                text += &"| --- ".repeat(line.len());
                text += "|\n";
            }
        }
        text
    }

    /// The exit code. In CI what was not run has not passed.
    fn verdict(&self, strict: bool) -> u8 {
        let has = |what| self.rows.iter().any(|row| row.result == what);
        match (has(What::Failed), has(What::NotRun)) {
            (true, _) => 1,
            (_, true) if strict => 1,
            (_, true) => SKIPPED,
            _ => 0,
        }
    }
}

impl Row {
    fn of(task: &Task, ended: &Ended, programs: Option<String>) -> Self {
        let Machine { kernel, profile, .. } = task.machine;
        Self {
            kernel: kernel.name.clone(),
            profile,
            programs,
            release: Some(kernel.release.clone()),
            result: if ended.passed.is_ok() { What::Passed } else { What::Failed },
            why: ended.remark(),
            seconds: Some(ended.seconds),
        }
    }

    /// Whether it tells of these programs on this release: the same kernel in another release is another, as are other programs.
    fn holds(&self, release: &str, programs: Option<&str>) -> bool {
        programs.is_some() && (self.release.as_deref(), self.programs.as_deref()) == (Some(release), programs)
    }

    fn is_of(&self, kernel: &str, profile: Profile) -> bool {
        self.kernel == kernel && self.profile == profile
    }
}

/// What tells one build of the programs for an architecture from another.
fn sum(programs: &Programs) -> Result<String> {
    let mut sums = Command::new("sha256sum");
    sums.args([&programs.tests, programs.tested()]);
    let output = sums.output().context("cannot run sha256sum")?;
    if !output.status.success() {
        bail!("sha256sum cannot read the programs of the guests");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let sums = text.lines().filter_map(|line| line.split(' ').next());
    Ok(sums.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::{Profile, Row, Table, What};

    fn table(results: &[What]) -> Table {
        let row = |result: &What| Row {
            kernel: "6.12:arm64".to_owned(),
            profile: Profile::Smp,
            programs: None,
            release: (*result != What::NotRun).then(|| "6.12.118+deb13-cloud-arm64".to_owned()),
            result: *result,
            why: (*result != What::Passed).then(|| "1 of 2 tests failed: a|b\nmore of it".to_owned()),
            seconds: (*result != What::NotRun).then_some(125),
        };
        let rows = results.iter().map(row).collect();
        Table { tests: 2, filter: None, finished: false, rows }
    }

    #[test]
    fn only_what_has_passed_is_green() {
        use What::{Failed, NotRun, Passed};
        for (results, elsewhere, in_ci) in [
            (&[Passed, Passed][..], 0, 0),
            (&[Passed, NotRun], 77, 1),
            (&[Passed, Failed], 1, 1),
            (&[NotRun, Failed], 1, 1),
        ] {
            let table = table(results);
            assert_eq!((table.verdict(false), table.verdict(true)), (elsewhere, in_ci));
        }
    }

    #[test]
    fn a_row_is_a_line() {
        let text = table(&[What::Failed, What::NotRun]).text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let row = lines.get(2).copied().unwrap_or_default();
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let why = "1 of 2 tests failed: a/b";
        assert_eq!(cells, ["6.12:arm64", "smp", "6.12.118+deb13-cloud-arm64", "FAILED", "2:05", why]);
    }

    #[test]
    fn a_row_holds_for_the_programs_that_were_run() {
        let rows = |programs: Option<&str>| {
            let mut table = table(&[What::Passed]);
            table.rows.iter_mut().for_each(|row| row.programs = programs.map(str::to_owned));
            table.rows
        };
        let release = "6.12.118+deb13-cloud-arm64";
        for (programs, of, now, holds) in [
            (Some("a b"), release, Some("a b"), true),
            (Some("a b"), release, Some("a c"), false),
            (Some("a b"), "6.12.119+deb13-cloud-arm64", Some("a b"), false),
            (Some("a b"), release, None, false),
            (None, release, None, false),
        ] {
            assert!(rows(programs).iter().all(|row| row.holds(of, now) == holds), "{programs:?} {of} {now:?}");
        }
    }

    #[test]
    fn only_the_same_that_was_stopped_goes_on() -> serde_json::Result<()> {
        let read = |table: &Table| serde_json::from_slice::<Table>(&serde_json::to_vec(table)?);
        let (now, mut earlier) = (table(&[]), read(&table(&[What::Passed]))?);
        assert!(now.takes_over(&earlier));
        earlier.finished = true;
        assert!(!now.takes_over(&earlier));
        earlier = Table { tests: 3, ..read(&table(&[What::Passed]))? };
        assert!(!now.takes_over(&earlier));
        earlier = Table { filter: Some("v4".to_owned()), ..read(&table(&[What::Passed]))? };
        assert!(!now.takes_over(&earlier));
        Ok(())
    }
}
