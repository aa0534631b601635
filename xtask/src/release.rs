//! What a build for use is told: where its source is from, and flags by which the same source gives the same bytes in whichever folder it is built.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context as _, Result};
use jiff::{Timestamp, tz::TimeZone};

use crate::arch::Arch;
use crate::compile;
use crate::cross::Cross;
use crate::toolchain;

/// Where the source is from, as git says; `None` where it does not, as in an unpacked archive.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The commit, with a + behind it if files differ from it.
    pub commit: Option<String>,
    /// The day of the commit, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// The same in seconds since 1970.
    pub epoch: u64,
}

impl Source {
    /// Of this workspace. `SOURCE_DATE_EPOCH` (reproducible-builds.org) counts before the commit's time.
    pub fn find() -> Self {
        let asked = git(&["log", "-1", "--format=%h %cs %ct", "--abbrev=12"]).unwrap_or_default();
        let mut parts = asked.split_whitespace().map(str::to_owned);
        let (commit, date, seconds) = (parts.next(), parts.next(), parts.next());
        let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
        let commit = commit.map(|commit| if is_changed { commit + "+" } else { commit });
        let set = env::var("SOURCE_DATE_EPOCH").ok();
        let epoch = [set, seconds].into_iter().flatten().find_map(|seconds| seconds.trim().parse().ok());
        Self { commit, date, epoch: epoch.unwrap_or_default() }
    }
}

impl Source {
    /// The time of the commit, as JSON documents have it (RFC 3339).
    pub fn timestamp(&self) -> String {
        self.time().to_string()
    }

    /// The same as mails have it (RFC 2822).
    pub fn mail_date(&self) -> Result<String> {
        jiff::fmt::rfc2822::to_string(&self.time().to_zoned(TimeZone::UTC)).context("a date that mails do not have")
    }

    fn time(&self) -> Timestamp {
        i64::try_from(self.epoch).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default()
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(toolchain::workspace()).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Has `cargo` build for use on machines of `arch`: linked statically, so that it runs wherever it is copied to, unless `is_static` says otherwise.
/// The flags are for that alone, not for what runs here while it is built.
pub fn apply(cargo: &mut Command, arch: Arch, cross: Option<&Cross>, is_static: bool) {
    // Where a profile has settings for single packages, cargo forgets that it says `strip`.
    let mut flags: Vec<OsString> = vec!["-Cstrip=symbols".into()];
    // Nothing is unwound (`panic = "abort"`).
    flags.push("-Cforce-unwind-tables=no".into());
    if is_static {
        flags.push("-Ctarget-feature=+crt-static".into());
        // Addresses that are set at the start take a tenth of the room so. glibc has known this since 2.36.
        flags.push("-Clink-arg=-Wl,-z,pack-relative-relocs".into());
    }
    if arch == Arch::Amd64 && arch.is_here() {
        // Functions of the same code are one. Only lld can; rustc comes with it for x86_64 alone.
        flags.push("-Clink-arg=-Wl,--icf=all".into());
        // What it takes to unwind a stack is left out, 0.7 MB: a panic ends the process (`panic = "abort"`), and without symbols its trace says nothing.
        // Whoever asks for a trace (RUST_BACKTRACE) gets an empty one: the unwinder would find that it cannot even tell where it is, and abort.
        let mut script = OsString::from("-Clink-arg=-Wl,");
        script.push(toolchain::workspace().join("xtask/src/release.ld"));
        flags.push("-Clink-arg=-Wl,--wrap=_Unwind_Backtrace,--defsym=__wrap__Unwind_Backtrace=getpid".into());
        flags.push(script);
    }
    let home = env::var_os("CARGO_HOME").map(Into::into).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let places = [
        home.map(|home| (home, "cargo")),
        Some((toolchain::workspace(), ".")),
        Some((compile::target_dir(), "target")),
    ];
    for (place, name) in places.into_iter().flatten() {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(place);
        flag.push(format!("={name}"));
        flags.push(flag);
    }
    if let Some(cross) = cross {
        flags.extend(cross.flags());
        cross.apply(cargo);
    }
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f".as_ref()));
    cargo.args(["--release", "--locked", "--target", arch.rust()]);
    let source = Source::find();
    for (variable, value) in [("TCPWAIT_COMMIT", source.commit), ("TCPWAIT_DATE", source.date)] {
        // Whoever builds from an archive may know.
        if let Some(value) = value {
            cargo.env(variable, value);
        }
    }
}
