//! Reads settings: those that the kernel has now (`/proc/sys`, of the calling thread's network namespace) and those that
//! files set at boot (sysctl.d(5)). What they mean is decided elsewhere; none is ever written.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use crate::doctor::facts::{Configured, SysctlSettings};

/// The folders of sysctl.d(5), a file in an earlier one hiding those of the same name in later ones.
const FOLDERS: [&str; 4] = ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d"];

/// The file of sysctl(8) before there were folders, read last.
const FILE: &str = "etc/sysctl.conf";

/// The settings of the calling thread's network namespace. One that this kernel or this namespace does not have is absent.
pub fn settings(names: impl Iterator<Item = &'static str>) -> SysctlSettings {
    // `/proc/sys/net` shows the namespace of whoever looks (`net_ctl_root.lookup`, net/sysctl_net.c).
    let read = |name: &'static str| {
        let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
        Some((name.to_owned(), text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")))
    };
    SysctlSettings(names.filter_map(read).collect())
}

/// The lines of the files of sysctl.d(5) below `root` that set one of these, in the order in which they are applied.
pub fn configured(root: &Path, names: &HashSet<&str>) -> Vec<Configured> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.ends_with(".conf") {
                files.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    let mut read = HashSet::new();
    let mut found = Vec::new();
    for file in files.into_values().chain([root.join(FILE)]) {
        // Distributions link one to another.
        let Ok(target) = fs::canonicalize(&file) else { continue };
        if read.insert(target)
            && let Ok(text) = fs::read(&file)
        {
            found.extend(
                lines(&file, &String::from_utf8_lossy(&text)).filter(|line| names.contains(line.name.as_str())),
            );
        }
    }
    found
}

fn lines<'a>(file: &'a Path, text: &'a str) -> impl Iterator<Item = Configured> + 'a {
    text.lines().enumerate().filter_map(move |(at, line)| {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (name, value) = line.split_once('=')?;
        // A minus: no error if it cannot be set.
        let name = name.trim().trim_start_matches('-').trim().replace('/', ".");
        Some(Configured { file: file.display().to_string(), line: at + 1, name, value: value.trim().to_owned() })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn settings_of_this_kernel() {
        let read = settings(["net.ipv4.ip_local_port_range", "net.ipv4.no_such_thing"].into_iter());
        assert_eq!(read.get("net.ipv4.ip_local_port_range").unwrap().split(' ').count(), 2);
        assert_eq!(read.get("net.ipv4.no_such_thing"), None);
    }

    #[test]
    fn files_are_read_as_sysctl_d_says() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("usr/lib/sysctl.d/50-hidden.conf", "net.ipv4.tcp_tw_recycle = 9\n");
        write("etc/sysctl.d/50-hidden.conf", "# net.ipv4.tcp_tw_recycle = 8\n; net.ipv4.tcp_tw_recycle = 7\n");
        write("usr/lib/sysctl.d/90-last.conf", "-net/ipv4/tcp_tw_recycle=1\nnet.ipv4.tcp_sack = 0\nnonsense\n");
        write("run/sysctl.d/10-first.conf", "\n\n net.ipv4.tcp_tw_recycle =  2 \n");
        write("run/sysctl.d/not-read", "net.ipv4.tcp_tw_recycle = 6\n");
        write("etc/sysctl.conf", "net.ipv4.tcp_tw_recycle=3");
        std::os::unix::fs::symlink("../sysctl.conf", root.path().join("etc/sysctl.d/99-sysctl.conf")).unwrap();
        let found = configured(root.path(), &HashSet::from(["net.ipv4.tcp_tw_recycle"]));
        let found: Vec<_> =
            found.iter().map(|line| (line.file.rsplit('/').next().unwrap(), line.line, line.value.as_str())).collect();
        assert_eq!(found, [("10-first.conf", 3, "2"), ("90-last.conf", 1, "1"), ("99-sysctl.conf", 1, "3")]);
        assert!(configured(Path::new("/no/such/root"), &HashSet::new()).is_empty());
    }
}
