//! Finds the processes that hold given sockets, by one walk over `/proc/*/fd`, as `ss -p` does.
//!
//! Sees descriptors of processes (thread-group leaders' tables) only: a socket on its way through a Unix socket, or held
//! by a thread with a table of its own, by io_uring or by the kernel, has no owner here. Knows nothing of connections.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use tcpwait_wire::wire::Task;

use super::cgroup::Cgroups;

/// Which process holds which socket.
///
/// Of several processes that hold the same socket (a server and the workers it forked) it is the one that started first,
/// and of those the one with the lowest pid: usually the one that made the socket, and the same one every time.
#[derive(Debug, Default)]
pub struct Owners {
    by_inode: HashMap<u32, Holder>,
}

/// A process with what decides between several: start time, then pid.
#[derive(Clone, Copy, Debug)]
struct Holder {
    /// Clock ticks after boot (field 22 of `/proc/PID/stat`).
    started: u64,
    task: Task,
}

impl Owners {
    /// Looks for the holders of the sockets with these inode numbers (`socket:[N]`).
    ///
    /// Processes that vanish meanwhile, or that this process may not look into, are passed over.
    pub fn find(inodes: &HashSet<u32>) -> Self {
        let mut owners = Self::default();
        if inodes.is_empty() {
            return owners;
        }
        let cgroups = Cgroups::new();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let held = held(&process.path(), inodes);
            if held.is_empty() {
                continue;
            }
            if let Some(holder) = describe(&process.path(), pid, &cgroups) {
                owners.add(&held, holder);
            }
        }
        owners
    }

    /// The owner of the socket with this inode number. Its `flags` are 0: only kernel threads have one of interest.
    pub fn get(&self, inode: u32) -> Option<&Task> {
        self.by_inode.get(&inode).map(|holder| &holder.task)
    }

    fn add(&mut self, held: &[u32], holder: Holder) {
        for &inode in held {
            let first = self.by_inode.entry(inode).or_insert(holder);
            if (holder.started, holder.task.pid) < (first.started, first.task.pid) {
                *first = holder;
            }
        }
    }
}

/// Those of `wanted` that the process has open.
fn held(process: &Path, wanted: &HashSet<u32>) -> Vec<u32> {
    fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|descriptor| socket_inode(fs::read_link(descriptor.path()).ok()?.as_os_str().as_bytes()))
        .filter(|inode| wanted.contains(inode))
        .collect()
}

/// The number in `socket:[12345]`.
fn socket_inode(link: &[u8]) -> Option<u32> {
    std::str::from_utf8(link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?).ok()?.parse().ok()
}

fn describe(process: &Path, pid: u32, cgroups: &Cgroups) -> Option<Holder> {
    // A process may put any bytes into its comm, so nothing here is read as text.
    let read = |file: &str| fs::read(process.join(file)).ok();
    let uid = read("status").and_then(|status| real_uid(&status));
    Some(Holder {
        started: start_time(&read("stat")?)?,
        task: Task {
            pid,
            uid: uid.or_else(|| Some(fs::metadata(process).ok()?.uid()))?,
            cgroup: read("cgroup").and_then(|text| cgroups.id_of(unified(&text)?)).unwrap_or(0),
            comm: padded(&read("comm")?),
            flags: 0,
            reserved: 0,
        },
    })
}

/// `/proc/PID/comm`: up to 15 bytes and a newline (the kernel escapes nothing).
fn padded(file: &[u8]) -> [u8; 16] {
    let name = file.strip_suffix(b"\n").unwrap_or(file);
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().take(15).zip(name) {
        *to = *from;
    }
    comm
}

/// The first number of the line `Uid:` in `/proc/PID/status`. The name is escaped there, so it cannot fake the line.
fn real_uid(status: &[u8]) -> Option<u32> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// Field 22 of `/proc/PID/stat`. The name, field 2, ends at the last parenthesis.
fn start_time(stat: &[u8]) -> Option<u64> {
    let after = stat.rsplit(|&byte| byte == b')').next().filter(|after| after.len() < stat.len())?;
    std::str::from_utf8(after).ok()?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The path in the line `0::/path` of `/proc/PID/cgroup` (cgroups(7)).
fn unified(text: &[u8]) -> Option<&Path> {
    let path = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    Some(Path::new(std::ffi::OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links() {
        assert_eq!(socket_inode(b"socket:[4294967295]"), Some(u32::MAX));
        for other in [&b"pipe:[5]"[..], b"socket:[]", b"socket:[4294967296]", b"socket:[5", b"/tmp/socket:[5]", b""] {
            assert_eq!(socket_inode(other), None);
        }
    }

    #[test]
    fn names() {
        assert_eq!(&padded(b"nginx\n"), b"nginx\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&padded(b"a\nb\n"), b"a\nb\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&padded(b"0123456789abcdefg"), b"0123456789abcde\0");
        assert_eq!(padded(b""), [0; 16]);
    }

    #[test]
    fn odd_proc_files() {
        let stat = b"7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time(b"7 (a"), None);
        assert_eq!(start_time(b"7 (a) S 1"), None);
        assert_eq!(real_uid(b"Name:\tUid\\n\nUid:\t33\t0\t0\t0\n"), Some(33));
        assert_eq!(real_uid(b"Uid:"), None);
        assert_eq!(unified(b"1:cpu:/x\n0::/a b\n"), Some(Path::new("/a b")));
        assert_eq!(unified(b"1:cpu:/x\n"), None);
    }

    #[test]
    fn the_process_that_started_first_owns_a_shared_socket() {
        let holder = |started, pid| Holder {
            started,
            task: Task { pid, uid: 0, cgroup: 0, comm: [0; 16], flags: 0, reserved: 0 },
        };
        for order in [[(9, 2), (5, 30), (5, 40)], [(5, 40), (9, 2), (5, 30)], [(5, 30), (5, 40), (9, 2)]] {
            let mut owners = Owners::default();
            for (started, pid) in order {
                owners.add(&[1], holder(started, pid));
            }
            assert_eq!(owners.get(1).unwrap().pid, 30);
        }
    }

    #[test]
    fn finds_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let link = fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
        let inode = socket_inode(link.as_os_str().as_bytes()).unwrap();
        let owners = Owners::find(&HashSet::from([inode]));
        let task = owners.get(inode).unwrap();
        assert_eq!(task.pid, std::process::id());
        assert_eq!(task.uid, nix::unistd::getuid().as_raw());
        assert_eq!(task.comm, padded(&fs::read("/proc/self/comm").unwrap()));
        assert!(owners.get(0).is_none());
    }
}
