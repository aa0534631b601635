//! What a guest has: the kernel tests as its first process, tcpwait, busybox for a shell and the small tools, and this
//! machine's own ss, nginx and so on with their libraries, or Debian's for another architecture. Programs and libraries are at
//! the paths that they have here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::arch::Arch;
use crate::compile;
use crate::cross::Cross;
use crate::debs::{self, apt::Apt};
use crate::packages;

use super::cpio::Archive;
use super::kernel::Kernel;
use super::place;
use super::userland::Userland;

/// What builds the tests, and with them the tool.
const TESTS: [&str; 7] = ["test", "--package", "tcpwait", "--test", "kernel", "--no-run", "--locked"];
/// Only tests use these, and to optimise them takes minutes.
const AS_THEY_ARE: [&str; 4] = ["criterion", "fancy-regex", "jsonschema", "proptest"];
/// Without one of these, the tests that use it fail; busybox has a poorer `ip` and `su`.
const PROGRAMS: [&str; 9] = ["ss", "ip", "nstat", "tc", "nginx", "ab", "curl", "setpriv", "nft"];
/// The users and groups that nginx looks for.
const USERS: &str = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
const GROUPS: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nnobody:x:65534:\n";

/// The statically linked programs.
pub struct Programs {
    pub arch: Arch,
    pub tests: PathBuf,
    pub tool: PathBuf,
    /// What is at the tool's place in a guest instead.
    shipped: Option<PathBuf>,
}

impl Programs {
    /// Whether they can be built on this machine.
    pub fn can_be_built() -> bool {
        cfg!(target_arch = "x86_64") && compile::has_static_libc()
    }

    /// cargo with the settings that they are built with.
    pub fn cargo(arguments: &[&str]) -> Command {
        let mut cargo = Self::any_cargo(Arch::Amd64, arguments);
        cargo.args(["--target", Arch::Amd64.rust()]);
        cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-C target-feature=+crt-static");
        cargo
    }

    fn any_cargo(arch: Arch, arguments: &[&str]) -> Command {
        let mut cargo = compile::cargo(arguments);
        cargo.arg("--target-dir").arg(folder(arch));
        // A guest's CPU is emulated, and reads this from memory that it fills first.
        cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.env("CARGO_PROFILE_DEV_STRIP", "debuginfo");
        for package in AS_THEY_ARE {
            cargo.arg("--config").arg(format!("profile.dev.package.{package}.opt-level=0"));
        }
        cargo
    }

    /// Builds them for this machine and guests of its architecture.
    pub fn build() -> Result<Self> {
        Self::built(Arch::Amd64, Self::cargo(&TESTS))
    }

    /// Builds them for guests of an architecture.
    pub fn build_for(arch: Arch) -> Result<Self> {
        if arch.is_here() {
            return Self::build();
        }
        let mut cargo = Self::any_cargo(arch, &TESTS);
        Cross::find(arch)?.apply_static(&mut cargo);
        Self::built(arch, cargo)
    }

    fn built(arch: Arch, cargo: Command) -> Result<Self> {
        eprintln!("building the kernel tests and tcpwait for guests ({arch}), in {}", folder(arch).display());
        let tests = compile::executable(cargo, "kernel")?;
        // …/debug/deps/kernel-0123 and …/debug/tcpwait, of which the tests know the whole path.
        let tool = tests.ancestors().nth(2).map(|folder| folder.join("tcpwait")).filter(|tool| tool.is_file());
        let tool = tool.with_context(|| format!("cargo did not build tcpwait with {}", tests.display()))?;
        Ok(Self { arch, tests, tool, shipped: None })
    }

    /// With another tool at the place of the one that was built, if there is one.
    pub fn with(self, tool: Option<&Path>) -> Self {
        Self { shipped: tool.map(Path::to_owned), ..self }
    }

    /// The tool that is tested.
    pub fn tested(&self) -> &Path {
        self.shipped.as_deref().unwrap_or(&self.tool)
    }

