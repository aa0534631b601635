//! Builds the kernel side and tells the crate where the object file is: `env!("TCPWAIT_BPF_OBJECT")`.
//! The tools are found, and cargo is run for BPF, by the same code that `cargo xtask` uses.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "../xtask/src/object.rs"]
mod object;
#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

fn main() -> ExitCode {
    for input in [
        "build.rs",
        "../Cargo.lock",
        "../Cargo.toml",
        "../tcpwait-ebpf/Cargo.toml",
        "../tcpwait-ebpf/src",
        "../xtask/src/object.rs",
        "../xtask/src/toolchain.rs",
    ] {
        println!("cargo::rerun-if-changed={input}");
    }
    for variable in [toolchain::COMPILER_VARIABLE, toolchain::LINKER_VARIABLE] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let (compiler, linker) = match (toolchain::find_compiler(), toolchain::find_linker()) {
        (Ok(compiler), Ok(linker)) => (compiler, linker),
        (Err(absent), _) | (_, Err(absent)) => {
            println!("cargo::error={absent}");
            return ExitCode::SUCCESS;
        }
    };
    for tool in [&compiler.rustc, &linker.path] {
        println!("cargo::rerun-if-changed={}", tool.display());
    }
    match place_object(&compiler, &linker) {
        Ok(object) => {
            println!("cargo::rustc-env=TCPWAIT_BPF_OBJECT={}", object.display());
            ExitCode::SUCCESS
        }
        // A failing build script is shown with all of its output, so with the compiler's own errors.
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the object and copies it to where nothing but this script writes.
fn place_object(compiler: &toolchain::Compiler, linker: &toolchain::Linker) -> Result<PathBuf, String> {
    let out = env::var_os("OUT_DIR").ok_or("cargo did not say where to write (OUT_DIR)")?;
    let out = PathBuf::from(out);
    let built = object::build(compiler, linker, &nested_target_dir(&out), &[])?;
    let object = out.join("tcpwait.bpf.o");
    fs::copy(&built, &object).map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
    Ok(object)
}

/// `<target>/bpf`, which debug, release and clippy builds share. Cargo does not tell scripts the target folder;
/// `OUT_DIR` is `<target>/<profile>/build/…`.
fn nested_target_dir(out: &Path) -> PathBuf {
    out.ancestors()
        .find(|folder| folder.ends_with("build"))
        .and_then(|build| build.ancestors().nth(2))
        .unwrap_or(out)
        .join("bpf")
}
