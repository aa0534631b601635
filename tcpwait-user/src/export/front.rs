//! The process that faces the network: this program once more, under a first argument that nobody else would use. It has the listening sockets and one end
//! of a socket pair, gives up everything else, and answers HTTP with what it is told over the pair.

use std::{
    env,
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{Domain, Protocol, Socket, Type};

use super::{confinement, http, questions::Asker};

/// The first argument of the process that is to serve; the descriptors of its listening sockets follow, and standard input is its end of the pair.
pub const VERB: &str = "--serve-metrics";

/// A scrape a second from a handful of servers, waiting at once.
const BACKLOG: i32 = 128;

/// Listens on an address. IPv6 takes no IPv4: each is asked for by itself.
///
/// # Errors
/// The address cannot be had; the message says why.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let doing = || format!("listening on {address}");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).with_context(doing)?;
    if address.is_ipv6() {
        socket.set_only_v6(true).with_context(doing)?;
    }
    // Connections of a former exporter may be in TIME_WAIT.
    socket.set_reuse_address(true).with_context(doing)?;
    socket.bind(&address.into()).with_context(doing)?;
    socket.listen(BACKLOG).with_context(doing)?;
    socket.set_nonblocking(true).with_context(doing)?;
    Ok(socket.into())
}

/// The process that serves, while it runs. Dropping it ends that.
#[derive(Debug)]
pub struct Front {
    child: Child,
}

impl Front {
    /// Starts it on these listeners. Returns the end of the pair over which it asks.
    ///
    /// # Errors
    /// This program cannot be started again.
    pub fn start(listeners: &[TcpListener]) -> Result<(Self, UnixStream)> {
        let (ours, its) = UnixStream::pair().context("making a socket pair")?;
        ours.set_nonblocking(true).context("making a socket pair")?;
        let mut command = Command::new(env::current_exe().context("finding this program")?);
        command.arg(VERB).stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null());
        // Nothing of what was set for the tracing is its business.
        command.env_clear();
        for listener in listeners {
            inherited(listener, true)?;
            command.arg(listener.as_raw_fd().to_string());
        }
        let child = command.spawn().context("starting the process that answers HTTP");
        for listener in listeners {
            inherited(listener, false)?;
        }
        Ok((Self { child: child? }, ours))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // It is gone already, or goes now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn inherited(socket: &impl AsFd, is: bool) -> Result<()> {
    let flag = if is { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(socket, FcntlArg::F_SETFD(flag)).context("handing over a listening socket")?;
    Ok(())
}

/// Carries it out, in the process that was started for it; returns when nobody is there any more to ask.
///
/// # Errors
/// It was not started by [`Front::start`], or may not give up what it has.
pub fn become_front(arguments: &[OsString]) -> Result<()> {
    let mut listeners = Vec::new();
    for argument in arguments {
        let Some(number) = argument.to_str().and_then(|text| text.parse::<RawFd>().ok()).filter(|number| *number > 2)
        else {
            bail!("{VERB} is for tcpwait itself: use tcpwait export");
        };
        // SAFETY: Front::start gave this process the descriptor for this, and nothing here has used it before.
        listeners.push(TcpListener::from(unsafe { OwnedFd::from_raw_fd(number) }));
    }
    confinement::give_up_everything()?;
    let pair = std::io::stdin().as_fd().try_clone_to_owned().context("taking over the socket pair")?;
    let pair = UnixStream::from(pair);
    pair.set_nonblocking(true).context("taking over the socket pair")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")?;
    runtime.block_on(async {
        let mut ends = tokio::net::UnixStream::from_std(pair.try_clone()?)?;
        let asker = Arc::new(Asker::new(tokio::net::UnixStream::from_std(pair)?));
        let room = http::room();
        for listener in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(http::serve(listener, asker.clone(), room.clone()));
        }
        gone(&mut ends).await;
        Ok(())
    })
}

/// Until the other end of the pair is closed. It reads nothing: what comes is the asker's.
async fn gone(pair: &mut tokio::net::UnixStream) {
    loop {
        match pair.ready(tokio::io::Interest::ERROR | tokio::io::Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() && !ready.is_error() => {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            _ => return,
        }
    }
}
