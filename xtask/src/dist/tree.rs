//! Files that are shipped together, before it is known in which kind of archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};

/// Paths without a slash in front, each with its bytes.
#[derive(Default)]
pub struct Tree {
    files: BTreeMap<String, File>,
}

struct File {
    mode: u32,
    bytes: Vec<u8>,
}

impl Tree {
    /// Adds a file that everybody may read.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.to_owned(), File { mode: 0o644, bytes: bytes.to_vec() });
    }

    /// Adds a program.
    pub fn program(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.to_owned(), File { mode: 0o755, bytes: bytes.to_vec() });
    }

    /// Adds a compressed file.
    pub fn file_gz(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.file(path, &gzipped(bytes)?);
        Ok(())
    }

    /// Sum of the sizes of the files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes.len() as u64).sum()
    }

    /// All of it in a folder.
    pub fn write_to(&self, folder: &Path) -> Result<()> {
        for (path, file) in &self.files {
            let path = folder.join(path);
            let doing = || format!("cannot write {}", path.display());
            fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(doing)?;
            fs::write(&path, &file.bytes).with_context(doing)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).with_context(doing)?;
        }
        Ok(())
    }

    /// An archive with a folder `top` of all of it, which belongs to root and is `epoch` seconds old.
    pub fn write_tar_gz(&self, top: &str, epoch: u64, to: &Path) -> Result<()> {
        let bytes = gzipped(&self.tar(top, epoch)?)?;
        fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
    }

    /// The same, not compressed. `top` may be empty.
    pub fn tar(&self, top: &str, epoch: u64) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut folders = BTreeSet::new();
        for (path, file) in &self.files {
            let path = if top.is_empty() { path.clone() } else { format!("{top}/{path}") };
            let above: Vec<String> =
                path.match_indices('/').filter_map(|(at, _)| path.get(..=at)).map(str::to_owned).collect();
            for folder in above.into_iter().filter(|folder| folders.insert(folder.clone())) {
                let mut header = header(0o755, 0, epoch);
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, folder, io::empty())?;
            }
            archive.append_data(&mut header(file.mode, file.bytes.len() as u64, epoch), path, file.bytes.as_slice())?;
        }
        Ok(archive.into_inner()?)
    }
}

fn header(mode: u32, bytes: u64, epoch: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_mtime(epoch);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Compressed as `gzip -9n` does, without a name and a time.
pub fn gzipped(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packing = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    packing.write_all(bytes)?;
    Ok(packing.finish()?)
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::{Tree, gzipped};

    #[test]
    fn an_archive_has_folders_before_files_and_nothing_of_this_machine() -> Result<()> {
        let mut tree = Tree::default();
        tree.file("usr/share/doc", b"text");
        tree.program("usr/bin/tcpwait", b"program");
        let bytes = tree.tar("top", 7)?;
        assert_eq!(bytes, tree.tar("top", 7)?);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entries = Vec::new();
        for entry in archive.entries()? {
            let entry = entry?;
            let header = entry.header();
            assert_eq!((header.mtime()?, header.uid()?, header.gid()?), (7, 0, 0));
            entries.push(format!("{:o} {}", header.mode()?, entry.path()?.display()));
        }
        let expected = [
            "755 top/",
            "755 top/usr/",
            "755 top/usr/bin/",
            "755 top/usr/bin/tcpwait",
            "755 top/usr/share/",
            "644 top/usr/share/doc",
        ];
        assert_eq!(entries, expected);
        assert_eq!(gzipped(&bytes)?, gzipped(&bytes)?);
        assert_eq!(tree.bytes(), 11);
        Ok(())
    }
}
