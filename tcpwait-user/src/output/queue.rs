//! A bounded queue of text, and the thread that writes it to a file. What does not fit is waited for, dropped by lines and counted, or kept.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::capabilities;

/// Bytes that are written in one go: of a write that is stuck, nobody knows how much was taken.
const PIECE: usize = 16 << 10;

/// How often it is looked after what tells nothing by itself.
const LOOK: Duration = Duration::from_millis(250);

/// How long a write may take that there is room for: then it is the machine that is busy, and not the reader. What waits here at the end are the
/// sentences that say what was lost.
const BUSY: Duration = Duration::from_secs(10);

/// What becomes of text that comes while the queue is full.
pub(super) enum WhenFull<'a> {
    Wait,
    /// After so much waiting for a reader that is not done but busy.
    Drop(&'a mut Duration),
    Keep,
}

/// What waits to be written.
pub(super) struct OutputQueue(Arc<SharedQueue>);

struct SharedQueue {
    state: Mutex<QueueState>,
    /// Something came, or was written.
    changed: Condvar,
    /// Bytes that may wait.
    limit: usize,
    dropped_lines: AtomicU64,
    /// `None` where it cannot be written.
    outlet: Option<Outlet>,
}

/// The file, and what wakes the thread that waits beside it.
struct Outlet {
    file: File,
    bell: EventFd,
}

#[derive(Default)]
pub(super) struct QueueState {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes in them, and of the one that is being written.
    pub(super) waiting: usize,
    /// Lines of the one that is being written.
    under_way: u64,
    /// Whether the thread is writing: else it has not been on a CPU since text came, which is not the reader's doing.
    writing: bool,
    /// Whether the thread waits for the bell.
    resting: bool,
    /// Grows whenever a reader took something.
    pub(super) taken: u64,
    /// It was waited for in vain.
    given_up: bool,
    /// The errno that ended it.
    pub(super) error: Option<i32>,
}

impl OutputQueue {
    pub(super) fn new(file: io::Result<File>, limit: usize) -> Self {
        let bell = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(io::Error::from);
        let (outlet, refused) = match file.and_then(|file| Ok(Outlet { file, bell: bell()? })) {
            Ok(outlet) => (Some(outlet), None),
            Err(e) => (None, Some(errno(&e))),
        };
        let shared = Arc::new(SharedQueue {
            state: Mutex::new(QueueState { error: refused, ..QueueState::default() }),
            changed: Condvar::new(),
            limit,
            dropped_lines: AtomicU64::new(0),
            outlet,
        });
        let writer = Arc::clone(&shared);
        let write = move || {
            // It has the file, needs no right, and keeps those of the thread that it was started by whatever becomes of that one.
            let _ = capabilities::give_up_all();
            if let Some(outlet) = &writer.outlet {
                writer.write_all(outlet);
            }
        };
        if let Err(e) = thread::Builder::new().name("output".to_owned()).spawn(write) {
            shared.lock().error = Some(errno(&e));
        }
        Self(shared)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.0.lock()
    }

    /// Takes text, or drops it where there is no room and nobody is to wait for it.
    pub(super) fn push(&self, text: Vec<u8>, mut full: WhenFull<'_>) -> io::Result<()> {
        let SharedQueue { changed, limit, dropped_lines, outlet, .. } = &*self.0;
        let mut state = self.lock();
        while state.error.is_none() && state.waiting > *limit {
            let left = match &full {
                WhenFull::Wait => LOOK,
                WhenFull::Drop(patience) => **patience,
                WhenFull::Keep => Duration::ZERO,
            };
            if left.is_zero() {
                break;
            }
            let begun = Instant::now();
            state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            if let WhenFull::Drop(patience) = &mut full {
                **patience = patience.saturating_sub(begun.elapsed());
            }
        }
        if let Some(code) = state.error {
            return Err(io::Error::from_raw_os_error(code));
        }
        if text.is_empty() {
            return Ok(());
        }
        if matches!(full, WhenFull::Drop(_)) && state.waiting > *limit {
            dropped_lines.fetch_add(lines(&text), Ordering::Relaxed);
            return Ok(());
        }
        state.waiting += text.len();
        state.chunks.push_back(text);
        changed.notify_all();
        if std::mem::take(&mut state.resting)
            && let Some(outlet) = outlet
        {
            // It can only fail by having been rung 2^64 times.
            let _ = outlet.bell.write(1);
        }
        Ok(())
    }

