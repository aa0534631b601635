//! What the kernel does that no hook and no type tells: tried out on one connection, in a network namespace of its own that is
//! gone afterwards. It takes some ten milliseconds, changes nothing outside, and knows no kernel version.

use std::{
    fmt, fs,
    io::{self, Read},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::{
    Socket, SocketAddr as NetlinkAddr,
    protocols::{NETLINK_ROUTE, NETLINK_SOCK_DIAG},
};
use nix::{
    libc::{AF_INET, EOPNOTSUPP, IFF_UP, IPPROTO_TCP, RTM_NEWLINK},
    sched::{CloneFlags, unshare},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    netns::on_thread,
    sock_diag::{DiagRequest, SockId, tcp_sockets},
};

/// `SOCK_DESTROY` (include/uapi/linux/sock_diag.h).
const SOCK_DESTROY: u16 = 21;
/// `INET_DIAG_NOCOOKIE`: whichever socket has these addresses.
const NO_COOKIE: [u32; 2] = [u32::MAX; 2];
/// Index of `lo`, the first interface of every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: i32 = 1;
/// `TCP_TIME_WAIT`.
const TIME_WAIT: u8 = 6;
/// How long a step on loopback may take. A FIN that is dropped there is sent again after 200 ms.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// An answer, or why there is none.
pub type Answer = Result<bool, String>;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Whether `SOCK_DESTROY` (`ss -K`) ends a TIME_WAIT.
    pub destroy_ends_time_wait: Answer,
    /// Whether `TcpExtTW` counts a mini-socket when it begins; otherwise when it ends.
    pub tw_counts_beginnings: Answer,
}

/// Tries it.
pub fn of_running_kernel() -> Behaviour {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| failed("making a network namespace for a test connection", e))?;
        Ok(in_a_namespace_of_its_own())
    })
    .unwrap_or_else(|e| Behaviour::unknown(&e))
}

impl Behaviour {
    fn unknown(why: &dyn fmt::Display) -> Self {
        Self { destroy_ends_time_wait: Err(why.to_string()), tw_counts_beginnings: Err(why.to_string()) }
    }
}

fn in_a_namespace_of_its_own() -> Behaviour {
    let before = time_waits_counted();
    let local = match loopback_up().and_then(|()| time_wait()) {
        Ok(local) => local,
        Err(e) => return Behaviour::unknown(&e),
    };
    let after = time_waits_counted();
    let counted = before.and_then(|before| Ok(after? > before));
    Behaviour {
        destroy_ends_time_wait: destroy(local).map_err(|e| e.to_string()),
        tw_counts_beginnings: counted.map_err(|e| e.to_string()),
    }
}

/// A connection whose first end is in TIME_WAIT; returns that end's address and the other's.
fn time_wait() -> io::Result<(SocketAddr, SocketAddr)> {
    let doing = |e| failed("making a connection on loopback", e);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(doing)?;
    let to = listener.local_addr().map_err(doing)?;
    let client = TcpStream::connect_timeout(&to, PATIENCE).map_err(doing)?;
    let ends = (client.local_addr().map_err(doing)?, to);
    let (mut server, _) = listener.accept().map_err(doing)?;
    server.set_read_timeout(Some(PATIENCE)).map_err(doing)?;
    // Not close(): an orphan would get its mini-socket in FIN_WAIT2 already.
    client.shutdown(Shutdown::Write).map_err(doing)?;
    server.read(&mut [0]).map_err(doing)?;
    drop(server);
    let end = Instant::now() + PATIENCE;
    while !is_in_time_wait(ends)? {
        if Instant::now() > end {
            return Err(io::Error::other("a connection on loopback did not enter TIME_WAIT"));
        }
        thread::sleep(PAUSE);
    }
    Ok(ends)
}

fn is_in_time_wait((local, remote): (SocketAddr, SocketAddr)) -> io::Result<bool> {
    let mut found = false;
    tcp_sockets(|socket| {
        found |= (socket.state, socket.lport, socket.rport) == (TIME_WAIT, local.port(), remote.port());
    })
    .map_err(io::Error::other)?;
    Ok(found)
}

/// `TcpExtTW` and `TcpExtTWKilled` of this namespace: the latter counts those of 4 s or less (`__inet_twsk_schedule`), as some vendors' are.
fn time_waits_counted() -> io::Result<u64> {
    const PATH: &str = "/proc/thread-self/net/netstat";
    let text = fs::read_to_string(PATH).map_err(|e| failed(&format!("reading {PATH}"), e))?;
    let tw = counter(&text, "TW").ok_or_else(|| io::Error::other(format!("{PATH} has no counter TW")))?;
    Ok(tw.saturating_add(counter(&text, "TWKilled").unwrap_or_default()))
}

