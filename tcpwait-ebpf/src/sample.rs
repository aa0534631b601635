//! Which connections are told of while the tool thins itself: one of so many, by `wire::sample`. What is left out is counted, after all that is counted of
//! everything. Calls that fail, connects among them, and sockets that listen are told of in any case.

use tcpwait_wire::{
    config::{RUNNING_HOLDS, RUNNING_ONE_IN, offset::*},
    wire::{
        Counter,
        sample::{is_chosen, spread},
    },
};

use crate::{counters::count, filter::running, kernel::AF_INET6, sock::Fields};

/// Of how many connections one is told of.
#[inline(always)]
pub fn one_in() -> u32 {
    running() & RUNNING_ONE_IN
}

/// Whether connects may have been held back.
#[inline(always)]
pub fn holds() -> bool {
    running() & RUNNING_HOLDS != 0
}

/// Whether this connection is among those that are told of.
#[inline(always)]
pub fn chooses(common: impl Fields, lport: u16, rport: u16) -> bool {
    let one_in = one_in();
    one_in <= 1 || is_chosen(spread(remote(common), lport, rport), one_in)
}

/// Whether a record of this connection is to be written; if not, that is counted.
#[inline(always)]
pub fn is_told(common: impl Fields, lport: u16, rport: u16) -> bool {
    let told = chooses(common, lport, rport);
    if !told {
        count(Counter::Thinned);
    }
    told
}

/// The remote address, as `sock::flow` takes it.
#[inline(always)]
fn remote(common: impl Fields) -> [u32; 4] {
    if common.read::<u16>(&OFF_FAMILY) == AF_INET6 {
        let raddr: [u32; 4] = common.read(&OFF_V6_DADDR);
        if raddr[0] != 0 || raddr[1] != 0 || raddr[2] != u32::to_be(0xffff) {
            return raddr;
        }
    }
    [common.read(&OFF_DADDR), 0, 0, 0]
}
