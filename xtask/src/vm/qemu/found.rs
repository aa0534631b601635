//! Which QEMU: this machine's, or Debian's package of it, unpacked with what it is linked with.
//!
//! Several CPUs want one of 8.1 or later. Before, a CPU could translate code while another changed it and the page was not locked yet, and keep the
//! old code for ever (mended by "accel/tcg: Always lock pages before translation"): a kernel that switches a tracepoint or a trampoline on under
//! load then runs into a breakpoint that it has long taken away ("Oops: int3"), on any version of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::debs::{self, apt::Apt};
use crate::packages;

use super::super::{Profile, place};
use super::{Qemu, Unpacked};

/// Where packages put libraries.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Where the loader is, which programs of another C library than this machine's are started by.
const LOADERS: [&str; 2] = ["usr/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"];

/// The first version whose CPUs see the code that others have changed.
const SOUND: (u32, u32) = (8, 1);

/// The release of Debian that has such a version and is supported longest.
const RELEASE: &str = "trixie";

/// How deep packages may depend on each other until all libraries are there.
const DEPTH: usize = 8;

/// Guests start side by side, and only one of them is to unpack.
static UNPACKING: Mutex<()> = Mutex::new(());

impl Qemu {
    /// The one for these guests.
    pub fn find(arch: Arch, profile: Profile) -> Result<Self> {
        let _alone = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
        let installed = packages::program(program_of(arch)).map(|program| Self { program, unpacked: Unpacked::No });
        if profile == Profile::Warp {
            return installed.map_or_else(|| Self::of_this_machines_release(arch), Ok);
        }
        match installed {
            Some(installed) if is_sound(&installed.version()?) => Ok(installed),
            _ => Self::of_a_later_release(arch),
        }
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

    /// What this machine would install, with the libraries that are not installed.
    fn of_this_machines_release(arch: Arch) -> Result<Self> {
        let folder = place("qemu");
        let qemu = Self {
            program: folder.join("usr/bin").join(program_of(arch)),
            unpacked: Unpacked::WithLibraries(folder.clone()),
        };
        if !qemu.program.is_file() {
            debs::unpack_into(Apt::Machine, &folder, packages_of(arch)).context("QEMU cannot be had")?;
        }
        qemu.with_libraries(Apt::Machine, &folder, packages_of(arch), |name| !is_installed(name))
    }

    /// That of a later release than this machine's may be, with the C library that it was linked with.
    fn of_a_later_release(arch: Arch) -> Result<Self> {
        let folder = place("qemu-several").join(arch.debian());
        let qemu =
            Self { program: folder.join("usr/bin").join(program_of(arch)), unpacked: Unpacked::Whole(folder.clone()) };
        // Written last, so a folder without it is one that was not finished.
        let whole = folder.join("whole");
        if whole.is_file() {
            return Ok(qemu);
        }
        // Its own architecture is this machine's.
        let apt = Apt::Of(Arch::Amd64, RELEASE);
        if apt.depends(packages_of(arch)).is_empty() {
            apt.update()?;
        }
        eprintln!("two CPUs want QEMU {}.{} or later: taking that of Debian {RELEASE}", SOUND.0, SOUND.1);
        let mut names: Vec<&str> = packages_of(arch).to_vec();
        names.push("libc6");
        debs::unpack_into(apt, &folder, &names).context("a QEMU for several CPUs cannot be had")?;
        let qemu = qemu.with_libraries(apt, &folder, packages_of(arch), |_| true)?;
        qemu.version()?;
        fs::write(&whole, "").with_context(|| format!("cannot write {}", whole.display()))?;
        Ok(qemu)
    }

    /// Unpacks the libraries that are missing, then theirs.
    fn with_libraries(self, apt: Apt, folder: &Path, users: &[&str], wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let mut users: Vec<String> = users.iter().map(|name| (*name).to_owned()).collect();
        for _ in 0..DEPTH {
            if !self.lacks_libraries()? {
                return Ok(self);
            }
            let names: Vec<&str> = users.iter().map(String::as_str).collect();
            let mut needed = apt.depends(&names);
            needed.retain(|name| (name.starts_with("lib") || name.starts_with("zlib")) && wanted(name));
            needed.sort();
            needed.dedup();
            let names: Vec<&str> = needed.iter().map(String::as_str).collect();
            debs::unpack_into(apt, folder, &names).context("QEMU's libraries cannot be had")?;
            users = needed;
        }
        bail!("QEMU was unpacked into {}, but libraries of it are missing", folder.display())
    }

    fn lacks_libraries(&self) -> Result<bool> {
        let mut list = match &self.unpacked {
            Unpacked::Whole(folder) => {
                let mut list = Command::new(loader(folder)?);
                list.arg("--list");
                list
            }
            Unpacked::No | Unpacked::WithLibraries(_) => Command::new("ldd"),
        };
        if let Some(libraries) = self.libraries() {
            list.env("LD_LIBRARY_PATH", libraries);
        }
        let output = list.arg(&self.program).output().context("cannot ask what libraries QEMU needs")?;
        Ok(String::from_utf8_lossy(&output.stdout).contains("not found") || !output.status.success())
    }

    fn folder(&self) -> Option<&Path> {
        match &self.unpacked {
            Unpacked::No => None,
            Unpacked::WithLibraries(folder) | Unpacked::Whole(folder) => Some(folder),
        }
    }

    fn libraries(&self) -> Option<OsString> {
        let folder = self.folder()?;
        std::env::join_paths(LIBRARIES.map(|library| folder.join(library))).ok()
    }

    /// QEMU, without what its guest is.
    pub(super) fn command(&self) -> Command {
        let mut qemu = match &self.unpacked {
            Unpacked::Whole(folder) if let Ok(loader) = loader(folder) => {
                let mut qemu = Command::new(loader);
                qemu.arg(&self.program);
                qemu
            }
            _ => Command::new(&self.program),
        };
        if let (Some(folder), Some(libraries)) = (self.folder(), self.libraries()) {
            qemu.env("LD_LIBRARY_PATH", libraries);
            for data in ["usr/share/qemu", "usr/share/seabios"] {
                qemu.arg("-L").arg(folder.join(data));
            }
        }
        qemu
    }
}

fn program_of(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "qemu-system-x86_64",
        Arch::Arm64 => "qemu-system-aarch64",
    }
}

fn packages_of(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Amd64 => &["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"],
        Arch::Arm64 => &["qemu-system-arm", "qemu-system-common", "qemu-system-data"],
    }
}

fn loader(folder: &Path) -> Result<PathBuf> {
    let loaders = LOADERS.map(|loader| folder.join(loader));
    let loader = loaders.into_iter().find(|loader| loader.is_file());
    loader.with_context(|| format!("no loader of programs was unpacked into {}", folder.display()))
}

/// Whether several of its CPUs can run a kernel: `QEMU emulator version 7.2.22 (Debian …)`.
fn is_sound(version: &str) -> bool {
    let numbers = version.split("version ").nth(1).and_then(|rest| rest.split([' ', '(']).next()).unwrap_or_default();
    let mut numbers = numbers.split('.').map(|number| number.parse::<u32>());
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= SOUND)
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    output.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

#[cfg(test)]
mod tests {
    use super::is_sound;

    #[test]
    fn the_version_tells() {
        for sound in ["QEMU emulator version 8.1.0", "QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"] {
            assert!(is_sound(sound), "{sound}");
        }
        for unsound in ["QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "QEMU emulator version 8.0.5", "QEMU", ""]
        {
            assert!(!is_sound(unsound), "{unsound}");
        }
    }
}
