//! Connections as fast as a core makes them: both ends of each are in one thread, so that nothing waits for a scheduler and the
//! kernel's own path is what takes the time. That is the hardest case for whoever traces it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Barrier;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Close, place};

/// Destinations in 127.0.0.0/8 that connections take in turn: each has all the local ports to itself, so that next to no
/// connection meets the port of a former one, whose TIME_WAIT it would end (`tcp_tw_reuse`).
pub const DESTINATIONS: u32 = 16_384;
/// Loopback has one IPv6 address, so there it is the server's ports.
const SERVER_PORTS: u16 = 32;
/// More errors than this are not one: the load does not run.
pub const ERRORS: u64 = 1000;

/// What a client writes.
pub const REQUEST: [u8; 64] = [b'q'; 64];
/// What a server writes.
pub const ANSWER: [u8; 256] = [b'a'; 256];

/// What was done.
#[derive(Debug, Default, Serialize)]
pub struct Done {
    connections: u64,
    errors: u64,
    /// The first of them, in words.
    error: Option<String>,
    seconds: f64,
    /// There at the end.
    time_waits: Option<u64>,
    /// Connections that skipped TIME_WAIT, as there were too many.
    overflows: Option<u64>,
}

/// Makes connections for some time on so many cores.
pub fn run(close: Close, cores: u16, length: Duration, ipv6: bool) -> Result<Done> {
    if close == Close::Both && cores > 2 {
        bail!("both ends at once are closed on one core or on two");
    }
    // With both ends closed at once the second core is there to close.
    let makers = if close == Close::Both { 1 } else { cores };
    let closer = (close == Close::Both && cores == 2).then(Closer::default);
    let start = Barrier::new(usize::from(makers));
    let mut done = Done::default();
    thread::scope(|scope| {
        if let Some(closer) = &closer {
            scope.spawn(|| closer.run());
        }
        let makers: Vec<_> = (0..makers)
            .map(|core| {
                let (start, closer) = (&start, closer.as_ref());
                scope.spawn(move || make(core, close, length, ipv6, start, closer))
            })
            .collect();
        for maker in makers {
            match maker.join() {
                Ok(Ok(part)) => {
                    done.connections += part.connections;
                    done.errors += part.errors;
                    done.error = done.error.take().or(part.error);
                    done.seconds = done.seconds.max(part.seconds);
                }
                Ok(Err(error)) => done.error = Some(format!("{error:#}")),
                Err(_) => done.error = Some("a thread ended in the middle".to_owned()),
            }
        }
        if let Some(closer) = &closer {
            closer.over.store(true, Ordering::Release);
        }
    });
    done.time_waits = place::time_waits().context("reading /proc/self/net/sockstat")?;
    done.overflows =
        place::counter("netstat", "TcpExt", "TCPTimeWaitOverflow").context("reading /proc/self/net/netstat")?;
    if done.connections == 0 {
        bail!("no connection was made: {}", done.error.unwrap_or_default());
    }
    Ok(done)
}

fn make(
    core: u16,
    close: Close,
    length: Duration,
    ipv6: bool,
    start: &Barrier,
    closer: Option<&Closer>,
) -> Result<Done> {
    let ends = place::keep_to_core(core).and_then(|()| Ends::new(ipv6));
    // Even without ends: the others wait here.
    start.wait();
    let ends = ends?;
    let begin = Instant::now();
    let mut done = Done::default();
    while begin.elapsed() < length && done.errors < ERRORS {
        match connection(&ends, done.connections, close, closer) {
            Ok(()) => done.connections += 1,
            Err(error) => {
                done.errors += 1;
                done.error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
    done.seconds = begin.elapsed().as_secs_f64();
    Ok(done)
}

fn connection(ends: &Ends, number: u64, close: Close, closer: Option<&Closer>) -> Result<()> {
    let (mut client, mut server) = ends.connect(number)?;
    let mut buffer = [0; ANSWER.len()];
    client.write_all(&REQUEST).context("writing the request")?;
    server.read_exact(buffer.split_at_mut(REQUEST.len()).0).context("reading the request")?;
    server.write_all(&ANSWER).context("writing the answer")?;
    client.read_exact(&mut buffer).context("reading the answer")?;
    match (close, closer) {
        (Close::Client, _) => {
            drop(client);
            end(server)
        }
        (Close::Server, _) => {
            drop(server);
            end(client)
        }
        (Close::Both, Some(closer)) => {
            closer.close_with(server, client);
            Ok(())
        }
        (Close::Both, None) => {
            drop(client);
            drop(server);
            Ok(())
        }
    }
}

fn end(mut socket: Socket) -> Result<()> {
    match socket.read(&mut [0]).context("reading the other side's end")? {
        0 => Ok(()),
        _ => bail!("data came where the end should have"),
    }
}

/// A listener for each server port, and where to reach them.
pub struct Ends {
    domain: Domain,
    listeners: Vec<(Socket, SocketAddr)>,
}

impl Ends {
    /// Listens.
    pub fn new(ipv6: bool) -> Result<Self> {
        let (domain, any, ports) = match ipv6 {
            true => (Domain::IPV6, SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), SERVER_PORTS),
            false => (Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), 1),
        };
        let listen = |_| {
            let listener = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            listener.bind(&any.into())?;
            listener.listen(16)?;
            let address = listener.local_addr()?.as_socket().context("a listener without an address")?;
            Ok((listener, address))
        };
        let listeners = (0..ports).map(listen).collect::<Result<_>>().context("listening on loopback")?;
        Ok(Self { domain, listeners })
    }

    /// Both ends of the connection with this number.
    pub fn connect(&self, number: u64) -> Result<(Socket, Socket)> {
        let turn = (number % self.listeners.len().max(1) as u64) as usize;
        let (listener, address) = self.listeners.get(turn).context("there is no listener")?;
        let mut to = *address;
        if to.is_ipv4() {
            let destination = (number % u64::from(DESTINATIONS)) as u32;
            to.set_ip(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + destination).into());
        }
        let client = Socket::new(self.domain, Type::STREAM, Some(Protocol::TCP)).context("making a socket")?;
        client.connect(&to.into()).with_context(|| format!("connecting to {to}"))?;
        let (server, _) = listener.accept().context("accepting")?;
        Ok((client, server))
    }
}

/// Closes one end on a second core while the first closes the other.
#[derive(Default)]
struct Closer {
    handed: Mutex<Option<Socket>>,
    waiting: AtomicBool,
    over: AtomicBool,
}

impl Closer {
    fn run(&self) {
        // Where it runs makes it faster, not right.
        let _ = place::keep_to_core(1);
        while !self.over.load(Ordering::Acquire) {
            if self.waiting.load(Ordering::Acquire) {
                let handed = self.handed.lock().ok().and_then(|mut handed| handed.take());
                drop(handed);
                self.waiting.store(false, Ordering::Release);
            }
            std::hint::spin_loop();
        }
    }

    fn close_with(&self, there: Socket, here: Socket) {
        if let Ok(mut handed) = self.handed.lock() {
            *handed = Some(there);
        }
        self.waiting.store(true, Ordering::Release);
        drop(here);
        while self.waiting.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    }
}
