//! `cargo xtask vm`: the kernel tests, or any command, on other kernels, each in a virtual machine of its own.
//! The parts: which packages are a kernel (`series`), what is in them (`kernel`), the machine (`qemu`), its files (`image`, `userland`, `cpio`), one run of it (`boot`), the tests and the verdict on them (`suite`). Inside,
//! tests/kernel/guest.rs is the first process. All of it is in target/vm; only what the tests run of this machine's is installed, by root (setup.rs).

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
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::cross::Cross;
use crate::packages;
use crate::setup;
use crate::toolchain;

mod boot;
pub mod check;
mod cpio;
mod image;
mod kernel;
mod qemu;
mod matrix;
mod room;
pub mod series;
pub mod suite;
mod userland;

pub use self::boot::last_of;
use self::boot::{Line, Patience};
pub use self::cpio::Archive;
pub use self::image::Programs;
pub use self::kernel::Kernel;
pub use self::qemu::{Ports, Qemu};
pub use self::series::Series;
use self::series::series_of;
use self::suite::Outcome;
use self::userland::Userland;

/// The exit code when there is no QEMU or no kernel to be had: nothing was tested.
const SKIPPED: u8 = 77;
/// Debian's kernels that are booted if none is named: the oldest and the newest.
const KERNELS: [&str; 2] = ["6.1", "7.3"];
/// Memory for a command.
const MEMORY: &str = "1G";

/// What to boot, and what for.
#[derive(Args)]
pub struct Options {
    /// Debian's kernels to boot: `6.12`, `7.3-rt`, `7.3:arm64`, several with commas between them [default: 6.1,7.3].
    ///
    /// The newest of that version in any suite of Debian, and the flavour for cloud machines unless one is named (`rt`). It is
    /// downloaded once: remove its folder in target/vm/kernels to have what is newer since. For arm64 the tests are cross-built,
    /// for which `cargo xtask build --target aarch64` says what it installs.
    #[arg(long, value_delimiter = ',', value_name = "VERSION")]
    kernel: Vec<Series>,
    /// The kernel in this package or folder, instead of those.
    ///
    /// Give it once for each package that has a part of the kernel, or once with a folder that has a vmlinuz and its modules.
    #[arg(long, value_name = "FILE|FOLDER")]
    kernel_deb: Vec<PathBuf>,
    /// How time passes in the guest [default: warp, with --matrix both].
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Run the tests on all kernels that matter, in both profiles, and print a table.
    ///
    /// As many guests run at once as there are cores and memory. The table is in target/vm/matrix.md and matrix.json too. One that
    /// was stopped goes on where it was. The exit code is 1 if anything failed, else 77 (or 1 if CI=true is set) if a kernel
    /// could not be had.
    #[arg(long, conflicts_with_all = ["kernel_deb", "command"])]
    matrix: bool,
    /// Test this tool instead of the one that is built with the tests: a release, as it was shipped.
    ///
    /// Once for each architecture of the kernels. What is shipped is optimised, and linked in its own way.
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    tool: Vec<PathBuf>,
    /// Run only the tests whose names contain this.
    filter: Option<String>,
    /// Run this in the guest instead of the tests.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The kinds of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// One CPU, and time is what it has executed: a minute of waiting passes at once, and every run is the same.
    Warp,
    /// Two CPUs in real time, for races.
    Smp,
    /// Eight CPUs in real time, on as many as this machine has: for what only happens among many.
    Many,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Warp => "warp",
            Profile::Smp => "smp",
            Profile::Many => "many",
        }
    }
}

impl Options {
    /// As if these kernels had been named, and nothing else.
    pub fn of(kernels: Vec<Series>) -> Self {
        Self {
            kernel: kernels,
            kernel_deb: Vec::new(),
            profile: None,
            matrix: false,
            tool: Vec::new(),
            filter: None,
            command: Vec::new(),
        }
    }
}

/// Kernels and what boots them. Nobody else has any in this folder at the time.
pub struct Guests {
    _alone: File,
    kernels: Vec<Kernel>,
    /// What is tested instead of what is built.
    tools: Vec<(Arch, PathBuf)>,
}

