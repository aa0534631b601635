//! A kernel out of its packages: what QEMU boots, the modules that the tests use, and its settings.
//! The kernel proper is unpacked here because a guest takes a second or more to do it.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::debs::{self, apt::Apt};

use super::series::Series;
use super::{file_name, place};

/// Modules that the tests may need; without one that a kernel does not have, a test says so itself. The first is what
/// `libcrc32c`, and with it `nf_tables`, asks for by name where it is not built in (6.12's flavours that are not for cloud
/// machines): nothing in a guest could load it when the kernel asks.
const MODULES: [&str; 12] = [
    "crc32c_generic",
    "veth",
    "dummy",
    "vrf",
    "tun",
    "inet_diag",
    "tcp_diag",
    "sch_netem",
    "xt_TPROXY",
    "nft_tproxy",
    "nft_socket",
    "nft_reject_inet",
];

/// A kernel that can be booted.
pub struct Kernel {
    /// What it is called here: `6.12-rt`, or what it calls itself.
    pub name: String,
    pub arch: Arch,
    /// As `uname -r` says it.
    pub release: String,
    /// What QEMU starts.
    pub boots: PathBuf,
    files: Files,
}

/// A module, ready to be loaded.
pub struct Module {
    pub name: String,
    pub content: Vec<u8>,
}

/// What there is of a kernel.
#[derive(Default)]
struct Files {
    /// `vmlinuz`, with or without a release behind it.
    images: Vec<PathBuf>,
    /// `config`, likewise.
    settings: Vec<PathBuf>,
    modules: Vec<PathBuf>,
}

impl Kernel {
    /// The newest of Debian's kernels of a series, downloaded once: remove its folder to have one that is newer since.
    pub fn of_debian(series: &Series) -> Result<Self> {
        let name = series.to_string();
        let folder = place("kernels").join(file_name(&name));
        // Written last, so a folder without it is one that was not finished.
        let whole = folder.join("packages");
        if !whole.is_file() {
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
            let packages = series.packages()?;
            let names: Vec<&str> = packages.iter().map(String::as_str).collect();
            debs::unpack_into(Apt::Debian(series.arch), &folder, &names)?;
            fs::write(&whole, packages.join("\n") + "\n")
                .with_context(|| format!("cannot write {}", whole.display()))?;
        }
        let kernel = Self::inside(Some(name), &folder, &folder.join("vmlinux"))?;
        if kernel.arch != series.arch {
            bail!("{series} is a kernel for {}", kernel.arch);
        }
        Ok(kernel)
    }

    /// The kernel in package files, each with a part of it, or in a folder.
    pub fn of_files(paths: &[PathBuf]) -> Result<Self> {
        if let [folder] = paths
            && folder.is_dir()
        {
            let proper = place("kernels").join("proper");
            // It may have been built again since.
            if proper.exists() {
                fs::remove_file(&proper).with_context(|| format!("cannot remove {}", proper.display()))?;
            }
            return Self::inside(None, folder, &proper);
        }
        let first = paths.first().and_then(|deb| deb.file_stem()).context("no file is named")?;
        let folder = place("unpacked").join(first);
        paths.iter().try_for_each(|deb| debs::unpack(deb, &folder))?;
        Self::inside(None, &folder, &folder.join("vmlinux"))
    }

