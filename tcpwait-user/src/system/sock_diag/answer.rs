//! What the kernel answers to a request for a listing: netlink messages, and in them sockets (`struct inet_diag_msg`).
//! Reads bytes, and knows nothing of where they come from.

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer};
use nix::libc::AF_INET;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{DiagSocket, Dump, Error, Info, SOCK_DIAG_BY_FAMILY, SockId, TCPDIAG_GETSOCK};

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

const _: () = assert!(size_of::<Message>() == 72);

const TCP_LISTEN: u8 = 10;

/// What a datagram said about the listing as a whole.
#[derive(Debug, PartialEq, Eq)]
pub enum DiagAnswer {
    /// There is more to come.
    More,
    /// That was all.
    Done,
    /// The kernel refuses, with this positive errno.
    Failed(i32),
}

/// Calls `each` for every socket in a datagram that answers the request with this sequence number.
pub fn read_datagram(
    mut rest: &[u8],
    sequence: u32,
    dump: &mut Dump,
    each: &mut impl FnMut(DiagSocket),
) -> Result<DiagAnswer, Error> {
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
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => each(socket(message.payload())?),
            // A dump that fails ends with DONE and a negative errno (`netlink_dump`); DONE without a number is success.
            NLMSG_DONE => {
                return Ok(match i32::read_from_prefix(message.payload()) {
                    Ok((code, _)) if code < 0 => DiagAnswer::Failed(code.saturating_neg()),
                    _ => DiagAnswer::Done,
                });
            }
            NLMSG_ERROR => match i32::read_from_prefix(message.payload()) {
                Ok((0, _)) => {}
                Ok((code, _)) => return Ok(DiagAnswer::Failed(code.saturating_neg())),
                Err(_) => return Err(Error::Malformed("an error without a number")),
            },
            NLMSG_OVERRUN => return Err(Error::Malformed("data was lost (NLMSG_OVERRUN)")),
            NLMSG_NOOP => {}
            _ => return Err(Error::Malformed("a message of an unknown type")),
        }
    }
    Ok(DiagAnswer::More)
}

