//! `cargo xtask pages`: the HTML that tcpwait writes, in Debian's browsers. Makes pages of recordings, and has tests/browser drive Chromium and Firefox over
//! them: whether they fetch nothing, can be read, used, heard and printed, and are HTML.
//!
//! What drives them comes from npm, by a lock file with a sum of each package, and is put into target/pages. No browser does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::compile::{self, cargo, executable};
use crate::packages;
use crate::root;
use crate::setup;
use crate::test::{NOT_RUN, finish};
use crate::toolchain;
use crate::vm::Programs;

/// The browsers, and Debian's packages for them.
const BROWSERS: [(&str, &str); 2] = [("chromium", "chromium"), ("firefox-esr", "firefox-esr")];

/// What else is needed, likewise.
const PROGRAMS: [(&str, &str); 4] =
    [("node", "nodejs"), ("npm", "npm"), ("pdftotext", "poppler-utils"), ("pdftoppm", "poppler-utils")];

/// Recordings that differ in what their pages have.
const FIXTURES: [&str; 4] = ["incident", "reasons", "handshakes", "natural"];

/// Recordings that are compared, before and after.
const COMPARED: [(&str, &str); 2] = [("keepalive_off", "keepalive_on"), ("incident", "reasons")];

/// The verb.
pub fn run() -> Result<ExitCode> {
    setup::toolchain()?;
    let drivers = match programs().and_then(|()| drivers()) {
        Ok(drivers) => drivers,
        Err(why) => {
            println!("not run: {why:#}");
            return Ok(ExitCode::from(NOT_RUN));
        }
    };
    let made = compile::target_dir().join("pages/made");
    make(&made)?;
    let mut node = Command::new("node");
    node.arg(drivers.join("main.mjs"))
        .arg(&made)
        .args(BROWSERS.iter().filter_map(|(browser, _)| packages::program(browser)));
    finish(node)?;
    Ok(ExitCode::SUCCESS)
}

/// The browsers, and what else is needed of the distribution, installed if need be. Silent when all is there.
pub fn programs() -> Result<()> {
    let all = BROWSERS.into_iter().chain(PROGRAMS);
    let missing: Vec<_> = all.filter(|(program, _)| packages::program(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", ");
    println!("trying pages in browsers needs {list}");
    let distribution = packages::distribution();
    if !distribution.debian || !root::available() {
        bail!("pages are tried with {list}: only root on Debian and its relatives can install that here");
    }
    let mut names: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    names.dedup();
    if names.iter().any(|name| packages::candidate(name).is_none()) {
        packages::update()?;
    }
    if let Some(name) = names.iter().find(|name| packages::candidate(name).is_none()) {
        bail!("{} has no package {name}", distribution.name);
    }
    packages::install(&names)
}

/// A folder with tests/browser and the packages that it uses. They are fetched once for each lock file.
fn drivers() -> Result<PathBuf> {
    let folder = compile::target_dir().join("pages/drivers");
    let locks = ["package-lock.json", "installed.json"].map(|name| folder.join(name));
    copy(&toolchain::workspace().join("tests/browser"), &folder)?;
    let [lock, installed] = locks.each_ref().map(|file| fs::read(file).ok());
    if lock.is_some() && lock == installed {
        return Ok(folder);
    }
    let mut npm = Command::new("npm");
    // Nothing of them is run to install them.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]).current_dir(&folder);
    println!("fetching what drives the browsers, into {}", folder.display());
    finish(npm)?;
    let [lock, installed] = locks;
    fs::copy(&lock, &installed).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(folder)
}

/// What is in a folder and in those in it, without anything that is there already and is not in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(doing)?;
    for entry in fs::read_dir(from).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        // Of those who tried it there.
        if entry.file_name() == "node_modules" {
            continue;
        }
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).with_context(doing)?;
        }
    }
    Ok(())
}

/// Makes the pages, with the tool that the tests have built.
fn make(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let fixtures = toolchain::workspace().join("tests/fixtures");
    let [tool, recordings] = ["tcpwait", "recordings"].map(built);
    let odd = folder.join("recordings");
    let mut recordings = Command::new(recordings?);
    recordings.args([&fixtures, &odd]);
    finish(recordings)?;
    let tool = tool?;
    let mut all: Vec<PathBuf> = FIXTURES.iter().map(|name| fixtures.join(name).with_extension("tcpwait")).collect();
    for entry in fs::read_dir(&odd).with_context(|| format!("cannot list {}", odd.display()))? {
        all.push(entry?.path());
    }
    for recording in all {
        let page = folder.join(recording.file_name().unwrap_or_default()).with_extension("html");
        let mut report = Command::new(&tool);
        report.args(["report", "--from"]).arg(&recording).arg("-o").arg(page).env("TZ", "UTC");
        finish(report)?;
    }
    for (before, after) in COMPARED {
        let mut diff = Command::new(&tool);
        let recordings = [before, after].map(|name| fixtures.join(name).with_extension("tcpwait"));
        let page = folder.join(format!("{before}-to-{after}.html"));
        diff.arg("diff").args(recordings).arg("-o").arg(page).env("TZ", "UTC");
        finish(diff)?;
    }
    Ok(())
}

/// A program of the package `tcpwait`, in the same build as the tests.
fn built(name: &str) -> Result<PathBuf> {
    let arguments = ["build", "--package", "tcpwait", "--bin", "tcpwait", "--example", "recordings", "--locked"];
    executable(if Programs::can_be_built() { Programs::cargo(&arguments) } else { cargo(&arguments) }, name)
}