    /// The one kernel in a folder. `proper` is where it is unpacked to, if it is not already there.
    fn inside(name: Option<String>, folder: &Path, proper: &Path) -> Result<Self> {
        let mut files = Files::default();
        files.find(folder)?;
        let image = match files.images.as_slice() {
            [image] => image.clone(),
            [] => bail!("there is no vmlinuz in {}", folder.display()),
            several => bail!("there are {} files called vmlinuz in {}", several.len(), folder.display()),
        };
        let content = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
        let about = || format!("{} is no kernel that is known here", image.display());
        let (arch, boots, release) = if content.get(0x202..0x206) == Some(b"HdrS") {
            let there = || if proper.is_file() { Ok(()) } else { kept(proper, proper_x86(&content)?) };
            let boots = match there() {
                Ok(()) => proper.to_owned(),
                Err(why) => {
                    eprintln!("{}: {why:#}; the guest will unpack it by itself", image.display());
                    image.clone()
                }
            };
            (Arch::Amd64, boots, release_x86(&content))
        } else if content.get(0x38..0x3c) == Some(b"ARM\x64") {
            (Arch::Arm64, image.clone(), release_arm(&content))
        } else {
            bail!(about())
        };
        let release = release.with_context(about)?;
        // A folder may have the modules of other kernels too.
        let own = |path: &PathBuf| path.components().any(|part| part.as_os_str() == release.as_str());
        if files.modules.iter().any(own) {
            files.modules.retain(own);
        }
        Ok(Self { name: name.unwrap_or_else(|| release.clone()), arch, release, boots, files })
    }

    /// The settings it was built with.
    pub fn settings(&self) -> Option<Vec<u8>> {
        let named = format!("config-{}", self.release);
        let of_name = |name: &str| {
            self.files.settings.iter().find(|file| file.file_name().is_some_and(|file| file.to_str() == Some(name)))
        };
        fs::read(of_name(&named).or_else(|| of_name("config"))?).ok()
    }

    /// The modules to load, each after those that it needs.
    pub fn modules(&self) -> Result<Vec<Module>> {
        let mut files = HashMap::new();
        for file in &self.files.modules {
            if let Some((name, _)) = file.file_name().and_then(|name| name.to_str()?.split_once(".ko")) {
                files.insert(name.replace('-', "_"), file.clone());
            }
        }
        let mut modules = Vec::new();
        for name in MODULES {
            load(name, &files, &mut modules)?;
        }
        Ok(modules)
    }
}

impl Files {
    /// Looks through a folder. Links to folders are not followed: Debian's modules have one to the headers.
    fn find(&mut self, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let called = |what: &str| name == what || name.strip_prefix(what).is_some_and(|rest| rest.starts_with('-'));
            if entry.file_type()?.is_dir() {
                self.find(&path)?;
            } else if !path.is_file() {
            } else if called("vmlinuz") {
                self.images.push(path);
            } else if called("config") {
                self.settings.push(path);
            } else if name.ends_with(".ko") || name.contains(".ko.") {
                self.modules.push(path);
            }
        }
        Ok(())
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

/// The kernel proper out of a compressed one. Where it is in the file is said by its header (the x86 boot protocol).
fn proper_x86(file: &[u8]) -> Result<Vec<u8>> {
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
    Ok(kernel)
}

/// What `uname -r` will say: the first word of a text that the header of an x86 kernel points to.
fn release_x86(file: &[u8]) -> Option<String> {
    let at = file.get(0x20e..0x210)?.try_into().ok()?;
    word(file.get(usize::from(u16::from_le_bytes(at)) + 0x200..)?)
}

/// The same of an Arm kernel, whose file is the kernel itself: it is in the first line that it will print.
fn release_arm(file: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"Linux version ";
    let mut places = file.windows(BEFORE.len()).enumerate().filter(|(_, window)| *window == BEFORE);
    places.find_map(|(at, _)| {
        word(file.get(at + BEFORE.len()..)?).filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// The first word of a text.
fn word(text: &[u8]) -> Option<String> {
    let text = text.split(|byte| !byte.is_ascii_graphic()).next()?;
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// Writes a file that is there only if all of it is.
fn kept(file: &Path, content: Vec<u8>) -> Result<()> {
    let unfinished = file.with_extension("unfinished");
    let folder = file.parent().context("it has no folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&unfinished, content))
        .and_then(|()| fs::rename(&unfinished, file))
        .with_context(|| format!("cannot write {}", file.display()))
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
