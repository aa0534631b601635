//! What a guest has: the kernel tests as its first process, tcpwait, busybox for a shell and the small tools, and this
//! machine's own ss, nginx and so on with their libraries. Programs and libraries are at the paths that they have here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::compile;
use crate::debs::{self, apt::Apt};
use crate::packages;

use super::cpio::Archive;
use super::kernel::Kernel;
use super::place;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Without one of these, the tests that use it fail; busybox has a poorer `ip` and `su`.
const PROGRAMS: [&str; 9] = ["ss", "ip", "nstat", "tc", "nginx", "ab", "curl", "setpriv", "nft"];
/// The users and groups that nginx looks for.
const USERS: &str = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
const GROUPS: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nnobody:x:65534:\n";

/// The statically linked programs.
pub struct Programs {
    pub tests: PathBuf,
    pub tool: PathBuf,
}

impl Programs {
    /// Builds them.
    pub fn build() -> Result<Self> {
        let target_dir = place("build");
        eprintln!("building the kernel tests and tcpwait for guests, in {}", target_dir.display());
        let mut cargo = compile::cargo(&["test", "--package", "tcpwait", "--test", "kernel", "--no-run", "--locked"]);
        cargo.args(["--target", TARGET, "--target-dir"]).arg(&target_dir);
        cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-C target-feature=+crt-static");
        // A guest's CPU is emulated, and reads this from memory that it fills first.
        cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.env("CARGO_PROFILE_DEV_STRIP", "debuginfo");
        let tests = compile::executable(cargo, "kernel", &[])?;
        // …/debug/deps/kernel-0123 and …/debug/tcpwait, of which the tests know the whole path.
        let tool = tests.ancestors().nth(2).map(|folder| folder.join("tcpwait")).filter(|tool| tool.is_file());
        let tool = tool.with_context(|| format!("cargo did not build tcpwait with {}", tests.display()))?;
        Ok(Self { tests, tool })
    }

    /// The names of the tests that have `filter` in their names.
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
    archive.program(&programs.tool, read(&programs.tool)?);
    archive.link("usr/bin/tcpwait", programs.tool.to_string_lossy());
    let mut missing = Vec::new();
    for name in PROGRAMS {
        match packages::program(name) {
            Some(program) => with_libraries(&mut archive, &program)?,
            None => missing.push(name),
        }
    }
    if !missing.is_empty() {
        eprintln!("not in the guests, as not on this machine: {}", missing.join(", "));
    }
    busybox(&mut archive)?;
    Ok(archive.bytes())
}

/// The part of the image that is for one kernel and one run: `arguments` is the program to run and its arguments.
pub fn special(kernel: &Kernel, arguments: &[String], environment: &BTreeMap<String, String>) -> Result<Vec<u8>> {
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
    let plan = json!({ "arguments": arguments, "environment": environment, "modules": paths });
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

/// busybox, by all of its names for which there is no better program.
fn busybox(archive: &mut Archive) -> Result<()> {
    let busybox = place("busybox/bin/busybox");
    archive.program("bin/busybox", read(&busybox)?);
    let output = Command::new(&busybox).arg("--list").output().context("cannot run busybox")?;
    for applet in String::from_utf8_lossy(&output.stdout).lines() {
        let taken =
            ["bin", "sbin", "usr/bin", "usr/sbin"].iter().any(|folder| archive.has(format!("{folder}/{applet}")));
        if !taken {
            archive.link(format!("bin/{applet}"), "busybox");
        }
    }
    Ok(())
}

fn with_libraries(archive: &mut Archive, program: &Path) -> Result<()> {
    archive.program(program, read(program)?);
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    // libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…), and the loader by itself.
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else {
            continue;
        };
        if !archive.has(library) {
            archive.program(library, read(Path::new(library))?);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
