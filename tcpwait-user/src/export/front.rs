//! The process that faces the network: this program once more, under a first argument that nobody else would use. It listens, gives up everything but its
//! listening sockets and one end of a socket pair, and answers HTTP with what it is told over the pair.

use std::{
    env,
    ffi::OsString,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use listenfd::ListenFd;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::{confinement, http, questions::Asker, web::in_force::Policies};

/// The first argument of the process that is to serve; addresses follow, unless it inherits sockets that are listened on already, and standard input is its
/// end of the pair.
pub const VERB: &str = "--serve-metrics";

/// How many sockets it inherits, for [`ListenFd`].
const INHERITED: &str = "LISTEN_FDS";

/// Connections that may wait to be accepted: a handful of servers scrape at once.
const BACKLOG: i32 = 128;

/// What it says once it listens, before the addresses; else it says why it cannot.
const READY: &str = "ready";

/// What it says is never longer, in bytes.
const MAX_SAID: usize = 4096;

/// What the process that serves listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenPlace {
    /// Addresses of its own.
    Addresses(Vec<SocketAddr>),
    /// So many sockets of the service manager's, from descriptor 3 on (sd_listen_fds(3)).
    Inherited(usize),
}

impl ListenPlace {
    /// The sockets that a service manager has given to this very process.
    pub fn inherited() -> Option<Self> {
        let number = |name: &str| env::var(name).ok()?.parse().ok();
        let is_ours = number("LISTEN_PID") == Some(u64::from(std::process::id()));
        let count = number("LISTEN_FDS").filter(|count| is_ours && *count > 0)?;
        Some(Self::Inherited(usize::try_from(count).ok()?))
    }
}

/// The process that serves, while it runs. Dropping it ends that.
#[derive(Debug)]
pub struct Front {
    child: Child,
    /// The end of the pair over which it asks.
    pair: UnixStream,
}

impl Front {
    /// Starts it there. Returns the end of the pair over which it asks and where it listens, when it does and has given up its rights.
    ///
    /// # Errors
    /// An address cannot be had, or this program cannot be started again; the message says why.
    pub fn start(place: &ListenPlace) -> Result<(Self, UnixStream, Vec<SocketAddr>)> {
        let (ours, its) = UnixStream::pair().context("making a socket pair")?;
        let mut command = Command::new(env::current_exe().context("finding this program")?);
        command.arg(VERB).stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null());
        // Nothing of what was set for the tracing is its business.
        command.env_clear();
        match place {
            ListenPlace::Addresses(addresses) => command.args(addresses.iter().map(ToString::to_string)),
            // They stay open when it is executed. Its process id, which LISTEN_PID would have to be, is not known yet.
            ListenPlace::Inherited(count) => command.env(INHERITED, count.to_string()),
        };
        let pair = ours.try_clone().context("making a socket pair")?;
        let front = Self { child: command.spawn().context("starting the process that answers HTTP")?, pair };
        // Its end is this process's too as long as the command has it.
        drop(command);
        let said = line(&ours).context("waiting for the process that answers HTTP")?;
        let Some(bound) = said.strip_prefix(READY) else {
            bail!("{}", if said.is_empty() { "the process that answers HTTP has ended" } else { &said });
        };
        let bound = bound.split_whitespace().filter_map(|address| address.parse().ok()).collect();
        ours.set_nonblocking(true).context("talking to the process that answers HTTP")?;
        Ok((front, ours, bound))
    }
}

/// The first line, and not a byte more: its first question may be right behind.
fn line(mut pair: &UnixStream) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < MAX_SAID && pair.read(&mut byte)? > 0 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

impl Drop for Front {
    fn drop(&mut self) {
        // It goes when nobody is there any more to ask. A signal is not for this process to send: that one is another user's.
        let _ = self.pair.shutdown(Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// Carries it out, in the process that was started for it; returns when nobody is there any more to ask.
///
/// # Errors
/// It was not started by [`Front::start`]; or it says over the pair why it cannot serve.
pub fn become_front(arguments: &[OsString]) -> Result<()> {
    let pair = std::io::stdin().as_fd().try_clone_to_owned().context("taking over the socket pair")?;
    let mut pair = UnixStream::from(pair);
    // What standard input is has an address only if it is a socket.
    if pair.peer_addr().is_err() {
        bail!("{VERB} is for tcpwait itself: use tcpwait export");
    }
    // Ctrl-C, and a service's end, mean the tracing process, which has to end first. A handler that does nothing is one that ignores them.
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::default()).context("leaving signals to the tracing process")?;
    }
    match listen_and_give_up(arguments) {
        Ok(listeners) => {
            let bound = listeners.iter().map(|listener| listener.local_addr().map(|address| format!(" {address}")));
            let bound: String =
                bound.collect::<Result<_, _>>().context("asking for the address that is listened on")?;
            writeln!(pair, "{READY}{bound}").context("talking to the tracing process")?;
            serve(pair, listeners)
        }
        Err(why) => {
            writeln!(pair, "{}", format!("{why:#}").replace('\n', " ")).context("talking to the tracing process")
        }
    }
}

fn listen_and_give_up(arguments: &[OsString]) -> Result<Vec<TcpListener>> {
    let listeners = if arguments.is_empty() { inherited()? } else { listening(arguments)? };
    confinement::give_up_everything()?;
    // It will have the private key of TLS in its memory: another process of the same user may not look there, and a core dump has none of it.
    nix::sys::prctl::set_dumpable(false).context("hiding this process's memory (PR_SET_DUMPABLE)")?;
    Ok(listeners)
}

fn listening(addresses: &[OsString]) -> Result<Vec<TcpListener>> {
    let listeners = addresses.iter().map(|address| {
        let address = address.to_str().and_then(|text| text.parse().ok()).context("an address that is none")?;
        listen(address)
    });
    listeners.collect()
}

fn inherited() -> Result<Vec<TcpListener>> {
    let mut sockets = ListenFd::from_env();
    let listeners = (0..sockets.len()).map(|at| {
        let doing = || format!("taking over socket {} of the service manager", at + 1);
        let listener = sockets.take_tcp_listener(at).with_context(doing)?.with_context(doing)?;
        listener.set_nonblocking(true).with_context(doing)?;
        Ok(listener)
    });
    listeners.collect()
}

/// Listens on an address. IPv6 takes no IPv4: each is asked for by itself.
fn listen(address: SocketAddr) -> Result<TcpListener> {
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

fn serve(pair: UnixStream, listeners: Vec<TcpListener>) -> Result<()> {
    pair.set_nonblocking(true).context("taking over the socket pair")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")?;
    runtime.block_on(async {
        let ends = tokio::net::UnixStream::from_std(pair.try_clone()?)?;
        let asker = Arc::new(Asker::new(tokio::net::UnixStream::from_std(pair)?));
        let policies = tokio::select! {
            policies = Policies::first(asker.clone()) => Arc::new(policies?),
            () = gone(&ends) => return Ok(()),
        };
        let seats = http::seats();
        for listener in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(http::serve(listener, asker.clone(), policies.clone(), seats.clone()));
        }
        gone(&ends).await;
        Ok(())
    })
}

/// Until the other end of the pair is closed. It reads nothing: what comes is the asker's, and wakes nobody here, since a closed end is part of what
/// [`Interest::PRIORITY`] waits for and data is not.
async fn gone(pair: &tokio::net::UnixStream) {
    while pair.ready(Interest::PRIORITY).await.is_ok_and(|ready| !ready.is_read_closed()) {}
}
