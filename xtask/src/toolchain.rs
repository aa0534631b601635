//! Finds what compiles the kernel side: a Rust compiler that has a `core` for BPF, and bpf-linker.
//! Standard library only, because `tcpwait-user/build.rs` includes this file too: that way a plain `cargo build` and
//! `cargo xtask setup` cannot disagree about what is there.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the compiler to use; nothing else is then tried.
pub const COMPILER_VARIABLE: &str = "TCPWAIT_BPF_RUSTC";
/// Names the linker to use; nothing else is then tried.
pub const LINKER_VARIABLE: &str = "TCPWAIT_BPF_LINKER";

/// A compiler that can build the kernel side.
pub struct Compiler {
    pub rustc: PathBuf,
    pub sysroot: PathBuf,
    /// Such as `1.96.0`.
    pub release: String,
    /// The major version of the LLVM that writes its bitcode, such as `22`.
    pub llvm: String,
    pub core: Core,
}

/// Where `core` for BPF comes from.
pub enum Core {
    /// A distribution's package: ready to link.
    Shipped,
    /// rustup's `rust-src`: cargo builds it (`-Z build-std`).
    Source,
}

/// A bpf-linker that runs.
pub struct Linker {
    pub path: PathBuf,
    pub version: String,
}

/// Why there is no tool to use.
#[derive(Debug)]
pub enum Absent {
    /// None was found; installing one helps.
    Missing(String),
    /// A variable names one that does not work; installing another would not be what was asked for.
    Refused(String),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(why) => write!(f, "{why}: run `cargo xtask setup`"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Absent {}

/// The Rust target of the kernel side: BPF has the byte order of the machine it runs on.
pub fn target() -> &'static str {
    // Cargo tells build scripts what they build for, which need not be the machine they run on.
    let big = match env::var("CARGO_CFG_TARGET_ENDIAN") {
        Ok(endian) => endian == "big",
        Err(_) => cfg!(target_endian = "big"),
    };
    if big { "bpfeb-unknown-none" } else { "bpfel-unknown-none" }
}

/// The root of the workspace. Every package is a folder in it.
pub fn workspace() -> PathBuf {
    let package =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

/// Where `cargo xtask setup` installs tools: under `target`, so that nothing of the user's changes.
pub fn tools() -> PathBuf {
    workspace().join("target/tools")
}

/// The compiler for the kernel side.
pub fn find_compiler() -> Result<Compiler, Absent> {
    if let Some(named) = env::var_os(COMPILER_VARIABLE) {
        let named = PathBuf::from(named);
        return inspect_compiler(&named)
            .map_err(|why| Absent::Refused(format!("{COMPILER_VARIABLE} is set, but {} {why}", named.display())));
    }
    let mut refused = Vec::new();
    for candidate in compilers() {
        match inspect_compiler(&candidate) {
            Ok(compiler) => return Ok(compiler),
            Err(why) => refused.push(format!("{} {why}", candidate.display())),
        }
    }
    Err(Absent::Missing(format!("no Rust compiler can build for {} ({})", target(), refused.join("; "))))
}

/// The distribution's compiler first: only it comes with a `core` for BPF.
fn compilers() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/usr/bin/rustc"), PathBuf::from("rustc")];
    let rustup =
        env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".rustup")));
    let toolchains = rustup.and_then(|home| fs::read_dir(home.join("toolchains")).ok());
    let mut nightlies: Vec<PathBuf> = toolchains
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("nightly"))
        .map(|entry| entry.path().join("bin/rustc"))
        .collect();
    nightlies.sort();
    found.append(&mut nightlies);
    found
}

fn inspect_compiler(rustc: &Path) -> Result<Compiler, String> {
    let about = output(rustc, &["-vV"])?;
    let field = |name: &str| {
        about
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| format!("does not print its `{name}`"))
    };
    let release = field("release:")?;
    let needed = env!("CARGO_PKG_RUST_VERSION");
    if older(&release, needed) {
        return Err(format!("is {release}, older than {needed}"));
    }
    let llvm = field("LLVM version:")?;
    let llvm = llvm.split('.').next().unwrap_or_default().to_owned();

    let sysroot = PathBuf::from(output(rustc, &["--print", "sysroot"])?.trim());
    let rustlib = sysroot.join("lib/rustlib");
    let core = if has_core(&rustlib.join(target()).join("lib")) {
        Core::Shipped
    } else if rustlib.join("src/rust/library/core/src/lib.rs").is_file() {
        Core::Source
    } else {
        return Err(format!("has neither a core for {} nor rust-src", target()));
    };
    // `rustc` may be rustup's proxy, which would choose again, by folder and by environment, each time it is run.
    let itself = sysroot.join("bin/rustc");
    let rustc = if itself.is_file() { itself } else { rustc.to_owned() };
    Ok(Compiler { rustc, sysroot, release, llvm, core })
}

