//! The processes there are, by the name of their main thread and by their executable. Knows nothing of sockets.

use std::{collections::BTreeMap, fs, path::Path};

/// So many are named in a sentence.
const NAMED: usize = 5;

/// Inode of the PID namespace whose numbers `/proc` has here (and so `ps`): that of its first process. `None` where that is the machine's
/// own, and where nothing says that it is not.
pub fn numbering() -> Option<u32> {
    /// `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`.
    const INITIAL: u32 = 0xefff_fffc;
    let of = |process: &str| {
        let link = fs::read_link(format!("/proc/{process}/ns/pid")).ok()?;
        link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
    };
    of("1").or_else(|| of("self")).filter(|inode| *inode != INITIAL)
}

/// A sentence where no process is called `name` now, but some run an executable of that name: runtimes name their main threads as they
/// like (Node calls it MainThread), and it is that name which the kernel, `ps -o comm` and a filter know.
pub fn only_an_executable(name: &str) -> Option<String> {
    let mut others: BTreeMap<String, u32> = BTreeMap::new();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(comm) = comm(&process.path()) else { continue };
        if comm == name {
            return None;
        }
        if executable(&process.path()).is_some_and(|executable| executable == name) {
            others.entry(comm).or_insert(pid);
        }
    }
    let names: Vec<String> =
        others.iter().take(NAMED).map(|(comm, pid)| format!("{}[{pid}]", comm.escape_debug())).collect();
    let example = others.keys().next()?.escape_debug();
    Some(format!(
        "no process is called {name} now; what runs the executable {name} is called {}, by the name of its main thread (`ps -o comm`): \
         --comm {example} selects such",
        names.join(", ")
    ))
}

fn comm(process: &Path) -> Option<String> {
    let name = fs::read(process.join("comm")).ok()?;
    Some(String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned())
}

fn executable(process: &Path) -> Option<String> {
    let path = fs::read_link(process.join("exe")).ok()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    // Of one that was replaced by an update.
    Some(name.strip_suffix(" (deleted)").map_or(name.clone(), str::to_owned))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::only_an_executable;

    #[test]
    fn a_name_that_nothing_has() {
        assert_eq!(only_an_executable("no such program"), None);
    }

    #[test]
    fn the_executable_of_this_test() {
        let executable = std::env::current_exe().unwrap();
        let name = executable.file_name().unwrap().to_str().unwrap();
        // Its name has a hash, and is longer than what the kernel keeps of it.
        let sentence = only_an_executable(name).unwrap();
        assert!(sentence.contains(&format!("[{}]", std::process::id())), "{sentence}");
    }
}
