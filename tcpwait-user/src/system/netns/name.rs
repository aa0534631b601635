//! What people call a network namespace: its name for ip-netns(8), `host` for the machine's own, else the pod or container that its first process is in, else that process.
//!
//! The kernel gives a namespace no name, and a container manager leaves one in the process's cgroup only.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt, path::Path};

use crate::{
    names::{container, pod::PodPath},
    system::pods::Pods,
};

/// Where ip-netns(8) keeps its namespaces.
const NAMED: &str = "/run/netns";

/// What a record has room for.
const LONGEST: usize = 64;

/// The names that ip-netns(8) knows, by inode number, and those of pods.
pub struct Named {
    by_inode: HashMap<u64, String>,
    pods: Pods,
}

impl Named {
    /// Reads them.
    pub fn read() -> Self {
        let files = fs::read_dir(NAMED).into_iter().flatten().flatten();
        let named = files.filter_map(|file| {
            let inode = fs::metadata(file.path()).ok()?.ino();
            Some((inode, file.file_name().to_string_lossy().into_owned()))
        });
        Self { by_inode: named.collect(), pods: Pods::read() }
    }

    /// What people call the namespace with this inode number, whose first process this is; `None` where nothing tells.
    pub fn of(&self, inode: u32, first_process: Option<u32>) -> Option<String> {
        if let Some(name) = self.by_inode.get(&u64::from(inode)) {
            return Some(name.clone());
        }
        let pid = first_process?;
        if is_initial(inode) {
            return Some("host".to_owned());
        }
        let folder = Path::new("/proc").join(pid.to_string());
        let cgroups = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        let pod = container::paths(&cgroups).find_map(PodPath::of).and_then(|path| self.pods.known(&path));
        // A name that was cut might be another's.
        let pod = pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)).filter(|name| name.len() <= LONGEST);
        pod.or_else(|| container::of(&cgroups)).or_else(|| {
            let comm = fs::read(folder.join("comm")).ok()?;
            Some(format!("{}/{pid}", String::from_utf8_lossy(&comm).trim_end()))
        })
    }
}

/// Whether it is the namespace that the machine began with: the kernel's own threads never leave it (`kthreadd`, which is process 2 there).
fn is_initial(inode: u32) -> bool {
    let kthreadd = Path::new("/proc/2");
    fs::read(kthreadd.join("comm")).is_ok_and(|comm| comm == b"kthreadd\n")
        && fs::metadata(kthreadd.join("ns/net")).is_ok_and(|metadata| metadata.ino() == u64::from(inode))
}
