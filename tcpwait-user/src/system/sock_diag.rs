//! Lists the TCP sockets of a network namespace through `NETLINK_SOCK_DIAG`, as `ss` does (sock_diag(7)).
//!
//! Works on the namespace of the calling thread and knows of no other. Reports what the kernel says and interprets
//! nothing: a TIME_WAIT socket comes with its substate as state, a request socket as SYN_RECV.

mod age;
mod answer;

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::libc::{AF_INET, AF_INET6, AF_UNSPEC, IPPROTO_TCP, MSG_TRUNC};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::age::time_wait_has_own_length;
use self::answer::{DiagAnswer, read_datagram};

/// `SOCK_DIAG_BY_FAMILY` (include/uapi/linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `TCPDIAG_GETSOCK` (include/uapi/linux/inet_diag.h): older, and the only one that lists both families at once.
const TCPDIAG_GETSOCK: u16 = 18;
/// Every state in `include/net/tcp_states.h` from ESTABLISHED (1) to CLOSING (11); SYN_RECV includes request sockets.
/// Not beyond: BOUND_INACTIVE (13, since 6.8) makes the kernel walk the bind table for sockets that were never connected.
pub const ALL_STATES: u32 = 0xffe;
/// `1 << (INET_DIAG_INFO - 1)`: the extension that asks for `struct tcp_info`.
const INET_DIAG_INFO_BIT: u8 = 1 << 1;
/// Big enough for any datagram of a dump: the kernel fills at most 32 KiB of it, but only for a reader with room for that
/// (`netlink_recvmsg`), and then one call fetches some 300 sockets.
const BUFFER: usize = 256 * 1024;

/// A TCP socket as the kernel describes it (`struct inet_diag_msg`, include/uapi/linux/inet_diag.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiagSocket {
    /// `AF_INET` (2) or `AF_INET6` (10); a v4-mapped socket is `AF_INET6` here.
    pub family: u8,
    /// `enum` of `include/net/tcp_states.h`; of a TIME_WAIT socket its substate, 5 (FIN_WAIT2) or 6 (TIME_WAIT).
    pub state: u8,
    /// Which timer runs: 0 none, 1 retransmission, 2 keepalive, 3 TIME_WAIT's, 4 zero-window probe.
    pub timer: u8,
    /// Milliseconds to the nominal expiry of that timer.
    pub expires_ms: u32,
    /// How often that timer ran out and a segment was sent again; of a request socket the SYN-ACKs.
    pub retransmits: u8,
    /// Local address in network byte order; IPv4 in the first four bytes, the rest zero.
    pub laddr: [u8; 16],
    /// Remote address, likewise.
    pub raddr: [u8; 16],
    /// Local port in host byte order.
    pub lport: u16,
    /// Remote port in host byte order.
    pub rport: u16,
    /// The socket cookie (`sk:` of `ss -e`).
    pub cookie: u64,
    /// User id of the socket in this process's user namespace; 0 for TIME_WAIT and request sockets.
    pub uid: u32,
    /// Inode number of the socket's file (`socket:[N]`); 0 when it has none (any more).
    pub inode: u32,
    /// The interface the socket is bound to; 0 for none.
    pub ifindex: u32,
    /// `Recv-Q`: of a listener, connections that wait for accept(); else what nobody has read: bytes, and 1 for the FIN.
    pub receive_queue: u32,
    /// `Send-Q`: of a listener, how many may wait (`sk_max_ack_backlog`); else bytes that are not acknowledged.
    pub send_queue: u32,
    /// Whether it has IPV6_V6ONLY; only of a socket of IPv6 that listens.
    pub v6only: Option<bool>,
    /// What TCP itself tells (`struct tcp_info`), where that is asked for; of a full socket that does not listen.
    pub info: Option<Info>,
}

/// Of `struct tcp_info` (include/uapi/linux/tcp.h, `tcp_get_info`). Times are right to a jiffy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Milliseconds since data was last sent (`lsndtime`: `tcp_event_data_sent`, and when it became ESTABLISHED); a bare FIN is no data.
    pub data_sent_ms: u32,
    /// Milliseconds since data last came in order (`lrcvtime`: `tcp_event_data_recv`).
    pub data_received_ms: u32,
    /// Milliseconds since a segment last came whose acknowledgement is not older than others (`rcv_tstamp`: `tcp_ack`).
    pub ack_received_ms: u32,
    /// Whether it has ever sent data (`bytes_sent`, which counts neither SYN nor FIN).
    pub has_sent: bool,
    /// The window that the peer offers, in bytes; `None` before 5.4.
    pub send_window: Option<u32>,
}

