//! `cargo xtask dist`: all that is shipped, in target/dist. The same source gives the same bytes, whichever folder it is built in.

mod check;
mod components;
mod deb;
mod documents;
mod image;
mod sbom;
mod third_party;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::arch::Arch;
use crate::compile;
use crate::packages;
use crate::release::Source;
use crate::root;
use crate::setup;
use crate::toolchain;
use crate::vm::Programs;

use self::components::Components;
use self::documents::Documents;
use self::tree::Tree;

/// What the tool is called by itself.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The largest that the tool may be, in bytes: it is copied to machines in trouble, over lines that are.
const LARGEST: u64 = 8 << 20;

/// What is made, and what is done with it.
#[derive(Args)]
pub struct Options {
    /// Only for machines of this architecture
    #[arg(long, value_enum)]
    target: Vec<Arch>,
    /// Into this folder, which is emptied first [default: target/dist]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Try what was made: lintian, the image, and the package in fresh systems of Debian 12 and 13, which are made below target/chroot
    #[arg(long)]
    check: bool,
    /// Also in guests under systemd, for each architecture
    #[arg(long, requires = "check")]
    guests: bool,
    /// Only try what is there
    #[arg(long, requires = "check", conflicts_with = "target")]
    no_build: bool,
}

/// The verb.
pub fn run(options: Options) -> Result<()> {
    let out = options.out.unwrap_or_else(|| compile::target_dir().join("dist"));
    if !options.no_build {
        make(&options.target, &out)?;
    }
    if options.check { check::run(&out, options.guests) } else { Ok(()) }
}

/// What is shipped for machines like this one, made and tried. Nothing is installed where this is not Debian or one of its relatives. In it is the tool that
/// the tests have built where they have built one that runs anywhere: for use it takes minutes more, and the packages are the same but for its size.
pub fn check_here() -> Result<()> {
    if !packages::distribution().debian || !root::available() {
        println!("packages are tried by root, on Debian and its relatives: not here");
        return Ok(());
    }
    let out = compile::target_dir().join("dist");
    let here = Arch::here()?;
    match Programs::can_be_built() {
        true => put_together(&[(here, without_symbols(&Programs::build()?.tool)?)], &out)?,
        false => make(&[here], &out)?,
    }
    check::run(&out, false)
}

/// The same program without the names of its functions, beside it: those who test want them, and a package may not have them.
fn without_symbols(tool: &Path) -> Result<PathBuf> {
    let stripped = tool.with_extension("stripped");
    printed(Command::new("strip").arg("--strip-all").arg("-o").arg(&stripped).arg(tool))?;
    Ok(stripped)
}

/// Makes it for these architectures, or for all.
fn make(arches: &[Arch], out: &Path) -> Result<()> {
    setup::toolchain()?;
    let all = [Arch::Amd64, Arch::Arm64];
    let arches = if arches.is_empty() { &all } else { arches };
    let mut tools = Vec::new();
    for arch in arches {
        let tool = if arch.is_here() { compile::tool(true)? } else { compile::tool_for(*arch, true)? };
        let bytes = fs::metadata(&tool).with_context(|| format!("cannot look at {}", tool.display()))?.len();
        if bytes > LARGEST {
            bail!("{} has {bytes} bytes, and may have {LARGEST}", tool.display());
        }
        tools.push((*arch, tool));
    }
    put_together(&tools, out)
}

/// Makes all that is shipped of tools that are built.
fn put_together(tools: &[(Arch, PathBuf)], out: &Path) -> Result<()> {
    let source = Source::find();
    // Only a program for this machine can print its pages; they are the same for each.
    let here = match tools.iter().find(|(arch, _)| arch.is_here()) {
        Some((_, tool)) => tool.clone(),
        None => compile::tool(true)?,
    };
    let documents = Documents::of(&here)?;
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut images = Vec::new();
    for (arch, tool) in tools {
        images.push(ship(*arch, tool, &documents, &source, out)?);
    }
    image::archive(&images, &source, &out.join(format!("tcpwait-{VERSION}-oci.tar")))?;
    sums(out)?;
    for file in files(out)? {
        println!("{}", file.display());
    }
    Ok(())
}

fn ship(arch: Arch, tool: &Path, documents: &Documents, source: &Source, out: &Path) -> Result<image::Image> {
    let binary = fs::read(tool).with_context(|| format!("cannot read {}", tool.display()))?;
    let components = Components::of(arch)?;
    let sbom = sbom::document(&components, arch, source, &binary)?;
    let third_party = third_party::text(&components)?;
    let name = format!("tcpwait-{VERSION}-{}", arch.kernel());

    let mut portable = Tree::default();
    portable.program("tcpwait", &binary);
    documents.for_archive(&mut portable)?;
    portable.file("THIRD-PARTY", third_party.as_bytes());
    portable.file("tcpwait.cdx.json", &sbom);
    portable.write_tar_gz(&name, source.epoch, &out.join(format!("{name}.tar.gz")))?;
    fs::write(out.join(format!("{name}.cdx.json")), &sbom).context("cannot write the bill of materials")?;

    let mut system = Tree::default();
    system.program("usr/bin/tcpwait", &binary);
    documents.for_system(&mut system)?;
    system.file_gz("usr/share/doc/tcpwait/THIRD-PARTY.gz", third_party.as_bytes())?;
    system.file_gz("usr/share/doc/tcpwait/tcpwait.cdx.json.gz", &sbom)?;
    deb::package(&system, arch, source, out)?;

    let mut image = Tree::default();
    image.program("tcpwait", &binary);
    image.file("usr/share/doc/tcpwait/THIRD-PARTY", third_party.as_bytes());
    image.file("usr/share/doc/tcpwait/copyright", deb::copyright()?.as_bytes());
    image::Image::of(&image, arch, source)
}

/// The files there are, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// As sha256sum(1) writes and checks them.
fn sums(folder: &Path) -> Result<()> {
    let mut lines = String::new();
    for file in files(folder)? {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines += &format!("{}  {name}\n", sha256(&bytes));
    }
    fs::write(folder.join("SHA256SUMS"), lines).context("cannot write SHA256SUMS")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a program prints; it has to succeed.
fn printed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let [out, complaints] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        bail!("{} failed: {out}{complaints}", command.get_program().to_string_lossy());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A file of this workspace.
fn read(path: &str) -> Result<Vec<u8>> {
    let path = toolchain::workspace().join(path);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// A JSON object with one more entry.
fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
    object
}
