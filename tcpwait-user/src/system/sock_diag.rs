//! Lists the TCP sockets of a network namespace through `NETLINK_SOCK_DIAG`, as `ss` does (sock_diag(7)).
//!
//! Works on the namespace of the calling thread and knows of no other. Reports what the kernel says and interprets
//! nothing: a TIME_WAIT socket comes with its substate as state, a request socket as SYN_RECV.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::libc::{AF_INET, AF_INET6, IPPROTO_TCP, MSG_TRUNC};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `SOCK_DIAG_BY_FAMILY` (include/uapi/linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Every state in `include/net/tcp_states.h` from ESTABLISHED (1) to CLOSING (11); SYN_RECV includes request sockets.
/// Not beyond: BOUND_INACTIVE (13, since 6.8) makes the kernel walk the bind table for sockets that were never connected.
const ALL_STATES: u32 = 0xffe;
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
}

/// Which sockets are asked for. The kernel leaves the others out, which takes it less time than to describe them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Those of `AF_INET`. IPv4 connections of IPv6 sockets are not among them.
    pub v4: bool,
    /// Those of `AF_INET6`.
    pub v6: bool,
    /// A bit for each state (`1 << state`); of a mini-socket its substate counts.
    pub states: u32,
}

impl Asked {
    /// Every socket that is connected, connecting or listening.
    pub const EVERYTHING: Self = Self { v4: true, v6: true, states: ALL_STATES };
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
        /// `AF_INET` or `AF_INET6`.
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
pub(super) struct Request {
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

/// `struct inet_diag_msg`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Message {
    family: u8,
    state: u8,
    timer: u8,
    retrans: u8,
    id: SockId,
    expires: u32,
    rqueue: u32,
    wqueue: u32,
    uid: u32,
    inode: u32,
}

const _: () = assert!(size_of::<Request>() == 16 + 56 && size_of::<Message>() == 72);

/// Calls `each` for every TCP socket, IPv4 then IPv6, of the calling thread's network namespace. Needs no privilege.
///
/// It is no snapshot: a socket that changes its place in the kernel's table meanwhile may come twice or not at all.
pub fn tcp_sockets(each: impl FnMut(DiagSocket)) -> Result<Dump, Error> {
    tcp_sockets_of(Asked::EVERYTHING, each)
}

/// The same for those that are asked for.
pub fn tcp_sockets_of(asked: Asked, mut each: impl FnMut(DiagSocket)) -> Result<Dump, Error> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::EPROTONOSUPPORT) => Error::NoModule(error),
        _ => Error::Call { call: "socket()", error },
    })?;
    socket.bind_auto().map_err(|error| Error::Call { call: "bind()", error })?;
    // Connected to the kernel, so that no other process's message gets in.
    socket.connect(&SocketAddr::new(0, 0)).map_err(|error| Error::Call { call: "connect()", error })?;
    let mut buffer = vec![0; BUFFER];
    let mut dump = Dump::default();
    let families = [(asked.v4, AF_INET as u8, 1), (asked.v6, AF_INET6 as u8, 2)];
    for (_, family, sequence) in families.into_iter().filter(|(asked, ..)| *asked) {
        let request = request(family, sequence, asked.states & ALL_STATES);
        socket.send(request.as_bytes(), 0).map_err(|error| Error::Call { call: "send()", error })?;
        loop {
            let datagram = receive(&socket, &mut buffer)?;
            match read_datagram(datagram, sequence, &mut dump, &mut each)? {
                Answer::More => {}
                Answer::Done => break,
                Answer::Failed(errno) => {
                    absent_or_refused(family, errno)?;
                    break;
                }
            }
        }
    }
    Ok(dump)
}