/// Which sockets are asked for. The kernel leaves the others out, which takes it less time than to describe them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiagQuery {
    /// Those of `AF_INET`. IPv4 connections of IPv6 sockets are not among them.
    pub v4: bool,
    /// Those of `AF_INET6`.
    pub v6: bool,
    /// A bit for each state (`1 << state`); of a mini-socket its substate counts.
    pub states: u32,
    /// What TCP itself tells of each, too: [`DiagSocket::info`]. It makes an answer three times as long, and takes each socket's lock.
    pub info: bool,
}

impl DiagQuery {
    /// Every socket that is connected, connecting or listening.
    pub const EVERYTHING: Self = Self { v4: true, v6: true, states: ALL_STATES, info: false };
}

/// How a listing went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The kernel flagged that the table changed under the listing (`NLM_F_DUMP_INTR`): sockets may be missing or double.
    pub inconsistent: bool,
}

/// Why the sockets could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no sock_diag for TCP.
    #[error(
        "the kernel cannot list TCP sockets (sock_diag: {0}): its modules tcp_diag and inet_diag are not loaded; \
         run `modprobe -a tcp_diag inet_diag`"
    )]
    NoModule(io::Error),
    /// A system call on the netlink socket failed.
    #[error("cannot list TCP sockets: {call} on a NETLINK_SOCK_DIAG socket failed: {error}")]
    Call {
        /// The system call.
        call: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// The kernel refused the request.
    #[error("cannot list TCP sockets: the kernel refused the sock_diag request for address family {family}: {error}")]
    Refused {
        /// `AF_INET`, `AF_INET6`, or 0 for both.
        family: u8,
        /// The errno it sent.
        error: io::Error,
    },
    /// The answer does not follow the format.
    #[error(
        "cannot list TCP sockets: the kernel's sock_diag answer is malformed: {0}; please report this with `uname -r`"
    )]
    Malformed(&'static str),
}

/// `struct inet_diag_sockid`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(super) struct SockId {
    pub sport: [u8; 2],
    pub dport: [u8; 2],
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub ifindex: u32,
    pub cookie: [u32; 2],
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
pub(super) struct DiagRequest {
    pub len: u32,
    pub message_type: u16,
    pub flags: u16,
    pub sequence: u32,
    pub port: u32,
    pub family: u8,
    pub protocol: u8,
    pub extensions: u8,
    pub pad: u8,
    pub states: u32,
    pub id: SockId,
}

/// `struct nlmsghdr` and `struct inet_diag_req`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct OldRequest {
    len: u32,
    message_type: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    prefixes: [u8; 2],
    extensions: u8,
    id: SockId,
    states: u32,
    tables: u32,
}

/// No socket in particular.
const ANY: SockId = SockId { sport: [0; 2], dport: [0; 2], src: [0; 16], dst: [0; 16], ifindex: 0, cookie: [0; 2] };

const _: () = assert!(size_of::<DiagRequest>() == 16 + 56 && size_of::<OldRequest>() == 16 + 60);

/// Calls `each` for every TCP socket, IPv4 and IPv6, of the calling thread's network namespace. Needs no privilege.
///
/// It is no snapshot: a socket that changes its place in the kernel's table meanwhile may come twice or not at all.
pub fn tcp_sockets(each: impl FnMut(DiagSocket)) -> Result<Dump, Error> {
    tcp_sockets_of(DiagQuery::EVERYTHING, each)
}

/// The same for those that are asked for.
pub fn tcp_sockets_of(asked: DiagQuery, mut each: impl FnMut(DiagSocket)) -> Result<Dump, Error> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::EPROTONOSUPPORT) => Error::NoModule(error),
        _ => Error::Call { call: "socket()", error },
    })?;
    socket.bind_auto().map_err(|error| Error::Call { call: "bind()", error })?;
    // Connected to the kernel, so that no other process's message gets in.
    socket.connect(&SocketAddr::new(0, 0)).map_err(|error| Error::Call { call: "connect()", error })?;
    let mut buffer = vec![0; BUFFER];
    let mut dump = Dump::default();
    let states = asked.states & ALL_STATES;
    let extensions = if asked.info { INET_DIAG_INFO_BIT } else { 0 };
    if asked.v4 && asked.v6 {
        // The tables are shared by both families and by all network namespaces: walking them once takes half the time.
        let mut any = false;
        let mut each = |socket| {
            any = true;
            each(socket);
        };
        match converse(&socket, old_request(1, states, extensions).as_bytes(), 1, &mut buffer, &mut dump, &mut each)? {
            None => return Ok(dump),
            // A kernel without this request has the other one.
            Some(_) if !any => {}
            Some(errno) => {
                return Err(Error::Refused { family: AF_UNSPEC as u8, error: io::Error::from_raw_os_error(errno) });
            }
        }
    }
    let families = [(asked.v4, AF_INET as u8, 2), (asked.v6, AF_INET6 as u8, 3)];
    for (_, family, sequence) in families.into_iter().filter(|(asked, ..)| *asked) {
        let request = request(family, sequence, states, extensions);
        if let Some(errno) = converse(&socket, request.as_bytes(), sequence, &mut buffer, &mut dump, &mut each)? {
            absent_or_refused(family, errno)?;
        }
    }
    Ok(dump)
}

