//! Builds the kernel side and tells the crate where the object file is: `env!("TCPWAIT_BPF_OBJECT")`.
//! The tools are found, and cargo is run for BPF, by the same code that `cargo xtask` uses.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use ::object::build::elf::{Builder, SectionData};
use ::object::elf::SHT_STRTAB;

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
    for (variable, value) in [
        ("TCPWAIT_BUILT_FOR", env::var("TARGET").unwrap_or_default()),
        ("TCPWAIT_BUILT_BY", own_compiler()),
        ("TCPWAIT_BUILT_BPF_BY", format!("rustc {}, bpf-linker {}", compiler.release, linker.version)),
    ] {
        println!("cargo::rustc-env={variable}={value}");
    }
    match place_object(&compiler, &linker) {
        Ok(object) => {
            println!("cargo::rustc-env=TCPWAIT_BPF_OBJECT={}", object.display());
            println!("cargo::rustc-env=TCPWAIT_BPF_PACKED={}", packed(&object).display());
            ExitCode::SUCCESS
        }
        // A failing build script is shown with all of its output, so with the compiler's own errors.
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What compiles the user side, as it calls itself.
fn own_compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    version.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Builds the object and puts it, without what only a debugger reads, where nothing but this script writes.
fn place_object(compiler: &toolchain::Compiler, linker: &toolchain::Linker) -> Result<PathBuf, String> {
    let out = env::var_os("OUT_DIR").ok_or("cargo did not say where to write (OUT_DIR)")?;
    let out = PathBuf::from(out);
    let built = build(compiler, linker, &nested_target_dir(&out))?;
    let object = out.join("tcpwait.bpf.o");
    let whole = fs::read(&built).map_err(|error| format!("cannot read {}: {error}", built.display()))?;
    let shipped = without_debug_info(&whole).map_err(|error| format!("cannot strip {}: {error}", built.display()))?;
    fs::write(&object, &shipped).map_err(|error| format!("cannot write {}: {error}", object.display()))?;
    let small = packed(&object);
    let mut packing = ZlibEncoder::new(Vec::new(), Compression::best());
    packing
        .write_all(&shipped)
        .and_then(|()| packing.finish())
        .and_then(|bytes| fs::write(&small, bytes))
        .map_err(|error| format!("cannot write {}: {error}", small.display()))?;
    Ok(object)
}

/// Builds the object file, in `target_dir`.
fn build(compiler: &toolchain::Compiler, linker: &toolchain::Linker, target_dir: &Path) -> Result<PathBuf, String> {
    let mut command = object::build(compiler, linker, target_dir)?;
    let status = command.status().map_err(|error| format!("cargo does not run: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the kernel side (tcpwait-ebpf) does not build with {} {} and bpf-linker {}",
            compiler.rustc.display(),
            compiler.release,
            linker.version
        ));
    }
    Ok(target_dir.join(toolchain::target()).join("release/tcpwait-ebpf"))
}

/// Where the object is as it is shipped: compressed, which is a seventh of it.
fn packed(object: &Path) -> PathBuf {
    object.with_extension("o.zlib")
}

/// The same without DWARF, which is seven eighths of it: what the kernel and the loader read is in `.BTF` and `.BTF.ext`, lines for the verifier's
/// log among it.
fn without_debug_info(elf: &[u8]) -> Result<Vec<u8>, ::object::build::Error> {
    let mut builder = Builder::read(elf)?;
    for section in builder.sections.iter_mut() {
        section.delete = [".debug_", ".rel.debug_"].iter().any(|name| section.name.starts_with(name.as_bytes()));
    }
    builder.delete_orphans();
    // The linker has one table for the names of sections and symbols.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// `<target>/bpf`, which all builds share: whatever the user side is built for, the object is the same. Cargo does not tell scripts the target folder:
/// it is the workspace's own if that is where this one writes, and else what `<target>/<profile>/build/…` (`OUT_DIR`) has.
fn nested_target_dir(out: &Path) -> PathBuf {
    let usual = toolchain::workspace().join("target");
    if out.starts_with(&usual) {
        return usual.join("bpf");
    }
    out.ancestors()
        .find(|folder| folder.ends_with("build"))
        .and_then(|build| build.ancestors().nth(2))
        .unwrap_or(out)
        .join("bpf")
}
