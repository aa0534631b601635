//! What can be left out in the kernel: other namespaces, other ports. It lets through whatever might still match;
//! the exact selection, by connection, is made in user space.

use tcpwait_wire::wire::Counter;

use crate::{
    emit::count,
    maps::{FILTER_LPORT, FILTER_NETNS, FILTER_RPORT, RUNNING, WANTED_LPORT, WANTED_NETNS, WANTED_RPORT},
    sock::{Fields, Netns},
};

/// Whether all hooks are attached. A connection of which only some tell would seem to have lost something.
#[inline(always)]
pub fn is_running() -> bool {
    // SAFETY: the slot lives as long as the map.
    RUNNING.get_ptr(0).is_some_and(|running| unsafe { *running } != 0)
}

/// Whether a socket may be wanted. Port 0 is a port that is not known yet, and passes.
#[inline(always)]
pub fn wanted(netns: Netns<impl Fields>, lport: u16, rport: u16) -> bool {
    let wanted = (FILTER_NETNS.load() == 0 || is_wanted(netns))
        && (FILTER_LPORT.load() == 0 || lport == 0 || has(WANTED_LPORT.get_ptr(lport)))
        && (FILTER_RPORT.load() == 0 || rport == 0 || has(WANTED_RPORT.get_ptr(rport)));
    if !wanted {
        count(Counter::Filtered);
    }
    wanted
}

/// Whether this namespace is wanted, and not one that has got the inode of one that was.
#[inline(always)]
fn is_wanted(netns: Netns<impl Fields>) -> bool {
    let Some(cookie) = WANTED_NETNS.get_ptr(netns.inode) else { return false };
    // SAFETY: user space writes the map before anything is attached.
    let cookie = unsafe { *cookie };
    cookie == 0 || cookie == netns.cookie()
}

#[inline(always)]
fn has(value: Option<*const u8>) -> bool {
    value.is_some()
}