fn has_core(lib: &Path) -> bool {
    fs::read_dir(lib)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

/// The linker for the kernel side.
pub fn find_linker() -> Result<Linker, Absent> {
    if let Some(named) = env::var_os(LINKER_VARIABLE) {
        let named = PathBuf::from(named);
        return inspect_linker(&named)
            .map_err(|why| Absent::Refused(format!("{LINKER_VARIABLE} is set, but {} {why}", named.display())));
    }
    let mut refused = Vec::new();
    let ours = tools().join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    for folder in [ours].into_iter().chain(env::split_paths(&path)) {
        let candidate = folder.join("bpf-linker");
        if !candidate.is_file() {
            continue;
        }
        match inspect_linker(&candidate) {
            // Those before 0.10 cannot read the bitcode of LLVM 22, which the oldest compiler accepted here writes.
            Ok(linker) if older(&linker.version, "0.10") => {
                refused.push(format!("{} is {}, older than 0.10", candidate.display(), linker.version))
            }
            Ok(linker) => return Ok(linker),
            Err(why) => refused.push(format!("{} {why}", candidate.display())),
        }
    }
    let mut why = String::from("bpf-linker was not found");
    if !refused.is_empty() {
        why = format!("{why} ({})", refused.join("; "));
    }
    Err(Absent::Missing(why))
}

fn inspect_linker(path: &Path) -> Result<Linker, String> {
    let about = output(path, &["--version"])?;
    match about.trim().strip_prefix("bpf-linker ") {
        Some(version) => Ok(Linker { path: path.to_owned(), version: version.to_owned() }),
        None => Err("is not bpf-linker".to_owned()),
    }
}

fn output(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new(program)
        .args(arguments)
        // Looking must not change anything: without this rustup may install a toolchain to answer.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .output()
        .map_err(|error| format!("does not run ({error})"))?;
    if ran.status.success() {
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    } else {
        let complaint = String::from_utf8_lossy(&ran.stderr);
        let complaint = complaint.lines().next().unwrap_or_default().trim();
        Err(format!("does not run ({}: {complaint})", ran.status))
    }
}

/// Whether `version` is older than `than`, by as many numbers as `than` has.
pub fn older(version: &str, than: &str) -> bool {
    fn numbers(text: &str) -> impl Iterator<Item = u32> {
        text.split(['.', '-', '+', '~']).map_while(|part| part.parse().ok())
    }
    let wanted: Vec<u32> = numbers(than).collect();
    let given: Vec<u32> = numbers(version).take(wanted.len()).collect();
    given < wanted
}

/// The one shared LLVM library that belongs to `compiler`, if it has one as a file of its own.
pub fn llvm_library(compiler: &Compiler) -> Option<PathBuf> {
    let prefix = format!("libLLVM.so.{}", compiler.llvm);
    let in_folder = |folder: &Path| {
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
            .collect();
        files.sort();
        files.into_iter().next()
    };
    let lib = compiler.sysroot.join("lib");
    // rustup keeps it in lib, Debian in lib/<architecture>-linux-gnu.
    in_folder(&lib).or_else(|| {
        fs::read_dir(&lib)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.contains("-linux-")))
            .find_map(|folder| in_folder(&folder))
    })
}

#[cfg(test)]
mod tests {
    use super::older;

    #[test]
    fn versions_compare_by_number() {
        assert!(older("1.63.0+dfsg1-2", "1.95"));
        assert!(older("0.9.15", "0.10"));
        assert!(!older("1.95.0", "1.95"));
        assert!(!older("1.97.0-nightly", "1.95"));
        assert!(!older("0.10.3", "0.10"));
    }
}