/// What a guest is: a kernel, and how time passes.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    kernel: &'a Kernel,
    profile: Profile,
    /// Which of several that are alike, each with some of the tests.
    part: Option<usize>,
}

/// What a guest is to do.
struct Job<'a> {
    /// The part of the image that all kernels of an architecture share.
    images: &'a [(Arch, Vec<u8>)],
    /// What to run, one after the other: programs with their arguments.
    programs: &'a [Vec<String>],
    memory: &'static str,
    patience: Patience,
}

/// The verb.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.matrix {
        return matrix::run(options);
    }
    let mut guests = match Guests::fetch(options) {
        Ok(guests) => guests,
        Err(why) => {
            eprintln!("not run: {why:#}");
            return Ok(ExitCode::from(SKIPPED));
        }
    };
    guests.bring(&options.tool)?;
    let profile = options.profile.unwrap_or(Profile::Warp);
    if !options.command.is_empty() {
        let code = guests.command(profile, &options.command)?;
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
    }
    match suite::run(&guests, profile, slice::from_ref(&options.filter))? {
        Outcome::Passed => Ok(ExitCode::SUCCESS),
        Outcome::NoSuchTest => {
            bail!("no kernel test has {} in its name", options.filter.as_deref().unwrap_or_default())
        }
    }
}

impl Guests {
    /// Finds QEMU and the kernels, or downloads them. An error here says why there is nothing to run.
    pub fn fetch(options: &Options) -> Result<Self> {
        let profile = options.profile.unwrap_or(Profile::Warp);
        let series = match (options.kernel_deb.as_slice(), options.kernel.as_slice()) {
            ([], []) => series_of(&KERNELS),
            ([], named) => named.to_vec(),
            (files, _) => {
                let alone = prepared()?;
                let kernel = Kernel::of_files(files)?;
                make_ready(kernel.arch, &[profile])?;
                return Ok(Self { _alone: alone, kernels: vec![kernel], tools: Vec::new() });
            }
        };
        let (guests, missing) = Self::fetch_each(&series, &[profile])?;
        match missing.into_iter().next() {
            None => Ok(guests),
            Some((series, why)) => bail!("{series}: {why}"),
        }
    }

