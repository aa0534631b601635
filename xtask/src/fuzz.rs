//! `cargo xtask fuzz`: recordings that nobody made, against everything that reads them (tests/fuzz/entry.rs), with libFuzzer.
//!
//! The compiler in use is all it takes: what tells libFuzzer of coverage is a pass of LLVM that every rustc has, and its runtime is C++ that comes with
//! the package libfuzzer-sys. Without a sanitizer: nothing that is fuzzed is unsafe, and what is wrong there panics.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::compile::{self, cargo, executable};
use crate::packages;
use crate::root;
use crate::setup;
use crate::test::NOT_RUN;
use crate::toolchain;

/// What makes LLVM count branches and pass on what is compared, as `cargo fuzz` has it.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg fuzzing",
];

/// No input may take longer, in seconds: many times what the slowest takes on a busy machine.
const SLOWEST_S: u32 = 20;

/// Nor more memory, in MiB.
const MOST_MIB: u32 = 1024;

/// Longer inputs find nothing that these do not, in bytes.
const LONGEST: u32 = 16 << 10;

/// Nor are those in the repository: some ten records.
const LONGEST_KEPT: u32 = 1 << 10;

/// The verb. `keep`: what was found is added to the corpus, as far as it covers more.
pub fn run(seconds: u32, keep: bool) -> Result<ExitCode> {
    setup::toolchain()?;
    if let Err(why) = compiler_of_cxx() {
        println!("not run: {why:#}");
        return Ok(ExitCode::from(NOT_RUN));
    }
    let fuzzer = build()?;
    let folder = compile::target_dir().join("fuzz");
    let (found, failures) = (folder.join("found"), folder.join("failures"));
    for folder in [&found, &failures] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = Command::new(&fuzzer);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .args(limits(LONGEST))
        .args(["-print_final_stats=1", "-reload=0", "-verbosity=0", "-print_funcs=0"])
        // What is new goes to the first of these; the other is only read.
        .args([&found, &corpus()]);
    let line = root::shown(&command);
    if !command.status().with_context(|| format!("cannot run `{line}`"))?.success() {
        bail!(
            "an input did what none may: it is the last in {}; `{} FILE` does it again",
            failures.display(),
            fuzzer.display()
        );
    }
    if keep {
        minimise(&fuzzer, &found)?;
    }
    println!("nothing found in {seconds} s");
    Ok(ExitCode::SUCCESS)
}

fn limits(longest: u32) -> [String; 3] {
    [format!("-timeout={SLOWEST_S}"), format!("-rss_limit_mb={MOST_MIB}"), format!("-max_len={longest}")]
}

/// What is in the repository.
fn corpus() -> PathBuf {
    toolchain::workspace().join("tests/fuzz/corpus")
}

/// The fewest and shortest of all inputs that cover the same.
fn minimise(fuzzer: &Path, found: &Path) -> Result<()> {
    let fewest = found.with_file_name("fewest");
    // Of a former time.
    let _ = fs::remove_dir_all(&fewest);
    fs::create_dir_all(&fewest)?;
    let mut command = Command::new(fuzzer);
    command.arg("-set_cover_merge=1").args(limits(LONGEST_KEPT)).args([&fewest, &corpus(), &found.to_owned()]);
    let line = root::shown(&command);
    if !command.status().with_context(|| format!("cannot run `{line}`"))?.success() {
        bail!("`{line}` failed");
    }
    fs::remove_dir_all(corpus())?;
    fs::create_dir_all(corpus())?;
    for entry in fs::read_dir(&fewest)? {
        let entry = entry?;
        fs::copy(entry.path(), corpus().join(entry.file_name()))?;
    }
    Ok(())
}

/// Builds the fuzzer, in a folder of its own: other flags would throw away what they make of each other.
fn build() -> Result<PathBuf> {
    let about = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let about = String::from_utf8_lossy(&about.stdout).into_owned();
    let host =
        about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say what it builds for")?;
    let mut cargo = cargo(&["build", "--manifest-path", "tests/fuzz/Cargo.toml", "--release", "--locked"]);
    // With a target named, what runs while it is built has no part in this.
    cargo.args(["--target", host, "--target-dir"]).arg(compile::target_dir().join("fuzz"));
    cargo.env("RUSTFLAGS", COVERAGE.join(" "));
    executable(cargo, "records")
}

/// libFuzzer is C++: finds a compiler for it, or installs one.
pub fn compiler_of_cxx() -> Result<()> {
    if packages::program("c++").is_some() {
        return Ok(());
    }
    let distribution = packages::distribution();
    if !distribution.debian {
        bail!("libFuzzer is C++: on {} this does not know how to install a compiler for it", distribution.name);
    }
    println!("libFuzzer is C++, and there is no compiler for it");
    if packages::candidate("g++").is_none() {
        packages::update()?;
    }
    packages::install(&["g++"])
}
