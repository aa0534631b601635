//! The terminal: taken, drawn on, read from, and given back as it was, however it ends.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, raise},
};
use ratatui::{
    backend::{Backend, CrosstermBackend},
    buffer::Buffer,
    crossterm::{
        cursor::{Hide, Show},
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
        terminal::{
            BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
            LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
        },
    },
    layout::{Rect, Size},
};

use super::{bell::Bell, draw, keys::Press, state::TopScreen};

/// How long a terminal that nobody reads is waited for before it is left as it is.
const TO_GIVE_BACK: Duration = Duration::from_millis(200);

/// Whether the terminal is taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What came from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalInput {
    /// A key.
    Pressed(Press),
    /// It has another size.
    Resized,
}

/// A terminal that the screen is on.
pub struct ScreenTerminal {
    backend: CrosstermBackend<BufWriter<File>>,
    /// What is on it.
    shown: Buffer,
}

impl ScreenTerminal {
    /// Takes the terminal that standard output is. It is given back when this is dropped, and before a panic is told.
    ///
    /// # Errors
    /// It is none, or has gone.
    pub fn take() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let former = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                former(panic);
            }));
        });
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let mut terminal = Self {
            backend: CrosstermBackend::new(BufWriter::with_capacity(64 << 10, out)),
            shown: Buffer::empty(Rect::ZERO),
        };
        terminal.enter()?;
        Ok(terminal)
    }

    fn enter(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(self.backend, EnterAlternateScreen, Hide)?;
        self.forget();
        Ok(())
    }

    /// Everything is drawn anew the next time.
    pub fn forget(&mut self) {
        self.shown = Buffer::empty(Rect::ZERO);
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// The terminal has gone.
    pub fn draw(&mut self, screen: &TopScreen) -> io::Result<()> {
        let (width, height) = size();
        let area = Rect::new(0, 0, width, height);
        let mut next = Buffer::empty(area);
        draw::draw(screen, &mut next);
        execute!(self.backend, BeginSynchronizedUpdate)?;
        if self.shown.area != area {
            execute!(self.backend, Clear(ClearType::All))?;
            self.shown = Buffer::empty(area);
        }
        self.backend.draw(self.shown.diff(&next).into_iter())?;
        execute!(self.backend, EndSynchronizedUpdate)?;
        Backend::flush(&mut self.backend)?;
        self.shown = next;
        Ok(())
    }

    /// What comes within this time, if anything does before the bell rings.
    ///
    /// # Errors
    /// The terminal has gone.
    pub fn input(&mut self, within: Duration, bell: &Bell) -> io::Result<Option<TerminalInput>> {
        // crossterm reads on for ever from a terminal that has gone (0.29, `UnixInternalEventSource::try_read`): it is not asked to wait, and never asked
        // before it is known that the terminal is there.
        if !is_there()? {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !event::poll(Duration::ZERO)? {
            rest(within, bell)?;
            if !is_there()? {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let (width, height) = size();
            if self.shown.area.as_size() != Size::new(width, height) {
                return Ok(Some(TerminalInput::Resized));
            }
            if !event::poll(Duration::ZERO)? {
                return Ok(None);
            }
        }
        Ok(match event::read()? {
            Event::Resize(..) => Some(TerminalInput::Resized),
            Event::Key(key) => press(key).map(TerminalInput::Pressed),
            _ => None,
        })
    }

    /// Stops this process as Ctrl-Z does. Goes on where it is told to.
    ///
    /// # Errors
    /// The terminal has gone meanwhile.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // To this thread: it does not go on before the process has stopped.
        raise(Signal::SIGTSTP)?;
        self.enter()
    }
}

impl Drop for ScreenTerminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was, if it is taken. One that nobody reads is not waited for.
pub fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = disable_raw_mode();
    let out = io::stdout();
    let timeout = PollTimeout::try_from(TO_GIVE_BACK).unwrap_or(PollTimeout::ZERO);
    let takes =
        |fd: BorrowedFd<'_>| poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout).is_ok_and(|ready| ready > 0);
    if takes(out.as_fd())
        && let Ok(fd) = out.as_fd().try_clone_to_owned()
    {
        let mut out = File::from(fd);
        let _ = execute!(out, EndSynchronizedUpdate, LeaveAlternateScreen, Show);
    }
}

/// Columns and rows.
pub fn size() -> (u16, u16) {
    terminal_size::terminal_size_of(io::stdout()).map_or((80, 24), |(width, height)| (width.0, height.0))
}

/// Waits until there is something to read or the bell rings, or for so long.
fn rest(within: Duration, bell: &Bell) -> io::Result<()> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::try_from(within).unwrap_or(PollTimeout::ZERO)) {
        Err(Errno::EINTR) | Ok(_) => bell.hush(),
        Err(why) => return Err(why.into()),
    }
    Ok(())
}

/// Whether the terminal that keys come from is there.
///
/// # Errors
/// It cannot be asked.
pub fn is_there() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Err(Errno::EINTR) => return Ok(true),
        done => done?,
    };
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    Ok(!fds.iter().any(|fd| fd.revents().is_some_and(|events| events.intersects(gone))))
}

fn press(key: KeyEvent) -> Option<Press> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => Press::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Press::Char(c),
        KeyCode::Enter => Press::Enter,
        KeyCode::Esc => Press::Esc,
        KeyCode::Tab => Press::Tab,
        KeyCode::BackTab => Press::BackTab,
        KeyCode::Backspace => Press::Backspace,
        KeyCode::Up => Press::Up,
        KeyCode::Down => Press::Down,
        KeyCode::PageUp => Press::PageUp,
        KeyCode::PageDown => Press::PageDown,
        KeyCode::Home => Press::Home,
        KeyCode::End => Press::End,
        _ => return None,
    })
}

/// Writes the screen as text below what was on the terminal before.
///
/// # Errors
/// It cannot be written.
pub fn leave_standing(text: &str) -> io::Result<()> {
    let out = io::stdout().as_fd().try_clone_to_owned()?;
    File::from(out).write_all(text.as_bytes())
}
