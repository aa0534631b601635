//! What the running system tells without eBPF: its network namespaces, its sockets (sock_diag), their owners (`/proc`)
//! and the names of its cgroups; `seed`, which turns all of it into records once at the start; what it
//! does when it is tried; and `facts`, its settings and counters for `tcpwait doctor`.
//!
//! Nothing here knows what a connection is, what the eBPF programs do or how anything is displayed.

pub mod behaviour;
pub mod cgroup;
pub mod clock;
pub mod command;
pub mod counters;
pub mod facts;
pub mod listeners;
pub mod listing;
pub mod netns;
pub mod own_process;
pub mod owners;
pub mod pods;
pub mod port_range;
pub mod processes;
pub mod seed;
pub mod snmp;
pub mod sock_diag;
pub mod sysctl;

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// One line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)), as far as this module needs it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// What of the file system is mounted: a directory of it, or for namespace files `net:[4026532281]`.
    pub root: PathBuf,
    /// Where it is mounted, as seen from this process's root.
    pub point: PathBuf,
    /// The file system type, such as `cgroup2`.
    pub fstype: String,
}

/// The mounts of this process's mount namespace; none when `/proc` cannot be read.
pub(crate) fn mounts() -> Vec<Mount> {
    mounts_of(Path::new("/proc/self"))
}

/// The mounts of the mount namespace of a process, by its directory in `/proc`, as seen from its root.
pub(crate) fn mounts_of(process: &Path) -> Vec<Mount> {
    parse_mountinfo(&std::fs::read(process.join("mountinfo")).unwrap_or_default())
}

/// Bytes, not text: a mount point may be named in any encoding. Lines that make no sense are left out.
fn parse_mountinfo(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    // Mount options, then any number of optional fields, end with a single "-".
    fields.find(|field| *field == b"-")?;
    let fstype = fields.next()?;
    Some(Mount { root: path(root), point: path(point), fstype: String::from_utf8_lossy(fstype).into_owned() })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits (`mangle_path` in fs/seq_file.c).
fn path(mangled: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(mangled.len());
    let mut rest = mangled;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                (((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), after)
            }
            _ => (first, after),
        };
        plain.push(byte);
        rest = after;
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_with_and_without_optional_fields() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
            99 98 0:4 net:[4026532281] /run/netns/a\\040b rw shared:12 - nsfs nsfs rw\n";
        let mount = |root: &str, point: &str, fstype: &str| Mount {
            root: root.into(),
            point: point.into(),
            fstype: fstype.into(),
        };
        assert_eq!(
            parse_mountinfo(text),
            [
                mount("/mnt1", "/mnt2", "ext3"),
                mount("/", "/sys/fs/cgroup/unified", "cgroup2"),
                mount("net:[4026532281]", "/run/netns/a b", "nsfs"),
            ]
        );
    }

    #[test]
    fn mountinfo_lines_that_make_no_sense_are_left_out() {
        let whole = b"36 35 98:0 / /mnt rw master:1 - ext3 /dev/root rw";
        for end in 0..whole.len() {
            assert!(parse_mountinfo(whole.get(..end).unwrap_or_default()).len() <= 1);
        }
        assert_eq!(parse_mountinfo(b"\n\n-\n - - - - -\n36 35 98:0 / /mnt rw master:1 ext3"), []);
    }

    #[test]
    fn octal_escapes() {
        assert_eq!(path(b"/a\\011b\\134c\\012"), PathBuf::from("/a\tb\\c\n"));
        assert_eq!(path(b"/odd\\04"), PathBuf::from("/odd\\04"));
        assert_eq!(path(b"/odd\\999\\"), PathBuf::from("/odd\\999\\"));
    }
}
