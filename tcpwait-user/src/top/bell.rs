//! What wakes the thread that draws: who has something for it rings, and it waits for the bell and the terminal in one poll(2). So it is not up ten times a
//! second to see that nothing came.

use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use signal_hook::{consts::SIGWINCH, low_level::pipe};

/// A bell. Two that ring before anybody hears it are one.
#[derive(Debug)]
pub struct Bell {
    rope: UnixStream,
    sound: UnixStream,
}

impl Bell {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    /// No socket pair can be had.
    pub fn new() -> io::Result<Self> {
        let (rope, sound) = UnixStream::pair()?;
        rope.set_nonblocking(true)?;
        sound.set_nonblocking(true)?;
        Ok(Self { rope, sound })
    }

    /// Wakes whoever waits, or will. Never waits itself: where the pair is full it rings already.
    pub fn ring(&self) {
        let _ = (&self.rope).write(&[0]);
    }

    /// A terminal of another size rings too, from now on.
    ///
    /// # Errors
    /// The signal cannot be caught.
    pub fn ring_on_resize(&self) -> io::Result<()> {
        pipe::register(SIGWINCH, self.rope.try_clone()?).map(drop)
    }

    /// It is quiet again until somebody rings.
    pub fn hush(&self) {
        let mut rung = [0; 64];
        while (&self.sound).read(&mut rung).is_ok_and(|bytes| bytes == rung.len()) {}
    }
}

/// Readable while it rings.
impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sound.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn rings(bell: &Bell) -> bool {
        poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn it_rings_until_it_is_hushed_however_often() {
        let bell = Bell::new().unwrap();
        assert!(!rings(&bell));
        (0..100_000).for_each(|_| bell.ring());
        assert!(rings(&bell));
        bell.hush();
        assert!(!rings(&bell));
        bell.ring();
        assert!(rings(&bell));
    }

    #[test]
    fn another_size_rings() {
        let bell = Bell::new().unwrap();
        bell.ring_on_resize().unwrap();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGWINCH).unwrap();
        assert!(rings(&bell));
    }
}
