//! An archive that the kernel unpacks as its first root folder ("newc" cpio), the same bytes for the same content: entries are
//! in the order of their names, all of them root's and of one age. Made without root, as no device files are in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What an entry is, with its content.
enum Entry {
    Folder(u32),
    File(u32, Vec<u8>),
    Link(String),
}

/// The archive so far. Folders above an entry come by themselves.
#[derive(Default)]
pub struct Archive {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Archive {
    /// Adds a folder, with its rights.
    pub fn folder(&mut self, path: impl AsRef<Path>, mode: u32) {
        self.add(path.as_ref(), Entry::Folder(mode));
    }

    /// Adds a file that may be read.
    pub fn text(&mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) {
        self.add(path.as_ref(), Entry::File(0o644, content.into()));
    }

    /// Adds a file that may be run.
    pub fn program(&mut self, path: impl AsRef<Path>, content: Vec<u8>) {
        self.add(path.as_ref(), Entry::File(0o755, content));
    }

    /// Adds a file, with its rights.
    pub fn file(&mut self, path: impl AsRef<Path>, mode: u32, content: Vec<u8>) {
        self.add(path.as_ref(), Entry::File(mode, content));
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: impl AsRef<Path>, to: impl Into<String>) {
        self.add(path.as_ref(), Entry::Link(to.into()));
    }

    /// Whether there is such an entry.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.entries.contains_key(relative(path.as_ref()))
    }

    fn add(&mut self, path: &Path, entry: Entry) {
        let path = relative(path);
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            self.entries.entry(above.to_owned()).or_insert(Entry::Folder(0o755));
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The bytes of it. A folder sorts before what is in it, which the kernel needs.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (path, entry)) in (1..).zip(&self.entries) {
            let name = path.to_string_lossy();
            match entry {
                Entry::Folder(mode) => record(&mut bytes, number, 0o040_000 | mode, &name, &[]),
                Entry::File(mode, content) => record(&mut bytes, number, 0o100_000 | mode, &name, content),
                Entry::Link(to) => record(&mut bytes, number, 0o120_777, &name, to.as_bytes()),
            }
        }
        record(&mut bytes, 0, 0, "TRAILER!!!", &[]);
        bytes
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn record(bytes: &mut Vec<u8>, number: usize, mode: u32, name: &str, content: &[u8]) {
    // inode, mode, uid, gid, links, mtime, size, device and represented device (major and minor), name's size, checksum.
    let (size, name_size) = (content.len(), name.len() + 1);
    bytes.extend(format!("070701{number:08X}{mode:08X}{0:08X}{0:08X}{1:08X}{0:08X}{size:08X}", 0, 1).bytes());
    bytes.extend(format!("{0:08X}{0:08X}{0:08X}{0:08X}{name_size:08X}{0:08X}", 0).bytes());
    bytes.extend(name.bytes().chain([0]));
    pad(bytes);
    bytes.extend(content);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn folders_come_first_and_sizes_are_padded() {
        let mut archive = Archive::default();
        archive.text("/etc/hosts", "a");
        archive.link("/bin/sh", "busybox");
        let bytes = archive.bytes();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let places =
            ["bin\0", "bin/sh\0", "busybox", "etc\0", "etc/hosts\0", "TRAILER!!!\0"].map(|name| text.find(name));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
        assert!(archive.has("etc/hosts") && archive.has("/etc") && !archive.has("/usr"));
    }
}
