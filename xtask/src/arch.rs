//! The architectures that the tool is built for, and that guests can be of: what each is called by whom.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

/// What a machine's processor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    #[value(name = "x86_64", alias = "amd64")]
    Amd64,
    #[value(name = "aarch64", alias = "arm64")]
    Arm64,
}

impl Arch {
    /// The one called so by Debian.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Amd64, Self::Arm64].into_iter().find(|arch| arch.debian() == name)
    }

    /// That which a program is for, as its ELF header says (elf(5), `e_machine`).
    pub fn of_program(file: &Path) -> Result<Self> {
        let mut head = [0; 20];
        File::open(file)
            .and_then(|mut file| file.read_exact(&mut head))
            .with_context(|| format!("cannot read {}", file.display()))?;
        let machine = head.starts_with(b"\x7fELF").then(|| u16::from_le_bytes([head[18], head[19]]));
        match machine {
            Some(62) => Ok(Self::Amd64),
            Some(183) => Ok(Self::Arm64),
            _ => bail!("{} is no program for x86_64 or aarch64", file.display()),
        }
    }

    /// This machine's.
    pub fn here() -> Result<Self> {
        let arch = [Self::Amd64, Self::Arm64].into_iter().find(|arch| arch.is_here());
        arch.with_context(|| format!("the tool is built for x86_64 and aarch64, not for {}", std::env::consts::ARCH))
    }

    /// Whether it is this machine's.
    pub fn is_here(self) -> bool {
        std::env::consts::ARCH == self.kernel()
    }

    /// As Debian calls it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As `uname -m` calls it.
    pub fn kernel(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// The target of rustc.
    pub fn rust(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// What its libraries' folder is called by Debian.
    pub fn triplet(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// The C compiler for it, on a machine that is of another.
    pub fn gcc(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// Debian's packages of that compiler, and of a libc to link with.
    pub fn cross_packages(self) -> [&'static str; 2] {
        match self {
            Self::Amd64 => ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
            Self::Arm64 => ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.debian())
    }
}
