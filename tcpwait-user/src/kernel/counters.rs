//! What the kernel knows of the programs themselves.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Events that were not handed to a program because one was running on that CPU already (`bpf_prog_info.recursion_misses`,
/// since 5.12), from the descriptor's fdinfo. `None` when this kernel does not tell.
pub fn recursion_misses(program: BorrowedFd<'_>) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?.trim().parse().ok()
}
