//! Debian packages that are downloaded and unpacked below `target/vm`, and never installed.
//! The names of kernels change with every update of theirs, so they are looked up in what depends on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::packages;

use super::place;

/// The package of a kernel for cloud machines: `6.1` is whatever `linux-image-6.1.*` Debian has now.
pub fn kernel_package(version: &str) -> Result<String> {
    let found = || {
        let metapackages = [format!("linux-image-{version}-cloud-amd64"), "linux-image-cloud-amd64".to_owned()];
        metapackages.iter().flat_map(|name| depends(name)).find(|package| {
            let release = package.strip_prefix("linux-image-").and_then(|rest| rest.strip_prefix(version));
            release.is_some_and(|rest| rest.starts_with('.'))
        })
    };
    if let Some(package) = found() {
        return Ok(package);
    }
    packages::update()?;
    found().with_context(|| {
        format!(
            "apt has no kernel linux-image-{version}-cloud-amd64 here: `--kernel-deb FILE` takes one from elsewhere"
        )
    })
}

/// What a package depends on directly, without the alternatives after the first.
pub fn depends(package: &str) -> Vec<String> {
    let Ok(output) = Command::new("apt-cache").args(["depends", "--important", package]).env("LC_ALL", "C").output()
    else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned).collect()
}

/// Downloads packages and unpacks them into `folder`.
pub fn unpack_into(folder: &Path, names: &[&str]) -> Result<()> {
    fetched(names)?.iter().try_for_each(|deb| unpack(deb, folder))
}

/// Downloads a package, unpacks it into a folder of its name, and returns that.
pub fn unpacked(name: &str) -> Result<PathBuf> {
    if let Some(folder) = already_unpacked(name) {
        return Ok(folder);
    }
    let files = fetched(&[name])?;
    let deb = files.first().with_context(|| format!("{name} was not downloaded"))?;
    let folder = folder_of(deb)?;
    unpack(deb, &folder)?;
    Ok(folder)
}

/// Where a package was unpacked before. Asking apt whether that is the newest file of it takes it a second.
fn already_unpacked(name: &str) -> Option<PathBuf> {
    let start = format!("{name}_");
    let folders = fs::read_dir(place("unpacked")).ok()?.flatten().filter_map(|folder| {
        let deb = folder.file_name().into_string().ok()?;
        let done = folder.path().join(format!(".{deb}.deb.unpacked"));
        (deb.starts_with(&start) && done.is_file()).then(|| folder.path())
    });
    folders.max()
}

/// Where a package file is unpacked by itself.
pub fn folder_of(deb: &Path) -> Result<PathBuf> {
    let name = deb.file_stem().with_context(|| format!("{} is not a file", deb.display()))?;
    Ok(place("unpacked").join(name))
}

/// Unpacks a package file, once.
pub fn unpack(deb: &Path, folder: &Path) -> Result<()> {
    let name = deb.file_name().unwrap_or_default().to_string_lossy();
    // Written last, so a folder without it is one that was not finished.
    let done = folder.join(format!(".{name}.unpacked"));
    if done.is_file() {
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    eprintln!("unpacking {name}");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").arg(deb).arg(folder);
    let status = unpack.status().context("cannot run dpkg-deb, which unpacks packages")?;
    if !status.success() {
        bail!("dpkg-deb cannot unpack {}", deb.display());
    }
    fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))
}

/// A package as apt would download it.
struct Download {
    file: PathBuf,
    bytes: u64,
    sha256: String,
}

impl Download {
    fn is_there(&self) -> bool {
        let Ok(output) = Command::new("sha256sum").arg(&self.file).output() else {
            return false;
        };
        output.status.success() && String::from_utf8_lossy(&output.stdout).starts_with(&self.sha256)
    }
}

fn fetched(names: &[&str]) -> Result<Vec<PathBuf>> {
    let folder = place("debs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if let Ok(files) = download(names, &folder) {
        return Ok(files);
    }
    // The lists may be missing, or name files that have been replaced since.
    packages::update()?;
    download(names, &folder)
}

fn download(names: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
    let wanted = listed(names, folder)?;
    let missing: Vec<_> = names.iter().zip(&wanted).filter(|(_, download)| !download.is_there()).collect();
    if !missing.is_empty() {
        let bytes: u64 = missing.iter().map(|(_, download)| download.bytes).sum();
        let list = missing.iter().map(|(name, _)| **name).collect::<Vec<_>>().join(" ");
        eprintln!("downloading {list} ({:.1} MB) into {}", bytes as f64 / 1e6, folder.display());
        let mut get = apt_get();
        get.args(["--quiet=2", "download"]).args(missing.iter().map(|(name, _)| name)).current_dir(folder);
        if !get.status().context("cannot run apt-get")?.success() {
            bail!("apt-get cannot download {list}");
        }
    }
    if let Some(download) = wanted.iter().find(|download| !download.is_there()) {
        bail!("{} is not what apt's lists say it should be: delete it", download.file.display());
    }
    Ok(wanted.into_iter().map(|download| download.file).collect())
}

/// File name, size and hash of each package.
fn listed(names: &[&str], folder: &Path) -> Result<Vec<Download>> {
    let mut list = apt_get();
    list.args(["download", "--print-uris"]).args(names);
    let output = list.output().context("cannot run apt-get, with which kernels and QEMU are downloaded")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // 'http://…/x_1.0_all.deb' x_1.0_all.deb 1234 SHA256:…
    let listed: Vec<_> = text.lines().filter_map(|line| parse(line, folder)).collect();
    // apt-get prints them in an order of its own.
    let in_order = names.iter().map(|name| {
        let start = format!("{name}_");
        let of_name = |download: &&Download| {
            download.file.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&start))
        };
        listed.iter().position(|download| of_name(&download)).with_context(|| format!("apt does not know {name}"))
    });
    let order = in_order.collect::<Result<Vec<_>>>()?;
    let mut listed: Vec<_> = listed.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| listed.get_mut(index)?.take()).collect())
}

fn parse(line: &str, folder: &Path) -> Option<Download> {
    let mut words = line.split(' ').skip(1);
    let file = folder.join(words.next()?);
    let bytes = words.next()?.parse().ok()?;
    let sha256 = words.next()?.strip_prefix("SHA256:")?.to_owned();
    Some(Download { file, bytes, sha256 })
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    // As root it would download as a user who may not write here, and warn.
    apt_get.args(["-o", "APT::Sandbox::User=root"]).env("LC_ALL", "C");
    apt_get
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::parse;

    #[test]
    fn apts_list_is_read() {
        let line = "'http://deb.debian.org/a_1%2bb.deb' a_1%3a1+b_amd64.deb 928188 SHA256:3d3f";
        let download = parse(line, Path::new("/debs"));
        let download = download.map(|download| (download.file, download.bytes, download.sha256));
        assert_eq!(download, Some(("/debs/a_1%3a1+b_amd64.deb".into(), 928188, "3d3f".into())));
        assert!(parse("E: Unable to locate package x", Path::new("/debs")).is_none());
    }
}
