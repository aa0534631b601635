//! `cargo xtask test`: everything that has to hold before a change goes in, in the order of what fails soonest.
//! A failing check does not keep the later ones from running; the last line says what failed.
//!
//! Most of the time is that of the guests, whose CPUs are emulated. They run beside everything else, and come second: building
//! leaves them little, the kernel tests on this machine, which wait, nearly all.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::compile::{self, cargo, executable};
use crate::dist;
use crate::fuzz;
use crate::object;
use crate::pages;
use crate::root;
use crate::setup::{self, Toolchain};
use crate::toolchain;
use crate::vm::{Programs, check, suite};

mod course;
pub mod kernel;
mod space;

pub use self::course::NOT_RUN;
use self::course::{Beside, Course};

const ON_THIS_KERNEL: &str = "kernel tests";
const IN_GUESTS: &str = "kernel tests in guests";
const FUZZING: &str = "fuzzing";
const PAGES: &str = "pages in browsers";

/// How long the fuzzer runs, in seconds, beside the kernel tests on this machine, which mostly wait.
const FUZZING_S: u32 = 60;

/// The verb.
pub fn run(filters: Vec<String>) -> Result<ExitCode> {
    let mut course = Course::new();
    course.heading("what building and testing needs");
    let toolchain = setup::toolchain()?;
    setup::report(&toolchain);
    if let Some(warning) = space::warning() {
        println!("{warning}");
    }
    // Only the kernel tests use these packages.
    if root::available() {
        setup::test_packages()?;
        // Before anything goes on beside; where one of them is not to be had, its own step says so.
        let _ = fuzz::compiler_of_cxx();
        let _ = pages::programs();
    }

    // Beside all that follows: downloads first, which wait; then, once the tests are built, the guests.
    let guests = Beside::this_program(&[&["test-in-guests".to_owned()], filters.as_slice()].concat());

    let filters = runs(filters);
    course.step("formatting", || finish(cargo(&["fmt", "--all", "--check"])));
    let tests = course.step("building the tests", build);
    course.step("lints", lint);
    course.step("lints of the kernel tests", lint_kernel_tests);
    course.step("lints of the kernel side", || lint_kernel_side(&toolchain));
    course.step("documentation", document);
    course.step("tests", || filters.iter().try_for_each(test));
    // A filter names tests, and this is none.
    let fuzzing = filters
        .iter()
        .all(Option::is_none)
        .then(|| Beside::this_program(&["fuzz".to_owned(), "--seconds".to_owned(), FUZZING_S.to_string()]));
    let together = match &tests {
        Some(_) if !root::available() => {
            course.skip(ON_THIS_KERNEL, "needs root, and there is no sudo here");
            None
        }
        Some(tests) => course.part_of(ON_THIS_KERNEL, || kernel::together(tests, &filters)),
        None => {
            course.skip(ON_THIS_KERNEL, "they do not build");
            None
        }
    };
    if let Some(fuzzing) = fuzzing {
        course.join(FUZZING, fuzzing);
    }
    // Beside the guests, which want the processor that the tests on this machine leave.
    if filters.iter().all(Option::is_none) {
        course.step("what is shipped", dist::check_here);
        course.join(PAGES, Beside::this_program(&["pages".to_owned()]));
    }
    course.join(IN_GUESTS, guests);
    // Nothing else runs by now.
    if let (Some(tests), Some(together)) = (tests, together) {
        if together.failed() {
            course.heading("kernel tests once more");
        }
        match together.again(&tests) {
            Ok(remark) => course.pass(ON_THIS_KERNEL, &remark),
            Err(why) => course.fail(ON_THIS_KERNEL, &why),
        }
    }
    Ok(course.end())
}

/// What runs beside the rest: the kernel tests on other kernels, for which nobody has to be root. Which kernels, and what of the
/// tests on each, is said in `vm/check.rs` alone.
pub fn in_guests(filters: Vec<String>) -> Result<ExitCode> {
    let filters = runs(filters);
    let missing = setup::missing_test_programs();
    let guests = match missing.as_slice() {
        [] => check::fetch(),
        _ => Err(anyhow!("the tests need {}, and only root can install that", missing.join(", "))),
    };
    let guests = match guests {
        Ok(guests) => guests,
        Err(why) => {
            println!("not run: {why:#}");
            return Ok(ExitCode::from(NOT_RUN));
        }
    };
    if matches!(check::run(&guests, &filters)?, suite::Outcome::NoSuchTest) {
        println!("no kernel test has such a name: nothing to boot a guest for");
    }
    Ok(ExitCode::SUCCESS)
}

/// Tests that are their own harness take one filter only, so each filter is a run.
fn runs(filters: Vec<String>) -> Vec<Option<String>> {
    if filters.is_empty() { vec![None] } else { filters.into_iter().map(Some).collect() }
}

/// Builds the kernel tests. Where guests can run the same program does for them and for this machine, and is optimised a little.
fn build() -> Result<PathBuf> {
    if Programs::can_be_built() {
        return Ok(Programs::build()?.tests);
    }
    executable(cargo(&["test", "--package", "tcpwait", "--test", "kernel", "--no-run", "--locked"]), "kernel")
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
    if let Some(clippy) = clippy_of(compiler) {
        // In a folder of its own: in one folder checking and building would throw away what the other made.
        let target_dir = compile::target_dir().join("bpf-lint");
        let command = object::command(clippy.as_os_str(), "clippy", compiler, linker, &target_dir);
        let mut command = command.map_err(anyhow::Error::msg)?;
        command.args(["--", "-D", "warnings"]);
        return finish(command);
    }
    println!("{} comes without clippy: no warnings of the compiler itself, instead", compiler.rustc.display());
    // As the build did it, and in its folder (`nested_target_dir` of build.rs): of what is built already cargo says the warnings again.
    let target_dir = compile::target_dir().join("bpf");
    let mut command = object::build(compiler, linker, &target_dir).map_err(anyhow::Error::msg)?;
    let built = command.args(["--color", "never"]).output().context("cargo does not run")?;
    let said = String::from_utf8_lossy(&built.stderr);
    eprint!("{said}");
    // Its sum for each of our crates: cargo may have warnings of its own, which are no business of the code.
    if !built.status.success() || said.lines().any(|line| line.starts_with("warning: `tcpwait")) {
        bail!("the kernel side does not build without a warning");
    }
    Ok(())
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

/// In the same build, so that nothing is built twice.
fn test(filter: &Option<String>) -> Result<()> {
    let arguments = ["test", "--workspace", "--locked"];
    let mut test = if Programs::can_be_built() { Programs::cargo(&arguments) } else { cargo(&arguments) };
    if let Some(filter) = filter {
        test.args(["--", filter]);
    }
    finish(test)
}

/// Runs a command that has to succeed.
pub fn finish(mut command: Command) -> Result<()> {
    let line = root::shown(&command);
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}
