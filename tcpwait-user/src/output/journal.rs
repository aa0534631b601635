//! The journal of systemd as an output, by its native protocol: a datagram is an entry, and what is too large for one goes as a sealed memory file. A thread of
//! its own sends them from a bounded queue, so that a journal that is slow or away holds up nobody. What it does not get is counted by cause.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, IoSlice, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt},
    },
};

use super::{A_MOMENT, queue::errno, stalled};
use crate::capabilities;

/// Where systemd-journald listens.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// Bytes of entries that may wait.
const QUEUE: usize = 4 << 20;

/// Bytes that the kernel may keep for the journal, as far as it allows: a larger entry goes as a memory file.
const SEND_BUFFER: usize = 8 << 20;

/// How often it is tried again what the journal does not take.
const AGAIN: Duration = Duration::from_millis(100);

/// The same where the kernel had no memory, and does not tell when it has.
const SOON: Duration = Duration::from_millis(10);

/// The journal, while entries are sent to it.
pub struct Journal(Arc<SharedEntries>);

/// Takes entries: each write is one, whole.
pub struct JournalWriter {
    entries: Arc<SharedEntries>,
    /// Whether a full queue is waited for. Else what does not fit is dropped.
    patient: bool,
    /// How long the journal may still be waited for before the next flush.
    patience: Duration,
    /// How many it had taken by then.
    taken: u64,
}

/// Entries that the journal did not get, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// It was too slow.
    pub slow: u64,
    /// Nobody listened at its socket, or the kernel did not send them: by errno.
    pub refused: BTreeMap<i32, u64>,
}

impl Unsent {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.refused.values().fold(self.slow, |sum, count| sum.saturating_add(*count))
    }

    fn add(&mut self, trouble: Option<Errno>, count: u64) {
        match trouble {
            None => self.slow += count,
            Some(errno) => *self.refused.entry(errno as i32).or_default() += count,
        }
    }
}

struct SharedEntries {
    state: Mutex<EntriesState>,
    /// An entry came, or was dealt with.
    changed: Condvar,
    path: PathBuf,
    limit: usize,
}

#[derive(Default)]
struct EntriesState {
    waiting: VecDeque<Vec<u8>>,
    /// Bytes in them, and of the one that is being sent.
    bytes: usize,
    /// One is being sent.
    under_way: bool,
    /// Grows whenever one was taken.
    taken: u64,
    /// Nobody listens, by this errno; `None` while somebody does, or nothing is sent.
    trouble: Option<Errno>,
    /// It was waited for in vain: nothing more is sent.
    given_up: bool,
    unsent: Unsent,
}

/// What became of an entry.
enum Sending {
    Done,
    /// The journal has a full queue.
    NoRoom,
    /// The kernel has no memory for it now.
    NoMemory,
    /// Nobody listens there now.
    Away(Errno),
    /// It never will be.
    Refused(Errno),
}

impl Journal {
    /// Connects to the journal at this socket, and starts the thread.
    ///
    /// # Errors
    /// Nobody listens there, or there can be no more threads.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, QUEUE)
    }

    fn with_limit(path: &Path, limit: usize) -> io::Result<Self> {
        let socket = connect(path)?;
        let entries =
            Arc::new(SharedEntries { state: Mutex::default(), changed: Condvar::new(), path: path.to_owned(), limit });
        let sender = Arc::clone(&entries);
        let send = move || {
            // It has the socket, and needs no right.
            let _ = capabilities::give_up_all();
            sender.send_all(socket);
        };
        thread::Builder::new().name("journal".to_owned()).spawn(send)?;
        Ok(Self(entries))
    }

    /// For what comes as it comes, from the running kernel: between two flushes the journal is waited for no longer than the ring buffer can wait.
    pub fn live(&self) -> JournalWriter {
        JournalWriter { entries: Arc::clone(&self.0), patient: false, patience: A_MOMENT, taken: 0 }
    }

    /// For what can wait for the journal, from a file.
    pub fn patient(&self) -> JournalWriter {
        JournalWriter { patient: true, ..self.live() }
    }

    /// Waits until all is sent, for as long as the journal takes any. Says what it did not get, now or before.
    pub fn settle(&self) -> Unsent {
        self.settle_for(stalled)
    }

    fn settle_for(&self, patience: impl Fn() -> Duration) -> Unsent {
        let SharedEntries { changed, .. } = &*self.0;
        let mut state = self.0.lock();
        let (mut taken, mut since) = (state.taken, Instant::now());
        while state.bytes > 0 || state.under_way {
            // The thread may have to wait for a CPU, which is not the journal's doing.
            if state.taken != taken || !state.under_way {
                (taken, since) = (state.taken, Instant::now());
            }
            let Some(left) = patience().checked_sub(since.elapsed()).filter(|left| !left.is_zero()) else { break };
            state = changed.wait_timeout(state, left.min(AGAIN)).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.given_up = true;
        changed.notify_all();
        let left = state.waiting.len() as u64 + u64::from(state.under_way);
        let mut unsent = state.unsent.clone();
        if left > 0 {
            unsent.add(state.trouble, left);
        }
        unsent
    }
}

