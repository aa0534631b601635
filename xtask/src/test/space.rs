//! Whether the disk has room for a run: one that finds it full ends after a quarter of an hour with errors that name anything else.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::compile;

/// What a run from nothing has left below `target` at its end, in gigabytes, rounded up.
const NEEDED_GB: u64 = 8;

const GB: u64 = 1_000_000_000;

/// A sentence, if there may be too little.
pub fn warning() -> Option<String> {
    let folder = compile::target_dir();
    // Before the first build it does not exist, and its parents do.
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let disk = statvfs(there).ok()?;
    let free = disk.blocks_available() * disk.fragment_size() / GB;
    (free < NEEDED_GB && !folder.join("vm/image").exists()).then(|| {
        format!(
            "{free} GB are free for {}, and a run that builds and downloads everything leaves {NEEDED_GB} GB: if it ends with \
             \"No space left on device\", make room and start it again",
            folder.display()
        )
    })
}
