//! QEMU: this machine's, or Debian's package of it, unpacked with the libraries that are not here.
//! And the two machines that guests get: one CPU whose time is the number of instructions it has run, or two in real time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::debs::{self, apt::Apt};
use crate::packages;

use super::kernel::Kernel;
use super::{Profile, place};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGES: [&str; 4] = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
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
    pub fn find() -> Result<Self> {
        if let Some(program) = packages::program(PROGRAM) {
            return Ok(Self { program, folder: None });
        }
        let folder = place("qemu");
        if !folder.join("usr/bin").join(PROGRAM).is_file() {
            debs::unpack_into(Apt::Machine, &folder, &PACKAGES).context("QEMU cannot be had")?;
        }
        let qemu = Self { program: folder.join("usr/bin").join(PROGRAM), folder: Some(folder.clone()) };
        let mut users: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
        // The libraries that are missing, then theirs.
        for _ in 0..6 {
            if !qemu.lacks_libraries()? {
                return Ok(qemu);
            }
            let needed = users.iter().flat_map(|user| Apt::Machine.depends(user));
            let mut needed: Vec<String> =
                needed.filter(|name| name.starts_with("lib") && !is_installed(name)).collect();
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

    /// A guest. Its first serial port is the console; the second, for the tests' output, is this command's stdout.
    pub fn guest(&self, kernel: &Kernel, image: &Path, profile: Profile, memory: &str, ports: &Ports) -> Command {
        let mut qemu = self.command();
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-monitor", "none"]);
        qemu.args(["-M", "pc", "-accel", "tcg", "-m", memory]);
        let mut line = String::from("console=ttyS0 panic=-1 quiet nokaslr no_timer_check cryptomgr.notests=1");
        match profile {
            Profile::Warp => {
                // `max` has a source of random numbers, with which no two boots are the same.
                qemu.args(["-cpu", "Nehalem", "-smp", "1", "-icount", "shift=0,sleep=off"]);
                qemu.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
                // Without icount the third makes a guest's time run at twice its speed.
                line += " mitigations=off tsc=reliable tsc_early_khz=1000000 nolapic_timer";
            }
            Profile::Smp => {
                qemu.args(["-cpu", "max", "-smp", "2"]);
            }
        }
        // Others write to the same log, so each write goes to its end.
        let file = |name: &str, file: &Path, more: &str| {
            // A comma in a name is doubled.
            format!("file,id={name},path={}{more}", file.to_string_lossy().replace(',', ",,"))
        };
        qemu.arg("-chardev").arg(file("console", ports.console, ",append=on")).args(["-serial", "chardev:console"]);
        qemu.args(["-serial", "stdio"]);
        qemu.arg("-chardev").arg(file("bulk", ports.bulk, "")).args(["-serial", "chardev:bulk"]);
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        qemu.arg("-kernel").arg(&kernel.boots).arg("-initrd").arg(image).args(["-append", &line]);
        qemu
    }
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    output.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}
