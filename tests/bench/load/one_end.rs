//! One end of many connections in one thread, which never waits for one of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use nix::errno::Errno;
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::connections::{ANSWER, DESTINATIONS, ERRORS, REQUEST};
use crate::veth::{self, Device};

/// Connections at once.
const AT_ONCE: usize = 16;
const PORT: u16 = 80;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum End {
    /// Connects, asks, and closes first: its sockets go to TIME_WAIT.
    Client,
    /// Accepts, answers, and closes when the client has.
    Server,
}

impl End {
    /// The one at the other end.
    pub fn other(self) -> Self {
        match self {
            End::Client => End::Server,
            End::Server => End::Client,
        }
    }

    /// Its device.
    pub fn device(self) -> Device {
        match self {
            End::Client => veth::CLIENT,
            End::Server => veth::SERVER,
        }
    }
}

/// What a connection waits for.
enum Step {
    Connected,
    /// So many bytes of the answer.
    Answer(usize),
    /// So many bytes of the request.
    Request(usize),
    End,
}

/// The ends that are open, and what became of those that were.
pub struct Ends {
    listener: Option<Socket>,
    open: Vec<(Socket, Step)>,
    polled: Vec<libc::pollfd>,
    begun: u64,
    /// Connections that are over.
    pub made: u64,
    /// Connections that failed.
    pub errors: u64,
    /// The first failure, in words.
    pub error: Option<String>,
}

impl Ends {
    /// None yet. A server's end listens from now on.
    pub fn new(end: End) -> Result<Self> {
        let listen = || {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
            listener.listen(128)?;
            listener.set_nonblocking(true)?;
            anyhow::Ok(listener)
        };
        let listener = (end == End::Server).then(listen).transpose().context("listening")?;
        Ok(Self { listener, open: Vec::new(), polled: Vec::new(), begun: 0, made: 0, errors: 0, error: None })
    }

    /// Takes every connection a step on that can take one. Whether there was one, within so many milliseconds.
    pub fn turn(&mut self, milliseconds: u16) -> Result<bool> {
        if self.listener.is_none() {
            while self.open.len() < AT_ONCE {
                self.connect()?;
            }
        }
        let wants = |(socket, step): &(Socket, Step)| match step {
            Step::Connected => polled(socket, libc::POLLOUT),
            _ => polled(socket, libc::POLLIN),
        };
        self.polled.clear();
        self.polled.extend(self.open.iter().map(wants));
        self.polled.extend(self.listener.iter().map(|listener| polled(listener, libc::POLLIN)));
        // SAFETY: the pointer and the number are those of one vector, which nothing else uses meanwhile.
        let ready =
            unsafe { libc::poll(self.polled.as_mut_ptr(), self.polled.len() as libc::nfds_t, milliseconds.into()) };
        match Errno::result(ready) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for connections"),
        }
        // From the last, as one that is over makes room for the last.
        for place in (0..self.open.len()).rev() {
            if self.polled.get(place).is_some_and(|polled| polled.revents != 0) {
                self.step(place)?;
            }
        }
        if self.listener.is_some() && self.polled.last().is_some_and(|polled| polled.revents != 0) {
            self.accept()?;
        }
        Ok(true)
    }

    fn connect(&mut self) -> Result<()> {
        let destination = (self.begun % u64::from(DESTINATIONS)) as u32;
        self.begun += 1;
        let to = SocketAddr::from((Ipv4Addr::from(u32::from(veth::SERVED) + destination), PORT));
        let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).context("making a socket")?;
        client.set_nonblocking(true).context("having a socket not wait")?;
        match client.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => {
                self.failed(&anyhow::Error::new(error).context(format!("connecting to {to}")))
            }
            _ => {
                self.open.push((client, Step::Connected));
                Ok(())
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        loop {
            match listener.accept() {
                Ok((server, _)) => {
                    server.set_nonblocking(true).context("having a socket not wait")?;
                    self.open.push((server, Step::Request(REQUEST.len())));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            }
        }
    }

    fn step(&mut self, place: usize) -> Result<()> {
        let Some((socket, step)) = self.open.get_mut(place) else { return Ok(()) };
        match next(socket, step) {
            Ok(Some(next)) => *step = next,
            Ok(None) => {
                self.open.swap_remove(place);
                self.made += 1;
            }
            Err(error) => {
                self.open.swap_remove(place);
                self.failed(&error)?;
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &anyhow::Error) -> Result<()> {
        self.errors += 1;
        let first = self.error.get_or_insert_with(|| format!("{error:#}"));
        if self.errors >= ERRORS {
            bail!("{} connections failed, the first: {first}", self.errors);
        }
        Ok(())
    }
}

fn polled(socket: &Socket, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 }
}

/// Does what the connection has waited for. What it waits for now; `None`: it is over.
fn next(mut socket: &Socket, step: &Step) -> Result<Option<Step>> {
    let mut buffer = [0; ANSWER.len()];
    let mut left = |mut socket: &Socket, left: usize| -> Result<usize> {
        match socket.read(buffer.split_at_mut(left.min(ANSWER.len())).0).context("reading")? {
            0 => bail!("the end came where data should have"),
            read => Ok(left.saturating_sub(read)),
        }
    };
    Ok(match step {
        Step::Connected => {
            if let Some(error) = socket.take_error().context("asking what became of a connect")? {
                return Err(error).context("connecting");
            }
            socket.write_all(&REQUEST).context("writing the request")?;
            Some(Step::Answer(ANSWER.len()))
        }
        Step::Answer(length) => Some(left(socket, *length)?).filter(|left| *left > 0).map(Step::Answer),
        Step::Request(length) => match left(socket, *length)? {
            0 => {
                socket.write_all(&ANSWER).context("writing the answer")?;
                Some(Step::End)
            }
            left => Some(Step::Request(left)),
        },
        Step::End => match socket.read(&mut [0]).context("reading the other side's end")? {
            0 => None,
            _ => bail!("data came where the end should have"),
        },
    })
}
