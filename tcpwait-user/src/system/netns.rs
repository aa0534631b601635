//! Finds the machine's network namespaces and runs code inside them.
//!
//! People know a namespace by its inode number, as in `readlink /proc/PID/ns/net`; since a new one gets the number of a dead one at
//! once, it is told apart by its cookie (SO_NETNS_COOKIE, 5.14). Found are those that a process or a thread is in, and those that a mount
//! (of any mount namespace) or an open file keeps; one that only a socket keeps is not.
//! What is done inside a namespace is not this module's business.

pub mod name;
pub mod remembered;

use std::{
    collections::{BTreeMap, HashSet, btree_map::Entry},
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use crate::select::Pick;
use nix::{
    errno::Errno,
    net::if_::if_nameindex,
    sched::{CloneFlags, setns},
    sys::statfs::{NSFS_MAGIC, fstatfs},
};

pub use crate::kernel::netns::{Identity, cookie, here};

/// The namespace this process is in.
pub const OWN: &str = "/proc/self/ns/net";

/// Where `ip netns` keeps its namespaces, and Docker its own.
const NAMED: [&str; 2] = ["/run/netns", "/var/run/docker/netns"];

/// No process id is above this on Linux (`PID_MAX_LIMIT`, include/linux/threads.h), and every namespace's inode number is
/// (`PROC_DYNAMIC_FIRST` is 0xf000_0000, fs/proc/generic.c; the initial namespaces' are just below it).
const PID_MAX: u32 = 4 * 1024 * 1024;

/// Namespaces kept open at once: a process may by default have 1,024 files open (`ulimit -n`), and others need some.
const HELD: usize = 256;

/// A network namespace that can be entered.
#[derive(Debug)]
pub struct Netns {
    /// Its inode number on the `nsfs` device.
    pub inode: u32,
    /// The first process that is in it, if any is.
    pub first_process: Option<u32>,
    /// Where it was found.
    source: PathBuf,
    /// Keeps it alive and reachable. `None` beyond [`HELD`]: then `source` is opened again.
    handle: Option<File>,
}

/// The network interfaces of the calling thread's namespace: number and name.
pub fn interfaces() -> Vec<(u32, String)> {
    let Ok(found) = if_nameindex() else { return Vec::new() };
    found.iter().map(|interface| (interface.index(), interface.name().to_string_lossy().into_owned())).collect()
}

/// Why a namespace given by the user cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A small number that is no live process.
    #[error(
        "no process {0} is running (/proc/{0} does not exist), and {0} is too small for a namespace's inode number; \
         give a live pid, the number in `readlink /proc/PID/ns/net`, a name from `ip netns` or a path"
    )]
    NoProcess(u32),
    /// Something like `net:[x]`, or a number beyond 32 bits.
    #[error("{0:?} is not a namespace's inode number; one looks like 4026531840 or net:[4026531840]")]
    NotAnInode(String),
    /// The file cannot be opened.
    #[error(
        "cannot open {path} for the network namespace {spec:?}: {error}; \
         give a live pid, an inode number, a name from `ip netns` or a path, and run as root to see others' processes"
    )]
    Unreachable {
        /// What the user gave.
        spec: String,
        /// What was tried.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is something else.
    #[error("{0} is not a network namespace; give a file such as /run/netns/NAME or /proc/PID/ns/net")]
    NotANamespace(PathBuf),
}

/// Every network namespace that can be reached, each once, sorted by inode number.
///
/// Sources: `/proc/self/ns/net`, `/run/netns`, `/var/run/docker/netns`, the `nsfs` mounts of this and all other mount namespaces that
/// a process is in, and every process's namespace, those of its threads, and its open files. Keeps a file open for each of the first 256, so that they cannot vanish; a later one can,
/// and [`inside`] says so. What cannot be read is left out.
pub fn all() -> Vec<Netns> {
    survey().namespaces
}

