//! Whether this process may trace here. Knows nothing of how.

use anyhow::{Context, Result, bail};

/// `CAP_NET_ADMIN`, `CAP_SYS_ADMIN`, `CAP_PERFMON`, `CAP_BPF` of `include/uapi/linux/capability.h`.
const CAPABILITIES: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// Asks for what is needed before the kernel says no in its own words.
pub(super) fn check() -> Result<()> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status (is /proc mounted?)")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    let absent: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| *name).collect();
    if absent.is_empty() {
        return Ok(());
    }
    if nix::unistd::geteuid().is_root() {
        bail!(
            "root lacks {} here (a container?): tracing needs it; run tcpwait on the host, or grant it",
            absent.join(", ")
        );
    }
    bail!("tracing the kernel needs root: run it with sudo (or grant {})", absent.join(", "));
}
