//! `cargo xtask vm`: the kernel tests, or any command, on other kernels, each in a virtual machine of its own.
//! The parts: which packages are a kernel (`series`), what is in them (`kernel`), the machine (`qemu`), its files (`image`, `cpio`), one run of it (`boot`), the tests and the verdict on them (`suite`). Inside,
//! tests/kernel/guest.rs is the first process. Nothing is installed; all of it is in target/vm.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::slice;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::packages;
use crate::setup;
use crate::toolchain;

mod boot;
mod cpio;
mod image;
mod kernel;
mod qemu;
mod series;
pub mod suite;

use self::boot::{Line, Patience};
use self::image::Programs;
use self::kernel::Kernel;
use self::qemu::{Ports, Qemu};
use self::series::Series;
use self::suite::Outcome;

/// The exit code when there is no QEMU or no kernel to be had: nothing was tested.
const SKIPPED: u8 = 77;
/// Debian's kernels that the tests run on.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// Memory for a command.
const MEMORY: &str = "1G";

/// What to boot, and what for.
#[derive(Args)]
pub struct Options {
    /// Debian's kernels to boot: `6.12`, `7.3-rt`, several with commas between them.
    ///
    /// The newest of that version in any suite of Debian, and the flavour for cloud machines unless one is named (`rt`). It is
    /// downloaded once: remove its folder in target/vm/kernels to have what is newer since.
    #[arg(long, value_delimiter = ',', value_name = "VERSION", default_values = KERNELS)]
    kernel: Vec<Series>,
    /// The kernel in this package or folder, instead of those.
    ///
    /// Give it once for each package that has a part of the kernel, or once with a folder that has a vmlinuz and its modules.
    #[arg(long, value_name = "FILE|FOLDER")]
    kernel_deb: Vec<PathBuf>,
    /// How time passes in the guest.
    #[arg(long, value_enum, default_value_t = Profile::Warp)]
    profile: Profile,
    /// Run only the tests whose names contain this.
    filter: Option<String>,
    /// Run this in the guest instead of the tests.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The kinds of guest.
#[derive(Clone, Copy, ValueEnum)]
pub enum Profile {
    /// One CPU, and time is what it has executed: a minute of waiting passes at once, and every run is the same.
    Warp,
    /// Two CPUs in real time, for races.
    Smp,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Warp => "warp",
            Profile::Smp => "smp",
        }
    }
}

impl Default for Options {
    /// As if nothing had been said.
    fn default() -> Self {
        Self {
            kernel: KERNELS.iter().filter_map(|kernel| kernel.parse().ok()).collect(),
            kernel_deb: Vec::new(),
            profile: Profile::Warp,
            filter: None,
            command: Vec::new(),
        }
    }
}

/// Kernels and what boots them. Nobody else has any in this folder at the time.
pub struct Guests {
    _alone: File,
    qemu: Qemu,
    kernels: Vec<Kernel>,
    profile: Profile,
}

/// What a guest is to do.
struct Job<'a> {
    /// The part of the image that all kernels share.
    common: Vec<u8>,
    /// The program to run, and its arguments.
    arguments: &'a [String],
    memory: &'static str,
    patience: Patience,
}

/// The verb.
pub fn run(options: &Options) -> Result<ExitCode> {
    let guests = match Guests::fetch(options) {
        Ok(guests) => guests,
        Err(why) => {
            eprintln!("not run: {why:#}");
            return Ok(ExitCode::from(SKIPPED));
        }
    };
    if !options.command.is_empty() {
        let code = guests.command(&options.command)?;
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
    }
    match suite::run(&guests, slice::from_ref(&options.filter))? {
        Outcome::Passed => Ok(ExitCode::SUCCESS),
        Outcome::NoSuchTest => {
            bail!("no kernel test has {} in its name", options.filter.as_deref().unwrap_or_default())
        }
    }
}

impl Guests {
    /// Finds QEMU and the kernels, or downloads them. An error here says why there is nothing to run.
    pub fn fetch(options: &Options) -> Result<Self> {
        if !cfg!(target_arch = "x86_64") {
            bail!("the guests are x86_64 machines, and run only on one");
        }
        if packages::program("apt-get").is_none() {
            bail!("the guests' kernels and tools are downloaded with apt-get, which is not on this machine");
        }
        let _alone = alone()?;
        let qemu = Qemu::find()?;
        qemu.version()?;
        image::fetch_busybox()?;
        let kernels = match options.kernel_deb.as_slice() {
            [] => options.kernel.iter().map(Kernel::of_debian).collect::<Result<_>>()?,
            files => vec![Kernel::of_files(files)?],
        };
        Ok(Self { _alone, qemu, kernels, profile: options.profile })
    }

