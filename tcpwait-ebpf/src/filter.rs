//! What can be left out in the kernel: other namespaces, other ports. It lets through whatever might still match;
//! the exact selection, by connection, is made in user space.

use tcpwait_wire::wire::Counter;

use crate::{
    emit::count,
    maps::{FILTER_LPORT, FILTER_NETNS, FILTER_RPORT, RUNNING, WANTED_LPORT, WANTED_NETNS, WANTED_RPORT},
};

/// Whether all hooks are attached. A connection of which only some tell would seem to have lost something.
#[inline(always)]
pub fn is_running() -> bool {
    // SAFETY: the slot lives as long as the map.
    RUNNING.get_ptr(0).is_some_and(|running| unsafe { *running } != 0)
}

/// Whether a socket may be wanted. Port 0 is a port that is not known yet, and passes.
#[inline(always)]
pub fn wanted(netns: u32, lport: u16, rport: u16) -> bool {
    let wanted = (FILTER_NETNS.load() == 0 || has(WANTED_NETNS.get_ptr(netns)))
        && (FILTER_LPORT.load() == 0 || lport == 0 || has(WANTED_LPORT.get_ptr(lport)))
        && (FILTER_RPORT.load() == 0 || rport == 0 || has(WANTED_RPORT.get_ptr(rport)));
    if !wanted {
        count(Counter::Filtered);
    }
    wanted
}

#[inline(always)]
fn has(value: Option<*const u8>) -> bool {
    value.is_some()
}