    /// Waits until everything is written, or nothing is taken for so long; once. On a busy machine the thread may have to wait for a CPU: that is
    /// no reason to give up what there is room for.
    pub(super) fn settle(&self, patience: impl Fn() -> Duration) {
        let mut state = self.lock();
        let (mut taken, mut since) = (state.taken, Instant::now());
        while state.waiting > 0 && state.error.is_none() {
            if state.taken != taken || !state.writing {
                (taken, since) = (state.taken, Instant::now());
            }
            let has_room = self.0.outlet.as_ref().is_some_and(|outlet| has_room(outlet.file.as_fd()));
            let most = if has_room { patience().max(BUSY) } else { patience() };
            let Some(left) = most.checked_sub(since.elapsed()).filter(|_| !state.given_up) else {
                state.given_up = true;
                return;
            };
            state = self.0.changed.wait_timeout(state, left.min(LOOK)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until everything is written.
    pub(super) fn written(&self) -> io::Result<()> {
        let mut state = self.lock();
        while state.waiting > 0 && state.error.is_none() {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.error.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }

    /// Lines that were dropped, and those that wait: at most so many, since of the piece that is being written some may have been taken.
    pub(super) fn unwritten(&self) -> u64 {
        let state = self.lock();
        let waiting: u64 = state.chunks.iter().map(|chunk| lines(chunk)).sum();
        self.0.dropped_lines.load(Ordering::Relaxed) + waiting + state.under_way
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: writes what comes, and looks after the reader while nothing does.
    fn write_all(&self, outlet: &Outlet) {
        let mut file = &outlet.file;
        let mut state = self.lock();
        while state.error.is_none() {
            let Some(chunk) = state.chunks.pop_front() else {
                state.resting = true;
                drop(state);
                outlet.rest();
                state = self.lock();
                state.resting = false;
                if state.chunks.is_empty() && has_no_reader(file.as_fd()) {
                    state.error = Some(libc::EPIPE);
                }
                continue;
            };
            let mut rest = chunk.as_slice();
            while !rest.is_empty() && state.error.is_none() {
                (state.under_way, state.writing) = (lines(rest), true);
                drop(state);
                let written = file.write(rest.get(..PIECE).unwrap_or(rest));
                state = self.lock();
                state.writing = false;
                match written {
                    Ok(written) => {
                        rest = rest.get(written..).unwrap_or_default();
                        state.waiting = state.waiting.saturating_sub(written);
                        state.taken += 1;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        state.writing = true;
                        drop(state);
                        wait_for_room(file.as_fd());
                        state = self.lock();
                        state.writing = false;
                    }
                    Err(e) => state.error = Some(errno(&e)),
                }
                state.under_way = lines(rest);
                self.changed.notify_all();
            }
        }
        self.changed.notify_all();
    }
}

impl Outlet {
    /// Waits until the bell rings, or the reader is gone. Of what tells of neither, and is not a reader gone (a terminal that was hung up), it looks
    /// after a while.
    fn rest(&self) {
        let bell = || PollFd::new(self.bell.as_fd(), PollFlags::POLLIN);
        let mut asked = [bell(), PollFd::new(self.file.as_fd(), PollFlags::empty())];
        if poll(&mut asked, PollTimeout::NONE).is_ok()
            && let [rung, file] = &asked
            && rung.revents().is_none_or(|said| said.is_empty())
            && file.revents().is_some_and(|said| !said.contains(PollFlags::POLLERR))
        {
            let _ = poll(&mut [bell()], PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::MAX));
        }
        // Whether it rang or not: nothing is missed, as the thread looks at the queue now.
        let _ = self.bell.read();
    }
}

/// Whether it is a pipe or socket that nobody has open at its other end, which poll(2) says of one that is asked for nothing.
fn has_no_reader(file: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(file, PollFlags::empty())];
    let [asked] = &mut asked;
    poll(std::slice::from_mut(asked), PollTimeout::ZERO).is_ok()
        && asked.revents().is_some_and(|said| said.contains(PollFlags::POLLERR))
}

/// Whether a write would be taken at once.
fn has_room(file: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(file, PollFlags::POLLOUT)];
    let [asked] = &mut asked;
    poll(std::slice::from_mut(asked), PollTimeout::ZERO).is_ok()
        && asked.revents().is_some_and(|said| said.contains(PollFlags::POLLOUT))
}

/// Standard output may be shared with a program that made it non-blocking.
fn wait_for_room(file: BorrowedFd<'_>) {
    let _ = poll(&mut [PollFd::new(file, PollFlags::POLLOUT)], PollTimeout::NONE);
}

pub(super) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn lines(text: &[u8]) -> u64 {
    let whole = text.iter().filter(|&&byte| byte == b'\n').count();
    whole as u64 + u64::from(text.last().is_some_and(|&byte| byte != b'\n'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{PipeReader, Read};

    use super::*;

    /// More than a pipe holds.
    const MUCH: usize = 1 << 20;

    fn on_pipe(limit: usize) -> (OutputQueue, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        (OutputQueue::new(Ok(File::from(std::os::fd::OwnedFd::from(writer))), limit), reader)
    }

    fn text_of(lines: usize) -> Vec<u8> {
        b"123456789\n".repeat(lines)
    }

    #[test]
    fn what_nobody_takes_is_dropped_and_counted() {
        let (queue, mut reader) = on_pipe(MUCH);
        queue.push(text_of(MUCH / 5), WhenFull::Drop(&mut Duration::from_secs(1))).unwrap();
        let mut patience = Duration::from_millis(20);
        queue.push(text_of(7), WhenFull::Drop(&mut patience)).unwrap();
        assert!(patience.is_zero(), "it was waited for");
        let begun = Instant::now();
        queue.settle(|| Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50));
        let unwritten = queue.unwritten();
        // What the pipe holds was written.
        assert!(unwritten > 7 && unwritten < (MUCH / 5 + 7) as u64, "{unwritten}");
        let mut taken = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| reader.by_ref().take((MUCH / 5 * 10) as u64).read_to_end(&mut taken).unwrap());
            queue.written().unwrap();
            assert_eq!(queue.unwritten(), 7);
        });
        assert_eq!(taken, text_of(MUCH / 5));
    }

    #[test]
    fn what_is_kept_or_waited_for_is_all_written() {
        let (queue, mut reader) = on_pipe(10);
        let mut taken = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| reader.by_ref().take((MUCH / 20 * 20) as u64).read_to_end(&mut taken).unwrap());
            queue.push(text_of(MUCH / 20), WhenFull::Keep).unwrap();
            queue.push(text_of(MUCH / 20), WhenFull::Wait).unwrap();
            queue.written().unwrap();
        });
        assert_eq!((taken.len(), queue.unwritten()), (MUCH / 20 * 20, 0));
    }

    #[test]
    fn a_reader_that_goes_is_missed_while_nothing_is_written() {
        let (queue, reader) = on_pipe(MUCH);
        queue.push(text_of(1), WhenFull::Keep).unwrap();
        queue.written().unwrap();
        drop(reader);
        let end = Instant::now() + Duration::from_secs(20);
        while queue.lock().error.is_none() {
            assert!(Instant::now() < end, "nobody noticed");
            thread::yield_now();
        }
        let refused = queue.push(text_of(1), WhenFull::Keep).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }
}
