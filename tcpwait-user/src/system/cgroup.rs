//! Names of cgroups: between a cgroup's id, as the kernel side sees it, and its path in the cgroup-v2 hierarchy.
//!
//! A cgroup's id is the inode number of its directory (cgroup_id() since 5.5, on 64-bit machines). Knows nothing of
//! version 1 hierarchies, controllers, or what a path means to systemd or a container runtime.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirEntryExt, MetadataExt},
    },
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

/// Between two walks over the hierarchy: one walk takes some 10 ms per 1,000 cgroups.
const PAUSE: Duration = Duration::from_secs(1);
/// Ids remembered, of either kind: cgroups come and go for as long as the program runs.
const MANY: usize = 65_536;

/// The cgroup-v2 hierarchy, with the paths seen so far. Paths of cgroups that are gone stay known.
#[derive(Debug)]
pub struct Cgroups {
    mount: Option<Mounted>,
    paths: HashMap<u64, String>,
    /// Ids that a walk did not find. An id is never given out twice, so they will not appear later.
    vain: HashSet<u64>,
    walked: Option<Instant>,
}

/// Where the hierarchy is mounted.
#[derive(Debug)]
struct Mounted {
    point: PathBuf,
    /// What of the hierarchy is mounted: `/` unless a container runtime mounted a part of it. In a cgroup namespace all paths begin at that of the
    /// namespace, so that the whole hierarchy is `/../..` (`cgroup_show_path`).
    root: PathBuf,
    /// Where that namespace begins, from the mount on; `None` where the mount does not reach beyond it.
    namespace: Option<PathBuf>,
}

impl Mounted {
    fn new(point: PathBuf, root: PathBuf) -> Self {
        let above = root.components().filter(|part| *part == Component::ParentDir).count();
        let namespace = (above > 0).then(|| namespace(&point, above)).flatten();
        Self { point, root, namespace }
    }

    /// From the mount on, a path that begins where the cgroup namespace does. `None` for what is outside of the mount.
    fn below(&self, path: &Path) -> Option<PathBuf> {
        let Some(namespace) = &self.namespace else {
            let below = path.strip_prefix(&self.root).ok()?;
            // From inside a cgroup namespace others look like /../other, which would lead out of the mount.
            return (!below.components().any(|part| part == Component::ParentDir)).then(|| below.to_owned());
        };
        let mut below = namespace.clone();
        for part in path.strip_prefix("/").ok()?.components() {
            match part {
                Component::ParentDir if below.pop() => {}
                Component::Normal(name) => below.push(name),
                _ => return None,
            }
        }
        Some(below)
    }
}

/// Where this process's cgroup namespace begins in a hierarchy that is mounted so many levels above: no file says so, but the process is in the list of
/// its own cgroup.
fn namespace(point: &Path, levels: usize) -> Option<PathBuf> {
    let text = fs::read("/proc/self/cgroup").ok()?;
    let own = unified(&text)?.strip_prefix("/").ok()?;
    let pid = std::process::id().to_string();
    let mut there = vec![PathBuf::new()];
    for _ in 0..levels {
        there = there.iter().flat_map(|directory| below(point, directory)).map(|(_, path)| path).take(MANY).collect();
    }
    there.into_iter().find(|directory| {
        let processes = fs::read_to_string(point.join(directory).join(own).join("cgroup.procs"));
        processes.is_ok_and(|processes| processes.lines().any(|line| line == pid))
    })
}

/// Cgroups in this one: ids, and paths from the mount on.
fn below(point: &Path, directory: &Path) -> impl Iterator<Item = (u64, PathBuf)> {
    let entries = fs::read_dir(point.join(directory)).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(move |entry| (entry.ino(), directory.join(entry.file_name())))
}

