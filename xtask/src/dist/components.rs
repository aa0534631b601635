//! What the program is made of: crates of both sides, and what else is linked into it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::printed;
use crate::arch::Arch;
use crate::compile::cargo;
use crate::toolchain::{self, Compiler};

/// Which part of the program something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    User,
    Kernel,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
        }
    }
}

/// A crate that is linked in.
pub struct Crate {
    pub name: String,
    pub version: String,
    pub sides: BTreeSet<Side>,
    /// An SPDX expression; `None` where the crate does not say.
    pub licence: Option<String>,
    pub repository: Option<String>,
    /// SHA-256 of the archive that cargo downloaded.
    pub checksum: Option<String>,
    /// Where its source is.
    pub folder: PathBuf,
}

/// A library that is no crate.
pub struct Library {
    pub name: &'static str,
    pub version: String,
    pub licence: &'static str,
    pub about: &'static str,
    pub home: &'static str,
}

/// All that is linked in.
pub struct Components {
    pub crates: Vec<Crate>,
    pub libraries: Vec<Library>,
}

impl Components {
    /// Of the program for machines of `arch`.
    pub fn of(arch: Arch) -> Result<Self> {
        let compiler = toolchain::find_compiler()?;
        let mut sides: BTreeMap<(String, String), BTreeSet<Side>> = BTreeMap::new();
        for package in linked("tcpwait", &[], arch.rust(), None)? {
            sides.entry(package).or_default().insert(Side::User);
        }
        for package in linked("tcpwait-ebpf", &["--all-features"], "bpfel-unknown-none", Some(&compiler))? {
            sides.entry(package).or_default().insert(Side::Kernel);
        }
        let known = Metadata::read()?;
        let crates = sides.into_iter().map(|((name, version), sides)| known.of(name, version, sides));
        Ok(Self { crates: crates.collect::<Result<_>>()?, libraries: libraries(arch, &compiler)? })
    }
}

/// Name and version of the crates that end up in a package, those left out that only the compiler runs.
fn linked(
    package: &str,
    options: &[&str],
    target: &str,
    compiler: Option<&Compiler>,
) -> Result<BTreeSet<(String, String)>> {
    let mut tree = cargo(&["tree", "--locked", "--package", package, "--target", target]);
    tree.args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]).args(options);
    if let Some(compiler) = compiler {
        tree.env("RUSTC", &compiler.rustc).env("RUSTC_BOOTSTRAP", "1");
    }
    let text = printed(&mut tree)?;
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    Ok(text.lines().filter_map(package).collect())
}

/// What cargo knows of packages.
struct Metadata {
    packages: Vec<Value>,
    checksums: BTreeMap<(String, String), String>,
}

impl Metadata {
    fn read() -> Result<Self> {
        let text = printed(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
        let mut all: Value = serde_json::from_str(&text).context("cargo metadata is not what it was")?;
        let packages = match all.get_mut("packages").map(Value::take) {
            Some(Value::Array(packages)) => packages,
            _ => Vec::new(),
        };
        let lock = String::from_utf8(super::read("Cargo.lock")?)?;
        Ok(Self { packages, checksums: checksums(&lock) })
    }

    fn of(&self, name: String, version: String, sides: BTreeSet<Side>) -> Result<Crate> {
        let is_it = |package: &&Value| {
            package.get("name").and_then(Value::as_str) == Some(&name)
                && package.get("version").and_then(Value::as_str) == Some(&version)
        };
        let package = self.packages.iter().find(is_it).with_context(|| format!("cargo knows no {name} {version}"))?;
        let text = |field: &str| package.get(field).and_then(Value::as_str).map(str::to_owned);
        let folder = text("manifest_path").as_deref().and_then(|path| Path::new(path).parent()).map(Path::to_owned);
        let checksum = self.checksums.get(&(name.clone(), version.clone())).cloned();
        Ok(Crate {
            // SPDX has no slash; crates of old have it for OR.
            licence: text("license").map(|licence| licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")),
            repository: text("repository"),
            checksum,
            folder: folder.unwrap_or_default(),
            name,
            version,
            sides,
        })
    }
}

/// What Cargo.lock says of archives.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"').map(str::to_owned))
    };
    let blocks = lock.split("[[package]]");
    blocks
        .filter_map(|block| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?)))
        .collect()
}

/// What is linked in besides crates.
fn libraries(arch: Arch, compiler: &Compiler) -> Result<Vec<Library>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let own = printed(Command::new(rustc).arg("--version"))?;
    let own = own.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    // What links for another architecture comes from other packages.
    let (libc, gcc) = if arch.is_here() {
        ("libc6-dev".to_owned(), "libgcc-*-dev".to_owned())
    } else {
        (format!("libc6-dev-{arch}-cross"), format!("libgcc-*-dev-{arch}-cross"))
    };
    let rust = "MIT OR Apache-2.0";
    Ok(vec![
        Library {
            name: "glibc",
            version: version(&libc),
            licence: "LGPL-2.1-or-later",
            about: "the C library, linked statically",
            home: "https://www.gnu.org/software/libc/",
        },
        Library {
            name: "libgcc",
            version: version(&gcc),
            licence: "GPL-3.0-or-later WITH GCC-exception-3.1",
            about: "the C compiler's own library, linked statically",
            home: "https://gcc.gnu.org/",
        },
        Library {
            name: "rust-std",
            version: own,
            licence: rust,
            about: "Rust's standard library, of the user side",
            home: "https://www.rust-lang.org/",
        },
        Library {
            name: "rust-core",
            version: compiler.release.clone(),
            licence: rust,
            about: "Rust's core library, of the kernel side",
            home: "https://www.rust-lang.org/",
        },
    ])
}

/// The version of an installed package of the distribution; a `*` stands for a number, of which the highest counts.
fn version(package: &str) -> String {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${Package} ${Version}\n", package]).output();
    let text = query.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let number = |line: &str| {
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap_or_default()
    };
    let found = text.lines().filter_map(|line| line.split_once(' ')).filter(|(_, version)| !version.is_empty());
    let found = found.max_by_key(|(name, _)| number(name)).map(|(_, version)| version.to_owned());
    found.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::checksums;

    #[test]
    fn what_was_downloaded_has_a_sum() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0\"\nsource = \"registry+x\"\nchecksum = \"ab\"\n\n\
                    [[package]]\nname = \"own\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n";
        let found: Vec<_> = checksums(lock).into_iter().collect();
        assert_eq!(found, [(("a".to_owned(), "1.0".to_owned()), "ab".to_owned())]);
    }
}