/// Sends a request and reads the whole answer; a positive errno where the kernel refuses.
fn converse(
    socket: &Socket,
    request: &[u8],
    sequence: u32,
    buffer: &mut [u8],
    dump: &mut Dump,
    each: &mut impl FnMut(DiagSocket),
) -> Result<Option<i32>, Error> {
    socket.send(request, 0).map_err(|error| Error::Call { call: "send()", error })?;
    loop {
        match read_datagram(receive(socket, buffer)?, sequence, dump, each)? {
            DiagAnswer::More => {}
            DiagAnswer::Done => return Ok(None),
            DiagAnswer::Failed(errno) => return Ok(Some(errno)),
        }
    }
}

fn request(family: u8, sequence: u32, states: u32, extensions: u8) -> DiagRequest {
    DiagRequest {
        len: size_of::<DiagRequest>() as u32,
        message_type: SOCK_DIAG_BY_FAMILY,
        flags: NLM_F_REQUEST | NLM_F_DUMP,
        sequence,
        port: 0,
        family,
        protocol: IPPROTO_TCP as u8,
        extensions,
        pad: 0,
        states,
        id: ANY,
    }
}

fn old_request(sequence: u32, states: u32, extensions: u8) -> OldRequest {
    OldRequest {
        len: size_of::<OldRequest>() as u32,
        message_type: TCPDIAG_GETSOCK,
        flags: NLM_F_REQUEST | NLM_F_DUMP,
        sequence,
        port: 0,
        family: AF_UNSPEC as u8,
        prefixes: [0; 2],
        extensions,
        id: ANY,
        states,
        tables: 0,
    }
}

fn receive<'a>(socket: &Socket, buffer: &'a mut [u8]) -> Result<&'a [u8], Error> {
    let length = loop {
        match socket.recv(&mut &mut *buffer, MSG_TRUNC) {
            Ok(length) => break length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Call { call: "recv()", error }),
        }
    };
    buffer.get(..length).ok_or(Error::Malformed("a datagram of more than 256 KiB"))
}

/// Without IPv6 in the kernel there is nothing to list; without AF_INET the module is missing.
fn absent_or_refused(family: u8, errno: i32) -> Result<(), Error> {
    use nix::libc::{EAFNOSUPPORT, EINVAL, ENOENT};
    let error = io::Error::from_raw_os_error(errno);
    match errno {
        ENOENT | EINVAL | EAFNOSUPPORT if family == AF_INET6 as u8 => Ok(()),
        ENOENT => Err(Error::NoModule(error)),
        _ => Err(Error::Refused { family, error }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn a_missing_module_and_missing_ipv6() {
        let missing = absent_or_refused(2, nix::libc::ENOENT).unwrap_err();
        assert!(missing.to_string().contains("modprobe"), "{missing}");
        assert!(absent_or_refused(10, nix::libc::ENOENT).is_ok());
        assert!(absent_or_refused(10, nix::libc::EINVAL).is_ok());
        assert!(matches!(absent_or_refused(2, nix::libc::EINVAL), Err(Error::Refused { family: 2, .. })));
    }

    #[test]
    fn lists_what_is_asked_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = |asked| {
            let mut found = false;
            tcp_sockets_of(asked, |socket| found |= socket.lport == port && socket.state == 10).unwrap();
            found
        };
        assert!(found(DiagQuery { states: 1 << 10, ..DiagQuery::EVERYTHING }));
        assert!(!found(DiagQuery { states: 1 << 6, ..DiagQuery::EVERYTHING }));
        assert!(!found(DiagQuery { v4: false, ..DiagQuery::EVERYTHING }));
    }

    #[test]
    fn finds_an_own_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut found = Vec::new();
        tcp_sockets(|socket| {
            if socket.lport == port && socket.state == 10 {
                found.push(socket)
            }
        })
        .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].laddr[..5], [127, 0, 0, 1, 0]);
        assert!(found[0].inode != 0 && found[0].cookie != 0);
    }
}
