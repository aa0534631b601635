//! A package in the smallest Debian that there is: nothing of it is left when it is purged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::printed;
use crate::compile;
use crate::debs::apt;
use crate::root;

/// What is installed besides: what reads manuals, and what checks units.
pub const BESIDES: &str = "--include=man-db,systemd,systemd-sysv";

/// Where dpkg and others keep accounts of what they did.
const ACCOUNTS: [&str; 5] =
    ["./var/log/", "./var/lib/dpkg/", "./var/cache/", "./var/lib/systemd/deb-systemd-helper", "./tmp/"];

/// What is done there. Each line has to succeed.
const SCRIPT: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
step() { echo "+ $*"; "$@"; }
absent() { if [ -e "$1" ] || [ -L "$1" ]; then echo "$1 is there"; exit 1; fi; }
step dpkg --install /tmp/tcpwait.deb
step tcpwait version
step dpkg --verify tcpwait
for page in tcpwait tcpwait-stat tcpwait-top tcpwait-export tcpwait-metrics tcpwait-json; do
    man --warnings "$page" > /tmp/page 2> /tmp/said
    if [ -s /tmp/said ]; then cat /tmp/said; exit 1; fi
    if MANWIDTH=80 man "$page" | col -b 2>/dev/null | awk 'length > 80 { exit 1 }'; then :; else echo "$page is wider than 80 columns"; exit 1; fi
done
step systemd-analyze verify /usr/lib/systemd/system/tcpwait-exporter.service /usr/lib/systemd/system/tcpwait-exporter.socket
step systemd-analyze security --offline=yes --threshold=50 /usr/lib/systemd/system/tcpwait-exporter.service > /tmp/security
tail -n 1 /tmp/security
# Not enabled, but can be; an upgrade leaves that as it is.
absent /etc/systemd/system/multi-user.target.wants/tcpwait-exporter.service
absent /etc/systemd/system/sockets.target.wants/tcpwait-exporter.socket
step systemctl enable tcpwait-exporter.socket
step dpkg --install /tmp/tcpwait.deb
test -L /etc/systemd/system/sockets.target.wants/tcpwait-exporter.socket
step dpkg --remove tcpwait
absent /usr/bin/tcpwait
step dpkg --purge tcpwait
"#;

/// Installs, upgrades, removes and purges it.
pub fn check(deb: &Path, suite: &str) -> Result<()> {
    let folder = system(suite)?;
    let before = listing(&folder)?;
    let copy = folder.join("tmp/tcpwait.deb");
    fs::copy(deb, &copy).with_context(|| format!("cannot copy {} to {}", deb.display(), copy.display()))?;
    let said = printed(&mut inside(&folder, SCRIPT)?);
    let _ = fs::remove_file(&copy);
    match said {
        Ok(said) => print!("{said}"),
        Err(why) => bail!("{} in {suite}: {why:#}", deb.display()),
    }
    let after = listing(&folder)?;
    let left: Vec<&String> = after.difference(&before).collect();
    if !left.is_empty() {
        bail!("{} leaves in {suite}: {left:?}", deb.display());
    }
    println!("{}: installed, upgraded, removed and purged in {suite}; nothing is left", deb.display());
    Ok(())
}

/// A fresh system of that release, made once.
pub fn system(suite: &str) -> Result<PathBuf> {
    let folder = compile::target_dir().join("chroot").join(suite);
    if folder.join("whole").exists() {
        return Ok(folder);
    }
    println!("making a small {suite} in {}", folder.display());
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (archive, _) = apt::mirrors();
    let arguments = ["--variant=minbase", BESIDES, suite].map(std::ffi::OsString::from);
    let mut make =
        root::command("debootstrap", &[&arguments[..], &[folder.clone().into_os_string(), archive.into()]].concat())?;
    printed(&mut make)?;
    fs::write(folder.join("whole"), "").context("cannot say that it is made")?;
    Ok(folder)
}

/// A script there, as root.
fn inside(folder: &Path, script: &str) -> Result<Command> {
    // What is mounted is so for this command alone.
    let enter =
        r#"mount -t proc proc "$1/proc" && mount -t tmpfs run "$1/run" && exec chroot "$1" /bin/sh -c "$2 2>&1""#;
    let arguments = ["--mount", "--", "sh", "-c", enter, "sh"].map(std::ffi::OsString::from);
    let script = format!("exec 2>&1\n{script}");
    let enter = [&arguments[..], &[folder.as_os_str().to_owned(), script.into()]].concat();
    root::command("unshare", &enter)
}

/// The paths of all files there, but accounts.
fn listing(folder: &Path) -> Result<BTreeSet<String>> {
    let find = r#"cd "$1" && find . -xdev"#;
    let arguments = ["-c".into(), find.into(), "sh".into(), folder.as_os_str().to_owned()];
    let text = printed(&mut root::command("sh", &arguments)?)?;
    let is_account = |path: &str| ACCOUNTS.iter().any(|account| path.starts_with(account));
    Ok(text.lines().filter(|path| !is_account(path)).map(str::to_owned).collect())
}