    /// Runs a command on each kernel. Its exit code is 0 if it was that on all of them.
    pub fn command(&self, command: &[String]) -> Result<i32> {
        setup::toolchain()?;
        let common = image::common(&Programs::build()?)?;
        let job = Job { common, arguments: command, memory: MEMORY, patience: Patience::with(Duration::MAX) };
        let mut worst = 0;
        for kernel in &self.kernels {
            let name = if self.kernels.len() > 1 { format!("{:<8} ", kernel.name) } else { String::new() };
            let code = self.boot(kernel, &job, |line| {
                // Whoever reads it may have gone; the guest ends all the same.
                let _ = match line {
                    Line::Stdout(text) => std::io::stdout().write_all(&[name.as_bytes(), text, b"\n"].concat()),
                    Line::Stderr(text) => std::io::stderr().write_all(&[name.as_bytes(), text, b"\n"].concat()),
                };
            })?;
            if worst == 0 {
                worst = code;
            }
        }
        Ok(worst)
    }

    /// What the last run left in /out: kernels, and the folder with what is from each.
    pub fn out(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.kernels.iter().map(|kernel| (kernel.name.as_str(), place("out").join(file_name(&kernel.name))))
    }

    /// What the files of one kernel's guest are called.
    fn name(&self, kernel: &Kernel) -> String {
        format!("{}-{}", file_name(&kernel.name), self.profile.name())
    }

    /// What the last guest with this kernel said, its console and its output.
    fn log(&self, kernel: &Kernel) -> PathBuf {
        place("log").join(format!("{}.log", self.name(kernel)))
    }

    /// Boots one kernel and runs something on it.
    fn boot(&self, kernel: &Kernel, job: &Job, hears: impl FnMut(Line)) -> Result<i32> {
        let name = self.name(kernel);
        let image = written(
            &place("image"),
            &name,
            &[job.common.as_slice(), &image::special(kernel, job.arguments, &settings(self.profile.name()))?].concat(),
        )?;
        let log = self.log(kernel);
        written(&place("log"), &format!("{name}.log"), b"")?;
        let bulk = written(&place("out"), &format!("{}.tar", file_name(&kernel.name)), b"")?;
        let qemu = self.qemu.guest(kernel, &image, self.profile, job.memory, &Ports { console: &log, bulk: &bulk });
        let code = boot::run(qemu, &log, job.patience, hears)?;
        unpack_out(&bulk, &place("out").join(file_name(&kernel.name)))?;
        Ok(code)
    }
}

/// A folder of this verb's.
pub fn place(name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    toolchain::workspace().join(target).join("vm").join(name)
}

/// A kernel's name as part of a file's.
fn file_name(kernel: &str) -> String {
    kernel.replace([':', '/'], "-")
}

/// Keeps others from writing the same images and logs, for as long as the file is open.
fn alone() -> Result<File> {
    let lock = written(&place(""), "lock", b"")?;
    let file = File::open(&lock)?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another `cargo xtask vm` to end");
        file.lock().with_context(|| format!("cannot lock {}", lock.display()))?;
    }
    Ok(file)
}

fn written(folder: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    let file = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, content))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// What the tests are told by the environment: as on the host, and how time passes.
fn settings(time: &str) -> BTreeMap<String, String> {
    let passed_on = |name: &str| name == "CI" || name.starts_with("RUST_") || name.starts_with("TCPWAIT_");
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| passed_on(name))
        .chain([("TCPWAIT_TIME".to_owned(), time.to_owned())])
        .collect()
}

/// What the guest had in /out.
fn unpack_out(archive: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    if fs::metadata(archive)?.len() > 0 {
        fs::create_dir_all(folder)?;
        let mut tar = Command::new(place("busybox/bin/busybox"));
        tar.args(["tar", "-x", "-f"]).arg(archive).arg("-C").arg(folder);
        if !tar.status().context("cannot run busybox")?.success() {
            bail!("what the guest had in /out does not unpack from {}", archive.display());
        }
        eprintln!("what the guest had in /out is in {}", folder.display());
    }
    fs::remove_file(archive).with_context(|| format!("cannot remove {}", archive.display()))
}