    /// The same, with those that cannot be had, and why, beside the others.
    fn fetch_each(series: &[Series], profiles: &[Profile]) -> Result<(Self, Vec<(Series, String)>)> {
        let alone = prepared()?;
        let (mut ready, mut kernels, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for one in series {
            let mut fetch = || -> Result<Kernel> {
                if !ready.contains(&one.arch) {
                    make_ready(one.arch, profiles)?;
                    ready.push(one.arch);
                }
                Kernel::of_debian(one)
            };
            match fetch() {
                Ok(kernel) => kernels.push(kernel),
                Err(why) => missing.push((one.clone(), format!("{why:#}"))),
            }
        }
        Ok((Self { _alone: alone, kernels, tools: Vec::new() }, missing))
    }

    /// Has these tools tested, each on machines of its architecture.
    fn bring(&mut self, tools: &[PathBuf]) -> Result<()> {
        let tools = tools.iter().map(|tool| Ok((Arch::of_program(tool)?, tool.clone())));
        self.tools = tools.collect::<Result<_>>()?;
        if !self.tools.is_empty()
            && let Some(arch) = archs(&self.kernels).find(|arch| self.tool(*arch).is_none())
        {
            bail!("no --tool is for {arch}, which a kernel is for");
        }
        Ok(())
    }

    /// What is tested on machines of an architecture instead of what is built.
    fn tool(&self, arch: Arch) -> Option<&Path> {
        self.tools.iter().find(|(its, _)| *its == arch).map(|(_, tool)| tool.as_path())
    }

    /// Runs a command on each kernel. Its exit code is 0 if it was that on all of them.
    pub fn command(&self, profile: Profile, command: &[String]) -> Result<i32> {
        setup::toolchain()?;
        let images = archs(&self.kernels).map(|arch| Ok((arch, image::common(&Programs::build_for(arch)?)?)));
        let images = images.collect::<Result<Vec<_>>>()?;
        let programs = [command.to_vec()];
        let patience = Patience::with(Duration::MAX);
        let job = Job { images: &images, programs: &programs, memory: MEMORY, patience };
        let mut worst = 0;
        for kernel in &self.kernels {
            let machine = Machine::one(kernel, profile);
            let name = if self.kernels.len() > 1 { format!("{:<10} ", machine.label()) } else { String::new() };
            let code = self.boot(machine, &job, |line| {
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

    /// What the last run left in /out: what files of a kernel are called, and the folder with what is from each.
    pub fn out(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let names = self.kernels.iter().map(|kernel| file_name(&kernel.name));
        names.map(|name| (name.clone(), place("out").join(name)))
    }

    /// Boots a machine and runs something on it.
    fn boot(&self, machine: Machine, job: &Job, hears: impl FnMut(Line)) -> Result<i32> {
        let Machine { kernel, profile, .. } = machine;
        let name = machine.file_name();
        let image = job.images.iter().find(|(arch, _)| *arch == kernel.arch);
        let (_, common) = image.with_context(|| format!("nothing was made ready for {}", kernel.arch))?;
        let qemu = Qemu::find(kernel.arch, profile)?;
        let special = image::special(kernel, job.programs, &settings(profile.name()))?;
        let image = written(&place("image"), &name, &[common.as_slice(), &special].concat())?;
        let log = machine.log();
        written(&place("log"), &format!("{name}.log"), b"")?;
        let bulk = written(&place("out"), &format!("{name}.tar"), b"")?;
        let qemu = qemu.guest(kernel, &image, profile, job.memory, &Ports { console: &log, bulk: &bulk });
        let code = boot::run(qemu, &log, job.patience, hears)?;
        let folder = if machine.part.is_some() { name } else { file_name(&kernel.name) };
        unpack_out(&bulk, &place("out").join(folder))?;
        Ok(code)
    }
}

impl<'a> Machine<'a> {
    /// The only one that is so.
    fn one(kernel: &'a Kernel, profile: Profile) -> Self {
        Self { kernel, profile, part: None }
    }

    /// What it is called.
    fn label(&self) -> String {
        let part = self.part.map_or_else(String::new, |part| format!(" part {part}"));
        match self.profile {
            Profile::Warp => format!("{}{part}", self.kernel.name),
            Profile::Smp | Profile::Many => format!("{} {}{part}", self.kernel.name, self.profile.name()),
        }
    }

    /// What its files are called.
    fn file_name(&self) -> String {
        let part = self.part.map_or_else(String::new, |part| format!("-{part}"));
        format!("{}-{}{part}", file_name(&self.kernel.name), self.profile.name())
    }

    /// What it said last, its console and its output.
    fn log(&self) -> PathBuf {
        place("log").join(format!("{}.log", self.file_name()))
    }
}

/// Makes sure that guests can be had at all, and that nobody else has any in this folder.
fn prepared() -> Result<File> {
    if !Programs::can_be_built() {
        bail!("the guests' programs are built on x86_64 machines with a static libc (on Fedora it is in glibc-static)");
    }
    if packages::program("apt-get").is_none() {
        bail!("the guests' kernels and tools are downloaded with apt-get, which is not on this machine");
    }
    let alone = alone()?;
    image::fetch_busybox()?;
    Ok(alone)
}

/// Sees to it that there is a QEMU for each of these, and what it takes to make programs for its guests.
fn make_ready(arch: Arch, profiles: &[Profile]) -> Result<()> {
    for profile in profiles {
        Qemu::find(arch, *profile)?.version()?;
    }
    if !arch.is_here() {
        Cross::find(arch)?;
        Userland::fetch(arch)?;
    }
    Ok(())
}

/// The architectures of kernels, each once.
fn archs(kernels: &[Kernel]) -> impl Iterator<Item = Arch> {
    [Arch::Amd64, Arch::Arm64].into_iter().filter(|arch| kernels.iter().any(|kernel| kernel.arch == *arch))
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