fn request(family: u8, sequence: u32, states: u32) -> Request {
    Request {
        len: size_of::<Request>() as u32,
        message_type: SOCK_DIAG_BY_FAMILY,
        flags: NLM_F_REQUEST | NLM_F_DUMP,
        sequence,
        port: 0,
        family,
        protocol: IPPROTO_TCP as u8,
        extensions: 0,
        pad: 0,
        states,
        id: SockId { sport: [0; 2], dport: [0; 2], src: [0; 16], dst: [0; 16], ifindex: 0, cookie: [0; 2] },
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

/// What a datagram said about the listing as a whole.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    More,
    Done,
    /// A positive errno.
    Failed(i32),
}

fn read_datagram(
    mut rest: &[u8],
    sequence: u32,
    dump: &mut Dump,
    each: &mut impl FnMut(DiagSocket),
) -> Result<Answer, Error> {
    while !rest.is_empty() {
        let message = NetlinkBuffer::new_checked(rest).map_err(|_| Error::Malformed("a message is cut off"))?;
        // Aligned as NLMSG_NEXT does; the last message need not be padded.
        let next = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(next..).unwrap_or_default();
        if message.sequence_number() != sequence {
            continue;
        }
        dump.inconsistent |= message.flags() & NLM_F_DUMP_INTR != 0;
        match message.message_type() {
            SOCK_DIAG_BY_FAMILY => each(socket(message.payload())?),
            // A dump that fails ends with DONE and a negative errno (`netlink_dump`); DONE without a number is success.
            NLMSG_DONE => {
                return Ok(match i32::read_from_prefix(message.payload()) {
                    Ok((code, _)) if code < 0 => Answer::Failed(code.saturating_neg()),
                    _ => Answer::Done,
                });
            }
            NLMSG_ERROR => match i32::read_from_prefix(message.payload()) {
                Ok((0, _)) => {}
                Ok((code, _)) => return Ok(Answer::Failed(code.saturating_neg())),
                Err(_) => return Err(Error::Malformed("an error without a number")),
            },
            NLMSG_OVERRUN => return Err(Error::Malformed("data was lost (NLMSG_OVERRUN)")),
            NLMSG_NOOP => {}
            _ => return Err(Error::Malformed("a message of an unknown type")),
        }
    }
    Ok(Answer::More)
}

fn socket(payload: &[u8]) -> Result<DiagSocket, Error> {
    let (message, _) = Message::read_from_prefix(payload).map_err(|_| Error::Malformed("a socket is cut off"))?;
    let id = message.id;
    let address = |address: [u8; 16]| match (message.family, address) {
        (family, [a, b, c, d, ..]) if family == AF_INET as u8 => [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        _ => address,
    };
    let [low, high] = id.cookie;
    Ok(DiagSocket {
        family: message.family,
        state: message.state,
        timer: message.timer,
        expires_ms: message.expires,
        laddr: address(id.src),
        raddr: address(id.dst),
        lport: u16::from_be_bytes(id.sport),
        rport: u16::from_be_bytes(id.dport),
        cookie: u64::from(low) | u64::from(high) << 32,
        uid: message.uid,
        inode: message.inode,
        ifindex: id.ifindex,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    const SEQUENCE: u32 = 7;

    fn message(message_type: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((16 + payload.len() as u32).to_ne_bytes());
        bytes.extend(message_type.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(SEQUENCE.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    fn time_wait() -> Message {
        let mut src = [0xee; 16];
        src[..4].copy_from_slice(&[127, 0, 0, 1]);
        let id = SockId { sport: [0x1f, 0x90], dport: [0, 80], src, dst: [9; 16], ifindex: 3, cookie: [5, 1] };
        Message {
            family: 2,
            state: 6,
            timer: 3,
            retrans: 0,
            id,
            expires: 59_000,
            rqueue: 0,
            wqueue: 0,
            uid: 33,
            inode: 0,
        }
    }

    fn read(bytes: &[u8]) -> (Result<Answer, Error>, Dump, Vec<DiagSocket>) {
        let (mut dump, mut sockets) = (Dump::default(), Vec::new());
        let answer = read_datagram(bytes, SEQUENCE, &mut dump, &mut |socket| sockets.push(socket));
        (answer, dump, sockets)
    }

    #[test]
    fn several_messages_in_one_datagram() {
        let one = message(SOCK_DIAG_BY_FAMILY, 2, time_wait().as_bytes());
        // Attributes behind the structure are passed over, padding too.
        let with_attribute = message(SOCK_DIAG_BY_FAMILY, 2, &[time_wait().as_bytes(), &[5, 0, 8, 0, 0]].concat());
        let done = message(NLMSG_DONE, 2, &0i32.to_ne_bytes());
        let (answer, dump, sockets) = read(&[&one[..], &with_attribute, &[0; 3], &done].concat());
        assert_eq!(answer.unwrap(), Answer::Done);
        assert!(!dump.inconsistent);
        assert_eq!(sockets.len(), 2);
        assert_eq!(sockets[0], sockets[1]);
        let socket = sockets[0];
        assert_eq!((socket.lport, socket.rport, socket.state, socket.expires_ms), (8080, 80, 6, 59_000));
        assert_eq!((socket.cookie, socket.uid, socket.ifindex), (0x1_0000_0005, 33, 3));
        assert_eq!(socket.laddr, [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn ends_and_errors() {
        assert_eq!(read(&[]).0.unwrap(), Answer::More);
        assert_eq!(read(&message(NLMSG_DONE, 2, &[])).0.unwrap(), Answer::Done);
        assert_eq!(read(&message(NLMSG_DONE, 2, &(-2i32).to_ne_bytes())).0.unwrap(), Answer::Failed(2));
        assert_eq!(read(&message(NLMSG_ERROR, 0, &(-22i32).to_ne_bytes())).0.unwrap(), Answer::Failed(22));
        assert_eq!(read(&message(NLMSG_ERROR, 0, &i32::MIN.to_ne_bytes())).0.unwrap(), Answer::Failed(i32::MAX));
        assert!(read(&message(NLMSG_ERROR, 0, &[1])).0.is_err());
        assert!(read(&message(999, 0, &[])).0.is_err());
        assert!(read(&message(NLMSG_DONE, NLM_F_DUMP_INTR, &[])).1.inconsistent);
    }

    #[test]
    fn messages_of_another_request_are_passed_over() {
        let mut other = message(SOCK_DIAG_BY_FAMILY, 2, time_wait().as_bytes());
        other[8] ^= 1;
        let (answer, _, sockets) = read(&other);
        assert_eq!((answer.unwrap(), sockets.len()), (Answer::More, 0));
    }

    #[test]
    fn truncated_and_odd_data_is_an_error_and_no_panic() {
        let whole = message(SOCK_DIAG_BY_FAMILY, 2, time_wait().as_bytes());
        for end in 1..whole.len() {
            assert!(read(&whole[..end]).0.is_err(), "{end}");
        }
        for length in [0u32, 1, 15, 16, 20, 87, u32::MAX] {
            let mut odd = whole.clone();
            odd[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(read(&odd).0.is_err(), "{length}");
        }
    }

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
        assert!(found(Asked { states: 1 << 10, ..Asked::EVERYTHING }));
        assert!(!found(Asked { states: 1 << 6, ..Asked::EVERYTHING }));
        assert!(!found(Asked { v4: false, ..Asked::EVERYTHING }));
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