impl Cgroups {
    /// Looks for the cgroup-v2 mount (`/sys/fs/cgroup`, `/sys/fs/cgroup/unified` or wherever it is). Without one,
    /// every lookup finds nothing.
    pub fn new() -> Self {
        let mut mounts: Vec<_> = super::mounts().into_iter().filter(|mount| mount.fstype == "cgroup2").collect();
        // Of several the most complete one.
        mounts.sort_by_key(|mount| {
            let above = mount.root.components().filter(|part| *part == Component::ParentDir).count();
            (Reverse(above), mount.root.components().count())
        });
        let mount = mounts.into_iter().next().map(|mount| Mounted::new(mount.point, mount.root));
        Self { mount, paths: HashMap::new(), vain: HashSet::new(), walked: None }
    }

    /// The path below the mount, `/` for the mounted root itself, of the cgroup with this id.
    ///
    /// An unknown id makes it walk the hierarchy, at most once a second: `None` may turn into a path a second later
    /// if the cgroup was made since the last walk.
    pub fn path(&mut self, id: u64) -> Option<String> {
        self.path_at(id, Instant::now())
    }

    /// The same, of a cgroup that this process was in just now: asks the process first, which finds one that is younger than the last walk.
    pub fn path_of(&mut self, id: u64, pid: u32) -> Option<String> {
        if !self.paths.contains_key(&id)
            && let Some(path) = self.of_process(pid).filter(|path| self.id_of_relative(path) == Some(id))
        {
            if self.paths.len() >= MANY {
                self.paths.clear();
            }
            self.paths.insert(id, Path::new("/").join(path).display().to_string());
        }
        self.path(id)
    }

    /// The path of a process's cgroup from the mount on.
    fn of_process(&self, pid: u32) -> Option<PathBuf> {
        let text = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
        self.mount.as_ref()?.below(unified(&text)?)
    }

    /// The id of the cgroup at this path, as the line `0::` of `/proc/PID/cgroup` gives it.
    ///
    /// `None` for a path outside of the mount, and for a cgroup that was removed (`/a (deleted)`).
    pub fn id_of(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.id_of_relative(&self.mount.as_ref()?.below(path.as_ref())?)
    }

    fn id_of_relative(&self, below: &Path) -> Option<u64> {
        let mount = self.mount.as_ref()?;
        fs::metadata(mount.point.join(below)).ok().map(|directory| directory.ino())
    }

    fn path_at(&mut self, id: u64, now: Instant) -> Option<String> {
        let due = self.walked.is_none_or(|walked| now.saturating_duration_since(walked) >= PAUSE);
        if !self.paths.contains_key(&id) && due && !self.vain.contains(&id) {
            self.walk();
            self.walked = Some(now);
            if !self.paths.contains_key(&id) {
                if self.vain.len() >= MANY {
                    self.vain.clear();
                }
                self.vain.insert(id);
            }
        }
        self.paths.get(&id).cloned()
    }

    fn walk(&mut self) {
        let Some(mount) = &self.mount else { return };
        if self.paths.len() >= MANY {
            self.paths.clear();
        }
        let Ok(root) = fs::metadata(&mount.point) else { return };
        self.paths.insert(root.ino(), "/".to_owned());
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            for (id, path) in below(&mount.point, &directory) {
                self.paths.insert(id, format!("/{}", path.display()));
                directories.push(path);
            }
        }
    }
}

/// The path in the line `0::/path` of `/proc/PID/cgroup` (cgroups(7)).
pub fn unified(text: &[u8]) -> Option<&Path> {
    let path = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    Some(Path::new(OsStr::from_bytes(path)))
}

impl Default for Cgroups {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// Any file system has directories with inode numbers.
    fn at(point: &Path, root: &str) -> Cgroups {
        let mount = Some(Mounted { point: point.to_owned(), root: root.into(), namespace: None });
        Cgroups { mount, paths: HashMap::new(), vain: HashSet::new(), walked: None }
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tcpwait-cgroup-{name}-{}", std::process::id()));
        fs::create_dir_all(directory.join("a.slice/b.service")).unwrap();
        directory
    }

