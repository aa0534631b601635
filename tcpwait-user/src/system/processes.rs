//! The processes there are, by the name of their main thread and by their executable. Knows nothing of sockets.

use std::{collections::BTreeMap, fs, path::Path};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

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

/// Whether a process has ended, be it that nobody has waited for it yet. One that may not be looked at has not.
pub fn has_ended(pid: u32) -> bool {
    let Ok(number) = i32::try_from(pid) else { return false };
    if kill(Pid::from_raw(number), None) == Err(Errno::ESRCH) {
        return true;
    }
    fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_zombie(&stat))
}

/// Fields 3 and 20 of `/proc/PID/stat`; the name, field 2, ends at the last parenthesis. A process whose first thread alone has ended looks
/// like one that has.
fn is_zombie(stat: &[u8]) -> bool {
    let after = stat.rsplit(|&byte| byte == b')').next().and_then(|after| std::str::from_utf8(after).ok());
    let mut fields = after.unwrap_or_default().split_ascii_whitespace();
    matches!(fields.next(), Some("Z" | "X")) && fields.nth(16).is_none_or(|threads| threads == "1" || threads == "0")
}

/// A sentence where no process is called `name` now, but some run an executable of that name, or have a thread of it: runtimes name their main threads as they
/// like (Node calls it MainThread), and it is that name which the kernel, `ps -o comm` and a filter know.
pub fn only_an_executable(name: &str) -> Option<String> {
    let mut others: BTreeMap<String, u32> = BTreeMap::new();
    let mut with_thread = None;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(comm) = comm(&process.path()) else { continue };
        if comm == name {
            return None;
        }
        if executable(&process.path()).is_some_and(|executable| executable == name) {
            others.entry(comm).or_insert(pid);
        } else if with_thread.is_none() && has_thread(&process.path(), name) {
            with_thread = Some((comm, pid));
        }
    }
    if let (true, Some((comm, pid))) = (others.is_empty(), with_thread) {
        let comm = comm.escape_debug();
        return Some(format!(
            "no process is called {name} now, but a thread of {comm}[{pid}] is; a process has the name of its main thread: use --comm {comm}"
        ));
    }
    let names: Vec<String> =
        others.iter().take(NAMED).map(|(comm, pid)| format!("{}[{pid}]", comm.escape_debug())).collect();
    let example = others.keys().next()?.escape_debug();
    Some(format!(
        "no process is called {name} now; processes of the executable {name} are called {} (`ps -o comm`): use --comm {example}",
        names.join(", ")
    ))
}

/// Whether one of its threads has this name.
fn has_thread(process: &Path, name: &str) -> bool {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    threads.map(|thread| thread.path()).any(|thread| comm(&thread).is_some_and(|comm| comm == name))
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
    use super::{has_ended, is_zombie, only_an_executable};

    #[test]
    fn processes_that_have_ended() {
        assert!(!has_ended(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let bound = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !has_ended(child.id()) {
            assert!(std::time::Instant::now() < bound, "nobody has waited for it, and it has ended");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(has_ended(child.id()));
        let stat =
            |state: &str, threads: &str| format!("7 (a) b) {state} 1 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711");
        assert!(is_zombie(stat("Z", "1").as_bytes()) && !is_zombie(stat("S", "1").as_bytes()));
        assert!(!is_zombie(stat("Z", "2").as_bytes()), "its first thread has ended, and others go on");
    }

    #[test]
    fn a_name_that_nothing_has() {
        assert_eq!(only_an_executable("no such program"), None);
    }

    #[test]
    fn a_thread_of_this_test() {
        let (name, started, ends) =
            ("such a thread", std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
        let thread = std::thread::Builder::new().name(name.to_owned());
        let waits = thread
            .spawn(move || {
                drop(started.0);
                let _ = ends.1.recv();
            })
            .unwrap();
        // The name is set before what the thread does (std).
        let _ = started.1.recv();
        let sentence = only_an_executable(name).unwrap();
        assert!(
            sentence.contains("a thread of") && sentence.contains(&format!("[{}]", std::process::id())),
            "{sentence}"
        );
        drop(ends.0);
        waits.join().unwrap();
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
