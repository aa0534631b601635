//! Heads of records that user space writes.

use tcpwait_wire::wire::{self, Kind};

use crate::system::clock::monotonic_ns;

/// The head of a record that is made here.
pub(super) fn head<T>(kind: Kind) -> wire::Head {
    wire::Head { time_ns: monotonic_ns(), len: size_of::<T>() as u16, kind: kind as u8, flags: 0, cpu: 0, thread: 0 }
}
