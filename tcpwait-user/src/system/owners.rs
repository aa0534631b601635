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

use super::cgroup::{Cgroups, unified};
use crate::tcp::NetnsId;

/// Which process holds which socket.
///
/// Several may hold the same: a server and the workers it forked, a service manager that keeps what it hands on. Of a listener it is the one that
/// acts: one that holds connections that were accepted there. Where that does not tell, it is the one that started first, and of those
/// the one with the lowest pid, the same one every time; but not the machine's first process, which keeps listeners for others.
#[derive(Debug, Default)]
pub struct Owners {
    /// In the order of their start.
    by_inode: HashMap<u32, Vec<Holder>>,
}

/// One process of those that hold a socket.
#[derive(Clone, Copy, Debug)]
pub struct Acting<'a> {
    /// The process.
    pub task: &'a Task,
    /// How many others may be meant as well.
    pub others: usize,
    /// Whether all of them have its name.
    pub same_name: bool,
}

/// Connections that came through listeners, by network namespace and port: a few of each tell who accepts.
#[derive(Debug, Default)]
pub struct Accepted(HashMap<(NetnsId, u16), Vec<u32>>);

impl Accepted {
    /// So many of a port are enough: each of them has at least one holder.
    pub const FEW: usize = 64;

    /// Takes a listing: network namespace, local port, inode, and whether it listens.
    pub fn of(sockets: impl Iterator<Item = (NetnsId, u16, u32, bool)> + Clone) -> Self {
        let listens = sockets.clone().filter(|(.., listens)| *listens);
        let mut accepted = Self(listens.map(|(netns, port, ..)| ((netns, port), Vec::new())).collect());
        for (netns, port, inode, _) in sockets.filter(|(.., inode, listens)| *inode != 0 && !listens) {
            if let Some(few) = accepted.0.get_mut(&(netns, port)).filter(|few| few.len() < Self::FEW) {
                few.push(inode);
            }
        }
        accepted
    }

    /// Of this port; none where nobody listens on it.
    pub fn at(&self, netns: NetnsId, port: u16) -> &[u32] {
        self.0.get(&(netns, port)).map_or(&[], Vec::as_slice)
    }
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
            if held(&process.path(), inodes).is_empty() {
                continue;
            }
            if let Some(holder) = describe(&process.path(), pid, &cgroups) {
                // A process that was forked a moment ago has its parent's files, until it becomes another program: those are closed before it gets
                // that program's name (`begin_new_exec`). What it still has after its name was read is its own.
                owners.add(&held(&process.path(), inodes), holder);
            }
        }
        owners
    }

    /// The owner of the connection with this inode number. Its `flags` are 0: only kernel threads have one of interest.
    pub fn get(&self, inode: u32) -> Option<&Task> {
        self.acting(inode, &[]).map(|acting| acting.task)
    }

    /// The owner of a listener; `accepted`: connections that came through it. `None` also where several may be meant that have not even
    /// one name.
    pub fn of_listener(&self, inode: u32, accepted: &[u32]) -> Option<&Task> {
        self.acting(inode, accepted).filter(|acting| acting.same_name).map(|acting| acting.task)
    }

    /// The process that acts for a socket. `accepted`: of a listener, connections that came through it.
    pub fn acting(&self, inode: u32, accepted: &[u32]) -> Option<Acting<'_>> {
        const FIRST_PROCESS: u32 = 1;
        let holders = self.by_inode.get(&inode)?;
        let holds = |pid: u32| {
            let mut theirs = accepted.iter().filter_map(|inode| self.by_inode.get(inode)).flatten();
            theirs.any(|holder| holder.task.pid == pid)
        };
        let accepting = || holders.iter().filter(|holder| holds(holder.task.pid));
        let serving = || holders.iter().filter(|holder| holder.task.pid != FIRST_PROCESS);
        let mut meant: Vec<&Holder> = accepting().collect();
        if meant.is_empty() {
            meant = serving().collect();
        }
        let first = meant.first().copied().or(holders.first())?;
        Some(Acting {
            task: &first.task,
            others: meant.len().saturating_sub(1),
            same_name: meant.iter().all(|holder| holder.task.comm == first.task.comm),
        })
    }

    /// This process, if it is one of those that hold a socket.
    pub fn holder(&self, inode: u32, pid: u32) -> Option<&Task> {
        self.by_inode.get(&inode)?.iter().map(|holder| &holder.task).find(|task| task.pid == pid)
    }

    fn add(&mut self, held: &[u32], holder: Holder) {
        for &inode in held {
            let holders = self.by_inode.entry(inode).or_default();
            let order = |holder: &Holder| (holder.started, holder.task.pid);
            let at = holders.partition_point(|other| order(other) < order(&holder));
            // A process may hold it by several descriptors.
            if holders.get(at).is_none_or(|other| order(other) != order(&holder)) {
                holders.insert(at, holder);
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
    fn the_one_that_accepts_acts_for_a_listener() {
        let holder = |pid, name: &[u8]| Holder {
            started: u64::from(pid),
            task: Task { pid, uid: 0, cgroup: 0, comm: padded(name), flags: 0, reserved: 0 },
        };
        let (listener, connection, clients) = (10, 20, 30);
        let mut owners = Owners::default();
        owners.add(&[listener], holder(1, b"systemd"));
        let acting = |owners: &Owners, accepted: &[u32]| {
            owners.acting(listener, accepted).map(|acting| (acting.task.pid, acting.others, acting.same_name))
        };
        assert_eq!(acting(&owners, &[]), Some((1, 0, true)), "alone, it is the one");
        owners.add(&[listener, clients], holder(5, b"manager"));
        owners.add(&[listener, connection, connection], holder(7, b"server"));
        owners.add(&[listener], holder(8, b"server"));
        assert_eq!(acting(&owners, &[connection]), Some((7, 0, true)));
        assert_eq!(acting(&owners, &[]), Some((5, 2, false)), "nobody knows");
        assert!(owners.of_listener(listener, &[]).is_none());
        assert_eq!(owners.of_listener(listener, &[99, connection]).unwrap().pid, 7);
        owners.add(&[connection], holder(8, b"server"));
        assert_eq!(acting(&owners, &[connection]), Some((7, 1, true)));
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
