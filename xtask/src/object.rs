//! The nested cargo that builds the kernel side into a BPF object file.
//! Standard library only, and included by `tcpwait-user/build.rs`, like `toolchain.rs`. The nested cargo is often
//! started by an outer one, so it gets a target folder of its own (they would wait for each other's lock) and none of
//! its settings.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::toolchain::{self, Compiler, Core, Linker};

/// Settings of an outer cargo that are for the host's code; cargo reads all of them from the environment.
const OUTER_SETTINGS: [&str; 4] = ["CARGO_BUILD_", "CARGO_FEATURE_", "CARGO_PROFILE_", "CARGO_TARGET_"];

/// What builds the kernel side in `target_dir`.
pub fn build(compiler: &Compiler, linker: &Linker, target_dir: &Path) -> Result<Command, String> {
    command(&cargo(compiler), "build", compiler, linker, target_dir)
}

/// The cargo that goes with `compiler`: `-Z build-std` depends on how that version's library is laid out.
fn cargo(compiler: &Compiler) -> OsString {
    let own = compiler.sysroot.join("bin/cargo");
    match compiler.core {
        Core::Source if own.is_file() => own.into_os_string(),
        _ => env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
    }
}

/// `program verb …` for the kernel side, where `program` is cargo or one of its parts.
pub fn command(
    program: &OsStr,
    verb: &str,
    compiler: &Compiler,
    linker: &Linker,
    target_dir: &Path,
) -> Result<Command, String> {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let outer = name.to_str().is_some_and(|name| OUTER_SETTINGS.iter().any(|prefix| name.starts_with(prefix)));
        if outer || name == "RUSTFLAGS" {
            command.env_remove(name);
        }
    }
    // bpf-linker makes BTF out of the debug information.
    let mut rustflags = OsString::from("-Cdebuginfo=2\x1f-Clink-arg=--btf\x1f-Clinker=");
    rustflags.push(&linker.path);
    // Where the sources are is in the names of files that BTF keeps for each line: the same bytes come of every folder.
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    for (place, name) in [(home, "cargo"), (Some(toolchain::workspace()), ".")] {
        if let Some(place) = place {
            rustflags.push("\x1f--remap-path-prefix=");
            rustflags.push(place);
            rustflags.push("=");
            rustflags.push(name);
        }
    }
    command
        .current_dir(toolchain::workspace())
        // For parts of cargo that start cargo, as clippy does.
        .env("CARGO", cargo(compiler))
        .env("RUSTC", &compiler.rustc)
        // aya-ebpf uses `feature(asm_experimental_arch)`.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags)
        // Empty rather than removed: that also overrides a wrapper in the user's cargo configuration.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        .args([verb, "--release", "--locked", "--target"])
        .arg(toolchain::target())
        .args(["-p", "tcpwait-ebpf", "--bin", "tcpwait-ebpf", "--target-dir"])
        .arg(target_dir);
    if matches!(compiler.core, Core::Source) {
        command.args(["-Z", "build-std=core"]);
    }
    if let Some(library) = toolchain::llvm_library(compiler) {
        let folder = target_dir.join("llvm");
        only_file(&folder, &library).map_err(|error| format!("cannot write to {}: {error}", folder.display()))?;
        command.env("LD_LIBRARY_PATH", folder);
    }
    Ok(command)
}

/// Makes `folder` hold a link to `library` and nothing else.
///
/// bpf-linker opens the first `libLLVM*` that it sees in `LD_LIBRARY_PATH`, then beside the programs in `PATH`,
/// whatever its version. Left to itself it finds rustup's or none, and an older one cannot read what the compiler wrote.
fn only_file(folder: &Path, library: &Path) -> std::io::Result<()> {
    let Some(name) = library.file_name() else {
        return Ok(());
    };
    let link = folder.join(name);
    if fs::read_link(&link).is_ok_and(|to| to == library) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    match symlink(library, &link) {
        // Another build was faster: its link says the same.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}