/// What there is to be found.
#[derive(Debug)]
pub struct NetnsSurvey {
    /// As [`all`] gives them.
    pub namespaces: Vec<Netns>,
    /// There are processes whose namespace this process may not see.
    pub unseen: bool,
}

/// The same, and whether there may be more.
pub fn survey() -> NetnsSurvey {
    let mut found = BTreeMap::new();
    // Where others' processes are hidden (hidepid of proc(5)), the first of all is.
    let mut unseen = !Path::new("/proc/1").exists();
    keep(&mut found, Path::new(OWN));
    for directory in NAMED {
        for file in entries(Path::new(directory)) {
            keep(&mut found, &file);
        }
    }
    for mount in super::mounts() {
        if namespace_of(&mount).is_some() {
            keep(&mut found, &mount.point);
        }
    }
    // Last, as a name says more than the first process that happens to be inside.
    let is_process =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let processes: Vec<PathBuf> = entries(Path::new("/proc")).filter(is_process).collect();
    for process in &processes {
        let file = process.join("ns/net");
        unseen |= keep(&mut found, &file) == Access::Denied;
        let ns = inode(&file).and_then(|inode| found.get_mut(&u32::try_from(inode).ok()?));
        if let (Some(ns), Some(pid)) = (ns, pid_of(process)) {
            ns.first_process = Some(ns.first_process.map_or(pid, |first| first.min(pid)));
        }
    }
    let mut mount_namespaces: HashSet<u64> = inode(Path::new("/proc/self/ns/mnt")).into_iter().collect();
    for process in &processes {
        threads(&mut found, process);
        if inode(&process.join("ns/mnt")).is_some_and(|inode| mount_namespaces.insert(inode)) {
            mounted_elsewhere(&mut found, process);
        }
        open_files(&mut found, process);
    }
    NetnsSurvey { namespaces: found.into_values().collect(), unseen }
}

/// Those that only another thread than the main one is in.
fn threads(found: &mut BTreeMap<u32, Netns>, process: &Path) {
    let directory = process.join("task");
    // As many links as threads, and two (`proc_task_getattr`): most processes have one thread.
    if fs::metadata(&directory).is_ok_and(|metadata| metadata.nlink() != 3) {
        for thread in entries(&directory) {
            keep(found, &thread.join("ns/net"));
        }
    }
}

/// Those that a mount keeps in the process's mount namespace.
fn mounted_elsewhere(found: &mut BTreeMap<u32, Netns>, process: &Path) {
    let root = process.join("root");
    for mount in super::mounts_of(process) {
        if namespace_of(&mount).is_some_and(|inode| !found.contains_key(&inode)) {
            keep(found, &root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point)));
        }
    }
}

/// Those that the process has open, as `ip netns` and container managers do.
fn open_files(found: &mut BTreeMap<u32, Netns>, process: &Path) {
    for file in entries(&process.join("fd")) {
        let is_new = fs::read_link(&file)
            .ok()
            .and_then(|link| bracketed(link.to_str()?))
            .is_some_and(|inode| !found.contains_key(&inode));
        if is_new {
            keep(found, &file);
        }
    }
}

fn namespace_of(mount: &super::Mount) -> Option<u32> {
    mount.root.to_str().filter(|_| mount.fstype == "nsfs").and_then(bracketed)
}

