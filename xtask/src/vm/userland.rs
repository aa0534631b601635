//! The programs of a guest that is of another architecture than this machine: Debian's packages of them, unpacked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::debs::{self, apt::Apt};

use super::place;

/// What has the programs.
const PACKAGES: [&str; 7] = ["nginx", "apache2-utils", "curl", "iproute2", "util-linux", "nftables", "busybox-static"];
const PROGRAM_FOLDERS: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];

/// Where they are unpacked.
pub struct Userland {
    arch: Arch,
    folder: PathBuf,
}

impl Userland {
    /// Finds them, or downloads and unpacks them with all libraries that they may need.
    pub fn fetch(arch: Arch) -> Result<Self> {
        let folder = place("userland").join(arch.debian());
        // Written last, so a folder without it is one that was not finished.
        let whole = folder.join("whole");
        if !whole.is_file() {
            let apt = Apt::Release(arch);
            let mut names: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
            if apt.depends(&PACKAGES).is_empty() {
                apt.update()?;
            }
            let mut users = names.clone();
            while !users.is_empty() {
                let mut needed = apt.depends(&users.iter().map(String::as_str).collect::<Vec<_>>());
                // Those in angle brackets are names for any of several.
                needed.retain(|name| (name.starts_with("lib") || name.starts_with("zlib")) && !names.contains(name));
                needed.sort();
                needed.dedup();
                names.extend(needed.iter().cloned());
                users = needed;
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            debs::unpack_into(apt, &folder, &names)
                .with_context(|| format!("the programs of a guest for {arch} cannot be had"))?;
            fs::write(&whole, "").with_context(|| format!("cannot write {}", whole.display()))?;
        }
        Ok(Self { arch, folder })
    }

    /// Where a program is, in the guest and here.
    pub fn program(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let places = PROGRAM_FOLDERS.map(|folder| Path::new(folder).join(name));
        places.into_iter().find_map(|place| Some((place.clone(), self.inside(&place)?)))
    }

    /// The file at this place. A link that begins at the root begins at the folder: `/sbin/ip` is one to `/bin/ip`, which this machine has, too, of
    /// its own architecture.
    fn inside(&self, place: &Path) -> Option<PathBuf> {
        let file = self.folder.join(place);
        let file = match fs::read_link(&file) {
            Ok(target) => self.folder.join(target.strip_prefix("/").ok().map(Path::to_owned).unwrap_or(
                // One that does not begins where it is.
                place.parent()?.join(&target),
            )),
            Err(_) => file,
        };
        file.is_file().then_some(file)
    }

    /// What a program has to be linked with when it starts, likewise.
    pub fn libraries(&self, program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut found = BTreeMap::new();
        let mut users = vec![program.to_owned()];
        while let Some(user) = users.pop() {
            for name in needed(&user)? {
                if found.contains_key(&name) {
                    continue;
                }
                let file = self.library(&name).with_context(|| format!("{} needs {name}", program.display()))?;
                users.push(file.clone());
                found.insert(name, file);
            }
        }
        let own = Path::new("lib").join(self.arch.triplet());
        // Where each program says that its loader is.
        let place = |name: &String| if name.starts_with("ld-") { Path::new("lib").join(name) } else { own.join(name) };
        Ok(found.iter().map(|(name, file)| (place(name), file.clone())).collect())
    }

    fn library(&self, name: &str) -> Option<PathBuf> {
        let folders = ["usr/lib", "lib"].map(|folder| self.folder.join(folder));
        let own = folders.iter().map(|folder| folder.join(self.arch.triplet()));
        own.chain(folders.iter().cloned()).map(|folder| folder.join(name)).find(|file| file.is_file())
    }
}

/// The libraries that a program or a library names.
fn needed(file: &Path) -> Result<Vec<String>> {
    let output = Command::new("readelf").args(["--dynamic", "--wide"]).arg(file).output();
    let output =
        output.context("cannot run readelf (in package binutils), which tells what libraries a program needs")?;
    if !output.status.success() {
        bail!("readelf cannot read {}", file.display());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // 0x0000000000000001 (NEEDED)  Shared library: [libc.so.6]
    let named = text.lines().filter(|line| line.contains("(NEEDED)"));
    Ok(named.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect())
}