/// A counter of `/proc/net/netstat`: a line of names, then a line of values.
fn counter(netstat: &str, name: &str) -> Option<u64> {
    let mut rows = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (rows.next()?, rows.next()?);
    let (_, value) = names.split_whitespace().zip(values.split_whitespace()).find(|(found, _)| *found == name)?;
    value.parse().ok()
}

/// What `ss -K` does.
fn destroy((local, remote): (SocketAddr, SocketAddr)) -> io::Result<bool> {
    let address = |end: SocketAddr| {
        let mut bytes = [0; 16];
        if let SocketAddr::V4(v4) = end {
            for (to, from) in bytes.iter_mut().zip(v4.ip().octets()) {
                *to = from;
            }
        }
        bytes
    };
    let request = DiagRequest {
        len: size_of::<DiagRequest>() as u32,
        message_type: SOCK_DESTROY,
        flags: NLM_F_REQUEST | NLM_F_ACK,
        sequence: 1,
        port: 0,
        family: AF_INET as u8,
        protocol: IPPROTO_TCP as u8,
        extensions: 0,
        pad: 0,
        states: 1 << TIME_WAIT,
        id: SockId {
            sport: local.port().to_be_bytes(),
            dport: remote.port().to_be_bytes(),
            src: address(local),
            dst: address(remote),
            ifindex: 0,
            cookie: NO_COOKIE,
        },
    };
    match ask(NETLINK_SOCK_DIAG, request.as_bytes()) {
        // What is said to be gone may not be.
        Ok(()) => Ok(!is_in_time_wait((local, remote))?),
        // tcp_abort() of old kernels, or a kernel without CONFIG_INET_DIAG_DESTROY.
        Err(e) if e.raw_os_error() == Some(EOPNOTSUPP) => Ok(false),
        Err(e) => Err(failed("destroying a TIME_WAIT through sock_diag", e)),
    }
}

/// `struct nlmsghdr` and `struct ifinfomsg`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct LinkRequest {
    len: u32,
    message_type: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    pad: u8,
    device_type: u16,
    index: i32,
    device_flags: u32,
    change: u32,
}

fn loopback_up() -> io::Result<()> {
    let up = IFF_UP as u32;
    let request = LinkRequest {
        len: size_of::<LinkRequest>() as u32,
        message_type: RTM_NEWLINK,
        flags: NLM_F_REQUEST | NLM_F_ACK,
        sequence: 1,
        port: 0,
        family: 0,
        pad: 0,
        device_type: 0,
        index: LOOPBACK,
        device_flags: up,
        change: up,
    };
    ask(NETLINK_ROUTE, request.as_bytes()).map_err(|e| failed("setting loopback up", e))
}

/// Sends a request and waits for the kernel's yes or no, which a netlink socket has ready when `send` returns.
fn ask(protocol: isize, request: &[u8]) -> io::Result<()> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    socket.send(request, 0)?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        let unclear = || io::Error::other("the kernel's answer on a netlink socket is malformed");
        let message =
            buffer.get(..length).and_then(|bytes| NetlinkBuffer::new_checked(bytes).ok()).ok_or_else(unclear)?;
        if message.message_type() != NLMSG_ERROR {
            continue;
        }
        return match i32::read_from_prefix(message.payload()) {
            Ok((0, _)) => Ok(()),
            Ok((code, _)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            Err(_) => Err(unclear()),
        };
    }
}

fn failed(doing: &str, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Run by root and by others: where it cannot be tried nothing is claimed.
    #[test]
    fn without_the_right_to_a_namespace_nothing_is_known() {
        let may = on_thread(|| Ok(unshare(CloneFlags::CLONE_NEWNET).is_ok())).unwrap();
        let Behaviour { destroy_ends_time_wait, tw_counts_beginnings } = of_running_kernel();
        for answer in [destroy_ends_time_wait, tw_counts_beginnings] {
            let refused = answer.as_ref().is_err_and(|why| why.contains("making a network namespace"));
            assert_eq!(refused, !may, "{answer:?}");
        }
    }

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let netstat = "TcpExt: SyncookiesSent TWRecycled TW TWKilled\nTcpExt: 1 2 3 4\nIpExt: TW\nIpExt: 9\n";
        assert_eq!(counter(netstat, "TW"), Some(3));
        assert_eq!(counter(netstat, "TWRecycled"), Some(2));
        assert_eq!(counter(netstat, "T"), None);
        assert_eq!(counter("TcpExt: TW\nTcpExt:\n", "TW"), None);
        assert_eq!(counter("", "TW"), None);
    }
}