impl Write for JournalWriter {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let SharedEntries { changed, limit, .. } = &*self.entries;
        let mut state = self.entries.lock();
        while state.bytes > *limit && !state.given_up {
            let left = if self.patient { AGAIN } else { self.patience };
            if left.is_zero() || (self.patient && state.trouble.is_some()) {
                break;
            }
            let begun = Instant::now();
            state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            if !self.patient {
                self.patience = self.patience.saturating_sub(begun.elapsed());
            }
        }
        if state.bytes > *limit || state.given_up {
            let trouble = state.trouble;
            state.unsent.add(trouble, 1);
        } else {
            state.bytes += entry.len();
            state.waiting.push_back(entry.to_vec());
            changed.notify_all();
        }
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let taken = self.entries.lock().taken;
        if taken != self.taken {
            (self.taken, self.patience) = (taken, A_MOMENT);
        }
        Ok(())
    }
}

impl SharedEntries {
    fn lock(&self) -> MutexGuard<'_, EntriesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: sends what comes, until nobody waits for it any more.
    fn send_all(&self, mut socket: UnixDatagram) {
        let mut state = self.lock();
        loop {
            if state.given_up {
                return;
            }
            let Some(entry) = state.waiting.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.under_way = true;
            drop(state);
            let refused = self.send_one(&mut socket, &entry);
            state = self.lock();
            if state.given_up {
                // Whoever gave up has counted it.
                return;
            }
            match refused {
                Some(errno) => state.unsent.add(Some(errno), 1),
                None => state.taken += 1,
            }
            state.bytes = state.bytes.saturating_sub(entry.len());
            (state.under_way, state.trouble) = (false, None);
            self.changed.notify_all();
        }
    }

    /// Sends an entry, however often it must be tried. Gives the error where it never can be.
    fn send_one(&self, socket: &mut UnixDatagram, entry: &[u8]) -> Option<Errno> {
        loop {
            let sending = send(socket, entry);
            {
                let trouble = &mut self.lock().trouble;
                *trouble = if let Sending::Away(errno) = sending { trouble.or(Some(errno)) } else { None };
            }
            match sending {
                Sending::Done => return None,
                Sending::Refused(errno) => return Some(errno),
                Sending::NoRoom => wait_for_room(socket),
                Sending::NoMemory => thread::sleep(SOON),
                Sending::Away(_) => {
                    thread::sleep(AGAIN);
                    // It may have been started anew.
                    match connect(&self.path) {
                        Ok(anew) => *socket = anew,
                        Err(e) => self.lock().trouble = Some(Errno::from_raw(errno(&e))),
                    }
                }
            }
            if self.lock().given_up {
                return None;
            }
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    // The kernel cuts it down to what it allows.
    let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER);
    Ok(socket)
}

fn send(socket: &UnixDatagram, entry: &[u8]) -> Sending {
    let sent = match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(entry)], &[], FLAGS, None) {
        Err(Errno::EMSGSIZE) => as_memory_file(socket, entry),
        sent => sent.map(|_| ()),
    };
    match sent {
        Ok(()) => Sending::Done,
        Err(Errno::EAGAIN | Errno::EINTR) => Sending::NoRoom,
        Err(Errno::ENOBUFS | Errno::ENOMEM | Errno::ETOOMANYREFS) => Sending::NoMemory,
        Err(away @ (Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::ENOTCONN | Errno::EPIPE | Errno::ENOENT)) => {
            Sending::Away(away)
        }
        Err(errno) => Sending::Refused(errno),
    }
}

const FLAGS: MsgFlags = MsgFlags::MSG_NOSIGNAL.union(MsgFlags::MSG_DONTWAIT);

/// An empty datagram that carries the entry in a file of memory, which nobody can change any more.
fn as_memory_file(socket: &UnixDatagram, entry: &[u8]) -> Result<(), Errno> {
    let memory = memfd_create("journal-entry", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(entry).map_err(|e| Errno::from_raw(errno(&e)))?;
    fcntl(
        file.as_fd(),
        FcntlArg::F_ADD_SEALS(
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL,
        ),
    )?;
    let file = [file.as_raw_fd()];
    sendmsg::<()>(socket.as_raw_fd(), &[], &[ControlMessage::ScmRights(&file)], FLAGS, None).map(|_| ())
}

/// Until the journal has taken something, or a moment.
fn wait_for_room(socket: &UnixDatagram) {
    let moment = PollTimeout::try_from(AGAIN).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], moment);
}
