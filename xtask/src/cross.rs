//! Building for an architecture that this machine is not of: a `std` for it, and a linker with a static libc.
//! rustup's compiler is used where it has that `std` (`rustup target add`); else the distribution's, with its package of `std` for
//! the other architecture, which is unpacked below target/cross and not installed: dpkg would have to know the architecture.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::compile;
use crate::debs::{self, apt::Apt};
use crate::packages;
use crate::toolchain;

/// What cargo has to be told to build for an architecture.
pub struct Cross {
    arch: Arch,
    rustc: Option<PathBuf>,
    /// Where the `std` is, if not where the compiler looks for it.
    sysroot: Option<PathBuf>,
}

impl Cross {
    /// Finds or gets what building for `arch` takes. What is installed for it is said first.
    pub fn find(arch: Arch) -> Result<Self> {
        linker(arch)?;
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        if printed(&rustc, "sysroot").is_some_and(|sysroot| has_std(Path::new(&sysroot), arch)) {
            return Ok(Self { arch, rustc: None, sysroot: None });
        }
        let by_hand = format!("`rustup target add {}` is the other way", arch.rust());
        let compiler = toolchain::find_compiler()?;
        if has_std(&compiler.sysroot, arch) {
            return Ok(Self { arch, rustc: Some(compiler.rustc), sysroot: None });
        }
        let sysroot = unpacked_std(&compiler, arch).with_context(|| by_hand)?;
        Ok(Self { arch, rustc: Some(compiler.rustc), sysroot: Some(sysroot) })
    }

    /// Has `cargo` build for the architecture, linked statically, as for tests.
    pub fn apply_static(&self, cargo: &mut Command) {
        let mut flags = vec![OsString::from("-Ctarget-feature=+crt-static")];
        flags.extend(self.flags());
        cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f".as_ref()));
        cargo.args(["--target", self.arch.rust()]);
        self.apply(cargo);
    }

    /// What the compiler has to be told besides.
    pub fn flags(&self) -> Option<OsString> {
        let mut flag = OsString::from("--sysroot=");
        flag.push(self.sysroot.as_ref()?);
        Some(flag)
    }

    /// Has `cargo` use the compiler and the linker.
    pub fn apply(&self, cargo: &mut Command) {
        cargo
            .env(format!("CARGO_TARGET_{}_LINKER", self.arch.rust().to_uppercase().replace('-', "_")), self.arch.gcc());
        if let Some(rustc) = &self.rustc {
            cargo.env("RUSTC", rustc);
        }
    }
}

/// What `rustc --print` says.
fn printed(rustc: &OsString, what: &str) -> Option<String> {
    let output = Command::new(rustc).args(["--print", what]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn has_std(sysroot: &Path, arch: Arch) -> bool {
    let libraries = fs::read_dir(sysroot.join("lib/rustlib").join(arch.rust()).join("lib"));
    libraries.is_ok_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

/// A C compiler that links for the architecture, with a libc to link statically, installed if need be.
fn linker(arch: Arch) -> Result<()> {
    let has_libc = || {
        let found = Command::new(arch.gcc()).arg("-print-file-name=libc.a").output();
        // It prints a path only if it finds the file.
        found.is_ok_and(|output| output.stdout.contains(&b'/'))
    };
    if has_libc() {
        return Ok(());
    }
    let names = arch.cross_packages();
    println!("building for {arch} needs {}", names.join(" and "));
    let distribution = packages::distribution();
    if !distribution.debian {
        bail!("on {} this does not know how to install them: {} has to link for {arch}", distribution.name, arch.gcc());
    }
    if names.iter().any(|name| packages::candidate(name).is_none()) {
        packages::update()?;
    }
    packages::install(&names)?;
    if !has_libc() {
        bail!("{} are installed, but {} finds no libc.a", names.join(" and "), arch.gcc());
    }
    Ok(())
}

/// A sysroot with the distribution's `std` for the architecture, of the very version that the compiler is of.
fn unpacked_std(compiler: &toolchain::Compiler, arch: Arch) -> Result<PathBuf> {
    let package = owner(&compiler.rustc).with_context(|| {
        format!("{} is from no package, and has no std for {}", compiler.rustc.display(), arch.rust())
    })?;
    let version = version(&package).with_context(|| format!("dpkg knows no version of {package}"))?;
    // rustc and libstd-rust-dev, rustc-web and libstd-rust-web-dev.
    let flavour = package.strip_prefix("rustc").unwrap_or_default();
    let std = format!("libstd-rust{flavour}-dev");
    let folder = compile::target_dir().join("cross").join(format!("{arch}-{version}"));
    debs::unpack_into(Apt::Debian(arch), &folder, &[&format!("{std}={version}")])
        .with_context(|| format!("{std} {version} for {arch} cannot be had"))?;
    let sysroot = folder.join("usr");
    // Libraries that run in the compiler, for which it looks there too.
    let here = toolchain_of(compiler)?;
    let link = sysroot.join("lib/rustlib").join(&here);
    if !link.exists() {
        symlink(compiler.sysroot.join("lib/rustlib").join(&here), &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    if !has_std(&sysroot, arch) {
        bail!("{std} {version} has no std for {}", arch.rust());
    }
    Ok(sysroot)
}

/// The Rust target that the compiler itself is for.
fn toolchain_of(compiler: &toolchain::Compiler) -> Result<String> {
    let output = Command::new(&compiler.rustc).arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).with_context(|| format!("{} does not say what it runs on", compiler.rustc.display()))
}

/// The package that a file is from.
fn owner(file: &Path) -> Option<String> {
    let output = Command::new("dpkg-query").arg("--search").arg(file).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // rustc-web: /usr/bin/rustc, and an architecture in between where several are installed.
    text.lines().next()?.split(':').next().map(str::to_owned)
}

fn version(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query").args(["--show", "--showformat=${Version}", package]).output().ok()?;
    (output.status.success() && !output.stdout.is_empty()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
