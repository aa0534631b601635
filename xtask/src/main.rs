//! `cargo xtask`: sets up, builds, runs and tests tcpwait. Each verb is a file of the same name.
//! What it changes on the machine it prints before it does it, and only that goes through sudo: cargo never needs root.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

mod arch;
mod bench;
mod compile;
mod cross;
mod debs;
mod dist;
mod fixtures;
mod fuzz;
mod object;
mod packages;
mod pages;
mod release;
mod root;
mod run;
mod setup;
mod test;
mod toolchain;
mod vm;

/// Sets up, builds, runs and tests tcpwait.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Verb {
    /// Find what the build needs, and install what is missing.
    ///
    /// That is a Rust compiler with a `core` for BPF, and bpf-linker. On Debian and Ubuntu the compiler comes from the
    /// distribution's packages (through sudo unless run as root); elsewhere you are told what to install. bpf-linker is
    /// built by cargo into target/tools. Set TCPWAIT_BPF_RUSTC or TCPWAIT_BPF_LINKER to use a particular one.
    Setup,
    /// Build the tool and print where it is.
    Build {
        /// Optimise, as for use; without it the build is faster.
        #[arg(long)]
        release: bool,
        /// For machines of this architecture: aarch64 or x86_64.
        ///
        /// What links for another one than this machine's is installed (it is said first, and goes through sudo), on Debian and
        /// Ubuntu; `std` for it is unpacked into target/cross, or comes from `rustup target add`.
        #[arg(long, value_enum)]
        target: Option<arch::Arch>,
    },
    /// Make all that is shipped, in target/dist, for amd64 and arm64: `cargo xtask dist`.
    ///
    /// That is an archive with the program, its manual, completions, schemas and examples; a package for Debian; an image for containers; SHA256SUMS, and
    /// what the program is made of (CycloneDX). The same source gives the same bytes. Needs dpkg-deb, and what `cargo xtask build --target` needs.
    Dist(dist::Options),
    /// Build the tool for use and run it as root: `cargo xtask run -- ARGS`.
    ///
    /// Exit code, output and signals are the tool's own.
    Run {
        /// What to pass to the tool.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Check formatting, lints and documentation, run all tests, then those that need root and this kernel.
    ///
    /// Installs the programs that the tests use (nginx, ab, curl, ss, ip, Prometheus, mandoc, groff, zsh, fish; lintian, debootstrap and skopeo for
    /// `cargo xtask dist --check`, which is part of it; what `cargo xtask pages` needs, which is too) and a C++ compiler where they are missing. A minute of
    /// `cargo xtask fuzz` goes on beside the kernel tests on this machine, unless only some tests are asked for. Beside all of that
    /// the kernel tests run on other kernels, as `cargo xtask vm` runs them. One that fails on this kernel, which others use,
    /// is run again alone at the end; the last line says which, and more than one in 20 is a failure. Without root and without
    /// sudo the tests on this kernel are left out, and those on the others where QEMU or a kernel cannot be had; either is a
    /// failure if CI=true is set.
    Test {
        /// Run only the tests whose names contain one of these.
        filters: Vec<String>,
    },
    /// The part of `test` that goes on beside the rest, in a process of its own.
    #[command(hide = true)]
    TestInGuests { filters: Vec<String> },
    /// Measure what tcpwait costs on this machine: `cargo xtask bench --quick`.
    ///
    /// Builds the tool and the benchmark for use, and runs the benchmark as root. Its options are in `cargo xtask bench -- --help`.
    /// Results are a table on stdout, and target/bench/latest.json.
    Bench {
        /// What to pass to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Try recordings that nobody made on everything that reads them: `cargo xtask fuzz --seconds 3600`.
    ///
    /// Each input is read as `trace`, `stat` and `ports` read it, with every view, with a limit on time and memory. Needs a C++ compiler besides what
    /// the build needs, and installs it where it is missing. It begins with the inputs in tests/fuzz/corpus; what it finds is in target/fuzz, and the
    /// exit code is 1 if one of them panics, takes too long or takes too much, and 77 if there is no C++ compiler to be had.
    Fuzz {
        /// For so long.
        #[arg(long, value_name = "N", default_value_t = 600)]
        seconds: u32,
        /// Put the fewest inputs that cover everything found into tests/fuzz/corpus.
        #[arg(long)]
        keep: bool,
    },
    /// Try the HTML pages that tcpwait writes in Chromium and Firefox.
    ///
    /// Light and dark, narrow and wide, with JavaScript and without: that they fetch nothing and say nothing on the console, can be read, used, printed, and
    /// understood by a screen reader. Installs Debian's browsers, Node and poppler-utils where they are missing; what drives the browsers comes from npm into
    /// target/pages, by a lock file. The exit code is 1 if anything is wrong, and 77 if one of them is not to be had.
    Pages,
    /// Make the recordings of other kernels in tests/fixtures anew, for a change of the recording format.
    Fixtures {
        /// Of these kernels, named as for `cargo xtask vm --kernel` [default: 6.1 6.12, and 6.1 7.3 for how connections end].
        kernels: Vec<vm::series::Series>,
        /// Only the recordings of how connections end.
        #[arg(long)]
        ends: bool,
    },
    /// Run the kernel tests, or a command, on other kernels: `cargo xtask vm -- tcpwait trace --duration 60`.
    ///
    /// Boots Debian's kernels in QEMU, which needs neither root nor hardware virtualisation. What of it is not on this machine is
    /// downloaded by apt-get, with a configuration of its own, and unpacked into target/vm; nothing is installed, but what
    /// cross-builds for arm64 (see `cargo xtask build --help`), if a kernel for that is named. After `--` comes a command: its output and exit code are the command's own, and what it leaves in /out is then in target/vm/out.
    /// Consoles are kept in target/vm/log. The exit code is 77 if there is no QEMU or no kernel to be had.
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let done = match Verb::parse() {
        Verb::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Verb::Build { release, target } => compile::run(release, target).map(|()| ExitCode::SUCCESS),
        Verb::Dist(options) => dist::run(options).map(|()| ExitCode::SUCCESS),
        Verb::Run { args } => run::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Test { filters } => test::run(filters),
        Verb::TestInGuests { filters } => test::in_guests(filters),
        Verb::Bench { args } => bench::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Fuzz { seconds, keep } => fuzz::run(seconds, keep),
        Verb::Pages => pages::run(),
        Verb::Fixtures { kernels, ends } => fixtures::run(&kernels, ends).map(|()| ExitCode::SUCCESS),
        Verb::Vm(options) => vm::run(&options),
    };
    match done {
        Ok(code) => code,
        // These errors are about the machine: where in this program they come from, which anyhow would print, is noise.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
