//! What a process gives up for good before it talks to anybody: its user, its capabilities, its files.

use anyhow::{Context, Result};
use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use nix::{
    sys::prctl,
    unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid},
};

use crate::capabilities;

/// The user that has nothing (`overflowuid`, `nobody` in every distribution).
const NOBODY: u32 = 65_534;

/// From here on this process may use the descriptors that it has, and nothing else: it is nobody, without a capability, cannot get one by executing
/// anything, and opens neither a file nor, where the kernel has Landlock for that (6.7), a connection.
///
/// # Errors
/// The kernel refuses a step; the message says which. Nothing should be served then.
pub fn give_up_everything() -> Result<()> {
    prctl::set_no_new_privs().context("giving up new privileges (PR_SET_NO_NEW_PRIVS)")?;
    if geteuid().is_root() {
        setgroups(&[]).context("leaving all groups")?;
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        setresgid(group, group, group).context("becoming the group nogroup")?;
        setresuid(user, user, user).context("becoming the user nobody")?;
    }
    // A user who is not root may have them from the file.
    capabilities::give_up_all()?;
    forget_files()
}

/// What the kernel is too old for is left out.
fn forget_files() -> Result<()> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V6)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create);
    rules.and_then(|rules| rules.restrict_self()).map(|_| ()).context("confining by Landlock")
}