    #[test]
    fn paths_of_ids() {
        let directory = scratch("paths");
        let mut cgroups = at(&directory, "/");
        for path in ["/", "/a.slice", "/a.slice/b.service"] {
            let id = cgroups.id_of(path).unwrap();
            assert_eq!(cgroups.path(id).as_deref(), Some(path));
        }
        assert_eq!(cgroups.id_of("/a.slice (deleted)"), None);
        assert_eq!(cgroups.id_of("/../a.slice"), None);
        assert_eq!(cgroups.id_of("relative"), None);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_part_of_the_hierarchy_is_mounted() {
        let directory = scratch("part");
        let cgroups = at(&directory, "/pods/x");
        assert_eq!(cgroups.id_of("/pods/x/a.slice"), at(&directory, "/").id_of("/a.slice"));
        assert!(cgroups.id_of("/pods/x").is_some());
        assert_eq!(cgroups.id_of("/pods/y"), None);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_cgroup_namespace_is_told_by_where_it_begins() {
        let mount = |namespace: Option<&str>| Mounted {
            point: "/sys/fs/cgroup".into(),
            root: "/../..".into(),
            namespace: namespace.map(PathBuf::from),
        };
        let below = |path: &str| mount(Some("kubepods/pod1")).below(Path::new(path));
        let some = |path: &str| Some(PathBuf::from(path));
        assert_eq!(below("/"), some("kubepods/pod1"));
        assert_eq!(below("/container"), some("kubepods/pod1/container"));
        assert_eq!(below("/../pod2/a"), some("kubepods/pod2/a"));
        assert_eq!(below("/../../system.slice"), some("system.slice"));
        assert_eq!(below("/../.."), some(""));
        assert_eq!((below("/../../.."), below("relative")), (None, None));
        assert_eq!(mount(None).below(Path::new("/../pod2")), None, "nobody knows where that is");
    }

    #[test]
    fn misses_walk_at_most_once_a_second_and_never_twice_for_the_same_id() {
        let directory = scratch("misses");
        let mut cgroups = at(&directory, "/");
        let start = Instant::now();
        assert_eq!(cgroups.path_at(1, start), None);
        fs::create_dir(directory.join("new")).unwrap();
        let new = cgroups.id_of("/new").unwrap();
        assert_eq!(cgroups.path_at(new, start + PAUSE / 2), None);
        assert_eq!(cgroups.path_at(1, start + PAUSE * 2), None);
        assert_eq!(cgroups.walked, Some(start));
        assert_eq!(cgroups.path_at(new, start + PAUSE * 2).as_deref(), Some("/new"));
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(cgroups.path_at(new, start + PAUSE * 9).as_deref(), Some("/new"));
    }

    /// No walk is due, so that only the process itself can tell.
    #[test]
    fn a_process_tells_of_a_cgroup_that_is_younger_than_the_last_walk() {
        let mut cgroups = Cgroups { walked: Some(Instant::now()), ..Cgroups::new() };
        let text = fs::read("/proc/self/cgroup").unwrap();
        // Not every machine has a cgroup-v2 hierarchy.
        let Some(id) = unified(&text).and_then(|path| cgroups.id_of(path)) else { return };
        assert_eq!(cgroups.path(id), None);
        assert_eq!(cgroups.path_of(id ^ 1, std::process::id()), None, "it is in another");
        let path = cgroups.path_of(id, std::process::id()).unwrap();
        assert!(path.starts_with('/'), "{path}");
        assert_eq!(cgroups.path(id), Some(path));
    }

    #[test]
    fn without_a_mount_nothing_is_found() {
        let mut cgroups = Cgroups { mount: None, paths: HashMap::new(), vain: HashSet::new(), walked: None };
        assert_eq!((cgroups.path(1), cgroups.id_of("/")), (None, None));
    }
}
