//! A package on a Debian of its own, with a kernel and with systemd as the first process: its exporter is started by its socket, for real.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::printed;
use crate::arch::Arch;
use crate::compile;
use crate::debs::apt;
use crate::root;
use crate::vm::{Archive, Kernel, Ports, Profile, Qemu, Series, last_of};

/// The whole system is in memory, and a package is unpacked there.
const MEMORY: &str = "2G";

/// An emulated machine configures a whole Debian.
const PATIENCE: Duration = Duration::from_secs(2400);

/// How it says how it went.
const WELL: &str = "TCPWAIT-CHECK-WELL";
const BADLY: &str = "TCPWAIT-CHECK-BADLY";

/// The first process: what is unpacked is configured, where this machine could not; then systemd goes on.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
if [ -x /debootstrap/debootstrap ]; then
    echo configuring > /dev/console
    /debootstrap/debootstrap --second-stage > /dev/console 2>&1
fi
exec /lib/systemd/systemd --system
"#;

/// What is asked there, once systemd has started everything.
const SCRIPT: &str = r#"#!/bin/sh
exec > /dev/console 2>&1
# In the archive that the kernel has unpacked everything is root's.
chown -R man: /var/cache/man
tell() {
    echo "+ $*"
    "$@" && return
    echo "$* failed"
    journalctl --no-pager --unit=tcpwait-exporter.service --unit=tcpwait-exporter.socket
    systemctl --no-pager --full status tcpwait-exporter.service
    echo TCPWAIT-CHECK-BADLY
    systemctl poweroff --force
    exit 1
}
scrape() { timeout 120 bash -c 'exec 3<>/dev/tcp/127.0.0.1/10060; printf "GET /metrics HTTP/1.0\r\nHost: here\r\n\r\n" >&3; cat <&3' > /tmp/metrics; grep -q '^tcpwait_time_wait_entries_total' /tmp/metrics; }
tell apt-get install --quiet=2 --yes --no-install-recommends /tcpwait.deb
tell tcpwait version --verbose
tell sh -c 'man tcpwait-stat > /tmp/page && test -s /tmp/page'
tell sh -c '! systemctl is-enabled tcpwait-exporter.socket'
tell sh -c '! systemctl is-active tcpwait-exporter.service'
tell systemctl enable --now tcpwait-exporter.socket
tell scrape
tell systemctl is-active tcpwait-exporter.service
tell sh -c 'systemctl show --property=User,MainPID tcpwait-exporter.service; grep -E "^(Uid|CapEff|NoNewPrivs)" /proc/$(systemctl show --value --property=MainPID tcpwait-exporter.service)/status'
tell tcpwait stat --duration 2
tell dpkg --purge tcpwait
tell sh -c '! systemctl is-active tcpwait-exporter.service'
# The pages that man(1) has shown are in its own cache.
left=$(find / -xdev -name '*tcpwait*' -not -path '/tcpwait*' -not -path '*/tcpwait-check.service' -not -path '/var/lib/dpkg/*' -not -path '/var/cache/man/*')
echo "left: $left"
tell test -z "$left"
echo TCPWAIT-CHECK-WELL
systemctl poweroff --force
"#;

const UNIT: &str = "\
[Unit]
Description=Tries tcpwait's package
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/tcpwait-check
StandardOutput=null

[Install]
WantedBy=multi-user.target
";

/// Boots it and asks.
pub fn check(deb: &Path, suite: &str, arch: Arch) -> Result<()> {
    let version = if suite == "bookworm" { "6.1" } else { "6.12" };
    let series: Series = format!("{version}:{arch}").parse().map_err(|why: String| anyhow!(why))?;
    let kernel = Kernel::of_debian(&series)?;
    let qemu = Qemu::find(arch, Profile::Smp)?;
    let folder = system(suite, arch)?;
    let work = compile::target_dir().join("guest");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let image = work.join(format!("{suite}-{arch}.cpio"));
    fs::write(&image, packed(&folder, deb)?).with_context(|| format!("cannot write {}", image.display()))?;
    let console = work.join(format!("{suite}-{arch}.log"));
    fs::write(&console, "").with_context(|| format!("cannot write {}", console.display()))?;
    let bulk = work.join("bulk");
    println!("booting {suite} for {arch} under systemd; its console is {}", console.display());
    let mut guest = qemu.guest(&kernel, &image, Profile::Smp, MEMORY, &Ports { console: &console, bulk: &bulk });
    let mut running = guest.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot run QEMU")?;
    let end = Instant::now() + PATIENCE;
    let said = loop {
        let said = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        let is_over = said.contains(WELL) || said.contains(BADLY);
        if is_over || Instant::now() > end || running.try_wait().context("cannot wait for QEMU")?.is_some() {
            break said;
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    let _ = running.kill();
    let _ = running.wait();
    let _ = fs::remove_file(&image);
    if !said.contains(WELL) {
        bail!("{} on {suite} for {arch}: {}", deb.display(), last_of(&console));
    }
    println!(
        "{}: on {suite} for {arch} with {} its exporter starts by its socket under systemd; purged, nothing is left",
        deb.display(),
        kernel.release
    );
    Ok(())
}

/// A system of that release for that architecture: unpacked only, where this machine cannot run its programs.
fn system(suite: &str, arch: Arch) -> Result<PathBuf> {
    if arch.is_here() {
        return super::chroot::system(suite);
    }
    let folder = compile::target_dir().join("chroot").join(format!("{suite}-{arch}"));
    if folder.join("whole").exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    println!("unpacking a small {suite} for {arch} into {}", folder.display());
    let (archive, _) = apt::mirrors();
    let arguments = ["--foreign", "--variant=minbase", super::chroot::BESIDES, &format!("--arch={arch}"), suite];
    let arguments = arguments.map(std::ffi::OsString::from);
    let mut make =
        root::command("debootstrap", &[&arguments[..], &[folder.clone().into_os_string(), archive.into()]].concat())?;
    printed(&mut make)?;
    fs::write(folder.join("whole"), "").context("cannot say that it is unpacked")?;
    Ok(folder)
}

/// All of it, as a kernel takes its first root folder.
fn packed(folder: &Path, deb: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let doing = || format!("cannot read {}", path.display());
            let about = fs::symlink_metadata(&path).with_context(doing)?;
            let place = path.strip_prefix(folder).unwrap_or(&path);
            let mode = about.permissions().mode() & 0o7777;
            if about.is_dir() {
                archive.folder(place, mode);
                folders.push(path);
            } else if about.is_symlink() {
                archive.link(place, fs::read_link(&path).with_context(doing)?.to_string_lossy());
            } else if about.is_file() {
                archive.file(place, mode, fs::read(&path).with_context(doing)?);
            }
        }
    }
    archive.text("tcpwait.deb", fs::read(deb).with_context(|| format!("cannot read {}", deb.display()))?);
    archive.program("tcpwait-check", SCRIPT.into());
    archive.text("etc/systemd/system/tcpwait-check.service", UNIT);
    archive.link("etc/systemd/system/multi-user.target.wants/tcpwait-check.service", "../tcpwait-check.service");
    archive.program("init", INIT.into());
    Ok(archive.bytes())
}
