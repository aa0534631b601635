//! QEMU: this machine's, or Debian's package of it, unpacked with the libraries that are not here.
//! And the two machines that guests get: one CPU whose time is the number of instructions it has run, or two in real time.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::Arch;

use super::Profile;
use super::kernel::Kernel;

mod found;

/// A QEMU that runs.
pub struct Qemu {
    program: PathBuf,
    unpacked: Unpacked,
}

/// Whether its files are this machine's.
enum Unpacked {
    /// It is installed.
    No,
    /// Below this folder, with the libraries that are not here.
    WithLibraries(PathBuf),
    /// Below this folder, with all that it is linked with, the C library and the loader too.
    Whole(PathBuf),
}

/// Where a guest's output goes.
pub struct Ports<'a> {
    /// What the kernel says.
    pub console: &'a Path,
    /// What comes out of `/out`.
    pub bulk: &'a Path,
}

impl Qemu {
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
        // Mitigations would cost an emulated CPU time, and protect nobody; nor does clearing all memory that is taken, which is a sixth of a start's time.
        let mut line = String::from("panic=-1 quiet nokaslr cryptomgr.notests=1 mitigations=off init_on_alloc=0");
        match profile {
            Profile::Warp => {
                qemu.args(["-smp", "1", "-icount", "shift=0,sleep=off"]);
                qemu.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
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
            // The kernel copies and clears in the way that a CPU says is fast. QEMU says so of single bytes, and does one after the other.
            qemu.args(["-cpu", "max,erms=off,fsrm=off"]);
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