fn pid_of(process: &Path) -> Option<u32> {
    process.file_name()?.to_str()?.parse().ok()
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// What tells these namespaces from others that had, or will have, their inode numbers. Those that cannot be entered keep the
/// number only.
pub fn identify(inodes: &Pick<u32>) -> Pick<Identity> {
    if inodes.is_empty() {
        return Pick::default();
    }
    let there = all();
    inodes.map(|inode| {
        let ns = there.iter().find(|ns| ns.inode == *inode);
        let entered = ns.and_then(|ns| inside(ns, || here(*inode)).ok());
        entered.unwrap_or(Identity { inode: *inode, cookie: 0 })
    })
}

/// The inode number of the namespace the user means: a live pid's, a path's, an inode number itself
/// (`4026531840` or `net:[4026531840]`, which need not exist), or the name of a file in `/run/netns`.
pub fn resolve(spec: &str) -> Result<u32, ResolveError> {
    match meaning(spec.trim())? {
        Meaning::Inode(inode) => Ok(inode),
        Meaning::Process(pid) if !Path::new(&format!("/proc/{pid}")).exists() => Err(ResolveError::NoProcess(pid)),
        Meaning::Process(pid) => resolve_file(spec, format!("/proc/{pid}/ns/net").into()),
        Meaning::File(path) => resolve_file(spec, path),
    }
}

fn resolve_file(spec: &str, path: PathBuf) -> Result<u32, ResolveError> {
    match open(&path) {
        Ok(Some((inode, _))) => Ok(inode),
        Ok(None) => Err(ResolveError::NotANamespace(path)),
        Err(error) => Err(ResolveError::Unreachable { spec: spec.to_owned(), path, error }),
    }
}

/// Runs `work` inside the namespace, on a thread of its own: the caller's thread stays where it is.
///
/// Needs `CAP_SYS_ADMIN`, except for the namespace the caller is in already. A panic of `work` goes on in the caller.
pub fn inside<T: Send>(ns: &Netns, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let reopened;
    let file = match &ns.handle {
        Some(file) => file,
        None => {
            reopened = File::open(&ns.source)?;
            if reopened.metadata()?.ino() != u64::from(ns.inode) {
                return Err(io::Error::new(io::ErrorKind::NotFound, "it is gone"));
            }
            &reopened
        }
    };
    on_thread(|| {
        match setns(file.as_fd(), CloneFlags::CLONE_NEWNET) {
            Err(Errno::EPERM) if fs::metadata("/proc/thread-self/ns/net")?.ino() == u64::from(ns.inode) => {}
            entered => entered?,
        }
        Ok(work())
    })
}

impl std::fmt::Display for Netns {
    /// `net:[4026532281] (/run/netns/blue)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "net:[{}] ({})", self.inode, self.source.display())
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Whether a file could be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// It could, or there is none.
    Given,
    Denied,
}

/// Adds the namespace at `path` unless it is known: opens a file only then, as there may be 10,000 processes.
fn keep(found: &mut BTreeMap<u32, Netns>, path: &Path) -> Access {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Access::Denied,
        Err(_) => return Access::Given,
    };
    let Ok(inode) = u32::try_from(metadata.ino()) else { return Access::Given };
    if found.contains_key(&inode) {
        return Access::Given;
    }
    // What was opened counts: the process may have moved to another namespace in between.
    let Ok(Some((inode, file))) = open(path) else { return Access::Given };
    let handle = (found.len() < HELD).then_some(file);
    if let Entry::Vacant(place) = found.entry(inode) {
        place.insert(Netns { inode, first_process: None, source: path.to_owned(), handle });
    }
    Access::Given
}

/// Opens the file; `None` when it is not a network namespace.
fn open(path: &Path) -> io::Result<Option<(u32, File)>> {
    // O_NONBLOCK: somebody may have put a FIFO where a namespace was expected.
    let file = {
        use std::os::unix::fs::OpenOptionsExt;
        fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?
    };
    if fstatfs(&file)?.filesystem_type() != NSFS_MAGIC {
        return Ok(None);
    }
    let Ok(inode) = u32::try_from(file.metadata()?.ino()) else { return Ok(None) };
    // Whether it is a *network* namespace only setns() says of a mounted file, before it looks at any privilege:
    // EINVAL if it is of another kind.
    match on_thread(|| Ok(setns(file.as_fd(), CloneFlags::CLONE_NEWNET)))? {
        Err(Errno::EINVAL) => Ok(None),
        _ => Ok(Some((inode, file))),
    }
}

