//! Debian packages that are downloaded and unpacked below `target/vm`, and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::vm::place;

pub mod apt;

use self::apt::Apt;

/// Downloads packages and unpacks them into `folder`.
pub fn unpack_into(apt: Apt, folder: &Path, names: &[&str]) -> Result<()> {
    fetched(apt, names)?.iter().try_for_each(|deb| unpack(deb, folder))
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

fn fetched(apt: Apt, names: &[&str]) -> Result<Vec<PathBuf>> {
    let folder = place("debs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if let Ok(files) = download(apt, names, &folder) {
        return Ok(files);
    }
    // The lists may be missing, or name files that have been replaced since.
    apt.update()?;
    download(apt, names, &folder)
}

fn download(apt: Apt, names: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
    let wanted = listed(apt, names, folder)?;
    let missing: Vec<_> = names.iter().zip(&wanted).filter(|(_, download)| !download.is_there()).collect();
    if !missing.is_empty() {
        let bytes: u64 = missing.iter().map(|(_, download)| download.bytes).sum();
        let list = missing.iter().map(|(name, _)| **name).collect::<Vec<_>>().join(" ");
        eprintln!("downloading {list} ({:.1} MB) into {}", bytes as f64 / 1e6, folder.display());
        let mut get = apt.command("apt-get")?;
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
fn listed(apt: Apt, names: &[&str], folder: &Path) -> Result<Vec<Download>> {
    let mut list = apt.command("apt-get")?;
    list.args(["download", "--print-uris"]).args(names);
    let output = list.output().context("cannot run apt-get, with which kernels and QEMU are downloaded")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // 'http://…/x_1.0_all.deb' x_1.0_all.deb 1234 SHA256:…
    let listed: Vec<_> = text.lines().filter_map(|line| parse(line, folder)).collect();
    // apt-get prints them in an order of its own.
    let in_order = names.iter().map(|name| {
        // Also name=version, for one that is not the newest.
        let start = format!("{}_", name.split('=').next().unwrap_or(name));
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