fn socket(payload: &[u8]) -> Result<DiagSocket, Error> {
    let (message, attributes) =
        Message::read_from_prefix(payload).map_err(|_| Error::Malformed("a socket is cut off"))?;
    let id = message.id;
    let address = |address: [u8; 16]| match (message.family, address) {
        (family, [a, b, c, d, ..]) if family == AF_INET as u8 => [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        _ => address,
    };
    let [low, high] = id.cookie;
    let Attributes { v6only, info } = Attributes::read(attributes, message.state == TCP_LISTEN);
    Ok(DiagSocket {
        family: message.family,
        state: message.state,
        timer: message.timer,
        expires_ms: message.expires,
        retransmits: message.retrans,
        laddr: address(id.src),
        raddr: address(id.dst),
        lport: u16::from_be_bytes(id.sport),
        rport: u16::from_be_bytes(id.dport),
        cookie: u64::from(low) | u64::from(high) << 32,
        uid: message.uid,
        inode: message.inode,
        ifindex: id.ifindex,
        receive_queue: message.rqueue,
        send_queue: message.wqueue,
        v6only,
        info,
    })
}

/// The attributes that are of interest here.
#[derive(Default)]
struct Attributes {
    /// INET_DIAG_SKV6ONLY, which the kernel adds for a socket of IPv6 that listens (`inet_diag_msg_attrs_fill`).
    v6only: Option<bool>,
    /// INET_DIAG_INFO, where it was asked for.
    info: Option<Info>,
}

impl Attributes {
    fn read(mut rest: &[u8], listens: bool) -> Self {
        const INET_DIAG_INFO: u16 = 2;
        const INET_DIAG_SKV6ONLY: u16 = 11;
        const HEADER: usize = 4;
        let mut found = Self::default();
        while let [low, high, kind_low, kind_high, ..] = rest {
            let length = usize::from(u16::from_ne_bytes([*low, *high])).max(HEADER);
            let value = rest.get(HEADER..length).unwrap_or_default();
            match u16::from_ne_bytes([*kind_low, *kind_high]) {
                INET_DIAG_SKV6ONLY => found.v6only = value.first().map(|value| *value != 0),
                // Of a listener nearly all of it is zero (`tcp_get_info`).
                INET_DIAG_INFO if !listens => found.info = info(value),
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(HEADER)..).unwrap_or_default();
        }
        found
    }
}

/// `struct tcp_info` has grown with the kernels, at its end.
fn info(value: &[u8]) -> Option<Info> {
    let number = |at: usize| Some(u32::from_ne_bytes(value.get(at..at + 4)?.try_into().ok()?));
    Some(Info {
        data_sent_ms: number(44)?,
        data_received_ms: number(52)?,
        ack_received_ms: number(56)?,
        // Before 4.19 nothing tells.
        has_sent: value.get(200..208).is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)),
        send_window: number(228),
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

    fn read(bytes: &[u8]) -> (Result<DiagAnswer, Error>, Dump, Vec<DiagSocket>) {
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
        assert_eq!(answer.unwrap(), DiagAnswer::Done);
        assert!(!dump.inconsistent);
        assert_eq!(sockets.len(), 2);
        assert_eq!(sockets[0], sockets[1]);
        let socket = sockets[0];
        assert_eq!((socket.lport, socket.rport, socket.state, socket.expires_ms), (8080, 80, 6, 59_000));
        assert_eq!((socket.cookie, socket.uid, socket.ifindex), (0x1_0000_0005, 33, 3));
        assert_eq!(socket.laddr, [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_tcp_tells_of_a_socket() {
        let mut told = vec![0xee; 232];
        for (at, value) in [(44, 7_000u32), (52, 6_000), (56, 5_000), (228, 0)] {
            told[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        told[200..208].fill(0);
        let attribute = |value: &[u8]| [&(4 + value.len() as u16).to_ne_bytes(), &2u16.to_ne_bytes(), value].concat();
        let with = |state, value: &[u8]| {
            let socket = Message { state, ..time_wait() };
            // An attribute of one byte before it, padded to four.
            let bytes = [socket.as_bytes(), &[5, 0, 8, 0, 0, 0, 0, 0], &attribute(value)].concat();
            let (answer, _, sockets) = read(&message(SOCK_DIAG_BY_FAMILY, 2, &bytes));
            assert_eq!(answer.unwrap(), DiagAnswer::More);
            sockets[0].info
        };
        let info = Info {
            data_sent_ms: 7_000,
            data_received_ms: 6_000,
            ack_received_ms: 5_000,
            has_sent: false,
            send_window: Some(0),
        };
        assert_eq!(with(8, &told), Some(info));
        told[201] = 1;
        assert_eq!(with(8, &told), Some(Info { has_sent: true, ..info }));
        told[201] = 0;
        assert_eq!(with(8, &told[..224]), Some(Info { send_window: None, ..info }), "a kernel before 5.4");
        assert_eq!(with(8, &told[..56]), None, "cut short");
        assert_eq!(with(10, &told), None, "a listener");
    }

    #[test]
    fn ends_and_errors() {
        assert_eq!(read(&[]).0.unwrap(), DiagAnswer::More);
        assert_eq!(read(&message(NLMSG_DONE, 2, &[])).0.unwrap(), DiagAnswer::Done);
        assert_eq!(read(&message(NLMSG_DONE, 2, &(-2i32).to_ne_bytes())).0.unwrap(), DiagAnswer::Failed(2));
        assert_eq!(read(&message(NLMSG_ERROR, 0, &(-22i32).to_ne_bytes())).0.unwrap(), DiagAnswer::Failed(22));
        assert_eq!(read(&message(NLMSG_ERROR, 0, &i32::MIN.to_ne_bytes())).0.unwrap(), DiagAnswer::Failed(i32::MAX));
        assert!(read(&message(NLMSG_ERROR, 0, &[1])).0.is_err());
        assert!(read(&message(999, 0, &[])).0.is_err());
        assert!(read(&message(NLMSG_DONE, NLM_F_DUMP_INTR, &[])).1.inconsistent);
    }

    #[test]
    fn messages_of_another_request_are_passed_over() {
        let mut other = message(SOCK_DIAG_BY_FAMILY, 2, time_wait().as_bytes());
        other[8] ^= 1;
        let (answer, _, sockets) = read(&other);
        assert_eq!((answer.unwrap(), sockets.len()), (DiagAnswer::More, 0));
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
}
