//! Standard output and standard error, each written by a thread of its own from a bounded queue: whoever reads them slowly, or not at all, holds up
//! neither the ring buffer nor the end. What does not fit is dropped by whole lines and counted.

pub mod journal;
mod queue;

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use nix::libc;

use self::queue::{OutputQueue, WhenFull};
use crate::{fold, plain, signals};

/// Bytes that are handed over in one go.
const CHUNK: usize = 64 << 10;

/// Bytes of standard output that may wait.
const QUEUE: usize = 4 << 20;

/// Bytes of standard error that may wait.
const SENTENCES: usize = 256 << 10;

/// How long the running kernel's events wait for a reader that is busy: a ring buffer of the usual size lasts longer than that at any rate measured.
const A_MOMENT: Duration = Duration::from_millis(250);

/// How long the end waits for a reader that takes nothing.
const STALLED: Duration = Duration::from_secs(1);

/// The same once a signal asked for the end.
const STALLED_AT_SIGNAL: Duration = Duration::from_millis(400);

/// How long the end waits in all for a reader that takes something now and then, once a signal asked for it. What is left is counted.
const AT_SIGNAL: Duration = Duration::from_millis(900);

/// The same for standard error, whose last sentences come after that.
const SENTENCES_STALLED: Duration = Duration::from_millis(200);

static STDOUT: OnceLock<OutputQueue> = OnceLock::new();
static STDERR: OnceLock<OutputQueue> = OnceLock::new();

/// Standard output, for one writer. Gives errors of earlier writes: [`io::ErrorKind::BrokenPipe`] once the reader has gone, also while nothing is written.
pub struct Output {
    /// Not handed over yet.
    text: Vec<u8>,
    /// Whether a full queue is waited for. Else what does not fit is dropped.
    patient: bool,
    /// How long the reader may still be waited for before the next flush.
    patience: Duration,
    /// How often the reader had taken something by then.
    taken: u64,
}

/// A file that a thread of its own writes. Everything is taken; whoever writes more than there is [room](WriteBehind::has_room) for fills the memory.
pub struct WriteBehind {
    queue: OutputQueue,
    bytes: u64,
}

impl WriteBehind {
    /// Bytes that wait for this file with nobody the worse for it.
    const ROOM: usize = 8 << 20;

    /// Starts the thread.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn new(file: File) -> io::Result<Self> {
        let queue = OutputQueue::new(Ok(file), Self::ROOM);
        let refused = queue.lock().error;
        if let Some(code) = refused {
            return Err(io::Error::from_raw_os_error(code));
        }
        Ok(Self { queue, bytes: 0 })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it keeps up.
    pub fn has_room(&self) -> bool {
        self.queue.lock().waiting <= Self::ROOM
    }

    /// Waits until everything is written, for as long as something is.
    ///
    /// # Errors
    /// It cannot be written, or nothing of it was for a second, or less after a signal.
    pub fn settle(&self) -> io::Result<()> {
        self.queue.settle(stalled);
        let state = self.queue.lock();
        match (state.error, state.waiting) {
            (Some(code), _) => Err(io::Error::from_raw_os_error(code)),
            (None, 0) => Ok(()),
            (None, waiting) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the last {waiting} bytes could not be written in time"),
            )),
        }
    }
}

impl Write for WriteBehind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.queue.push(bytes.to_vec(), WhenFull::Keep)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.queue.push(Vec::new(), WhenFull::Keep)
    }
}

impl Output {
    /// For what comes as it comes, from the running kernel: between two flushes the reader is waited for no longer than the ring buffer can wait.
    pub fn live() -> Self {
        Self { text: Vec::new(), patient: false, patience: A_MOMENT, taken: 0 }
    }

    /// For what can wait for its reader, from a file.
    pub fn patient() -> Self {
        Self { text: Vec::new(), patient: true, patience: A_MOMENT, taken: 0 }
    }

    /// Hands over all that is there, or the whole lines of it.
    fn hand_over(&mut self, len: usize) -> io::Result<()> {
        let rest = self.text.split_off(len);
        let text = std::mem::replace(&mut self.text, rest);
        match self.patient {
            true => stdout().push(text, WhenFull::Wait),
            false => stdout().push(text, WhenFull::Drop(&mut self.patience)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        if self.text.len() >= CHUNK
            && let Some(newline) = self.text.iter().rposition(|&byte| byte == b'\n')
        {
            self.hand_over(newline + 1)?;
        }
        Ok(bytes.len())
    }

    /// Of what can wait for its reader: until it is written.
    fn flush(&mut self) -> io::Result<()> {
        self.hand_over(self.text.len())?;
        let taken = stdout().lock().taken;
        if taken != self.taken {
            (self.taken, self.patience) = (taken, A_MOMENT);
        }
        if self.patient { stdout().written() } else { Ok(()) }
    }
}

/// What is there is written, also where an error ended the writing of more.
impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.hand_over(self.text.len());
    }
}

