//! `cargo xtask setup`: finds what the build needs and installs what is missing.
//! `cargo xtask test` also asks for what only the tests need.

use anyhow::{Result, bail};

use crate::compile;
use crate::packages;
use crate::root;
use crate::toolchain::{self, Absent, Compiler, Core, Linker};

/// The newest bpf-linker that uses the LLVM of rustc's own distribution; later ones want LLVM's development packages.
const LINKER_VERSION: &str = "0.10.3";

/// The packages of a compiler and its `core` for BPF, which must be of one build. Where Debian has the first pair, its
/// compiler is the newer one.
const COMPILER_PACKAGES: [[&str; 2]; 2] = [["rustc-web", "libstd-rust-web-dev-bpf"], ["rustc", "libstd-rust-dev-bpf"]];

/// Programs the kernel tests run, and Debian's packages for them.
const TEST_PROGRAMS: [(&str, &str); 12] = [
    ("nginx", "nginx-light"),
    ("ab", "apache2-utils"),
    ("curl", "curl"),
    ("ss", "iproute2"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("mandoc", "mandoc"),
    ("groff", "groff"),
    ("zsh", "zsh"),
    ("fish", "fish"),
];

/// What builds the kernel side.
pub struct Toolchain {
    pub compiler: Compiler,
    pub linker: Linker,
}

/// The verb.
pub fn run() -> Result<()> {
    report(&toolchain()?);
    Ok(())
}

/// One line for each tool.
pub fn report(toolchain: &Toolchain) {
    let Toolchain { compiler, linker } = toolchain;
    let core = match compiler.core {
        Core::Shipped => "with a core for BPF",
        Core::Source => "with rust-src, from which cargo builds core",
    };
    println!("BPF compiler: {} {}, {core}", compiler.rustc.display(), compiler.release);
    println!("BPF linker: {} {}", linker.path.display(), linker.version);
}

/// What builds the kernel side, installed if need be. Silent when all is there.
pub fn toolchain() -> Result<Toolchain> {
    Ok(Toolchain {
        compiler: found(toolchain::find_compiler, install_compiler)?,
        linker: found(toolchain::find_linker, install_linker)?,
    })
}

fn found<T>(find: fn() -> Result<T, Absent>, install: fn() -> Result<()>) -> Result<T> {
    match find() {
        Err(Absent::Missing(why)) => {
            println!("{why}");
            install()?;
            Ok(find()?)
        }
        other => Ok(other?),
    }
}

fn install_compiler() -> Result<()> {
    let by_hand = format!(
        "Install it by hand: with rustup, `rustup toolchain install nightly --component rust-src` \
         (any rustc from {} on does that has rust-src or a core for {})",
        env!("CARGO_PKG_RUST_VERSION"),
        toolchain::target()
    );
    let distribution = packages::distribution();
    if !distribution.debian {
        bail!("on {} this does not know how to install a Rust compiler for BPF. {by_hand}", distribution.name);
    }
    let mut chosen = compiler_packages();
    if chosen.is_none() {
        packages::update()?;
        chosen = compiler_packages();
    }
    match chosen {
        Some(names) => packages::install(&names),
        None => {
            bail!("{} has no package of a new enough Rust compiler with a core for BPF. {by_hand}", distribution.name)
        }
    }
}

fn compiler_packages() -> Option<[&'static str; 2]> {
    let new_enough = |package: &&str| {
        packages::candidate(package).is_some_and(|version| !toolchain::older(&version, env!("CARGO_PKG_RUST_VERSION")))
    };
    COMPILER_PACKAGES.into_iter().find(|names| names.iter().all(new_enough))
}

fn install_linker() -> Result<()> {
    println!("bpf-linker {LINKER_VERSION} is built from source now, which takes about a minute");
    let mut cargo = compile::cargo(&["install", "bpf-linker", "--locked"]);
    cargo.args(["--version", LINKER_VERSION, "--root"]).arg(toolchain::tools());
    // What takes time in linking is LLVM's code, which is built already: unoptimised it is here in half the time, and links in seconds more.
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    root::announced(cargo)
}

/// The programs of the kernel tests that are not on this machine.
pub fn missing_test_programs() -> Vec<&'static str> {
    let names = TEST_PROGRAMS.into_iter().map(|(name, _)| name);
    names.filter(|name| packages::program(name).is_none()).collect()
}

/// What only the tests need. Says what is there, in one line.
pub fn test_packages() -> Result<()> {
    let missing: Vec<_> =
        TEST_PROGRAMS.into_iter().filter(|(program, _)| packages::program(program).is_none()).collect();
    let list = |programs: &[(&'static str, &'static str)]| {
        let names: Vec<_> = programs.iter().map(|(program, _)| *program).collect();
        names.join(", ")
    };
    if missing.is_empty() {
        println!("programs for the tests: {}", list(&TEST_PROGRAMS));
        return Ok(());
    }
    println!("programs that the tests need and that are missing: {}", list(&missing));
    let distribution = packages::distribution();
    if !distribution.debian {
        bail!(
            "on {} this does not know which packages to install: install what has the programs {} \
             (ab is Apache's benchmark)",
            distribution.name,
            list(&missing)
        );
    }
    let mut names: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    names.dedup();
    if names.iter().any(|name| packages::candidate(name).is_none()) {
        packages::update()?;
    }
    packages::install_without_services(&names)?;
    for (program, package) in missing {
        if packages::program(program).is_none() {
            bail!("{package} is installed, but there is no program {program}");
        }
    }
    Ok(())
}
