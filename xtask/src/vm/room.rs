//! How many guests run at once: as many as this machine has cores and memory for.

use std::fs;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What there is for guests.
pub struct Room {
    all: Share,
    free: Mutex<Share>,
    changed: Condvar,
}

/// Some of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub cores: usize,
    pub kb: usize,
}

/// Some of it that a guest has until this is dropped.
pub struct Taken<'a> {
    room: &'a Room,
    share: Share,
}

impl Room {
    /// What this machine has to give now.
    pub fn of_this_machine() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let kb = available.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
        Self::of(Share { cores: thread::available_parallelism().map_or(1, usize::from), kb })
    }

    fn of(all: Share) -> Self {
        Self { all, free: Mutex::new(all), changed: Condvar::new() }
    }

    /// Waits until there is room. Who asks for more than there is gets all of it, once nobody else has any.
    pub fn take(&self, wanted: Share) -> Taken<'_> {
        let share = Share { cores: wanted.cores.min(self.all.cores), kb: wanted.kb.min(self.all.kb) };
        let mut free = self.free();
        while free.cores < share.cores || free.kb < share.kb {
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free = Share { cores: free.cores - share.cores, kb: free.kb - share.kb };
        Taken { room: self, share }
    }

    fn free(&self) -> MutexGuard<'_, Share> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut free = self.room.free();
        free.cores += self.share.cores;
        free.kb += self.share.kb;
        self.room.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::{Room, Share};

    #[test]
    fn nobody_gets_what_another_has() {
        let room = Room::of(Share { cores: 2, kb: 10 });
        let (one, other) = (room.take(Share { cores: 1, kb: 4 }), room.take(Share { cores: 1, kb: 4 }));
        let (send, got) = mpsc::channel();
        thread::scope(|scope| {
            // Four cores are not there: it gets the two.
            scope.spawn(|| {
                let all = room.take(Share { cores: 4, kb: 4 });
                send.send(all.share).unwrap_or_default();
            });
            let waits = || got.recv_timeout(Duration::from_millis(100)).is_err();
            assert!(waits());
            drop(one);
            assert!(waits());
            drop(other);
            assert_eq!(got.recv_timeout(Duration::from_secs(60)), Ok(Share { cores: 2, kb: 4 }));
        });
        assert_eq!(*room.free(), Share { cores: 2, kb: 10 });
    }
}
