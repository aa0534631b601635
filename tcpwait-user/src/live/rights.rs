//! What this process may still do once everything is attached. Rights are a thread's own: those of the thread that drains are what every thread gets that
//! it starts later.

use anyhow::{Context, Result, ensure};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

use super::Live;
use crate::system::clock::monotonic_ns;

/// What looking at sockets that are older than the trace takes, and at namespaces that come ([needs.md](../../../docs/needs.md) says what for).
///
/// Landlock is not among what it is confined by: it takes the right to look into other processes as well, which is how sockets find their owners
/// (`hook_ptrace_access_check`, security/landlock/task.c, since 5.13).
const NEEDED: [Capability; 3] =
    [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];

impl Live {
    /// Gives up for good, on this thread, every capability that tracing takes no more, and new ones by executing. Nothing can be attached afterwards.
    ///
    /// Counts are read from the kernel side's maps by bpf(2), which takes CAP_BPF on kernels before 6.0 where `kernel.unprivileged_bpf_disabled` is set
    /// (`__sys_bpf`, c8644cd0efe7): whether this one wants it is tried, not assumed.
    ///
    /// # Errors
    /// The kernel refuses to take one back; the message says which.
    pub fn give_up_rights(&self) -> Result<()> {
        prctl::set_no_new_privs().context("giving up new privileges (PR_SET_NO_NEW_PRIVS)")?;
        let had = caps::read(None, CapSet::Permitted).context("reading the capabilities of tcpwait")?;
        let mut kept: CapsHashSet = NEEDED.into_iter().filter(|needed| had.contains(needed)).collect();
        let gone =
            |kept: &CapsHashSet| caps::set(None, CapSet::Effective, kept).context("giving up capabilities (effective)");
        drop_bounding(&kept)?;
        gone(&kept)?;
        if self.probes.counters(monotonic_ns()).is_err() && had.contains(&Capability::CAP_BPF) {
            kept.insert(Capability::CAP_BPF);
            gone(&kept)?;
        }
        for (set, name) in [(CapSet::Ambient, "ambient"), (CapSet::Inheritable, "inheritable")] {
            caps::clear(None, set).with_context(|| format!("giving up capabilities ({name})"))?;
        }
        caps::set(None, CapSet::Permitted, &kept).context("giving up capabilities (permitted)")?;
        let left = caps::read(None, CapSet::Permitted).context("reading capabilities back")?;
        ensure!(left == kept, "capabilities are left although they were given up: {left:?}");
        Ok(())
    }
}

/// The bounding set bounds what execve() can give, which is nothing by now: so where CAP_SETPCAP is missing, which dropping from it takes, it stays.
fn drop_bounding(kept: &CapsHashSet) -> Result<()> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).context("reading capabilities")? {
        return Ok(());
    }
    let bounding = caps::read(None, CapSet::Bounding).context("reading the bounding set")?;
    for capability in bounding.difference(kept) {
        caps::drop(None, CapSet::Bounding, *capability)
            .with_context(|| format!("giving up {capability} (bounding set)"))?;
    }
    Ok(())
}