/// Why standard output could not be written, if it could not.
pub fn error() -> Option<io::Error> {
    STDOUT.get()?.lock().error.map(io::Error::from_raw_os_error)
}

/// Whether whoever read standard output has gone.
pub fn reader_is_gone() -> bool {
    STDOUT.get().is_some_and(|queue| queue.lock().error == Some(libc::EPIPE))
}

/// Has everything that is meant for standard output go to this file. To be called before anything is.
pub fn redirect(file: File) {
    STDOUT.get_or_init(|| OutputQueue::new(Ok(file), QUEUE));
}

/// Waits until standard output has been written, for as long as somebody takes it. Gives the lines that were not written, now or before.
///
/// # Errors
/// It cannot be written.
pub fn settle() -> io::Result<u64> {
    let Some(queue) = STDOUT.get() else { return Ok(0) };
    let begun = std::cell::Cell::new(None);
    queue.settle(|| {
        let asked = signals::asked().then(|| begun.get().unwrap_or_else(Instant::now));
        begun.set(asked);
        // However slowly it is taken.
        if asked.is_some_and(|asked| asked.elapsed() >= AT_SIGNAL) { Duration::ZERO } else { stalled() }
    });
    let error = queue.lock().error;
    error.map_or_else(|| Ok(queue.unwritten()), |code| Err(io::Error::from_raw_os_error(code)))
}

fn stalled() -> Duration {
    if signals::asked() { STALLED_AT_SIGNAL } else { STALLED }
}

/// Sentences that wait until the terminal shows lines again.
#[derive(Debug, Default)]
struct HeldSentences {
    all: Vec<String>,
    /// How many of them were looked at.
    seen: usize,
}

static HELD: Mutex<Option<HeldSentences>> = Mutex::new(None);

/// Sentences that are kept; of more, which nobody reads, the first are.
const MOST_HELD: usize = 1_000;

/// From now on sentences wait, as a screen stands where they would. Those that were said before are written first: the screen must not be drawn around them.
pub fn hold() {
    held_sentences().get_or_insert_default();
    stderr().settle(|| BEFORE_A_SCREEN);
}

/// How long a terminal may take for what was said before a screen comes.
const BEFORE_A_SCREEN: Duration = Duration::from_millis(500);

/// The sentences that came since this was asked last.
pub fn new_sentences() -> Vec<String> {
    let mut held = held_sentences();
    let Some(held) = held.as_mut() else { return Vec::new() };
    let new = held.all.get(held.seen..).unwrap_or_default().to_vec();
    held.seen = held.all.len();
    new
}

/// The terminal shows lines again: says what has waited.
pub fn release() {
    let held = held_sentences().take();
    held.into_iter().flat_map(|held| held.all).for_each(|text| sentence(format_args!("{text}")));
}

fn held_sentences() -> MutexGuard<'static, Option<HeldSentences>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sentence for the person at the terminal, on a line of standard error, without what acts on one. Never waits, never fails: nobody is there to be told.
pub fn sentence(text: fmt::Arguments<'_>) {
    let text = plain::escaped(&text.to_string());
    if let Some(held) = held_sentences().as_mut() {
        if held.all.len() < MOST_HELD {
            held.all.push(text);
        }
        return;
    }
    let terminal = terminal_size::terminal_size_of(io::stderr());
    let lines = match terminal {
        Some((width, _)) => fold::row(&text, width.0.into(), 2).join("\n"),
        None => text,
    };
    let _ = stderr().push((lines + "\n").into_bytes(), WhenFull::Drop(&mut { Duration::ZERO }));
}

/// Says a sentence on standard error.
macro_rules! say {
    ($($argument:tt)*) => { $crate::output::sentence(format_args!($($argument)*)) };
}
pub(crate) use say;

/// The last that is done: waits until standard error has been written, for as long as somebody takes it.
pub fn end() {
    if let Some(queue) = STDERR.get() {
        queue.settle(|| SENTENCES_STALLED);
    }
}

fn stdout() -> &'static OutputQueue {
    STDOUT.get_or_init(|| OutputQueue::new(io::stdout().as_fd().try_clone_to_owned().map(File::from), QUEUE))
}

fn stderr() -> &'static OutputQueue {
    STDERR.get_or_init(|| OutputQueue::new(io::stderr().as_fd().try_clone_to_owned().map(File::from), SENTENCES))
}