/// Runs `work` on a thread of its own, so that the namespace it goes to ends with it.
pub(super) fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("in-netns".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Inode(u32),
    Process(u32),
    File(PathBuf),
}

/// What a specification means, by its form alone.
fn meaning(spec: &str) -> Result<Meaning, ResolveError> {
    if spec.starts_with("net:[") {
        return bracketed(spec).map(Meaning::Inode).ok_or_else(|| ResolveError::NotAnInode(spec.to_owned()));
    }
    if !spec.is_empty() && spec.bytes().all(|byte| byte.is_ascii_digit()) {
        return match spec.parse::<u32>() {
            Ok(number) if number > PID_MAX => Ok(Meaning::Inode(number)),
            Ok(pid) => Ok(Meaning::Process(pid)),
            Err(_) => Err(ResolveError::NotAnInode(spec.to_owned())),
        };
    }
    if spec.contains('/') {
        return Ok(Meaning::File(spec.into()));
    }
    Ok(Meaning::File(Path::new("/run/netns").join(spec)))
}

/// The number in `net:[4026531840]`.
fn bracketed(text: &str) -> Option<u32> {
    let number = text.strip_prefix("net:[")?.strip_suffix(']')?;
    if number.bytes().all(|byte| byte.is_ascii_digit()) { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    fn own() -> u32 {
        fs::metadata("/proc/self/ns/net").unwrap().ino().try_into().unwrap()
    }

    #[test]
    fn specifications_by_form() {
        let file = |path: &str| Meaning::File(path.into());
        assert_eq!(meaning("4026531840").unwrap(), Meaning::Inode(4026531840));
        assert_eq!(meaning("net:[4026531833]").unwrap(), Meaning::Inode(4026531833));
        assert_eq!(meaning("4194304").unwrap(), Meaning::Process(4194304));
        assert_eq!(meaning("blue").unwrap(), file("/run/netns/blue"));
        assert_eq!(meaning("./blue").unwrap(), file("./blue"));
        assert_eq!(meaning("-1").unwrap(), file("/run/netns/-1"));
        for wrong in
            ["net:[", "net:[]", "net:[x]", "net:[+5]", "net:[4294967296]", "4294967296", "99999999999999999999"]
        {
            assert!(matches!(meaning(wrong), Err(ResolveError::NotAnInode(_))), "{wrong}");
        }
    }

    #[test]
    fn resolves_own_namespace_by_pid_path_and_inode() {
        assert_eq!(resolve(&std::process::id().to_string()).unwrap(), own());
        assert_eq!(resolve("/proc/self/ns/net").unwrap(), own());
        assert_eq!(resolve(&format!(" net:[{}]\n", own())).unwrap(), own());
        assert_eq!(resolve("4026531999").unwrap(), 4026531999);
    }

    #[test]
    fn says_what_was_tried() {
        assert!(matches!(resolve("/proc/self/ns/uts"), Err(ResolveError::NotANamespace(_))));
        assert!(matches!(resolve("/proc/self/status"), Err(ResolveError::NotANamespace(_))));
        assert!(resolve("no-such-name").unwrap_err().to_string().contains("/run/netns/no-such-name"));
        assert!(resolve("4194304").unwrap_err().to_string().contains("no process 4194304"));
        assert!(resolve("").is_err());
    }

    #[test]
    fn finds_and_enters_the_own_namespace() {
        let all = all();
        assert!(all.is_sorted_by(|a, b| a.inode < b.inode));
        let ns = all.iter().find(|ns| ns.inode == own()).unwrap();
        let there = inside(ns, || fs::metadata("/proc/thread-self/ns/net").unwrap().ino()).unwrap();
        assert_eq!(there, u64::from(own()));
        assert_eq!(inside(ns, || here(own())).unwrap(), here(own()));
        assert!(interfaces().iter().any(|(index, name)| *index == 1 && name == "lo"));
    }
}
