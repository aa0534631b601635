//! What the kernel knows of the programs themselves.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Events that were not handed to a program because one was running on that CPU already (`bpf_prog_info.recursion_misses`,
/// since 5.12), from the descriptor's fdinfo. `None` when this kernel does not tell.
pub fn recursion_misses(program: BorrowedFd<'_>) -> Option<u64> {
    // The kernel writes some 200 bytes, in one go.
    let mut info = [0; 1024];
    let length = File::open(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?.read(&mut info).ok()?;
    let info = std::str::from_utf8(info.get(..length)?).ok()?;
    info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}
