//! `cargo xtask test`: everything that has to hold before a change goes in, in the order of what fails soonest.
//! A failing check does not keep the later ones from running; the last line says what failed.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::compile::{self, cargo, executable};
use crate::object;
use crate::root;
use crate::setup::{self, Toolchain};
use crate::toolchain;
use crate::vm::{Guests, check, suite};

/// The step that may be known at the start not to be possible.
const IN_GUESTS: &str = "kernel tests in guests";

/// The verb.
pub fn run(filters: Vec<String>) -> Result<()> {
    let mut course = Course::new();
    course.heading("what building and testing needs");
    let toolchain = setup::toolchain()?;
    setup::report(&toolchain);
    // Only the kernel tests use these packages.
    if root::available() {
        setup::test_packages()?;
    }
    // Downloaded first: if it cannot be, that is known before anything is built.
    let guests = match guests() {
        Ok(guests) => Some(guests),
        Err(why) => {
            course.skip(IN_GUESTS, &format!("{why:#}"));
            None
        }
    };

    course.step("formatting", || finish(cargo(&["fmt", "--all", "--check"])));
    course.step("lints", lint);
    course.step("lints of the kernel tests", lint_kernel_tests);
    course.step("lints of the kernel side", || lint_kernel_side(&toolchain));
    course.step("documentation", document);
    // Tests that are their own harness take one filter only, so each filter is a run.
    let filters: Vec<_> = match filters.is_empty() {
        true => vec![None],
        false => filters.into_iter().map(Some).collect(),
    };
    course.step("tests", || filters.iter().try_for_each(test));
    if root::available() {
        course.step("kernel tests", || kernel_tests(&filters));
    } else {
        course.skip("kernel tests", "needs root, and there is no sudo here");
    }
    if let Some(guests) = &guests {
        course.step(IN_GUESTS, || kernel_tests_in(guests, &filters));
    }
    course.end()
}

fn lint() -> Result<()> {
    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
    clippy.args(["--", "-D", "warnings"]);
    finish(clippy)
}

/// `--all-targets` leaves out targets with `test = false`.
fn lint_kernel_tests() -> Result<()> {
    let mut clippy = cargo(&["clippy", "--package", "tcpwait", "--test", "kernel"]);
    clippy.args(["--locked", "--", "-D", "warnings"]);
    finish(clippy)
}

/// On the host most of the kernel side is compiled out, so the lints above do not see it.
fn lint_kernel_side(toolchain: &Toolchain) -> Result<()> {
    let Toolchain { compiler, linker } = toolchain;
    // Other flags than the build's: in one folder each would throw away what the other made.
    let target_dir = compile::target_dir().join("bpf-lint");
    if let Some(clippy) = clippy_of(compiler) {
        let command = object::command(clippy.as_os_str(), "clippy", compiler, linker, &target_dir, &[]);
        let mut command = command.map_err(anyhow::Error::msg)?;
        command.args(["--", "-D", "warnings"]);
        return finish(command);
    }
    println!("{} comes without clippy: building with warnings as errors instead", compiler.rustc.display());
    object::build(compiler, linker, &target_dir, &["-Dwarnings"]).map(|_| ()).map_err(anyhow::Error::msg)
}

/// `cargo-clippy`, if it belongs to this compiler: clippy 0.1.96 is part of Rust 1.96.
fn clippy_of(compiler: &toolchain::Compiler) -> Option<PathBuf> {
    let programs = compiler.sysroot.join("bin");
    let version = Command::new(programs.join("clippy-driver")).arg("--version").output().ok()?;
    let minor = compiler.release.split('.').nth(1)?;
    String::from_utf8_lossy(&version.stdout)
        .starts_with(&format!("clippy 0.1.{minor} "))
        .then(|| programs.join("cargo-clippy"))
        .filter(|program| program.is_file())
}

fn document() -> Result<()> {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    finish(doc)
}

fn test(filter: &Option<String>) -> Result<()> {
    let mut test = cargo(&["test", "--workspace", "--locked"]);
    if let Some(filter) = filter {
        test.args(["--", filter]);
    }
    finish(test)
}

/// Built as the user, run as root.
fn kernel_tests(filters: &[Option<String>]) -> Result<()> {
    let build = cargo(&["test", "--package", "tcpwait", "--test", "kernel", "--no-run", "--locked"]);
    let tests = executable(build, "kernel", &[])?;
    for filter in filters {
        // sudo passes on next to nothing of the environment.
        let mut arguments: Vec<OsString> = env::vars_os()
            .filter(|(name, _)| {
                name.to_str()
                    .is_some_and(|name| name == "CI" || name.starts_with("RUST_") || name.starts_with("TCPWAIT_"))
            })
            .map(|(mut setting, value)| {
                setting.push("=");
                setting.push(value);
                setting
            })
            .collect();
        arguments.push(tests.clone().into_os_string());
        arguments.extend(filter.iter().map(OsString::from));
        let mut command = root::command("env", &arguments)?;
        // Where cargo runs the tests of a package.
        command.current_dir(toolchain::workspace().join("tcpwait-user"));
        finish(command)?;
    }
    Ok(())
}

/// What the tests need to run on other kernels, for which nobody has to be root; or why there is nothing of it.
fn guests() -> Result<Guests> {
    let missing = setup::missing_test_programs();
    if !missing.is_empty() {
        bail!("the tests need {}, and only root can install that", missing.join(", "));
    }
    check::fetch()
}

fn kernel_tests_in(guests: &Guests, filters: &[Option<String>]) -> Result<()> {
    if matches!(check::run(guests, filters)?, suite::Outcome::NoSuchTest) {
        println!("no kernel test has such a name: nothing to boot a guest for");
    }
    Ok(())
}

fn finish(mut command: Command) -> Result<()> {
    let line = root::shown(&command);
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// The steps so far, and how they went.
struct Course {
    start: Instant,
    passed: Vec<&'static str>,
    failed: Vec<&'static str>,
    skipped: Vec<&'static str>,
}

impl Course {
    fn new() -> Self {
        Self { start: Instant::now(), passed: Vec::new(), failed: Vec::new(), skipped: Vec::new() }
    }

    fn heading(&self, name: &str) {
        println!("\n== {name} ({} s)", self.start.elapsed().as_secs());
    }

    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        self.heading(name);
        match work() {
            Ok(()) => self.passed.push(name),
            Err(error) => {
                println!("{name}: {error:#}");
                self.failed.push(name);
            }
        }
    }

    fn skip(&mut self, name: &'static str, why: &str) {
        self.heading(name);
        println!("not run: {why}");
        self.skipped.push(name);
    }

    /// The one line that says it all. In CI a test that was not run has not passed.
    fn end(self) -> Result<()> {
        let parts = [("passed", &self.passed), ("FAILED", &self.failed), ("not run", &self.skipped)];
        let line = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect::<Vec<_>>()
            .join("; ");
        println!("\n{line} ({} s)", self.start.elapsed().as_secs());
        let strict = env::var_os("CI").is_some_and(|value| value == "true");
        if !self.failed.is_empty() || (strict && !self.skipped.is_empty()) {
            bail!("not all of it passed");
        }
        Ok(())
    }
}
