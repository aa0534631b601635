//! QEMU: this machine's, or Debian's package of it, unpacked with the libraries that are not here.
//! And the two machines that guests get: one CPU whose time is the number of instructions it has run, or two in real time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::debs::{self, apt::Apt};
use crate::packages;

use super::kernel::Kernel;
use super::{Profile, place};

/// Where packages put libraries.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// A QEMU that runs.
pub struct Qemu {
    program: PathBuf,
    /// Where it is unpacked, if it is not installed.
    folder: Option<PathBuf>,
}

/// Where a guest's output goes.
pub struct Ports<'a> {
    /// What the kernel says.
    pub console: &'a Path,
    /// What comes out of `/out`.
    pub bulk: &'a Path,
}

impl Qemu {
    /// Finds it, or downloads and unpacks it.
    pub fn find(arch: Arch) -> Result<Self> {
        let (name, packages): (_, &[&str]) = match arch {
            Arch::Amd64 => {
                ("qemu-system-x86_64", &["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"])
            }
            Arch::Arm64 => ("qemu-system-aarch64", &["qemu-system-arm", "qemu-system-common", "qemu-system-data"]),
        };
        if let Some(program) = packages::program(name) {
            return Ok(Self { program, folder: None });
        }
        let folder = place("qemu");
        let program = folder.join("usr/bin").join(name);
        if !program.is_file() {
            debs::unpack_into(Apt::Machine, &folder, packages).context("QEMU cannot be had")?;
        }
        let qemu = Self { program, folder: Some(folder.clone()) };
        let mut users: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
        // The libraries that are missing, then theirs.
        for _ in 0..6 {
            if !qemu.lacks_libraries()? {
                return Ok(qemu);
            }
            let names: Vec<&str> = users.iter().map(String::as_str).collect();
            let mut needed = Apt::Machine.depends(&names);
            needed.retain(|name| name.starts_with("lib") && !is_installed(name));
            needed.sort();
            needed.dedup();
            let names: Vec<&str> = needed.iter().map(String::as_str).collect();
            debs::unpack_into(Apt::Machine, &folder, &names).context("QEMU's libraries cannot be had")?;
            users = needed;
        }
        bail!("QEMU was unpacked into {}, but libraries of it are missing", folder.display())
    }

    /// One line about it.
    pub fn version(&self) -> Result<String> {
        let mut asked = self.command();
        let output =
            asked.arg("--version").output().with_context(|| format!("cannot run {}", self.program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().next().filter(|_| output.status.success());
        line.map(str::to_owned).with_context(|| {
            format!("{} does not run: {}", self.program.display(), String::from_utf8_lossy(&output.stderr).trim())
        })
    }

    fn lacks_libraries(&self) -> Result<bool> {
        let mut ldd = Command::new("ldd");
        ldd.arg(&self.program);
        if let Some(libraries) = self.libraries() {
            ldd.env("LD_LIBRARY_PATH", libraries);
        }
        let output = ldd.output().context("cannot run ldd, which tells what libraries QEMU needs")?;
        Ok(String::from_utf8_lossy(&output.stdout).contains("not found"))
    }

    fn libraries(&self) -> Option<std::ffi::OsString> {
        let folder = self.folder.as_ref()?;
        std::env::join_paths(LIBRARIES.map(|library| folder.join(library))).ok()
    }

    fn command(&self) -> Command {
        let mut qemu = Command::new(&self.program);
        if let (Some(folder), Some(libraries)) = (&self.folder, self.libraries()) {
            qemu.env("LD_LIBRARY_PATH", libraries);
            for data in ["usr/share/qemu", "usr/share/seabios"] {
                qemu.arg("-L").arg(folder.join(data));
            }
        }
        qemu
    }

    /// A guest. One serial port is the console, another, for the tests' output, this command's stdout, the third is for what
    /// is in `/out`. What ends the machine on purpose is a device, or an instruction, that gives QEMU's exit code.
    pub fn guest(&self, kernel: &Kernel, image: &Path, profile: Profile, memory: &str, ports: &Ports) -> Command {
        let mut qemu = self.command();
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-monitor", "none"]);
        qemu.args(["-accel", "tcg", "-m", memory]);
        // Others write to the same log, so each write goes to its end.
        let file = |name: &str, file: &Path, more: &str| {
            // A comma in a name is doubled.
            format!("file,id={name},path={}{more}", file.to_string_lossy().replace(',', ",,"))
        };
        qemu.arg("-chardev").arg(file("console", ports.console, ",append=on"));
        qemu.args(["-chardev", "stdio,id=output"]);
        qemu.arg("-chardev").arg(file("bulk", ports.bulk, ""));
        let mut line = String::from("panic=-1 quiet nokaslr cryptomgr.notests=1");
        match profile {
            Profile::Warp => {
                qemu.args(["-smp", "1", "-icount", "shift=0,sleep=off"]);
                qemu.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
                line += " mitigations=off";
            }
            Profile::Smp => {
                qemu.args(["-smp", "2"]);
            }
            Profile::Many => {
                qemu.args(["-smp", "8"]);
            }
        }
        line += match kernel.arch {
            Arch::Amd64 => x86(&mut qemu, profile),
            Arch::Arm64 => arm(&mut qemu),
        };
        qemu.arg("-kernel").arg(&kernel.boots).arg("-initrd").arg(image).args(["-append", &line]);
        qemu
    }
}

/// A PC with three serial ports. What its kernel has to be told.
fn x86(qemu: &mut Command, profile: Profile) -> &'static str {
    qemu.args(["-M", "pc", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    qemu.args(["-serial", "chardev:console", "-serial", "chardev:output", "-serial", "chardev:bulk"]);
    match profile {
        Profile::Warp => {
            // `max` has a source of random numbers, with which no two boots are the same.
            qemu.args(["-cpu", "Nehalem"]);
            // Without icount the fourth makes a guest's time run at twice its speed.
            " console=ttyS0 no_timer_check tsc=reliable tsc_early_khz=1000000 nolapic_timer"
        }
        Profile::Smp | Profile::Many => {
            qemu.args(["-cpu", "max"]);
            " console=ttyS0 no_timer_check"
        }
    }
}

/// QEMU's own machine for Arm, which has one serial port; the two others are a PCI card. The instruction that ends it is one of
/// Arm's for debugging ("semihosting"), here for programs too and not for the kernel alone.
fn arm(qemu: &mut Command) -> &'static str {
    // What it would tell the kernel to begin its random numbers with is another at each boot.
    qemu.args(["-M", "virt,dtb-randomness=off", "-cpu", "cortex-a57"]);
    qemu.args(["-semihosting-config", "enable=on,userspace=on"]);
    qemu.args(["-serial", "chardev:console", "-device", "pci-serial-2x,chardev1=output,chardev2=bulk"]);
    " console=ttyAMA0"
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    output.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}
