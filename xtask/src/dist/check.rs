//! `cargo xtask dist --check`: what was made is tried as its users would: a package is installed, upgraded, removed and purged, an image is run.

mod chroot;
mod guest;
mod image;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{files, printed};
use crate::arch::Arch;
use crate::packages;
use crate::root;

/// The releases of Debian that a package is tried on.
const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// What is needed for it, and the packages that have it.
const PROGRAMS: [(&str, &str); 3] = [("lintian", "lintian"), ("debootstrap", "debootstrap"), ("skopeo", "skopeo")];

/// Tries all that is in `out`; with `guests` also under systemd, in guests.
pub fn run(out: &Path, guests: bool) -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| packages::program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        println!("trying what was made needs {}", missing.join(", "));
        packages::install(&missing)?;
    }
    sums(out)?;
    let debs = debs(out)?;
    for (deb, _) in &debs {
        lint(deb)?;
    }
    let arches: Vec<Arch> = debs.iter().map(|(_, arch)| *arch).collect();
    image::check(out, &arches)?;
    for (deb, arch) in &debs {
        for suite in SUITES {
            if arch.is_here() && root::available() {
                chroot::check(deb, suite)?;
            }
            if guests {
                guest::check(deb, suite, *arch)?;
            }
        }
    }
    println!("all of {} is as it should be", out.display());
    Ok(())
}

/// The packages, and for which machines they are.
fn debs(out: &Path) -> Result<Vec<(PathBuf, Arch)>> {
    let debs = files(out)?.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "deb"));
    let debs = debs.map(|deb| {
        let field = printed(Command::new("dpkg-deb").args(["--field"]).arg(&deb).arg("Architecture"))?;
        let arch = Arch::of(field.trim()).with_context(|| format!("{} is for {field}", deb.display()))?;
        Ok((deb, arch))
    });
    debs.collect()
}

fn sums(out: &Path) -> Result<()> {
    printed(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(out)).map(drop)
}

/// lintian(1) has nothing to say of it. Its profile is Debian's, whatever this machine's distribution.
fn lint(deb: &Path) -> Result<()> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--profile", "debian", "--allow-root", "--fail-on", "error,warning"]).arg(deb);
    let output = lintian.output().context("cannot run lintian")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !said.trim().is_empty() {
        bail!("lintian says of {}:\n{said}{}", deb.display(), String::from_utf8_lossy(&output.stderr));
    }
    println!("{}: lintian has nothing to say", deb.display());
    Ok(())
}