    /// The names of the tests that have `filter` in their names. Only those of this machine's architecture can tell.
    pub fn list(&self, filter: Option<&str>) -> Result<Vec<String>> {
        let mut list = Command::new(&self.tests);
        list.args(filter).args(["--list", "--format", "terse"]);
        let output = list.output().with_context(|| format!("cannot run {}", self.tests.display()))?;
        if !output.status.success() {
            bail!("{} does not list its tests: {}", self.tests.display(), String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }
}

/// Where they are built: an architecture each, or one build would wait for the other's to end.
fn folder(arch: Arch) -> PathBuf {
    place(if arch.is_here() { "build" } else { "build-across" })
}

/// The part of the image that all kernels share.
pub fn common(programs: &Programs) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "root", "var/log/nginx", "var/lib/nginx", "mnt", "boot"] {
        archive.folder(folder, 0o755);
    }
    archive.folder("tmp", 0o1777);
    archive.folder("out", 0o1777);
    archive.text("etc/passwd", USERS);
    archive.text("etc/group", GROUPS);
    archive.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
    archive.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");

    archive.program("init", read(&programs.tests)?);
    archive.program(&programs.tool, read(programs.tested())?);
    archive.link("usr/bin/tcpwait", programs.tool.to_string_lossy());
    let userland = if programs.arch.is_here() { None } else { Some(Userland::fetch(programs.arch)?) };
    let mut missing = Vec::new();
    for name in PROGRAMS {
        let there = match &userland {
            None => own_program(&mut archive, name)?,
            Some(userland) => program_of(userland, &mut archive, name)?,
        };
        if !there {
            missing.push(name);
        }
    }
    if !missing.is_empty() {
        eprintln!("not in the guests, as not on this machine: {}", missing.join(", "));
    }
    let own_busybox = place("busybox/bin/busybox");
    let busybox = match &userland {
        None => own_busybox.clone(),
        Some(userland) => userland.program("busybox").map(|(_, file)| file).context("there is no busybox for it")?,
    };
    archive.program("bin/busybox", read(&busybox)?);
    applets(&mut archive, &own_busybox)?;
    Ok(archive.bytes())
}

/// The part of the image that is for one kernel and one run: `programs` are what to run, with their arguments.
pub fn special(kernel: &Kernel, programs: &[Vec<String>], environment: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    if let Some(settings) = kernel.settings() {
        archive.text(format!("boot/config-{}", kernel.release), settings);
    }
    let mut paths = Vec::new();
    for module in kernel.modules()? {
        let path = format!("/lib/modules/{}/{}.ko", kernel.release, module.name);
        archive.text(&path, module.content);
        paths.push(path);
    }
    let plan = json!({ "programs": programs, "environment": environment, "modules": paths });
    archive.text("tcpwait-guest.json", plan.to_string());
    Ok(archive.bytes())
}

/// Downloads the shell of the guests.
pub fn fetch_busybox() -> Result<()> {
    let folder = place("busybox");
    if folder.join("bin/busybox").is_file() {
        Ok(())
    } else {
        debs::unpack_into(Apt::Machine, &folder, &["busybox-static"])
    }
}

/// busybox by all of its names for which there is no better program. One that runs here tells the names.
fn applets(archive: &mut Archive, busybox: &Path) -> Result<()> {
    let output = Command::new(busybox).arg("--list").output().context("cannot run busybox")?;
    for applet in String::from_utf8_lossy(&output.stdout).lines() {
        let taken =
            ["bin", "sbin", "usr/bin", "usr/sbin"].iter().any(|folder| archive.has(format!("{folder}/{applet}")));
        if !taken {
            archive.link(format!("bin/{applet}"), "busybox");
        }
    }
    Ok(())
}

/// A program of this machine's, with its libraries. Whether there is one.
fn own_program(archive: &mut Archive, name: &str) -> Result<bool> {
    let Some(program) = packages::program(name) else {
        return Ok(false);
    };
    archive.program(&program, read(&program)?);
    let output = Command::new("ldd").arg(&program).output().context("cannot run ldd")?;
    // libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…), and the loader by itself.
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else {
            continue;
        };
        if !archive.has(library) {
            archive.program(library, read(Path::new(library))?);
        }
    }
    Ok(true)
}

/// The same of another architecture's.
fn program_of(userland: &Userland, archive: &mut Archive, name: &str) -> Result<bool> {
    let Some((place, program)) = userland.program(name) else {
        return Ok(false);
    };
    archive.program(place, read(&program)?);
    for (place, library) in userland.libraries(&program)? {
        if !archive.has(&place) {
            archive.program(place, read(&library)?);
        }
    }
    Ok(true)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
