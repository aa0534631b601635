//! The ring buffers, one for each group of CPUs, as one: what comes out is in the order of its causes.
//!
//! A record bears the time at which its event happened, taken before there is room for it. An event that another one causes (the next step of a connection,
//! on whichever CPU) begins after the record of the first was submitted, as the kernel lets go of the socket after that. So of all records from before a time,
//! those that caused one that can be seen can be seen too by whoever looks into every ring buffer after that time: up to there they can be merged by time. A record
//! that is still being written hides those behind it, so nothing is taken past it.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use aya::maps::{MapData, RingBuf};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
};
use tcpwait_wire::{config::RING_MAPS, wire::Head};
use tokio::io::unix::AsyncFd;

use super::readable::readable;

/// CPUs that share a ring buffer: as many as wait for each other without its being felt (docs/performance.md).
const CPUS_OF_A_RING: u32 = 8;

/// How CPUs share ring buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// How many ring buffers are in use.
    pub rings: u32,
    /// See [`tcpwait_wire::config::RING_SHIFT`].
    pub shift: u32,
}

impl Grouping {
    /// For so many possible CPUs; `cpus_of_a_ring` is another number of them than the usual.
    pub fn of(cpus: u32, cpus_of_a_ring: Option<u32>) -> Self {
        let most = RING_MAPS.len() as u32;
        let wanted = cpus_of_a_ring.unwrap_or(CPUS_OF_A_RING).max(1).next_power_of_two();
        let cpus = cpus.max(1);
        let shift = wanted.max(cpus.div_ceil(most).next_power_of_two()).trailing_zeros();
        Self { rings: ((cpus - 1) >> shift) + 1, shift }
    }

    /// The size of each ring buffer, in bytes, where all of them together are to have so many: a power of two, and whole pages.
    pub fn bytes_each(self, all: u32, page: u32) -> u32 {
        (all / self.rings.next_power_of_two()).max(page)
    }
}

/// What a ring buffer has to give next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A record of this time.
    At(u64),
    /// None.
    Nothing,
    /// One that is still being written.
    Unfinished,
}

/// All of them.
pub struct Rings(Vec<RingBuf<MapData>>);

impl Rings {
    pub(super) fn new(rings: Vec<RingBuf<MapData>>) -> Self {
        Self(rings)
    }

    /// Hands every record that waits to `each` and returns how many there were. Stops after `limit` records. `now_ns` reads
    /// `CLOCK_MONOTONIC`, as the kernel side does.
    ///
    /// # Errors
    /// What `each` returns.
    pub fn drain<E>(
        &mut self,
        limit: usize,
        now_ns: impl Fn() -> u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut drained = 0;
        if let [ring] = self.0.as_mut_slice() {
            while drained < limit {
                let Some(record) = ring.next() else { break };
                each(&record)?;
                drained += 1;
            }
            return Ok(drained);
        }
        let mut heads = Vec::with_capacity(self.0.len());
        loop {
            let until_ns = now_ns();
            heads.clear();
            heads.extend(self.0.iter_mut().map(next));
            let before = drained;
            while drained < limit
                && let Some(first) = earliest(&heads).filter(|(_, time_ns)| *time_ns < until_ns)
                && let Some((ring, head)) = self.0.get_mut(first.0).zip(heads.get_mut(first.0))
            {
                if let Some(record) = ring.next() {
                    each(&record)?;
                    drained += 1;
                }
                *head = next(ring);
            }
            if drained == before || drained >= limit {
                return Ok(drained);
            }
        }
    }

    /// Becomes readable when the kernel side wants to be read at once.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn waiter(&self) -> Result<AsyncFd<OwnedFd>> {
        const WHAT: &str = "the ring buffers";
        let rings = match self.0.as_slice() {
            [ring] => return readable(ring, WHAT),
            rings => rings,
        };
        let all = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("waiting for several ring buffers")?;
        for ring in rings {
            let what = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
            all.add(ring, what).context("waiting for one of several ring buffers")?;
        }
        readable(&all.0, WHAT)
    }
}

/// The earliest of those that can be taken, and where it is; `None` while one is still being written.
fn earliest(heads: &[Next]) -> Option<(usize, u64)> {
    let mut earliest: Option<(usize, u64)> = None;
    for (at, head) in heads.iter().enumerate() {
        match head {
            Next::Unfinished => return None,
            Next::At(time_ns) if earliest.is_none_or(|(_, first)| *time_ns < first) => earliest = Some((at, *time_ns)),
            Next::At(_) | Next::Nothing => {}
        }
    }
    earliest
}

/// What a ring buffer has to give, which stays in it.
fn next(ring: &mut RingBuf<MapData>) -> Next {
    if let Some(time_ns) = peek(ring) {
        return Next::At(time_ns);
    }
    // The kernel says that there is something where a record was reserved (`ringbuf_map_poll_kern`, 5.8 to 7.3).
    let is_empty = {
        let mut asked = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready == 0)
    };
    match peek(ring) {
        // Written between the two looks.
        Some(time_ns) => Next::At(time_ns),
        None if is_empty => Next::Nothing,
        None => Next::Unfinished,
    }
}

fn peek(ring: &mut RingBuf<MapData>) -> Option<u64> {
    const AT: usize = std::mem::offset_of!(Head, time_ns);
    let record = ring.next()?;
    let time_ns = record.get(AT..AT + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
    // It is given back to the kernel where it is dropped, and is not to be.
    std::mem::forget(record);
    Some(time_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_eight_cpus_share_one() {
        let of = |cpus| Grouping::of(cpus, None);
        assert_eq!(of(1), Grouping { rings: 1, shift: 3 });
        assert_eq!((of(8).rings, of(9).rings, of(16).rings, of(24).rings), (1, 2, 2, 3));
        assert_eq!(of(64), Grouping { rings: 8, shift: 3 });
        assert_eq!(of(65), Grouping { rings: 5, shift: 4 });
        assert_eq!(of(128), Grouping { rings: 8, shift: 4 });
        assert_eq!(of(8192), Grouping { rings: 8, shift: 10 });
        assert_eq!(Grouping::of(8, Some(2)), Grouping { rings: 4, shift: 1 });
        assert_eq!(of(0).rings, 1);
    }

    #[test]
    fn every_cpu_has_one() {
        for cpus in 1..2_000 {
            let Grouping { rings, shift } = Grouping::of(cpus, None);
            assert!(rings as usize <= RING_MAPS.len() && ((cpus - 1) >> shift) < rings, "{cpus}");
        }
    }

    #[test]
    fn together_they_are_as_large_as_one() {
        let mib = 1 << 20;
        assert_eq!(Grouping::of(2, None).bytes_each(16 * mib, 4096), 16 * mib);
        assert_eq!(Grouping::of(24, None).bytes_each(16 * mib, 4096), 4 * mib);
        assert_eq!(Grouping::of(64, None).bytes_each(mib, 65536), mib / 8);
        assert_eq!(Grouping::of(64, None).bytes_each(mib / 4, 65536), 65536);
    }

    #[test]
    fn nothing_is_taken_past_what_is_still_written() {
        assert_eq!(earliest(&[Next::At(7), Next::Nothing, Next::At(5)]), Some((2, 5)));
        assert_eq!(earliest(&[Next::At(7), Next::Unfinished]), None);
        assert_eq!(earliest(&[Next::Nothing]), None);
    }
}
