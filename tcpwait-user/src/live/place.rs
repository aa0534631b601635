//! Whether this process may trace here, and what it will not see. Knows nothing of how.

use std::fs;

use anyhow::{Context, Result, bail};

/// A capability (`include/uapi/linux/capability.h`), as measured by taking away one after the other on 6.18.
struct Capability {
    bit: u32,
    name: &'static str,
    without: Without,
}

/// What goes without a capability.
enum Without {
    /// Nothing.
    Nothing,
    /// Nothing, where the kernel hides addresses from those that do not have it (`kallsyms_show_value`: unless kptr_restrict is 0 and perf_event_paranoid
    /// below 2); reading them says so.
    Maybe,
    /// Everything but this.
    But(&'static str),
}

const CAPABILITIES: [Capability; 7] = [
    Capability { bit: 39, name: "CAP_BPF", without: Without::Nothing },
    Capability { bit: 38, name: "CAP_PERFMON", without: Without::Nothing },
    Capability { bit: 34, name: "CAP_SYSLOG", without: Without::Maybe },
    Capability {
        bit: 21,
        name: "CAP_SYS_ADMIN",
        without: Without::But(
            "sockets from before tcpwait started and the kernel's counters are read in this network namespace only",
        ),
    },
    Capability {
        bit: 19,
        name: "CAP_SYS_PTRACE",
        without: Without::But(
            "other users' processes cannot be inspected: the process of sockets from before tcpwait started is unknown, and network namespaces of only \
             such processes are not read",
        ),
    },
    Capability {
        bit: 2,
        name: "CAP_DAC_READ_SEARCH",
        without: Without::But(
            "the files of other users' processes cannot be listed: the process of their sockets from before tcpwait started is unknown",
        ),
    },
    Capability {
        bit: 12,
        name: "CAP_NET_ADMIN",
        without: Without::But("the kernel's count of TIME_WAIT is not compared (no test connection can be made)"),
    },
];

/// Asks for what is needed before the kernel says no in its own words. Gives a sentence for each thing that will not be seen.
///
/// # Errors
/// Nothing can be traced here; the message names what it takes, and who can grant it.
pub(super) fn check() -> Result<Vec<String>> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status (is /proc mounted?)")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    // A kernel without user namespaces has no such file.
    let map = fs::read_to_string("/proc/self/uid_map");
    judge(effective, map.is_ok_and(|map| is_user_namespace(&map)), nix::unistd::geteuid().is_root())
}

/// Whether users are mapped: in the first namespace all are, one to one.
fn is_user_namespace(uid_map: &str) -> bool {
    !uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

fn judge(effective: u64, in_user_namespace: bool, is_root: bool) -> Result<Vec<String>> {
    if in_user_namespace {
        bail!(
            "this is a user namespace (a rootless container?), where the kernel does not load eBPF programs: run \
             tcpwait on the host; `tcpwait states` and `tcpwait doctor` work here"
        );
    }
    let lacks = |capability: &&Capability| effective & (1 << capability.bit) == 0;
    let absent: Vec<&Capability> = CAPABILITIES.iter().filter(lacks).collect();
    let named: Vec<&str> = absent.iter().map(|capability| capability.name).collect();
    if absent.iter().any(|capability| matches!(capability.without, Without::Nothing)) {
        let named = named.join(", ");
        match is_root {
            true => {
                bail!(
                    "missing {named} (running in a container?): tracing needs it; run tcpwait on the host, or grant it"
                )
            }
            false => bail!("tracing the kernel needs root: run it with sudo (or grant {named})"),
        }
    }
    let sentence = |capability: &&Capability| match capability.without {
        Without::But(what) => Some(format!("without {}, {what}", capability.name)),
        Without::Nothing | Without::Maybe => None,
    };
    Ok(absent.iter().filter_map(sentence).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALL: u64 = u64::MAX;

    fn without(names: &[&str]) -> u64 {
        let bits = CAPABILITIES
            .iter()
            .filter(|capability| names.contains(&capability.name))
            .map(|capability| 1 << capability.bit);
        bits.fold(ALL, |all, bit: u64| all & !bit)
    }

    #[test]
    fn each_that_is_missing_is_named() {
        assert!(judge(ALL, false, false).unwrap().is_empty());
        let refused =
            judge(without(&["CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_PTRACE"]), false, false).unwrap_err().to_string();
        assert!(refused.contains("CAP_PERFMON, CAP_SYSLOG, CAP_SYS_PTRACE") && refused.contains("sudo"), "{refused}");
        let refused = judge(without(&["CAP_BPF"]), false, true).unwrap_err().to_string();
        assert!(refused.starts_with("missing CAP_BPF (running in a container?)"), "{refused}");
        assert!(
            judge(without(&["CAP_SYSLOG"]), false, false).unwrap().is_empty(),
            "the kernel may show its addresses all the same"
        );
        let goes_on = judge(without(&["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]), false, true).unwrap();
        assert!(
            goes_on.len() == 2 && goes_on.iter().any(|sentence| sentence.starts_with("without CAP_SYS_ADMIN, ")),
            "{goes_on:?}"
        );
    }

    #[test]
    fn a_user_namespace_is_said_to_be_one() {
        assert!(!is_user_namespace("         0          0 4294967295\n"));
        assert!(is_user_namespace("         0       1000          1\n") && is_user_namespace(""));
        assert!(judge(ALL, true, true).unwrap_err().to_string().contains("user namespace"));
    }
}
