//! A kernel out of its package: what QEMU boots, the modules that the tests use, and its settings.
//! The kernel proper is unpacked here because a guest takes a second or more to do it.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{debs, place};

/// Modules that the tests may need; without one that a kernel does not have, a test says so itself.
const MODULES: [&str; 9] =
    ["veth", "dummy", "tun", "inet_diag", "tcp_diag", "sch_netem", "xt_TPROXY", "nft_tproxy", "nft_socket"];

/// A kernel that can be booted.
pub struct Kernel {
    /// What it is called here: `6.1`, or what a package file is called.
    pub name: String,
    /// As `uname -r` says it.
    pub release: String,
    /// What QEMU starts.
    pub boots: PathBuf,
    /// Where its package is unpacked.
    folder: PathBuf,
}

/// A module, ready to be loaded.
pub struct Module {
    pub name: String,
    pub content: Vec<u8>,
}

impl Kernel {
    /// Debian's cloud kernel of a version such as `6.1`.
    pub fn of_debian(version: &str) -> Result<Self> {
        let folder = debs::unpacked(&debs::kernel_package(version)?)?;
        Self::unpacked(version.to_owned(), folder)
    }

    /// The kernel in a package file.
    pub fn of_file(deb: &Path) -> Result<Self> {
        let folder = debs::folder_of(deb)?;
        debs::unpack(deb, &folder)?;
        let name = deb.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('_').next().unwrap_or_default();
        let name = ["linux-image-unsigned-", "linux-image-"].iter().find_map(|start| name.strip_prefix(start));
        let name = name.with_context(|| format!("{} is not called linux-image-…", deb.display()))?;
        Self::unpacked(name.to_owned(), folder)
    }

    fn unpacked(name: String, folder: PathBuf) -> Result<Self> {
        let boot = folder.join("boot");
        let files = fs::read_dir(&boot).with_context(|| format!("no kernel in {}", folder.display()))?;
        let mut releases = files.flatten().filter_map(|file| Some(file.file_name().to_str()?.to_owned()));
        let release = releases.find_map(|file| file.strip_prefix("vmlinuz-").map(str::to_owned));
        let release = release.with_context(|| format!("no vmlinuz in {}", boot.display()))?;
        let compressed = boot.join(format!("vmlinuz-{release}"));
        let boots = proper(&compressed, &folder.join("vmlinux")).unwrap_or_else(|why| {
            eprintln!("{name}: {why:#}; the guest will unpack it by itself");
            compressed
        });
        Ok(Self { name, release, boots, folder })
    }

    /// The settings it was built with.
    pub fn settings(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.join(format!("boot/config-{}", self.release))).ok()
    }

    /// The modules to load, each after those that it needs.
    pub fn modules(&self) -> Result<Vec<Module>> {
        let folder = ["lib/modules", "usr/lib/modules"].map(|path| self.folder.join(path).join(&self.release));
        let mut files = HashMap::new();
        folder.iter().for_each(|folder| find(folder, &mut files));
        let mut modules = Vec::new();
        for name in MODULES {
            load(name, &files, &mut modules)?;
        }
        Ok(modules)
    }
}

/// The files of modules, by name.
fn find(folder: &Path, files: &mut HashMap<String, PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(name.replace('-', "_"), path);
        }
    }
}

/// modules.dep is made when a kernel is installed, which it is not here, but each module says what it needs.
fn load(name: &str, files: &HashMap<String, PathBuf>, modules: &mut Vec<Module>) -> Result<()> {
    let Some(file) = files.get(name) else {
        return Ok(());
    };
    if modules.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let content = decompressed(file)?;
    let text = content.split(|byte| *byte == 0).filter_map(|line| line.strip_prefix(b"depends="));
    let needs: Vec<String> = text.map(|needs| String::from_utf8_lossy(needs).into_owned()).collect();
    for need in needs.iter().flat_map(|needs| needs.split(',')) {
        load(&need.replace('-', "_"), files, modules)?;
    }
    modules.push(Module { name: name.to_owned(), content });
    Ok(())
}

fn decompressed(file: &Path) -> Result<Vec<u8>> {
    let what = || format!("cannot decompress {}", file.display());
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => {
            let output =
                Command::new(place("busybox/bin/busybox")).arg("xzcat").arg(file).output().with_context(what)?;
            if !output.status.success() {
                bail!(what());
            }
            Ok(output.stdout)
        }
        Some("zst") => zstd(&fs::read(file).with_context(what)?).with_context(what),
        _ => fs::read(file).with_context(what),
    }
}

/// The kernel proper, unpacked once. Where it is in the file is said by its header (the x86 boot protocol).
fn proper(compressed: &Path, to: &Path) -> Result<PathBuf> {
    if to.is_file() {
        return Ok(to.to_owned());
    }
    let file = fs::read(compressed).with_context(|| format!("cannot read {}", compressed.display()))?;
    let number = |at: usize| -> Option<usize> {
        let bytes = file.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let payload = || {
        let setup = usize::from(*file.get(0x1f1)?);
        let start = (setup + 1) * 512 + number(0x248)?;
        // Its last four bytes are the size of what is compressed.
        file.get(start..start + number(0x24c)? - 4)
    };
    let payload = payload().context("its header does not say where the kernel proper is")?;
    let kernel = match payload {
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => lz4(blocks)?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd(payload)?,
        _ => bail!("the kernel proper is compressed in a way that is not known here"),
    };
    if !kernel.starts_with(b"\x7fELF") {
        bail!("the kernel proper is not an ELF file");
    }
    let unfinished = to.with_extension("unfinished");
    fs::write(&unfinished, kernel).and_then(|()| fs::rename(&unfinished, to))?;
    Ok(to.to_owned())
}

fn zstd(compressed: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let decoder = ruzstd::decoding::StreamingDecoder::new(compressed).map_err(|why| anyhow::anyhow!("zstd: {why}"))?;
    std::io::BufReader::with_capacity(1 << 20, decoder).read_to_end(&mut content).context("zstd")?;
    Ok(content)
}

/// LZ4's old format: blocks of at most 8 MB, each after its size.
fn lz4(mut blocks: &[u8]) -> Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let mut content = Vec::new();
    while let Some((size, rest)) = blocks.split_first_chunk() {
        let size = usize::try_from(u32::from_le_bytes(*size))?;
        let (block, rest) = rest.split_at_checked(size).context("lz4: the last block is cut short")?;
        content.extend(lz4_flex::block::decompress(block, BLOCK).context("lz4")?);
        blocks = rest;
    }
    Ok(content)
}
