//! What can be left out in the kernel: other namespaces, other ports. It lets through whatever might still match;
//! the exact selection, by connection, is made in user space.

use aya_ebpf::Global;
use tcpwait_wire::{
    config::{FILTER_OFF, FILTER_ONLY},
    wire::Counter,
};

use crate::{
    counters::count,
    maps::{FILTER_LPORT, FILTER_NETNS, FILTER_RPORT, RUNNING, WANTED_LPORT, WANTED_NETNS, WANTED_RPORT},
    sock::{Fields, Netns},
};

/// Whether all hooks are attached. A connection of which only some tell would seem to have lost something.
#[inline(always)]
pub fn is_running() -> bool {
    running() != 0
}

/// See `config::RUNNING_MAP`.
#[inline(always)]
pub fn running() -> u32 {
    // SAFETY: the slot lives as long as the map.
    RUNNING.get_ptr(0).map_or(0, |running| unsafe { *running })
}

/// Whether a socket may be wanted. Port 0 is a port that is not known yet, and passes, also where the listed ones are to be left out.
#[inline(always)]
pub fn wanted(netns: Netns<impl Fields>, lport: u16, rport: u16) -> bool {
    let wanted = (FILTER_NETNS.load() == FILTER_OFF || is_listed(netns) == selects(&FILTER_NETNS))
        && (FILTER_LPORT.load() == FILTER_OFF
            || lport == 0
            || has(WANTED_LPORT.get_ptr(lport)) == selects(&FILTER_LPORT))
        && (FILTER_RPORT.load() == FILTER_OFF
            || rport == 0
            || has(WANTED_RPORT.get_ptr(rport)) == selects(&FILTER_RPORT));
    if !wanted {
        count(Counter::Filtered);
    }
    wanted
}

/// Whether what a filter lists is wanted; else what it does not.
#[inline(always)]
fn selects(filter: &Global<u8>) -> bool {
    filter.load() == FILTER_ONLY
}

/// Whether this namespace is listed, and not one that has got the inode of one that is.
#[inline(always)]
fn is_listed(netns: Netns<impl Fields>) -> bool {
    let Some(cookie) = WANTED_NETNS.get_ptr(netns.inode) else { return false };
    // SAFETY: user space writes the map before anything is attached.
    let cookie = unsafe { *cookie };
    cookie == 0 || cookie == netns.cookie()
}

#[inline(always)]
fn has(value: Option<*const u8>) -> bool {
    value.is_some()
}
